package loroindex

import (
	"bytes"
	"slices"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

// The rule by which index objects are deleted. Why it is enough is in
// docs/format.md, "Deleting index objects"; what follows is only the rule.

// held is a snapshot of the bucket that was read, whole, and imports alone.
type held struct {
	id         objectid.ID
	size       int64
	written    time.Time // by the store's clock
	start, end Version   // the operations it keeps, of each peer [start, end)
	first      bool      // written by the first Pocket
}

// keeps reports whether s includes what a span stands for, with its history.
func (s *held) keeps(span Span) bool {
	p := peerID(span.Peer)
	return s.start[p] <= span.Start && span.End <= s.end[p]
}

// replaces reports whether o is not needed beside s: s keeps all operations of
// o, and more; of two that keep the same the one with the smaller id stays. No
// chain of snapshots that replace each other comes back to where it began.
func (s *held) replaces(o *held) bool {
	if !s.end.Covers(o.end) || !o.start.Covers(s.start) {
		return false
	}
	if o.end.Covers(s.end) && s.start.Covers(o.start) {
		return bytes.Compare(s.id[:], o.id[:]) < 0
	}
	return true
}

// purge says what may be deleted of what is in the bucket.
type purge struct {
	head      *held                  // the snapshot index/head names
	aged      func(s time.Time) bool // whether the grace period has passed since
	witnesses []witness              // newest first
}

// witness is a snapshot old enough to delete for.
type witness struct {
	*held
	floor Version // what it, all written after it and the head's snapshot include
}

// newPurge takes every snapshot that a listing of the bucket showed.
func newPurge(snapshots []*held, head *held, aged func(time.Time) bool) *purge {
	p := &purge{head: head, aged: aged}
	list := slices.Clone(snapshots)
	slices.SortFunc(list, func(a, b *held) int { return b.written.Compare(a.written) })
	floor := head.end
	for i := 0; i < len(list); {
		// Of those written at the same time none is after the others.
		j := i
		for ; j < len(list) && list[j].written.Equal(list[i].written); j++ {
			if s := list[j]; aged(s.written) && !s.first {
				p.witnesses = append(p.witnesses, witness{s, meet(s.end, floor)})
			}
		}
		for ; i < j; i++ {
			floor = meet(floor, list[i].end)
		}
	}
	return p
}

// update reports whether an update may be deleted.
func (p *purge) update(s Span) bool {
	for i := range p.witnesses {
		if w := &p.witnesses[i]; w.keeps(s) && covers(w.floor, s) {
			return true
		}
	}
	return false
}

// snapshot reports whether a snapshot may be deleted.
func (p *purge) snapshot(s *held) bool {
	if s.first || s.id == p.head.id || !p.aged(s.written) {
		return false
	}
	for i := range p.witnesses {
		// One that is older would not be read beside s by those who began while
		// the head named s.
		if w := &p.witnesses[i]; w.replaces(s) && !w.written.Before(s.written) && w.floor.Covers(s.end) {
			return true
		}
	}
	return false
}

// meet returns what both versions include.
func meet(a, b Version) Version {
	if len(b) < len(a) {
		a, b = b, a
	}
	out := make(Version, len(a))
	for p, end := range a {
		if end = min(end, b[p]); end > 0 {
			out[p] = end
		}
	}
	return out
}

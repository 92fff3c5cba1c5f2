package loro

import (
	"cmp"
	"slices"
)

// pendingChange waits for an operation this document does not have.
type pendingChange struct {
	incoming
	missing ID
}

// pendingSet holds the changes that wait, by the peer they wait for, sorted by
// the missing counter, largest first.
type pendingSet struct {
	by   map[PeerID][]pendingChange
	seen map[pendingKey]struct{}
}

type pendingKey struct {
	id  ID
	end int32
}

func (w *pendingChange) key() pendingKey {
	ch := w.change()
	return pendingKey{ID{w.b.peer(), ch.ctr}, ch.end}
}

// add keeps a change, with bytes of its own, unless it waits already.
func (s *pendingSet) add(w pendingChange) bool {
	if s.by == nil {
		s.by = make(map[PeerID][]pendingChange)
		s.seen = make(map[pendingKey]struct{})
	}
	k := w.key()
	if _, ok := s.seen[k]; ok {
		return false
	}
	s.seen[k] = struct{}{}
	w.b = w.b.keep()
	list := s.by[w.missing.Peer]
	i, _ := slices.BinarySearchFunc(list, w.missing.Counter, func(x pendingChange, c int32) int { return cmp.Compare(c, x.missing.Counter) })
	s.by[w.missing.Peer] = slices.Insert(list, i, w)
	return true
}

// keep returns the block with bytes that are not the caller's.
func (b *changeBlock) keep() *changeBlock {
	if b.kept == nil {
		c, err := decodeBlock(slices.Clone(b.raw))
		if err != nil {
			panic(err) // it was decoded from the same bytes before
		}
		b.kept, c.kept = c, c
	}
	return b.kept
}

func (s *pendingSet) has(c *incoming) bool {
	w := pendingChange{incoming: *c}
	_, ok := s.seen[w.key()]
	return ok
}

// remove takes back an add.
func (s *pendingSet) remove(w *pendingChange) {
	k := w.key()
	if _, ok := s.seen[k]; !ok {
		return
	}
	delete(s.seen, k)
	list := s.by[w.missing.Peer]
	s.by[w.missing.Peer] = slices.DeleteFunc(list, func(x pendingChange) bool { return x.key() == k })
}

// take removes and returns the changes that waited for operations of a peer
// below end.
func (s *pendingSet) take(peer PeerID, end int32) []pendingChange {
	list := s.by[peer]
	n := len(list)
	for n > 0 && list[n-1].missing.Counter < end {
		n--
		delete(s.seen, list[n].key())
	}
	if n == len(list) {
		return nil
	}
	out := slices.Clone(list[n:])
	clear(list[n:])
	if n == 0 {
		delete(s.by, peer)
	} else {
		s.by[peer] = list[:n]
	}
	return out
}

// Pending returns the spans of changes received by Import that wait for changes
// they depend on. They are in no export: keep the received bytes until applied.
func (d *Doc) Pending() map[PeerID]Span {
	out := make(map[PeerID]Span)
	for _, list := range d.pending.by {
		for i := range list {
			w := &list[i]
			extend(out, w.b.peer(), w.from, w.change().end)
		}
	}
	return out
}

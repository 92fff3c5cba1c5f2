package loroindex

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hamflx/pocket/loroindex/loro"
)

// MinGrace is how long an update or snapshot that is covered by another must
// stay in the bucket. An index that pulls at least that often sees every update
// before it is deleted.
const MinGrace = 24 * time.Hour

// fullLook is how long Pull trusts that updates are all it needs to read.
const fullLook = MinGrace / 4

const (
	// fetchers is how many updates are read from the bucket at a time.
	fetchers = 16
	// updateLeast is how many bytes are accepted for an update at least, whatever the listing says: one is
	// rarely larger. fetchMemory bounds what is accepted for all that are read at a time; a larger one is
	// read alone.
	updateLeast = 16 << 20
	fetchMemory = fetchers * updateLeast
	// batchUpdates and batchBytes bound the updates that are imported together: what
	// an import costs beside its bytes grows with the number of sessions that the document
	// knows.
	batchUpdates = 512
	batchBytes   = 4 << 20
)

// Pull imports the updates, and when need be the snapshots, of the bucket that
// the index does not include. What it reads is handed to local, if not nil.
//
// Errors: those of the bucket and of local in a KeyError; ErrDamaged,
// ErrMissing, ErrNewerSchema. What could be imported stays imported; Changes
// says what that is, also beside an error. A head that names nothing readable
// is no error: the next snapshot replaces it.
func (x *Index) Pull(ctx context.Context, b Bucket, local Local) (Changes, error) {
	l := &loading{ctx: ctx, b: b, local: local, x: x, out: &Loaded{}, live: true}
	err := l.pull()
	if err == nil {
		l.out.Changes.Pending = nil // what waited on the way was found
	}
	return l.out.Changes, errors.Join(append(l.unkept, err)...)
}

func (l *loading) pull() error {
	x := l.x
	if _, err := x.pullUpdates(l.ctx, l.b, l); err != nil && !errors.Is(err, ErrMissing) {
		return err
	}
	x.mu.RLock()
	missing := x.missing()
	x.mu.RUnlock()
	now := x.now()
	x.shelf.mu.Lock()
	long := now.Sub(x.shelf.looked) > fullLook
	x.shelf.mu.Unlock()
	if missing == nil && !long {
		return nil
	}
	// Updates may have been folded into a snapshot and deleted.
	h, err := readHead(l.ctx, l.b)
	if err != nil {
		return err
	}
	if h.there && h.err == nil {
		if _, ok := x.shelf.seen(h.id); !ok {
			if err := l.snapshot(h.id); err != nil {
				return err
			}
		}
	}
	x.mu.RLock()
	missing = x.missing()
	x.mu.RUnlock()
	if missing != nil {
		return missing
	}
	x.shelf.mu.Lock()
	x.shelf.looked = now
	x.shelf.mu.Unlock()
	return nil
}

func compareSpans(a, b Span) int {
	if c := cmp.Compare(a.Peer, b.Peer); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Start, b.Start); c != 0 {
		return c
	}
	return cmp.Compare(a.End, b.End)
}

// pullUpdates imports the updates of the bucket that the document does not
// include, and returns how many the bucket holds. It lists again when an update
// has gone since, or depends on others that came after the listing.
func (x *Index) pullUpdates(ctx context.Context, b Bucket, l *loading) (int, error) {
	const attempts = 3
	for try := 1; ; try++ {
		listed, err := listUpdates(ctx, b)
		if err != nil {
			return 0, err
		}
		version := l.version()
		var want []listedUpdate
		for _, u := range listed {
			if !covers(version, u.Span) {
				want = append(want, u)
			}
		}
		err = l.fetch(want)
		if err == nil {
			for _, u := range listed {
				x.shelf.noteSpan(u.Span)
			}
			err = l.missing()
		}
		if err == nil || try == attempts || !errors.Is(err, errAbsent) && !errors.Is(err, ErrMissing) {
			return len(listed), err
		}
	}
}

func (l *loading) version() Version {
	if l.live {
		return l.x.Version()
	}
	return l.x.doc.Version()
}

func (l *loading) missing() error {
	if l.live {
		l.x.mu.RLock()
		defer l.x.mu.RUnlock()
	} else if l.x.isFirst() {
		// Updates may build on a migration that was not published.
		if err := l.x.migrate(); err != nil {
			return err
		}
	}
	return l.x.missing()
}

// listUpdates returns the bucket's updates in order of peer and start.
func listUpdates(ctx context.Context, b Bucket) ([]listedUpdate, error) {
	var all []listedUpdate
	for obj, err := range b.List(ctx, UpdatePrefix, "") {
		if err != nil {
			return nil, &KeyError{"list", UpdatePrefix, err}
		}
		if s, err := ParseUpdateKey(obj.Key); err == nil { // else not written by Pocket
			all = append(all, listedUpdate{s, obj.Size})
		}
	}
	return all, nil
}

// fetch reads updates, several at a time, and imports them in order.
func (l *loading) fetch(want []listedUpdate) error {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	type result struct {
		body []byte
		err  error
	}
	results := make([]chan result, len(want))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	memory := semaphore.NewWeighted(fetchMemory) // bounds what is read ahead of importing
	wg.Go(func() {
		for i, u := range want {
			if err := memory.Acquire(ctx, min(u.most(), fetchMemory)); err != nil {
				results[i] <- result{err: err}
				continue
			}
			wg.Go(func() {
				key := UpdateKey(u.Span)
				body, err := l.b.Get(ctx, key, u.most())
				if err != nil && l.b.NotExist(err) {
					err = fmt.Errorf("%w: %w", ErrMissing, errAbsent)
				}
				if err != nil {
					err = &KeyError{"get", key, err}
				}
				results[i] <- result{body, err}
			})
		}
	})
	var ready []fetched
	size := 0
	for i, u := range want {
		r := <-results[i]
		if r.err == nil {
			memory.Release(min(u.most(), fetchMemory)) // one that was cancelled has none
			r.err = l.check(u.Span, r.body)
		}
		if r.err != nil {
			cancel()
			return errors.Join(l.updates(ready), r.err)
		}
		ready = append(ready, fetched{u.Span, r.body})
		if size += len(r.body); size < batchBytes && len(ready) < batchUpdates && i < len(want)-1 {
			continue
		}
		if err := l.updates(ready); err != nil {
			cancel()
			return err
		}
		ready, size = nil, 0
	}
	return nil
}

// CheckUpdate returns an error when an update is damaged or does not hold the operations
// of a span. It does not decode them.
func CheckUpdate(s Span, body []byte) error {
	meta, err := loro.Peek(body)
	p := peerID(s.Peer)
	if err == nil && (meta.Start[p] > s.Start || meta.End[p] < s.End) {
		err = fmt.Errorf("it holds operations %d to %d of that peer", meta.Start[p], meta.End[p])
	}
	return err
}

// fetched is an update that was read.
type fetched struct {
	span Span
	body []byte
}

// check is CheckUpdate with the error of an import.
func (l *loading) check(s Span, body []byte) error {
	if err := CheckUpdate(s, body); err != nil {
		return &KeyError{"import", UpdateKey(s), asDamage(err)}
	}
	return nil
}

// updates imports update objects that were checked, in order, up to the first that cannot be.
func (l *loading) updates(all []fetched) error {
	blobs := make([][]byte, len(all))
	for i, u := range all {
		blobs[i] = u.body
	}
	done, err := l.takeAll(blobs)
	for _, u := range all[:done] {
		l.out.Updates++
		l.keep(UpdateKey(u.span), u.body)
	}
	if err != nil {
		return &KeyError{"import", UpdateKey(all[done].span), asDamage(err)}
	}
	return nil
}

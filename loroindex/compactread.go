package loroindex

import (
	"context"
	"errors"
	"fmt"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// firstMap is the root map of an index of the first Pocket.
const firstMap = "entries"

// Step is how far a compaction or verification has come.
type Step struct {
	Verb, Unit string // "reading", "snapshots"
	Done       int    // how many of them
	Total      int
	DoneBytes  int64
	TotalBytes int64 // 0 when the work is not counted in bytes
}

// heap is everything that the index objects of a bucket hold, merged.
type heap struct {
	ctx  context.Context
	b    Bucket
	step func(Step)

	x     *Index // what was read; its view is not started
	known map[objectid.ID]*held
	there []*held     // of these, what the last listing showed
	base  objectid.ID // the snapshot x was opened from
}

func newHeap(ctx context.Context, b Bucket, step func(Step)) *heap {
	if step == nil {
		step = func(Step) {}
	}
	return &heap{ctx: ctx, b: b, step: step, known: make(map[objectid.ID]*held)}
}

// baseKey is the key to name when everything together is not right.
func (h *heap) baseKey() string {
	if h.base.IsZero() {
		return UpdatePrefix
	}
	return ObjectKey(h.base)
}

// listSnapshots returns the snapshots of the bucket in the order of their keys.
func (h *heap) listSnapshots() ([]Object, error) {
	var all []Object
	for obj, err := range h.b.List(h.ctx, ObjectPrefix, "") {
		if err != nil {
			return nil, &KeyError{"list", ObjectPrefix, err}
		}
		if _, err := ParseObjectKey(obj.Key); err == nil { // else not written by Pocket
			all = append(all, obj)
		}
	}
	return all, nil
}

// listedUpdate is an update object of a listing.
type listedUpdate struct {
	Span
	size int64
}

// most returns how many bytes are accepted for the update.
func (u listedUpdate) most() int64 { return min(max(u.size, updateLeast), maxIndexObject) }

func (h *heap) listUpdates() ([]listedUpdate, error) { return listUpdates(h.ctx, h.b) }

// openSnapshot reads a snapshot and opens it alone. The index has no view.
//
// Errors: ErrDamaged, also when it is absent; ErrForeign, ErrNewerSchema; those
// of the bucket.
func (h *heap) openSnapshot(id objectid.ID) (*Index, *held, error) {
	body, err := getSnapshot(h.ctx, h.b, id)
	if err != nil {
		return nil, nil, err
	}
	x := newIndex(Options{})
	if _, err := x.doc.Import(body); err != nil {
		return nil, nil, &KeyError{"import", ObjectKey(id), asDamage(err)}
	}
	s := &held{id: id, size: int64(len(body)), end: x.doc.Version()}
	s.start, _ = x.doc.ShallowSince()
	if err := x.missing(); err != nil {
		return nil, nil, &KeyError{"import", ObjectKey(id), err}
	}
	if s.first = x.isFirst(); !s.first {
		if _, err := x.checkSchema(); err != nil {
			return nil, nil, &KeyError{"import", ObjectKey(id), err}
		}
	}
	return x, s, nil
}

// isFirst reports whether the document is an index of the first Pocket that was
// not migrated.
func (x *Index) isFirst() bool {
	if _, ok := x.pocket.Get(keySchema); ok {
		return false
	}
	for _, c := range x.doc.Roots() {
		if c.Name == firstMap && c.Type == loro.TypeMap {
			return true
		}
	}
	return false
}

// takeSnapshots reads the snapshots of a listing that are not known yet, each
// alone, and merges them. An object that is gone by now was deleted by another
// compaction, for one that includes it: gone reports that.
func (h *heap) takeSnapshots(list []Object) (gone bool, err error) {
	var news []Object
	total := int64(0)
	for _, obj := range list {
		id, _ := ParseObjectKey(obj.Key)
		if s := h.known[id]; s != nil {
			s.written = obj.ModTime
			continue
		}
		news = append(news, obj)
		total += obj.Size
	}
	var behind []objectid.ID
	done := int64(0)
	for i, obj := range news {
		h.step(Step{"reading", "snapshots", i, len(news), done, total})
		done += obj.Size
		id, _ := ParseObjectKey(obj.Key)
		x, s, err := h.openSnapshot(id)
		if errors.Is(err, errAbsent) {
			gone = true
			continue
		}
		if err != nil {
			return gone, err
		}
		s.written = obj.ModTime
		h.known[id] = s
		// What has the longest history is built on, then what has the most
		// operations: history from before its own start cannot be added to a
		// document.
		if h.x == nil || h.better(s) {
			if h.x != nil {
				behind = append(behind, h.base)
			}
			h.x, h.base = x, id
		} else {
			behind = append(behind, id)
		}
	}
	for _, id := range behind {
		if err := h.merge(id); err != nil {
			return gone, err
		}
	}
	h.there = h.there[:0]
	for _, obj := range list {
		id, _ := ParseObjectKey(obj.Key)
		if s := h.known[id]; s != nil {
			h.there = append(h.there, s)
		}
	}
	h.step(Step{"reading", "snapshots", len(news), len(news), done, total})
	return gone, nil
}

// better reports whether a snapshot is better to build on than the present one.
// Once updates were merged none is.
func (h *heap) better(s *held) bool {
	b := h.known[h.base]
	if b == nil || !h.x.doc.Version().Covers(b.end) || !b.end.Covers(h.x.doc.Version()) {
		return false
	}
	switch longer, shorter := b.start.Covers(s.start), s.start.Covers(b.start); {
	case longer != shorter:
		return longer
	case b.first != s.first:
		return b.first
	}
	return operations(s.end) > operations(b.end)
}

// merge adds to the document what it lacks of a snapshot.
func (h *heap) merge(id objectid.ID) error {
	if h.x.doc.Version().Covers(h.known[id].end) {
		return nil
	}
	body, err := getSnapshot(h.ctx, h.b, id)
	if errors.Is(err, errAbsent) {
		return nil // what includes it has been listed by now or will be
	}
	if err != nil {
		return err
	}
	if _, err := h.x.doc.Import(body); err != nil {
		return &KeyError{"import", ObjectKey(id), asDamage(err)}
	}
	return nil
}

// read reads everything: first which updates there are, then the snapshots,
// then what of the updates these do not include. In this order whatever is
// deleted meanwhile is found in what it was deleted for.
func (h *heap) read() (updates []listedUpdate, err error) {
	const attempts = 3
	for try := 1; ; try++ {
		if updates, err = h.listUpdates(); err != nil {
			return nil, err
		}
		list, err := h.listSnapshots()
		if err != nil {
			return nil, err
		}
		gone, err := h.takeSnapshots(list)
		if err != nil {
			return nil, err
		}
		if !gone {
			if h.x == nil {
				h.x = newIndex(Options{})
			}
			if err = h.takeUpdates(updates); err == nil {
				return updates, nil
			}
		}
		if try == attempts {
			if err == nil {
				err = fmt.Errorf("index: %s: objects come and go faster than they can be read; try again", ObjectPrefix)
			}
			return nil, err
		}
		if err != nil && !errors.Is(err, errAbsent) && !errors.Is(err, ErrMissing) {
			return nil, err
		}
	}
}

// takeUpdates merges the updates that the document does not include.
func (h *heap) takeUpdates(list []listedUpdate) error {
	l := &loading{ctx: h.ctx, b: h.b, x: h.x, out: &Loaded{}}
	version := h.x.doc.Version()
	var want []listedUpdate
	for _, u := range list {
		if !covers(version, u.Span) {
			want = append(want, u)
		}
	}
	// In pieces, so that progress shows.
	for done := 0; done < len(want); {
		h.step(Step{Verb: "reading", Unit: "updates", Done: done, Total: len(want)})
		n := min(len(want)-done, 8*fetchers)
		if err := l.fetch(want[done : done+n]); err != nil {
			return err
		}
		done += n
	}
	if len(want) > 0 {
		h.step(Step{Verb: "reading", Unit: "updates", Done: len(want), Total: len(want)})
	}
	return h.x.missing()
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

// What is read at a time: so many objects, of so many bytes together. A larger one is
// read alone.
const (
	readers     = 16
	readerBytes = 256 << 20
)

// reference is what the index says of an object.
type reference struct {
	size     int64          // bytes it must have; -1: at least least
	least    int64          // what extents need of it
	node     loroindex.Node // a file that needs it; NoNode when only the history does
	manifest bool
	read     bool // it was read, and a fault reported if it is not what its name says
}

// objects is what the index names and what the bucket has.
type objects struct {
	refs  map[objectid.ID]*reference
	there map[objectid.ID]int64 // sizes
}

// refer notes that an object is named.
func (o *objects) refer(id objectid.ID, r reference) *reference {
	ref := o.refs[id]
	if ref == nil {
		ref = &r
		o.refs[id] = ref
		return ref
	}
	if ref.node == loroindex.NoNode {
		ref.node = r.node
	}
	if ref.size < 0 {
		ref.size = r.size
	}
	ref.least = max(ref.least, r.least)
	ref.manifest = ref.manifest || r.manifest
	return ref
}

// sorted returns ids in order, so that faults are.
func sorted(ids map[objectid.ID]*reference) []objectid.ID {
	return slices.SortedFunc(maps.Keys(ids), func(a, b objectid.ID) int { return bytes.Compare(a[:], b[:]) })
}

// data checks the objects that the index refers to.
func (v *verifying) data() error {
	o := &objects{refs: make(map[objectid.ID]*reference), there: make(map[objectid.ID]int64)}
	// What the index named when it was read was in the bucket before that: a
	// listing that begins now has it.
	for _, do := range []func(*objects) error{v.inUse, v.inHistory, v.list, v.manifests, v.compare, v.readAll} {
		if err := do(o); err != nil {
			return err
		}
	}
	for id, size := range o.there {
		if o.refs[id] == nil {
			v.sum.Unreferred++
			v.sum.UnrefBytes += size
		}
	}
	return nil
}

// inUse collects the objects of the files there are.
func (v *verifying) inUse(o *objects) error {
	return walk(v.x, func(path string, e loroindex.Entry) error {
		if e.Kind == loroindex.Dir {
			v.sum.Directories++
		} else {
			v.sum.Files++
		}
		switch {
		case e.Kind != loroindex.File || e.Object.IsZero() && e.Size == 0:
		case e.Object.IsZero():
			return v.report(finding{Key: loroindex.HeadKey, Path: path, Fault: fmt.Sprintf("a file of %d bytes has no object that holds them", e.Size)})
		case e.Manifest:
			o.refer(e.Object, reference{size: -1, node: e.Node, manifest: true})
		default:
			if ref := o.refer(e.Object, reference{size: e.Size, node: e.Node}); ref.size != e.Size {
				return v.report(finding{Key: e.Object.Key(), Path: path, Fault: fmt.Sprintf("it has %d bytes for one file and %d for another", ref.size, e.Size)})
			}
		}
		return v.ctx.Err()
	})
}

// inHistory collects the objects that files once had.
func (v *verifying) inHistory(o *objects) error {
	for c, err := range v.x.Contents() {
		if err != nil {
			return err
		}
		if !c.Object.IsZero() && o.refs[c.Object] == nil {
			o.refer(c.Object, reference{size: -1, manifest: c.Manifest})
		}
	}
	return nil
}

// list finds out which objects are there.
func (v *verifying) list(o *objects) error {
	for info, err := range v.b.store.List(v.ctx, objectid.KeyPrefix, "") {
		if err != nil {
			return err
		}
		if n := len(o.there); n%1000 == 0 {
			v.step(loroindex.Step{Verb: "listing", Unit: "objects", Done: n, Total: max(len(o.refs), n)})
		}
		id, err := objectid.Parse(strings.TrimPrefix(info.Key, objectid.KeyPrefix))
		if err != nil {
			if err := v.report(finding{Key: info.Key, Note: "not the name of an object: ignored"}); err != nil {
				return err
			}
			continue
		}
		o.there[id] = info.Size
	}
	return nil
}

// manifests reads the manifests and collects the objects that they name.
func (v *verifying) manifests(o *objects) error {
	var ids []objectid.ID
	for _, id := range sorted(o.refs) {
		if o.refs[id].manifest {
			ids = append(ids, id)
		}
	}
	return v.readEach(o, "manifests", ids, func(id objectid.ID, body []byte) error {
		ref := o.refs[id]
		list, err := manifest.Decode(body, config.MaxChunkSize)
		if err != nil {
			return v.fault(id, ref, err.Error())
		}
		if ref.node != loroindex.NoNode {
			if e, err := v.x.Stat(ref.node); err == nil && e.Size != list.Size() {
				if err := v.fault(id, ref, fmt.Sprintf("it describes %d bytes, the file has %d", list.Size(), e.Size)); err != nil {
					return err
				}
			}
		}
		for _, e := range list {
			if !e.IsHole() {
				o.refer(e.Object, reference{size: -1, least: e.Offset + e.Length, node: ref.node})
			}
		}
		return nil
	})
}

// compare checks that what is named is there and has the size it must have.
func (v *verifying) compare(o *objects) error {
	for i, id := range sorted(o.refs) {
		if i%1000 == 0 {
			v.step(loroindex.Step{Verb: "checking", Unit: "objects", Done: i, Total: len(o.refs)})
		}
		ref := o.refs[id]
		size, ok := o.there[id]
		switch {
		case !ok && ref.node == loroindex.NoNode:
			v.sum.Gone++
		case !ok:
			size, ok, err := v.look(id)
			if err != nil {
				return err
			}
			if ok {
				o.there[id] = size
			} else if err := v.fault(id, ref, absent); err != nil {
				return err
			}
		case ref.size >= 0 && size != ref.size:
			if err := v.fault(id, ref, fmt.Sprintf("it has %d bytes, the file %d", size, ref.size)); err != nil {
				return err
			}
		case size < ref.least:
			if err := v.fault(id, ref, fmt.Sprintf("it has %d bytes, a file needs %d of it", size, ref.least)); err != nil {
				return err
			}
		}
		if size, ok := o.there[id]; ok && ref.node != loroindex.NoNode {
			v.sum.Referred++
			v.sum.ReferredBytes += size
		} else if ok {
			v.sum.History++
			v.sum.HistoryBytes += size
		}
	}
	return nil
}

const absent = "it does not exist, and a file needs it"

// look asks for an object that was not in the listing.
func (v *verifying) look(id objectid.ID) (size int64, ok bool, err error) {
	if s, can := objstore.As[objstore.Stater](v.b.store); can {
		info, err := s.Stat(v.ctx, id.Key())
		size = info.Size
		if errors.Is(err, objstore.ErrNotExist) {
			return 0, false, nil
		}
		return size, err == nil, err
	}
	return 0, false, nil
}

// readAll reads what is named and checks that it is what its name says.
func (v *verifying) readAll(o *objects) error {
	if !v.readData {
		return nil
	}
	var ids []objectid.ID
	for _, id := range sorted(o.refs) {
		if !o.refs[id].read {
			ids = append(ids, id)
		}
	}
	return v.readEach(o, "objects", ids, func(objectid.ID, []byte) error { return nil })
}

// readEach reads those of the objects that are there, several at a time, reports
// the ones that are not what their names say, and hands over the others one by
// one.
func (v *verifying) readEach(o *objects, unit string, ids []objectid.ID, use func(objectid.ID, []byte) error) error {
	ids = slices.DeleteFunc(ids, func(id objectid.ID) bool {
		_, ok := o.there[id]
		return !ok
	})
	var total, done int64
	for _, id := range ids {
		total += o.there[id]
	}
	ctx, cancel := context.WithCancel(v.ctx)
	defer cancel()
	var (
		mu     sync.Mutex // held while an object is looked at; guards all but v.b
		failed error
		count  int
		wg     sync.WaitGroup
		slots  = make(chan struct{}, readers)
		memory = semaphore.NewWeighted(readerBytes)
	)
	take := func(id objectid.ID, size int64, body []byte, err error) error {
		ref := o.refs[id]
		ref.read = true
		count++
		done += size
		v.step(loroindex.Step{Verb: "reading", Unit: unit, Done: count, Total: len(ids), DoneBytes: done, TotalBytes: total})
		switch {
		case errors.Is(err, objstore.ErrNotExist) && ref.node == loroindex.NoNode:
			return nil // deleted since it was listed
		case errors.Is(err, objstore.ErrNotExist):
			return v.fault(id, ref, absent)
		case errors.Is(err, objstore.ErrTooLarge), errors.Is(err, objstore.ErrCorrupt):
			return v.fault(id, ref, err.Error())
		case err != nil:
			return err
		}
		v.sum.Read++
		if got := objectid.Of(body); got != id {
			return v.fault(id, ref, fmt.Sprintf("the SHA-256 of its %d bytes is %s", len(body), got))
		}
		return use(id, body)
	}
	for _, id := range ids {
		mu.Lock()
		size := o.there[id]
		mu.Unlock()
		weight := min(size, readerBytes)
		slots <- struct{}{}
		if memory.Acquire(ctx, weight) != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			defer memory.Release(weight)
			body, err := v.b.store.Get(ctx, id.Key(), size)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				return
			}
			if failed = take(id, size, body, err); failed != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return cmp.Or(failed, v.ctx.Err())
}

// fault reports what is wrong with an object.
func (v *verifying) fault(id objectid.ID, ref *reference, what string) error {
	f := finding{Key: id.Key(), Fault: what}
	if ref.node != loroindex.NoNode {
		f.Path, _ = v.x.Path(ref.node)
	}
	return v.report(f)
}

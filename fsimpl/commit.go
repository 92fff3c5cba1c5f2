package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/fsimpl/staging"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/oserror"
	"github.com/hamflx/pocket/loroindex"
)

const (
	// headSize is how long the first object of a file of several chunks is, and the rest of its first chunk is
	// another one: what looks at the beginning of a file, as most do that read one at all, waits for no more
	// than this.
	headSize = 256 << 10
	// foldAbove is how many extents a chunk-sized part of a file may have before a
	// commit writes it anew as one chunk.
	foldAbove = 64
	// sealAbove is how many partly written slots a file may have before they are
	// turned into objects: each holds an open file.
	sealAbove = 64
	// wholeWait is how long a commit waits for the store to give what would make the
	// file one object again, or fold it. It is no reason to refuse what was written.
	wholeWait = 5 * time.Second
	// wholeTries is how often it is fetched and then not there all the same: it was evicted, another
	// writer came in between, or it cannot be read.
	wholeTries = 3
)

// missing is the error of a commit that needs bytes of the file's earlier content
// which are not on this machine.
type missing struct {
	objects []manifest.Extent
	err     error // why one of them that is here cannot be read: fetching it would not change that
}

func (m *missing) Error() string {
	if m.err != nil {
		return m.err.Error()
	}
	return fmt.Sprintf("%d objects are not on this machine", len(m.objects))
}

// commitAndWait commits a file and returns when the commit survives the process.
func (fs *FS) commitAndWait(ctx context.Context, ino *inode) error {
	if err := fs.commit(ctx, ino); err != nil {
		return err
	}
	ino.mu.RLock()
	ticket := ino.ticket
	ino.mu.RUnlock()
	if ticket == nil {
		return nil
	}
	return ticket.Wait()
}

// commit turns what was written to a file into objects and one index operation, and
// hands both to the queue. Without changes, or for an unlinked file, it does nothing.
// ctx bounds only what has to be fetched.
func (fs *FS) commit(ctx context.Context, ino *inode) error {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	apart := false
	for tries := 1; ; tries++ {
		if !ino.isChanged() || fs.isRemoved(ino.node) {
			return nil
		}
		if err := fs.canCommit(ino); err != nil {
			return err
		}
		if err := ino.load(ctx, false); err != nil {
			return err
		}
		ino.mu.Lock()
		err := ino.commitLocked(apart)
		if oserror.DiskFull(err) && !apart && ino.cutsOff() {
			err = ino.commitLocked(true) // a manifest of what it has is less than the rest written anew
		}
		ino.mu.Unlock()
		if isFull(err) {
			if err := fs.awaitRoom(ctx, ino, false, err); err != nil {
				return err
			}
			continue
		}
		var m *missing
		if !errors.As(err, &m) {
			return err
		}
		// The lock is not held while the network is asked; another writer may
		// come in between, and then this is tried again.
		err = m.err
		if err == nil && tries > wholeTries {
			err = m
		}
		if err == nil {
			err = fs.bring(ctx, m)
		}
		if err != nil {
			// What was there stays where it is, and the file consists of it and of
			// what was written, until a later commit makes it whole.
			fs.log.Debug("a file stays in parts", "node", ino.node, "error", err)
			apart = true
		}
	}
}

// bring fetches what a commit needs.
func (fs *FS) bring(ctx context.Context, m *missing) error {
	ctx, cancel := context.WithTimeout(ctx, wholeWait)
	defer cancel()
	for _, e := range m.objects {
		if err := fs.fetch.Keep(ctx, e.Object, max(e.Offset+e.Length, fs.opts.ChunkSize)); err != nil {
			return err
		}
	}
	return nil
}

// commitLocked is commit with mu held. With apart it does without the file's earlier
// content: what it is not on this machine stays in the objects it is in.
func (i *inode) commitLocked(apart bool) error {
	size, makesRoom := i.length(), i.cutsOff()
	content := loroindex.Content{Size: size}
	var err error
	if size <= i.fs.opts.ChunkSize && !apart {
		err = i.sealWhole(size)
	} else {
		err = i.sealParts(size, apart)
	}
	if err != nil {
		return err
	}
	content.Object, content.Manifest, err = i.putManifest(size)
	if err != nil {
		return err
	}
	var names map[objectid.ID]bool
	inContent := func(id objectid.ID) bool {
		if id == content.Object {
			return true
		}
		if names == nil {
			names = make(map[objectid.ID]bool, len(i.extents))
			for _, e := range i.extents {
				names[e.Object] = true
			}
		}
		return names[id]
	}
	i.dropFresh(inContent)
	if content.Manifest {
		content.First = i.extents[0].Object
		i.fs.noteHoles(content.Object, i.extents)
	}

	i.attrMu.Lock()
	content.ModTime = i.mtime
	written := i.ctime
	i.attrMu.Unlock()
	queued := false
	var kept besides
	var e loroindex.Entry
	err = i.fs.index.Update(func(tx *loroindex.Tx) (err error) {
		if kept, err = i.giveWay(tx, content); err != nil {
			return err
		}
		if e, err = tx.Stat(i.node); err != nil {
			return err
		}
		return tx.SetContentOf(i.node, content, written)
	}, func(op loroindex.Op) {
		i.ticket = i.fs.queue.Add(
			journal.Entry{Peer: op.Peer, Start: op.Start, End: op.End, Update: op.Update, MakesRoom: makesRoom},
			transfer.Change{Node: uint64(i.node), Objects: i.fresh, Replaces: true, Names: inContent, Offered: i.early.offers, At: placeOf(&e)})
		i.peer, i.end, queued = op.Peer, op.End, true
	})
	if errors.Is(err, loroindex.ErrRemoved) {
		return nil // unlinked just now: what was written is for open handles alone
	}
	if err != nil {
		return err
	}
	i.fs.tellKept(kept, i.node)
	if !queued { // the same content as before
		i.dropFresh(func(objectid.ID) bool { return false })
	}
	i.fresh, i.early = nil, early{}
	i.attrMu.Lock()
	i.content, i.changed = content, false
	i.attrMu.Unlock()
	return nil
}

// sealWhole makes one object of a file of at most one chunk. Called with mu held.
func (i *inode) sealWhole(size int64) error {
	switch {
	case size == 0:
		i.staged.Discard()
		i.setExtents(nil)
		return nil
	case i.staged.Empty() && len(i.extents) == 1 && i.extents[0].Length == size && i.extents[0].Offset == 0 &&
		!i.extents[0].IsHole() && i.objectSize(i.extents[0]) == size:
		return nil
	case i.staged.Covers(staging.Range{From: 0, To: size}):
		return i.sealSlot(0, size)
	}
	body := make([]byte, size)
	if err := i.readLocal(body, 0); err != nil {
		return err
	}
	id := objectid.Of(body)
	if err := i.put(id, body); err != nil {
		return err
	}
	i.staged.Discard()
	i.setExtents(manifest.List{{Length: size, Object: id}})
	return nil
}

// objectSize returns the size of the object behind an extent, or -1 when this machine
// does not know. Called with mu held.
func (i *inode) objectSize(e manifest.Extent) int64 {
	if e.Object == i.content.Object && !i.content.Manifest {
		return i.content.Size
	}
	if size, ok := i.fs.cache.Size(e.Object); ok {
		return size
	}
	return -1
}

// sealSlot turns a slot of staging, written from its start for length bytes, into a
// chunk and an extent. Called with mu held.
func (i *inode) sealSlot(n, length int64) error {
	chunk, err := i.staged.Complete(n, length)
	if err != nil {
		return err
	}
	if err := i.adopt(chunk); err != nil {
		i.staged.Restore(n, chunk)
		return err
	}
	start := n * i.fs.opts.ChunkSize
	i.replace(start, manifest.List{{Length: length, Object: chunk.ID}})
	return nil
}

// cutsFirst reports whether the first slot of a file of several chunks becomes two objects.
func (i *inode) cutsFirst() bool { return i.fs.opts.ChunkSize >= 4*headSize }

// head returns how much of a slot is an object of its own, in a file of size bytes: 0 for no part.
func (i *inode) head(n, size int64) int64 {
	if n == 0 && size > i.fs.opts.ChunkSize && i.cutsFirst() {
		return headSize
	}
	return 0
}

// sealHead is sealSlot for the first slot of a larger file. Called with mu held.
func (i *inode) sealHead(length, head int64) error {
	first, rest, err := i.staged.Split(0, head, length)
	if err != nil {
		return err
	}
	if err := errors.Join(i.adopt(first), i.adopt(rest)); err != nil {
		rest.Remove()
		return err
	}
	i.staged.Drop(0)
	i.replace(0, manifest.List{{Length: first.Size, Object: first.ID}, {Length: rest.Size, Object: rest.ID}})
	return nil
}

// replace puts extents over the file's from start on. Called with mu held.
func (i *inode) replace(start int64, with manifest.List) {
	extents, end := i.extents, start+with.Size()
	if extents.Size() < end {
		extents = extents.Truncate(end)
	}
	i.setExtents(extents.Replace(start, end, with))
}

// sealParts makes objects of what was written to a file larger than a chunk: whole
// slots become chunks, and the other ranges share objects of their own, so that a small write
// uploads little. Where a part has too many extents it is written anew, with apart only if
// everything for that is here. Called with mu held.
func (i *inode) sealParts(size int64, apart bool) error {
	chunk := i.fs.opts.ChunkSize
	var parts []staging.Range
	for _, n := range slotsOf(i.staged.Ranges(), chunk) {
		start := n * chunk
		length := min(chunk, size-start)
		switch {
		case i.staged.Covers(staging.Range{From: start, To: start + length}):
			var err error
			if head := i.head(n, size); head > 0 {
				err = i.sealHead(length, head)
			} else {
				err = i.sealSlot(n, length)
			}
			if err != nil {
				return err
			}
		case i.crowded(start, length):
			var m *missing
			if err := i.foldSlot(n, length, i.head(n, size)); err != nil && !(apart && errors.As(err, &m)) {
				return err
			}
		}
	}
	parts = i.staged.Ranges()
	for len(parts) > 0 {
		var total int64
		var count int
		for count < len(parts) && total+parts[count].Len() <= chunk {
			total += parts[count].Len()
			count++
		}
		if err := i.packRanges(parts[:count], total); err != nil {
			return err
		}
		parts = parts[count:]
	}
	i.staged.Discard()
	if i.extents.Size() != size {
		i.setExtents(i.extents.Truncate(size))
	}
	return nil
}

// slotsOf returns the numbers of the slots that ranges lie in, ascending.
func slotsOf(ranges []staging.Range, chunk int64) []int64 {
	var slots []int64
	for _, r := range ranges {
		if n := r.From / chunk; len(slots) == 0 || slots[len(slots)-1] != n {
			slots = append(slots, n)
		}
	}
	return slots
}

// crowded reports whether a slot would have too many extents after what is staged
// for it became objects.
func (i *inode) crowded(start, length int64) bool {
	first, _ := i.search.Find(start)
	last, _ := i.search.Find(start + length)
	extents := last - first
	for _, r := range i.staged.Ranges() {
		if r.From >= start && r.From < start+length {
			extents += 2
		}
	}
	return extents > foldAbove
}

// foldSlot writes a slot anew as one chunk, or as two objects of which the first has head bytes.
func (i *inode) foldSlot(n, length, head int64) error {
	body := make([]byte, length)
	start := n * i.fs.opts.ChunkSize
	if err := i.readLocal(body, start); err != nil {
		return err
	}
	var with manifest.List
	for _, object := range [][]byte{body[:head], body[head:]} {
		if len(object) == 0 {
			continue
		}
		id := objectid.Of(object)
		if err := i.put(id, object); err != nil {
			return err
		}
		with = append(with, manifest.Extent{Length: int64(len(object)), Object: id})
	}
	i.staged.Drop(n)
	i.replace(start, with)
	return nil
}

// packRanges makes one object of some staged ranges, total bytes together.
func (i *inode) packRanges(ranges []staging.Range, total int64) error {
	body := make([]byte, total)
	at := int64(0)
	for _, r := range ranges {
		if err := i.staged.Overlay(body[at:at+r.Len()], r.From); err != nil {
			return err
		}
		at += r.Len()
	}
	id := objectid.Of(body)
	if err := i.put(id, body); err != nil {
		return err
	}
	at = 0
	for _, r := range ranges {
		i.replace(r.From, manifest.List{{Length: r.Len(), Object: id, Offset: at}})
		at += r.Len()
	}
	return nil
}

// readLocal reads the file's current bytes at off from staging and the cache. What
// only the store has makes the error *missing. Called with mu held.
func (i *inode) readLocal(p []byte, off int64) error {
	var m missing
	for _, part := range i.plan(p, off) {
		if i.staged.Covers(staging.Range{From: off + part.at, To: off + part.at + part.extent.Length}) {
			continue
		}
		if _, err := i.fs.cache.ReadAt(part.extent.Object, p[part.at:part.at+part.extent.Length], part.extent.Offset); err != nil {
			m.objects = append(m.objects, part.extent)
			if !errors.Is(err, chunkcache.ErrNotExist) {
				i.fs.log.Warn("a chunk that is on this machine cannot be read", "object", part.extent.Object, "error", err)
				m.err = err
			}
		}
	}
	if len(m.objects) > 0 {
		return &m
	}
	return i.staged.Overlay(p, off)
}

// putManifest returns the object that is the file's content, making a manifest of
// its extents where one is needed. Called with mu held.
func (i *inode) putManifest(size int64) (id objectid.ID, isManifest bool, err error) {
	if size == 0 {
		return objectid.ID{}, false, nil
	}
	if e := i.extents[0]; len(i.extents) == 1 && size <= i.fs.opts.ChunkSize && !e.IsHole() && i.objectSize(e) == size {
		return e.Object, false, nil
	}
	body, err := i.extents.Encode()
	if err != nil {
		return id, false, err
	}
	if int64(len(body)) > i.fs.opts.ChunkSize {
		return id, false, &Error{Op: "commit", Kind: TooLarge, Err: fmt.Errorf("its %d extents need a manifest larger than a chunk: %w", len(i.extents), manifest.ErrTooLarge)}
	}
	id = objectid.Of(body)
	return id, true, i.put(id, body)
}

// commitAll commits every file that was written to. A failure of one does not keep
// the others from it.
func (fs *FS) commitAll(ctx context.Context) error {
	var errs []error
	for _, ino := range fs.changedInodes(0) {
		if err := fs.commitAndWait(ctx, ino); err != nil {
			errs = append(errs, fs.fail("commit", ino.node, err))
		}
		fs.forget(ino)
	}
	return errors.Join(errs...)
}

// changedInodes returns the inodes that were changed at least age ago, and those that
// nobody has open any more.
func (fs *FS) changedInodes(age time.Duration) []*inode {
	before := fs.opts.Now().Add(-age).UnixMicro()
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	var changed []*inode
	for _, ino := range fs.inodes {
		ino.attrMu.Lock()
		if ino.changed && (ino.since <= before || ino.refs == 0) {
			changed = append(changed, ino)
		}
		ino.attrMu.Unlock()
	}
	return changed
}

// commitLoop commits files that stay open for long, so that a log file or a database
// that is never closed reaches the journal and the store too, and tries again what failed
// at the last close.
func (fs *FS) commitLoop() {
	tick := time.NewTicker(commitAfter / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-fs.ctx.Done():
			return
		}
		for _, ino := range fs.changedInodes(commitAfter) {
			if err := fs.commitAndWait(fs.ctx, ino); err != nil {
				fs.log.Warn("a written file cannot be committed; it is tried again", "error", fs.fail("commit", ino.node, err))
			}
			fs.forget(ino)
		}
	}
}

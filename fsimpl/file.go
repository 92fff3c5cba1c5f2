package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/fsimpl/staging"
	"github.com/hamflx/pocket/internal/oserror"
	"github.com/hamflx/pocket/internal/pagebuf"
	"github.com/hamflx/pocket/loroindex"
)

// OpenFlags say what a handle is for.
type OpenFlags uint8

// The flags of Open and Create.
const (
	OpenRead OpenFlags = 1 << iota
	OpenWrite
	OpenAppend   // every write goes to the end; with OpenWrite
	OpenTruncate // the file is emptied first; with OpenWrite
)

// File is an open file. It keeps working when the file is renamed or unlinked.
type File struct {
	fs       *FS
	inode    *inode
	flags    OpenFlags
	parent   Node   // when it was opened
	number   uint64 // of the handle, by Windows' rules
	created  bool   // by Create, which left waiting for the journal to Flush
	released atomic.Bool
	wasRead  atomic.Bool
	ahead    readAhead
}

// Open opens a file.
//
// Errors: IsDir for a directory, Invalid for what is neither.
func (fs *FS) Open(n Node, flags OpenFlags) (*File, error) {
	e, err := fs.index.Stat(n)
	if err != nil {
		return nil, fs.fail("open", n, err)
	}
	switch e.Kind {
	case loroindex.File:
	case loroindex.Dir:
		return nil, &Error{Op: "open", Path: "/" + e.Name, Kind: IsDir}
	default:
		return nil, &Error{Op: "open", Path: "/" + e.Name, Kind: Invalid}
	}
	f := &File{fs: fs, inode: fs.acquire(&e), parent: e.Parent, flags: flags}
	if fs.opts.Rules == Windows {
		f.number = f.inode.opened()
	}
	if flags&OpenTruncate != 0 {
		if err := f.inode.truncate(0); err != nil {
			return nil, errors.Join(fs.fail("truncate", n, err), f.Release())
		}
	}
	return f, nil
}

// Node returns the node of the file.
func (f *File) Node() Node { return f.inode.node }

// Stat describes the file, as FS.Stat does.
func (f *File) Stat() (Attr, error) { return f.fs.Stat(f.inode.node) }

// part is a piece of a read: an extent, cut to what is wanted, and where its bytes go.
type part struct {
	extent manifest.Extent
	at     int64 // in the buffer
}

// plan clears the holes of p, which stands for the file's bytes at off, and returns
// the parts that come from objects. Called with mu held.
func (i *inode) plan(p []byte, off int64) []part {
	var parts []part
	end := off + int64(len(p))
	for n, start := i.search.Find(off); off < end; n++ {
		if n >= len(i.extents) {
			clear(p[len(p)-int(end-off):])
			break
		}
		e := i.extents[n]
		length := min(start+e.Length, end) - off
		at := int64(len(p)) - (end - off)
		if e.IsHole() {
			clear(p[at : at+length])
		} else {
			parts = append(parts, part{manifest.Extent{Length: length, Object: e.Object, Offset: e.Offset + off - start}, at})
		}
		off += length
		start += e.Length
	}
	return parts
}

// ReadAt fills p from the file's bytes at off. It returns how many there are: fewer
// than len(p) only at the end of the file.
//
// Errors: IO when the store cannot give what is needed; never wrong or missing bytes.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.flags&OpenRead == 0 {
		return 0, f.fs.fail("read", f.inode.node, &Error{Op: "read", Kind: BadHandle})
	}
	n, err := f.read(f.fs.ctx, p, off)
	return n, f.fs.fail("read", f.inode.node, err)
}

func (f *File) read(ctx context.Context, p []byte, off int64) (int, error) {
	i := f.inode
	wantFirst := off >= 0 && off < i.fs.opts.ChunkSize
	if err := i.load(ctx, wantFirst); err != nil {
		return 0, err
	}
	for {
		i.mu.RLock()
		if !i.loaded { // content arrived from elsewhere just now
			i.mu.RUnlock()
			if err := i.load(ctx, wantFirst); err != nil {
				return 0, err
			}
			continue
		}
		size := i.length()
		if off >= size || off < 0 {
			i.mu.RUnlock()
			return 0, nil
		}
		p = p[:min(int64(len(p)), size-off)]
		want := staging.Range{From: off, To: off + int64(len(p))}
		if i.staged.Covers(want) {
			err := i.staged.Overlay(p, off)
			i.mu.RUnlock()
			return len(p), err
		}
		parts := i.plan(p, off)
		if err := i.readable(parts); err != nil {
			i.mu.RUnlock()
			return 0, err
		}
		version := i.version
		// How much memory a fetch takes: a file of one object is that object.
		object := i.objectHint()
		f.ahead.advance(f, want)
		first := !f.wasRead.Swap(true)
		if len(parts) == 1 && i.staged.Empty() {
			// The common case: bytes of one chunk that is already here.
			if _, err := i.fs.cache.ReadAt(parts[0].extent.Object, p[parts[0].at:parts[0].at+parts[0].extent.Length], parts[0].extent.Offset); err == nil {
				i.mu.RUnlock()
				if first {
					f.ahead.answered()
					i.fs.siblings.note(f.parent, i.node, size)
				}
				return len(p), nil
			}
		}
		i.mu.RUnlock()
		if first {
			for _, q := range parts { // before what may be read later
				i.fs.fetch.Begin(q.extent.Object, object)
			}
			i.fs.siblings.note(f.parent, i.node, size)
		}
		if err := i.fs.fill(ctx, p, parts, object); err != nil {
			return 0, err
		}
		f.ahead.answered()
		i.mu.RLock()
		if i.version == version {
			err := i.staged.Overlay(p, off)
			i.mu.RUnlock()
			return len(p), err
		}
		i.mu.RUnlock() // a commit moved bytes meanwhile; their objects are all here now
	}
}

// InMemory returns the bytes that ReadAt would fill a buffer of n bytes with, where they are in
// memory anyway and no copy is needed; the caller holds body and releases it. Else body is nil and
// ReadAt is the way. It waits for nothing.
func (f *File) InMemory(n int, off int64) (body *pagebuf.Buffer, bytes []byte) {
	// The first read has more to do.
	if f.flags&OpenRead == 0 || !f.wasRead.Load() || !f.inode.mu.TryRLock() {
		return nil, nil
	}
	i := f.inode
	defer i.mu.RUnlock()
	if !i.loaded || off < 0 || !i.staged.Empty() {
		return nil, nil
	}
	end := min(off+int64(n), i.length())
	at, start := i.search.Find(off)
	if off >= end || at >= len(i.extents) {
		return nil, nil
	}
	e := i.extents[at]
	from := e.Offset + off - start
	to := from + end - off
	if e.IsHole() || end > start+e.Length {
		return nil, nil
	}
	if body = i.fs.fetch.InMemory(e.Object, to); body == nil {
		return nil, nil
	}
	if to > int64(body.Len()) { // ReadAt says what is wrong
		body.Release()
		return nil, nil
	}
	f.ahead.advance(f, staging.Range{From: off, To: end})
	return body, body.Bytes()[from:to]
}

// fill reads the parts of p from the cache or the store, those of several objects
// at the same time, each of about size bytes.
func (fs *FS) fill(ctx context.Context, p []byte, parts []part, size int64) error {
	for _, q := range parts[min(1, len(parts)):] {
		fs.fetch.Begin(q.extent.Object, size)
	}
	for _, q := range parts {
		dst := p[q.at : q.at+q.extent.Length]
		if err := fs.fetch.ReadAt(ctx, q.extent.Object, size, dst, q.extent.Offset); err != nil {
			return err
		}
	}
	return nil
}

// WriteAt writes p at off, or at the end of the file through a handle opened to
// append. All of p is written or, with an error, none or a part of it.
//
// Errors: NoSpace, TooLarge.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.flags&OpenWrite == 0 {
		return 0, f.fs.fail("write", f.inode.node, &Error{Op: "write", Kind: BadHandle})
	}
	f.thaw()
	if err := f.inode.write(p, off, f.flags&OpenAppend != 0); err != nil {
		return 0, f.fs.fail("write", f.inode.node, err)
	}
	return len(p), nil
}

func (i *inode) write(p []byte, off int64, toEnd bool) error {
	if err := i.load(i.fs.ctx, false); err != nil {
		return err
	}
	if err := i.fs.journal.Err(); err != nil {
		return err
	}
	for {
		err := i.writeOnce(p, off, toEnd)
		if !isFull(err) {
			return err
		}
		if err := i.fs.awaitRoom(i.fs.ctx, i, true, err); err != nil {
			return err
		}
	}
}

// writeOnce is write without waiting for room in the cache.
func (i *inode) writeOnce(p []byte, off int64, toEnd bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	size := i.length()
	if toEnd {
		off = size
	}
	end := off + int64(len(p))
	if off < 0 || end > i.fs.maxSize {
		return &Error{Op: "write", Kind: TooLarge, Err: fmt.Errorf("byte %d is beyond the largest file, %d bytes at this chunk_size: %w", end, i.fs.maxSize, manifest.ErrTooLarge)}
	}
	if len(p) == 0 {
		return nil
	}
	stage := func() error {
		if err := i.staged.WriteAt(p, off, i.sealWritten); err != nil {
			return err
		}
		return i.sealFirst(max(size, end))
	}
	err := stage()
	for oserror.DiskFull(err) && i.fs.makeRoom() {
		err = stage()
	}
	if err != nil {
		// Of what goes beyond the end the beginning may be staged, or a chunk already: a commit
		// must not meet it there.
		i.staged.Truncate(size)
		if i.extents.Size() > size {
			i.setExtents(i.extents.Truncate(size))
		}
		return err
	}
	i.touch(max(size, end))
	if i.staged.Slots() > sealAbove {
		// What is staged becomes objects without a commit; nothing is named by
		// the index before close or fsync.
		return i.sealParts(i.length(), true)
	}
	return nil
}

// Truncate cuts the file to size bytes or extends it with a hole. The change is
// committed by Flush or Sync.
func (f *File) Truncate(size int64) error {
	if f.flags&OpenWrite == 0 {
		return f.fs.fail("truncate", f.inode.node, &Error{Op: "truncate", Kind: Invalid})
	}
	f.thaw()
	return f.fs.fail("truncate", f.inode.node, f.inode.truncate(size))
}

// thaw is called before the file is changed through f.
func (f *File) thaw() {
	if f.fs.opts.Rules == Windows {
		f.inode.thaw(f.number)
	}
}

func (i *inode) truncate(size int64) error {
	if size < 0 {
		return &Error{Op: "truncate", Kind: Invalid}
	}
	if size > i.fs.maxSize {
		return &Error{Op: "truncate", Kind: TooLarge, Err: manifest.ErrTooLarge}
	}
	if size > 0 {
		if err := i.load(i.fs.ctx, false); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if size == 0 {
		i.loaded = true
		i.setExtents(nil)
	} else if i.extents.Size() > size {
		i.setExtents(i.extents.Truncate(size))
	}
	i.staged.Truncate(size)
	i.touch(size)
	return nil
}

// Flush is close(2): what was written through any handle of the file is committed
// and survives the process; in Sync mode it is in the store.
//
// Errors: NoSpace, IO. What was written is kept and committed later all the same.
func (f *File) Flush() error {
	if f.flags&OpenWrite == 0 && !f.created {
		return nil
	}
	return f.fs.fail("close", f.inode.node, f.flush())
}

func (f *File) flush() error {
	if err := f.fs.commitAndWait(f.fs.ctx, f.inode); err != nil {
		return err
	}
	if f.fs.opts.Mode != Sync {
		return nil
	}
	f.inode.mu.RLock()
	peer, end := f.inode.peer, f.inode.end
	f.inode.mu.RUnlock()
	return f.fs.published(peer, end)
}

// published waits until an operation is in the store, for Sync mode.
func (fs *FS) published(peer uint64, end int32) error {
	ctx, cancel := context.WithTimeout(fs.ctx, syncPatience)
	defer cancel()
	if err := fs.queue.Published(ctx, peer, end); err != nil {
		if last := fs.queue.Progress().Err; last != nil {
			err = last
		}
		return fmt.Errorf("not in the store yet, kept on this machine and tried again: %w", err)
	}
	return nil
}

// Sync is fsync: as Flush, and it survives power loss too.
func (f *File) Sync() error {
	if err := f.flush(); err != nil {
		return f.fs.fail("fsync", f.inode.node, err)
	}
	return f.fs.fail("fsync", f.inode.node, f.fs.journal.Sync(f.fs.ctx))
}

// Release ends the handle. It must be called exactly once; no other method may
// be called afterwards.
func (f *File) Release() error {
	if f.released.Swap(true) {
		return nil
	}
	return f.fs.fail("close", f.inode.node, f.fs.release(f.inode))
}

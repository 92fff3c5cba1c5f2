package fsimpl

import (
	"context"
	"fmt"
	"sync"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/fsimpl/staging"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// inode is a file that is open, or whose last commit failed: its content as the
// index has it and what was written since.
type inode struct {
	fs   *FS
	node Node
	ino  uint64
	refs int // open handles and callers; guarded by FS.mu

	// mu guards the content below. It is held across reads and writes of this
	// file's staging and cache files, never across the network and never while
	// another inode's is wanted.
	mu      sync.RWMutex
	content loroindex.Content // what the index has, or had when the file was opened last; changed while attrMu is held too
	loaded  bool              // extents is valid: it need not be read from content's manifest
	extents manifest.List     // without what staged holds; may be shorter than size: the rest is a hole
	search  manifest.Index    // of extents
	reach   int64             // the last byte that an extent has of its object
	version uint64            // counts changes of extents
	staged  *staging.File     // written and not in extents yet
	fresh   []journal.Upload  // objects in extents that no commit named yet; one pin each is the queue's to be
	early   early             // which of those are uploaded before the commit
	pins    []objectid.ID     // one pin each, held until the inode is forgotten: readers of an unlinked file need them
	ticket  *journal.Ticket   // of the last commit
	peer    uint64            // the last commit's operation, for Sync mode
	end     int32

	sweep sweep // has a lock of its own, an inner one of mu

	// attrMu guards what stat shows, so that stat waits for no disk. It is the
	// innermost lock. size changes only while mu is held too.
	attrMu   sync.Mutex
	size     int64
	mtime    int64
	ctime    int64
	changed  bool            // something is to be committed
	since    int64           // microseconds since 1970: when changed became true
	unlinked *loroindex.Info // what was set since the file was unlinked, or nil
	opens    uint64          // handles opened so far; counted by Windows' rules only
	frozen   uint64          // writes through handles up to this one leave mtime as it is
}

// openInode returns the inode of n if it is in use, else nil.
func (fs *FS) openInode(n Node) *inode {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.inodes[n]
}

// acquire returns the inode of a file, in use until release.
func (fs *FS) acquire(e *loroindex.Entry) *inode {
	fs.mu.Lock()
	ino := fs.inodes[e.Node]
	if ino == nil {
		ino = &inode{fs: fs, node: e.Node, ino: e.Ino, content: e.Content, staged: fs.staging.NewFile(), size: e.Size}
		fs.inodes[e.Node] = ino
	}
	ino.refs++
	fs.mu.Unlock()
	ino.refresh()
	return ino
}

// refresh takes over content that came into the index from elsewhere, unless the
// file was written here since. Until then reading and stat go by the content of before.
func (i *inode) refresh() {
	i.mu.Lock()
	defer i.mu.Unlock()
	e, err := i.fs.index.Stat(i.node)
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	if i.changed || err != nil || e.Content == i.content {
		return
	}
	if !sameBytes(e.Content, i.content) {
		i.loaded, i.extents, i.search, i.reach = false, nil, manifest.Index{}, 0
		i.version++
		i.fs.arrivals.note([]loroindex.Change{{Node: i.node, What: loroindex.Altered}}) // it is shown from now on
	}
	i.content, i.size = e.Content, e.Size
}

// release gives back what acquire gave. The last one commits what was written after
// the last flush (through a memory mapping) and forgets the inode. A commit that
// fails leaves it to the background to try again.
func (fs *FS) release(ino *inode) error {
	fs.mu.Lock()
	ino.refs--
	last := ino.refs == 0
	fs.mu.Unlock()
	if !last {
		return nil
	}
	ino.sweep.end()
	err := fs.commitAndWait(fs.ctx, ino)
	fs.forget(ino)
	return err
}

// forget drops an inode that is neither in use nor changed, or was unlinked.
func (fs *FS) forget(ino *inode) {
	removed, outdated := fs.isRemoved(ino.node), ino.isOutdated()
	fs.mu.Lock()
	if ino.refs > 0 || ino.isChanged() && !removed || fs.inodes[ino.node] != ino {
		fs.mu.Unlock()
		return
	}
	if outdated {
		fs.arrivals.note([]loroindex.Change{{Node: ino.node, What: loroindex.Altered}})
	}
	delete(fs.inodes, ino.node)
	fs.mu.Unlock()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	ino.staged.Discard()
	ino.dropFresh(func(objectid.ID) bool { return false })
	for _, id := range ino.pins {
		fs.cache.Unpin(id)
	}
	ino.pins = nil
}

// isRemoved reports whether a node was unlinked here. One that another machine unlinked comes
// back with what is written here.
func (fs *FS) isRemoved(n Node) bool { return fs.index.RemovedHere(n) }

func (i *inode) isChanged() bool {
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	return i.changed
}

// isOutdated reports whether the index has another content, which arrived while the file was open.
func (i *inode) isOutdated() bool {
	e, err := i.fs.index.Stat(i.node)
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	return err == nil && !i.changed && !sameBytes(e.Content, i.content)
}

// overlay puts what the index does not have, or not yet, over an entry; and the content that is read while
// the file is open, where another one arrived since.
func (i *inode) overlay(e *loroindex.Entry) {
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	if i.unlinked != nil {
		e.Info = *i.unlinked
	}
	switch {
	case i.changed:
		e.Size, e.ModTime, e.Changed = i.size, i.mtime, max(e.Changed, i.ctime)
	case !sameBytes(e.Content, i.content):
		e.Content = i.content
	}
}

// touch notes that content of the file changed and it now has size bytes. Called
// with mu held.
func (i *inode) touch(size int64) {
	now := i.fs.opts.Now().UnixMicro()
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	if !i.changed {
		i.since = now
	}
	i.size, i.ctime, i.changed = size, now, true
	if i.frozen == 0 {
		i.mtime = now
	}
}

// opened numbers a handle of the file, from 1.
func (i *inode) opened() uint64 {
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	i.opens++
	return i.opens
}

// freeze lets mtime, which was set just now, stay whatever handles write that are open.
// Windows' cache writes what they wrote before at any later time. Called with attrMu held.
func (i *inode) freeze() { i.frozen = i.opens }

// thaw is called before a handle writes: with one opened since, mtime moves on.
func (i *inode) thaw(handle uint64) {
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	if handle > i.frozen {
		i.frozen = 0
	}
}

// length returns the file's size in bytes.
func (i *inode) length() int64 {
	i.attrMu.Lock()
	defer i.attrMu.Unlock()
	return i.size
}

// load makes extents valid, reading the manifest from the store if there is one. The
// object of the file's first bytes is fetched at the same time when they are wanted.
func (i *inode) load(ctx context.Context, wantFirst bool) error {
	for {
		i.mu.RLock()
		loaded, content := i.loaded, i.content
		i.mu.RUnlock()
		if loaded {
			return nil
		}
		if wantFirst && !content.First.IsZero() {
			i.fs.fetch.Begin(content.First, i.fs.opts.ChunkSize)
		}
		extents, err := i.fs.extentsOf(ctx, content)
		if err != nil {
			return err
		}
		i.mu.Lock()
		if !i.loaded && i.content == content {
			i.loaded = true
			i.setExtents(extents)
		}
		i.mu.Unlock()
	}
}

// extentsOf returns the extents of a content of the index.
func (fs *FS) extentsOf(ctx context.Context, c loroindex.Content) (manifest.List, error) {
	switch {
	case c.Size <= 0:
		return nil, nil
	case c.Object.IsZero():
		// Whoever wrote this lost the content: it is not zeros.
		return nil, &Error{Op: "read", Kind: IO, Err: fmt.Errorf("the index names no object that holds its %d bytes", c.Size)}
	case !c.Manifest:
		return manifest.List{{Length: c.Size, Object: c.Object}}, nil
	}
	body, err := fs.fetch.Get(ctx, c.Object, manifestGuess)
	if err != nil {
		return nil, err
	}
	extents, err := manifest.Decode(body, maxObject)
	if err != nil {
		return nil, &Error{Op: "read manifest", Path: c.Object.Key(), Kind: IO, Err: err}
	}
	fs.noteHoles(c.Object, extents)
	return extents.Truncate(c.Size), nil
}

// readable returns an error when parts of the file are in an object that is too large to be read: the first Pocket wrote
// files of any size as one. Called with mu held.
func (i *inode) readable(parts []part) error {
	if c := i.content; !c.Manifest && c.Size > chunkcache.MaxChunk {
		for _, p := range parts {
			if p.extent.Object == c.Object {
				return &Error{Op: "read", Kind: IO, Err: fmt.Errorf("its %d bytes are one object, and no more than %d are read: fetch %s with another program and copy it over this file",
					c.Size, int64(chunkcache.MaxChunk), c.Object.Key())}
			}
		}
	}
	return nil
}

// objectHint returns about how large the file's objects are. One that is no manifest is
// as large as the file: the first Pocket wrote files of any size so. Called with mu held.
func (i *inode) objectHint() int64 {
	if i.content.Manifest || i.content.Size == 0 {
		return max(i.fs.opts.ChunkSize, i.reach) // it may have been written with a larger chunk_size
	}
	return i.content.Size
}

const (
	// maxObject is the size of the largest object that may be referred to: the
	// largest chunk_size that can be configured.
	maxObject = 64 << 20
	// manifestGuess is about how large a manifest is, to account for memory.
	manifestGuess = 64 << 10
	// extentBytes is at most how long an extent is in a manifest.
	extentBytes = 48
)

// maxFileSize returns the size of the largest file: its manifest must fit into one
// chunk, as every object does.
func maxFileSize(chunkSize int64) int64 { return chunkSize / extentBytes * chunkSize }

// setExtents replaces the extents. Called with mu held.
func (i *inode) setExtents(l manifest.List) {
	i.extents, i.search, i.reach = l, l.Index(), 0
	for n := range l {
		if !l[n].IsHole() {
			i.reach = max(i.reach, l[n].Offset+l[n].Length)
		}
	}
	i.version++
}

// noteHoles keeps in mind how much of a content with holes is stored, for stat.
func (fs *FS) noteHoles(object objectid.ID, extents manifest.List) {
	var stored int64
	holes := false
	for _, e := range extents {
		if e.IsHole() {
			holes = true
		} else {
			stored += e.Length
		}
	}
	if !holes {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.sparse == nil || len(fs.sparse) >= sparseMost {
		fs.sparse = make(map[objectid.ID]int64)
	}
	fs.sparse[object] = stored
}

// sparseMost bounds the memory of noteHoles.
const sparseMost = 1 << 14

// put makes an object of the file that the store does not have yet: in the cache and
// pinned. Called with mu held.
func (i *inode) put(id objectid.ID, body []byte) error {
	if err := i.putPinned(id, body); err != nil {
		return err
	}
	return i.keep(id, int64(len(body)))
}

// adopt is put for a chunk taken out of staging. Called with mu held.
func (i *inode) adopt(c staging.Chunk) error {
	if c.Path == "" {
		return i.put(c.ID, c.Body)
	}
	if err := i.fs.cache.Adopt(c.ID, c.Path, c.Size, true); err != nil {
		return err
	}
	return i.keep(c.ID, c.Size)
}

func (i *inode) keep(id objectid.ID, size int64) error {
	if err := i.fs.cache.Pin(id); err != nil {
		i.fs.cache.Unpin(id)
		return err
	}
	i.pins = append(i.pins, id)
	i.fresh = append(i.fresh, journal.Upload{Object: id, Size: size, Node: i.ino})
	return nil
}

// dropFresh gives up the queue's pins of fresh objects that keep does not want, and
// forgets those. Called with mu held.
func (i *inode) dropFresh(keep func(objectid.ID) bool) {
	kept := i.fresh[:0]
	for _, u := range i.fresh {
		if keep(u.Object) {
			kept = append(kept, u)
		} else {
			i.fs.cache.Unpin(u.Object)
		}
	}
	i.fresh = kept
	i.withdraw(keep)
}

package fsimpl

import (
	"sync"
	"sync/atomic"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// Node names a file, directory or link for as long as the FS is open.
type Node = loroindex.Node

// Root is the mount's root directory.
const Root = loroindex.Root

// FileKind is what a node is: loroindex.File, loroindex.Dir and so on.
type FileKind = loroindex.Kind

// Attr is what stat shows. Times are microseconds since 1970.
type Attr struct {
	Node       Node
	Ino        uint64 // stable across restarts and machines, never 0
	Kind       FileKind
	Mode       uint32 // permission bits, setuid, setgid, sticky: 07777
	UID, GID   uint32
	Nlink      uint32 // of a directory 2 and its subdirectories, 1 if nobody looked into it yet; else 1; 0 for what is unlinked and still open
	Rdev       uint64
	Size       int64 // bytes
	Blocks     int64 // units of 512 bytes
	Atime      int64 // equals Mtime unless it was set since the mount began: none is kept
	Mtime      int64
	Ctime      int64
	Btime      int64
	Attributes uint32 // Windows file attribute bits
}

// Owner is who asks for a new node.
type Owner struct{ UID, GID uint32 }

// Statfs describes the mount as a volume.
type Statfs struct {
	BlockSize        int64 // bytes
	Blocks, Free     int64 // units of BlockSize
	Files, FreeFiles int64
	NameMax          int64 // bytes of UTF-8 in a name
}

// volumeFree is the room a mount claims to have: a bucket has no end, and programs
// that ask before they copy must not be told so little that they refuse.
const volumeFree = 1 << 50

// Stat describes a node, also one that is unlinked and still open.
func (fs *FS) Stat(n Node) (Attr, error) {
	e, err := fs.index.Stat(n)
	if err != nil {
		return Attr{}, fs.fail("stat", n, err)
	}
	return fs.attr(&e), nil
}

// attr makes an Attr of an entry, with what open files know better.
func (fs *FS) attr(e *loroindex.Entry) Attr {
	stored := int64(-1) // bytes, where that is less than the size
	if e.Kind == loroindex.File {
		ino, sparse := fs.statOpen(e.Node, e.Object)
		stored = sparse
		if ino != nil {
			ino.overlay(e)
		}
	}
	if e.Node == Root && e.Created == 0 { // nothing was recorded about it yet
		e.Mode = fs.opts.RootMode
		if e.ModTime == 0 {
			e.ModTime = fs.opened
		}
		e.Created, e.Changed = min(e.ModTime, fs.opened), max(e.Changed, e.ModTime)
	}
	a := Attr{
		Node: e.Node, Ino: e.Ino, Kind: e.Kind, Mode: e.Mode, Nlink: 1, Rdev: e.Rdev,
		UID: fs.opts.UID, GID: fs.opts.GID, Size: e.Size,
		Mtime: e.ModTime, Ctime: e.Changed, Btime: e.Created, Attributes: e.Attributes,
	}
	if e.UID >= 0 {
		a.UID = uint32(e.UID)
	}
	if e.GID >= 0 {
		a.GID = uint32(e.GID)
	}
	if e.Kind == loroindex.Dir && e.Subdirs >= 0 {
		a.Nlink = 2 + uint32(e.Subdirs)
	}
	if e.Removed {
		a.Nlink = 0
	}
	if e.Kind == loroindex.Symlink {
		a.Size = int64(len(e.Target))
	}
	if stored < 0 || stored > a.Size {
		stored = a.Size
	}
	a.Blocks = (stored + 511) / 512
	a.Atime = fs.atimes.get(e.Node, a.Mtime)
	a.Ctime = fs.ctimes.get(e.Node, a.Ctime)
	return a
}

// statOpen returns the inode of a file if it is in use, and how many bytes of a content
// are stored if that is known to be less than its size, else -1.
func (fs *FS) statOpen(n Node, object objectid.ID) (*inode, int64) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	if stored, ok := fs.sparse[object]; ok {
		return fs.inodes[n], stored
	}
	return fs.inodes[n], -1
}

// accessTimes holds the access times that programs set. Pocket keeps none, but a
// program that sets one and looks (touch -a, cp -p, test suites) should find it.
type accessTimes struct {
	mu    sync.RWMutex
	times map[Node]int64 // guarded by mu
}

// accessTimesMost bounds the memory for times that nobody may ever ask for.
const accessTimesMost = 1 << 16

func (t *accessTimes) get(n Node, otherwise int64) int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if at, ok := t.times[n]; ok {
		return at
	}
	return otherwise
}

func (t *accessTimes) set(n Node, us int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.times == nil || len(t.times) >= accessTimesMost {
		t.times = make(map[Node]int64)
	}
	t.times[n] = us
}

// changeTimes holds the times of change that programs set; Windows lets them.
type changeTimes struct {
	count atomic.Int64 // times there are: nearly always none
	mu    sync.RWMutex
	times map[Node]changeTime // guarded by mu
}

// changeTime stands for the time of change that was shown when it was set, and for no later one.
type changeTime struct{ set, was int64 }

func (t *changeTimes) get(n Node, otherwise int64) int64 {
	if t.count.Load() == 0 {
		return otherwise
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if ct, ok := t.times[n]; ok && ct.was == otherwise {
		return ct.set
	}
	return otherwise
}

// set lets us be shown for n; shown is what is shown now.
func (t *changeTimes) set(n Node, us, shown int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.times == nil || len(t.times) >= accessTimesMost {
		t.times = make(map[Node]changeTime)
	}
	if ct, ok := t.times[n]; ok && ct.set == shown {
		shown = ct.was
	}
	t.times[n] = changeTime{us, shown}
	t.count.Store(int64(len(t.times)))
}

// Statfs describes the volume. The numbers of files and bytes are those of the
// directories read so far; the first call has the rest read in the background.
func (fs *FS) Statfs() Statfs {
	const block = 4096
	fs.counting.Do(func() {
		fs.work.Go(func() {
			if err := fs.index.LoadAll(fs.ctx); err != nil && fs.ctx.Err() == nil {
				fs.log.Warn("the files of the mount cannot be counted", "error", err)
			}
		})
	})
	s := fs.index.Stats()
	used := s.Bytes/block + int64(s.Files+s.Dirs)
	return Statfs{
		BlockSize: block, Blocks: used + volumeFree/block, Free: volumeFree / block,
		Files: int64(s.Files+s.Dirs) + 1<<30, FreeFiles: 1 << 30, NameMax: loroindex.MaxName,
	}
}

package fusehost

import (
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/pagebuf"
	"github.com/hamflx/pocket/loroindex"
)

// fake is a file system in memory, by the contract of *fsimpl.FS, small enough to be
// trusted at a glance: one lock, whole contents as slices.
type fake struct {
	mu    sync.Mutex
	nodes map[fsimpl.Node]*fakeNode // guarded by mu, with all that is in them
	last  fsimpl.Node

	// before, if set, runs ahead of every operation, without the lock.
	before func(op, name string) error
	ops    []string // what changed names, in order

	inMemory bool         // contents are in memory and need no copy
	arrived  atomic.Int64 // ArrivedWithin, of all files

	ended   chan struct{} // closed by EndWaits
	endOnce sync.Once
}

type fakeNode struct {
	attr     fsimpl.Attr
	parent   fsimpl.Node
	name     string
	children map[string]fsimpl.Node
	target   string
	data     []byte
	opens    int
}

func newFake() *fake {
	f := &fake{nodes: map[fsimpl.Node]*fakeNode{}, last: fsimpl.Root, ended: make(chan struct{})}
	f.nodes[fsimpl.Root] = f.make(fsimpl.Root, loroindex.Dir, 0o755, fsimpl.Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	return f
}

func (f *fake) make(n fsimpl.Node, kind fsimpl.FileKind, mode uint32, owner fsimpl.Owner) *fakeNode {
	now := time.Now().UnixMicro()
	x := &fakeNode{attr: fsimpl.Attr{
		Node: n, Ino: uint64(n) + 1000, Kind: kind, Mode: mode, UID: owner.UID, GID: owner.GID, Nlink: 1,
		Atime: now, Mtime: now, Ctime: now, Btime: now,
	}}
	if kind == loroindex.Dir {
		x.children = map[string]fsimpl.Node{}
	}
	return x
}

func failed(kind fsimpl.Kind) error { return &fsimpl.Error{Op: "fake", Kind: kind} }

// lock begins an operation.
func (f *fake) lock(op, name string) error {
	if f.before != nil {
		if err := f.before(op, name); err != nil {
			return err
		}
	}
	f.mu.Lock()
	return nil
}

func (f *fake) child(parent fsimpl.Node, name string) (*fakeNode, error) {
	p := f.nodes[parent]
	switch {
	case p == nil:
		return nil, failed(fsimpl.NotExist)
	case p.children == nil:
		return nil, failed(fsimpl.NotDir)
	case len(name) > 255:
		return nil, failed(fsimpl.NameTooLong)
	}
	n, ok := p.children[name]
	if !ok {
		return nil, failed(fsimpl.NotExist)
	}
	return f.nodes[n], nil
}

func (f *fake) touch(n fsimpl.Node) {
	x := f.nodes[n]
	x.attr.Mtime = time.Now().UnixMicro()
	x.attr.Ctime = x.attr.Mtime
}

func (f *fake) add(op string, parent fsimpl.Node, name string, kind fsimpl.FileKind, mode uint32, owner fsimpl.Owner) (*fakeNode, error) {
	_, err := f.child(parent, name)
	switch {
	case err == nil:
		return nil, failed(fsimpl.Exist)
	case fsimpl.KindOf(err) != fsimpl.NotExist || f.nodes[parent] == nil:
		return nil, err
	}
	f.last++
	if dir := f.nodes[parent].attr; dir.Mode&0o2000 != 0 {
		owner.GID = dir.GID
		if kind == loroindex.Dir {
			mode |= 0o2000
		}
	}
	x := f.make(f.last, kind, mode, owner)
	x.parent, x.name = parent, name
	f.nodes[f.last] = x
	f.nodes[parent].children[name] = f.last
	f.touch(parent)
	f.ops = append(f.ops, op+" "+name)
	return x, nil
}

func (f *fake) Lookup(parent fsimpl.Node, name string) (fsimpl.Attr, error) {
	if err := f.lock("lookup", name); err != nil {
		return fsimpl.Attr{}, err
	}
	defer f.mu.Unlock()
	x, err := f.child(parent, name)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	return x.attr, nil
}

func (f *fake) Resolve(path string) (fsimpl.Node, error) {
	if err := f.lock("resolve", path); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	n := fsimpl.Root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		x, err := f.child(n, name)
		if err != nil {
			return 0, err
		}
		n = x.attr.Node
	}
	return n, nil
}

func (f *fake) Stat(n fsimpl.Node) (fsimpl.Attr, error) {
	if err := f.lock("stat", ""); err != nil {
		return fsimpl.Attr{}, err
	}
	defer f.mu.Unlock()
	x := f.nodes[n]
	if x == nil {
		return fsimpl.Attr{}, failed(fsimpl.NotExist)
	}
	a := x.attr
	a.Size = int64(len(x.data) + len(x.target))
	a.Blocks = (a.Size + 511) / 512
	return a, nil
}

func (f *fake) Path(n fsimpl.Node) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := ""
	for n != fsimpl.Root {
		x := f.nodes[n]
		if x == nil || x.attr.Nlink == 0 {
			return "", failed(fsimpl.NotExist)
		}
		path, n = "/"+x.name+path, x.parent
	}
	return path, nil
}

func (f *fake) Mkdir(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner) (fsimpl.Attr, error) {
	return f.Mknod(parent, name, loroindex.Dir, mode, 0, owner)
}

func (f *fake) Mknod(parent fsimpl.Node, name string, kind fsimpl.FileKind, mode uint32, rdev uint64, owner fsimpl.Owner) (fsimpl.Attr, error) {
	if err := f.lock("mknod", name); err != nil {
		return fsimpl.Attr{}, err
	}
	defer f.mu.Unlock()
	x, err := f.add("mknod", parent, name, kind, mode, owner)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	x.attr.Rdev = rdev
	return x.attr, nil
}

func (f *fake) Symlink(parent fsimpl.Node, name, target string, owner fsimpl.Owner) (fsimpl.Attr, error) {
	if err := f.lock("symlink", name); err != nil {
		return fsimpl.Attr{}, err
	}
	defer f.mu.Unlock()
	x, err := f.add("symlink", parent, name, loroindex.Symlink, 0o777, owner)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	x.target = target
	return x.attr, nil
}

func (f *fake) Readlink(n fsimpl.Node) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.nodes[n]; x == nil || x.attr.Kind != loroindex.Symlink {
		return "", failed(fsimpl.Invalid)
	}
	return f.nodes[n].target, nil
}

func (f *fake) HoldsLinks() bool { return true }

// detach takes x out of its directory.
func (f *fake) detach(x *fakeNode) {
	delete(f.nodes[x.parent].children, x.name)
	f.touch(x.parent)
	x.attr.Nlink = 0
	if x.opens == 0 {
		delete(f.nodes, x.attr.Node)
	}
}

func (f *fake) Unlink(parent fsimpl.Node, name string) (fsimpl.Node, error) {
	if err := f.lock("unlink", name); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	x, err := f.child(parent, name)
	if err != nil {
		return 0, err
	}
	if x.children != nil {
		return 0, failed(fsimpl.IsDir)
	}
	f.ops = append(f.ops, "unlink "+name)
	f.detach(x)
	return x.attr.Node, nil
}

func (f *fake) Rmdir(parent fsimpl.Node, name string) error {
	if err := f.lock("rmdir", name); err != nil {
		return err
	}
	defer f.mu.Unlock()
	x, err := f.child(parent, name)
	switch {
	case err != nil:
		return err
	case x.children == nil:
		return failed(fsimpl.NotDir)
	case len(x.children) > 0:
		return failed(fsimpl.NotEmpty)
	}
	f.ops = append(f.ops, "rmdir "+name)
	f.detach(x)
	return nil
}

func (f *fake) Rename(oldParent fsimpl.Node, oldName string, newParent fsimpl.Node, newName string, flags fsimpl.RenameFlags) error {
	if err := f.lock("rename", oldName); err != nil {
		return err
	}
	defer f.mu.Unlock()
	x, err := f.child(oldParent, oldName)
	if err != nil {
		return err
	}
	if old, err := f.child(newParent, newName); err == nil {
		switch {
		case old == x:
			return nil
		case old.children != nil && x.children == nil:
			return failed(fsimpl.IsDir)
		case old.children == nil && x.children != nil:
			return failed(fsimpl.NotDir)
		case len(old.children) > 0:
			return failed(fsimpl.NotEmpty)
		}
		f.detach(old)
	} else if fsimpl.KindOf(err) != fsimpl.NotExist {
		return err
	}
	for p := newParent; p != fsimpl.Root; p = f.nodes[p].parent {
		if p == x.attr.Node {
			return failed(fsimpl.Invalid)
		}
	}
	f.ops = append(f.ops, "rename "+oldName+" "+newName)
	delete(f.nodes[oldParent].children, oldName)
	f.nodes[newParent].children[newName] = x.attr.Node
	f.touch(oldParent)
	f.touch(newParent)
	x.parent, x.name = newParent, newName
	return nil
}

// change applies fn to a node.
func (f *fake) change(op string, n fsimpl.Node, fn func(x *fakeNode)) error {
	if err := f.lock(op, ""); err != nil {
		return err
	}
	defer f.mu.Unlock()
	x := f.nodes[n]
	if x == nil {
		return failed(fsimpl.NotExist)
	}
	x.attr.Ctime = time.Now().UnixMicro()
	fn(x)
	return nil
}

func (f *fake) Chmod(n fsimpl.Node, mode uint32) error {
	return f.change("chmod", n, func(x *fakeNode) { x.attr.Mode = mode })
}

func (f *fake) Chown(n fsimpl.Node, uid, gid int64) error {
	return f.change("chown", n, func(x *fakeNode) {
		if uid >= 0 {
			x.attr.UID = uint32(uid)
		}
		if gid >= 0 {
			x.attr.GID = uint32(gid)
		}
	})
}

func (f *fake) SetTimes(n fsimpl.Node, atime, mtime *int64) error {
	return f.change("times", n, func(x *fakeNode) {
		if atime != nil {
			x.attr.Atime = *atime
		}
		if mtime != nil {
			x.attr.Mtime = *mtime
		}
	})
}

func (f *fake) SetCreated(n fsimpl.Node, us int64) error {
	return f.change("created", n, func(x *fakeNode) { x.attr.Btime = us })
}

func (f *fake) SetChanged(n fsimpl.Node, us int64) error {
	return f.change("changed", n, func(x *fakeNode) { x.attr.Ctime = us })
}

func (f *fake) SetAttributes(n fsimpl.Node, attributes uint32) error {
	return f.change("attributes", n, func(x *fakeNode) { x.attr.Attributes = attributes })
}

func (f *fake) Truncate(n fsimpl.Node, size int64) error {
	return f.change("truncate", n, func(x *fakeNode) { x.resize(size) })
}

func (x *fakeNode) resize(size int64) {
	if n := int64(len(x.data)); size > n {
		x.data = append(x.data, make([]byte, size-n)...)
	} else {
		x.data = slices.Clip(x.data[:size])
	}
	x.attr.Mtime = time.Now().UnixMicro()
}

func (f *fake) Statfs() fsimpl.Statfs {
	return fsimpl.Statfs{BlockSize: 4096, Blocks: 1 << 30, Free: 1 << 29, Files: 1 << 20, FreeFiles: 1 << 19, NameMax: 255}
}

func (f *fake) IsHere(fsimpl.Node) bool { return true }

func (f *fake) OnMerge(func([]fsimpl.Merged)) {}
func (f *fake) EndWaits()                     { f.endOnce.Do(func() { close(f.ended) }) }

func (f *fake) ArrivedWithin(fsimpl.Node, time.Duration) int64 { return f.arrived.Load() }

func (f *fake) SyncDir(fsimpl.Node) error { return f.changed("syncdir") }

// changed notes an operation that changes nothing here.
func (f *fake) changed(op string) error {
	if err := f.lock(op, ""); err != nil {
		return err
	}
	f.ops = append(f.ops, op)
	f.mu.Unlock()
	return nil
}

type fakeFile struct {
	f     *fake
	x     *fakeNode
	flags fsimpl.OpenFlags
}

func (f *fake) open(n fsimpl.Node, flags fsimpl.OpenFlags) (openFile, error) {
	if err := f.lock("open", ""); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	x := f.nodes[n]
	switch {
	case x == nil:
		return nil, failed(fsimpl.NotExist)
	case x.children != nil:
		return nil, failed(fsimpl.IsDir)
	}
	x.opens++
	if flags&fsimpl.OpenTruncate != 0 {
		x.resize(0)
	}
	return &fakeFile{f, x, flags}, nil
}

func (f *fake) create(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner, flags fsimpl.OpenFlags) (openFile, error) {
	if err := f.lock("create", name); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	x, err := f.add("create", parent, name, loroindex.File, mode, owner)
	if err != nil {
		return nil, err
	}
	x.opens++
	return &fakeFile{f, x, flags}, nil
}

func (o *fakeFile) Node() fsimpl.Node          { return o.x.attr.Node }
func (o *fakeFile) Stat() (fsimpl.Attr, error) { return o.f.Stat(o.x.attr.Node) }

func (o *fakeFile) InMemory(n int, off int64) (*pagebuf.Buffer, []byte) {
	if !o.f.inMemory {
		return nil, nil
	}
	o.f.mu.Lock()
	defer o.f.mu.Unlock()
	if off >= int64(len(o.x.data)) {
		return nil, nil
	}
	body := pagebuf.New(len(o.x.data))
	copy(body.Bytes(), o.x.data)
	return body, body.Bytes()[off:min(off+int64(n), int64(len(o.x.data)))]
}

func (o *fakeFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.f.lock("read", o.x.name); err != nil {
		return 0, err
	}
	defer o.f.mu.Unlock()
	if off >= int64(len(o.x.data)) {
		return 0, nil
	}
	return copy(p, o.x.data[off:]), nil
}

func (o *fakeFile) WriteAt(p []byte, off int64) (int, error) {
	if err := o.f.lock("write", o.x.name); err != nil {
		return 0, err
	}
	defer o.f.mu.Unlock()
	if o.flags&fsimpl.OpenAppend != 0 {
		off = int64(len(o.x.data))
	}
	if end := off + int64(len(p)); end > int64(len(o.x.data)) {
		o.x.resize(end)
	}
	o.x.attr.Mtime = time.Now().UnixMicro()
	return copy(o.x.data[off:], p), nil
}

func (o *fakeFile) Truncate(size int64) error { return o.f.Truncate(o.x.attr.Node, size) }
func (o *fakeFile) Flush() error              { return o.f.changed("flush") }
func (o *fakeFile) Sync() error               { return o.f.changed("sync") }

func (o *fakeFile) Release() error {
	o.f.mu.Lock()
	defer o.f.mu.Unlock()
	o.f.ops = append(o.f.ops, "release")
	o.x.opens--
	if o.x.opens == 0 && o.x.attr.Nlink == 0 {
		delete(o.f.nodes, o.x.attr.Node)
	}
	return nil
}

type fakeDir struct {
	f       *fake
	n       fsimpl.Node
	entries []fsimpl.DirEntry
}

func (f *fake) openDir(n fsimpl.Node) (openDir, error) {
	d := &fakeDir{f: f, n: n}
	return d, d.Rewind()
}

func (d *fakeDir) Rewind() error {
	if err := d.f.lock("readdir", ""); err != nil {
		return err
	}
	defer d.f.mu.Unlock()
	x := d.f.nodes[d.n]
	d.entries = nil
	if x == nil {
		return nil // removed while open: empty
	}
	if x.children == nil {
		return failed(fsimpl.NotDir)
	}
	for _, name := range slices.Sorted(maps.Keys(x.children)) {
		a := d.f.nodes[x.children[name]].attr
		d.entries = append(d.entries, fsimpl.DirEntry{Name: name, Node: a.Node, Kind: a.Kind, Ino: a.Ino})
	}
	return nil
}

func (d *fakeDir) Entries() []fsimpl.DirEntry { return d.entries }

package fusehost

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
)

// layered is a file system in whose directories some names stay on this machine: they are entries
// of another file system, which has a directory for each that holds any, called by its inode number. What the
// first one has of such a name, because it was made elsewhere or before, goes before.
type layered struct {
	main  fileSystem
	names localNames
	other func() (fileSystem, error) // the other one; the first call opens it, which waits for disks, and later ones wait for that
	begun atomic.Bool                // there may be something in it: it is open, or cannot be opened

	mu    sync.Mutex
	homes map[string]fsimpl.Node // the main directory, by the name that its directory in other has; guarded by mu
}

// otherNode marks the nodes of the other file system. The index numbers its nodes from 1 on.
const otherNode fsimpl.Node = 1 << 31

var _ fileSystem = (*layered)(nil)

// newLayered returns main with what stays on this machine.
func newLayered(main fileSystem, names []string, begin func() (fileSystem, error), exists bool) (*layered, error) {
	l := &layered{main: main, names: newLocalNames(names), homes: make(map[string]fsimpl.Node)}
	l.other = sync.OnceValues(func() (fileSystem, error) {
		defer l.begun.Store(true)
		return begin()
	})
	if exists {
		_, err := l.local(true)
		return l, err
	}
	return l, nil
}

// local returns the other file system; nil where there is none and it is not to be begun. No
// lock is held while it is opened: who does not begin it goes on, as nothing is in it yet.
func (l *layered) local(begin bool) (fileSystem, error) {
	if !begin && !l.begun.Load() {
		return nil, nil
	}
	return l.other()
}

// of returns the file system of a node, and the node's number there.
func (l *layered) of(n fsimpl.Node) (fileSystem, fsimpl.Node) {
	if n&otherNode == 0 {
		return l.main, n
	}
	other, _ := l.local(false) // it is there: it gave the node
	return other, n &^ otherNode
}

func errNotExist(op, path string) error {
	return &fsimpl.Error{Op: op, Path: path, Kind: fsimpl.NotExist}
}

// homeName returns what the directory in the other file system is called for a directory of main.
func homeName(dir fsimpl.Attr) string { return fmt.Sprintf("%016x", dir.Ino) }

// home returns the directory in the other file system for what is local in a directory of
// main, and makes it.
func (l *layered) home(dir fsimpl.Node, make bool) (fileSystem, fsimpl.Node, error) {
	other, err := l.local(make)
	if err != nil || other == nil {
		if err == nil {
			err = errNotExist("lookup", "")
		}
		return nil, 0, err
	}
	at, err := l.main.Stat(dir)
	if err != nil {
		return nil, 0, err
	}
	name := homeName(at)
	a, err := other.Lookup(fsimpl.Root, name)
	if err != nil && fsimpl.KindOf(err) == fsimpl.NotExist && make {
		a, err = other.Mkdir(fsimpl.Root, name, 0o755, fsimpl.Owner{UID: at.UID, GID: at.GID})
		if fsimpl.KindOf(err) == fsimpl.Exist { // just now
			a, err = other.Lookup(fsimpl.Root, name)
		}
	}
	if err != nil {
		return nil, 0, err
	}
	l.mu.Lock()
	l.homes[name] = dir
	l.mu.Unlock()
	return other, a.Node, nil
}

// place is where an entry is, or would be made.
type place struct {
	fs     fileSystem
	parent fsimpl.Node
	mark   fsimpl.Node // otherNode or 0
}

// find returns the place of a name in a directory.
func (l *layered) find(parent fsimpl.Node, name string, make bool) (place, error) {
	if parent&otherNode != 0 {
		fs, n := l.of(parent)
		return place{fs, n, otherNode}, nil
	}
	if !l.names.match(name) {
		return place{l.main, parent, 0}, nil
	}
	if _, err := l.main.Lookup(parent, name); err == nil || fsimpl.KindOf(err) != fsimpl.NotExist {
		return place{l.main, parent, 0}, nil
	}
	fs, home, err := l.home(parent, make)
	return place{fs, home, otherNode}, err
}

// marked returns what the file system at p told of a node.
func (p place) marked(a fsimpl.Attr, err error) (fsimpl.Attr, error) {
	a.Node |= p.mark
	return a, err
}

func (l *layered) Lookup(parent fsimpl.Node, name string) (fsimpl.Attr, error) {
	p, err := l.find(parent, name, false)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	return p.marked(p.fs.Lookup(p.parent, name))
}

func (l *layered) Resolve(path string) (fsimpl.Node, error) {
	n, missing := l.main.Resolve(path)
	if missing == nil || fsimpl.KindOf(missing) != fsimpl.NotExist {
		return n, missing
	}
	other, err := l.local(false)
	if err != nil || other == nil {
		return n, missing
	}
	for from := 0; from < len(path); {
		name, rest, _ := strings.Cut(path[from:], "/")
		if name != "" && l.names.match(name) {
			dir, err := l.main.Resolve(path[:from])
			if err != nil {
				return 0, missing
			}
			if p, err := l.find(dir, name, false); err == nil && p.mark != 0 {
				a, err := p.fs.Lookup(p.parent, name)
				for name = range strings.SplitSeq(rest, "/") {
					if err == nil && name != "" {
						a, err = p.fs.Lookup(a.Node, name)
					}
				}
				return a.Node | otherNode, err
			}
		}
		from += len(name) + 1
	}
	return 0, missing
}

func (l *layered) Stat(n fsimpl.Node) (fsimpl.Attr, error) {
	fs, at := l.of(n)
	return place{mark: n & otherNode}.marked(fs.Stat(at))
}

func (l *layered) Path(n fsimpl.Node) (string, error) {
	fs, at := l.of(n)
	path, err := fs.Path(at)
	if err != nil || n&otherNode == 0 {
		return path, err
	}
	home, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	l.mu.Lock()
	dir, ok := l.homes[home]
	l.mu.Unlock()
	if !ok {
		return "", errNotExist("path", path)
	}
	if path, err = l.main.Path(dir); err != nil {
		return "", err
	}
	return strings.TrimSuffix(path, "/") + "/" + rest, nil
}

func (l *layered) Mkdir(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner) (fsimpl.Attr, error) {
	p, err := l.find(parent, name, true)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	return p.marked(p.fs.Mkdir(p.parent, name, mode, owner))
}

func (l *layered) Mknod(parent fsimpl.Node, name string, kind fsimpl.FileKind, mode uint32, rdev uint64, owner fsimpl.Owner) (fsimpl.Attr, error) {
	p, err := l.find(parent, name, true)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	return p.marked(p.fs.Mknod(p.parent, name, kind, mode, rdev, owner))
}

func (l *layered) Symlink(parent fsimpl.Node, name, target string, owner fsimpl.Owner) (fsimpl.Attr, error) {
	p, err := l.find(parent, name, true)
	if err != nil {
		return fsimpl.Attr{}, err
	}
	return p.marked(p.fs.Symlink(p.parent, name, target, owner))
}

func (l *layered) Readlink(n fsimpl.Node) (string, error) {
	fs, at := l.of(n)
	return fs.Readlink(at)
}

func (l *layered) HoldsLinks() bool { return l.main.HoldsLinks() }

func (l *layered) Unlink(parent fsimpl.Node, name string) (fsimpl.Node, error) {
	p, err := l.find(parent, name, false)
	if err != nil {
		return 0, err
	}
	n, err := p.fs.Unlink(p.parent, name)
	return n | p.mark, err
}

// Rmdir refuses a directory in which something local is left.
func (l *layered) Rmdir(parent fsimpl.Node, name string) error {
	p, err := l.find(parent, name, false)
	if err != nil {
		return err
	}
	if p.mark != 0 {
		return p.fs.Rmdir(p.parent, name)
	}
	dir, err := l.main.Lookup(parent, name)
	if err != nil {
		return err
	}
	locals, err := l.localsIn(dir.Node)
	if err != nil {
		return err
	}
	if len(locals) > 0 {
		return &fsimpl.Error{Op: "rmdir", Path: name, Kind: fsimpl.NotEmpty}
	}
	if err := l.main.Rmdir(parent, name); err != nil {
		return err
	}
	if other, err := l.local(false); other != nil && err == nil {
		// Nobody finds it any more; where there is none, or it is used again, that is as well.
		if err := other.Rmdir(fsimpl.Root, homeName(dir)); err == nil {
			l.mu.Lock()
			delete(l.homes, homeName(dir))
			l.mu.Unlock()
		}
	}
	return nil
}

func (l *layered) Chmod(n fsimpl.Node, mode uint32) error {
	fs, at := l.of(n)
	return fs.Chmod(at, mode)
}

func (l *layered) Chown(n fsimpl.Node, uid, gid int64) error {
	fs, at := l.of(n)
	return fs.Chown(at, uid, gid)
}

func (l *layered) SetTimes(n fsimpl.Node, atime, mtime *int64) error {
	fs, at := l.of(n)
	return fs.SetTimes(at, atime, mtime)
}

func (l *layered) SetCreated(n fsimpl.Node, us int64) error {
	fs, at := l.of(n)
	return fs.SetCreated(at, us)
}

func (l *layered) SetChanged(n fsimpl.Node, us int64) error {
	fs, at := l.of(n)
	return fs.SetChanged(at, us)
}

func (l *layered) SetAttributes(n fsimpl.Node, attributes uint32) error {
	fs, at := l.of(n)
	return fs.SetAttributes(at, attributes)
}

func (l *layered) Truncate(n fsimpl.Node, size int64) error {
	fs, at := l.of(n)
	return fs.Truncate(at, size)
}

func (l *layered) Statfs() fsimpl.Statfs { return l.main.Statfs() }

func (l *layered) SyncDir(n fsimpl.Node) error {
	if other, _ := l.local(false); other != nil {
		if err := other.SyncDir(fsimpl.Root); err != nil || n&otherNode != 0 {
			return err
		}
	}
	return l.main.SyncDir(n)
}

func (l *layered) IsHere(n fsimpl.Node) bool {
	fs, at := l.of(n)
	return fs.IsHere(at)
}

func (l *layered) OnMerge(tell func([]fsimpl.Merged)) { l.main.OnMerge(tell) }

func (l *layered) ArrivedWithin(n fsimpl.Node, d time.Duration) int64 {
	fs, at := l.of(n)
	return fs.ArrivedWithin(at, d)
}

func (l *layered) EndWaits() {
	l.main.EndWaits()
	if other, err := l.local(false); other != nil && err == nil {
		other.EndWaits()
	}
}

// otherFile is an open file of the other file system.
type otherFile struct{ openFile }

func (f otherFile) Node() fsimpl.Node { return f.openFile.Node() | otherNode }

func (f otherFile) Stat() (fsimpl.Attr, error) {
	return place{mark: otherNode}.marked(f.openFile.Stat())
}

func (l *layered) open(n fsimpl.Node, flags fsimpl.OpenFlags) (openFile, error) {
	fs, at := l.of(n)
	f, err := fs.open(at, flags)
	if err != nil || n&otherNode == 0 {
		return f, err
	}
	return otherFile{f}, nil
}

func (l *layered) create(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner, flags fsimpl.OpenFlags) (openFile, error) {
	p, err := l.find(parent, name, true)
	if err != nil {
		return nil, err
	}
	f, err := p.fs.create(p.parent, name, mode, owner, flags)
	if err != nil || p.mark == 0 {
		return f, err
	}
	return otherFile{f}, nil
}

// layeredDir is an open directory with what is local in it.
type layeredDir struct {
	l       *layered
	node    fsimpl.Node
	dir     openDir
	entries []fsimpl.DirEntry
}

func (l *layered) openDir(n fsimpl.Node) (openDir, error) {
	fs, at := l.of(n)
	d, err := fs.openDir(at)
	if err != nil {
		return nil, err
	}
	ld := &layeredDir{l: l, node: n, dir: d}
	return ld, ld.gather()
}

func (d *layeredDir) Entries() []fsimpl.DirEntry { return d.entries }

func (d *layeredDir) Rewind() error {
	if err := d.dir.Rewind(); err != nil {
		return err
	}
	return d.gather()
}

func (d *layeredDir) gather() error {
	d.entries = d.dir.Entries()
	if d.node&otherNode != 0 {
		d.entries = marked(d.entries)
		return nil
	}
	locals, err := d.l.localsIn(d.node)
	if err != nil || len(locals) == 0 {
		return err
	}
	taken := make(map[string]bool)
	for _, e := range d.entries {
		if d.l.names.match(e.Name) {
			taken[loroindex.FoldName(e.Name)] = true
		}
	}
	locals = slices.DeleteFunc(locals, func(e fsimpl.DirEntry) bool { return taken[loroindex.FoldName(e.Name)] })
	d.entries = append(slices.Clip(d.entries), locals...)
	return nil
}

func marked(entries []fsimpl.DirEntry) []fsimpl.DirEntry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Node |= otherNode
	}
	return entries
}

// localsIn returns what is local in a directory of main.
func (l *layered) localsIn(dir fsimpl.Node) ([]fsimpl.DirEntry, error) {
	other, home, err := l.home(dir, false)
	if err != nil {
		if fsimpl.KindOf(err) == fsimpl.NotExist {
			err = nil
		}
		return nil, err
	}
	d, err := other.openDir(home)
	if err != nil {
		return nil, err
	}
	return marked(d.Entries()), nil
}

package fusehost

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
)

// Moving between what stays on this machine and what does not is copying: into the recycle bin
// and back, or a file that is written under another name first.

// What is moved at once, at most: a rename holds up everybody on Windows. It never waits for
// the store. What is more, or not on this machine, is CrossDevice: programs copy it then.
const (
	moveBytes   = 64 << 20
	moveEntries = 1000
)

// Rename renames in either file system, or copies from one to the other.
func (l *layered) Rename(oldParent fsimpl.Node, oldName string, newParent fsimpl.Node, newName string, flags fsimpl.RenameFlags) error {
	from, err := l.find(oldParent, oldName, false)
	if err != nil {
		return err
	}
	to, err := l.find(newParent, newName, true)
	if err != nil {
		return err
	}
	if from.mark == to.mark {
		return from.fs.Rename(from.parent, oldName, to.parent, newName, flags)
	}
	a, err := from.marked(from.fs.Lookup(from.parent, oldName))
	if err != nil {
		return err
	}
	if flags&fsimpl.RenameExchange != 0 {
		return &fsimpl.Error{Op: "exchange", Path: oldName, Kind: fsimpl.CrossDevice}
	}
	budget := move{bytes: moveBytes, entries: moveEntries}
	if err := budget.check(l, a); err != nil {
		return err
	}
	name := newName
	if _, err := to.fs.Lookup(to.parent, newName); err == nil {
		if flags&fsimpl.RenameNoReplace != 0 {
			return &fsimpl.Error{Op: "rename", Path: newName, Kind: fsimpl.Exist}
		}
		name = fmt.Sprintf(".pocket-move-%016x", rand.Uint64()) // until it takes the other's place
	}
	if err := l.copyTree(a, to, name); err != nil {
		return errors.Join(err, l.removeTree(to, name))
	}
	if name != newName {
		if err := to.fs.Rename(to.parent, name, to.parent, newName, 0); err != nil {
			return errors.Join(err, l.removeTree(to, name))
		}
	}
	return l.removeTree(from, oldName)
}

// move is what may still be moved at once.
type move struct{ bytes, entries int64 }

// check takes a file, or a directory and what is in it, off the budget.
func (m *move) check(fs fileSystem, a fsimpl.Attr) error {
	m.entries--
	m.bytes -= a.Size
	if m.entries < 0 || m.bytes < 0 || a.Kind == loroindex.File && !fs.IsHere(a.Node) {
		return &fsimpl.Error{Op: "move", Kind: fsimpl.CrossDevice}
	}
	switch a.Kind {
	case loroindex.File, loroindex.Symlink:
		return nil
	case loroindex.Dir:
	default:
		return &fsimpl.Error{Op: "move", Kind: fsimpl.CrossDevice}
	}
	return eachEntry(fs, a.Node, func(_ string, a fsimpl.Attr) error { return m.check(fs, a) })
}

// eachEntry calls fn for all entries of a directory.
func eachEntry(fs fileSystem, dir fsimpl.Node, fn func(name string, a fsimpl.Attr) error) error {
	d, err := fs.openDir(dir)
	if err != nil {
		return err
	}
	for _, e := range d.Entries() {
		a, err := fs.Stat(e.Node)
		if err == nil {
			err = fn(e.Name, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTree makes a copy of what a describes at p, which is there on return like anything that was
// written and closed. What is local in a directory is so in its copy.
func (l *layered) copyTree(a fsimpl.Attr, p place, name string) error {
	owner := fsimpl.Owner{UID: a.UID, GID: a.GID}
	var made fsimpl.Attr
	var err error
	switch a.Kind {
	case loroindex.Symlink:
		var target string
		if target, err = l.Readlink(a.Node); err == nil {
			made, err = p.fs.Symlink(p.parent, name, target, owner)
		}
	case loroindex.Dir:
		if made, err = p.fs.Mkdir(p.parent, name, a.Mode, owner); err == nil {
			err = eachEntry(l, a.Node, func(entry string, child fsimpl.Attr) error {
				inside, err := l.find(made.Node|p.mark, entry, true)
				if err != nil {
					return err
				}
				return l.copyTree(child, inside, entry)
			})
		}
	default:
		made.Node, err = copyFile(l, a, p.fs, p.parent, name, owner)
	}
	if err != nil {
		return err
	}
	return errors.Join(p.fs.SetAttributes(made.Node, a.Attributes), p.fs.SetCreated(made.Node, a.Btime), p.fs.SetTimes(made.Node, nil, &a.Mtime))
}

func copyFile(from fileSystem, a fsimpl.Attr, to fileSystem, parent fsimpl.Node, name string, owner fsimpl.Owner) (n fsimpl.Node, err error) {
	src, err := from.open(a.Node, fsimpl.OpenRead)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, src.Release()) }()
	dst, err := to.create(parent, name, a.Mode, owner, fsimpl.OpenRead|fsimpl.OpenWrite)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dst.Release()) }()
	buf := make([]byte, min(a.Size+1, 1<<20))
	for off := int64(0); ; {
		n, err := src.ReadAt(buf, off)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return dst.Node(), dst.Flush()
		}
		if _, err := dst.WriteAt(buf[:n], off); err != nil {
			return 0, err
		}
		off += int64(n)
	}
}

// removeTree removes an entry and what is in it; one that is not there is fine.
func (l *layered) removeTree(p place, name string) error {
	a, err := p.marked(p.fs.Lookup(p.parent, name))
	if err != nil {
		if fsimpl.KindOf(err) == fsimpl.NotExist {
			err = nil
		}
		return err
	}
	if a.Kind != loroindex.Dir {
		_, err = p.fs.Unlink(p.parent, name)
		return err
	}
	err = eachEntry(l, a.Node, func(entry string, _ fsimpl.Attr) error {
		inside, err := l.find(a.Node, entry, false)
		if err != nil {
			return err
		}
		return l.removeTree(inside, entry)
	})
	if err != nil {
		return err
	}
	if p.mark != 0 {
		return p.fs.Rmdir(p.parent, name)
	}
	return l.Rmdir(p.parent, name)
}

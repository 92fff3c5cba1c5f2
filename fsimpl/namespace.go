package fsimpl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/fsimpl/winname"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/loroindex/loro"
)

// modeBits are the bits of a mode that Chmod and the creating calls keep.
const modeBits = 0o7777

const setgid = 0o2000

// update applies one change of the tree and waits until it is journaled. change, if
// not nil, is asked after fn for what the change means for content.
func (fs *FS) update(fn func(*loroindex.Tx) error, change func() transfer.Change) error {
	return journaled(fs.enqueue(fn, change, false))
}

// updateAlways is update for what is possible on a full disk, too: that without which
// nothing could be removed.
func (fs *FS) updateAlways(fn func(*loroindex.Tx) error, change func() transfer.Change) error {
	return journaled(fs.enqueue(fn, change, true))
}

func journaled(_ loroindex.Op, ticket *journal.Ticket, err error) error {
	if err != nil || ticket == nil {
		return err
	}
	return ticket.Wait()
}

// enqueue is update without the wait, or with makesRoom updateAlways. The ticket is nil when
// nothing changed.
func (fs *FS) enqueue(fn func(*loroindex.Tx) error, change func() transfer.Change, makesRoom bool) (done loroindex.Op, ticket *journal.Ticket, err error) {
	if err := fs.journal.Err(); err != nil && !(makesRoom && errors.Is(err, journal.ErrNoSpace) && fs.reserve.Left() > 0) {
		return done, nil, err
	}
	err = fs.index.Update(fn, func(op loroindex.Op) {
		var c transfer.Change
		if change != nil {
			c = change()
		}
		done = op
		ticket = fs.queue.Add(journal.Entry{Peer: op.Peer, Start: op.Start, End: op.End, Update: op.Update, MakesRoom: makesRoom}, c)
	})
	return done, ticket, err
}

// Lookup finds an entry of a directory.
func (fs *FS) Lookup(parent Node, name string) (Attr, error) {
	e, err := fs.lookup(parent, name)
	if err != nil {
		return Attr{}, fs.failAt("lookup", parent, name, err)
	}
	return fs.attr(&e), nil
}

// Resolve finds the node at a "/"-separated path; "/" is Root. Symbolic links are
// not followed.
func (fs *FS) Resolve(path string) (Node, error) {
	e, err := fs.resolve(path)
	if err == nil {
		return e.Node, nil
	}
	kind := classify(err)
	if kind == NotExist {
		for name := range strings.SplitSeq(path, "/") {
			if fs.opts.Rules == Windows {
				name = winname.Stored(name)
			}
			if len(name) > loroindex.MaxName {
				kind = NameTooLong
			}
		}
	}
	return 0, &Error{Op: "lookup", Path: path, Kind: kind, Err: err}
}

// Path returns the path of a node as Resolve takes it.
func (fs *FS) Path(n Node) (string, error) {
	path, err := fs.path(n)
	return "/" + path, fs.fail("path", n, err)
}

// created is a node that was just made.
type created struct {
	attr   Attr
	op     loroindex.Op
	ticket *journal.Ticket // it is journaled when its Wait returned
}

// create makes a node, with the owner that the caller and a set-group-id directory
// give it. It does not wait for the journal.
func (fs *FS) create(op string, parent Node, name string, info loroindex.Info, c loroindex.Content, by Owner) (made created, err error) {
	info.UID, info.GID = fs.recordedUID(by.UID), fs.recordedGID(by.GID)
	var e loroindex.Entry
	made.op, made.ticket, err = fs.enqueue(func(tx *loroindex.Tx) error {
		dir, err := tx.Stat(parent)
		if err != nil {
			return err
		}
		if dir.Mode&setgid != 0 {
			info.GID = dir.GID
			if info.Kind == loroindex.Dir {
				info.Mode |= setgid
			}
		}
		n, err := fs.txCreate(tx, parent, name, info, c)
		if err != nil {
			return err
		}
		e, err = tx.Stat(n)
		return err
	}, func() transfer.Change {
		if e.Kind != loroindex.File {
			return transfer.Change{}
		}
		return transfer.Change{Node: uint64(e.Node), Made: true, At: placeOf(&e)}
	}, false)
	if err != nil {
		return made, fs.failAt(op, parent, name, err)
	}
	made.attr = fs.attr(&e)
	return made, nil
}

// createAndWait is create, journaled on return.
func (fs *FS) createAndWait(op string, parent Node, name string, info loroindex.Info, c loroindex.Content, by Owner) (Attr, error) {
	made, err := fs.create(op, parent, name, info, c, by)
	if err != nil {
		return Attr{}, err
	}
	if err := made.ticket.Wait(); err != nil {
		return Attr{}, fs.failAt(op, parent, name, err)
	}
	return made.attr, nil
}

// recordedUID returns what the index records for a user: nothing for the mount's
// owner, who is another number on another machine.
func (fs *FS) recordedUID(uid uint32) int64 {
	if uid == fs.opts.UID {
		return -1
	}
	return int64(uid)
}

func (fs *FS) recordedGID(gid uint32) int64 {
	if gid == fs.opts.GID {
		return -1
	}
	return int64(gid)
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(parent Node, name string, mode uint32, by Owner) (Attr, error) {
	return fs.createAndWait("mkdir", parent, name, loroindex.Info{Kind: loroindex.Dir, Mode: mode & modeBits}, loroindex.Content{}, by)
}

// Mknod makes a file, a FIFO, a socket or a device.
func (fs *FS) Mknod(parent Node, name string, kind FileKind, mode uint32, rdev uint64, by Owner) (Attr, error) {
	if kind == loroindex.Dir || kind == loroindex.Symlink {
		return Attr{}, fs.failAt("mknod", parent, name, &Error{Op: "mknod", Kind: Invalid})
	}
	return fs.createAndWait("mknod", parent, name, loroindex.Info{Kind: kind, Mode: mode & modeBits, Rdev: rdev}, loroindex.Content{}, by)
}

// Symlink makes a symbolic link.
func (fs *FS) Symlink(parent Node, name, target string, by Owner) (Attr, error) {
	info := loroindex.Info{Kind: loroindex.Symlink, Mode: 0o777, Target: target}
	return fs.createAndWait("symlink", parent, name, info, loroindex.Content{Size: int64(len(target))}, by)
}

// HoldsLinks reports whether there is any symbolic link.
func (fs *FS) HoldsLinks() bool { return fs.index.Holds(loroindex.Symlink) }

// Readlink returns the target of a symbolic link.
func (fs *FS) Readlink(n Node) (string, error) {
	e, err := fs.index.Stat(n)
	if err != nil {
		return "", fs.fail("readlink", n, err)
	}
	if e.Kind != loroindex.Symlink {
		return "", fs.fail("readlink", n, fmt.Errorf("not a symbolic link: %w", loroindex.ErrInvalid))
	}
	return e.Target, nil
}

// Create makes a file and opens it. The new name survives the process when Flush, or
// any later change of the tree, returned: creating a file, writing and closing it
// waits for the journal once.
//
// Errors: Exist when the name is taken.
func (fs *FS) Create(parent Node, name string, mode uint32, by Owner, flags OpenFlags) (*File, Attr, error) {
	made, err := fs.create("create", parent, name, loroindex.Info{Kind: loroindex.File, Mode: mode & modeBits}, loroindex.Content{}, by)
	if err != nil {
		return nil, made.attr, err
	}
	f, err := fs.Open(made.attr.Node, flags&^OpenTruncate)
	if err != nil {
		return nil, made.attr, err
	}
	f.created = true
	i := f.inode
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ticket == nil { // closing a file that stays empty waits for this
		i.ticket, i.peer, i.end = made.ticket, made.op.Peer, made.op.End
	}
	return f, made.attr, nil
}

// Unlink removes a name that is not a directory's. Handles of the file keep working;
// its node is returned for a host that must know it under its old path for a while.
func (fs *FS) Unlink(parent Node, name string) (Node, error) {
	n, err := fs.remove(parent, name, false)
	return n, fs.failAt("unlink", parent, name, err)
}

// Rmdir removes an empty directory.
func (fs *FS) Rmdir(parent Node, name string) error {
	_, err := fs.remove(parent, name, true)
	return fs.failAt("rmdir", parent, name, err)
}

func (fs *FS) remove(parent Node, name string, dir bool) (Node, error) {
	var e loroindex.Entry
	var maker transfer.Maker
	err := fs.updateAlways(func(tx *loroindex.Tx) (err error) {
		if e, err = fs.txLookup(tx, parent, name); err != nil {
			return err
		}
		switch {
		case dir && e.Kind != loroindex.Dir:
			return loroindex.ErrNotDir
		case !dir && e.Kind == loroindex.Dir:
			return loroindex.ErrIsDir
		}
		if maker.Peer, maker.Counter, err = tx.MadeBy(e.Node); err != nil {
			return err
		}
		return tx.Remove(e.Node)
	}, func() transfer.Change {
		return transfer.Change{Node: uint64(e.Node), Replaces: true, Maker: &maker, At: placeOf(&e)}
	})
	return e.Node, err
}

// placeOf returns where an entry is.
func placeOf(e *loroindex.Entry) transfer.Place {
	return transfer.Place{Dir: uint64(e.Parent), Name: e.Name}
}

// RenameFlags change what Rename does when the new name is taken.
type RenameFlags uint8

// The flags of Rename.
const (
	RenameNoReplace RenameFlags = 1 << iota // fail with Exist
	RenameExchange                          // swap the two
)

// Rename moves and renames, by the rules of POSIX rename. A file that is replaced
// stays readable and writable through its open handles.
//
// Errors: NotEmpty, IsDir, NotDir, Exist, Invalid (a directory into itself).
func (fs *FS) Rename(oldParent Node, oldName string, newParent Node, newName string, flags RenameFlags) error {
	replaced := loroindex.NoNode
	var maker transfer.Maker
	var e, now loroindex.Entry
	err := fs.updateAlways(func(tx *loroindex.Tx) (err error) {
		if e, err = fs.txLookup(tx, oldParent, oldName); err != nil {
			return err
		}
		if flags&RenameExchange != 0 {
			other, err := fs.txLookup(tx, newParent, newName)
			if err != nil {
				return err
			}
			now = other
			return tx.Exchange(e.Node, other.Node)
		}
		if replaced, err = fs.txRename(tx, e.Node, newParent, newName, flags&RenameNoReplace == 0); err != nil {
			return err
		}
		if now, err = tx.Stat(e.Node); err != nil || replaced == loroindex.NoNode {
			return err
		}
		maker.Peer, maker.Counter, err = tx.MadeBy(replaced)
		return err
	}, func() transfer.Change {
		c := transfer.Change{Node: uint64(replaced), Replaces: replaced != loroindex.NoNode, Maker: &maker}
		if e.Kind == loroindex.File {
			c.Moved, c.From, c.At = uint64(e.Node), placeOf(&e), placeOf(&now)
			if flags&RenameExchange != 0 {
				c.From.Name = ""
			}
		}
		return c
	})
	return fs.failAt("rename", oldParent, oldName, err)
}

// setInfo changes rarely changing facts of a node.
func (fs *FS) setInfo(op string, n Node, change func(*loroindex.Info)) error {
	err := fs.update(func(tx *loroindex.Tx) error {
		e, err := tx.Stat(n)
		if err != nil {
			return err
		}
		if n == Root && e.Created == 0 {
			e.Kind, e.Mode, e.Created = loroindex.Dir, fs.opts.RootMode, fs.opened
		}
		change(&e.Info)
		e.Changed = fs.opts.Now().UnixMicro()
		return tx.SetInfo(n, e.Info)
	}, nil)
	if errors.Is(err, loroindex.ErrRemoved) && fs.setUnlinkedInfo(n, change) {
		return nil
	}
	return fs.fail(op, n, err)
}

// setUnlinkedInfo changes the facts of a file that is unlinked and still open, which
// the index has no place for. It reports whether n is one.
func (fs *FS) setUnlinkedInfo(n Node, change func(*loroindex.Info)) bool {
	ino := fs.openInode(n)
	if ino == nil {
		return false
	}
	e, err := fs.index.Stat(n)
	if err != nil {
		return false
	}
	ino.attrMu.Lock()
	defer ino.attrMu.Unlock()
	if ino.unlinked == nil {
		ino.unlinked = &e.Info
	}
	change(ino.unlinked)
	ino.unlinked.Changed = fs.opts.Now().UnixMicro()
	return true
}

// Chmod sets the permission bits.
func (fs *FS) Chmod(n Node, mode uint32) error {
	return fs.setInfo("chmod", n, func(i *loroindex.Info) { i.Mode = mode & modeBits })
}

// Chown sets the owner; -1 leaves one of them as it is.
func (fs *FS) Chown(n Node, uid, gid int64) error {
	return fs.setInfo("chown", n, func(i *loroindex.Info) {
		if uid >= 0 {
			i.UID = fs.recordedUID(uint32(uid))
		}
		if gid >= 0 {
			i.GID = fs.recordedGID(uint32(gid))
		}
	})
}

// SetCreated sets the creation time in microseconds since 1970.
func (fs *FS) SetCreated(n Node, us int64) error {
	return fs.setInfo("set creation time", n, func(i *loroindex.Info) { i.Created = us })
}

// SetAttributes sets the Windows file attribute bits.
func (fs *FS) SetAttributes(n Node, bits uint32) error {
	return fs.setInfo("set attributes", n, func(i *loroindex.Info) { i.Attributes = bits })
}

// SetChanged sets what is shown as the time of the last change, in microseconds since
// 1970, until the next change or the end of the mount: it is kept nowhere.
func (fs *FS) SetChanged(n Node, us int64) error {
	a, err := fs.Stat(n)
	if err == nil {
		fs.ctimes.set(n, us, a.Ctime)
	}
	return err
}

// SetTimes sets access and modification time in microseconds since 1970; nil leaves
// one as it is. The access time is shown until the mount ends and kept nowhere.
func (fs *FS) SetTimes(n Node, atime, mtime *int64) error {
	if atime != nil {
		fs.atimes.set(n, *atime)
	}
	if mtime == nil {
		return nil
	}
	set := func() error {
		err := fs.update(func(tx *loroindex.Tx) error { return tx.SetModTime(n, *mtime) }, nil)
		return err
	}
	ino := fs.openInode(n)
	if ino == nil {
		return fs.fail("utimens", n, set())
	}
	ino.attrMu.Lock()
	ino.mtime = *mtime // what the next commit writes, unless something is written before
	if fs.opts.Rules == Windows {
		ino.freeze()
	}
	ino.attrMu.Unlock()
	if fs.isRemoved(n) {
		return nil
	}
	return fs.fail("utimens", n, set())
}

// Truncate sets the size of a file that need not be open; the change is committed
// on return.
func (fs *FS) Truncate(n Node, size int64) error {
	f, err := fs.Open(n, OpenWrite)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Flush()
	}
	if released := f.Release(); err == nil {
		err = released
	}
	return err
}

// SyncDir is fsync of a directory: every change of names so far survives power
// loss; in Sync mode it is in the store.
func (fs *FS) SyncDir(n Node) error {
	if fs.opts.Mode == Sync {
		peer := fs.index.Peer()
		if err := fs.published(peer, fs.index.Version()[loro.PeerID(peer)]); err != nil {
			return fs.fail("fsync", n, err)
		}
	}
	return fs.fail("fsync", n, fs.journal.Sync(fs.ctx))
}

// Persist returns when every change so far survives a power loss on this machine. It does
// not wait for the store.
func (fs *FS) Persist() error { return fs.fail("sync", Root, fs.journal.Sync(fs.ctx)) }

// Dir is an open directory: the entries it had when it was opened or rewound, so
// that a listing is stable while entries come and go.
type Dir struct {
	fs      *FS
	node    Node
	entries []DirEntry
}

// DirEntry is one entry of a directory.
type DirEntry = loroindex.DirEntry

// OpenDir opens a directory.
func (fs *FS) OpenDir(n Node) (*Dir, error) {
	d := &Dir{fs: fs, node: n}
	return d, d.Rewind()
}

// Rewind reads the directory again. It must not be called during other calls on d.
func (d *Dir) Rewind() (err error) {
	d.entries, err = d.fs.readDir(d.node, d.entries[:0])
	return d.fs.fail("readdir", d.node, err)
}

// Node returns the directory's node.
func (d *Dir) Node() Node { return d.node }

// Entries returns the entries, without "." and "..". It must not be changed.
func (d *Dir) Entries() []DirEntry { return d.entries }

// Attr describes the entry with the given index in Entries, as FS.Stat does.
func (d *Dir) Attr(i int) (Attr, error) { return d.fs.Stat(d.entries[i].Node) }

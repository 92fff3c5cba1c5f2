package fusehost

import (
	"strings"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/winname"
	"github.com/hamflx/pocket/loroindex"
	"github.com/winfsp/cgofuse/fuse"
)

// Callbacks that change names.

// creator returns who asks for a new entry.
func (h *host) creator() fsimpl.Owner {
	if !h.rules.contextHasOwner {
		return h.owner
	}
	uid, gid, _ := fuse.Getcontext()
	return fsimpl.Owner{UID: uid, GID: gid}
}

// permissions are the mode bits that can be set.
const permissions = 07777

// Mkdir makes a directory.
func (h *host) Mkdir(path string, mode uint32) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("mkdir", path, &errc)
	parent, name, err := h.parent(path)
	if err == nil {
		_, err = h.fs.Mkdir(parent, name, mode&permissions, h.creator())
	}
	return h.errno(err)
}

// Mknod makes a file without opening it, a FIFO, a socket or a device node.
func (h *host) Mknod(path string, mode uint32, dev uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("mknod", path, &errc)
	kind, ok := kindOf(mode)
	if !ok || kind == loroindex.Dir || kind == loroindex.Symlink {
		return -fuse.EINVAL
	}
	parent, name, err := h.parent(path)
	if err == nil {
		_, err = h.fs.Mknod(parent, name, kind, mode&permissions, dev, h.creator())
	}
	return h.errno(err)
}

// Symlink makes a symbolic link.
func (h *host) Symlink(target, path string) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("symlink", path, &errc)
	if !h.hasLinks() {
		return -fuse.ENOSYS // it would be shown as a file
	}
	parent, name, err := h.parent(path)
	if err == nil {
		_, err = h.fs.Symlink(parent, name, target, h.creator())
	}
	return h.errno(err)
}

// Link refuses: a node has one name. EPERM is what Linux programs expect of a file
// system without hard links; they copy instead.
func (h *host) Link(string, string) int { return -fuse.EPERM }

// Unlink removes a file; open handles keep it.
func (h *host) Unlink(path string) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("unlink", path, &errc)
	path, err := h.today(path)
	if err != nil {
		return h.errno(err)
	}
	parent, name, err := h.parent(path)
	if err != nil {
		return h.errno(err)
	}
	n, err := h.fs.Unlink(parent, name)
	if err != nil {
		if alias, ok := h.aliases.find(parent, name); ok && h.rules.hidesUnlinked { // libfuse is done with a hidden name
			if !h.named(alias) {
				h.aliases.remove(parent, name)
			}
			return 0
		}
	}
	if err == nil && h.rules.keepsOldPaths && h.handles.holds(n) {
		h.aliases.add(parent, h.aliasName(name), n)
	}
	if err == nil {
		h.uncover(parent, name)
	}
	return h.errno(err)
}

// uncover tells of the entry that is shown by a name now which another one has lost: of several that
// differ in case alone the next. No program has renamed it.
func (h *host) uncover(parent fsimpl.Node, name string) {
	if h.tell == nil || !h.rules.foldsCase {
		return
	}
	a, err := h.fs.Lookup(parent, name)
	if err != nil {
		return // there was one
	}
	path, err := h.fs.Path(a.Node)
	if err != nil {
		return // it is gone by now, which is told
	}
	_, shown := split(path)
	before := winname.Show(loroindex.CaseConflictName(winname.Stored(shown), a.Ino))
	dir := a.Kind == loroindex.Dir
	h.tell(fsimpl.Merged{Path: strings.TrimSuffix(path, shown) + before, What: fsimpl.Vanished, Dir: dir},
		fsimpl.Merged{Path: path, What: fsimpl.Appeared, Dir: dir},
		fsimpl.Merged{Path: path, What: fsimpl.Altered, Dir: dir})
}

// Rmdir removes an empty directory.
func (h *host) Rmdir(path string) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("rmdir", path, &errc)
	path, err := h.today(path)
	if err != nil {
		return h.errno(err)
	}
	parent, name, err := h.parent(path)
	if err != nil {
		return h.errno(err)
	}
	held := h.held(parent, name)
	err = h.fs.Rmdir(parent, name)
	if err == nil && held != 0 {
		h.aliases.add(parent, h.aliasName(name), held)
	}
	if err == nil {
		h.uncover(parent, name)
	}
	return h.errno(err)
}

// held returns what a name stands for if it is open and its handles keep that name, else 0.
func (h *host) held(parent fsimpl.Node, name string) fsimpl.Node {
	if !h.rules.keepsOldPaths {
		return 0
	}
	if a, err := h.fs.Lookup(parent, name); err == nil && h.handles.holds(a.Node) {
		return a.Node
	}
	return 0
}

// Rename renames, over a file or an empty directory if there is one.
func (h *host) Rename(oldPath, newPath string) int { return h.Rename3(oldPath, newPath, 0) }

// Rename3 is Rename with the flags of renameat2.
func (h *host) Rename3(oldPath, newPath string, flags uint32) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("rename", oldPath, &errc)
	var f fsimpl.RenameFlags
	switch flags {
	case 0:
	case fuse.RENAME_NOREPLACE:
		f = fsimpl.RenameNoReplace
	case fuse.RENAME_EXCHANGE:
		f = fsimpl.RenameExchange
	default:
		return -fuse.EINVAL
	}
	oldPath, err := h.today(oldPath)
	if err != nil {
		return h.errno(err)
	}
	oldParent, oldName, err := h.parent(oldPath)
	if err != nil {
		return h.errno(err)
	}
	newParent, newName, err := h.parent(newPath)
	if err != nil {
		return h.errno(err)
	}
	if strings.HasPrefix(newName, hiddenPrefix) {
		if why := hideOf(newName); why != hidesNothing {
			return h.errno(h.hide(oldParent, oldName, newParent, newName, why))
		}
	}
	held := h.held(oldParent, oldName)
	err = h.fs.Rename(oldParent, oldName, newParent, newName, f)
	if err == nil && held != 0 {
		h.aliases.add(oldParent, h.aliasName(oldName), held)
	}
	if err == nil && (oldParent != newParent || h.aliasName(oldName) != h.aliasName(newName)) {
		h.uncover(oldParent, oldName)
	}
	return h.errno(err)
}

// hiddenPrefix begins the names by which libfuse keeps open files that have lost
// theirs; sixteen hexadecimal digits follow.
const hiddenPrefix = ".fuse_hidden"

// hiding is why libfuse renames an open file to a hidden name.
type hiding uint8

const (
	hidesNothing  hiding = iota // it does not: somebody likes the name
	hidesUnlinked               // the file is unlinked
	hidesReplaced               // another one is about to be renamed over it
)

// hide stands for libfuse's rename of an open file to a hidden name. The index never
// has that name: it is an alias of the node. A file that is replaced stays where it is
// until the rename over it, which comes next, so that the name is never without a file.
func (h *host) hide(oldParent fsimpl.Node, oldName string, newParent fsimpl.Node, newName string, why hiding) error {
	if why == hidesReplaced {
		a, err := h.fs.Lookup(oldParent, oldName)
		if err == nil {
			h.aliases.add(newParent, newName, a.Node)
		}
		return err
	}
	n, err := h.fs.Unlink(oldParent, oldName)
	if err == nil {
		h.aliases.add(newParent, newName, n)
	}
	return err
}

// named reports whether a node is in the tree. One with an alias may be, when it was
// to be replaced and that failed: the kernel goes on using the alias for as long as it
// believes in it, and it stays.
func (h *host) named(n fsimpl.Node) bool {
	a, err := h.fs.Stat(n)
	return err == nil && a.Nlink > 0
}

// Readlink returns the target of a symbolic link.
func (h *host) Readlink(path string) (errc int, target string) {
	if !h.hasLinks() {
		return -fuse.ENOSYS, ""
	}
	if !h.enter() {
		return -fuse.EIO, ""
	}
	defer h.leave("readlink", path, &errc)
	n, err := h.resolve(path)
	if err == nil {
		target, err = h.fs.Readlink(n)
	}
	return h.errno(err), target
}

// Getpath returns the path that a listing shows, in the letter case it was created with.
func (h *host) Getpath(path string, fh uint64) (errc int, stored string) {
	if !h.enter() {
		return -fuse.EIO, ""
	}
	defer h.leave("getpath", path, &errc)
	n, errc := h.node(path, fh)
	if errc != 0 {
		return errc, ""
	}
	stored, err := h.fs.Path(n)
	return h.errno(err), stored
}

// Statfs describes the volume.
func (h *host) Statfs(path string, stat *fuse.Statfs_t) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("statfs", path, &errc)
	s := h.fs.Statfs()
	stat.Bsize, stat.Frsize = uint64(s.BlockSize), uint64(s.BlockSize)
	stat.Blocks, stat.Bfree, stat.Bavail = uint64(s.Blocks), uint64(s.Free), uint64(s.Free)
	stat.Files, stat.Ffree, stat.Favail = uint64(s.Files), uint64(s.FreeFiles), uint64(s.FreeFiles)
	stat.Namemax = uint64(s.NameMax)
	return 0
}

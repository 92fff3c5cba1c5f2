package fusehost

import (
	"errors"
	"syscall"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
	"github.com/winfsp/cgofuse/fuse"
)

// Callbacks about open files. With libfuse 2 they come without a path.

// openFlags turns the flags of open(2) into those of fsimpl.
func openFlags(flags int) fsimpl.OpenFlags {
	// Always readable: the kernel knows what a program may do with its handle, and
	// Windows' cache manager reads through handles opened for writing.
	f := fsimpl.OpenRead
	if flags&fuse.O_ACCMODE != fuse.O_RDONLY {
		f |= fsimpl.OpenWrite
		if flags&fuse.O_APPEND != 0 {
			f |= fsimpl.OpenAppend
		}
		if flags&fuse.O_TRUNC != 0 {
			f |= fsimpl.OpenTruncate
		}
	}
	return f
}

// opened gives a file that was opened a handle number.
func (h *host) opened(file openFile, flags fsimpl.OpenFlags) (int, uint64) {
	fh, ok := h.handles.add(&handle{node: file.Node(), file: file, appends: flags&fsimpl.OpenAppend != 0})
	if !ok {
		h.unseen("release", file.Release())
		return -fuse.ENFILE, noHandle
	}
	return 0, fh
}

// Create makes a file and opens it.
func (h *host) Create(path string, flags int, mode uint32) (errc int, fh uint64) {
	fh = noHandle
	if !h.enter() {
		return -fuse.EIO, fh
	}
	defer h.leave("create", path, &errc)
	parent, name, err := h.parent(path)
	if err != nil {
		return h.errno(err), fh
	}
	f := openFlags(flags) &^ fsimpl.OpenTruncate
	file, err := h.fs.create(parent, name, mode&permissions, h.creator(), f)
	if err != nil && fsimpl.KindOf(err) == fsimpl.Exist && flags&fuse.O_EXCL == 0 {
		// Somebody made it after the kernel looked.
		return h.openPath(path, openFlags(flags))
	}
	if err != nil {
		return h.errno(err), fh
	}
	return h.opened(file, f)
}

// Open opens a file.
func (h *host) Open(path string, flags int) (errc int, fh uint64) {
	if !h.enter() {
		return -fuse.EIO, noHandle
	}
	defer h.leave("open", path, &errc)
	return h.openPath(path, openFlags(flags))
}

func (h *host) openPath(path string, flags fsimpl.OpenFlags) (int, uint64) {
	n, err := h.resolve(path)
	if err != nil {
		return h.errno(err), noHandle
	}
	if h.rules.attributesBind && flags&fsimpl.OpenWrite != 0 {
		a, err := h.fs.Stat(n)
		if err == nil && a.Attributes&attributeReadOnly != 0 {
			err = &fsimpl.Error{Op: "open to write", Path: path, Kind: fsimpl.NotPermitted}
		}
		if err != nil {
			return h.errno(err), noHandle
		}
	}
	file, err := h.openNode(n, flags)
	if err != nil {
		return h.errno(err), noHandle
	}
	if h.refuses(file.Node(), flags) { // asked now: by being opened it may have taken over what arrived before
		h.unseen("release", file.Release())
		return -int(syscall.ESTALE), noHandle
	}
	if h.arrival(file.Node()) != 0 {
		openedOutdated()
	}
	return h.opened(file, flags)
}

// openNode opens a file, or a link where there are none.
func (h *host) openNode(n fsimpl.Node, flags fsimpl.OpenFlags) (openFile, error) {
	if !h.hasLinks() {
		switch a, err := h.fs.Stat(n); {
		case err != nil:
			return nil, err
		case a.Kind == loroindex.Symlink:
			return openLink(h.fs, n, flags)
		}
	}
	return h.fs.open(n, flags)
}

// Read reads. Fewer bytes than asked for mean the end of the file.
func (h *host) Read(path string, buf []byte, offset int64, fh uint64) (n int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("read", path, &n)
	f := h.handles.get(fh)
	if f == nil || f.file == nil {
		return -fuse.EBADF
	}
	n, err := f.file.ReadAt(buf, offset)
	if err != nil {
		return h.errno(err)
	}
	return n
}

// Write writes all of buf.
func (h *host) Write(path string, buf []byte, offset int64, fh uint64) (n int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("write", path, &n)
	f := h.handles.get(fh)
	if f == nil || f.file == nil {
		return -fuse.EBADF
	}
	file := f.file
	if f.appends && writesBack() {
		var err error
		if file, err = h.plain(f); err != nil {
			return h.errno(err)
		}
	}
	n, err := file.WriteAt(buf, offset)
	if err != nil {
		return h.errno(err)
	}
	return n
}

// plain returns the file of an appending handle, opened so that it does not append:
// pages of a shared mapping have their place, through whichever handle the kernel
// writes them back.
func (h *host) plain(f *handle) (openFile, error) {
	f.plainMu.Lock()
	defer f.plainMu.Unlock()
	if f.plain == nil {
		file, err := h.fs.open(f.node, fsimpl.OpenRead|fsimpl.OpenWrite)
		if err != nil {
			return nil, err
		}
		f.plain = file
	}
	return f.plain, nil
}

// Truncate changes the size, through a handle where there is one.
func (h *host) Truncate(path string, size int64, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("truncate", path, &errc)
	if fh != noHandle {
		if f := h.handles.get(fh); f != nil && f.file != nil {
			return h.errno(f.file.Truncate(size))
		}
	}
	n, err := h.resolve(path)
	if err == nil {
		err = h.fs.Truncate(n, size)
	}
	return h.errno(err)
}

// Flush is close(2) of one descriptor of a handle; there may be several.
func (h *host) Flush(path string, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("flush", path, &errc)
	f := h.handles.get(fh)
	if f == nil || f.file == nil {
		return -fuse.EBADF
	}
	return h.errno(f.file.Flush())
}

// Fsync makes what was written through any handle survive power loss.
func (h *host) Fsync(path string, _ bool, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("fsync", path, &errc)
	f := h.handles.get(fh)
	switch {
	case f == nil:
		return -fuse.EBADF
	case f.file == nil: // WinFsp knows no fsyncdir
		return h.errno(h.fs.SyncDir(f.node))
	}
	return h.errno(f.file.Sync())
}

// Release ends a handle.
func (h *host) Release(path string, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("release", path, &errc)
	f := h.handles.remove(fh)
	if f == nil || f.file == nil {
		return -fuse.EBADF
	}
	err := f.file.Release()
	f.plainMu.Lock()
	if f.plain != nil {
		err = errors.Join(err, f.plain.Release())
	}
	f.plainMu.Unlock()
	h.ended(f.node)
	return h.unseen("release", err)
}

// unseen is errno for a result that the system throws away: the log has it whatever
// it is.
func (h *host) unseen(op string, err error) int {
	if err != nil {
		h.log.Error("an operation failed whose result no program sees", "op", op, "error", err)
	}
	return -errnoOf(err)
}

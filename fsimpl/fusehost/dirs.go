package fusehost

import (
	"github.com/hamflx/pocket/fsimpl"
	"github.com/winfsp/cgofuse/fuse"
)

// Callbacks about open directories.

// Opendir opens a directory.
func (h *host) Opendir(path string) (errc int, fh uint64) {
	if !h.enter() {
		return -fuse.EIO, noHandle
	}
	defer h.leave("opendir", path, &errc)
	n, err := h.resolve(path)
	if err != nil {
		return h.errno(err), noHandle
	}
	d, err := h.fs.openDir(n)
	if err != nil {
		return h.errno(err), noHandle
	}
	fh, ok := h.handles.add(&handle{node: n, dir: d})
	if !ok {
		return -fuse.ENFILE, noHandle
	}
	return 0, fh
}

// Readdir gives out the entries from an offset on: "." has 0, ".." 1 and the n-th
// entry 2+n. WinFsp wants all of them at once, without offsets. The entries are those there were when the directory was opened or
// rewound, so that none is given twice or missed while others come and go.
func (h *host) Readdir(path string, fill func(name string, stat *fuse.Stat_t, offset int64) bool, offset int64, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("readdir", path, &errc)
	d := h.handles.get(fh)
	if d == nil || d.dir == nil {
		return -fuse.EBADF
	}
	d.dirMu.Lock()
	defer d.dirMu.Unlock()
	if offset == 0 && d.read {
		if err := d.dir.Rewind(); err != nil {
			return h.errno(err)
		}
	}
	d.read = true
	return h.errno(h.list(d, fill, offset))
}

func (h *host) list(d *handle, take func(name string, stat *fuse.Stat_t, offset int64) bool, offset int64) error {
	give := func(name string, stat *fuse.Stat_t, next int64) bool {
		if h.rules.readdirWhole {
			next = 0
		}
		return take(name, stat, next)
	}
	var stat fuse.Stat_t
	if offset <= 0 {
		a, err := h.fs.Stat(d.node)
		if err != nil {
			return err
		}
		h.fill(&stat, &a)
		if !give(".", &stat, 1) {
			return nil
		}
	}
	if offset <= 1 && !give("..", nil, 2) {
		return nil
	}
	entries := d.dir.Entries()
	for i := max(0, offset-2); i < int64(len(entries)); i++ {
		e := &entries[i]
		if h.rules.readdirPlus {
			a, err := h.fs.Stat(e.Node)
			if err != nil && fsimpl.KindOf(err) != fsimpl.NotExist {
				return err
			}
			if err != nil || a.Nlink == 0 {
				continue // gone since the directory was opened
			}
			h.fill(&stat, &a)
		} else {
			stat = fuse.Stat_t{Ino: e.Ino, Mode: h.typeOf(e.Kind)}
		}
		if !give(e.Name, &stat, i+3) {
			return nil
		}
	}
	return nil
}

// Releasedir ends a handle of a directory.
func (h *host) Releasedir(path string, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("releasedir", path, &errc)
	d := h.handles.remove(fh)
	if d == nil || d.dir == nil {
		return -fuse.EBADF
	}
	h.ended(d.node)
	return 0
}

// Fsyncdir makes changes of names survive power loss.
func (h *host) Fsyncdir(path string, _ bool, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("fsyncdir", path, &errc)
	d := h.handles.get(fh)
	if d == nil {
		return -fuse.EBADF
	}
	return h.errno(h.fs.SyncDir(d.node))
}

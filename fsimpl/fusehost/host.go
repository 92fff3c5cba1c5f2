package fusehost

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
	"github.com/winfsp/cgofuse/fuse"
)

// host has the callbacks of one mount. They run concurrently, on threads of libfuse
// or WinFsp; each begins with enter and ends with leave.
type host struct {
	fuse.FileSystemBase // what is not here is ENOSYS: extended attributes, access

	fs    fileSystem
	log   *slog.Logger
	rules rules
	owner fsimpl.Owner // of what is created, where the system does not tell
	links bool         // there are symbolic links, or there may be

	handles handles
	aliases aliases
	gate    *gate

	outdated outdated

	tell       func(...fsimpl.Merged) // tells the system of changes that it does not know of; may be nil
	onInit     func()                 // called by Init; may be nil
	onDestroy  func()                 // called by Destroy; may be nil
	started    chan struct{}          // closed by Init
	wasStarted atomic.Bool
}

var (
	_ fuse.FileSystemInterface  = (*host)(nil)
	_ fuse.FileSystemRename3    = (*host)(nil)
	_ fuse.FileSystemGetpath    = (*host)(nil)
	_ fuse.FileSystemChflags    = (*host)(nil)
	_ fuse.FileSystemSetcrtime  = (*host)(nil)
	_ fuse.FileSystemSetchgtime = (*host)(nil)
)

func newHost(fs fileSystem, owner fsimpl.Owner, log *slog.Logger) *host {
	return &host{fs: fs, log: log, rules: platformRules, owner: owner, links: true, gate: newGate(), started: make(chan struct{})}
}

// hasLinks reports whether symbolic links are shown as such.
func (h *host) hasLinks() bool { return h.links || !h.rules.mayLackLinks }

// Init is called before the first operation.
func (h *host) Init() {
	if h.onInit != nil {
		h.onInit()
	}
	if !h.wasStarted.Swap(true) {
		close(h.started)
	}
}

// Destroy is called after the last operation.
func (h *host) Destroy() {
	if h.onDestroy != nil {
		h.onDestroy()
	}
}

// enter begins a callback; where it reports false the callback returns -EIO at
// once: the mount has ended and its file system may be closed.
func (h *host) enter() bool { return h.gate.enter() }

// leave ends a callback. A panic in it is the failure of that operation alone.
func (h *host) leave(op, path string, result *int) {
	if r := recover(); r != nil {
		*result = -fuse.EIO
		h.log.Error("an operation panicked", "op", op, "path", path, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
	h.gate.leave()
}

// split cuts a path into its directory and the last element.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

// parent returns the node of a path's directory, and the last element.
func (h *host) parent(path string) (fsimpl.Node, string, error) {
	dir, name := split(path)
	n, err := h.fs.Resolve(dir)
	return n, name, err
}

// resolve returns the node of a path: what the index has there, else the open file that has a
// hidden name.
func (h *host) resolve(path string) (fsimpl.Node, error) {
	n, err := h.fs.Resolve(path)
	if err == nil || fsimpl.KindOf(err) != fsimpl.NotExist {
		return n, err
	}
	_, name := split(path)
	if len(name) > loroindex.MaxName && !h.rules.foldsCase { // a name that is shown longer than it is
		return 0, &fsimpl.Error{Op: "lookup", Path: path, Kind: fsimpl.NameTooLong}
	}
	if h.rules.hidesUnlinked {
		if n, ok := h.oldNode(path); ok {
			return n, nil
		}
	}
	return 0, err
}

// resolveOpen is resolve for what is done through a handle that is not told: the path may
// be the one the file was opened by, and no longer its own. Where another file has that path by
// now, the one that is open is meant; where both are, it cannot be told, and it is the other.
func (h *host) resolveOpen(path string) (fsimpl.Node, error) {
	n, err := h.resolve(path)
	if !h.rules.keepsOldPaths || err == nil && (h.aliases.count.Load() == 0 || h.handles.holds(n)) {
		return n, err
	}
	if old, ok := h.oldNode(path); ok {
		return old, nil
	}
	return n, err
}

// today returns the path by which the index knows the file that is unlinked or renamed as
// path. WinFsp does both through a handle, and gives the path it was opened by.
func (h *host) today(path string) (string, error) {
	if !h.rules.keepsOldPaths || h.aliases.count.Load() == 0 {
		return path, nil
	}
	n, err := h.resolveOpen(path)
	if err != nil {
		return path, err
	}
	if at, err := h.resolve(path); err == nil && at == n {
		return path, nil
	}
	// Unlinked already, it has none; what has its path by now is another file.
	if !h.named(n) {
		return path, &fsimpl.Error{Op: "lookup", Path: path, Kind: fsimpl.NotExist}
	}
	return h.fs.Path(n)
}

// oldNode returns what an open file was called by a path.
func (h *host) oldNode(path string) (fsimpl.Node, bool) {
	if h.aliases.count.Load() == 0 {
		return 0, false
	}
	parent, name, err := h.parent(path)
	if err != nil {
		return 0, false
	}
	return h.aliases.find(parent, h.aliasName(name))
}

// aliasName returns the name that aliases know for all spellings of one.
func (h *host) aliasName(name string) string {
	if h.rules.foldsCase {
		return loroindex.FoldName(name)
	}
	return name
}

// ended is called when a handle of n was released: its old names end with the last one.
func (h *host) ended(n fsimpl.Node) {
	if h.aliases.count.Load() > 0 && !h.handles.holds(n) && (h.rules.keepsOldPaths || !h.named(n)) {
		h.aliases.forget(n)
	}
}

// node returns the node of a handle or, where there is none, of a path. A negative
// errno says what is wrong.
func (h *host) node(path string, fh uint64) (fsimpl.Node, int) {
	if fh != noHandle {
		if f := h.handles.get(fh); f != nil {
			return f.node, 0
		}
	}
	n, err := h.resolve(path)
	return n, h.errno(err)
}

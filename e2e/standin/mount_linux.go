package standin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mount serves a volume that has begun as a Linux mount, at the directory that is Wine's for
// its path, and returns when it is there. It lasts until the program or somebody on Linux
// unmounts it, or the program ends.
//
// Linux programs can work with the files. Programs of the same Wine must not look at them,
// and the program itself must have seen its mount point before: they would wait for the one
// wineserver, which would wait for the program's answer.
//
// Calls go by the path that a file was opened by, as WinFsp makes them, and permissions are
// Windows' one bit for who may write.
func (v *Volume) Mount() error {
	dir, err := v.Directory()
	if err != nil {
		return err
	}
	server, err := mountAt(v, dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	v.mounted.Add(1)
	ended := make(chan struct{})
	go func() {
		server.Wait()
		close(ended)
	}()
	go func() {
		defer v.mounted.Done()
		select {
		case <-v.Wanted():
		case <-ended:
		}
		unmount(server, dir)
		v.End()
		os.Remove(dir) // WinFsp's directory goes with its process, however that ends
	}()
	return nil
}

// Wait waits until a mount of Mount has ended and its directory is gone.
func (v *Volume) Wait() { v.mounted.Wait() }

// Serve begins a volume that was accepted and waits until it is unmounted, whether it was
// mounted on Linux or not.
func (v *Volume) Serve(ctx context.Context) error {
	if err := v.Begin(ctx); err != nil {
		v.End()
		return err
	}
	<-v.Wanted()
	v.mounted.Wait()
	v.End()
	return nil
}

// Show makes the mount point of a volume seen by programs of this Wine, and returns what takes
// that back: a drive is a link that Wine finds by its letter, to the empty directory dir, which is made. Any other
// mount point is there since the mount began.
func (v *Volume) Show(dir string) (hide func(), err error) {
	if len(v.Path) != 2 || v.Path[1] != ':' {
		return func() {}, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	link := filepath.Join(os.Getenv("WINEPREFIX"), "dosdevices", strings.ToLower(v.Path))
	if _, err := os.Stat(link); err != nil {
		os.Remove(link) // of a test that was killed
	}
	if err := os.Symlink(dir, link); err != nil {
		return nil, fmt.Errorf("a drive of Wine (WINEPREFIX must be set): %w", err)
	}
	return func() { os.Remove(link) }, nil
}

// Directory is the Linux path of the mount point, by Wine's links for its drives.
func (v *Volume) Directory() (string, error) { return unixPath(v.Path) }

// unixPath is the Linux path of a Windows path, by Wine's links for its drives.
func unixPath(path string) (string, error) {
	drive, rest, ok := strings.Cut(path, `:\`)
	if !ok || len(drive) != 1 {
		return "", fmt.Errorf("%s is not a directory on a drive", path)
	}
	root, err := filepath.EvalSymlinks(filepath.Join(os.Getenv("WINEPREFIX"), "dosdevices", strings.ToLower(drive)+":"))
	if err != nil {
		return "", fmt.Errorf("a drive of Wine (WINEPREFIX must be set): %w", err)
	}
	return filepath.Join(root, strings.ReplaceAll(rest, `\`, "/")), nil
}

// mountAt mounts a volume that has not begun. Nothing is cached, as far as the kernel can be
// told.
func mountAt(v *Volume, dir string) (*fuse.Server, error) {
	var never time.Duration
	return fs.Mount(dir, &node{v: v}, &fs.Options{
		EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never,
		MountOptions: fuse.MountOptions{
			FsName: "standin", Name: "standin", MaxWrite: 128 << 10, DisableXAttrs: true, DisableReadDirPlus: true,
		},
	})
}

// unmount takes the mount out of sight, also while files are open, as WinFsp does.
func unmount(server *fuse.Server, dir string) {
	if server.Unmount() == nil {
		return
	}
	if unix.Unmount(dir, unix.MNT_DETACH) != nil {
		exec.Command("fusermount", "-u", "-z", dir).Run() // the tests look for what is left
	}
}

// errnos are those whose numbers differ between Microsoft's C library and Linux.
var errnos = map[Errno]syscall.Errno{
	ENAMETOOLONG: syscall.ENAMETOOLONG,
	ENOSYS:       syscall.ENOSYS,
	ENOTEMPTY:    syscall.ENOTEMPTY,
	EILSEQ:       syscall.EILSEQ,
	ETIMEDOUT:    syscall.ETIMEDOUT,
}

func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	e, ok := err.(Errno)
	if !ok {
		return syscall.EIO
	}
	if linux, ok := errnos[e]; ok {
		return linux
	}
	return syscall.Errno(e)
}

// node is a file or directory.
type node struct {
	fs.Inode
	v *Volume

	mu   sync.Mutex
	open []*handle // guarded by mu
}

// handle is an open file.
type handle struct {
	path   string // that it was opened by
	number uint64
}

var _ interface {
	fs.NodeLookuper
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeReaddirer
	fs.NodeMkdirer
	fs.NodeCreater
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFlusher
	fs.NodeReleaser
	fs.NodeFsyncer
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeRenamer
	fs.NodeStatfser
} = (*node)(nil)

// path returns the node's path, by which nothing may be found any more.
func (n *node) path() string { return "/" + n.Path(nil) }

func (n *node) child(name string) string {
	if n.IsRoot() {
		return "/" + name
	}
	return n.path() + "/" + name
}

// any returns a handle of the node, if there is one.
func (n *node) any() *handle {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.open) == 0 {
		return nil
	}
	return n.open[0]
}

func (n *node) opened(path string, number uint64) *handle {
	h := &handle{path: path, number: number}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = append(n.open, h)
	return h
}

// attr puts a stat into a FUSE answer.
func attr(s Stat, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Size, out.Blocks = s.Ino, s.Mode, s.Nlink, uint64(s.Size), uint64(s.Blocks)
	if s.Flags&ReadOnly != 0 {
		out.Mode &^= 0o222
	}
	out.Owner = fuse.Owner{Uid: s.UID, Gid: s.GID}
	out.Atime, out.Atimensec = uint64(s.Atime.Sec), uint32(s.Atime.Nsec)
	out.Mtime, out.Mtimensec = uint64(s.Mtime.Sec), uint32(s.Mtime.Nsec)
	out.Ctime, out.Ctimensec = uint64(s.Ctime.Sec), uint32(s.Ctime.Nsec)
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	s, err := n.v.Stat(n.child(name))
	if err != nil {
		return nil, errno(err)
	}
	return n.enter(ctx, s, out), 0
}

// enter returns the node of a stat.
func (n *node) enter(ctx context.Context, s Stat, out *fuse.EntryOut) *fs.Inode {
	attr(s, &out.Attr)
	return n.NewInode(ctx, &node{v: n.v}, fs.StableAttr{Mode: s.Mode & syscall.S_IFMT, Ino: s.Ino})
}

// stat looks at the node by a handle where there is one, which WinFsp always has.
func (n *node) stat(f fs.FileHandle) (Stat, error) {
	h, ok := f.(*handle)
	if !ok {
		h = n.any()
	}
	if h != nil {
		return n.v.StatHandle(h.path, h.number)
	}
	return n.v.Stat(n.path())
}

func (n *node) Getattr(_ context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	s, err := n.stat(f)
	if err == nil {
		attr(s, &out.Attr)
	}
	return errno(err)
}

func (n *node) Setattr(_ context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	s, err := n.stat(f)
	if err != nil {
		return errno(err)
	}
	path, number := n.path(), NoHandle
	if h, ok := f.(*handle); ok {
		path, number = h.path, h.number
	} else if h := n.any(); h != nil {
		path = h.path
	}
	if mode, ok := in.GetMode(); ok && err == nil {
		// Windows has one bit for who may write.
		flags := s.Flags &^ ReadOnly
		if mode&0o222 == 0 {
			flags |= ReadOnly
		}
		if flags != s.Flags {
			_, err = n.v.Call(Request{Op: Chflags, Path: path, Handle: NoHandle, Flags: flags})
		}
	}
	if size, ok := in.GetSize(); ok && err == nil {
		_, err = n.v.Call(Request{Op: Truncate, Path: path, Handle: number, Offset: int64(size)})
	}
	atime, hasAtime := in.GetATime()
	mtime, hasMtime := in.GetMTime()
	if (hasAtime || hasMtime) && err == nil {
		times := [2]Time{s.Atime, s.Mtime}
		if hasAtime {
			times[0] = Time{Sec: atime.Unix(), Nsec: int64(atime.Nanosecond())}
		}
		if hasMtime {
			times[1] = Time{Sec: mtime.Unix(), Nsec: int64(mtime.Nanosecond())}
		}
		_, err = n.v.Call(Request{Op: Utimens, Path: path, Handle: NoHandle, Times: times})
	}
	if err != nil {
		return errno(err)
	}
	return n.Getattr(context.Background(), f, out)
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	f, err := n.v.Open(n.path())
	if err != nil {
		return nil, errno(err)
	}
	defer f.Close()
	entries, err := f.List()
	if err != nil {
		return nil, errno(err)
	}
	list := make([]fuse.DirEntry, 0, len(entries))
	for _, e := range entries {
		d := fuse.DirEntry{Name: e.Name}
		if e.Stat != nil {
			d.Mode, d.Ino = e.Stat.Mode, e.Stat.Ino
		}
		list = append(list, d)
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	path := n.child(name)
	if err := n.v.Mkdir(path); err != nil {
		return nil, errno(err)
	}
	s, err := n.v.Stat(path)
	if err != nil {
		return nil, errno(err)
	}
	return n.enter(ctx, s, out), 0
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	path := n.child(name)
	f, err := n.v.Create(path)
	if err != nil {
		return nil, nil, 0, errno(err)
	}
	if mode&0o222 == 0 {
		err = f.SetFlags(ReadOnly | Archive)
	}
	s, failed := f.Stat()
	if err == nil {
		err = failed
	}
	if err != nil {
		f.Close()
		return nil, nil, 0, errno(err)
	}
	inode := n.enter(ctx, s, out)
	return inode, inode.Operations().(*node).opened(path, f.Handle()), 0, 0
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	path := n.path()
	open := n.v.Open
	if flags&(syscall.O_ACCMODE|syscall.O_TRUNC) != syscall.O_RDONLY {
		open = n.v.OpenWrite
	}
	f, err := open(path)
	if err != nil {
		return nil, 0, errno(err)
	}
	if flags&syscall.O_TRUNC != 0 {
		if err := f.SetEnd(0); err != nil {
			f.Close()
			return nil, 0, errno(err)
		}
	}
	return n.opened(path, f.Handle()), 0, 0
}

func (n *node) Read(_ context.Context, f fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h := f.(*handle)
	r, err := n.v.Call(Request{Op: Read, Path: h.path, Handle: h.number, Offset: off, Size: uint32(len(dest))})
	return fuse.ReadResultData(r.Data), errno(err)
}

func (n *node) Write(_ context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	h := f.(*handle)
	if _, err := n.v.StatHandle(h.path, h.number); err != nil { // before each write, as WinFsp
		return 0, errno(err)
	}
	r, err := n.v.Call(Request{Op: Write, Path: h.path, Handle: h.number, Offset: off, Data: data})
	if err != nil {
		return 0, errno(err)
	}
	return uint32(r.Result), 0
}

func (n *node) Flush(_ context.Context, f fs.FileHandle) syscall.Errno {
	h := f.(*handle)
	_, err := n.v.Call(Request{Op: Flush, Path: h.path, Handle: h.number})
	return errno(err)
}

func (n *node) Fsync(_ context.Context, f fs.FileHandle, _ uint32) syscall.Errno {
	h, ok := f.(*handle)
	if !ok {
		return 0 // a directory: Windows has nothing like that
	}
	_, err := n.v.Call(Request{Op: Fsync, Path: h.path, Handle: h.number})
	return errno(err)
}

func (n *node) Release(_ context.Context, f fs.FileHandle) syscall.Errno {
	h := f.(*handle)
	n.mu.Lock()
	for i, other := range n.open {
		if other == h {
			n.open = append(n.open[:i], n.open[i+1:]...)
			break
		}
	}
	n.mu.Unlock()
	_, err := n.v.Call(Request{Op: Release, Path: h.path, Handle: h.number})
	return errno(err)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	f, err := n.v.Open(n.child(name))
	if err != nil {
		return errno(err)
	}
	defer f.Close()
	return errno(f.Delete())
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	f, err := n.v.Open(n.child(name))
	if err != nil {
		return errno(err)
	}
	defer f.Close()
	return errno(f.Delete())
}

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags&^uint32(unix.RENAME_NOREPLACE) != 0 {
		return syscall.EINVAL // Windows exchanges nothing
	}
	f, err := n.v.Open(n.child(name))
	if err != nil {
		return errno(err)
	}
	defer f.Close()
	return errno(f.Rename(to.EmbeddedInode().Operations().(*node).child(newName), flags&unix.RENAME_NOREPLACE == 0))
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	s, err := n.v.Statfs()
	if err != nil {
		return errno(err)
	}
	out.Bsize, out.Frsize = uint32(s.BlockSize), uint32(s.FragmentSize)
	out.Blocks, out.Bfree, out.Bavail = s.Blocks, s.Free, s.Available
	out.Files, out.Ffree, out.NameLen = s.Files, s.FreeFiles, uint32(s.NameMost)
	return 0
}

// Linux only: go-fuse, in a mount namespace.

package crash

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// disk is a FUSE file system in memory that notes what happens to it.
//
// The child process mounts it, in a mount namespace of its own: when that process
// ends, so does the mount, however it ends.
type disk struct {
	fuse.RawFileSystem // answers ENOSYS to everything else

	mu     sync.Mutex // guards all below
	now    *image
	events []event
	next   uint64         // node, and handle of an open directory
	opened map[uint64]int // directory handles by their event
}

// marksName is the file in the root that the workload writes its marks to.
const marksName = "marks"

func newDisk(start *image, next uint64) *disk {
	return &disk{RawFileSystem: fuse.NewDefaultRawFileSystem(), now: start, next: next, opened: map[uint64]int{}}
}

// serve answers the kernel on an open /dev/fuse that was mounted, until the mount
// is gone.
func (d *disk) serve(device *os.File) (*fuse.Server, error) {
	// The server closes the descriptor, and so gets one of its own.
	fd, err := unix.Dup(int(device.Fd()))
	if err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(d, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		MaxWrite: 128 << 10, SyncRead: true, DisableXAttrs: true, DisableReadDirPlus: true, MaxBackground: 12,
	})
	if err != nil {
		return nil, err
	}
	go server.Serve()
	return server, nil
}

// mountOn is called in the child process: it mounts the disk that the parent serves
// on descriptor device.
func mountOn(dir string, device int) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", device, os.Getuid(), os.Getgid())
	if err := unix.Mount("crash", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	// Were it open here, the kernel would wait for answers after the parent is gone.
	return unix.Close(device)
}

// note adds an event and does what it says.
func (d *disk) note(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noteLocked(e)
}

func (d *disk) noteLocked(e event) {
	d.events = append(d.events, e)
	d.now.apply(e)
}

const forever = uint64(time.Hour / time.Second)

func (d *disk) attr(id uint64, out *fuse.Attr) {
	n := d.now.nodes[id]
	*out = fuse.Attr{Ino: id, Size: uint64(len(n.data)), Blocks: uint64(len(n.data)+511) / 512, Nlink: 1, Mode: syscall.S_IFREG | 0o600, Blksize: 4096}
	if n.dir {
		out.Mode, out.Nlink = syscall.S_IFDIR|0o700, 2
	}
	out.Uid, out.Gid = uint32(os.Getuid()), uint32(os.Getgid())
}

func (d *disk) entry(id uint64, out *fuse.EntryOut) {
	out.NodeId, out.Generation = id, 1
	out.EntryValid, out.AttrValid = forever, forever
	d.attr(id, &out.Attr)
}

func (d *disk) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.now.nodes[in.NodeId].names[name]
	if !ok {
		return fuse.ENOENT
	}
	d.entry(id, out)
	return fuse.OK
}

func (d *disk) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	out.AttrValid = forever
	d.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

func (d *disk) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		d.noteLocked(event{verb: truncate, node: in.NodeId, off: int64(size)})
	}
	out.AttrValid = forever
	d.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

func (d *disk) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.now.nodes[in.NodeId].names[name]; ok {
		return fuse.Status(syscall.EEXIST)
	}
	d.next++
	d.noteLocked(event{verb: mkdir, node: d.next, parent: in.NodeId, name: name})
	d.entry(d.next, out)
	return fuse.OK
}

func (d *disk) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.now.nodes[in.NodeId].names[name]
	if ok && in.Flags&syscall.O_EXCL != 0 {
		return fuse.Status(syscall.EEXIST)
	}
	if !ok {
		d.next++
		id = d.next
		d.noteLocked(event{verb: create, node: id, parent: in.NodeId, name: name})
	}
	d.entry(id, &out.EntryOut)
	return fuse.OK
}

func (d *disk) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.now.nodes[in.NodeId].names[name]
	if !ok {
		return fuse.ENOENT
	}
	d.noteLocked(event{verb: unlink, node: id, parent: in.NodeId, name: name})
	return fuse.OK
}

func (d *disk) Rmdir(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	d.mu.Lock()
	id, ok := d.now.nodes[in.NodeId].names[name]
	full := ok && len(d.now.nodes[id].names) > 0
	d.mu.Unlock()
	if full {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	return d.Unlink(c, in, name)
}

func (d *disk) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.now.nodes[in.NodeId].names[oldName]
	switch {
	case !ok:
		return fuse.ENOENT
	case in.Flags != 0:
		return fuse.EINVAL
	}
	d.noteLocked(event{verb: rename, node: id, parent: in.NodeId, name: oldName, toParent: in.Newdir, toName: newName})
	return fuse.OK
}

func (d *disk) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if in.Flags&syscall.O_TRUNC != 0 && len(d.now.nodes[in.NodeId].data) > 0 {
		d.noteLocked(event{verb: truncate, node: in.NodeId})
	}
	return fuse.OK
}

func (d *disk) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data := d.now.nodes[in.NodeId].data
	if in.Offset >= uint64(len(data)) {
		return fuse.ReadResultData(nil), fuse.OK
	}
	return fuse.ReadResultData(buf[:copy(buf, data[in.Offset:])]), fuse.OK
}

func (d *disk) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now.nodes[rootNode].names[marksName] == in.NodeId {
		d.noteLocked(event{verb: mark, name: string(data)})
		return uint32(len(data)), fuse.OK
	}
	d.noteLocked(event{verb: write, node: in.NodeId, off: int64(in.Offset), data: slices.Clone(data)})
	return uint32(len(data)), fuse.OK
}

func (d *disk) Writev(c <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	return d.Write(c, in, slices.Concat(data...))
}

func (d *disk) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (d *disk) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d.note(event{verb: fsync, node: in.NodeId})
	return fuse.OK
}

// OpenDir takes the opening of a directory for a syncfs until the handle is used
// for something else: FUSE does not tell of syncfs(2), and only that opens a directory
// for nothing.
func (d *disk) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	out.Fh = d.next
	d.opened[out.Fh] = len(d.events)
	d.events = append(d.events, event{verb: syncfs})
	return fuse.OK
}

func (d *disk) usedDir(handle uint64) {
	if at, ok := d.opened[handle]; ok {
		d.events[at].void = true
		delete(d.opened, handle)
	}
}

func (d *disk) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.usedDir(in.Fh)
	n := d.now.nodes[in.NodeId]
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	// By node, so that what is made or removed meanwhile moves nothing else.
	slices.SortFunc(names, func(a, b string) int { return int(n.names[a]) - int(n.names[b]) })
	for _, name := range names {
		id := n.names[name]
		if id <= in.Offset {
			continue
		}
		mode := uint32(syscall.S_IFREG)
		if d.now.nodes[id].dir {
			mode = syscall.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: name, Mode: mode, Ino: id, Off: id}) {
			break
		}
	}
	return fuse.OK
}

func (d *disk) ReleaseDir(*fuse.ReleaseIn) {}

func (d *disk) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.usedDir(in.Fh)
	d.noteLocked(event{verb: fsync, node: in.NodeId})
	return fuse.OK
}

func (d *disk) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.Blocks, out.Bfree, out.Bavail, out.NameLen = 4096, 4096, 1<<30, 1<<29, 1<<29, 255
	return fuse.OK
}

package fusehost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/winfsp/cgofuse/fuse"
	"golang.org/x/sys/unix"
)

// fileSystemType is how Linux lists a mount.
const fileSystemType = "fuse.pocket"

// mountIDs tell a mount from others.
type mountIDs struct {
	fd     int    // of /dev/fuse, while it is served
	device uint64 // number of the mounted file system; 0 before it is known
}

// attach mounts an open /dev/fuse and returns the arguments for libfuse, which are
// to serve it. cgofuse gets no path: see libfuse_linux.c.
func (m *Mounted) attach(o Options) (path string, args []string, err error) {
	fd, err := mountDevice(m.point.path, "pocket:"+label(o.Name), os.Geteuid() == 0 || o.AllowOther && othersAllowed())
	if err != nil {
		return "", nil, fmt.Errorf("mount %s: %w", m.point.path, err)
	}
	m.point.fd = fd
	devices.Store(fd, m.host)
	return "", []string{
		deviceArg(fd),
		// Inode numbers are the index's. The kernel trusts attributes and names for a
		// while, which is how late changes from other machines may be seen.
		fmt.Sprintf("-ouse_ino,attr_timeout=%[1]v,entry_timeout=%[1]v,negative_timeout=0", attrTimeout.Seconds()),
		// What the page cache has of a file is kept from one open to the next as
		// long as size and time are the same.
		"-oauto_cache",
		// Writes of 128 KiB instead of 4, and room for the read-ahead of several readers.
		"-obig_writes,max_background=64,congestion_threshold=48",
	}, nil
}

// mountDevice opens /dev/fuse and mounts it: by mount(2) as root, else by fusermount.
func mountDevice(path, source string, allowOther bool) (fd int, err error) {
	if os.Geteuid() != 0 {
		return mountByHelper(path, source, allowOther)
	}
	fd, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, deviceError(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions", fd, os.Geteuid(), os.Getegid())
	if allowOther {
		data += ",allow_other"
	}
	if err := unix.Mount(source, path, fileSystemType, unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		unix.Close(fd)
		if err == unix.EPERM {
			err = fmt.Errorf("%w: in a container, run it with --cap-add SYS_ADMIN", err)
		}
		return -1, err
	}
	return fd, nil
}

// mountByHelper lets fusermount, which is setuid root, open and mount /dev/fuse; it
// hands the descriptor back over a socket (libfuse's own protocol).
func mountByHelper(path, source string, allowOther bool) (fd int, err error) {
	helper, err := findHelper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount"), os.NewFile(uintptr(pair[1]), "fusermount")
	defer ours.Close()
	defer theirs.Close()

	options := "fsname=" + source + ",subtype=pocket,default_permissions,nosuid,nodev"
	if allowOther {
		options += ",allow_other"
	}
	var said bytes.Buffer
	cmd := helperCommand(helper, "-o", options, "--", path)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return -1, helperError(helper, err, said.String())
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	var one [1]byte
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(one[:], control)
	if err != nil {
		return -1, fmt.Errorf("%s: it sent no descriptor: %w", helper, err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("%s: it sent no descriptor", helper)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("%s: it sent no descriptor", helper)
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}

// helperCommand runs fusermount in a process group of its own: a Ctrl-C in the terminal
// is for the program, which has something to finish.
func helperCommand(helper string, args ...string) *exec.Cmd {
	cmd := exec.Command(helper, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// helperError is what fusermount said about its failure, in one line.
func helperError(helper string, err error, said string) error {
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' })
	if len(lines) == 0 {
		return fmt.Errorf("%s: %w", helper, err)
	}
	return errors.New(strings.Join(lines, "; "))
}

// othersAllowed reports whether users may open their mounts to others.
func othersAllowed() bool {
	conf, err := os.ReadFile("/etc/fuse.conf")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(conf)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

func (m *Mounted) configure(*fuse.FileSystemHost) {}

// ready waits until the kernel answers: its first request was answered with Init,
// a stat waits for that.
func (m *Mounted) ready() error {
	var st unix.Stat_t
	if err := unix.Stat(m.point.path, &st); err != nil {
		return fmt.Errorf("mount %s: it does not answer: %w", m.point.path, err)
	}
	m.point.device = st.Dev
	return nil
}

// detached is called when libfuse has ended. Where the mount is still there, because
// libfuse gave up or never began, nobody serves it and it is removed.
func (m *Mounted) detached() {
	devices.CompareAndDelete(m.point.fd, m.host)
	mounts, err := mountsAt(m.point.path)
	if err == nil && len(mounts) > 0 && mounts[0].pocket && (!m.host.wasStarted.Load() || mounts[0].dead()) {
		if err := unmount(m.point.path, true); err != nil {
			m.host.log.Error("cannot clear a dead mount away", "path", m.point.path, "error", err)
		}
	}
}

// Unmount ends the mount: it asks the system for it and waits until all callbacks
// have returned. When programs use it, the mount is taken out of their sight; those that
// have files open in it have until ctx ends to close them, then what they still do fails
// and the error is ErrBusy. Either way no callback runs any more, so that the file system
// may be closed, unless the error is ErrRunning.
func (m *Mounted) Unmount(ctx context.Context) error {
	m.unmountMu.Lock()
	defer m.unmountMu.Unlock()
	if m.shutDown {
		return m.shut()
	}
	var err error
	if m.here() {
		err = unmount(m.point.path, false)
		if errors.Is(err, unix.EBUSY) {
			if err = unmount(m.point.path, true); err == nil && !m.unused(ctx) {
				err = ErrBusy
			}
		}
		if err != nil {
			err = fmt.Errorf("unmount %s: %w", m.point.path, err)
		}
	}
	if err == nil {
		select {
		case <-m.done:
			return m.err
		case <-time.After(endPatience): // somebody's working directory keeps the mount, out of sight
		}
	}
	m.abort()
	return errors.Join(err, m.shut(), m.point.restore())
}

// endPatience is how long libfuse has to end when nothing is open.
const endPatience = 200 * time.Millisecond

// unused waits until nothing is open in the mount, or it has ended. It reports false
// when ctx ended first.
func (m *Mounted) unused(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !m.host.handles.empty() {
		select {
		case <-m.done:
			return true
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// here reports whether the mount point still shows this mount.
func (m *Mounted) here() bool {
	select {
	case <-m.done:
		return false
	default:
	}
	var st unix.Stat_t
	err := unix.Stat(m.point.path, &st)
	return err != nil || m.point.device == 0 || st.Dev == m.point.device
}

// abort ends the connection to the kernel, so that programs that still have files
// open see errors at once. Where that is not possible, the end of the process does it.
func (m *Mounted) abort() {
	if m.point.device == 0 {
		return
	}
	path := fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", unix.Minor(m.point.device))
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		m.host.log.Debug("cannot abort the connection", "path", path, "error", err)
	}
}

// unmount unmounts what is mounted at path, or with lazy takes it out of sight
// while it is used.
func unmount(path string, lazy bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		return unix.Unmount(path, flags)
	}
	helper, err := findHelper()
	if err != nil {
		return err
	}
	args := []string{"-u", "--", path}
	if lazy {
		args = []string{"-u", "-z", "--", path}
	}
	var said bytes.Buffer
	cmd := helperCommand(helper, args...)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if strings.Contains(said.String(), "busy") { // fusermount speaks English only
			return unix.EBUSY
		}
		return helperError(helper, err, said.String())
	}
	return nil
}

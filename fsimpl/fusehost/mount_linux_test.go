package fusehost

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain lets a test start this binary as a process that holds a mount.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FUSEHOST_TEST_SERVE"); dir != "" {
		os.Exit(serveFake(dir))
	}
	os.Exit(m.Run())
}

// serveFake mounts a fake on dir, says so, and holds it until its input ends.
func serveFake(dir string) int {
	m, err := mount(newFake(), Options{Path: dir, Name: "child", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("mounted")
	io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := m.Unmount(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// child starts serveFake on dir and waits for what it says first.
func child(t *testing.T, dir string, credential *syscall.Credential) (cmd *exec.Cmd, stdin io.Closer, says string) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	if credential != nil { // which may not look into go test's directories
		binary, err := os.ReadFile(exe)
		require.NoError(t, err)
		exe = filepath.Join(openTempDir(t), "child")
		require.NoError(t, os.WriteFile(exe, binary, 0o755))
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), "FUSEHOST_TEST_SERVE="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // where the test failed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, in, strings.TrimSpace(line)
}

// openTempDir is a t.TempDir that every user may look into.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fusehost")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func needFUSE(t *testing.T) {
	t.Helper()
	if err := Check(); err != nil {
		t.Skip(err)
	}
}

// mountFake mounts fs until the test ends and returns the directory.
func mountFake(t *testing.T, fs fileSystem) (*Mounted, string) {
	t.Helper()
	needFUSE(t)
	dir := filepath.Join(openTempDir(t), "mount point")
	m, err := mount(fs, Options{Path: dir, Name: "fake, for tests", Log: testLog(t)})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Unmount(soon(t)))
		_, err := os.Lstat(dir)
		require.ErrorIs(t, err, os.ErrNotExist, "the mount point was made for the mount and goes with it")
	})
	return m, dir
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("does not end")
	}
}

func TestConformanceOfFake(t *testing.T) {
	_, dir := mountFake(t, newFake())
	require.NoError(t, os.Chmod(dir, 0o777))
	runConformance(t, dir)
}

// changes returns what changed names since the last call.
func (f *fake) changes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops := slices.DeleteFunc(f.ops, func(op string) bool { return op == "release" || op == "flush" })
	f.ops = nil
	return ops
}

func TestReplacingAnOpenFileIsOneRename(t *testing.T) {
	fs := newFake()
	_, dir := mountFake(t, fs)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "old")
	write(t, b, "new")
	f := open(t, a, os.O_RDONLY)
	fs.changes()
	require.NoError(t, os.Rename(b, a))
	require.Equal(t, []string{"rename b a"}, fs.changes(), "there is no moment without a file")
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.NoError(t, f.Close())
	require.Eventually(t, func() bool { fs.mu.Lock(); defer fs.mu.Unlock(); return len(fs.nodes) == 2 }, 2*time.Minute, time.Millisecond,
		"the replaced file is gone with its last handle")
	require.Empty(t, fs.changes(), "and no name was changed for that")
}

func TestReplacingAnOpenFileThatFails(t *testing.T) {
	fs := newFake()
	fs.before = func(op, name string) error {
		if op == "rename" {
			return failed(fsimpl.NoSpace)
		}
		return nil
	}
	_, dir := mountFake(t, fs)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "old")
	write(t, b, "new")
	f := open(t, a, os.O_RDWR)
	require.ErrorIs(t, os.Rename(b, a), unix.ENOSPC)
	require.Equal(t, []string{"a", "b"}, names(t, dir))
	_, err := f.WriteString("OLD")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "OLD", read(t, a))
	require.Equal(t, "new", read(t, b))
}

func TestUnlinkingAnOpenFileIsOneUnlink(t *testing.T) {
	fs := newFake()
	m, dir := mountFake(t, fs)
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	fs.changes()
	require.NoError(t, os.Remove(f.Name()))
	require.Equal(t, []string{"unlink a"}, fs.changes())
	require.NoError(t, f.Close())
	require.Eventually(t, func() bool { return m.host.aliases.count.Load() == 0 }, 2*time.Minute, time.Millisecond)
	require.Empty(t, fs.changes())
}

func TestEveryKindHasItsErrno(t *testing.T) {
	var kind atomic.Uint32
	fs := newFake()
	fs.before = func(op, name string) error {
		if op == "mknod" {
			return failed(fsimpl.Kind(kind.Load()))
		}
		return nil
	}
	_, dir := mountFake(t, fs)
	for k, want := range map[fsimpl.Kind]error{
		fsimpl.IO: unix.EIO, fsimpl.NotExist: unix.ENOENT, fsimpl.Exist: unix.EEXIST, fsimpl.NotDir: unix.ENOTDIR,
		fsimpl.IsDir: unix.EISDIR, fsimpl.NotEmpty: unix.ENOTEMPTY, fsimpl.Invalid: unix.EINVAL, fsimpl.BadName: unix.EILSEQ,
		fsimpl.NameTooLong: unix.ENAMETOOLONG, fsimpl.NoSpace: unix.ENOSPC, fsimpl.TooLarge: unix.EFBIG,
		fsimpl.BadHandle: unix.EBADF, fsimpl.NotPermitted: unix.EPERM, fsimpl.ReadOnly: unix.EROFS, 200: unix.EIO,
	} {
		kind.Store(uint32(k))
		require.ErrorIs(t, unix.Mkdir(filepath.Join(dir, "x"), 0o755), want, "kind %d", k)
	}
}

func TestReadAndWriteErrorsReachTheProgram(t *testing.T) {
	var fail atomic.Pointer[string]
	fs := newFake()
	fs.before = func(op, name string) error {
		if failing := fail.Load(); failing != nil && op == *failing {
			return failed(fsimpl.IO)
		}
		return nil
	}
	_, dir := mountFake(t, fs)
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("x")
	require.NoError(t, err)
	for _, c := range []struct {
		op string
		do func() error
	}{
		{"write", func() error { _, err := f.WriteAt([]byte("y"), 0); return err }},
		{"sync", f.Sync},
		{"flush", f.Close},
		{"read", func() error { _, err := os.ReadFile(f.Name()); return err }},
		{"syncdir", func() error { d := open(t, dir, os.O_RDONLY); return d.Sync() }},
	} {
		fail.Store(&c.op)
		require.ErrorIs(t, c.do(), unix.EIO, c.op)
	}
}

func TestPanicIsThatOperationsErrorAndInTheLog(t *testing.T) {
	needFUSE(t)
	fs := newFake()
	fs.before = func(op, name string) error {
		if op == "mknod" && name == "bad" {
			panic("boom")
		}
		return nil
	}
	var logged lockedBuffer
	dir := t.TempDir()
	m, err := mount(fs, Options{Path: dir, Name: "x", Log: slog.New(slog.NewTextHandler(&logged, nil))})
	require.NoError(t, err)
	require.ErrorIs(t, os.Mkdir(filepath.Join(dir, "bad"), 0o755), unix.EIO)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "good"), 0o755))
	require.NoError(t, m.Unmount(soon(t)))
	require.Contains(t, logged.String(), "boom")
	require.Contains(t, logged.String(), "mount_linux_test.go", "the stack")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSignalsAreThePrograms(t *testing.T) {
	mine := make(chan os.Signal, 10)
	signal.Notify(mine, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(mine)
	m, dir := mountFake(t, newFake())
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGTERM} {
		require.NoError(t, unix.Kill(os.Getpid(), s))
		require.Equal(t, os.Signal(s), <-mine)
		write(t, filepath.Join(dir, "a"), "still mounted")
	}
	require.NoError(t, m.Unmount(soon(t)))
}

func TestUnmountFromOutsideEndsTheMount(t *testing.T) {
	m, dir := mountFake(t, newFake())
	other, otherDir := mountFake(t, newFake())
	write(t, filepath.Join(dir, "a"), "")
	out, err := exec.Command("fusermount3", "-u", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	wait(t, m.Done())
	require.NoError(t, m.Err())
	require.NoError(t, m.Unmount(soon(t)), "when it has ended already")
	write(t, filepath.Join(otherDir, "a"), "")
	require.NoError(t, other.Err())
}

func TestUnmountWhileFilesAreOpen(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	m, err := mount(newFake(), Options{Path: dir, Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = m.Unmount(ctx)
	require.ErrorIs(t, err, ErrBusy)
	require.Empty(t, names(t, dir), "the mount is out of sight")
	_, err = f.WriteAt([]byte("x"), 0)
	require.Error(t, err, "and its file system may be closed")
	require.NoError(t, m.Unmount(soon(t)), "again")
	f.Close()
	wait(t, m.Done())
}

// A writer may wait long, for room in a full cache or for the store: not for longer than anybody may use the mount.
func TestUnmountEndsWhatOperationsWaitFor(t *testing.T) {
	needFUSE(t)
	fs := newFake()
	dir := t.TempDir()
	waits := make(chan struct{})
	fs.before = func(op, _ string) error {
		if op == "write" {
			close(waits)
			<-fs.ended
			return failed(fsimpl.NoSpace)
		}
		return nil
	}
	m, err := mount(fs, Options{Path: dir, Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	written := make(chan error)
	go func() {
		_, err := f.WriteString("x")
		written <- err
	}()
	<-waits
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = m.Unmount(ctx)
	require.ErrorIs(t, err, ErrBusy)
	require.NotErrorIs(t, err, ErrRunning)
	require.Error(t, <-written)
	f.Close()
	wait(t, m.Done())
}

func TestUnmountDoesNotWaitForAWorkingDirectory(t *testing.T) {
	needFUSE(t)
	dir := filepath.Join(t.TempDir(), "made")
	m, err := mount(newFake(), Options{Path: dir, Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	shell := exec.Command("sleep", "60")
	shell.Dir = dir
	require.NoError(t, shell.Start())
	defer shell.Wait()
	defer shell.Process.Kill()
	require.NoError(t, m.Unmount(context.Background()))
	require.NoDirExists(t, dir)
}

func TestUnmountGivesProgramsTime(t *testing.T) {
	needFUSE(t)
	fs := newFake()
	dir := t.TempDir()
	m, err := mount(fs, Options{Path: dir, Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	ended := make(chan error)
	go func() { ended <- m.Unmount(soon(t)) }()
	require.Eventually(t, func() bool { return len(names(t, dir)) == 0 }, 2*time.Minute, time.Millisecond)
	_, err = f.WriteString("last words")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, <-ended)
	n, err := fs.Resolve("/a")
	require.NoError(t, err)
	require.Equal(t, "last words", string(fs.nodes[n].data))
}

func TestMountAgainOnTheSameDirectory(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	for i := range 3 {
		m, err := mount(newFake(), Options{Path: dir, Name: "x", Log: testLog(t)})
		require.NoError(t, err)
		require.Empty(t, names(t, dir))
		write(t, filepath.Join(dir, fmt.Sprint(i)), "x")
		require.NoError(t, m.Unmount(soon(t)))
		require.Empty(t, names(t, dir))
	}
	require.DirExists(t, dir, "a directory that was there stays")
}

func TestBadMountPoints(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "mine")
	full := filepath.Join(dir, "full")
	require.NoError(t, os.Mkdir(full, 0o755))
	write(t, filepath.Join(full, "x"), "mine")
	_, mounted := mountFake(t, newFake())
	for path, says := range map[string]string{
		file:                       "is a file",
		filepath.Join(file, "sub"): "not a directory",
		full:                       "is not empty",
		mounted:                    "is mounted already",
	} {
		check := CheckPath(path)
		require.ErrorContains(t, check, says)
		require.ErrorContains(t, check, path)
		require.NotContains(t, check.Error(), "\n")
		_, err := mount(newFake(), Options{Path: path, Name: "x", Log: testLog(t)})
		require.EqualError(t, err, check.Error())
	}
	require.Equal(t, "mine", read(t, file))
	require.Equal(t, []string{"x"}, names(t, full))
	require.NoError(t, CheckPath(filepath.Join(dir, "a", "b")))
	require.NoDirExists(t, filepath.Join(dir, "a"), "checking makes nothing")
}

func TestMissingDirectoriesAreMadeAndRemoved(t *testing.T) {
	needFUSE(t)
	base := t.TempDir()
	dir := filepath.Join(base, "a", "b", "c")
	m, err := mount(newFake(), Options{Path: dir, Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	write(t, filepath.Join(dir, "f"), "")
	write(t, filepath.Join(base, "a", "other"), "mine")
	require.NoError(t, m.Unmount(soon(t)))
	require.NoDirExists(t, filepath.Join(base, "a", "b"))
	require.Equal(t, "mine", read(t, filepath.Join(base, "a", "other")), "what others put there stays")
}

func TestMountPointBehindASymlink(t *testing.T) {
	needFUSE(t)
	base := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(base, "real"), 0o755))
	require.NoError(t, os.Symlink("real", filepath.Join(base, "link")))
	m, err := mount(newFake(), Options{Path: filepath.Join(base, "link"), Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	write(t, filepath.Join(base, "real", "f"), "")
	require.NoError(t, m.Unmount(soon(t)))
}

func TestDeadMountIsClearedAway(t *testing.T) {
	needFUSE(t)
	dir := filepath.Join(t.TempDir(), "dead mount")
	for range 2 { // the second child clears away the mount of the first
		cmd, _, says := child(t, dir, nil)
		require.Equal(t, "mounted", says)
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
		var st unix.Statfs_t
		require.ErrorIs(t, unix.Statfs(dir, &st), unix.ENOTCONN)
		require.NoError(t, CheckPath(dir))
	}
	m, err := mount(newFake(), Options{Path: dir, Name: "x", Log: testLog(t)})
	require.NoError(t, err)
	write(t, filepath.Join(dir, "f"), "")
	require.NoError(t, m.Unmount(soon(t)))
	require.Empty(t, names(t, dir))
}

func TestMountAsAnotherUserThanRoot(t *testing.T) {
	needFUSE(t)
	needRoot(t)
	if st := stat(t, "/dev/fuse"); st.Mode&0o006 != 0o006 {
		t.Skip("other users may not open /dev/fuse here")
	}
	dir := filepath.Join(openTempDir(t), "mnt")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Chown(dir, nobody, nobody))
	cmd, stdin, says := child(t, dir, &syscall.Credential{Uid: nobody, Gid: nobody})
	require.Equal(t, "mounted", says)
	require.Equal(t, "mine\n", asNobody(t, `chmod 777 "$1"; echo mine > "$1/f" && cat "$1/f"`, dir))
	_, err := os.ReadFile(filepath.Join(dir, "f"))
	require.ErrorIs(t, err, unix.EACCES, "not even root may look into another user's mount")
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
	require.Empty(t, names(t, dir))

	_, _, says = child(t, filepath.Join(openTempDir(t), "mnt"), &syscall.Credential{Uid: nobody, Gid: nobody})
	require.Contains(t, says, "permission denied", "where it may not make the directory")
}

func TestCheckTellsWhatToInstall(t *testing.T) {
	needFUSE(t)
	defer func(old func(string) (string, error)) { lookHelper = old }(lookHelper)
	lookHelper = func(name string) (string, error) { return "", exec.ErrNotFound }
	_, err := findHelper()
	require.EqualError(t, err, "fusermount is not installed: install fuse3")
	lookHelper = func(name string) (string, error) {
		if name == "apt-get" {
			return name, nil
		}
		return "", exec.ErrNotFound
	}
	_, err = findHelper()
	require.EqualError(t, err, "fusermount is not installed: sudo apt-get install fuse3")
	require.ErrorContains(t, deviceError(unix.ENOENT), "modprobe fuse")
	require.True(t, errors.Is(deviceError(unix.EACCES), unix.EACCES))
}

func TestParseMounts(t *testing.T) {
	const info = `22 1 0:20 / /proc rw - proc proc rw
40 1 0:40 / /home/a\040b rw,nosuid shared:1 master:2 - ext4 /dev/x rw
41 40 0:41 / /home/a\040b rw,nosuid,nodev - fuse.pocket pocket:n\134x rw,user_id=0
broken line
43 40 0:41 / /home/a\040b rw,nosuid,nodev
`
	got := parseMounts(info, "/home/a b")
	require.Equal(t, []mountEntry{
		{path: "/home/a b", source: `pocket:n\x`, pocket: true},
		{path: "/home/a b", source: "/dev/x"},
	}, got)
	require.Empty(t, parseMounts(info, "/home"))
}

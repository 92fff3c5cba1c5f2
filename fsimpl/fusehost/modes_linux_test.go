package fusehost

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func testModes(t *testing.T, dir string) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	p := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, unix.Mkdir(p("d"), 0o777))
	require.EqualValues(t, unix.S_IFDIR|0o750, stat(t, p("d")).Mode)
	fd, err := unix.Open(p("f"), unix.O_CREAT|unix.O_WRONLY, 0o666)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
	require.EqualValues(t, unix.S_IFREG|0o640, stat(t, p("f")).Mode)
	for _, mode := range []uint32{0, 0o400, 0o777, 0o1755, 0o4711, 0o2755, 0o7777} {
		require.NoError(t, unix.Chmod(p("f"), mode))
		require.EqualValues(t, mode, stat(t, p("f")).Mode&0o7777)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may do this")
	}
}

func testChown(t *testing.T, dir string) {
	needRoot(t)
	path := filepath.Join(dir, "a")
	write(t, path, "")
	require.NoError(t, os.Chown(path, 12, 34))
	require.NoError(t, os.Chown(path, -1, 56))
	require.NoError(t, os.Chown(path, 78, -1))
	st := stat(t, path)
	require.EqualValues(t, 78, st.Uid)
	require.EqualValues(t, 56, st.Gid)
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "l")))
	require.NoError(t, os.Lchown(filepath.Join(dir, "l"), 1, 2))
	require.EqualValues(t, 78, stat(t, path).Uid, "of the link, not of the file")
	require.EqualValues(t, 1, stat(t, filepath.Join(dir, "l")).Uid)
}

func testSetuid(t *testing.T, dir string) {
	needRoot(t)
	path := filepath.Join(dir, "a")
	write(t, path, "x")
	require.NoError(t, unix.Chmod(path, 0o6755))
	require.NoError(t, os.Chown(path, 1, 1))
	require.EqualValues(t, 0o755, stat(t, path).Mode&0o7777)

	require.NoError(t, os.Chown(path, nobody, nobody))
	require.NoError(t, unix.Chmod(path, 0o6777))
	asNobody(t, `echo more >> "$1"`, path)
	require.EqualValues(t, 0o777, stat(t, path).Mode&0o7777)
}

const nobody = 65534

// asNobody runs a shell command, with args as $1 and so on, as another user.
func asNobody(t *testing.T, command string, args ...string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", command, "sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func testSetgidDir(t *testing.T, dir string) {
	needRoot(t)
	sub := filepath.Join(dir, "d")
	require.NoError(t, os.Mkdir(sub, 0o777))
	require.NoError(t, os.Chown(sub, -1, 77))
	require.NoError(t, unix.Chmod(sub, 0o2777))
	write(t, filepath.Join(sub, "f"), "")
	require.NoError(t, os.Mkdir(filepath.Join(sub, "e"), 0o755))
	require.NoError(t, os.Symlink("f", filepath.Join(sub, "l")))
	for _, name := range []string{"f", "e", "l"} {
		require.EqualValues(t, 77, stat(t, filepath.Join(sub, name)).Gid, name)
	}
	require.EqualValues(t, 0o2755, stat(t, filepath.Join(sub, "e")).Mode&0o7777)
	require.EqualValues(t, 0o644, stat(t, filepath.Join(sub, "f")).Mode&0o7777)
}

func testTimes(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	write(t, path, "x")
	set := func(atime, mtime unix.Timespec) unix.Stat_t {
		t.Helper()
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{atime, mtime}, 0))
		return stat(t, path)
	}
	omit, now := unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}

	st := set(unix.Timespec{Sec: 1000, Nsec: 1500}, unix.Timespec{Sec: 2000, Nsec: 123456789})
	require.EqualValues(t, 1000, st.Atim.Sec)
	require.Equal(t, unix.Timespec{Sec: 2000, Nsec: 123456000}, st.Mtim, "to the microsecond")
	st = set(omit, unix.Timespec{Sec: 3000})
	require.EqualValues(t, 1000, st.Atim.Sec)
	require.EqualValues(t, 3000, st.Mtim.Sec)
	st = set(unix.Timespec{Sec: 4000}, omit)
	require.EqualValues(t, 4000, st.Atim.Sec)
	require.EqualValues(t, 3000, st.Mtim.Sec)
	st = set(omit, now)
	require.EqualValues(t, 4000, st.Atim.Sec)
	require.InDelta(t, time.Now().Unix(), st.Mtim.Sec, 60)
	st = set(now, unix.Timespec{Sec: -1, Nsec: 500000000})
	require.InDelta(t, time.Now().Unix(), st.Atim.Sec, 60)
	require.Equal(t, unix.Timespec{Sec: -1, Nsec: 500000000}, st.Mtim, "before 1970")
	require.InDelta(t, time.Now().Unix(), st.Ctim.Sec, 60)

	f := open(t, path, os.O_RDWR)
	_, err := f.WriteString("y")
	require.NoError(t, err)
	require.NoError(t, unix.Futimes(int(f.Fd()), []unix.Timeval{{Sec: 5}, {Sec: 6}}))
	require.NoError(t, f.Close())
	require.EqualValues(t, 6, stat(t, path).Mtim.Sec, "what was set on an open file stays when it is closed")
}

func testTar(t *testing.T, dir string) {
	src := t.TempDir()
	write(t, filepath.Join(src, "f"), "x")
	when := time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(src, "f"), when, when))
	archive := filepath.Join(src, "a.tar")
	out, err := exec.Command("tar", "-C", src, "-cf", archive, "f").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("tar", "-C", dir, "-xf", archive).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, when.Unix(), stat(t, filepath.Join(dir, "f")).Mtim.Sec)
}

func testDirTimes(t *testing.T, dir string) {
	sub := filepath.Join(dir, "d")
	require.NoError(t, os.Mkdir(sub, 0o755))
	step := func(what string, do func() error) {
		t.Helper()
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, sub, []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0))
		require.EqualValues(t, 1, stat(t, sub).Mtim.Sec)
		require.NoError(t, do())
		require.Greater(t, stat(t, sub).Mtim.Sec, int64(1), what)
	}
	a, b := filepath.Join(sub, "a"), filepath.Join(sub, "b")
	step("create", func() error { return os.WriteFile(a, nil, 0o644) })
	step("rename", func() error { return os.Rename(a, b) })
	step("unlink", func() error { return os.Remove(b) })
	step("mkdir", func() error { return os.Mkdir(a, 0o755) })
	step("rmdir", func() error { return os.Remove(a) })
}

func testStat(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	write(t, path, "12345")
	f := open(t, path, os.O_RDONLY)
	var byHandle unix.Stat_t
	require.NoError(t, unix.Fstat(int(f.Fd()), &byHandle))
	byName := stat(t, path)
	require.Equal(t, byName.Ino, byHandle.Ino)
	require.Equal(t, byName.Size, byHandle.Size)
	require.NotZero(t, byName.Ino)
	require.EqualValues(t, 1, byName.Blocks)
	require.EqualValues(t, 1, byName.Nlink)
	require.NoError(t, os.Rename(path, path+"2"))
	require.Equal(t, byName.Ino, stat(t, path+"2").Ino, "a rename keeps the inode number")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.False(t, entries[0].IsDir())
}

func testXattr(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	write(t, path, "")
	require.ErrorIs(t, unix.Setxattr(path, "user.x", []byte("1"), 0), unix.EOPNOTSUPP)
	_, err := unix.Getxattr(path, "user.x", nil)
	require.ErrorIs(t, err, unix.EOPNOTSUPP)
}

func testPermissions(t *testing.T, dir string) {
	needRoot(t)
	path := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	require.NoError(t, unix.Chmod(dir, 0o755))
	require.Contains(t, asNobody(t, `cat "$1" 2>&1 || true`, path), "Permission denied")
	require.Contains(t, asNobody(t, `touch "$1" 2>&1 || true`, path+"2"), "Permission denied")
	require.NoError(t, unix.Chmod(dir, 0o1777))
	asNobody(t, `touch "$1"`, filepath.Join(dir, "theirs"))
	require.EqualValues(t, nobody, stat(t, filepath.Join(dir, "theirs")).Uid)
	require.Contains(t, asNobody(t, `rm -f "$1" 2>&1 || true`, path), "not permitted", "sticky")
}

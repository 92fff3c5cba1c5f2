package fusehost

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func testUnlinkOpen(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	f := open(t, path, os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("kept")
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.Empty(t, names(t, dir), "nothing stands for the unlinked file")
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(f.Fd()), &st))
	require.EqualValues(t, 0, st.Nlink)
	require.EqualValues(t, 4, st.Size)
	_, err = f.WriteAt([]byte(" on"), 4)
	require.NoError(t, err)
	require.NoError(t, f.Chmod(0o600))
	require.NoError(t, f.Truncate(6))
	require.NoError(t, unix.Futimes(int(f.Fd()), []unix.Timeval{{Sec: 1}, {Sec: 2}}))
	require.NoError(t, f.Sync())
	require.NoError(t, unix.Fstat(int(f.Fd()), &st))
	require.EqualValues(t, 0o600, st.Mode&0o7777)
	require.EqualValues(t, 2, st.Mtim.Sec)
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDONLY, 0)
	require.NoError(t, err, "a second handle by /proc")
	got, err := io.ReadAll(again)
	require.NoError(t, err)
	require.Equal(t, "kept o", string(got))
	require.NoError(t, again.Close())

	write(t, path, "new") // the name is free
	got = make([]byte, 6)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, "kept o", string(got))
	require.NoError(t, f.Close())
	require.Equal(t, "new", read(t, path))
	require.Equal(t, []string{"a"}, names(t, dir))
}

func testRmdirAroundOpenFile(t *testing.T, dir string) {
	sub := filepath.Join(dir, "d")
	require.NoError(t, os.Mkdir(sub, 0o755))
	f := open(t, filepath.Join(sub, "x"), os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("kept")
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(sub))
	got := make([]byte, 4)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err, "the handle still works")
	require.Equal(t, "kept", string(got))
	_, err = f.WriteAt([]byte("K"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.Empty(t, names(t, dir))
}

func testRenameDirAroundUnlinked(t *testing.T, dir string) {
	sub, moved := filepath.Join(dir, "d"), filepath.Join(dir, "e")
	require.NoError(t, os.Mkdir(sub, 0o755))
	f := open(t, filepath.Join(sub, "x"), os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("kept")
	require.NoError(t, err)
	require.NoError(t, os.Remove(f.Name()))
	require.NoError(t, os.Rename(sub, moved))
	st, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 4, st.Size())
	require.NoError(t, f.Truncate(2))
	require.Empty(t, names(t, moved))
	require.NoError(t, f.Close())
	require.NoError(t, os.Remove(moved))
}

func testRenameOverOpen(t *testing.T, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "old")
	write(t, b, "new")
	f := open(t, a, os.O_RDWR)
	require.NoError(t, os.Rename(b, a))
	require.Equal(t, "new", read(t, a))
	require.Equal(t, []string{"a"}, names(t, dir))
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(f.Fd()), &st))
	require.EqualValues(t, 0, st.Nlink)
	_, err = f.WriteAt([]byte("OLD"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "new", read(t, a))
}

func testRenameRules(t *testing.T, dir string) {
	p := func(name string) string { return filepath.Join(dir, name) }
	write(t, p("f"), "f")
	write(t, p("g"), "g")
	require.NoError(t, os.Mkdir(p("d"), 0o755))
	require.NoError(t, os.Mkdir(p("e"), 0o755))
	write(t, p("e/x"), "x")
	require.ErrorIs(t, os.Rename(p("none"), p("z")), unix.ENOENT)
	require.ErrorIs(t, unix.Rename(p("d"), p("f")), unix.ENOTDIR)
	require.ErrorIs(t, unix.Rename(p("f"), p("d")), unix.EISDIR)
	require.ErrorIs(t, unix.Rename(p("d"), p("e")), unix.ENOTEMPTY)
	require.ErrorIs(t, unix.Rename(p("e"), p("e/y")), unix.EINVAL)
	require.NoError(t, unix.Rename(p("f"), p("f")))
	require.NoError(t, unix.Rename(p("f"), p("g")))
	require.Equal(t, "f", read(t, p("g")))
	require.NoError(t, unix.Rename(p("e"), p("d")))
	require.Equal(t, "x", read(t, p("d/x")))
	require.Equal(t, []string{"d", "g"}, names(t, dir))
}

func testRenameOpen(t *testing.T, dir string) {
	sub := filepath.Join(dir, "d")
	require.NoError(t, os.Mkdir(sub, 0o755))
	f := open(t, filepath.Join(sub, "x"), os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("1")
	require.NoError(t, err)
	require.NoError(t, os.Rename(filepath.Join(sub, "x"), filepath.Join(sub, "y")))
	_, err = f.WriteString("2")
	require.NoError(t, err)
	require.NoError(t, os.Rename(sub, filepath.Join(dir, "e")))
	_, err = f.WriteString("3")
	require.NoError(t, err)
	require.NoError(t, f.Chmod(0o640))
	require.NoError(t, f.Close())
	require.Equal(t, "123", read(t, filepath.Join(dir, "e", "y")))
	require.EqualValues(t, 0o640, stat(t, filepath.Join(dir, "e", "y")).Mode&0o777)
}

func testHiddenNames(t *testing.T, dir string) {
	path := filepath.Join(dir, ".fuse_hidden0123456789abcdef")
	write(t, path, "mine")
	require.Equal(t, "mine", read(t, path))
	require.NoError(t, os.Remove(path))
	f := open(t, filepath.Join(dir, "x"), os.O_RDWR|os.O_CREATE)
	require.NoError(t, os.Rename(f.Name(), path), "an open file, by a program")
	require.Equal(t, []string{filepath.Base(path)}, names(t, dir))
	_, err := f.WriteString("still mine")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "still mine", read(t, path))
}

func testRmdir(t *testing.T, dir string) {
	p := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Mkdir(p("d"), 0o755))
	write(t, p("d/x"), "")
	require.ErrorIs(t, unix.Rmdir(p("d")), unix.ENOTEMPTY)
	require.ErrorIs(t, unix.Rmdir(p("d/x")), unix.ENOTDIR)
	require.ErrorIs(t, unix.Unlink(p("d")), unix.EISDIR)
	require.NoError(t, os.Remove(p("d/x")))
	require.NoError(t, unix.Rmdir(p("d")))
	require.ErrorIs(t, unix.Rmdir(p("d")), unix.ENOENT)
	require.ErrorIs(t, unix.Mkdir(p("a/b"), 0o755), unix.ENOENT)
	write(t, p("f"), "")
	require.ErrorIs(t, unix.Mkdir(p("f"), 0o755), unix.EEXIST)
	require.ErrorIs(t, unix.Mkdir(p("f/g"), 0o755), unix.ENOTDIR)
}

func testReaddirWhileChanging(t *testing.T, dir string) {
	const stay = 500
	for i := range stay {
		write(t, filepath.Join(dir, fmt.Sprintf("stay-%03d", i)), "")
		write(t, filepath.Join(dir, fmt.Sprintf("go-%03d", i)), "")
	}
	d := open(t, dir, os.O_RDONLY)
	seen := map[string]int{}
	for i := 0; ; i++ {
		got, err := d.Readdirnames(50)
		for _, name := range got {
			seen[name]++
		}
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		for j := i * 25; j < i*25+25 && j < stay; j++ {
			require.NoError(t, os.Remove(filepath.Join(dir, fmt.Sprintf("go-%03d", j))))
			write(t, filepath.Join(dir, fmt.Sprintf("come-%03d", j)), "")
		}
	}
	for i := range stay {
		require.Equal(t, 1, seen[fmt.Sprintf("stay-%03d", i)])
	}
	for name, times := range seen {
		require.Equal(t, 1, times, name)
	}
	_, err := d.Seek(0, io.SeekStart)
	require.NoError(t, err)
	got, err := d.Readdirnames(-1)
	require.NoError(t, err)
	slices.Sort(got)
	require.Equal(t, names(t, dir), got, "rewinding shows what is there now")
}

func testReaddirMany(t *testing.T, dir string) {
	const n = 3000
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprintf("%04d %s", i, strings.Repeat("x", i%200))
		f, err := os.Create(filepath.Join(dir, want[i]))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.Equal(t, want, names(t, dir))
}

func testSeekdir(t *testing.T, dir string) {
	for i := range 300 {
		write(t, filepath.Join(dir, fmt.Sprintf("%03d", i)), "")
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	buf := make([]byte, 2048)
	n, err := unix.ReadDirent(fd, buf)
	require.NoError(t, err)
	_, _, first := unix.ParseDirent(buf[:n], -1, nil)
	at, err := unix.Seek(fd, 0, io.SeekCurrent)
	require.NoError(t, err)
	n, err = unix.ReadDirent(fd, buf)
	require.NoError(t, err)
	_, _, second := unix.ParseDirent(buf[:n], -1, nil)
	_, err = unix.Seek(fd, at, io.SeekStart)
	require.NoError(t, err)
	n, err = unix.ReadDirent(fd, buf)
	require.NoError(t, err)
	_, _, again := unix.ParseDirent(buf[:n], -1, nil)
	require.Equal(t, second, again)
	require.NotEqual(t, first, again)
}

func testRemovedDir(t *testing.T, dir string) {
	sub := filepath.Join(dir, "d")
	require.NoError(t, os.Mkdir(sub, 0o755))
	d := open(t, sub, os.O_RDONLY)
	require.NoError(t, os.Remove(sub))
	_, err := os.Stat(sub)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, d.Close())
}

func testSymlinks(t *testing.T, dir string) {
	p := func(name string) string { return filepath.Join(dir, name) }
	write(t, p("file"), "content")
	for name, target := range map[string]string{
		"relative": "file", "absolute": p("file"), "dangling": "nowhere", "long": strings.Repeat("x/", 2000), "unicode": "ä/日本",
	} {
		require.NoError(t, os.Symlink(target, p(name)))
		got, err := os.Readlink(p(name))
		require.NoError(t, err)
		require.Equal(t, target, got)
		st := stat(t, p(name))
		require.EqualValues(t, unix.S_IFLNK, st.Mode&unix.S_IFMT)
		require.EqualValues(t, len(target), st.Size)
	}
	require.Equal(t, "content", read(t, p("relative")))
	require.Equal(t, "content", read(t, p("absolute")))
	_, err := os.Stat(p("dangling"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = os.Readlink(p("file"))
	require.ErrorIs(t, err, unix.EINVAL)
	require.ErrorIs(t, os.Symlink("x", p("file")), unix.EEXIST)
	require.NoError(t, os.Rename(p("dangling"), p("moved")))
	require.NoError(t, os.Remove(p("moved")))
}

func testLink(t *testing.T, dir string) {
	write(t, filepath.Join(dir, "a"), "")
	require.ErrorIs(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")), unix.EPERM)
}

func testSpecialFiles(t *testing.T, dir string) {
	p := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, unix.Mkfifo(p("fifo"), 0o600))
	require.EqualValues(t, unix.S_IFIFO|0o600, stat(t, p("fifo")).Mode)
	require.NoError(t, unix.Mknod(p("file"), unix.S_IFREG|0o600, 0))
	require.EqualValues(t, unix.S_IFREG|0o600, stat(t, p("file")).Mode)
	require.NoError(t, unix.Mknod(p("socket"), unix.S_IFSOCK|0o600, 0))
	require.EqualValues(t, unix.S_IFSOCK|0o600, stat(t, p("socket")).Mode)
	if os.Geteuid() == 0 {
		require.NoError(t, unix.Mknod(p("null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		st := stat(t, p("null"))
		require.EqualValues(t, unix.S_IFCHR, st.Mode&unix.S_IFMT)
		require.EqualValues(t, unix.Mkdev(1, 3), st.Rdev)
	}
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(p("fifo"), []byte("through"), 0) }()
	require.Equal(t, "through", read(t, p("fifo")))
	require.NoError(t, <-done)
}

func testNames(t *testing.T, dir string) {
	all := []string{"a b", "ä", "a\u0308", "日本語", "🙂", "A", "a", ".hidden", "new\nline", `back\slash`, strings.Repeat("n", 255)}
	for _, name := range all {
		write(t, filepath.Join(dir, name), name)
	}
	for _, name := range all {
		require.Equal(t, name, read(t, filepath.Join(dir, name)))
	}
	slices.Sort(all)
	require.Equal(t, all, names(t, dir))
	_, err := os.Create(filepath.Join(dir, strings.Repeat("n", 256)))
	require.ErrorIs(t, err, unix.ENAMETOOLONG)
	require.ErrorIs(t, os.Mkdir(filepath.Join(dir, strings.Repeat("ä", 128)), 0o755), unix.ENAMETOOLONG)
}

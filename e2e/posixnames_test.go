//go:build linux

package e2e

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The cases of TestPOSIX about names, directories and attributes.

func renames(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, at("a"), "a")
	must(t, os.Rename(at("a"), at("a"))) // onto itself
	holds(t, at("a"), "a")
	must(t, os.Mkdir(at("empty"), 0o755))
	writeFile(t, at("full/x"), "x")
	writeFile(t, at("tree/sub/y"), "y")
	fails(t, os.Rename(at("nothing"), at("b")), syscall.ENOENT)
	fails(t, syscall.Rename(at("a"), at("empty")), syscall.EISDIR)
	fails(t, syscall.Rename(at("empty"), at("a")), syscall.ENOTDIR)
	if err := syscall.Rename(at("tree"), at("full")); err != syscall.ENOTEMPTY && err != syscall.EEXIST {
		t.Errorf("a rename over a full directory gives %v", err)
	}
	fails(t, syscall.Rename(at("tree"), at("tree/sub/tree")), syscall.EINVAL)
	must(t, syscall.Rename(at("tree"), at("empty"))) // over an empty directory
	holds(t, at("empty/sub/y"), "y")
	must(t, os.Rename(at("empty/sub"), at("full/moved")))
	holds(t, at("full/moved/y"), "y")
	must(t, os.Rename(at("a"), at("A"))) // only the case
	want := "[A empty full]"
	if onWindows {
		want = "[a empty full]" // both are one file, of which Linux renames none
	}
	if names := fmt.Sprint(dirNames(t, dir)); names != want {
		t.Errorf("left are %v", names)
	}
}

func renameOpenDir(t *testing.T, dir string) {
	writeFile(t, filepath.Join(dir, "old/sub/file"), "before")
	f := open(t, filepath.Join(dir, "old/sub/file"), os.O_RDWR)
	created := open(t, filepath.Join(dir, "old/sub/created"), os.O_RDWR|os.O_CREATE)
	must(t, os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")))
	_, err := f.WriteAt([]byte(", after"), 6)
	must(t, err)
	_, err = created.WriteString("made before, written after")
	must(t, err)
	must(t, f.Chmod(0o640))
	must(t, f.Close())
	must(t, created.Close())
	gone(t, filepath.Join(dir, "old"))
	holds(t, filepath.Join(dir, "new/sub/file"), "before, after")
	holds(t, filepath.Join(dir, "new/sub/created"), "made before, written after")
}

func symlinkCases(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, at("target"), "content")
	for link, target := range map[string]string{"link": "target", "dangling": "no/such/thing", "absolute": at("target"), "long": strings.Repeat("x/", 1500) + "y", "ünï": "цель", "loop": "loop"} {
		must(t, os.Symlink(target, at(link)))
		got, err := os.Readlink(at(link))
		if err != nil || got != target {
			t.Errorf("%s points to %.80q, %v", link, got, err)
		}
		info, err := os.Lstat(at(link))
		must(t, err)
		if info.Mode()&fs.ModeSymlink == 0 || info.Size() != int64(len(target)) {
			t.Errorf("%s is %v with %d bytes", link, info.Mode(), info.Size())
		}
	}
	holds(t, at("link"), "content")
	_, err := os.ReadFile(at("dangling"))
	fails(t, err, syscall.ENOENT)
	_, err = os.ReadFile(at("loop"))
	fails(t, err, syscall.ELOOP)
	fails(t, os.Symlink("x", at("link")), syscall.EEXIST)
	must(t, os.Rename(at("link"), at("moved")))
	must(t, os.Remove(at("absolute")))
	holds(t, at("target"), "content")
	_, err = os.Readlink(at("target"))
	fails(t, err, syscall.EINVAL)
	must(t, os.Remove(at("long"))) // an absolute path on one machine is none on another
}

func modes(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	writeFile(t, path, "x")
	for _, mode := range []fs.FileMode{0, 0o777, 0o4755, 0o2711, 0o1644, 0o640} {
		must(t, syscall.Chmod(path, uint32(mode)))
		var st syscall.Stat_t
		must(t, syscall.Lstat(path, &st))
		if got := st.Mode & 0o7777; got != uint32(mode) {
			t.Errorf("mode is %o, not %o", got, mode)
		}
	}
	sub := filepath.Join(dir, "sub")
	must(t, os.Mkdir(sub, 0o750))
	must(t, syscall.Chmod(sub, 0o1770))
	info, err := os.Stat(sub)
	must(t, err)
	if info.Mode() != fs.ModeDir|fs.ModeSticky|0o770 {
		t.Errorf("the directory's mode is %v", info.Mode())
	}
	f, err := os.OpenFile(filepath.Join(dir, "created"), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o444)
	must(t, err)
	_, err = f.WriteString("a read-only file can be written by whom created it")
	must(t, err)
	must(t, f.Close())
	if os.Geteuid() != 0 {
		return
	}
	must(t, os.Chown(path, 12345, 54321))
	must(t, os.Chown(path, -1, 777))
	info, err = os.Stat(path)
	must(t, err)
	if got := owner(info); got != "12345:777" {
		t.Errorf("the owner is %s", got)
	}
	must(t, os.Symlink("file", path+".link"))
	must(t, os.Lchown(path+".link", 1, 2))
	info, err = os.Lstat(path + ".link")
	must(t, err)
	if got := owner(info); got != "1:2" {
		t.Errorf("the link's owner is %s", got)
	}
	// A directory with setgid hands its group down.
	shared := filepath.Join(dir, "shared")
	must(t, os.Mkdir(shared, 0o755))
	must(t, os.Chown(shared, 0, 4321))
	must(t, syscall.Chmod(shared, 0o2775))
	must(t, os.Mkdir(filepath.Join(shared, "sub"), 0o755))
	writeFile(t, filepath.Join(shared, "file"), "x")
	for _, name := range []string{"sub", "file"} {
		info, err := os.Stat(filepath.Join(shared, name))
		must(t, err)
		if got := owner(info); got != "0:4321" {
			t.Errorf("%s in a setgid directory belongs to %s", name, got)
		}
		if info.IsDir() && info.Mode()&fs.ModeSetgid == 0 {
			t.Errorf("%s in a setgid directory has mode %v", name, info.Mode())
		}
	}
}

func times(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	writeFile(t, path, "x")
	for _, when := range []time.Time{time.Unix(0, 0), time.Unix(1_234_567_890, 123_456_000), time.Unix(-1_000_000, 0), time.Unix(5_000_000_000, 999_999_000)} {
		must(t, os.Chtimes(path, when, when))
		info, err := os.Stat(path)
		must(t, err)
		if !info.ModTime().Equal(when) {
			t.Errorf("time of change is %v, not %v", info.ModTime().UTC(), when.UTC())
		}
	}
	// Nanoseconds are cut to microseconds, never rounded up.
	must(t, os.Chtimes(path, time.Unix(1, 1), time.Unix(1_000_000_000, 999_999_999)))
	info, err := os.Stat(path)
	must(t, err)
	if got := info.ModTime().UnixMicro(); got != 1_000_000_000_999_999 {
		t.Errorf("time of change is %d us", got)
	}
	// UTIME_OMIT leaves, UTIME_NOW sets.
	before := time.Now()
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}, 0))
	info, err = os.Stat(path)
	must(t, err)
	if got := info.ModTime().UnixMicro(); got != 1_000_000_000_999_999 {
		t.Errorf("UTIME_OMIT changed the time to %v", info.ModTime())
	}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}, 0))
	info, err = os.Stat(path)
	must(t, err)
	if info.ModTime().Before(before.Add(-time.Second)) || info.ModTime().After(time.Now().Add(time.Second)) {
		t.Errorf("UTIME_NOW set %v", info.ModTime())
	}
	// Writing moves the time on; reading and a rename do not.
	old := time.Unix(1_000_000_000, 0)
	must(t, os.Chtimes(path, old, old))
	readFile(t, path)
	must(t, os.Rename(path, path+"2"))
	info, err = os.Stat(path + "2")
	must(t, err)
	if !info.ModTime().Equal(old) {
		t.Errorf("a rename changed the time to %v", info.ModTime())
	}
	f := open(t, path+"2", os.O_WRONLY)
	_, err = f.WriteString("y")
	must(t, err)
	must(t, f.Close())
	info, err = os.Stat(path + "2")
	must(t, err)
	if info.ModTime().Before(before.Add(-time.Second)) {
		t.Errorf("a write left the time at %v", info.ModTime())
	}
	// A time set while the file is open stays when it is closed: tar and cp -p do so.
	f = open(t, path+"3", os.O_WRONLY|os.O_CREATE)
	_, err = f.WriteString("body")
	must(t, err)
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path+"3", []unix.Timespec{{Sec: 5}, {Sec: 6}}, 0))
	must(t, f.Close())
	info, err = os.Stat(path + "3")
	must(t, err)
	if info.ModTime().Unix() != 6 {
		t.Errorf("close changed the time that was set to %v", info.ModTime())
	}
	// A change in a directory is a change of the directory.
	must(t, os.Chtimes(dir, old, old))
	writeFile(t, filepath.Join(dir, "new"), "x")
	info, err = os.Stat(dir)
	must(t, err)
	if info.ModTime().Equal(old) {
		t.Error("creating a file left the directory's time")
	}
	if !symlinks {
		return
	}
	must(t, os.Symlink("x", path+".link"))
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path+".link", []unix.Timespec{{Sec: 5}, {Sec: 6}}, unix.AT_SYMLINK_NOFOLLOW))
	info, err = os.Lstat(path + ".link")
	must(t, err)
	if info.ModTime().Unix() != 6 {
		t.Errorf("the link's time is %v", info.ModTime())
	}
}

// Whoever reads a directory sees each name that stays exactly once, whatever comes and
// goes meanwhile.
func readdirChanging(t *testing.T, dir string) {
	stay := fewer(1500)
	for i := range stay {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("stay ", i)), nil, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("go ", i)), nil, 0o644))
	}
	d, err := os.Open(dir)
	must(t, err)
	defer d.Close()
	seen := make(map[string]int)
	for i := 0; ; i++ {
		names, err := d.Readdirnames(100)
		for _, n := range names {
			seen[n]++
		}
		if err == io.EOF {
			break
		}
		must(t, err)
		for k := range 60 {
			j := i*60 + k
			if j >= stay {
				continue
			}
			must(t, os.Remove(filepath.Join(dir, fmt.Sprint("go ", j))))
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("come ", j)), nil, 0o644))
		}
	}
	for i := range stay {
		if n := seen[fmt.Sprint("stay ", i)]; n != 1 {
			t.Fatalf("a file that stays was listed %d times", n)
		}
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was listed %d times", name, n)
		}
	}
	_, err = d.Seek(0, io.SeekStart) // rewinddir looks anew
	must(t, err)
	names, err := d.Readdirnames(-1)
	must(t, err)
	if now := dirNames(t, dir); len(names) != len(now) {
		t.Errorf("after rewinding %d names, there are %d", len(names), len(now))
	}
	// rm -rf of it all.
	must(t, os.RemoveAll(dir))
}

func namesOfAllSorts(t *testing.T, dir string) {
	names := []string{
		strings.Repeat("n", 255), strings.Repeat("ü", 127), strings.Repeat("語", 85), strings.Repeat("🎒", 63),
		"a b", " leading", "trailing ", "trailing.", "...", "-", "new\nline", "tab\t", "\x01", "\\", "a\\b", "\"", "'", "*?<>|:", "CON", "nul.txt", "%41", "~", ".fuse_hidden0001",
		"\u00e9", "e\u0301", // one look, two names
		"K", "\u212a", "straße", "STRASSE", "a", "A", "\u202egnp.exe", "\ufeff", "\U0010ffff",
	}
	for _, n := range names {
		writeFile(t, filepath.Join(dir, n), "content of "+n)
	}
	listed := make(map[string]bool)
	for _, n := range dirNames(t, dir) {
		listed[n] = true
	}
	for _, n := range names {
		if !listed[n] {
			t.Errorf("%q is not listed", n)
		}
		holds(t, filepath.Join(dir, n), "content of "+n)
	}
	if len(listed) != len(names) {
		t.Errorf("%d names, %d listed", len(names), len(listed))
	}
	for _, n := range []string{strings.Repeat("n", 256), strings.Repeat("ü", 128)} {
		long := filepath.Join(dir, n)
		_, err := os.Create(long)
		fails(t, err, syscall.ENAMETOOLONG)
		fails(t, os.Mkdir(long, 0o755), syscall.ENAMETOOLONG)
		fails(t, os.Rename(filepath.Join(dir, "a"), long), syscall.ENAMETOOLONG)
		fails(t, os.Symlink("x", long), syscall.ENAMETOOLONG)
		_, err = os.Lstat(long)
		fails(t, err, syscall.ENAMETOOLONG)
	}
}

func directories(t *testing.T, dir string) {
	sub := filepath.Join(dir, "sub")
	must(t, os.Mkdir(sub, 0o755))
	fails(t, os.Mkdir(sub, 0o755), syscall.EEXIST)
	writeFile(t, filepath.Join(sub, "file"), "x")
	if err := syscall.Rmdir(sub); err != syscall.ENOTEMPTY && err != syscall.EEXIST {
		t.Errorf("removing a full directory gives %v", err)
	}
	fails(t, syscall.Unlink(sub), syscall.EISDIR)
	fails(t, syscall.Rmdir(filepath.Join(sub, "file")), syscall.ENOTDIR)
	fails(t, syscall.Rmdir(filepath.Join(dir, "nothing")), syscall.ENOENT)
	must(t, os.Remove(filepath.Join(sub, "file")))
	d := open(t, sub, os.O_RDONLY)
	must(t, os.Remove(sub))
	if names, err := d.Readdirnames(-1); len(names) > 0 {
		t.Errorf("a removed directory lists %q, %v", names, err)
	}
	_, err := os.Create(filepath.Join(sub, "file"))
	fails(t, err, syscall.ENOENT)
	deep := dir
	for range 60 {
		deep = filepath.Join(deep, "deep")
	}
	must(t, os.MkdirAll(deep, 0o755))
	writeFile(t, filepath.Join(deep, "file"), "deep")
	holds(t, filepath.Join(deep, "file"), "deep")
	info, err := os.Stat(dir)
	must(t, err)
	again, err := os.Stat(filepath.Join(deep, strings.Repeat("../", 60)))
	must(t, err)
	if !os.SameFile(info, again) {
		t.Error("60 directories up is another directory")
	}
}

func special(t *testing.T, dir string) {
	path := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(path, 0o600))
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != fs.ModeNamedPipe|0o600 {
		t.Errorf("the fifo is %v", info.Mode())
	}
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(path, []byte("through the pipe"), 0) }()
	holds := readFile(t, path)
	must(t, <-done)
	if holds != "through the pipe" {
		t.Errorf("the fifo gives %q", holds)
	}
	socket := filepath.Join(dir, "socket")
	must(t, syscall.Mknod(socket, syscall.S_IFSOCK|0o600, 0))
	info, err = os.Lstat(socket)
	must(t, err)
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v", info.Mode())
	}
	must(t, syscall.Mknod(filepath.Join(dir, "regular"), syscall.S_IFREG|0o640, 0))
	writeFile(t, filepath.Join(dir, "regular"), "made by mknod")
}

func errorCases(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	writeFile(t, path, "x")
	_, err := os.Create(filepath.Join(path, "below"))
	fails(t, err, syscall.ENOTDIR)
	_, err = os.Stat(filepath.Join(path, "below"))
	fails(t, err, syscall.ENOTDIR)
	_, err = os.ReadDir(path)
	fails(t, err, syscall.ENOTDIR)
	_, err = os.ReadFile(filepath.Join(dir, "missing"))
	fails(t, err, syscall.ENOENT)
	fails(t, os.Chmod(filepath.Join(dir, "missing"), 0o600), syscall.ENOENT)
	fails(t, os.Mkdir(filepath.Join(dir, "no", "parent"), 0o755), syscall.ENOENT)
	_, err = os.ReadFile(dir)
	fails(t, err, syscall.EISDIR)
	f := open(t, path, os.O_RDWR)
	_, err = f.WriteAt([]byte("x"), 1<<62)
	fails(t, err, syscall.EFBIG)
	if n, err := f.ReadAt(make([]byte, 10), 1<<40); n != 0 || err != io.EOF {
		t.Errorf("reading behind the end gives %d, %v", n, err)
	}
	holds(t, path, "x")
}

func renameFlags(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, at("a"), "a")
	writeFile(t, at("b"), "b")
	// libfuse 2 knows no flags: then the system says that it does not, and nothing
	// may have happened.
	err := unix.Renameat2(unix.AT_FDCWD, at("a"), unix.AT_FDCWD, at("b"), unix.RENAME_NOREPLACE)
	if err != unix.EEXIST && err != unix.EINVAL && err != unix.ENOSYS {
		t.Errorf("RENAME_NOREPLACE over a file gives %v", err)
	}
	holds(t, at("a"), "a")
	holds(t, at("b"), "b")
	switch err := unix.Renameat2(unix.AT_FDCWD, at("a"), unix.AT_FDCWD, at("b"), unix.RENAME_EXCHANGE); err {
	case nil:
		holds(t, at("a"), "b")
		holds(t, at("b"), "a")
	case unix.EINVAL, unix.ENOSYS:
		holds(t, at("a"), "a")
		holds(t, at("b"), "b")
	default:
		t.Errorf("RENAME_EXCHANGE gives %v", err)
	}
}

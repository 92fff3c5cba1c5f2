package fusehost

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// conformance is what a program may expect of a mount on Linux, each case in a
// directory of its own in the mount.
var conformance = []struct {
	name string
	run  func(t *testing.T, dir string)
}{
	{"WriteAndReadBack", testWriteAndReadBack},
	{"CreateExclusive", testCreateExclusive},
	{"OpenTruncates", testOpenTruncates},
	{"AppendGoesToTheEnd", testAppend},
	{"AppendersDoNotOverwriteEachOther", testAppenders},
	{"WriteAtAnyOffset", testRandomWrites},
	{"SparseFileReadsZeros", testSparse},
	{"TruncateBothWays", testTruncate},
	{"SharedMappingIsWrittenBack", testMapping},
	{"SharedMappingWithAnAppendingHandle", testMappingWhileAppending},
	{"UnlinkedFileStaysUsable", testUnlinkOpen},
	{"DirectoryOfAnUnlinkedFileGoes", testRmdirAroundOpenFile},
	{"RenamedDirectoryKeepsUnlinkedFiles", testRenameDirAroundUnlinked},
	{"RenameOverOpenFile", testRenameOverOpen},
	{"RenameRules", testRenameRules},
	{"RenameOfOpenFileAndItsDirectory", testRenameOpen},
	{"UsersMayUseHiddenNames", testHiddenNames},
	{"RmdirRules", testRmdir},
	{"ReaddirWhileEntriesComeAndGo", testReaddirWhileChanging},
	{"ReaddirOfManyEntries", testReaddirMany},
	{"SeekInADirectory", testSeekdir},
	{"DirectoryRemovedWhileOpen", testRemovedDir},
	{"Symlinks", testSymlinks},
	{"ModesAndUmask", testModes},
	{"ChownLeavesMinusOneAlone", testChown},
	{"SetuidIsClearedByChownAndWrite", testSetuid},
	{"SetgidDirectoryGivesItsGroup", testSetgidDir},
	{"TimesOneByOne", testTimes},
	{"TarKeepsTimes", testTar},
	{"DirectoryTimesFollowEntries", testDirTimes},
	{"StatAgreesByNameAndHandle", testStat},
	{"SpecialFiles", testSpecialFiles},
	{"HardLinksAreRefused", testLink},
	{"ExtendedAttributesAreUnsupported", testXattr},
	{"NamesOfAnyUnicode", testNames},
	{"ErrorNumbers", testErrno},
	{"Statfs", testStatfs},
	{"FsyncOfFilesAndDirectories", testFsync},
	{"LocksAreKept", testLocks},
	{"ManyWritersAtOnce", testConcurrent},
	{"PermissionsAreChecked", testPermissions},
}

func runConformance(t *testing.T, mount string) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(mount, c.name)
			require.NoError(t, os.Mkdir(dir, 0o777))
			c.run(t, dir)
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return st
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o644)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func testWriteAndReadBack(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 131072, 1<<20 + 7} {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(size)}).Read(data)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), "size %d", size)
		require.EqualValues(t, size, stat(t, path).Size)
	}
}

func testCreateExclusive(t *testing.T, dir string) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	require.ErrorIs(t, err, unix.EEXIST)
	require.NoError(t, os.Remove(path))

	// Of many that try at once, one gets it.
	var won int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
				f.Close()
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, won)
}

func testOpenTruncates(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	write(t, path, "long content")
	f := open(t, path, os.O_RDWR|os.O_TRUNC)
	require.Zero(t, stat(t, path).Size)
	_, err := f.WriteString("short")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "short", read(t, path))
}

func testAppend(t *testing.T, dir string) {
	path := filepath.Join(dir, "log")
	write(t, path, "one\n")
	f := open(t, path, os.O_WRONLY|os.O_APPEND)
	for _, line := range []string{"two\n", "three\n"} {
		_, err := f.WriteString(line)
		require.NoError(t, err)
	}
	require.NoError(t, f.Truncate(4))
	_, err := f.WriteString("four\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "one\nfour\n", read(t, path))
}

func testAppenders(t *testing.T, dir string) {
	path := filepath.Join(dir, "log")
	const writers, lines = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for i := range lines {
				if _, err := fmt.Fprintf(f, "writer %d line %d\n", w, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := strings.Split(strings.TrimSpace(read(t, path)), "\n")
	require.Len(t, got, writers*lines)
	slices.Sort(got)
	require.Len(t, slices.Compact(got), writers*lines, "every line is there once")
}

func testRandomWrites(t *testing.T, dir string) {
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	r := rand.New(rand.NewPCG(1, 2))
	var want []byte
	for range 200 {
		p := make([]byte, r.IntN(20000))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		off := r.IntN(200000)
		if grow := off + len(p) - len(want); grow > 0 && len(p) > 0 {
			want = append(want, make([]byte, grow)...)
		}
		copy(want[min(off, len(want)):], p)
		_, err := f.WriteAt(p, int64(off))
		require.NoError(t, err)
	}
	got, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}

func testSparse(t *testing.T, dir string) {
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	_, err := f.WriteAt([]byte("end"), 1<<20)
	require.NoError(t, err)
	got := make([]byte, 1<<20)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(got, make([]byte, 1<<20)))
	require.EqualValues(t, 1<<20+3, stat(t, f.Name()).Size)
}

func testTruncate(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	write(t, path, "0123456789")
	require.NoError(t, os.Truncate(path, 4))
	require.Equal(t, "0123", read(t, path))
	require.NoError(t, os.Truncate(path, 6))
	require.Equal(t, "0123\x00\x00", read(t, path))
	f := open(t, path, os.O_RDWR)
	require.NoError(t, f.Truncate(2))
	require.NoError(t, f.Truncate(3))
	require.Equal(t, "01\x00", read(t, path))
	require.NoError(t, f.Truncate(0))
	require.Equal(t, "", read(t, path))
}

func testMapping(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, make([]byte, 3*4096), 0o644))
	f := open(t, path, os.O_RDWR)
	m, err := unix.Mmap(int(f.Fd()), 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	poke(t, m[4090:], "across a page")
	require.NoError(t, unix.Msync(m, unix.MS_SYNC))
	require.NoError(t, unix.Munmap(m))
	require.NoError(t, f.Close())
	got := []byte(read(t, path))
	require.Len(t, got, 3*4096)
	require.Equal(t, "across a page", string(got[4090:4103]))
}

// poke writes to a mapping by a system call. A page that this process itself has to
// serve must not be touched by Go code: the runtime does not know that it waits, and a
// collection that begins meanwhile waits for it, and the mount for the collection.
func poke(t *testing.T, m []byte, s string) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = w.WriteString(s)
	require.NoError(t, err)
	n, err := unix.Read(int(r.Fd()), m[:len(s)])
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

// The kernel writes a page back through any handle that may write.
func testMappingWhileAppending(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o644))
	f := open(t, path, os.O_RDWR)
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.NoError(t, f.Close()) // the mapping keeps this handle open
	log := open(t, path, os.O_WRONLY|os.O_APPEND)
	poke(t, m, "mapped")
	require.NoError(t, unix.Msync(m, unix.MS_SYNC))
	require.EqualValues(t, 4096, stat(t, path).Size, "write-back has its place in the file")
	_, err = log.WriteString("appended")
	require.NoError(t, err)
	poke(t, m[100:], "again")
	require.NoError(t, unix.Msync(m, unix.MS_SYNC))
	require.NoError(t, unix.Munmap(m))
	require.NoError(t, log.Close())
	got := []byte(read(t, path))
	require.Len(t, got, 4096+8)
	require.Equal(t, "mapped", string(got[:6]))
	require.Equal(t, "again", string(got[100:105]))
	require.Equal(t, "appended", string(got[4096:]))
}

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

func testLink(t *testing.T, dir string) {
	write(t, filepath.Join(dir, "a"), "")
	require.ErrorIs(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")), unix.EPERM)
}

func testXattr(t *testing.T, dir string) {
	path := filepath.Join(dir, "a")
	write(t, path, "")
	require.ErrorIs(t, unix.Setxattr(path, "user.x", []byte("1"), 0), unix.EOPNOTSUPP)
	_, err := unix.Getxattr(path, "user.x", nil)
	require.ErrorIs(t, err, unix.EOPNOTSUPP)
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

func testErrno(t *testing.T, dir string) {
	p := func(name string) string { return filepath.Join(dir, name) }
	write(t, p("f"), "")
	_, err := os.Open(p("none"))
	require.ErrorIs(t, err, unix.ENOENT)
	_, err = os.Open(p("none/x"))
	require.ErrorIs(t, err, unix.ENOENT)
	_, err = os.Open(p("f/x"))
	require.ErrorIs(t, err, unix.ENOTDIR)
	_, err = os.OpenFile(dir, os.O_RDWR, 0)
	require.ErrorIs(t, err, unix.EISDIR)
	f := open(t, p("f"), os.O_RDONLY)
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, unix.EBADF)
	require.ErrorIs(t, f.Truncate(1), unix.EINVAL)
	require.ErrorIs(t, os.Truncate(p("f"), -1), unix.EINVAL)
	require.ErrorIs(t, os.Truncate(dir, 1), unix.EISDIR)
}

func testStatfs(t *testing.T, dir string) {
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	require.EqualValues(t, 255, st.Namelen)
	require.NotZero(t, st.Bsize)
	require.NotZero(t, st.Bavail)
	require.LessOrEqual(t, st.Bavail, st.Blocks)
}

func testFsync(t *testing.T, dir string) {
	f := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	_, err := f.WriteString("x")
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, unix.Fdatasync(int(f.Fd())))
	d := open(t, dir, os.O_RDONLY)
	require.NoError(t, d.Sync())
	sync := open(t, filepath.Join(dir, "b"), os.O_WRONLY|os.O_CREATE|os.O_SYNC)
	_, err = sync.WriteString("x")
	require.NoError(t, err)
}

func testLocks(t *testing.T, dir string) {
	a := open(t, filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE)
	b := open(t, filepath.Join(dir, "a"), os.O_RDWR)
	require.NoError(t, unix.Flock(int(a.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	require.ErrorIs(t, unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	require.NoError(t, unix.Flock(int(a.Fd()), unix.LOCK_UN))
	require.NoError(t, unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

func testConcurrent(t *testing.T, dir string) {
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			sub := filepath.Join(dir, fmt.Sprint(w%4))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				t.Error(err)
				return
			}
			for i := range 40 {
				path := filepath.Join(sub, fmt.Sprintf("%d-%d", w, i))
				content := strings.Repeat(path, 100)
				err := os.WriteFile(path+".tmp", []byte(content), 0o644)
				if err == nil {
					err = os.Rename(path+".tmp", path)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != content {
					t.Errorf("%s: %d bytes, %v", path, len(got), err)
				}
				if i%2 == 0 {
					if err := os.Remove(path); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range 4 {
		total += len(names(t, filepath.Join(dir, fmt.Sprint(i))))
	}
	require.Equal(t, 16*20, total)
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

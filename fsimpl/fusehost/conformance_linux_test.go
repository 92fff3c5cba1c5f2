package fusehost

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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

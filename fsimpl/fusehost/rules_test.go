package fusehost

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/stretchr/testify/require"
	"github.com/winfsp/cgofuse/fuse"
)

// Windows' rules, by the calls that WinFsp makes, on whatever system this runs.

// newWindowsHost is a host by Windows' rules on a new file system.
func newWindowsHost(t *testing.T) *host {
	t.Helper()
	state, err := statedir.OpenTemp(t.TempDir())
	require.NoError(t, err)
	fs, err := fsimpl.Open(context.Background(), fsimpl.Options{
		Name: "rules", Store: memstore.New(), State: state, Device: "here", RootMode: 0o755, Log: testLog(t), Rules: fsimpl.Windows,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, fs.Close(soon(t), nil))
		require.NoError(t, state.Close())
	})
	h := newHost(opened{fs}, fsimpl.Owner{}, testLog(t))
	h.rules, h.links = windowsRules, fs.HoldsLinks()
	return h
}

// newFile makes a file as WinFsp does and returns its handle.
func newFile(t *testing.T, h *host, path string) uint64 {
	t.Helper()
	errc, fh := h.Create(path, fuse.O_CREAT|fuse.O_EXCL|fuse.O_RDWR, 0o644)
	require.Zero(t, errc, path)
	require.Zero(t, h.Chflags(path, fuse.UF_ARCHIVE))
	return fh
}

func closeFile(t *testing.T, h *host, path string, fh uint64) {
	t.Helper()
	require.Zero(t, h.Flush(path, fh))
	require.Zero(t, h.Release(path, fh))
}

func statOf(t *testing.T, h *host, path string, fh uint64) fuse.Stat_t {
	t.Helper()
	var st fuse.Stat_t
	require.Zero(t, h.Getattr(path, &st, fh), path)
	return st
}

func exists(h *host, path string) bool {
	var st fuse.Stat_t
	return h.Getattr(path, &st, noHandle) == 0
}

func listing(t *testing.T, h *host, path string) map[string]fuse.Stat_t {
	t.Helper()
	errc, fh := h.Opendir(path)
	require.Zero(t, errc)
	found := make(map[string]fuse.Stat_t)
	require.Zero(t, h.Readdir(path, func(name string, st *fuse.Stat_t, offset int64) bool {
		require.Zero(t, offset, "WinFsp fetches a listing in one call")
		if name != "." && name != ".." {
			found[name] = *st
		}
		return true
	}, 0, fh))
	require.Zero(t, h.Releasedir(path, fh))
	return found
}

func TestPathsAreInTheCaseThatIsKept(t *testing.T) {
	h := newWindowsHost(t)
	require.Zero(t, h.Mkdir("/Über", 0o755))
	fh := newFile(t, h, "/ÜBER/Con.txt")
	for _, path := range []string{"/über/\uf063ON.TXT", "/ÜBER/con.TXT"} {
		errc, stored := h.Getpath(path, fh)
		require.Zero(t, errc)
		require.Equal(t, "/Über/\uf043on.txt", stored)
		errc, stored = h.Getpath(path, noHandle)
		require.Zero(t, errc)
		require.Equal(t, "/Über/\uf043on.txt", stored)
	}
	closeFile(t, h, "/ÜBER/Con.txt", fh)
	errc, _ := h.Create("/über/CON.TXT", fuse.O_CREAT|fuse.O_EXCL|fuse.O_RDWR, 0o644)
	require.Equal(t, -fuse.EEXIST, errc)
	require.Zero(t, h.Rename("/über/\uf063on.txt", "/über/CON.txt"))
	require.Contains(t, listing(t, h, "/über"), "\uf043ON.txt")
	require.Equal(t, -fuse.EEXIST, h.Mkdir("/ÜBER", 0o755))
}

// WinFsp unlinks and renames through a handle, by the path it was opened by. What has that
// path by then is another file.
func TestRenamedFileIsUnlinkedAndRenamedByItsOldPath(t *testing.T) {
	h := newWindowsHost(t)
	old := newFile(t, h, "/a")
	require.Zero(t, h.Rename("/a", "/b"))
	closeFile(t, h, "/a", newFile(t, h, "/a"))
	require.Zero(t, h.Rename("/a", "/c"), "through the handle of what is b now")
	names := listing(t, h, "/")
	require.Contains(t, names, "a")
	require.Contains(t, names, "c")
	require.NotContains(t, names, "b")
	require.Zero(t, h.Unlink("/A"))
	names = listing(t, h, "/")
	require.Contains(t, names, "a")
	require.NotContains(t, names, "c")
	require.Equal(t, -fuse.ENOENT, h.Unlink("/a"), "it is unlinked already")
	require.Contains(t, listing(t, h, "/"), "a")
	closeFile(t, h, "/a", old)
	require.Zero(t, h.Unlink("/a"), "no handle has that path any more")
	require.NotContains(t, listing(t, h, "/"), "a")
}

// Programs that delete by way of a bin do that: rename, then delete through the same handle.
func TestRenamedDirectoryIsRemovedByItsOldPath(t *testing.T) {
	h := newWindowsHost(t)
	require.Zero(t, h.Mkdir("/dir", 0o755))
	errc, dir := h.Opendir("/dir")
	require.Zero(t, errc)
	errc, other := h.Opendir("/dir")
	require.Zero(t, errc)
	require.Zero(t, h.Rename("/dir", "/bin"))
	require.Zero(t, h.Mkdir("/dir", 0o755))
	require.Zero(t, h.Rmdir("/Dir"))
	require.True(t, exists(h, "/dir"))
	require.False(t, exists(h, "/bin"))
	require.Equal(t, -fuse.ENOENT, h.Rmdir("/dir"), "it is removed already")
	require.Zero(t, h.Releasedir("/dir", dir))
	require.True(t, exists(h, "/dir"))

	require.Zero(t, h.Releasedir("/dir", other))
	require.Zero(t, h.Rmdir("/dir"), "no handle has that path any more")
	require.False(t, exists(h, "/dir"))

	// Removed where it was, and another one made there.
	require.Zero(t, h.Mkdir("/dir", 0o755))
	errc, dir = h.Opendir("/dir")
	require.Zero(t, errc)
	require.Zero(t, h.Rmdir("/dir"))
	require.Zero(t, h.Mkdir("/dir", 0o755))
	require.Equal(t, -fuse.ENOENT, h.Rmdir("/dir"), "through the handle of what is gone")
	require.True(t, exists(h, "/dir"))
	require.Zero(t, h.Releasedir("/dir", dir))
	require.Zero(t, h.aliases.count.Load())
}

func TestAttributesAndTimesOfWindows(t *testing.T) {
	h := newWindowsHost(t)
	fh := newFile(t, h, "/f")
	require.EqualValues(t, fuse.UF_ARCHIVE, statOf(t, h, "/f", fh).Flags)
	all := uint32(fuse.UF_READONLY | fuse.UF_HIDDEN | fuse.UF_SYSTEM | fuse.UF_ARCHIVE)
	require.Zero(t, h.Chflags("/F", all))
	require.Zero(t, h.Mkdir("/d", 0o755))
	require.Zero(t, h.Chflags("/d", fuse.UF_HIDDEN))
	created, changed, written := fuse.Timespec{Sec: 1e9}, fuse.Timespec{Sec: 1.2e9, Nsec: 5000}, fuse.Timespec{Sec: 1.1e9}
	require.Zero(t, h.Setcrtime("/f", created))
	require.Zero(t, h.Utimens("/f", []fuse.Timespec{written, written}))
	require.Zero(t, h.Setchgtime("/f", changed))
	leave := fuse.Timespec{Sec: -11644473600} // 1601-01-01
	require.Zero(t, h.Setcrtime("/f", leave))
	require.Zero(t, h.Setchgtime("/f", leave))
	require.Zero(t, h.Utimens("/f", []fuse.Timespec{leave, leave}))
	for _, st := range []fuse.Stat_t{statOf(t, h, "/f", fh), statOf(t, h, "/f", noHandle), listing(t, h, "/")["f"]} {
		require.Equal(t, all, st.Flags)
		require.Equal(t, created, st.Birthtim)
		require.Equal(t, changed, st.Ctim)
		require.Equal(t, written, st.Mtim)
		require.NotZero(t, st.Ino)
	}
	require.EqualValues(t, fuse.UF_HIDDEN, listing(t, h, "/")["d"].Flags)
	require.Zero(t, h.Chmod("/f", 0))
	require.Zero(t, h.Chown("/f", 5, 5))
	require.Equal(t, statOf(t, h, "/f", fh).Mode&0o777, uint32(0o644), "what other systems see stays")

	// It binds whoever opens the file now; who has it open goes on.
	errc, _ := h.Open("/f", fuse.O_RDWR)
	require.Equal(t, -fuse.EPERM, errc)
	require.Equal(t, 1, h.Write("/f", []byte("x"), 0, fh))
	require.Equal(t, written, statOf(t, h, "/f", fh).Mtim, "what is written through a handle that was open does not count")
	errc, reader := h.Open("/f", fuse.O_RDONLY)
	require.Zero(t, errc)
	closeFile(t, h, "/f", reader)
	require.Zero(t, h.Chflags("/f", 0))
	errc, writer := h.Open("/f", fuse.O_WRONLY)
	require.Zero(t, errc)
	require.Equal(t, 1, h.Write("/f", []byte("x"), 0, writer))
	require.Greater(t, statOf(t, h, "/f", writer).Mtim.Sec, written.Sec)
	closeFile(t, h, "/f", writer)
	closeFile(t, h, "/f", fh)
}

func TestAttributesWithoutFlagsStay(t *testing.T) {
	h := newWindowsHost(t)
	closeFile(t, h, "/f", newFile(t, h, "/f"))
	n, err := h.fs.Resolve("/f")
	require.NoError(t, err)
	const notIndexed, temporary = 0x2000, 0x100
	require.NoError(t, h.fs.SetAttributes(n, notIndexed|temporary|attributeReadOnly))
	require.Zero(t, h.Chflags("/f", fuse.UF_SYSTEM))
	a, err := h.fs.Stat(n)
	require.NoError(t, err)
	require.EqualValues(t, notIndexed|temporary|0x04, a.Attributes)
}

// WinFsp goes on using the path that a handle was opened by.
func TestHandlesOutliveRenameAndUnlink(t *testing.T) {
	h := newWindowsHost(t)
	set := func(path string, sec int64) {
		t.Helper()
		require.Zero(t, h.Utimens(path, []fuse.Timespec{{Sec: sec}, {Sec: sec}}))
		require.Zero(t, h.Setcrtime(path, fuse.Timespec{Sec: sec}))
		require.Zero(t, h.Setchgtime(path, fuse.Timespec{Sec: sec}))
		require.Zero(t, h.Chflags(path, fuse.UF_HIDDEN))
		require.Zero(t, h.Chmod(path, 0o600))
	}
	old := newFile(t, h, "/Old")
	require.Zero(t, h.Rename("/OLD", "/new"))
	require.False(t, exists(h, "/old"), "nobody else finds it by its old name")
	set("/Old", 1e9)
	require.Equal(t, 3, h.Write("/Old", []byte("abc"), 0, old))
	require.EqualValues(t, 3, statOf(t, h, "/Old", old).Size)
	require.EqualValues(t, 1e9, statOf(t, h, "/new", noHandle).Mtim.Sec)

	// An editor saves: another file takes the old name. The handle is meant while nobody has
	// that one open.
	closeFile(t, h, "/old", newFile(t, h, "/old"))
	set("/Old", 1.1e9)
	require.EqualValues(t, 1.1e9, statOf(t, h, "/new", noHandle).Mtim.Sec)
	require.NotEqualValues(t, 1.1e9, statOf(t, h, "/old", noHandle).Mtim.Sec)
	errc, other := h.Open("/old", fuse.O_RDWR)
	require.Zero(t, errc)
	set("/old", 1.2e9)
	require.EqualValues(t, 1.2e9, statOf(t, h, "/old", noHandle).Mtim.Sec)
	closeFile(t, h, "/old", other)

	// Unlinked.
	require.Zero(t, h.Unlink("/new"))
	require.False(t, exists(h, "/new"))
	buf := make([]byte, 8)
	require.Equal(t, 3, h.Read("/Old", buf, 0, old))
	set("/Old", 1.3e9)
	require.EqualValues(t, 1.3e9, statOf(t, h, "/Old", old).Mtim.Sec)
	require.Equal(t, 3, h.Write("/Old", []byte("def"), 3, old))
	closeFile(t, h, "/Old", old)
	require.Equal(t, -fuse.ENOENT, h.Chflags("/new", 0), "with the last handle the old names end")
	require.Zero(t, h.aliases.count.Load())
	require.True(t, exists(h, "/old"))

	// What still has a name loses the old one as well.
	fh := newFile(t, h, "/a")
	require.Zero(t, h.Rename("/a", "/b"))
	closeFile(t, h, "/a", fh)
	require.Equal(t, -fuse.ENOENT, h.Chflags("/a", 0))
	require.True(t, exists(h, "/b"))

	// A directory, by the handle that renamed it.
	require.Zero(t, h.Mkdir("/dir", 0o755))
	errc, dir := h.Opendir("/dir")
	require.Zero(t, errc)
	require.Zero(t, h.Rename("/dir", "/folder"))
	set("/dir", 1e9)
	require.EqualValues(t, 1e9, statOf(t, h, "/folder", noHandle).Mtim.Sec)
	require.Zero(t, h.Releasedir("/dir", dir))
	require.Equal(t, -fuse.ENOENT, h.Chflags("/dir", 0))
}

func TestLinksOnWindows(t *testing.T) {
	h := newWindowsHost(t)
	errc, _ := h.Readlink("/")
	require.Equal(t, -fuse.ENOSYS, errc, "WinFsp asks once, at the mount")
	require.Equal(t, -fuse.ENOSYS, h.Symlink("to", "/link"))
	require.False(t, exists(h, "/link"))

	_, err := h.fs.Symlink(fsimpl.Root, "made on Linux", "some/where", fsimpl.Owner{})
	require.NoError(t, err)
	require.True(t, h.fs.HoldsLinks())

	// WinFsp knows of none in this mount: it is a file.
	require.EqualValues(t, fuse.S_IFREG, statOf(t, h, "/made on Linux", noHandle).Mode&fuse.S_IFMT)
	require.EqualValues(t, fuse.S_IFREG, listing(t, h, "/")["made on Linux"].Mode&fuse.S_IFMT)
	errc, fh := h.Open("/Made on Linux", fuse.O_RDONLY)
	require.Zero(t, errc)
	buf := make([]byte, 100)
	require.Equal(t, "some/where", string(buf[:h.Read("/Made on Linux", buf, 0, fh)]))
	require.Zero(t, h.Read("/Made on Linux", buf, 10, fh))
	require.Equal(t, -fuse.EPERM, h.Write("/Made on Linux", []byte("x"), 0, fh))
	require.Equal(t, -fuse.EPERM, h.Truncate("/Made on Linux", 0, fh))
	errc, _ = h.Open("/made on Linux", fuse.O_RDWR)
	require.Equal(t, -fuse.EPERM, errc)
	require.Zero(t, h.Rename("/Made on Linux", "/made on Linux"))
	closeFile(t, h, "/Made on Linux", fh)
	errc, _ = h.Readlink("/made on Linux")
	require.Equal(t, -fuse.ENOSYS, errc)

	h.links = h.fs.HoldsLinks()
	errc, _ = h.Readlink("/")
	require.Equal(t, -fuse.EINVAL, errc)
	errc, target := h.Readlink("/MADE on Linux")
	require.Zero(t, errc)
	require.Equal(t, "some/where", target)
	require.EqualValues(t, fuse.S_IFLNK, listing(t, h, "/")["made on Linux"].Mode&fuse.S_IFMT)
	require.Zero(t, h.Symlink("to", "/link"))
	require.False(t, exists(h, "/."), "WinFsp asks whether links to directories may be told by this")
}

func TestExtendedAttributesAreNotImplemented(t *testing.T) {
	h := newWindowsHost(t)
	errc, _ := h.Getxattr("/", "user.x")
	require.Equal(t, -fuse.ENOSYS, errc)
	require.Equal(t, -fuse.ENOSYS, h.Setxattr("/", "user.x", nil, 0))
	require.Equal(t, -fuse.ENOSYS, h.Listxattr("/", func(string) bool { return true }))
}

func TestOptionsOfWinFsp(t *testing.T) {
	args := winFspArgs("S-1-5-21-1-2-3-1001", Options{Name: "my, own \\ keys"})
	require.Equal(t, []string{
		"-o", "uid=-1,gid=-1",
		"-o", "FileSecurity=O:S-1-5-21-1-2-3-1001G:S-1-5-21-1-2-3-1001D:P(A;;FA;;;S-1-5-21-1-2-3-1001)(A;;FA;;;SY)(A;;FA;;;BA)",
		"-o", "volname=my_ own _ keys",
		"-o", "FileSystemName=pocket",
		"-o", "FileInfoTimeout=1000",
		"-o", "ThreadCount=16",
	}, args)
	args = winFspArgs("S-1-5-18", Options{Name: "x", WinFsp: WinFsp{InfoTimeout: 250 * time.Millisecond, Threads: 4}})
	require.Equal(t, []string{"-o", "FileInfoTimeout=250", "-o", "ThreadCount=4"}, args[8:])
	args = winFspArgs("S-1-5-18", Options{Name: "x", WinFsp: WinFsp{InfoTimeout: -1}})
	require.Contains(t, args, "FileInfoTimeout=-1")
	longest := "S-1-15-" + strings.Repeat("4294967295-", 15) + "4294967295" // the largest SID there is
	require.LessOrEqual(t, len(ownerOnly(longest)), 1024)
}

func TestLabelsAreThoseAVolumeCanHave(t *testing.T) {
	for name, want := range map[string]string{
		"ssh": "ssh", "": "pocket", "a,b\\c\x01": "a_b_c_", "\xffx": "_x",
		strings.Repeat("ö", 40): strings.Repeat("ö", 32), strings.Repeat("\U0001f600", 20): strings.Repeat("\U0001f600", 16),
		"x" + strings.Repeat("\U0001f600", 20): "x" + strings.Repeat("\U0001f600", 15),
	} {
		require.Equal(t, want, volumeLabel(name))
	}
}

func TestInodeNumbersAreStableAndNotZero(t *testing.T) {
	h := newWindowsHost(t)
	closeFile(t, h, "/f", newFile(t, h, "/f"))
	ino := statOf(t, h, "/f", noHandle).Ino
	require.NotZero(t, ino)
	require.NotZero(t, statOf(t, h, "/", noHandle).Ino)
	require.Zero(t, h.Rename("/f", "/g"))
	require.Equal(t, ino, statOf(t, h, "/G", noHandle).Ino)
	require.Equal(t, ino, listing(t, h, "/")["g"].Ino)
}

func TestRulesOfThePlatform(t *testing.T) {
	require.EqualValues(t, math.MinInt64, posixRules.earliest)
	require.Equal(t, time.Date(1601, 1, 2, 0, 0, 0, 0, time.UTC).UnixMicro(), windowsRules.earliest)
	if fsimpl.PlatformRules() == fsimpl.Windows {
		require.Equal(t, windowsRules, platformRules)
	} else {
		require.Equal(t, posixRules, platformRules)
	}
}

package fusehost

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/stretchr/testify/require"
	"github.com/winfsp/cgofuse/fuse"
)

// newLayeredHost is a host by Windows' rules with the names that stay on the machine there.
func newLayeredHost(t *testing.T) (*host, *layered) {
	t.Helper()
	return newLayeredHostThat(t, func() {})
}

// newLayeredHostThat calls begins when the names that stay on the machine are opened.
func newLayeredHostThat(t *testing.T, begins func()) (*host, *layered) {
	t.Helper()
	h := newWindowsHost(t)
	main := h.fs
	l, err := newLayered(main, localNamesOf("windows"), func() (fileSystem, error) {
		begins()
		state, err := statedir.OpenTemp(t.TempDir())
		require.NoError(t, err)
		fs, err := fsimpl.Open(context.Background(), fsimpl.Options{
			Name: "local", Store: memstore.New(), State: state, Device: "here", RootMode: 0o700, Log: testLog(t), Rules: fsimpl.Windows, Poll: -1,
		})
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, fs.Close(soon(t), nil))
			require.NoError(t, state.Close())
		})
		return opened{fs}, nil
	}, false)
	require.NoError(t, err)
	h.fs = l
	return h, l
}

func writeFile(t *testing.T, h *host, path, text string) {
	t.Helper()
	fh := newFile(t, h, path)
	require.Equal(t, len(text), h.Write(path, []byte(text), 0, fh))
	closeFile(t, h, path, fh)
}

func readFile(t *testing.T, h *host, path string) string {
	t.Helper()
	errc, fh := h.Open(path, fuse.O_RDONLY)
	require.Zero(t, errc, path)
	buf := make([]byte, 100)
	n := h.Read(path, buf, 0, fh)
	require.GreaterOrEqual(t, n, 0)
	closeFile(t, h, path, fh)
	return string(buf[:n])
}

func TestWhatStaysOnThisMachineWorksLikeTheRest(t *testing.T) {
	h, l := newLayeredHost(t)
	require.False(t, exists(h, "/desktop.ini"), "Explorer asks all the time")
	require.False(t, l.begun.Load(), "and nothing is opened for that")
	require.Zero(t, h.Mkdir("/Dir", 0o755))
	writeFile(t, h, "/dir/DESKTOP.ini", "icons")
	require.Zero(t, h.Chflags("/dir/desktop.ini", fuse.UF_HIDDEN|fuse.UF_SYSTEM))
	require.Zero(t, h.Utimens("/dir/desktop.ini", []fuse.Timespec{{Sec: 1e9}, {Sec: 1e9}}))
	for _, st := range []fuse.Stat_t{statOf(t, h, "/DIR/desktop.INI", noHandle), listing(t, h, "/dir")["DESKTOP.ini"]} {
		require.EqualValues(t, fuse.UF_HIDDEN|fuse.UF_SYSTEM, st.Flags)
		require.EqualValues(t, 1e9, st.Mtim.Sec)
		require.EqualValues(t, 5, st.Size)
		require.NotZero(t, st.Ino)
	}
	errc, stored := h.Getpath("/dir/desktop.ini", noHandle)
	require.Zero(t, errc)
	require.Equal(t, "/Dir/DESKTOP.ini", stored)
	errc, _ = h.Create("/dir/desktop.ini", fuse.O_CREAT|fuse.O_EXCL|fuse.O_RDWR, 0o644)
	require.Equal(t, -fuse.EEXIST, errc)
	require.Equal(t, -fuse.ENOTEMPTY, h.Rmdir("/Dir"))
	_, err := l.main.Resolve("/Dir/desktop.ini")
	require.Equal(t, fsimpl.NotExist, fsimpl.KindOf(err))

	// Written under another name first, and back.
	writeFile(t, h, "/dir/new", "saved")
	require.Zero(t, h.Rename("/dir/new", "/dir/desktop.ini"))
	require.Equal(t, "saved", readFile(t, h, "/dir/desktop.ini"))
	require.False(t, exists(h, "/dir/new"))
	require.Zero(t, h.Rename("/dir", "/folder"), "with what is in it")
	require.Equal(t, "saved", readFile(t, h, "/folder/desktop.ini"))
	require.Equal(t, -fuse.EEXIST, h.Rename3("/folder/desktop.ini", "/folder", fuse.RENAME_NOREPLACE))
	require.Zero(t, h.Rename("/folder/desktop.ini", "/kept"))
	_, err = l.main.Resolve("/kept")
	require.NoError(t, err)

	// What is open goes on when it is unlinked.
	fh := newFile(t, h, "/folder/Thumbs.db")
	require.Zero(t, h.Unlink("/folder/thumbs.DB"))
	require.Equal(t, 1, h.Write("/folder/Thumbs.db", []byte("x"), 0, fh))
	require.EqualValues(t, 1, statOf(t, h, "/folder/Thumbs.db", fh).Size)
	require.Zero(t, h.Chflags("/folder/Thumbs.db", fuse.UF_HIDDEN))
	closeFile(t, h, "/folder/Thumbs.db", fh)
	require.Zero(t, h.Rmdir("/folder"))

	// What the store has goes before.
	_, err = l.main.Mkdir(fsimpl.Root, "System volume information", 0o755, fsimpl.Owner{})
	require.NoError(t, err)
	require.Equal(t, -fuse.EEXIST, h.Mkdir("/System Volume Information", 0o755))
	writeFile(t, h, "/System Volume Information/x", "of all")
	_, err = l.main.Resolve("/System Volume Information/x")
	require.NoError(t, err)
}

// Opening them waits for disks: who has nothing to do with them does not wait for that, and who
// makes the first of them at the same time opens them once.
func TestOpeningWhatStaysOnThisMachineHoldsNobodyUp(t *testing.T) {
	opening, may := make(chan struct{}), make(chan struct{})
	h, _ := newLayeredHostThat(t, func() {
		close(opening)
		<-may
	})
	var making sync.WaitGroup
	made := make([]int, 2)
	for i, path := range []string{"/$RECYCLE.BIN", "/System Volume Information"} {
		making.Go(func() { made[i] = h.Mkdir(path, 0o755) })
	}
	<-opening
	require.False(t, exists(h, "/desktop.ini"))
	require.Zero(t, h.Mkdir("/dir", 0o755))
	require.Len(t, listing(t, h, "/"), 1)
	require.Zero(t, h.Rmdir("/dir"))
	close(may)
	making.Wait()
	require.Equal(t, []int{0, 0}, made)
	require.Len(t, listing(t, h, "/"), 2)
}

func TestRecycleBin(t *testing.T) {
	h, l := newLayeredHost(t)
	require.Zero(t, h.Mkdir("/$RECYCLE.BIN", 0o755))
	require.Zero(t, h.Mkdir("/$recycle.bin/S-1", 0o755))
	writeFile(t, h, "/$RECYCLE.BIN/S-1/desktop.ini", "bin")
	require.Zero(t, h.Mkdir("/dir", 0o755))
	require.Zero(t, h.Mkdir("/dir/sub", 0o755))
	writeFile(t, h, "/dir/sub/file", "text")
	require.Zero(t, h.Chflags("/dir/sub/file", fuse.UF_READONLY))
	writeFile(t, h, "/dir/desktop.ini", "icons")
	before := statOf(t, h, "/dir/sub/file", noHandle)
	require.Zero(t, h.Rename("/dir", "/$RECYCLE.BIN/S-1/$R1"))
	require.Len(t, listing(t, h, "/"), 1)
	require.Equal(t, "text", readFile(t, h, "/$RECYCLE.BIN/S-1/$R1/sub/file"))
	_, err := l.main.Resolve("/dir")
	require.Equal(t, fsimpl.NotExist, fsimpl.KindOf(err))
	require.Zero(t, h.Rename("/$RECYCLE.BIN/S-1/$R1", "/dir"))
	after := statOf(t, h, "/dir/sub/file", noHandle)
	require.Equal(t, before.Mtim, after.Mtim)
	require.Equal(t, before.Birthtim, after.Birthtim)
	require.Equal(t, before.Flags, after.Flags)
	require.Equal(t, "text", readFile(t, h, "/dir/sub/file"))
	require.Equal(t, "icons", readFile(t, h, "/dir/desktop.ini"), "what was local in it went along")
	_, err = l.main.Resolve("/dir/desktop.ini")
	require.Equal(t, fsimpl.NotExist, fsimpl.KindOf(err))

	// What is too much is left where it is.
	for i := range moveEntries {
		_, err := l.main.Mkdir(fsimpl.Root, fmt.Sprintf("d%d", i), 0o755, fsimpl.Owner{})
		require.NoError(t, err)
	}
	require.Zero(t, h.Mkdir("/many", 0o755))
	for i := range moveEntries {
		require.Zero(t, h.Rename(fmt.Sprintf("/d%d", i), fmt.Sprintf("/many/d%d", i)))
	}
	require.Equal(t, -fuse.EXDEV, h.Rename("/many", "/$RECYCLE.BIN/S-1/$R2"))
	require.Len(t, listing(t, h, "/many"), moveEntries)
	require.NotContains(t, listing(t, h, "/$RECYCLE.BIN/S-1"), "$R2")
}

func TestLocalNames(t *testing.T) {
	mac := newLocalNames(localNamesOf("darwin"))
	for name, want := range map[string]bool{"._x": true, ".ds_store": true, "x._y": false, ".x": false} {
		require.Equal(t, want, mac.match(name), name)
	}
	require.Empty(t, localNamesOf("linux"))
	require.True(t, newLocalNames([]string{"*.TMP"}).match("a.tmp"))
}

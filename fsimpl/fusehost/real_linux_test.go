package fusehost

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestConformance runs the conformance suite on a mount of the real file system, in
// both modes and with chunks so small that most files have several.
func TestConformance(t *testing.T) {
	needFUSE(t)
	for name, options := range map[string]fsimpl.Options{
		"Buffered":    {Mode: fsimpl.Buffered},
		"Sync":        {Mode: fsimpl.Sync},
		"SmallChunks": {Mode: fsimpl.Buffered, ChunkSize: 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			fs := openReal(t, options)
			dir := filepath.Join(openTempDir(t), "mnt")
			m, err := Mount(fs, Options{Path: dir, Name: "real", Log: testLog(t)})
			require.NoError(t, err)
			require.NoError(t, os.Chmod(dir, 0o777))
			runConformance(t, dir)
			require.NoError(t, m.Unmount(soon(t)))
		})
	}
}

// A file that is open while another machine makes it shorter or longer is read as it was when it was opened, and
// stat says so; opened again it is the new one, whole and no more than that.
func TestWhatArrivesForAnOpenFileIsReadWhenItIsOpenedAgain(t *testing.T) {
	needFUSE(t)
	store := memstore.New()
	there := openReal(t, fsimpl.Options{Store: store, Mode: fsimpl.Sync, Poll: -1})
	here := openReal(t, fsimpl.Options{Store: store, Poll: 5 * time.Millisecond})
	dir := filepath.Join(openTempDir(t), "mnt")
	m, err := Mount(here, Options{Path: dir, Name: "real", Log: testLog(t)})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Unmount(soon(t))) }()

	f, _, err := there.Create(fsimpl.Root, "f", 0o644, fsimpl.Owner{}, fsimpl.OpenRead|fsimpl.OpenWrite)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Release()) }()
	written := 0
	// writes has the other machine write, and waits until this one knows of it.
	writes := func(letter string, size int) string {
		_, err := f.WriteAt([]byte(strings.Repeat(letter, size)), 0)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(int64(size)))
		require.NoError(t, f.Flush())
		written++
		mark := fmt.Sprint("mark", written)
		g, _, err := there.Create(fsimpl.Root, mark, 0o644, fsimpl.Owner{}, fsimpl.OpenWrite)
		require.NoError(t, err)
		require.NoError(t, g.Flush())
		require.NoError(t, g.Release())
		require.Eventually(t, func() bool {
			_, err := os.Lstat(filepath.Join(dir, mark))
			return err == nil
		}, 20*time.Second, time.Millisecond)
		return strings.Repeat(letter, size)
	}
	path := filepath.Join(dir, "f")
	size := func() int64 {
		var st unix.Statx_t
		require.NoError(t, unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE, &st))
		return int64(st.Size)
	}
	opens := func() *os.File {
		f, err := os.Open(path)
		require.NoError(t, err)
		return f
	}
	holds := func(f *os.File, want string) {
		body, err := io.ReadAll(f) // which does not ask for the size
		require.NoError(t, err)
		require.True(t, want == string(body), "%d bytes were read of %d", len(body), len(want))
	}
	old := writes("a", 700_000)
	for i, next := range []int{300_000, 1000, 500_000, 40_000, 90_000, 1} {
		func() {
			require.EqualValues(t, len(old), size())
			before := opens()
			defer before.Close()
			now := writes(string(rune('b'+i)), next)
			require.EqualValues(t, len(old), size())
			holds(before, old)
			after := opens()
			defer after.Close()
			holds(after, now)
			old = now
		}()
	}
}

// openReal opens a file system until the test ends, on a store in memory if no other is given.
func openReal(t *testing.T, o fsimpl.Options) *fsimpl.FS {
	t.Helper()
	state, err := statedir.OpenTemp(t.TempDir())
	require.NoError(t, err)
	if o.Store == nil {
		o.Store = memstore.New()
	}
	o.Name, o.State, o.Device, o.RootMode, o.Log = "real", state, "here", 0o755, testLog(t)
	o.UID, o.GID = uint32(os.Geteuid()), uint32(os.Getegid())
	fs, err := fsimpl.Open(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, fs.Close(soon(t), nil))
		require.NoError(t, state.Close())
	})
	return fs
}

package fusehost

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/stretchr/testify/require"
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

// openReal opens a file system on a store in memory until the test ends.
func openReal(t *testing.T, o fsimpl.Options) *fsimpl.FS {
	t.Helper()
	state, err := statedir.OpenTemp(t.TempDir())
	require.NoError(t, err)
	o.Name, o.Store, o.State, o.Device, o.RootMode, o.Log = "real", memstore.New(), state, "here", 0o755, testLog(t)
	o.UID, o.GID = uint32(os.Geteuid()), uint32(os.Getegid())
	fs, err := fsimpl.Open(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, fs.Close(soon(t), nil))
		require.NoError(t, state.Close())
	})
	return fs
}

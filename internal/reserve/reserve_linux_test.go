package reserve_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/internal/reserve"
)

const size = 1 << 20

// allocated returns how many bytes of the disk a file has.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

func TestReserveIsAllocatedAndGivenBackInPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reserve")
	r := reserve.New(path, size)
	require.False(t, r.Release(), "there is none yet")
	require.NoError(t, r.Refill())
	require.NoError(t, r.Refill())
	require.EqualValues(t, size, r.Left())
	f, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.GreaterOrEqual(t, allocated(t, path), int64(size))

	r = reserve.New(path, size) // the next process
	pieces := 0
	for left := r.Left(); r.Release(); left = r.Left() {
		pieces++
		require.Less(t, r.Left(), left)
		require.LessOrEqual(t, allocated(t, path), left)
	}
	require.Greater(t, pieces, 1)
	require.Zero(t, allocated(t, path))
	require.NoError(t, r.Refill())
	require.EqualValues(t, size, r.Left())

	require.NoError(t, os.Remove(path)) // somebody who needed room
	require.False(t, r.Release())
	require.NoError(t, r.Refill())
	require.EqualValues(t, size, r.Left())
}

func TestReserveOnAFullDiskTakesWhatThereIs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small file system to fill")
	}
	dir := t.TempDir()
	if err := unix.Mount("pocket", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("cannot mount a small file system to fill:", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		f, err := os.OpenFile(ballast, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		require.NoError(t, err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	r := reserve.New(filepath.Join(dir, "reserve"), size)
	require.NoError(t, r.Refill())
	fill()
	require.True(t, r.Release())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "removal"), make([]byte, 50_000), 0o600))
	fill()
	left := r.Left()
	require.ErrorIs(t, r.Refill(), syscall.ENOSPC)
	require.Equal(t, left, r.Left())
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, r.Refill())
	require.EqualValues(t, size, r.Left())
}

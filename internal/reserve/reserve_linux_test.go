package reserve_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/internal/reserve"
	"github.com/hamflx/pocket/internal/testdisk"
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
	dir := testdisk.Small(t, "2m")
	ballast := filepath.Join(dir, "ballast")
	r := reserve.New(filepath.Join(dir, "reserve"), size)
	require.NoError(t, r.Refill())
	testdisk.Fill(t, ballast)
	require.True(t, r.Release())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "removal"), make([]byte, 50_000), 0o600))
	testdisk.Fill(t, ballast)
	left := r.Left()
	require.ErrorIs(t, r.Refill(), syscall.ENOSPC)
	require.Equal(t, left, r.Left())
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, r.Refill())
	require.EqualValues(t, size, r.Left())
}

package dirstore

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

func TestFullDiskIsErrNoSpaceAndLeavesTheOldObject(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s, err := Open(dir, true)
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, "index/head", []byte("old")))
	err = s.Put(ctx, "index/head", make([]byte, 1<<20))
	require.ErrorIs(t, err, objstore.ErrNoSpace)
	require.ErrorContains(t, err, "index/head")
	body, err := s.Get(ctx, "index/head", 10)
	require.NoError(t, err)
	require.Equal(t, "old", string(body))
	require.NoError(t, s.Put(ctx, "index/head", make([]byte, 64<<10)), "what was half written is gone")
}

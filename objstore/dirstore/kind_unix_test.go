//go:build unix

package dirstore

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

func TestErrorsOfTheSystemAreToldByKind(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOENT: objstore.ErrNotExist, syscall.ENOTDIR: objstore.ErrNotExist,
		syscall.EACCES: objstore.ErrPermission, syscall.EPERM: objstore.ErrPermission, syscall.EROFS: objstore.ErrPermission,
		syscall.ENOSPC: objstore.ErrNoSpace, syscall.EDQUOT: objstore.ErrNoSpace,
		syscall.EIO: objstore.ErrUnavailable, syscall.ESTALE: objstore.ErrUnavailable, syscall.ETIMEDOUT: objstore.ErrUnavailable,
		syscall.EHOSTDOWN: objstore.ErrUnavailable, syscall.ENETDOWN: objstore.ErrUnavailable, syscall.EMFILE: objstore.ErrUnavailable,
		syscall.EINVAL: objstore.ErrFailed,
	} {
		require.Equal(t, want, kindOf(&os.PathError{Op: "openat", Path: "x", Err: errno}), errno.Error())
	}
}

func TestFolderWithoutRightsIsErrPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
	ctx := t.Context()
	dir := t.TempDir()
	s, err := Open(dir, true)
	require.NoError(t, err)
	require.NoError(t, s.Put(ctx, "data/x", []byte("v")))
	locked := filepath.Join(dir, "data")
	require.NoError(t, os.Chmod(locked, 0))
	defer os.Chmod(locked, 0o700)
	_, err = s.Get(ctx, "data/x", 10)
	require.ErrorIs(t, err, objstore.ErrPermission)
	require.ErrorIs(t, s.Put(ctx, "data/y", nil), objstore.ErrPermission)
	require.ErrorIs(t, s.Delete(ctx, "data/x"), objstore.ErrPermission)
	for _, err = range s.List(ctx, "", "") {
	}
	require.ErrorIs(t, err, objstore.ErrPermission)
}

func TestNamedPipeInTheFolderIsNoObject(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, true)
	require.NoError(t, err)
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	_, err = s.Get(t.Context(), "pipe", 10)
	require.ErrorIs(t, err, objstore.ErrNotExist)
	for info := range s.List(t.Context(), "", "") {
		t.Fatalf("listed %s", info.Key)
	}
}

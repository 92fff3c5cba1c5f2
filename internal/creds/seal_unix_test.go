//go:build !windows

package creds

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProfileIsReadableForItsOwnerAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "credentials")
	s := Open(dir)
	require.NoError(t, s.Set("default", sample))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	file := filepath.Join(dir, "default.bin")
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o644} {
		require.NoError(t, os.Chmod(file, mode))
		_, err = s.Get("default")
		require.ErrorIs(t, err, ErrExposed, "%04o", mode)
		require.Contains(t, err.Error(), "chmod 600")
	}
	require.NoError(t, s.Set("default", sample))
	_, err = s.Get("default")
	require.NoError(t, err, "setting it anew closes it again")
}

func TestFailedSetLeavesTheOldProfileAndNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir)
	// A directory in the profile's place makes the rename fail, for root too.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "default.bin", "x"), 0o700))
	require.Error(t, s.Set("default", sample))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	_, err = s.Get("default")
	require.ErrorIs(t, err, ErrDamaged)
}

func TestProfileEncryptedOnWindowsIsForeign(t *testing.T) {
	dir := t.TempDir()
	blob := append([]byte(nil), dpapiMagic...)
	blob = append(blob, "rest of it\nand more"...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "default.bin"), blob, 0o600))
	_, err := Open(dir).Get("default")
	require.ErrorIs(t, err, ErrForeign)
	require.Contains(t, err.Error(), "encrypted on Windows: make it anew with pocket-creds set default")
}

func TestProfileOfAnotherUserIsForeign(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	dir := t.TempDir()
	s := Open(dir)
	require.NoError(t, s.Set("default", sample))
	require.NoError(t, os.Chmod(filepath.Join(dir, "default.bin"), 0))
	_, err := s.Get("default")
	require.ErrorIs(t, err, ErrForeign)
}

package creds

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
)

func TestProfileIsEncrypted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Open(dir).Set("default", sample))
	b, err := os.ReadFile(filepath.Join(dir, "default.bin"))
	require.NoError(t, err)
	require.NotContains(t, string(b), sample.AccessKeyID)
	require.NotContains(t, string(b), sample.SecretAccessKey)
}

// The Rust program passed no description.
func TestProfileWithoutDescriptionIsRead(t *testing.T) {
	dir := t.TempDir()
	in, out := blob(encode(sample)), windows.DataBlob{}
	require.NoError(t, windows.CryptProtectData(&in, nil, nil, 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN, &out))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "default.bin"), taken(out), 0o600))
	got, err := Open(dir).Get("default")
	require.NoError(t, err)
	require.True(t, got == sample)
}

func TestProfileUnderAnotherNameIsDamaged(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir)
	require.NoError(t, s.Set("work", sample))
	require.NoError(t, os.Rename(filepath.Join(dir, "work.bin"), filepath.Join(dir, "default.bin")))
	_, err := s.Get("default")
	require.ErrorIs(t, err, ErrDamaged)
}

func TestFlippedByteIsDamaged(t *testing.T) {
	dir := t.TempDir()
	s := Open(dir)
	require.NoError(t, s.Set("default", sample))
	file := filepath.Join(dir, "default.bin")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b[len(b)-1] ^= 1
	require.NoError(t, os.WriteFile(file, b, 0o600))
	_, err = s.Get("default")
	require.ErrorIs(t, err, ErrDamaged)
}

// Who copies a profile from Linux to Windows should not look for a damaged disk.
func TestProfileOfLinuxIsForeign(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "default.bin"), encode(sample), 0o600))
	_, err := Open(dir).Get("default")
	require.ErrorIs(t, err, ErrForeign)
	require.ErrorContains(t, err, "it is not encrypted, as those of Linux and macOS are")
	require.NotContains(t, err.Error(), sample.SecretAccessKey)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "default.bin"), []byte(markerMagic+"default ABC\n"), 0o600))
	_, err = Open(dir).Get("default")
	require.ErrorIs(t, err, ErrForeign)
}

func TestKeyOfAnotherUserIsForeign(t *testing.T) {
	require.ErrorIs(t, unprotectError(syscall.Errno(windows.NTE_BAD_KEY_STATE)), ErrForeign)
	require.ErrorIs(t, unprotectError(windows.ERROR_INVALID_DATA), ErrDamaged)
}

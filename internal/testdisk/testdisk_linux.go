package testdisk

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Small returns a directory on a file system of its own, of size bytes (with k or m), until the
// test ends; by then every file there must be closed. Where none can be made the test is skipped.
func Small(t testing.TB, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small file system to fill")
	}
	dir := t.TempDir()
	if err := unix.Mount("pocket", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("cannot mount a small file system to fill:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount the small file system: %v", err)
		}
	})
	return dir
}

// Fill has the file at path take all that is left of its disk.
func Fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

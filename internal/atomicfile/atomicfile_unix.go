//go:build unix

package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func rename(from, to string) error { return os.Rename(from, to) }

// protect has nothing to do: the file was made for its owner alone.
func protect(string) error { return nil }

// SyncDir makes the names in a directory survive a power loss. On Windows, which
// has no such call and logs them itself, it does nothing.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = d.Sync()
	// Some file systems cannot sync a directory and say so with EINVAL or
	// ENOTSUP; there is nothing else to call on them.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

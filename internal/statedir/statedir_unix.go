//go:build unix

package statedir

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// tryLock takes the advisory lock of f, which ends when f is closed. It reports
// false when someone else has it.
func tryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}

// removeLocked removes a lock file and gives the lock up, in this order: nobody
// can take the lock of a file that is about to go.
func removeLocked(f *os.File) error {
	return errors.Join(os.Remove(f.Name()), f.Close())
}

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

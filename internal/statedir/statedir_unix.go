//go:build unix

package statedir

import (
	"errors"
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

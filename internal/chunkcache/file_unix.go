//go:build unix

package chunkcache

import (
	"errors"
	"os"
	"syscall"
)

// removesOpenFiles reports whether a file can be removed while it is read.
const removesOpenFiles = true

// isBadDisk reports whether err means that the disk lost what was written.
func isBadDisk(err error) bool {
	return errors.Is(err, syscall.EIO)
}

// rename is os.Rename without the look at the target that it takes first: a
// chunk file never takes a directory's place.
func rename(from, to string) error {
	for {
		err := syscall.Rename(from, to)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EINTR):
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
	}
}

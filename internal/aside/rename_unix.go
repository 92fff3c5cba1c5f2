//go:build unix

package aside

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// renameChecked looks before it renames.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: unix.EEXIST}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(from, to)
}

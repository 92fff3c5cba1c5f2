package dirstore

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/hamflx/pocket/objstore"
)

// kindOf returns the kind of an error of the system. The numbers go first:
// Go's fs.ErrNotExist includes Windows' "network path not found", which says
// nothing about an object.
func kindOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if kind := kindOfErrno(errno); kind != nil {
			return kind
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), isNotDir(err):
		return objstore.ErrNotExist
	case errors.Is(err, fs.ErrPermission):
		return objstore.ErrPermission
	}
	return objstore.ErrFailed
}

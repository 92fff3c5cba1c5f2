//go:build unix

package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/hamflx/pocket/objstore"
)

// openFlags keep Get from waiting for the other end of a named pipe that
// somebody put into the folder.
const openFlags = syscall.O_NONBLOCK

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// isInUse: an open file does not keep its name from being given to another.
func isInUse(error) bool { return false }

func kindOfErrno(errno syscall.Errno) error {
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return objstore.ErrNoSpace
	case syscall.EROFS:
		return objstore.ErrPermission
	case syscall.EIO, syscall.ENXIO, syscall.ENODEV, // a drive pulled out
		syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.ENETUNREACH,
		syscall.ENOTCONN, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.EPIPE, // a network file system
		syscall.EBUSY, syscall.EAGAIN, syscall.EINTR, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM:
		return objstore.ErrUnavailable
	case syscall.ENAMETOOLONG, syscall.EILSEQ:
		return objstore.ErrInvalidKey
	}
	return nil
}

// syncDir makes the names in the folder at path durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncOpenDir(f)
}

// syncUp makes the names in dir and in the folders above it durable. All of
// them each time: who created one may not have synced it yet.
func syncUp(root *os.Root, dir string) error {
	for ; ; dir = path.Dir(dir) {
		f, err := root.Open(dir)
		if err == nil {
			err = syncOpenDir(f)
			f.Close()
		}
		// One that is gone needs no syncing, those above do.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

// syncOpenDir makes the names in an open folder durable, as far as its file
// system can: SMB and some FUSE file systems know no fsync for folders.
func syncOpenDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return err
}

// syncRenamed has nothing to do: the new name is in the folder.
func syncRenamed(*os.File) error { return nil }

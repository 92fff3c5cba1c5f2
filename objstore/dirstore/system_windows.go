package dirstore

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/objstore"
)

const openFlags = 0

// isNotDir reports whether a file stood where a folder was expected.
func isNotDir(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, windows.ERROR_DIRECTORY)
}

// isInUse reports whether a rename failed because of who has the target open,
// such as a virus scanner. Where POSIX renames are not to be had (SMB, FAT)
// that is "access denied", as if it would last.
func isInUse(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
}

func kindOfErrno(errno syscall.Errno) error {
	switch errno {
	case windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED:
		return objstore.ErrNoSpace
	case windows.ERROR_WRITE_PROTECT, windows.ERROR_LOGON_FAILURE, windows.ERROR_NETWORK_ACCESS_DENIED:
		return objstore.ErrPermission
	case windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION, // a virus scanner, or a file system without POSIX renames
		windows.ERROR_NOT_READY, windows.ERROR_DEV_NOT_EXIST, windows.ERROR_GEN_FAILURE, windows.ERROR_IO_DEVICE, windows.ERROR_CRC, // a drive pulled out
		windows.ERROR_BAD_NETPATH, windows.ERROR_BAD_NET_NAME, windows.ERROR_NETNAME_DELETED, windows.ERROR_NETWORK_BUSY,
		windows.ERROR_UNEXP_NET_ERR, windows.ERROR_REM_NOT_LIST, windows.ERROR_SEM_TIMEOUT, windows.ERROR_NO_NETWORK,
		windows.ERROR_NETWORK_UNREACHABLE, windows.ERROR_HOST_UNREACHABLE, windows.ERROR_CONNECTION_UNAVAIL,
		windows.ERROR_TOO_MANY_OPEN_FILES, windows.ERROR_NOT_ENOUGH_MEMORY:
		return objstore.ErrUnavailable
	case windows.ERROR_INVALID_NAME, windows.ERROR_FILENAME_EXCED_RANGE:
		return objstore.ErrInvalidKey
	}
	return nil
}

// Windows opens a folder for flushing only to who may write its raw data.
// NTFS writes its log in order, so flushing the renamed file makes the rename
// and the folders above it durable: syncRenamed.
func syncDir(string) error { return nil }

func syncUp(*os.Root, string) error { return nil }

func syncRenamed(f *os.File) error { return f.Sync() }

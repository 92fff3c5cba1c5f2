package chunkcache

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// removesOpenFiles reports whether a file can be removed while it is read.
const removesOpenFiles = false

// isDiskFull reports whether err means that the disk, or the user's share of it,
// is full.
func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) ||
		errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// isBadDisk reports whether err means that the disk lost what was written.
func isBadDisk(err error) bool {
	return errors.Is(err, windows.ERROR_CRC) || errors.Is(err, windows.ERROR_IO_DEVICE)
}

func rename(from, to string) error { return os.Rename(from, to) }

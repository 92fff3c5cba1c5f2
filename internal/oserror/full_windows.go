package oserror

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// DiskFull reports whether err means that the disk, or the user's share of it, is full. What
// Pocket itself calls full is syscall.ENOSPC on every system.
func DiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) ||
		errors.Is(err, windows.ERROR_DISK_FULL) ||
		errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

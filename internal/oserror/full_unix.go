//go:build unix

package oserror

import (
	"errors"
	"syscall"
)

// DiskFull reports whether err means that the disk, or the user's share of it, is full.
func DiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

package chunkcache

import (
	"errors"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/busyfile"
)

// removesOpenFiles reports whether a file can be removed while it is read.
const removesOpenFiles = false

// isBadDisk reports whether err means that the disk lost what was written.
func isBadDisk(err error) bool {
	return errors.Is(err, windows.ERROR_CRC) || errors.Is(err, windows.ERROR_IO_DEVICE)
}

func rename(from, to string) error { return busyfile.Rename(from, to) }

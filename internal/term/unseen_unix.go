//go:build unix

package term

import (
	"os"

	"golang.org/x/sys/unix"
)

// Unseen reports whether nobody can see what is written to an *os.File: it is closed or
// the null device. A terminal, a pipe, a socket and a file are seen, and so is whatever is
// no *os.File.
func Unseen(w any) bool {
	f, ok := w.(file)
	if !ok {
		return false
	}
	var there, null unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &there); err != nil {
		return true
	}
	if err := unix.Stat(os.DevNull, &null); err != nil {
		return false
	}
	return there.Mode&unix.S_IFMT == unix.S_IFCHR && there.Rdev == null.Rdev
}

//go:build !windows

package logfile

import "os"

// restrict takes from others the right to read a log that was there before. It may fail for
// a log of another user, which is then appended to as it is.
func restrict(f *os.File) { f.Chmod(0o600) }

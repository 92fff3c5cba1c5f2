// Package busyfile opens, renames and removes files that another program may have open for a moment.
//
// On Windows that program decides what others may do meanwhile: a virus scanner, an indexer, a backup,
// or another process of Pocket that reads a file makes opening, replacing and removing it fail with
// "sharing violation" or "access denied". Calls that fail so are made again until it is over, for Patience
// at most; then, and with every other error, they return what they were told last. So what is denied for good
// is reported late, and whoever holds a lock meanwhile keeps others waiting.
//
// Elsewhere an open file keeps nobody from anything, and these are the calls of package os.
package busyfile

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// Patience is how long a file that is in use is waited for. Scanners need tens of milliseconds, for
// large files some hundreds.
const Patience = 2 * time.Second

// Open is os.Open. On Windows who has a file open by it keeps nobody from renaming or removing that.
func Open(name string) (f *os.File, err error) {
	err = Retry(func() error {
		f, err = open(name)
		return err
	})
	return f, err
}

// OpenFile is os.OpenFile.
func OpenFile(name string, flag int, perm fs.FileMode) (f *os.File, err error) {
	err = Retry(func() error {
		f, err = os.OpenFile(name, flag, perm)
		return err
	})
	return f, err
}

// ReadFile is os.ReadFile.
func ReadFile(name string) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	return io.ReadAll(f)
}

// Rename is os.Rename.
func Rename(from, to string) error { return Retry(func() error { return os.Rename(from, to) }) }

// Remove is os.Remove.
func Remove(name string) error { return Retry(func() error { return os.Remove(name) }) }

// RemoveAll is os.RemoveAll.
func RemoveAll(name string) error { return Retry(func() error { return os.RemoveAll(name) }) }

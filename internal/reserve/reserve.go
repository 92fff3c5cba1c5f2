// Package reserve keeps some of a disk for what must go on when that is full: a file of
// bytes without a meaning, which gives its space back piece by piece.
//
//	r := reserve.New(path, 4<<20)
//	err := r.Refill()                     // now and then, while the disk is not full
//	for isDiskFull(err) && r.Release() {  // a removal, which makes room
//		err = again()
//	}
package reserve

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hamflx/pocket/internal/busyfile"
)

// piece is how many bytes are given back at once: more than a transaction of the journal
// needs, and little enough that others who find the room leave some.
const piece = 64 << 10

// File is a reserve. Its methods may be called concurrently.
type File struct {
	path string
	size int64

	mu  sync.Mutex   // held while the file is changed: one at a time does that
	has atomic.Int64 // bytes of the file; set with mu held
}

// New returns the reserve at path, of size bytes once it was filled. It makes nothing:
// what an earlier process left there is used.
func New(path string, size int64) *File {
	r := &File{path: path, size: size}
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
		r.has.Store(info.Size())
	}
	return r
}

// Left returns how many bytes can be given back.
func (r *File) Left() int64 { return r.has.Load() }

// Release gives a piece back to the disk, and reports whether there was one.
func (r *File) Release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	has := r.has.Load()
	if has == 0 {
		return false
	}
	left := max(has-piece, 0)
	if busyfile.Retry(func() error { return os.Truncate(r.path, left) }) != nil {
		r.has.Store(0) // somebody took it away
		return os.Remove(r.path) == nil
	}
	r.has.Store(left)
	return true
}

// Refill makes the file as large as it should be, as far as there is room. nil means that
// it is.
func (r *File) Refill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	has := r.has.Load()
	if has >= r.size {
		return nil
	}
	f, err := busyfile.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep some of the disk in reserve: %w", err)
	}
	// Bytes that no file system makes smaller or leaves out.
	body := make([]byte, min(piece, r.size-has))
	for has < r.size && err == nil {
		rand.Read(body)
		part := body[:min(int64(len(body)), r.size-has)]
		if _, err = f.WriteAt(part, has); err == nil {
			has += int64(len(part))
		}
	}
	if err != nil {
		err = errors.Join(err, f.Truncate(has))
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	r.has.Store(has)
	if err != nil {
		return fmt.Errorf("keep some of the disk in reserve: %w", err)
	}
	return nil
}

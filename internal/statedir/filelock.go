package statedir

import (
	"errors"
	"os"
	"sync"
)

// FileLock is a locked file, for what is no state directory. The lock ends with the
// process, however it ends.
type FileLock struct {
	mu   sync.Mutex
	file *os.File // guarded by mu; nil once given up
}

// LockFile makes and locks the file at name, whose directory is there. what is named when
// another process, or another lock of this one, has it: that error is ErrLocked.
func LockFile(name, what string) (*FileLock, error) {
	f, err := takeLock(name, what)
	if err != nil {
		return nil, err
	}
	return &FileLock{file: f}, nil
}

// Remove removes the file and gives the lock up. Nothing is done the second time, nor
// for a nil lock.
func (l *FileLock) Remove() error { return l.end(removeLocked) }

// Close gives the lock up and leaves the file. Nothing is done the second time, nor for
// a nil lock.
func (l *FileLock) Close() error { return l.end((*os.File).Close) }

func (l *FileLock) end(how func(*os.File) error) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := how(f); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

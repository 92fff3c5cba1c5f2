package journal

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrNewer means that a later version of Pocket wrote the journal.
	ErrNewer = errors.New("journal was written by a newer pocket")
	// ErrDamaged means that the file is not a journal or is damaged. SetAside
	// makes way for a new one.
	ErrDamaged = errors.New("journal is damaged")
	// ErrNoSpace means that the disk is full. What was enqueued stays queued.
	// errors.Is finds syscall.ENOSPC in it as well.
	ErrNoSpace error = noSpace{}
	// ErrClosed is returned for what is asked of a journal after Close.
	ErrClosed = errors.New("journal is closed")
)

type noSpace struct{}

func (noSpace) Error() string        { return "no space left for the journal" }
func (noSpace) Is(target error) bool { return target == syscall.ENOSPC }

// explain names the journal in err, and the kind of error that SQLite's code
// stands for, in one line.
func explain(path string, err error) error {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT:
		err = ofKind(ErrDamaged, err)
	case sqlite3.SQLITE_FULL:
		err = ofKind(ErrNoSpace, err)
	}
	return &pathError{path: path, err: err}
}

// explainOpen is explain for Open, where a table or column that is not there is
// damage too.
func explainOpen(path string, err error) error {
	if sqliteCode(err) == sqlite3.SQLITE_ERROR {
		err = ofKind(ErrDamaged, err)
	}
	return explain(path, err)
}

func ofKind(kind, err error) error {
	if errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// pathError names the journal in an error of one line. SQLite's have several.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string {
	return "journal " + e.path + ": " + strings.ReplaceAll(e.err.Error(), "\n", "; ")
}

func (e *pathError) Unwrap() error { return e.err }

// sqliteCode returns SQLite's primary result code of err, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

package fsimpl

import (
	"errors"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/oserror"
	"github.com/hamflx/pocket/loroindex"
)

// Kind is what went wrong, in the terms of POSIX: a closed set. A host turns it
// into its own error numbers in one place.
type Kind uint8

// The kinds. Unknown causes are IO.
const (
	IO           Kind = iota // EIO: the store or the disk failed
	NotExist                 // ENOENT
	Exist                    // EEXIST
	NotDir                   // ENOTDIR
	IsDir                    // EISDIR
	NotEmpty                 // ENOTEMPTY
	Invalid                  // EINVAL
	BadName                  // EILSEQ: not UTF-8 or not a name
	NameTooLong              // ENAMETOOLONG
	NoSpace                  // ENOSPC: this machine's disk or the cache is full
	TooLarge                 // EFBIG
	BadHandle                // EBADF: the handle was opened for something else
	NotPermitted             // EPERM
	ReadOnly                 // EROFS: the index takes no changes
	CrossDevice              // EXDEV: it cannot be moved there, only copied
)

var kindTexts = [...]string{
	IO: "input/output error", NotExist: "no such file or directory", Exist: "file exists",
	NotDir: "not a directory", IsDir: "is a directory", NotEmpty: "directory not empty",
	Invalid: "invalid argument", BadName: "invalid name", NameTooLong: "name too long",
	NoSpace: "no space left on this machine", TooLarge: "file too large", BadHandle: "bad handle",
	NotPermitted: "operation not permitted", ReadOnly: "read-only file system",
	CrossDevice: "cannot be moved between what stays on this machine and what does not",
}

// String returns the kind in words.
func (k Kind) String() string { return kindTexts[k] }

// Error is the failure of one operation.
type Error struct {
	Op   string // "read", "rename", ...
	Path string // as shown in the mount, where it is known
	Kind Kind
	Err  error // the cause, or nil when Kind says it all
}

// Error returns one line: operation, path, cause.
func (e *Error) Error() string {
	s := e.Op
	if e.Path != "" {
		s += " " + e.Path
	}
	if e.Err != nil {
		return s + ": " + e.Err.Error()
	}
	return s + ": " + e.Kind.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error that a method of this package returned.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return classify(err)
}

// classify finds the kind of an error from below.
func classify(err error) Kind {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.kind
		}
	}
	if oserror.DiskFull(err) {
		return NoSpace
	}
	return IO
}

var causes = [...]struct {
	err  error
	kind Kind
}{
	{loroindex.ErrNotExist, NotExist},
	{loroindex.ErrRemoved, NotExist},
	{loroindex.ErrExist, Exist},
	{loroindex.ErrNotDir, NotDir},
	{loroindex.ErrIsDir, IsDir},
	{loroindex.ErrNotEmpty, NotEmpty},
	{loroindex.ErrInvalid, Invalid},
	{loroindex.ErrName, BadName},
	{loroindex.ErrNameLong, NameTooLong},
	{loroindex.ErrBroken, ReadOnly},
	{loroindex.ErrLimit, NoSpace},
	{manifest.ErrTooLarge, TooLarge},
	{chunkcache.ErrFull, NoSpace},
}

// fail returns err as an *Error of the operation on a node, or nil for nil.
func (fs *FS) fail(op string, n Node, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	path, pathErr := fs.index.Path(n)
	if pathErr != nil {
		path = "" // removed: the handle is all there is
	}
	return &Error{Op: op, Path: "/" + path, Kind: classify(err), Err: err}
}

// failAt is fail for an operation on a name in a directory.
func (fs *FS) failAt(op string, parent Node, name string, err error) error {
	if err == nil {
		return nil
	}
	path, pathErr := fs.index.Path(parent)
	if pathErr == nil && path != "" {
		path += "/"
	}
	return &Error{Op: op, Path: "/" + path + name, Kind: classify(err), Err: err}
}

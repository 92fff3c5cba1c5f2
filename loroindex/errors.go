package loroindex

import (
	"errors"
	"fmt"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Errors of the tree, for errors.Is. The error returned adds the name.
var (
	ErrNotExist = errors.New("no such file or directory")
	ErrExist    = errors.New("file exists")
	ErrNotDir   = errors.New("not a directory")
	ErrIsDir    = errors.New("is a directory")
	ErrNotEmpty = errors.New("directory not empty")
	ErrInvalid  = errors.New("invalid argument")                     // a directory into itself, the root moved, a kind that does not fit
	ErrName     = errors.New("invalid name")                         // not UTF-8, empty, "." or "..", holds "/" or NUL
	ErrNameLong = errors.New("name too long")                        // above MaxName bytes
	ErrRemoved  = errors.New("file was removed")                     // the node is unlinked; nothing was applied
	ErrBroken   = errors.New("index does not accept changes")        // an earlier failure or a newer schema; wraps the cause
	ErrLimit    = errors.New("index has outgrown its format")        // more operations or nodes than can be numbered
	ErrUpdate   = errors.New("update cannot be used on this index")  // Import: not a Loro blob, or one this document cannot take
	ErrMissing  = errors.New("updates are missing from the history") // Load, Pull: what was read depends on operations found nowhere
)

// Errors of opening and publishing an index.
var (
	// ErrNewerSchema: the index was written by a newer version of Pocket.
	ErrNewerSchema = errors.New("index has a newer schema; update Pocket on this machine")
	// ErrForeign: a Loro document that is not an index of Pocket.
	ErrForeign = errors.New("document is not an index of Pocket")
	// ErrDamaged: index objects exist in the bucket but cannot be read as what
	// their names say.
	ErrDamaged = errors.New("index in the bucket is damaged")
	// ErrIndexGone: the bucket holds no index, but this machine knows one that
	// was published.
	ErrIndexGone = errors.New("the bucket holds no index any more")
)

// MissingError is an ErrMissing: operations were read that wait for others that
// were found nowhere.
type MissingError struct {
	Waiting []Span  // the operations that wait
	Known   Version // what is there
}

// Error names the first range that is missing, as far as that can be told.
func (e *MissingError) Error() string {
	s := e.Waiting[0]
	text := fmt.Sprintf("%v: operations %s wait for others", ErrMissing, s)
	if known := e.Known[loro.PeerID(s.Peer)]; known < s.Start {
		text += fmt.Sprintf(", %s among them", Span{s.Peer, known, s.Start})
	}
	if n := len(e.Waiting) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more ranges)", n)
	}
	return text
}

// Unwrap returns ErrMissing.
func (e *MissingError) Unwrap() error { return ErrMissing }

// KeyError is an error about one object of the bucket.
type KeyError struct {
	Op  string // "get", "put", "list", "decode", "verify"
	Key string
	Err error
}

// Error names operation and key, once: where the bucket's error tells by a method About that it names
// them itself, as those of package objstore do, that is left to it.
func (e *KeyError) Error() string {
	var named interface{ About() (op, key string) }
	if errors.As(e.Err, &named) {
		if op, _ := named.About(); op == e.Op { // the key may have a mount's prefix there
			return e.Err.Error()
		}
	}
	return fmt.Sprintf("index: %s %s: %v", e.Op, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

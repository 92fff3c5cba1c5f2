package objstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// The kinds of failure: a closed set. Every error of a store matches exactly
// one of them by errors.Is, or else context.Canceled or
// context.DeadlineExceeded when, and only when, the caller's context ended.
var (
	// ErrNotExist: the store was asked and has no such object.
	ErrNotExist = errors.New("no such object")
	// ErrNoBucket: the bucket or folder itself is missing.
	ErrNoBucket = errors.New("no such bucket or folder")
	// ErrPermission: the store refuses this caller: wrong or missing
	// credentials, a policy, a folder's access rights.
	ErrPermission = errors.New("permission denied")
	// ErrUnavailable: the store could not be reached or could not answer just
	// now: network, time-out, throttling, an internal error of the service, an
	// answer cut short. The same call may succeed later.
	ErrUnavailable = errors.New("store unavailable")
	// ErrNoSpace: the disk or the quota is full.
	ErrNoSpace = errors.New("no space left")
	// ErrTooLarge: the object is larger than the caller allowed.
	ErrTooLarge = errors.New("object too large")
	// ErrNotModified: GetIfChanged found the object unchanged.
	ErrNotModified = errors.New("object not modified")
	// ErrCorrupt: content is not what its name or its store says it is.
	ErrCorrupt = errors.New("object corrupt")
	// ErrInvalidKey: no object can have this key, see CheckKey.
	ErrInvalidKey = errors.New("invalid key")
	// ErrFailed: anything else. Trying again as is will not help; the error's
	// text says what happened and what to do.
	ErrFailed = errors.New("store failed")
)

// The operations that Error.Op names.
const (
	OpGet    = "get" // also of GetIfChanged
	OpPut    = "put"
	OpList   = "list"
	OpDelete = "delete"
	OpStat   = "stat"
)

// Error is the failure of one call. Its text is one line without secrets:
//
//	get data/ab12 from s3 bucket "pocket": permission denied: SignatureDoesNotMatch: check the secret access key
type Error struct {
	Op    string // OpGet, ...; empty when nothing was called, as by CheckKey
	Key   string // as the store was given it, so with a mount's prefix; List: the prefix
	Store string // what the store calls itself: `s3 bucket "pocket"`, `folder "/mnt/nas"`, `memory`
	Kind  error  // one of this package's errors, or the caller's context.Canceled or DeadlineExceeded
	Err   error  // what happened in detail and what to do next, or nil
}

// Error returns the text described at the type.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteByte(' ')
	} else {
		b.WriteString("key ")
	}
	b.WriteString(displayKey(e.Key))
	if e.Store != "" {
		switch e.Op {
		case OpPut:
			b.WriteString(" to ")
		case OpList, OpStat:
			b.WriteString(" in ")
		default:
			b.WriteString(" from ")
		}
		b.WriteString(e.Store)
	}
	if e.Kind != nil {
		b.WriteString(": ")
		b.WriteString(e.Kind.Error())
	}
	if e.Err != nil {
		b.WriteString(": ")
		// Details come from services and systems, some with line breaks.
		b.WriteString(strings.Join(strings.Fields(e.Err.Error()), " "))
	}
	return b.String()
}

// About returns Op and Key, which the text names.
func (e *Error) About() (op, key string) { return e.Op, e.Key }

// Unwrap returns Kind and nothing else. Err is for reading: a request's own
// time-out or a system's "file not found" in there must not pass for the
// caller's deadline or for a missing object.
func (e *Error) Unwrap() error { return e.Kind }

// Retryable reports whether the call that failed with err may succeed when it
// is made again: whether err is ErrUnavailable.
func Retryable(err error) bool { return errors.Is(err, ErrUnavailable) }

// ContextError returns the failure of a call whose caller's context has
// ended, or nil when it has not. Stores call it before they start, and again
// before they blame anything else for an error.
func ContextError(ctx context.Context, op, key, store string) error {
	if err := ctx.Err(); err != nil {
		return &Error{Op: op, Key: key, Store: store, Kind: err}
	}
	return nil
}

// displayKey quotes a key that would be hard to read inside a sentence, and
// cuts one that is too long for a line.
func displayKey(key string) string {
	const most = 200
	tail := ""
	if len(key) > most {
		key, tail = key[:most], "..."
	}
	if quoted := strconv.Quote(key); key == "" || len(quoted) != len(key)+2 || strings.Contains(key, " ") {
		return quoted + tail
	}
	return key + tail
}

package loro

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Errors of this package, for use with errors.Is. The error returned wraps one
// of them and says what was found where.
var (
	// ErrInvalid: the bytes are not a Loro document this package can trust.
	// Nothing of them was applied.
	ErrInvalid = errors.New("invalid loro data")

	// ErrChecksum: the bytes were damaged on their way. Also an ErrInvalid.
	ErrChecksum = fmt.Errorf("%w: checksum mismatch", ErrInvalid)

	// ErrUnsupportedMode: an envelope of a mode other than 3 (snapshot) and
	// 4 (updates). Also an ErrInvalid.
	ErrUnsupportedMode = fmt.Errorf("%w: unsupported encoding mode", ErrInvalid)

	// ErrUnsupportedContainer: the document holds containers other than Map
	// and Tree whose state cannot be computed here, so no snapshot can be
	// written. Updates still can.
	ErrUnsupportedContainer = errors.New("state of a container that is neither map nor tree is not known")

	// ErrShallowDeps: the imported changes depend on history older than, or
	// beside, the start of a shallow document. They can never be applied to
	// it; the document is unchanged.
	ErrShallowDeps = errors.New("updates depend on history before the start of this shallow document")

	// ErrShallowFrontiers: a shallow snapshot was asked for at a version that
	// cannot be its start: not exactly one operation, unknown here, before
	// the document's own start, or not included in every later change.
	ErrShallowFrontiers = errors.New("not a version a shallow snapshot can start at")

	// ErrNoNode: a tree operation names a node that is not in the tree, or
	// that is deleted (itself or with an ancestor).
	ErrNoNode = errors.New("no such tree node")

	// ErrCycle: a move would put a node under itself or a descendant.
	ErrCycle = errors.New("move would make a tree node its own ancestor")

	// ErrNotAttached: an edit of a map that is not reachable from a root any
	// more, because its node was deleted or its key overwritten.
	ErrNotAttached = errors.New("container is deleted or overwritten")

	// ErrValue: a value the format cannot hold, for example a string that is
	// not UTF-8, nesting deeper than MaxDepth, or a container.
	ErrValue = errors.New("value cannot be stored")

	// ErrLimit: a counter, Lamport time or section would outgrow the format.
	ErrLimit = errors.New("document has outgrown the format")

	// ErrUnknownRange: an export names operations this document does not have.
	ErrUnknownRange = errors.New("operations are not in this document")

	// ErrBroken: merging changes failed in a way that no bytes should make it fail,
	// and left the document between two versions. Nothing is imported, edited or
	// exported any more; load it anew from what was stored.
	ErrBroken = errors.New("document is broken and must be loaded anew")

	// ErrHistory: history that was put elsewhere (Doc.PutHistory) cannot be read.
	// Nothing has changed.
	ErrHistory = errors.New("history of the document cannot be read back")

	// ErrDiverged: the stored state differs from a replay of the history.
	ErrDiverged = errors.New("state differs from the history")
)

// caught runs f and makes a panic in it an error. All bytes from outside are decoded
// and applied below it, in every goroutine: what this package overlooks about them
// must not end a process that serves other documents, too.
func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = invalidf("not understood: %v at %s", p, panicSite())
		}
	}()
	return f()
}

// panicSite says where a panic that is being recovered from came from.
func panicSite() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])]) // past caught's own function
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "?"
		}
	}
}

// invalidf makes an ErrInvalid that says what was wrong.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Package objstore is where Pocket keeps objects: an S3 bucket, a folder, or
// memory, behind one interface of four methods.
//
// [Store] is all that a new kind of storage has to implement. It promises
// nothing that object stores commonly lack: no rename, no append, no
// conditional write. What only some stores can do is an optional interface of
// its own ([ConditionalGetter], [HashedGetter], [HashedPutter], [Stater],
// [Identifier]), asked for with [As].
//
// To add a store: implement Store, answer every failure with an [Error] whose
// Kind is one of this package's errors, and run the conformance suite
// storetest.Run against it. Package memstore is the shortest complete example.
// Retrying is no store's business: one call is one attempt, and [WithRetry]
// goes around it. Prefixes are none either: see [WithPrefix].
package objstore

import (
	"context"
	"crypto/sha256"
	"iter"
	"time"
)

// Store keeps objects, each a byte string of known length, under keys that
// [CheckKey] accepts. By convention an object is immutable once written; the
// few that are not are small and are replaced whole.
//
// All methods may be called concurrently, also for one key. Every error other
// than the end of the caller's context matches, by errors.Is, one of this
// package's errors. A store that cannot be reached or read answers with an
// error: never with ErrNotExist, never with a List that ends early, never with
// part of an object.
type Store interface {
	// Get returns the whole object. The slice is the caller's to keep and to
	// change. An object of more than max bytes is ErrTooLarge, found out
	// without reading it all. A missing one is ErrNotExist.
	Get(ctx context.Context, key string, max int64) ([]byte, error)

	// Put writes body as the whole object, in place of any earlier one. A
	// concurrent Get sees the earlier object (or none) or this one, never a
	// mixture. When Put returns nil the object survives a power loss. When it
	// returns an error the object may or may not have been written. The store
	// neither changes body nor looks at it after Put has returned.
	//
	// A store may refuse, as ErrInvalidKey, a key that lies below another
	// object's key ("a/b" beside "a") or one with a segment of more than 255
	// bytes as written by it: a folder cannot hold these.
	Put(ctx context.Context, key string, body []byte) error

	// List yields the objects whose key begins with prefix and is greater than
	// after, in ascending order of the keys' bytes. Both may be empty, and need
	// not be keys themselves. Objects written or deleted meanwhile may be
	// listed or not; every other one is listed exactly once. An object stored
	// by others under a key that CheckKey refuses is left out.
	//
	// An error is yielded once, with a zero Info, and ends the sequence; what
	// was yielded before it holds.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes the object for good. That there is none is no error.
	Delete(ctx context.Context, key string) error
}

// Info describes an object.
type Info struct {
	Key     string
	Size    int64     // bytes
	ModTime time.Time // when it was written, by the store's clock, as precise as that store keeps it
}

// ConditionalGetter is implemented by stores that can tell cheaply that an
// object has not changed. It is what polling uses.
type ConditionalGetter interface {
	// GetIfChanged is Get, unless the object is still the one that etag was
	// returned for: that is ErrNotModified. An empty etag matches nothing. The
	// etag returned is for the next call; it is opaque, and it changes
	// whenever the object's bytes do.
	GetIfChanged(ctx context.Context, key, etag string, max int64) (body []byte, newETag string, err error)
}

// HashedGetter is implemented by stores whose objects arrive piece by piece, so that they
// can be hashed meanwhile and put where the caller has room.
type HashedGetter interface {
	// GetHashed is Get, and returns the SHA-256 of body as it was read. room returns memory of
	// size bytes, which is not more than max, for the object: it is called once the size is known,
	// and again for each further attempt, if any. body is that memory, or other memory where the size was not known before
	// or is more than a store's word is taken for.
	// It belongs to the caller, also after an error.
	GetHashed(ctx context.Context, key string, max int64, room func(size int64) []byte) (body []byte, sum [sha256.Size]byte, err error)
}

// HashedPutter is implemented by stores that need the SHA-256 of what they write, and
// would have to compute it.
type HashedPutter interface {
	// PutHashed is Put of a body whose SHA-256 is sum. Where it is not, the call fails, unless
	// the service does not compare what it gets with what was signed.
	PutHashed(ctx context.Context, key string, body []byte, sum [sha256.Size]byte) error
}

// Stater is implemented by stores that can describe an object without
// reading it.
type Stater interface {
	// Stat describes the object. A missing one is ErrNotExist.
	Stat(ctx context.Context, key string) (Info, error)
}

// Identifier is implemented by stores that can be told apart by name.
type Identifier interface {
	// Identity names the place where the objects are: the same in every
	// process that opens it, different for different places, free of secrets.
	// For example `s3 https://s3.example.com pocket` or `dir /mnt/nas/pocket`.
	Identity() string
}

// Reconnector is a Store over a network that can be told that its connections are dead.
type Reconnector interface {
	// Reconnect ends the requests under way, which fail with ErrUnavailable and may be
	// made again, and closes all connections: after a sleep of the machine each of them
	// would wait for an answer that does not come. It may be called concurrently with requests.
	Reconnect()
}

// Hurrier is a Store over a network that can be told that it answers again after it did not.
type Hurrier interface {
	// Hurry gives up the requests under way of which nothing moves within patience from now,
	// and a second more for each MiB that they may have on the way: they fail with ErrUnavailable and
	// may be made again. What was lost on the way while the store did not answer does not arrive, and would be
	// missed much later. Requests that move, and those that begin afterwards, have their time. It may be called
	// concurrently with requests.
	Hurry(patience time.Duration)
}

// Decorator is implemented by a Store that works on top of another one.
//
// A decorator implements every optional interface it knows how to forward,
// whether or not the inner store has it; As looks at both.
type Decorator interface {
	Store
	// Inner returns the store below.
	Inner() Store
}

// As returns s as the optional interface T when s and every store below it
// implement T, so that a decorator's methods are only offered where they have
// something to forward to.
func As[T any](s Store) (T, bool) {
	t, ok := s.(T)
	for ok {
		d, decorates := s.(Decorator)
		if !decorates {
			return t, true
		}
		s = d.Inner()
		_, ok = s.(T)
	}
	var none T
	return none, false
}

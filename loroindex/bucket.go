package loroindex

import (
	"context"
	"iter"
	"time"
)

// Bucket is what this package needs of a store, under the mount's prefix. All
// methods may be called concurrently.
type Bucket interface {
	// Get returns a whole object of at most max bytes. The caller owns it.
	Get(ctx context.Context, key string, max int64) ([]byte, error)
	// Put writes a whole object: readers see it complete or not at all, and it
	// is durable on return.
	Put(ctx context.Context, key string, body []byte) error
	// List yields the objects below prefix with keys above after, in order.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// NotExist reports whether an error of Get means that there is no such
	// object: not a missing bucket, not an unreachable one.
	NotExist(err error) bool
}

// Object is one object of a listing.
type Object struct {
	Key     string
	Size    int64
	ModTime time.Time
}

// Local is what this machine keeps of the bucket's index: copies of snapshots
// and updates, by their keys. All methods may be called concurrently.
type Local interface {
	// List yields the keys kept, in any order.
	List(ctx context.Context) iter.Seq2[string, error]
	// Get returns a kept object.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put keeps an object that was read from or written to the bucket.
	Put(ctx context.Context, key string, body []byte) error
}

// Loaded is an opened index and what was found.
type Loaded struct {
	Index *Index
	// Bucket is what the bucket's objects include: operations beyond it are
	// not published yet. Empty when the bucket was not read.
	Bucket Version
	// Head is the snapshot the bucket's head names, 64 hex digits, or "".
	Head string
	// Snapshots and Updates count the bucket's objects.
	Snapshots, Updates int
	// Fresh: there was no index at all; an empty one was made, nothing written.
	Fresh bool
	// Damaged holds what was wrong with objects that were not needed.
	Damaged []error
	// Changes is what the bucket held beyond what this machine knew.
	Changes Changes
}

// Load opens the index of a bucket: what this machine keeps, then the snapshot
// named by the head, then the updates it does not cover. Without a usable head
// all snapshots are read. Nothing is written to the bucket.
//
// local may be nil. A nil bucket opens what local keeps, alone: for when the
// bucket cannot be reached.
//
// Errors: those of the bucket in a KeyError; ErrDamaged, ErrMissing,
// ErrIndexGone, ErrForeign, ErrNewerSchema.
func Load(ctx context.Context, b Bucket, local Local, o Options) (*Loaded, error) { panic("not yet") }

// Pull imports the updates, and when need be the snapshots, of the bucket that
// the index does not include.
func (x *Index) Pull(ctx context.Context, b Bucket, local Local) (Changes, error) { panic("not yet") }

// Publish writes one peer's operations as an update object, then the tip. It
// returns the object's key; the object is durable then, even when writing the
// tip failed and err says so.
func (x *Index) Publish(ctx context.Context, b Bucket, s Span) (key string, err error) {
	panic("not yet")
}

// PublishSnapshot writes the whole document as a snapshot object and points the
// head to it. When the head names a snapshot with operations this index lacks,
// they are merged first. It does nothing when that snapshot already includes
// everything. It returns the key of the snapshot the head names then.
func (x *Index) PublishSnapshot(ctx context.Context, b Bucket) (key string, ch Changes, err error) {
	panic("not yet")
}

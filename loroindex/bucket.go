package loroindex

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

// Bucket is what this package needs of a store, under the mount's prefix. All
// methods may be called concurrently.
type Bucket interface {
	// Get returns a whole object of at most max bytes. The caller owns it.
	Get(ctx context.Context, key string, max int64) ([]byte, error)
	// Put writes a whole object: readers see it complete or not at all, and it
	// is durable on return.
	Put(ctx context.Context, key string, body []byte) error
	// List yields the objects below prefix with keys above after, in order. An
	// error ends it.
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

// Sizes above these are not read: they cannot have been written by Pocket.
const (
	maxIndexObject = 2 << 30
	maxPointer     = 4096 // head, tip
)

// shelf is what is known of the bucket's index, kept for as long as the index
// is open.
type shelf struct {
	mu        sync.Mutex              // guards what follows; never held across network or disk
	snapshots map[objectid.ID]Version // snapshots seen, and what they include
	has       Version                 // what the bucket includes, as far as known
	looked    time.Time               // when it was last compared with everything there
}

func (s *shelf) note(id objectid.ID, v Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshots == nil {
		s.snapshots = make(map[objectid.ID]Version)
	}
	s.snapshots[id] = v
	s.merge(v)
}

// merge records that the bucket includes v. The lock must be held.
func (s *shelf) merge(v Version) {
	if s.has == nil {
		s.has = make(Version)
	}
	s.has.Merge(v)
}

func (s *shelf) seen(id objectid.ID) (Version, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.snapshots[id]
	return v, ok
}

// noteSpan records that the bucket holds an update of a span. What the bucket
// includes grows by it unless operations before it are not known to be there.
func (s *shelf) noteSpan(span Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merge(nil)
	if p := peerID(span.Peer); s.has[p] >= span.Start && s.has[p] < span.End {
		s.has[p] = span.End
	}
}

func (s *shelf) version() Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has.Clone()
}

// head is what the bucket's head says.
type head struct {
	id    objectid.ID
	there bool  // the object index/head exists
	err   error // it exists but names nothing
}

// readHead reads the bucket's head. The error is one of the bucket.
func readHead(ctx context.Context, b Bucket) (head, error) {
	body, err := b.Get(ctx, HeadKey, maxPointer)
	if err != nil {
		if b.NotExist(err) {
			return head{}, nil
		}
		return head{}, &KeyError{"get", HeadKey, err}
	}
	id, err := objectid.Parse(string(body))
	if err != nil {
		return head{there: true, err: &KeyError{"read", HeadKey, fmt.Errorf("%w: %w", ErrDamaged, err)}}, nil
	}
	return head{id: id, there: true}, nil
}

// errAbsent: an object that something names does not exist.
var errAbsent = errors.New("object does not exist")

// getSnapshot reads a snapshot and checks that it is what its name says. The
// error is an ErrDamaged when the object is damaged or absent, else one of the
// bucket.
func getSnapshot(ctx context.Context, b Bucket, id objectid.ID) ([]byte, error) {
	key := ObjectKey(id)
	body, err := b.Get(ctx, key, maxIndexObject)
	if err != nil {
		if b.NotExist(err) {
			return nil, &KeyError{"get", key, fmt.Errorf("%w: %w", ErrDamaged, errAbsent)}
		}
		return nil, &KeyError{"get", key, err}
	}
	return body, checkSnapshot(id, body)
}

func checkSnapshot(id objectid.ID, body []byte) error {
	if got := objectid.ID(sha256.Sum256(body)); got != id {
		return &KeyError{"get", ObjectKey(id), fmt.Errorf("%w: the SHA-256 of its %d bytes is %s", ErrDamaged, len(body), got)}
	}
	return nil
}

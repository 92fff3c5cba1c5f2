// Package journal keeps what a mount has acknowledged and the bucket does not
// have yet: the operations on the index that are not published and the list of
// objects to upload, in a SQLite database in the mount's state directory. It also
// keeps small facts and the index objects known from the bucket, so that a mount
// can start without network.
//
// A change is acknowledged in two steps. Enqueue, called under the lock that
// orders changes, fixes its place and touches no disk. Ticket.Wait returns when
// the transaction that holds it is committed: from then on it survives kill -9.
// Changes that wait at the same time share a transaction. A background sync makes
// it survive power loss within a second, Sync at once.
//
// When the disk is full (or fails otherwise) the changes that wait get the error
// and stay queued in their order; the journal goes on trying. Err tells, so that
// callers refuse new changes until it is nil again.
//
// The database belongs to one process at a time (package statedir holds the
// lock). All methods may be called concurrently. docs/state.md describes the
// schema.
package journal

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

var (
	// ErrNewer means that a later version of Pocket wrote the journal.
	ErrNewer = errors.New("journal was written by a newer pocket")
	// ErrDamaged means that the file is not a journal or is damaged. SetAside
	// makes way for a new one.
	ErrDamaged = errors.New("journal is damaged")
	// ErrClosed is returned for what is asked of a journal after Close.
	ErrClosed = errors.New("journal is closed")
)

var errUnbuilt = errors.New("journal: not built yet")

// Options are the parts of a journal that its owner supplies. The zero value
// is good.
type Options struct {
	// BeforeSync is called before entries are made to survive a power loss: it
	// makes the chunk files that they name do so (chunkcache.Cache.SyncDirty).
	// It may be called from any goroutine, one call at a time, and must not
	// call the journal. When it fails, so does the sync.
	BeforeSync func() error
	// SyncDelay is how long after a commit the background sync begins; 0 means
	// 500 ms.
	SyncDelay time.Duration
	// Now tells the time for Upload.Added; nil means time.Now.
	Now func() time.Time
}

// Entry is one change, journaled whole or not at all.
type Entry struct {
	// Peer made the operations with the counters Start to End-1 that Update
	// holds (a Loro update, mode 4). An entry with an empty Update is never
	// published and leaves nothing but its Uploads and Drop.
	Peer       uint64
	Start, End int32
	Update     []byte
	// Uploads are the objects that the change needs in the bucket.
	Uploads []Upload
	// Drop takes objects off the upload list that no content needs any more.
	// It comes before Uploads: an object in both stays on the list.
	Drop []objectid.ID
}

// Upload is an object that the bucket must get. One object is on the list once,
// with the Size, Node and Added it had first.
type Upload struct {
	Object objectid.ID
	Size   int64     // bytes
	Node   uint64    // which file it belongs to, for display; means nothing to the journal
	Added  time.Time // set by the journal when the upload is enqueued
}

// IndexObject is an object of the index that is known to be in the bucket.
type IndexObject struct {
	Key  string // its key below the mount's prefix
	Body []byte // its bytes, or nil when they are in File
	File string // name of a file in the state directory's index/ that holds them, or ""
	Size int64  // bytes
}

// Loaded is what an earlier process left to do.
type Loaded struct {
	Entries []Entry  // not published, in order, without Uploads and Drop
	Uploads []Upload // not uploaded, in order
}

// Journal is an open journal. See Open.
type Journal struct{}

// Ticket stands for an entry that was enqueued.
type Ticket struct{}

// Open opens the journal at path (journal.db in the state directory), or
// creates it. Errors: ErrNewer, ErrDamaged, or one that names the file.
func Open(path string, opts Options) (*Journal, error) { return nil, errUnbuilt }

// SetAside renames a damaged journal and the files that belong to it so that
// Open can create a new one; it returns the new name of the database. What was
// acknowledged and not published is in there and nowhere else. The journal must
// not be open.
func SetAside(path string) (string, error) { return "", errUnbuilt }

// Enqueue fixes e's place in the order of changes. It does not wait for the
// disk and never fails: whether the entry could be committed is what Wait tells.
// The journal keeps e.Update, e.Uploads and e.Drop until then; they must not be
// changed any more.
//
// An entry nobody waits for is committed with the next one, or within
// Options.SyncDelay.
func (j *Journal) Enqueue(e Entry) *Ticket { return nil }

// Wait returns nil when the entry is committed: it survives kill -9. An error
// says why it is not; the entry stays queued all the same, in its place, and is
// committed as soon as that is possible. Wait may be called again, to try again.
// After Close it returns ErrClosed for an entry that was never committed.
func (t *Ticket) Wait() error { return errUnbuilt }

// Err returns nil, or the error of the last transaction while transactions
// fail. Check it before a change is made: one that cannot be journaled must not
// be made. It is cheap.
func (j *Journal) Err() error { return errUnbuilt }

// Sync returns nil when everything enqueued before the call survives a power
// loss, the chunk files included (Options.BeforeSync). Concurrent calls share
// their work. When ctx ends it returns at once, with the work going on.
func (j *Journal) Sync(ctx context.Context) error { return errUnbuilt }

// Uploaded takes objects off the upload list. It does not wait: the removal is
// committed with the next entry or within Options.SyncDelay, in the order of
// calls with Enqueue. A crash before that leaves the objects listed; an upload
// done twice is harmless, but its chunk may have been evicted, so look in the
// bucket before taking a missing chunk for lost.
func (j *Journal) Uploaded(ids ...objectid.ID) {}

// Published drops the entries of peer with End <= end, in one transaction; on
// return they do not come back after kill -9. On an error the call stays queued,
// as an entry does; publishing twice is harmless.
func (j *Journal) Published(ctx context.Context, peer uint64, end int32) error { return errUnbuilt }

// Load returns what was committed and is neither published nor uploaded. An
// error that is ErrDamaged means that some of it cannot be read; what can be is
// returned with it.
func (j *Journal) Load(ctx context.Context) (Loaded, error) { return Loaded{}, errUnbuilt }

// Uploads returns the length of the upload list and the sum of its sizes in
// bytes. It is cheap.
func (j *Journal) Uploads() (count int, bytes int64) { return 0, 0 }

// Pending returns the number of entries not published and the bytes of their
// updates. It is cheap.
func (j *Journal) Pending() (count int, bytes int64) { return 0, 0 }

// GetMeta returns the fact stored under key, or nil. It is cheap, sees what
// SetMeta was called with even before that is committed, and returns bytes that
// must not be changed.
func (j *Journal) GetMeta(key string) []byte { return nil }

// SetMeta stores a small fact (at most 64 KiB), in the order of calls with
// Enqueue; nil removes it. On return it survives kill -9; on an error it stays
// queued, as an entry does.
func (j *Journal) SetMeta(ctx context.Context, key string, value []byte) error { return errUnbuilt }

// UpdateIndexObjects adds objects that are known to be in the bucket and drops
// others by their keys, in one transaction: a snapshot takes the place of what it
// covers. Durability and errors as SetMeta. An object in both lists is stored.
// Files that IndexObject.File names are the caller's to write before (durably)
// and to delete after.
func (j *Journal) UpdateIndexObjects(ctx context.Context, put []IndexObject, drop []string) error {
	return errUnbuilt
}

// IndexObjects returns the index objects stored, ordered by key. It reads as the
// loop goes on and sees one state of the journal. An error ends it.
func (j *Journal) IndexObjects(ctx context.Context) iter.Seq2[IndexObject, error] {
	return func(func(IndexObject, error) bool) {}
}

// Close commits what is queued, syncs and closes. Its error means that entries
// were not committed. Close twice is harmless.
func (j *Journal) Close() error { return errUnbuilt }

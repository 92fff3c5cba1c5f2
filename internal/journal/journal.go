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
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

const (
	defaultSyncDelay = 500 * time.Millisecond
	// retryDelay is how long after a failure the background tries again.
	retryDelay = time.Second
	// refillDelay is how long after an attempt the background tries again to make the reserve whole.
	refillDelay = 10 * time.Second
	// MaxMeta bounds a value of SetMeta in bytes.
	MaxMeta = 64 << 10
	// MaxIndexBody bounds IndexObject.Body in bytes.
	MaxIndexBody = 64 << 20
)

// Options are the parts of a journal that its owner supplies. The zero value
// is good.
type Options struct {
	// BeforeSync is called before entries are made to survive a power loss: it
	// makes the chunk files that they name do so (chunkcache.Cache.SyncDirty).
	// It is called from the background, one call at a time, and only after the
	// first call of a method that changes something, or of Sync; it must not
	// call the journal. When it fails, so does the sync.
	BeforeSync func() error
	// MakeRoom is called when the disk is full. It reports whether it freed some of
	// it: then what failed is tried again. nil frees nothing. It may be called from
	// any goroutine that commits, one call at a time, and must not call the journal.
	MakeRoom func() bool
	// Reserve is room on the disk for changes that make room: it is used for these alone, and
	// after MakeRoom. nil: there is none.
	Reserve Reserve
	// Used says that the state directory was in use before: a database that is empty is
	// damage then, and not a new one.
	Used bool
	// Check reports whether an entry is what it says, for what was on a page that is damaged. nil: such
	// pages are not read.
	Check func(e Entry) error
	// Boot is the id of the machine's boot (bootid.Get), by which the end of a process is told
	// from a power loss: what is wrong after the former is damage. "": it is not known.
	Boot string
	// SyncDelay is how long after a commit the background sync begins; 0 means
	// 500 ms.
	SyncDelay time.Duration
	// Now tells the time for Upload.Added; nil means time.Now.
	Now func() time.Time
}

// Reserve is some of the disk that is kept for when it is full.
type Reserve interface {
	// Release gives some of it back and reports whether there was any. It is called as
	// Options.MakeRoom is.
	Release() bool
	// Refill makes it whole again, as far as there is room, and reports whether it is. It is called from
	// the background, at first and after changes, and from time to time until it is.
	Refill() bool
}

// Entry is one change, journaled whole or not at all.
type Entry struct {
	// Peer made the operations with the counters Start to End-1 that Update
	// holds (a Loro update, mode 4). An entry with an empty Update is never
	// published and leaves nothing but its Uploads and Drop.
	Peer       uint64
	Start, End int32
	Update     []byte
	// MakesRoom marks a change for which Options.Reserve is: one without which nothing can
	// be removed.
	MakesRoom bool
	// Uploads are the objects that the change needs in the bucket.
	Uploads []Upload
	// Drop takes objects off the upload list that no content needs any more with this
	// change. That happens once the entry survives a power loss, and is undone by one
	// that lists them again: were it lost, they would be needed. An object in both Drop
	// and Uploads stays on the list.
	Drop []objectid.ID
	// Dropped, unless nil, is told when Drop is done, even for objects that were listed
	// again: now their chunks may go. It must not call the journal.
	Dropped func(ids []objectid.ID)
}

// Upload is an object that the bucket must get. One object is on the list once,
// with the Size, Node and Added it had first.
type Upload struct {
	Object objectid.ID
	Size   int64     // bytes
	Node   uint64    // which file it belongs to, for display; means nothing to the journal
	Added  time.Time // set by the journal when the upload is enqueued, to the microsecond
	Row    int64     // set by Load: its number on the list; those of one entry follow one another without a gap
}

// IndexObject is an object of the index that is known to be in the bucket.
type IndexObject struct {
	Key  string // its key below the mount's prefix
	Body []byte // its bytes, or nil when they are in File
	File string // name of a file in the state directory's index/ that holds them, or ""
	Size int64  // bytes; set by the journal when there is a Body
}

// Loaded is what an earlier process left to do.
type Loaded struct {
	Entries []Entry  // not published, in order, without Uploads and Drop
	Uploads []Upload // not uploaded, in order
	// Whole is how many of the Entries, and WholeUploads how many of the Uploads, were
	// made to survive a power loss together with all chunks that they name. The others
	// may be there without them, see Judge.
	Whole, WholeUploads int
}

// Journal is an open journal. See Open.
type Journal struct {
	path string
	opts Options
	db   *database // has locks of its own

	kept    string // see Kept
	keptWhy error

	// mu guards what follows. It is never held across a disk access.
	mu       sync.Mutex
	closed   bool
	queue    []op   // not committed, oldest first
	spare    []op   // empty, to become the next queue
	enqueued uint64 // operations ever enqueued: the number of the newest

	// One waiter at a time leads: it commits the queue for all. The others
	// follow it, or the next one when they came too late.
	leading   bool
	started   bool   // the leader has taken what it commits
	through   uint64 // the newest operation that it takes; only when started
	following *round // of those who follow the leader; nil when nobody does
	next      *round // of those who follow the next leader

	pending  []pendingEntry         // entries not published, queued ones included, in order
	pendingN int64                  // bytes of their updates
	uploads  map[objectid.ID]upload // the upload list, queued changes included
	uploadN  int64                  // sizes of the uploads
	drops    []drop                 // entries that are not synced yet, in order
	dropping map[objectid.ID]uint64 // the newest of drops that an object is in
	lastRow  int64                  // number of the newest row of uploads
	lastSeq  int64                  // number of the newest row of entries
	meta     map[string][]byte      // queued changes included
	found    extent                 // what was whole when the journal was opened
	judged   bool                   // what was found is

	armed     bool        // timer is set
	due       time.Time   // for when
	timer     *time.Timer // when the background has something to do
	syncFor   *syncRound  // of the Sync calls the background has not begun to serve
	syncFails error       // of the last background sync

	committed atomic.Uint64         // operations committed: the number of the newest
	synced    atomic.Uint64         // operations that survive a power loss, likewise
	failure   atomic.Pointer[error] // of the last transaction or background sync; nil when it went well

	wake chan struct{} // tells the background that syncFor was set
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the background has ended
}

// upload is what memory holds of a row of the upload list.
type upload struct {
	row  int64
	size int64
}

// drop is the Drop of an entry.
type drop struct {
	number uint64 // of the operation
	ids    []objectid.ID
	done   func([]objectid.ID)
}

// pendingEntry is what memory holds of an entry that is not published.
type pendingEntry struct {
	seq   int64
	peer  uint64
	end   int32
	bytes int32
}

// round is a number of waiters that share one transaction or several.
type round struct {
	lead    chan struct{} // gives the lead to one of them
	done    chan struct{} // closed when the leader has ended
	through uint64        // what was committed then
	err     error         // why not more was
}

func newRound() *round { return &round{lead: make(chan struct{}, 1), done: make(chan struct{})} }

// Open opens the journal at path (journal.db in the state directory), or
// creates it. Errors: ErrNewer, ErrDamaged, or one that names the file.
//
// What an earlier process committed just before it was killed may not survive a
// power loss yet: call Sync once the chunk cache is open, too.
func Open(path string, opts Options) (*Journal, error) {
	if opts.SyncDelay <= 0 {
		opts.SyncDelay = defaultSyncDelay
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kept, why, err := examine(path, opts)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	db, err := openDatabase(path, opts.Boot)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	j := &Journal{
		kept:    kept,
		keptWhy: why,
		path:    path,
		opts:    opts,
		db:      db,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	if err := j.recall(); err != nil {
		return nil, explainOpen(path, errors.Join(err, db.close()))
	}
	// The first operation stands for all that was found: it is not synced.
	j.enqueued = 1
	j.committed.Store(1)
	j.timer = time.NewTimer(time.Hour)
	j.timer.Stop()
	go j.background()
	return j, nil
}

// Close commits what is queued, syncs and closes. Its error means that entries
// were not committed, or may not survive a power loss. Close twice is harmless.
func (j *Journal) Close() error {
	j.mu.Lock()
	closed := j.closed
	j.closed = true
	j.mu.Unlock()
	if closed {
		<-j.done
		return nil
	}
	close(j.stop)
	<-j.done
	err := j.flush()
	if err == nil {
		if err = j.syncOnce(); err == nil {
			err = j.flush() // what was dropped with it
		}
	}
	j.mu.Lock()
	left := len(j.queue)
	waiting := j.syncFor
	j.syncFor = nil
	j.mu.Unlock()
	waiting.end(err)
	if left > 0 {
		err = fmt.Errorf("%d changes were not journaled: %w", left, err)
	}
	return errors.Join(err, j.db.close())
}

// Err returns nil, or why the last transaction or background sync failed. Check
// it before a change is made: one that cannot be journaled must not be made. It
// is cheap.
func (j *Journal) Err() error {
	if p := j.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Uploads returns the length of the upload list and the sum of its sizes in
// bytes, with what is enqueued. It is cheap.
func (j *Journal) Uploads() (count int, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.uploads), j.uploadN
}

// Pending returns the number of entries not published and the bytes of their
// updates, with those enqueued. It is cheap.
func (j *Journal) Pending() (count int, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.pending), j.pendingN
}

// GetMeta returns the fact stored under key, or nil. It is cheap, sees what
// SetMeta was called with even before that is committed, and returns bytes that
// must not be changed.
func (j *Journal) GetMeta(key string) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.meta[key]
}

// Package fsimpl is Pocket's file system in Go terms: names, open files and their
// content, by the rules of POSIX, without anything of FUSE or WinFsp in it.
//
// An [FS] keeps one mount. The tree is package loroindex's; content goes the way
// of docs/design.md, "Data's way": what is written is staged on this machine (package
// staging), a commit at close, fsync or truncate turns it into chunks in the cache
// and one journal transaction, and package transfer brings it to the store. Reading
// goes the other way: staged bytes, then the cache, then the store, every object verified.
//
// Operations on names touch memory and the journal and never wait for the store.
// When one of them, or [File.Flush], returns nil, the change survives the end of the
// process at once and a power loss within a second; after [File.Sync] it survives power
// loss too; in [Sync] mode Flush and Sync return when it is in the store.
//
// All methods of FS, File and Dir may be called concurrently. Errors are *[Error]; [KindOf]
// tells which errno they are.
package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/fsimpl/staging"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/fsimpl/winname"
	"github.com/hamflx/pocket/internal/bootid"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/reserve"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

// Mode says what closing a file waits for.
type Mode uint8

const (
	Buffered Mode = iota // the journal on this machine
	Sync                 // the store
)

// Options of a mount. Fields without a stated default are required.
type Options struct {
	Name      string         // of the mount, for messages
	Store     objstore.Store // below the mount's prefix, not retrying
	State     *statedir.Dir  // locked; the caller closes it after the FS
	Mode      Mode
	Rules     Rules         // by which programs expect names and times to work
	ChunkSize int64         // bytes; 0: DefaultChunkSize
	CacheSize int64         // bytes, at least a chunk; 0: DefaultCacheSize, or a tenth of the disk if that is less
	Reserve   int64         // bytes of the disk that are kept for removals when it is full; 0: DefaultReserve
	Uploads   int           // at once; 0: transfer.DefaultWorkers
	Behind    int64         // how many bytes uploads of a file that is being written stay behind; 0: DefaultBehind
	Device    string        // names this machine in conflict names and in the history
	UID, GID  uint32        // owner of what records none
	RootMode  uint32        // permission bits of the root until somebody sets them
	OpenWait  time.Duration // how long Open waits for a store that does not answer; 0: DefaultOpenWait
	RoomWait  time.Duration // how long a write waits for a cache that is full of what is not uploaded; 0: DefaultRoomWait
	ReadWait  time.Duration // how long a read waits for a store that does not answer; 0: a minute
	Poll      time.Duration // how often to look for changes of other machines; 0: DefaultPoll, negative: never
	SyncDelay time.Duration // how long after a change it is made to survive a power loss; 0: half a second
	Boot      string        // the id of the machine's boot; "": bootid.Get()
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
}

const (
	// DefaultChunkSize is the size of a chunk in bytes.
	DefaultChunkSize = 4 << 20
	// DefaultCacheSize bounds the chunk cache in bytes, on a disk that is large enough.
	DefaultCacheSize = 10 << 30
	// DefaultBehind is how many bytes the uploads of a file that is being written stay behind: a
	// smaller one may soon be replaced by another, and the end of a larger one be written again.
	DefaultBehind = 16 << 20
	// DefaultReserve is how much of the disk is kept in bytes: thousands of removals.
	DefaultReserve = 4 << 20
	// DefaultReadWait is how long a read waits for a store that does not answer.
	DefaultReadWait = time.Minute
	// DefaultOpenWait is how long Open waits for a store that does not answer.
	DefaultOpenWait = 10 * time.Second
	// DefaultPoll is how often a mount looks for changes of other machines.
	DefaultPoll = 5 * time.Second
	// pollSlowest is how far it slows down while the store cannot be read.
	pollSlowest = 30 * time.Second
	// syncPatience is how long close and fsync wait in Sync mode before they
	// report an I/O error; the change stays queued.
	syncPatience = 60 * time.Second
	// commitAfter is how long written bytes of a file that stays open, without
	// close or fsync, are kept from the journal.
	commitAfter = 5 * time.Second
	// roomAtOnce is how many bytes of the cache give way to others on a full disk.
	roomAtOnce = 16 << 20
	// snapshotEvery is how many index updates pile up at least before a snapshot folds
	// them while the mount is in use.
	snapshotEvery = 256
	// snapshotOps is how many operations of a snapshot, some 64 KiB, take as long to
	// read as one update, which is a request of its own. A snapshot is written when the
	// updates would take longer to read: it then costs no more than what it folds.
	snapshotOps = 2000
)

// FS is one mount.
type FS struct {
	opts     Options
	log      *slog.Logger
	index    *loroindex.Index
	bucket   *bucket
	journal  *journal.Journal
	reserve  *diskReserve
	cache    *chunkcache.Cache
	cached   chan struct{} // closed when cache is open
	staging  *staging.Area
	outage   *transfer.Outage
	fetch    *transfer.Fetcher
	queue    *transfer.Queue
	siblings siblings
	opened   int64      // microseconds since 1970
	history  []*os.File // what the index reads its history from; not changed after Open
	atimes   accessTimes
	ctimes   changeTimes
	maxSize  int64              // of a file
	stop     context.CancelFunc // ends background work, and what operations wait for
	ctx      context.Context    // of both
	work     sync.WaitGroup     // background work
	counting sync.Once          // starts counting for Statfs
	suspect  bool               // the journal was damaged: what it lists may not be all; as offline
	offline  bool               // opened without the store; written before work starts
	writes   []lostWrite        // that are to be made again; as offline

	mu     sync.RWMutex
	inodes map[Node]*inode       // open files, and closed ones whose last commit failed; guarded by mu
	cameUp []Node                // that the mount made or moved by itself, to be told of; guarded by mu
	sparse map[objectid.ID]int64 // stored bytes of manifests with holes, as far as seen; guarded by mu

	noticesMu sync.Mutex
	notices   []Notice // see Notices; guarded by noticesMu once the queue runs

	marks    marks // has its own lock
	arrivals arrivals
	told     atomic.Pointer[func([]Merged)]
	left     leftFiles

	folding chan struct{} // holds one token while a snapshot of the index is written
	snapMu  sync.Mutex
	updates int  // index updates in the store that its newest snapshot lacks; guarded by snapMu
	wrote   bool // some of them are this mount's; guarded by snapMu
}

// Open opens a mount: it reads the index, from the store or, when that cannot
// be reached, the one this machine knew last, takes over what an earlier process left
// in the journal and begins to upload it. Nothing is written to the store before a
// change is made.
//
// Errors are one line: an index that is damaged or cannot be reached, a journal of a
// newer version, a state directory that cannot be written.
func Open(ctx context.Context, opts Options) (*FS, error) {
	if opts.ChunkSize == 0 {
		opts.ChunkSize = DefaultChunkSize
	}
	if opts.CacheSize == 0 {
		opts.CacheSize = defaultCacheSize(opts.State.Path(), opts.ChunkSize)
	}
	if opts.CacheSize < opts.ChunkSize {
		return nil, fmt.Errorf("a cache of %d bytes has no room for one chunk of %d bytes: set a larger cache_size or a smaller chunk_size", opts.CacheSize, opts.ChunkSize)
	}
	if opts.Behind == 0 {
		opts.Behind = DefaultBehind
	}
	if opts.RoomWait == 0 {
		opts.RoomWait = DefaultRoomWait
	}
	if opts.OpenWait == 0 {
		opts.OpenWait = DefaultOpenWait
	}
	if opts.Reserve == 0 {
		opts.Reserve = DefaultReserve
	}
	if opts.ReadWait == 0 {
		opts.ReadWait = DefaultReadWait
	}
	if opts.Poll == 0 {
		opts.Poll = DefaultPoll
	}
	if opts.Boot == "" {
		opts.Boot = bootid.Get()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	fs := &FS{
		opts: opts, log: opts.Log,
		opened:   opts.Now().UnixMicro(),
		arrivals: arrivals{epoch: time.Now()},
		inodes:   make(map[Node]*inode),
		folding:  make(chan struct{}, 1),
		cached:   make(chan struct{}),
		maxSize:  maxFileSize(opts.ChunkSize),
	}
	fs.ctx, fs.stop = context.WithCancel(context.Background())
	if err := fs.open(ctx); err != nil {
		return nil, errors.Join(err, fs.closeParts())
	}
	fs.work.Go(fs.commitLoop)
	if opts.Poll > 0 {
		fs.work.Go(fs.pollLoop)
	}
	fs.work.Go(func() {
		// What an earlier process committed and did not live to sync.
		if err := fs.journal.Sync(fs.ctx); err != nil && fs.ctx.Err() == nil {
			fs.log.Warn("the journal cannot be synced", "error", err)
		}
	})
	return fs, nil
}

func (fs *FS) open(ctx context.Context) (err error) {
	state := fs.opts.State
	if fs.staging, err = staging.Open(state.Staging(), fs.opts.ChunkSize); err != nil {
		return err
	}
	if err := fs.openJournal(state.Journal()); err != nil {
		return err
	}
	local := &localIndex{journal: fs.journal, dir: state.Index()}
	fs.bucket = &bucket{store: fs.opts.Store, local: local}
	left, lost, merged, err := fs.replay(ctx, local)
	if err != nil {
		return err
	}
	if err := fs.noteSession(ctx, left.Entries); err != nil {
		return err
	}
	fs.siblings = siblings{fs: fs, most: min(siblingMost, fs.opts.CacheSize/8)}
	fs.outage = transfer.NewOutage(fs.opts.Store, fs.opts.ReadWait, fs.log)
	fs.fetch = transfer.NewFetcher(fs.opts.Store, fs.cache, fs.outage, fs.log)
	fs.left.expect(left.Uploads)
	fs.queue = transfer.New(transfer.Options{
		Store: fs.opts.Store, Cache: fs.cache, Journal: fs.journal, Outage: fs.outage,
		Publish: fs.publish, Announce: fs.announce, Idle: fs.foldUpdates, Lost: fs.lost,
		Workers: fs.opts.Uploads, Eager: fs.opts.Mode == Sync, Log: fs.log,
	}, left.Entries, left.Uploads)
	if len(lost) > 0 {
		unjudged, err := fs.fallBack(ctx, lost, nil)
		if err != nil {
			return err
		}
		fs.work.Go(func() { fs.fallBackLater(fs.ctx, lost, unjudged) })
	}
	if fs.suspect {
		if err := errors.Join(fs.writeAgain(ctx, lost), fs.journal.SetMeta(ctx, metaSuspect, nil)); err != nil {
			return err
		}
	}
	return fs.keepLosers(merged)
}

// openCache opens the chunk cache, in which the chunks of the upload list are pinned.
func (fs *FS) openCache(uploads []journal.Upload) (err error) {
	pinned := make([]objectid.ID, len(uploads))
	for i, u := range uploads {
		pinned[i] = u.Object
	}
	if fs.cache, err = chunkcache.Open(fs.opts.State.Cache(), fs.opts.CacheSize, pinned); err == nil {
		close(fs.cached)
	}
	return err
}

// openJournal opens the journal. One that is damaged is set aside, what can be read of it
// goes into a new one, and the user is told.
func (fs *FS) openJournal(path string) (err error) {
	fs.reserve = &diskReserve{File: reserve.New(fs.opts.State.Reserve(), fs.opts.Reserve), log: fs.log}
	options := journal.Options{
		Now:        fs.opts.Now,
		BeforeSync: fs.syncChunks,
		MakeRoom:   fs.makeRoom,
		Reserve:    fs.reserve,
		SyncDelay:  fs.opts.SyncDelay,
		Boot:       fs.opts.Boot,
		Check:      checkEntry,
		Used:       holdsFiles(fs.opts.State.Cache()) || holdsFiles(fs.opts.State.Index()),
	}
	var damage error
	if journal.Unsalvaged(path) {
		damage = fmt.Errorf("journal %s was damaged, and an earlier start ended before it was read", path)
	} else if fs.journal, damage = journal.Open(path, options); damage == nil {
		fs.suspect = fs.journal.GetMeta(metaSuspect) != nil
		if kept, why := fs.journal.Kept(); why != nil {
			fs.tell(fmt.Sprintf("journal %s: %v; a copy is kept as %s", path, why, kept))
			return fs.suspectJournal()
		}
		return nil
	} else if !errors.Is(damage, journal.ErrDamaged) {
		return damage
	}
	aside, err := journal.SetAside(path)
	if err != nil {
		return errors.Join(damage, err)
	}
	if fs.journal, err = journal.Open(path, options); err != nil {
		return err
	}
	saved, err := fs.journal.Salvage(fs.ctx, aside)
	if err != nil {
		return err
	}
	fs.tell(fmt.Sprintf("%v; it is kept as %s, and of what was not uploaded yet when it broke, %d changes could be read", damage, aside, saved))
	return fs.suspectJournal()
}

// suspectJournal notes that something may be missing in the journal: the index that was in the store for
// example, without which this machine would work alone from there having been none, in an empty directory.
func (fs *FS) suspectJournal() error {
	fs.suspect = true
	return errors.Join(fs.journal.SetMeta(fs.ctx, metaSuspect, []byte{1}), fs.journal.SetMeta(fs.ctx, metaSawNothing, nil))
}

// metaSuspect is in the journal until a start with a damaged one has come to its end.
const metaSuspect = "journal: suspect"

// errNoCache is the error of a sync of the journal in a start that ended before the cache was open.
var errNoCache = errors.New("the chunk cache was not opened")

// syncChunks syncs the chunks that the journal's entries name. What a damaged journal held comes before the
// cache is open: that waits.
func (fs *FS) syncChunks() error {
	select {
	case <-fs.cached:
	case <-fs.ctx.Done():
		select {
		case <-fs.cached:
		default:
			return errNoCache
		}
	}
	return fs.cache.SyncDirty()
}

// holdsFiles reports whether there is anything in a directory.
func holdsFiles(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}

// makeRoom frees some of a full disk: what is in the store gives way to what is not. It
// reports whether there was anything.
func (fs *FS) makeRoom() bool {
	select {
	case <-fs.cached:
		return fs.cache.MakeRoom(roomAtOnce)
	default:
		return false
	}
}

// load opens the index from the store or, when that cannot be reached, from what
// this machine knows of it. It returns what the store had beyond that.
func (fs *FS) load(ctx context.Context, local *localIndex, own []uint64) (loroindex.Changes, error) {
	defer local.forget()
	options := loroindex.Options{Device: fs.opts.Device, Own: own, Now: fs.opts.Now, History: fs.putHistory, Imported: fs.arrivals.note}
	if fs.opts.Rules == Windows {
		options.Shows = winname.Fits
	}
	patient, cancel := context.WithTimeout(ctx, fs.opts.OpenWait)
	defer cancel()
	retrying := &bucket{store: fs.retrying(fs.opts.OpenWait), local: local}
	loaded, err := loroindex.Load(patient, retrying, local, options)
	if err == nil && loaded.Fresh {
		// Nothing is in the store that could be kept here: that it was so is kept.
		err = fs.journal.SetMeta(ctx, metaSawNothing, []byte{1})
	}
	var alone loroindex.Bucket // what this machine works with when it cannot reach the store
	known := err != nil && local.known(ctx)
	if err != nil && !known && fs.journal.GetMeta(metaSawNothing) != nil {
		alone, known = nothing{}, true
	}
	if err != nil && ctx.Err() == nil && (objstore.Retryable(err) || patient.Err() != nil) && known {
		fs.log.Warn("store cannot be reached; working from the index known last", "error", err)
		fs.keepNotice(false, fmt.Sprintf("the store cannot be reached (%v); working from what this machine knew last, changes are uploaded when it is back", err))
		fs.offline = true
		loaded, err = loroindex.Load(ctx, alone, local, options)
	}
	if err != nil {
		if patient.Err() != nil && ctx.Err() == nil && !objstore.Retryable(err) {
			err = fmt.Errorf("%w: no answer within %v: %w", objstore.ErrUnavailable, fs.opts.OpenWait, err)
		}
		return loroindex.Changes{}, fmt.Errorf("reading the index: %w", err)
	}
	for _, damage := range loaded.Damaged {
		fs.log.Warn("an index object that was not needed is damaged", "error", damage)
		fs.keepNotice(false, fmt.Sprintf("an index object that was not needed is damaged: %v", damage))
	}
	fs.index = loaded.Index
	fs.updates = loaded.Updates
	if !fs.offline {
		fs.marks.note(&fs.marks.checked, fs.opts.Now())
	}
	return loaded.Changes, nil
}

// putHistory puts the history of a large index into a file of this process: of a million
// files that is 60 MB, of which hardly any is read again. The file goes with the mount, or
// with the next start like all that is staged.
func (fs *FS) putHistory(section []byte) (io.ReaderAt, error) {
	f, err := os.CreateTemp(fs.opts.State.Staging(), "history-*")
	if err != nil {
		return nil, err
	}
	fs.history = append(fs.history, f)
	if _, err := f.Write(section); err != nil {
		fs.log.Warn("the history of the index stays in memory", "error", err)
		return nil, err
	}
	return f, nil
}

// dropHistory removes what putHistory wrote.
func (fs *FS) dropHistory() error {
	var errs []error
	for _, f := range fs.history {
		errs = append(errs, f.Close())
		if err := os.Remove(f.Name()); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	fs.history = nil
	return errors.Join(errs...)
}

// retrying returns the store with every call made again, for up to patience, while
// the store is unavailable.
func (fs *FS) retrying(patience time.Duration) objstore.Store {
	return objstore.WithRetry(fs.opts.Store, objstore.RetryPolicy{Budget: patience})
}

// Progress returns what is pending and how the store does.
func (fs *FS) Progress() transfer.Progress { return fs.queue.Progress() }

// Drain commits what open files hold and waits until everything pending is in the
// store, however long that takes. report, if not nil, is called with how far it is whenever
// that changes. When ctx ends first, what is left stays in the journal.
func (fs *FS) Drain(ctx context.Context, report func(transfer.Progress)) error {
	committed, drained := fs.drain(ctx, report)
	return errors.Join(committed, drained)
}

func (fs *FS) drain(ctx context.Context, report func(transfer.Progress)) (committed, drained error) {
	committed, drained = fs.commitAll(ctx), fs.queue.Drain(ctx, report)
	if committed != nil && drained == nil {
		// What did not fit into the cache does now.
		committed, drained = fs.commitAll(ctx), fs.queue.Drain(ctx, report)
	}
	return committed, drained
}

// EndWaits ends what operations wait for, now and later: room in the cache, content that is not on this machine, in Sync
// mode the store. They fail, and what they did not acknowledge is committed by Close if it can be. It is for
// when nobody may use the mount any more and Close is next, which may not be called before they have returned.
func (fs *FS) EndWaits() { fs.stop() }

// LeftError is what Close returns when changes stayed in the journal: the next
// Open of the same state directory uploads them.
type LeftError struct {
	Progress transfer.Progress
}

// Error says how much is left.
func (e *LeftError) Error() string {
	return fmt.Sprintf("%d changes with %d bytes in %d files are not uploaded; they are kept on this machine and uploaded by the next start",
		e.Progress.Changes, e.Progress.Bytes, e.Progress.Files)
}

// Close drains as Drain does, writes a snapshot of the index if one is due, and closes the mount.
// No other method may be called during or after it. With a ctx that has ended it writes
// nothing to the store. A *LeftError says that changes stayed in the journal.
func (fs *FS) Close(ctx context.Context, report func(transfer.Progress)) error {
	committed, drained := fs.drain(ctx, report)
	if drained == nil {
		// The updates are in the store: a snapshot only saves time, so that a failure to
		// write it fails nothing.
		enough := snapshotEvery
		if fs.wrote {
			enough = 1
		}
		if err := fs.snapshot(ctx, fs.worthIt(enough)); err != nil {
			fs.log.Warn("no snapshot of the index was written; the updates have everything", "error", err)
		}
		if !fs.queue.Progress().Idle() { // what it brought in had something brought back here
			again, _ := fs.drain(ctx, report)
			committed = errors.Join(committed, again)
		}
	}
	left := fs.queue.Progress()
	err := errors.Join(committed, fs.closeParts())
	if !left.Idle() {
		err = errors.Join(err, &LeftError{left})
	}
	return err
}

// closeParts stops background work and closes what is open of the parts below.
func (fs *FS) closeParts() error {
	fs.stop()
	fs.work.Wait()
	if fs.queue != nil {
		fs.queue.Close()
	}
	if fs.fetch != nil {
		fs.fetch.Close()
	}
	if fs.outage != nil {
		fs.outage.Close()
	}
	var errs []error
	if fs.journal != nil {
		// Without the cache nothing was changed that the next start would not find or do again.
		if err := fs.journal.Close(); !errors.Is(err, errNoCache) {
			errs = append(errs, err)
		}
	}
	if fs.cache != nil {
		errs = append(errs, fs.cache.Close())
	}
	return errors.Join(append(errs, fs.dropHistory())...)
}

// publish is the queue's Publish: it writes a span of operations into the store.
func (fs *FS) publish(ctx context.Context, s transfer.Span) error {
	if _, err := fs.index.PublishUpdate(ctx, fs.bucket, loroindex.Span(s)); err != nil {
		return err
	}
	fs.snapMu.Lock()
	fs.updates++
	fs.wrote = true
	fs.snapMu.Unlock()
	fs.marks.note(&fs.marks.published, fs.opts.Now())
	return nil
}

// announce is the queue's Announce: it tells other machines of what was published, and
// only then the journal, so that a crash in between leaves no change that nobody hears of.
func (fs *FS) announce(ctx context.Context, spans []transfer.Span) error {
	if err := fs.index.PublishTip(ctx, fs.bucket, loroindex.Span(spans[len(spans)-1])); err != nil {
		return err
	}
	for _, s := range spans {
		if err := fs.journal.Published(ctx, s.Peer, s.End); err != nil {
			return err
		}
	}
	return nil
}

// foldUpdates is the queue's Idle: nothing is pending, so that hardly anybody waits for the network that a
// snapshot takes.
func (fs *FS) foldUpdates(ctx context.Context) {
	if err := fs.snapshot(ctx, fs.worthIt(snapshotEvery)); err != nil && ctx.Err() == nil {
		fs.log.Warn("no snapshot of the index was written; it is tried again later", "error", err)
	}
}

// worthIt returns how many updates, at least enough, are worth a snapshot of the index as
// large as it is.
func (fs *FS) worthIt(enough int) int {
	return max(enough, int(fs.index.Stats().Ops/snapshotOps))
}

// snapshot writes a snapshot and points the head to it when at least enough updates
// have piled up. One is written at a time; changes are published beside it.
func (fs *FS) snapshot(ctx context.Context, enough int) error {
	select {
	case fs.folding <- struct{}{}:
		defer func() { <-fs.folding }()
	case <-ctx.Done():
		return ctx.Err()
	}
	fs.snapMu.Lock()
	updates := fs.updates
	fs.snapMu.Unlock()
	if updates < enough {
		return nil
	}
	var id objectid.ID
	err := fs.merge(func() (changes loroindex.Changes, err error) {
		id, changes, err = fs.index.PublishSnapshot(ctx, fs.bucket, fs.bucket.local)
		return changes, err
	})
	if err != nil {
		return err
	}
	fs.snapMu.Lock()
	fs.updates -= updates
	fs.snapMu.Unlock()
	return fs.bucket.local.prune(ctx, id, fs.index.SnapshotVersion(id))
}

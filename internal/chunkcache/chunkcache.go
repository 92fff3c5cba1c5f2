// Package chunkcache keeps chunks, named by their SHA-256, in files below one
// directory: those read from the bucket, to read them once, and those not yet
// uploaded, of which they may be the only copy. A large chunk has a file of its own,
// small ones share files, called packs.
//
// The latter are pinned: nothing removes a pinned chunk. Of the others the least
// recently used go when the files exceed the cap.
//
// A chunk is believed after its bytes were compared with its name once in this
// process; from then on parts of it are read without reading all of it. Chunks
// that were just put are believed, since whoever put them has just hashed them.
//
// The directory belongs to one process at a time (package statedir holds the
// lock). All methods of a Cache may be called concurrently. docs/state.md
// describes the files.
package chunkcache

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

var (
	// ErrNotExist means that the cache does not have the chunk, or had it and
	// found it damaged: fetch it from the bucket.
	ErrNotExist = errors.New("chunk is not in the cache")
	// ErrFull means that pinned chunks fill the cache to its cap: they must be
	// uploaded and unpinned before another one fits.
	ErrFull = errors.New("cache is full of chunks that are not uploaded yet")
	// ErrUnreadable means that the disk does not give back a chunk that is pinned, and
	// may be the only copy. Of other errors of reading one nothing is known but that it is still there.
	ErrUnreadable = errors.New("the disk does not give the chunk back")
	// ErrPinned is returned by Remove for a chunk that is pinned.
	ErrPinned = errors.New("chunk is pinned")
)

// MaxChunk bounds the size of a chunk in bytes.
const MaxChunk = 1 << 30

const (
	// hotBytes bounds the chunks kept in memory. Reads of one file in pieces of
	// 128 KiB come back to the same chunk 32 times, and what is fetched ahead of a
	// sequential reader, at most 32 MiB, is still there when that arrives.
	hotBytes = 48 << 20
	// hotFile is the size up to which a chunk is put into memory whenever its
	// file is touched: opening the file costs more than copying it.
	hotFile = 64 << 10
	// openFiles bounds the chunk files kept open for reading.
	openFiles = 64
	// freshEnough is how old the time of last use in a file's mtime may grow
	// before a read renews it. It orders eviction after a restart.
	freshEnough = 24 * time.Hour
)

// hotChunk is a chunk in memory, which the cache holds.
type hotChunk struct {
	body *pagebuf.Buffer
	once bool // it is read once, from its beginning to its end
}

// Stats is what a cache holds.
type Stats struct {
	Chunks int   // known
	Bytes  int64 // of their files
	Pinned int64 // of these, what the pinned ones take
	Cap    int64 // what Bytes is kept below, as far as Pinned permits; 0 means no limit
	Err    error // why the last eviction could not keep Bytes below Cap; nil when it could
}

// Cache is an open cache directory. See Open.
type Cache struct {
	dir      string
	cap      int64
	packMost int64 // size up to which a chunk goes to a pack
	packSize int64 // how large packs grow
	names    *namer

	shards     [shardCount]shard
	background sync.WaitGroup // of the scan
	closing    atomic.Bool
	direct     chan struct{} // has an element for each direct write under way
	noDirect   atomic.Bool   // the file system of dir knows no direct writes

	// syncing is held while chunks are synced, so that a sync does not end
	// before an earlier one that took chunks it must wait for.
	syncing sync.Mutex

	packsKnown atomic.Bool // the packs of earlier processes were read
	packing    sync.Mutex  // held while they are, and while a pack is made
	emptying   sync.Mutex  // held while the chunks of a pack are moved to another

	// mu guards what follows. It is never held across a disk access.
	mu      sync.Mutex
	entries table
	bytes   int64  // of all files, and of chunks being written
	pinned  int64  // what the pinned chunks take of them
	clock   uint32 // counts uses of chunks
	scanned bool   // every shard was read, and eviction knows the order of age
	// busy holds the chunks whose file is being written, removed or verified:
	// only one at a time does that. The channel, made by the first who waits,
	// is closed when it is done.
	busy map[objectid.ID]chan struct{}
	// dirty holds the pinned chunks that are not known to be durable, here or in the store.
	dirty map[objectid.ID]struct{}
	// absent counts the pins of chunks that the cache has not, or has no more: whoever holds them
	// gives them back one day, and until then they count again whenever the chunk is put.
	absent map[objectid.ID]uint32
	hot    lru[hotChunk] // bytes of verified chunks, never changed
	files  lru[*handle]  // open files of verified chunks
	// retired holds files that left files and nobody reads: unlock closes them.
	retired  []*os.File
	packs    map[uint64]*pack
	growing  *pack   // where chunks are appended; nil when there is none
	lastPack uint64  // the highest number of a pack so far
	dead     []*pack // to be removed by unlock
	evictErr error   // of the last eviction
}

// Open opens the cache in dir, which it makes when there is none (access for
// its owner only), to hold capBytes bytes; 0 means no limit. It returns before
// the directory is read: that happens in the background, and piece by piece
// where a call needs it.
//
// pinned lists the chunks that must not go: the upload list of the journal. Each
// occurrence counts as one Pin, from when the chunk is put if the cache does not have it; ask
// Has. It is a parameter so that nothing can be evicted before it is known. SyncDirty makes durable what an earlier process left.
func Open(dir string, capBytes int64, pinned []objectid.ID) (*Cache, error) {
	if capBytes > 0 && capBytes < 4*packSmallest {
		// There is no room for emptying a pack.
		return openCache(dir, capBytes, pinned, -1)
	}
	return openCache(dir, capBytes, pinned, packMost)
}

// openCache is Open with chunks of at most most bytes in packs; negative: none.
func openCache(dir string, capBytes int64, pinned []objectid.ID, most int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the chunk cache: %w", err)
	}
	c := &Cache{
		dir: dir,
		cap: max(capBytes, 0),

		packMost: most,
		packSize: packSize(capBytes),

		names:  newNamer(dir),
		direct: make(chan struct{}, directMost),
		packs:  map[uint64]*pack{},
		busy:   map[objectid.ID]chan struct{}{},
		dirty:  map[objectid.ID]struct{}{},
		absent: map[objectid.ID]uint32{},
	}
	c.entries.init()
	c.hot.init(hotBytes)
	c.hot.dropped = func(h hotChunk) { h.body.Release() }
	c.files.init(openFiles)
	c.files.dropped = c.retire
	for _, id := range pinned {
		s := &c.shards[id[0]]
		if s.early == nil {
			s.early = map[objectid.ID]uint32{}
		}
		s.early[id]++
	}
	// Fails here, and not at the first chunk, when the directory cannot be used.
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("open the chunk cache: %w", err)
	}
	c.background.Go(c.scan)
	return c, nil
}

// Close waits for what goes on in the background and closes open files. What is
// not synced stays that way. No other method may be called afterwards.
func (c *Cache) Close() error {
	if s := c.Stats(); s.Cap > 0 && s.Bytes > s.Cap {
		c.evict(0) // those that came last, all at once, left it to each other
	}
	c.closing.Store(true)
	c.background.Wait()
	c.mu.Lock()
	c.files.clear()
	c.hot.clear()
	packs := c.packs
	c.packs, c.growing = nil, nil
	err := c.unlock()
	for _, p := range packs {
		err = errors.Join(err, p.f.Close())
	}
	return err
}

// Has reports whether the cache has a file for the chunk; whether its bytes are
// right shows when it is read.
func (c *Cache) Has(id objectid.ID) bool {
	_, ok := c.Size(id)
	return ok
}

// Size returns the size of the chunk in bytes, and whether the cache has it.
func (c *Cache) Size(id objectid.ID) (int64, bool) {
	if c.shards[id[0]].load(c, id[0]) != nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.entries.find(id)
	if !ok {
		return 0, false
	}
	return int64(c.entries.at[i].size), true
}

// Pin keeps the chunk from being evicted until Unpin was called as often as Pin
// (and Put or Adopt with pin). A chunk that is damaged and put again meanwhile is pinned as
// before. ErrNotExist when the cache does not have it.
func (c *Cache) Pin(id objectid.ID) error {
	if err := c.shards[id[0]].load(c, id[0]); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.entries.find(id)
	if !ok {
		return notExist(id)
	}
	c.pin(i, 1)
	return nil
}

// Unpin takes back one Pin. For a chunk that is not pinned it does nothing.
func (c *Cache) Unpin(id objectid.ID) {
	if c.shards[id[0]].load(c, id[0]) != nil {
		return // then nothing in this shard is pinned
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.entries.find(id)
	if !ok {
		if n := c.absent[id]; n > 1 {
			c.absent[id] = n - 1
		} else {
			delete(c.absent, id)
		}
		return
	}
	if c.entries.at[i].pins == 0 {
		return
	}
	e := &c.entries.at[i]
	if e.pins--; e.pins == 0 {
		c.pinned -= e.cost()
		delete(c.dirty, id)
		c.entries.pushFront(i)
	}
}

// pin adds n pins to entry i. c.mu is held.
func (c *Cache) pin(i int32, n uint32) {
	e := &c.entries.at[i]
	if e.pins == 0 && n > 0 {
		c.entries.unlink(i)
		c.pinned += e.cost()
		if !e.synced {
			c.dirty[e.id] = struct{}{}
		}
	}
	e.pins += n
}

// Stats returns what the cache holds. Chunks left by an earlier process count
// from when they were found; after Open that takes a moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Chunks: len(c.entries.ids), Bytes: c.bytes, Pinned: c.pinned, Cap: c.cap, Err: c.evictErr}
}

// Room returns how many bytes more can be pinned: up to the cap, less what emptying a pack needs.
// It may be negative. Without a cap there is no end of it.
func (c *Cache) Room() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cap <= 0 {
		return math.MaxInt64
	}
	return c.limit() - c.pinned
}

// claim waits until nobody else has the chunk's file in hand, and takes it;
// disclaim gives it back.
func (c *Cache) claim(id objectid.ID) {
	c.mu.Lock()
	for {
		wait, taken := c.busy[id]
		if !taken {
			c.busy[id] = nil
			c.mu.Unlock()
			return
		}
		if wait == nil {
			wait = make(chan struct{})
			c.busy[id] = wait
		}
		c.mu.Unlock()
		<-wait
		c.mu.Lock()
	}
}

func (c *Cache) disclaim(id objectid.ID) {
	c.mu.Lock()
	wait := c.busy[id]
	delete(c.busy, id)
	c.mu.Unlock()
	if wait != nil {
		close(wait)
	}
}

func notExist(id objectid.ID) error { return fmt.Errorf("%w: %s", ErrNotExist, id) }

// namer makes the paths of chunk files. A chunk lies in one of 256 directories,
// named by the first byte of its ID in hexadecimal.
type namer struct {
	dir    string
	shards [shardCount]string
}

const (
	shardCount = 256
	tempSuffix = ".tmp"
	damagedDir = "damaged"
)

func newNamer(dir string) *namer {
	n := &namer{dir: dir}
	for i := range n.shards {
		n.shards[i] = filepath.Join(dir, fmt.Sprintf("%02x", i))
	}
	return n
}

func (n *namer) pack(number uint64) string {
	return filepath.Join(n.dir, packsDir, fmt.Sprintf("%016x", number)+packSuffix)
}

func (n *namer) file(id objectid.ID) string {
	return n.shards[id[0]] + string(filepath.Separator) + id.String()
}

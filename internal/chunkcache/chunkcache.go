// Package chunkcache keeps chunks, named by their SHA-256, as files below one
// directory: those read from the bucket, to read them once, and those not yet
// uploaded, of which they may be the only copy.
//
// The latter are pinned: nothing removes a pinned chunk. Of the others the least
// recently used go when the files exceed the cap.
//
// A chunk is believed after its bytes were compared with its name once in this
// process; from then on parts of it are read without reading all of it. Chunks
// that were just put are believed, since whoever put them has just hashed them.
//
// The directory belongs to one process at a time (package statedir holds the
// lock). All methods of a Cache may be called concurrently.
package chunkcache

import (
	"errors"

	"github.com/hamflx/pocket/internal/objectid"
)

var (
	// ErrNotExist means that the cache does not have the chunk, or had it and
	// found it damaged: fetch it from the bucket.
	ErrNotExist = errors.New("chunk is not in the cache")
	// ErrFull means that pinned chunks fill the cache to its cap: they must be
	// uploaded and unpinned before another one fits.
	ErrFull = errors.New("cache is full of chunks that are not uploaded yet")
)

// MaxChunk bounds the size of a chunk in bytes.
const MaxChunk = 1 << 30

// Stats is what a cache holds.
type Stats struct {
	Chunks int   // files
	Bytes  int64 // their sizes
	Pinned int64 // sizes of the pinned ones
	Cap    int64 // what Bytes is kept below, as far as Pinned permits
}

// Cache is an open cache directory. See Open.
type Cache struct{}

var errUnbuilt = errors.New("chunkcache: not built yet")

// Open opens the cache in dir, which it makes when there is none (access for
// its owner only). It returns before the directory is read: that happens in the
// background, and piece by piece where a call needs it.
//
// pinned lists the chunks that must not go: the upload list of the journal. Each
// occurrence counts as one Pin. It is a parameter so that nothing can be evicted
// before it is known. Chunks of it that the cache does not have are skipped; ask
// Has for them.
func Open(dir string, capBytes int64, pinned []objectid.ID) (*Cache, error) { return nil, errUnbuilt }

// Close waits for what goes on in the background and closes open files. What is
// not synced stays that way. No other method may be called afterwards.
func (c *Cache) Close() error { return errUnbuilt }

// Put adds the chunk id with the bytes body, which the caller has hashed: they
// are not hashed again. A chunk already there and believed is left as it is. The
// cache does not keep body. With pin, the chunk is pinned as by Pin before any
// other call can evict it.
//
// On return the chunk survives the end of the process, not a power loss: see
// Sync. Errors: ErrFull when it does not fit beside the pinned chunks (also
// without pin: the chunk is then simply not cached), or what the file system
// says, after unpinned chunks were evicted to make room on a full disk. After an
// error the chunk is not pinned.
func (c *Cache) Put(id objectid.ID, body []byte, pin bool) error { return errUnbuilt }

// Adopt adds the chunk id by renaming the file at path, of size bytes and on
// the same file system, into the cache: no byte is copied. The caller has hashed
// the file and closed it, and nobody writes to it any more. Otherwise as Put.
// When it succeeds the file is no longer at path (it is removed when the cache
// had the chunk already); when it fails the file is still there.
func (c *Cache) Adopt(id objectid.ID, path string, size int64, pin bool) error { return errUnbuilt }

// Get returns the whole chunk, compared with its name. The bytes are shared:
// they must not be changed. ErrNotExist when the cache does not have it. A
// damaged chunk is removed, or, when it is pinned, set aside below
// damaged/ in the cache directory, and answered with ErrNotExist.
func (c *Cache) Get(id objectid.ID) ([]byte, error) { return nil, errUnbuilt }

// ReadAt reads into p from byte off of the chunk on, as io.ReaderAt does
// (io.EOF when the chunk ends before p is full). Only the first time in this
// process reads and verifies the whole chunk, and only when it was not put in
// this process. Errors as Get.
func (c *Cache) ReadAt(id objectid.ID, p []byte, off int64) (int, error) { return 0, errUnbuilt }

// Has reports whether the cache has a file for the chunk; whether its bytes are
// right shows when it is read.
func (c *Cache) Has(id objectid.ID) bool { return false }

// Size returns the size of the chunk in bytes, and whether the cache has it.
func (c *Cache) Size(id objectid.ID) (int64, bool) { return 0, false }

// Pin keeps the chunk from being evicted until Unpin was called as often as Pin
// (and Put or Adopt with pin). ErrNotExist when the cache does not have it.
func (c *Cache) Pin(id objectid.ID) error { return errUnbuilt }

// Unpin takes back one Pin. For a chunk that is not pinned it does nothing.
func (c *Cache) Unpin(id objectid.ID) {}

// Remove deletes the chunk unless it is pinned, to make room or because its
// content is wanted no more.
func (c *Cache) Remove(id objectid.ID) error { return errUnbuilt }

// SyncDirty returns when every chunk that was pinned before the call, and its
// name in the directory, survives a power loss. Chunks that are not pinned are
// left out: they can be fetched again. The journal calls it before it makes the
// entries durable that name them (journal.Options.BeforeSync). Chunks whose sync
// fails stay dirty.
func (c *Cache) SyncDirty() error { return errUnbuilt }

// Sync is SyncDirty for the given chunks, pinned or not. ErrNotExist when the
// cache does not have one of them.
func (c *Cache) Sync(ids ...objectid.ID) error { return errUnbuilt }

// Stats returns what the cache holds. Chunks left by an earlier process count
// from when they were found; after Open that takes a moment.
func (c *Cache) Stats() Stats { return Stats{} }

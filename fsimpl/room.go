package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hamflx/pocket/fsimpl/staging"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/oserror"
	"github.com/hamflx/pocket/internal/reserve"
	"github.com/hamflx/pocket/internal/statedir"
)

// What is pending fills the cache when programs write faster than the store takes it.
// They are slowed then: a write or a commit that finds no room waits until uploads have
// made some. When none ends for a while, it fails with NoSpace. Nothing that was
// acknowledged is touched.

const (
	// DefaultRoomWait is how long a writer waits for the cache without any upload
	// making room in it.
	DefaultRoomWait = 10 * time.Second
	// diskShare is the part of the disk that the cache takes where nothing is said.
	diskShare = 10
	// leastChunks is how many chunks a cache has room for where nothing is said.
	leastChunks = 8
)

// defaultCacheSize returns the cap of a cache in dir for which the configuration has none.
func defaultCacheSize(dir string, chunkSize int64) int64 {
	size := int64(DefaultCacheSize)
	if disk, err := statedir.DiskSize(dir); err == nil && disk > 0 {
		size = min(size, disk/diskShare)
	}
	return max(size, leastChunks*chunkSize)
}

// roomFor returns nil when a chunk that a write completed may take n bytes of the
// cache: some are left to commits, without which nothing that fills it is uploaded.
func (fs *FS) roomFor(n int64) error {
	reserve := min(2*fs.opts.ChunkSize, fs.opts.CacheSize/4)
	if fs.cache.Room() < n+reserve {
		return fmt.Errorf("%w: %d bytes", chunkcache.ErrFull, fs.opts.CacheSize)
	}
	return nil
}

// awaitRoom returns nil when the cache has more room than when a writer of ino found it
// full, which is the cause. With commit, what was written to the file so far is committed
// first, so that it can be uploaded. No lock is held.
func (fs *FS) awaitRoom(ctx context.Context, ino *inode, commit bool, cause error) error {
	before := fs.cache.Stats().Pinned
	if commit {
		if err := fs.commit(ctx, ino); err != nil {
			return err
		}
	}
	patient, cancel := context.WithTimeout(ctx, fs.opts.RoomWait)
	defer cancel()
	err := fs.queue.Await(patient, func() bool {
		fs.unpinStored()
		return fs.cache.Stats().Pinned < before
	})
	if fs.ctx.Err() != nil && ctx.Err() != nil {
		return &Error{Op: "write", Kind: NoSpace, Err: fmt.Errorf("the mount ends: %w", cause)}
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		if last := fs.queue.Progress().Err; last != nil {
			cause = fmt.Errorf("%w; the store: %w", cause, last)
		}
		return &Error{Op: "write", Kind: NoSpace, Err: cause}
	}
	return err
}

// unpinStored lets the cache give up what open files pinned and the store has.
func (fs *FS) unpinStored() {
	fs.mu.RLock()
	open := make([]*inode, 0, len(fs.inodes))
	for _, ino := range fs.inodes {
		open = append(open, ino)
	}
	fs.mu.RUnlock()
	for _, ino := range open {
		ino.mu.Lock()
		kept := ino.pins[:0]
		for _, id := range ino.pins {
			if fs.queue.Stored(id) {
				fs.cache.Unpin(id)
			} else {
				kept = append(kept, id)
			}
		}
		clear(ino.pins[len(kept):])
		ino.pins = kept
		ino.dropFresh(func(id objectid.ID) bool { return !fs.queue.Stored(id) }) // uploaded before the commit
		ino.mu.Unlock()
	}
}

// diskReserve is what is kept of the disk for changes that make room, as the journal sees it.
type diskReserve struct {
	*reserve.File
	log  *slog.Logger
	told bool // that it cannot be kept; the journal's background alone has this
}

// Refill implements journal.Reserve.
func (r *diskReserve) Refill() bool {
	err := r.File.Refill()
	if err != nil && !oserror.DiskFull(err) && !r.told {
		r.told = true
		r.log.Warn("a removal may fail when the disk is full", "error", err)
	}
	return err == nil
}

// reserved bounds the bytes of one object for which the reserve is used: the manifest of a file that is cut off.
const reserved = 64 << 10

// cutsOff reports whether a commit would do no more than cut the file's end off, which makes room
// where its content is pending. Called with mu held.
func (i *inode) cutsOff() bool { return i.staged.Empty() && i.length() < i.content.Size }

// canCommit returns why nothing can be committed to a file: a full disk does not keep it
// from being cut off.
func (fs *FS) canCommit(ino *inode) error {
	err := fs.journal.Err()
	if errors.Is(err, journal.ErrNoSpace) && fs.reserve.Left() > 0 {
		ino.mu.RLock()
		defer ino.mu.RUnlock()
		if ino.cutsOff() {
			return nil
		}
	}
	return err
}

// putPinned is the cache's Put with a pin, for which a file that is cut off may use the reserve. Called with mu held.
func (i *inode) putPinned(id objectid.ID, body []byte) error {
	err := i.fs.cache.Put(id, body, true)
	for oserror.DiskFull(err) && len(body) <= reserved && i.cutsOff() && i.fs.reserve.Release() {
		err = i.fs.cache.Put(id, body, true)
	}
	return err
}

// isFull reports whether err means that pending content fills the cache.
func isFull(err error) bool { return errors.Is(err, chunkcache.ErrFull) }

// sealWritten is sealSlot for a slot that a write completed. Called with mu held.
func (i *inode) sealWritten(slot int64) error {
	if slot == 0 && i.cutsFirst() {
		return nil // what it becomes depends on what follows: sealFirst
	}
	size := i.fs.opts.ChunkSize
	if err := i.fs.roomFor(size); err != nil {
		return err
	}
	if err := i.sealSlot(slot, size); err != nil {
		return err
	}
	return i.completed(slot)
}

// sealFirst is sealWritten for the first slot, once the file goes on behind it to size bytes at least. Called with
// mu held.
func (i *inode) sealFirst(size int64) error {
	chunk := i.fs.opts.ChunkSize
	head := i.head(0, size)
	if head == 0 || !i.staged.Covers(staging.Range{From: 0, To: chunk}) {
		return nil
	}
	if err := i.fs.roomFor(chunk); err != nil {
		return err
	}
	return i.sealHead(chunk, head)
}

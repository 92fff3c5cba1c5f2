package chunkcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/objectid"
)

// syncTogether is the number of chunks from which one sync of the whole file
// system, where the platform has it, is cheaper than one of each file.
const syncTogether = 32

// syncWorkers is how many files are synced at once: file systems join their
// journal commits.
const syncWorkers = 8

// SyncDirty returns when every chunk that was pinned before the call, and its
// name in the directory, survives a power loss. Chunks that are not pinned, or that the
// store has (Stored), are left out: they can be fetched again. The journal calls it before
// it makes the entries durable that name them (journal.Options.BeforeSync). Chunks whose
// sync fails stay dirty, but for those whose file is gone.
func (c *Cache) SyncDirty() error {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	c.mu.Lock()
	taken := make([]dirtyChunk, 0, len(c.dirty))
	for id := range c.dirty {
		taken = c.take(taken, id)
	}
	c.mu.Unlock()
	return c.sync(taken)
}

// Stored says that the store has a chunk: SyncDirty leaves it out from now on, since it can be
// fetched again. It does nothing for a chunk that is not pinned.
func (c *Cache) Stored(id objectid.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.dirty, id)
}

// Sync is SyncDirty for the given chunks, pinned or not. ErrNotExist when the
// cache does not have one of them.
func (c *Cache) Sync(ids ...objectid.ID) error {
	for _, id := range ids {
		if err := c.shards[id[0]].load(c, id[0]); err != nil {
			return err
		}
	}
	c.syncing.Lock()
	defer c.syncing.Unlock()
	c.mu.Lock()
	taken := make([]dirtyChunk, 0, len(ids))
	var missing error
	for _, id := range ids {
		if _, ok := c.entries.find(id); !ok {
			missing = notExist(id)
			continue
		}
		taken = c.take(taken, id)
	}
	c.mu.Unlock()
	return errors.Join(missing, c.sync(taken))
}

// dirtyChunk is a chunk whose sync has begun.
type dirtyChunk struct {
	id   objectid.ID
	born uint32 // of its entry: one put again meanwhile is another
	pack *pack  // which holds it, with one use for the sync; nil: a file of its own
}

// take adds id, which has an entry, to taken unless it is durable. c.mu is held.
func (c *Cache) take(taken []dirtyChunk, id objectid.ID) []dirtyChunk {
	i, _ := c.entries.find(id)
	delete(c.dirty, id)
	if c.entries.at[i].synced {
		return taken
	}
	e := &c.entries.at[i]
	if e.pack != nil {
		e.pack.users++
	}
	return append(taken, dirtyChunk{id, e.born, e.pack})
}

// sync makes the files of taken durable and notes it. c.syncing is held.
func (c *Cache) sync(taken []dirtyChunk) error {
	if len(taken) == 0 {
		return nil
	}
	uses := map[*pack]int{}
	var files []dirtyChunk
	for _, d := range taken {
		if d.pack == nil {
			files = append(files, d)
		} else {
			uses[d.pack]++
		}
	}
	var errs []error
	packs := map[*pack]error{} // those whose sync failed
	for p := range uses {
		if err := c.syncPack(p); err != nil {
			packs[p] = err
			errs = append(errs, err)
		}
	}
	failed, err := c.syncFiles(files)
	errs = append(errs, err)
	c.mu.Lock()
	for _, d := range taken {
		i, ok := c.entries.find(d.id)
		if !ok || c.entries.at[i].born != d.born {
			continue
		}
		e := &c.entries.at[i]
		cause, one := failed[d.id]
		bad := err != nil && (failed == nil || one)
		if d.pack != nil {
			bad = packs[d.pack] != nil
		}
		switch {
		case !bad:
			e.synced = true
		case errors.Is(cause, fs.ErrNotExist):
			// Nothing is left to sync. The error below says so once.
		case e.pins > 0:
			c.dirty[d.id] = struct{}{}
		}
	}
	c.mu.Unlock()
	for p, n := range uses {
		c.mu.Lock()
		errs = append(errs, c.releasePackLocked(p, n))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sync the chunk cache: %w", err)
	}
	return nil
}

// syncDirs makes the names in some directories survive a power loss.
func syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := atomicfile.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// syncFiles syncs the files of taken and their directories. failed tells which
// files failed; when it is nil and err is not, all did.
func (c *Cache) syncFiles(taken []dirtyChunk) (failed map[objectid.ID]error, err error) {
	if len(taken) == 0 {
		return nil, nil
	}
	if len(taken) >= syncTogether {
		if done, err := syncFileSystem(c.dir); done {
			return nil, err
		}
	}
	var (
		mu   sync.Mutex // guards failed
		wg   sync.WaitGroup
		next = make(chan dirtyChunk)
	)
	failed = map[objectid.ID]error{}
	for range min(syncWorkers, len(taken)) {
		wg.Go(func() {
			for d := range next {
				if err := c.syncFile(d); err != nil {
					mu.Lock()
					failed[d.id] = err
					mu.Unlock()
				}
			}
		})
	}
	var shards [shardCount]bool
	for _, d := range taken {
		shards[d.id[0]] = true
		next <- d
	}
	close(next)
	wg.Wait()
	for _, cause := range failed {
		err = errors.Join(err, cause)
	}
	// The shards' own names come last.
	dirs := []string{c.dir}
	for n, used := range shards {
		if used {
			dirs = append(dirs, c.names.shards[n])
		}
	}
	if cause := syncDirs(dirs...); cause != nil {
		return nil, errors.Join(err, cause)
	}
	return failed, err
}

// syncFile syncs one chunk. One that was evicted meanwhile needs none, also when it was put
// again since, into a pack: that has a sync of its own.
func (c *Cache) syncFile(d dirtyChunk) error {
	c.claim(d.id) // Windows replaces and removes no file that is open
	defer c.disclaim(d.id)
	f, err := busyfile.OpenFile(c.names.file(d.id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		c.mu.Lock()
		i, ok := c.entries.find(d.id)
		lost := ok && c.entries.at[i].born == d.born
		c.mu.Unlock()
		if !lost {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

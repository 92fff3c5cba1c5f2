package chunkcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

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
func (c *Cache) Put(id objectid.ID, body []byte, pin bool) error {
	err := c.add(id, int64(len(body)), pin, func(to string, replaces bool) error {
		return writeFile(to, body, replaces)
	})
	if err != nil {
		return err
	}
	if len(body) <= hotFile {
		c.keep(id, append([]byte(nil), body...))
	}
	return nil
}

// Adopt adds the chunk id by renaming the file at path, of size bytes and on
// the same file system, into the cache: no byte is copied. The caller has hashed
// the file and closed it, and nobody writes to it any more. Otherwise as Put.
// When it succeeds the file is no longer at path (it is removed when the cache
// had the chunk already, if the system permits); when it fails the file is still
// there.
func (c *Cache) Adopt(id objectid.ID, path string, size int64, pin bool) error {
	moved := false
	err := c.add(id, size, pin, func(to string, _ bool) error {
		err := rename(path, to)
		moved = err == nil
		return err
	})
	if err == nil && !moved {
		// The chunk is safe where it was; the file is only left over.
		_ = os.Remove(path)
	}
	return err
}

// add makes the file of chunk id by calling place with its path, and whether
// there is a file that must stay whole until it is replaced, unless the cache has
// the chunk already.
func (c *Cache) add(id objectid.ID, size int64, pin bool, place func(to string, replaces bool) error) error {
	if id.IsZero() || size < 0 || size > MaxChunk {
		return fmt.Errorf("cache chunk %s: impossible size %d", id, size)
	}
	if err := c.shards[id[0]].load(c, id[0]); err != nil {
		return err
	}
	c.claim(id)
	defer c.disclaim(id)

	// Somebody may have emptied the directory. Looked at before c.mu is taken;
	// nobody else touches a claimed chunk's file.
	if pin && c.lost(id, size) {
		c.mu.Lock()
		if i, ok := c.entries.find(id); ok {
			c.entries.at[i].verified = false
			c.hot.drop(id)
			c.files.drop(id)
		}
		if err := c.unlock(); err != nil {
			return err
		}
	}

	// The bytes are reserved before they are written, so that many at once do
	// not exceed the cap together.
	c.mu.Lock()
	i, replaces := c.entries.find(id)
	if replaces && c.entries.at[i].verified {
		renew := c.touch(i)
		if pin {
			c.pin(i, 1)
		}
		c.mu.Unlock()
		if renew {
			c.renew(id)
		}
		return nil
	}
	if c.cap > 0 && !replaces && c.pinned+size > c.cap {
		c.mu.Unlock()
		return fmt.Errorf("%w: %d of %d bytes, no room for %d more", ErrFull, c.pinned, c.cap, size)
	}
	c.bytes += size
	if pin {
		c.pinned += size
	}
	over := c.cap > 0 && c.bytes > c.cap
	c.mu.Unlock()
	if over {
		c.evict(0)
	}

	err := c.placeFile(id, size, func(to string) error { return place(to, replaces) })

	c.mu.Lock()
	c.bytes -= size
	if pin {
		c.pinned -= size
	}
	if err != nil {
		c.mu.Unlock()
		return fmt.Errorf("cache chunk %s: %w", id, err)
	}
	var pins uint32
	if i, replaces = c.entries.find(id); replaces {
		// An unverified file of an earlier process gave way to these bytes.
		pins = c.entries.at[i].pins
		c.forget(i)
	}
	i = c.entries.add(id, uint32(size))
	c.bytes += size
	e := &c.entries.at[i]
	e.verified = true
	e.used = uint32(time.Now().Unix())
	if pin {
		pins++
	}
	if pins > 0 {
		c.pin(i, pins)
	} else {
		c.entries.pushFront(i)
	}
	return c.unlock()
}

// lost reports whether the chunk is believed to be there and its file is not.
func (c *Cache) lost(id objectid.ID, size int64) bool {
	c.mu.Lock()
	i, ok := c.entries.find(id)
	believed := ok && c.entries.at[i].verified
	c.mu.Unlock()
	if !believed {
		return false
	}
	info, err := os.Lstat(c.names.file(id))
	return err != nil || info.Size() != size
}

// placeFile calls place until the file is there: again after the shard's
// directory was made, and again after chunks were evicted from a full disk.
func (c *Cache) placeFile(id objectid.ID, size int64, place func(to string) error) error {
	to := c.names.file(id)
	err := place(to)
	if errors.Is(err, fs.ErrNotExist) {
		if made := os.Mkdir(c.names.shards[id[0]], 0o700); made != nil && !errors.Is(made, fs.ErrExist) {
			return made
		}
		err = place(to)
	}
	for isDiskFull(err) && c.evict(max(4*size, 16<<20)) {
		err = place(to)
	}
	return err
}

// writeFile writes body to the file at path.
//
// A file that is there may be the only copy of a chunk, and stays until the new
// one is whole. A new file is written in its place, without the rename that costs
// as much as the write for small chunks: a process that dies meanwhile leaves a
// file that is not what its name says, which every process checks before it
// believes one.
func writeFile(path string, body []byte, replaces bool) error {
	name := path
	if replaces {
		name += tempSuffix
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil && replaces {
		err = rename(name, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// forget removes entry i and what memory holds of it; its file is the caller's
// matter. c.mu is held, and unlock must follow.
func (c *Cache) forget(i int32) {
	e := &c.entries.at[i]
	c.bytes -= int64(e.size)
	if e.pins > 0 {
		c.pinned -= int64(e.size)
	}
	delete(c.dirty, e.id)
	c.hot.drop(e.id)
	c.files.drop(e.id)
	c.entries.remove(i)
}

// Remove deletes the chunk: its content is wanted no more. It does nothing when
// the cache does not have it, and fails with ErrPinned when it is pinned.
func (c *Cache) Remove(id objectid.ID) error {
	if err := c.shards[id[0]].load(c, id[0]); err != nil {
		return err
	}
	c.claim(id)
	defer c.disclaim(id)
	c.mu.Lock()
	i, ok := c.entries.find(id)
	if !ok {
		c.mu.Unlock()
		return nil
	}
	if c.entries.at[i].pins > 0 {
		c.mu.Unlock()
		return fmt.Errorf("%w: %s", ErrPinned, id)
	}
	return c.drop(i)
}

// drop forgets entry i, whose chunk the caller has claimed, and removes its
// file. When that fails the entry is there again. c.mu is held, and not on return.
func (c *Cache) drop(i int32) error {
	old := c.entries.at[i]
	c.forget(i)
	err := c.unlock()
	if removed := os.Remove(c.names.file(old.id)); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		c.mu.Lock()
		i := c.entries.add(old.id, old.size)
		e := &c.entries.at[i]
		e.used, e.verified, e.synced = old.used, old.verified, old.synced
		c.bytes += int64(old.size)
		c.entries.pushFront(i)
		c.mu.Unlock()
		return fmt.Errorf("remove chunk: %w", errors.Join(removed, err))
	}
	return nil
}

// MakeRoom removes chunks that are not pinned, the least recently used first, until
// bytes are free on the disk that were not, and reports whether it removed any. It is for
// others that write to the same disk and find it full: what is cached can be fetched again.
func (c *Cache) MakeRoom(bytes int64) bool { return c.evict(bytes) }

// evict removes the least recently used chunks that are not pinned until the
// files are below the cap and at least extra bytes are free that were not. It
// reports whether it removed any.
func (c *Cache) evict(extra int64) (removed bool) {
	err := c.loadAll()
	var freed int64
	var passed map[objectid.ID]bool // could not be removed
	for !c.closing.Load() {
		c.mu.Lock()
		if !(c.cap > 0 && c.bytes > c.cap) && freed >= extra {
			c.evictErr = err
			c.mu.Unlock()
			return removed
		}
		i := c.victim(passed)
		if i == 0 {
			if c.cap > 0 && c.bytes > c.cap {
				c.evictErr = err
			}
			c.mu.Unlock()
			return removed
		}
		id, size := c.entries.at[i].id, c.entries.at[i].size
		c.busy[id] = nil
		dropped := c.drop(i)
		c.disclaim(id)
		if dropped != nil {
			if passed == nil {
				passed = map[objectid.ID]bool{}
			}
			passed[id] = true
			err = dropped
			continue
		}
		freed += int64(size)
		removed = true
	}
	return removed
}

// victim returns the least recently used entry that may go now, or 0. c.mu is
// held.
func (c *Cache) victim(passed map[objectid.ID]bool) int32 {
	for i := c.entries.at[0].prev; i != 0; i = c.entries.at[i].prev {
		id := c.entries.at[i].id
		if _, taken := c.busy[id]; taken || passed[id] || c.reading(id) && !removesOpenFiles {
			continue
		}
		return i
	}
	return 0
}

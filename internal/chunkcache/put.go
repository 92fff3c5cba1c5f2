package chunkcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/oserror"
	"github.com/hamflx/pocket/internal/pagebuf"
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
	size := int64(len(body))
	var record, kept []byte
	if size <= c.packMost {
		record, kept = newRecord(id, body)
	} else if size <= hotFile {
		kept = append([]byte(nil), body...)
	}
	err := c.add(id, size, pin, record, func(to string, replaces bool) error {
		return writeFile(to, body, replaces)
	})
	if err == nil && kept != nil {
		c.keep(id, pagebuf.Of(kept), false)
	}
	return err
}

// Adopt adds the chunk id by renaming the file at path, of size bytes and on
// the same file system, into the cache: no byte is copied. The caller has hashed
// the file and closed it, and nobody writes to it any more. Otherwise as Put.
// When it succeeds the file is no longer at path (it is removed when the cache
// had the chunk already, if the system permits); when it fails the file is still
// there.
func (c *Cache) Adopt(id objectid.ID, path string, size int64, pin bool) error {
	moved := false
	err := c.add(id, size, pin, nil, func(to string, _ bool) error {
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

// add puts record, if it is not nil, into a pack, or else makes the file of chunk id by
// calling place with its path and whether there is a file that must stay whole until
// it is replaced, unless the cache has the chunk already.
func (c *Cache) add(id objectid.ID, size int64, pin bool, record []byte, place func(to string, replaces bool) error) error {
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
		renew, file := c.touch(i), c.fileOf(i)
		if pin {
			c.pin(i, 1)
		}
		c.mu.Unlock()
		if renew {
			renewFile(file)
		}
		return nil
	}
	if replaces && c.entries.at[i].pack == nil {
		record = nil // a file gives way to a file: no chunk is ever in both
	}
	cost := size
	if record != nil {
		cost = int64(len(record))
	}
	if c.cap > 0 && !replaces && c.pinned+cost > c.limit() {
		pinned := c.pinned
		c.mu.Unlock()
		return fmt.Errorf("%w: %d of %d bytes, no room for %d more", ErrFull, pinned, c.cap, size)
	}
	if c.cap > 0 && !pin && c.bytes+cost > c.cap {
		// What can be fetched again is not worth a cache above its cap: where others are
		// being written and cannot be evicted yet, it is not kept.
		c.mu.Unlock()
		c.evict(cost)
		c.mu.Lock()
		if c.bytes+cost > c.cap {
			c.mu.Unlock()
			return fmt.Errorf("%w: others are being written, no room for %d more bytes", ErrFull, size)
		}
	}
	c.bytes += cost
	reserved := cost
	if pin {
		c.pinned += cost
	}
	over := c.cap > 0 && c.bytes > c.limit()
	c.mu.Unlock()
	if over {
		c.evict(0)
	}
	var to spot
	var err error
	if record != nil {
		to, err = c.append(id, record, &reserved)
		for oserror.DiskFull(err) && c.evict(max(4*size, 16<<20)) {
			to, err = c.append(id, record, &reserved)
		}
	} else {
		err = c.placeFile(id, size, func(to string) error { return place(to, replaces) })
	}

	c.mu.Lock()
	c.bytes -= reserved
	if pin {
		c.pinned -= cost
	}
	if err != nil {
		c.mu.Unlock()
		return fmt.Errorf("cache chunk %s: %w", id, err)
	}
	if i, replaces = c.entries.find(id); replaces {
		// What an earlier process left unverified gave way to these bytes.
		c.forget(i)
	}
	pins := c.absent[id]
	delete(c.absent, id)
	i = c.entries.add(id, uint32(size))
	if to.pack != nil {
		c.name(i, to)
	} else {
		c.bytes += size
	}
	e := &c.entries.at[i]
	e.verified = true
	e.used = uint32(time.Now().Unix())
	c.clock++
	e.stamp = c.clock
	if pin {
		pins++
	}
	if pins > 0 {
		c.pin(i, pins)
	} else {
		c.entries.pushFront(i)
	}
	if to.pack != nil {
		return c.releasePackLocked(to.pack, 1)
	}
	return c.unlock()
}

// limit returns what the files are kept below: the cap, less what emptying a pack
// needs. c.mu is held.
func (c *Cache) limit() int64 {
	if len(c.packs) == 0 || c.cap < 4*c.packSize {
		return c.cap
	}
	return c.cap - c.packSize
}

// lost reports whether the chunk is believed to be there and its file is not.
func (c *Cache) lost(id objectid.ID, size int64) bool {
	c.mu.Lock()
	i, ok := c.entries.find(id)
	if !ok || !c.entries.at[i].verified {
		c.mu.Unlock()
		return false
	}
	file, packed, at := c.fileOf(i), c.entries.at[i].pack != nil, int64(c.entries.at[i].at)
	c.mu.Unlock()
	info, err := os.Lstat(file)
	if packed {
		return err != nil || info.Size() < at+size
	}
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
	for oserror.DiskFull(err) && c.evict(max(4*size, 16<<20)) {
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
	f, err := busyfile.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
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

// forget removes entry i and what memory holds of it, but not its pins; its file is the
// caller's matter. c.mu is held, and unlock must follow.
func (c *Cache) forget(i int32) {
	e := &c.entries.at[i]
	if e.pins > 0 {
		c.pinned -= e.cost()
		c.absent[e.id] = e.pins
	}
	if e.pack != nil {
		c.unname(e)
	} else {
		c.bytes -= int64(e.size)
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
	if old.pack != nil {
		return err
	}
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

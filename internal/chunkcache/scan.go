package chunkcache

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/objectid"
)

// shard is one of the directories that chunks lie in. Its files are known after
// it was read once: by the scan, or by the first call that names one of them.
type shard struct {
	done atomic.Bool // without an error
	mu   sync.Mutex  // held while the directory is read
	// early holds the pins of Open until then, or until a pack has the chunk. Guarded
	// by Cache.mu.
	early map[objectid.ID]uint32
}

// ready reports whether load has nothing to read.
func (s *shard) ready() bool { return s.done.Load() }

// found is a chunk file that an earlier process left.
type found struct {
	id   objectid.ID
	size uint32
	used uint32
}

// load makes the files of shard number known. An error is not kept: the next
// call tries again.
func (s *shard) load(c *Cache, number byte) error {
	if s.done.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done.Load() {
		return nil
	}
	if err := c.loadPacks(); err != nil {
		return err
	}
	files, err := readShard(c.names.shards[number])
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range files {
		if _, packed := c.entries.find(f.id); packed {
			continue // nobody makes both; the one that is known is as good
		}
		i := c.entries.add(f.id, f.size)
		c.entries.at[i].used = f.used
		c.bytes += int64(f.size)
		if n := s.early[f.id]; n > 0 {
			c.pin(i, n)
			delete(s.early, f.id)
		}
	}
	for id, n := range s.early {
		c.absent[id] = n
	}
	s.early = nil
	s.done.Store(true)
	return nil
}

// list returns what is in a directory of the cache; nothing when there is no such directory.
func list(dir string) ([]os.DirEntry, error) {
	listed, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		// Windows says so of one that has become a file as well.
		if _, there := os.Lstat(dir); errors.Is(there, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the chunk cache: %w", err)
	}
	return listed, nil
}

// readShard lists the chunk files in dir, and removes what a writer left
// unfinished there.
func readShard(dir string) ([]found, error) {
	listed, err := list(dir)
	if err != nil {
		return nil, err
	}
	files := make([]found, 0, len(listed))
	for _, item := range listed {
		name := item.Name()
		if strings.HasSuffix(name, tempSuffix) {
			if err := busyfile.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("clean the chunk cache: %w", err)
			}
			continue
		}
		id, err := objectid.Parse(name)
		if err != nil {
			continue // not ours
		}
		info, err := item.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the chunk cache: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() > MaxChunk {
			continue
		}
		files = append(files, found{id: id, size: uint32(info.Size()), used: uint32(info.ModTime().Unix())})
	}
	return files, nil
}

// scan reads the shards that no call has asked for, puts what was found in the
// order of age, and evicts what is too much.
func (c *Cache) scan() { c.evict(0) }

// loadAll reads all shards. Then everything that may be evicted is in the list
// of age.
func (c *Cache) loadAll() error {
	for n := range c.shards {
		if c.closing.Load() {
			return nil
		}
		if err := c.shards[n].load(c, byte(n)); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scanned {
		return nil
	}
	var old []int32
	for i := range c.entries.at {
		e := &c.entries.at[i]
		if i != 0 && !e.id.IsZero() && !e.listed && e.pins == 0 {
			old = append(old, int32(i))
		}
	}
	slices.SortFunc(old, func(a, b int32) int {
		return cmp.Compare(c.entries.at[b].used, c.entries.at[a].used)
	})
	for _, i := range old {
		c.entries.pushBack(i)
	}
	c.scanned = true
	return nil
}

// touch notes that entry i is used now. It reports whether the time of last use
// in the file has grown too old. c.mu is held.
func (c *Cache) touch(i int32) (renew bool) {
	e := &c.entries.at[i]
	if e.pins == 0 {
		c.entries.pushFront(i)
	}
	c.clock++
	e.stamp = c.clock
	now := uint32(time.Now().Unix())
	if now <= e.used || now-e.used < uint32(freshEnough/time.Second) {
		return false
	}
	e.used = now
	return true
}

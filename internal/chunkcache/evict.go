package chunkcache

import "github.com/hamflx/pocket/internal/objectid"

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
	var passed passed
	for !c.closing.Load() {
		c.mu.Lock()
		over := c.cap > 0 && c.bytes > c.limit()
		if !over && freed >= extra {
			c.evictErr = err
			c.mu.Unlock()
			return removed
		}
		i := c.victim(&passed)
		if i == 0 {
			if over {
				c.evictErr = err
			}
			c.mu.Unlock()
			return removed
		}
		id, size, p := c.entries.at[i].id, int64(c.entries.at[i].size), c.entries.at[i].pack
		var failed error
		if p != nil {
			c.mu.Unlock()
			size, failed = c.emptyPack(p, keepUsed)
		} else {
			c.busy[id] = nil
			failed = c.drop(i)
			c.disclaim(id)
		}
		if failed != nil || size == 0 {
			passed.add(id, p)
			if failed != nil {
				err = failed
			}
			continue
		}
		freed += size
		removed = true
	}
	return removed
}

// passed is what one eviction could not remove.
type passed struct {
	chunks map[objectid.ID]bool
	packs  map[*pack]bool
}

func (s *passed) add(id objectid.ID, p *pack) {
	if s.chunks == nil {
		s.chunks, s.packs = map[objectid.ID]bool{}, map[*pack]bool{}
	}
	if p != nil {
		s.packs[p] = true
	} else {
		s.chunks[id] = true
	}
}

// victim returns the least recently used entry that may go now, or 0. c.mu is
// held.
func (c *Cache) victim(passed *passed) int32 {
	for i := c.entries.at[0].prev; i != 0; i = c.entries.at[i].prev {
		e := &c.entries.at[i]
		if e.pack != nil {
			if passed.packs[e.pack] {
				continue
			}
			return i
		}
		if _, taken := c.busy[e.id]; taken || passed.chunks[e.id] || c.reading(e.id) && !removesOpenFiles {
			continue
		}
		return i
	}
	return 0
}

package chunkcache

import (
	"errors"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

const (
	// directLeast is the size from which on a chunk that is read once passes by the
	// page cache on its way to the disk.
	directLeast = 1 << 20
	// directMost bounds the writes under way that do, directPatience how long one waits
	// for its turn before it is left to the page cache.
	directMost     = 4
	directPatience = 20 * time.Millisecond
)

// errNoDirect means that the file system, or this system, cannot write past the page
// cache.
var errNoDirect = errors.New("no direct writes")

// PutFetched adds a chunk that the bucket has, as Put does without pin, but keeps
// body in memory for those who read it next: it must not be changed any more.
//
// stream says that it is read once, from its beginning to its end: then what reads it has
// pages of its own, and the kernel need not keep those of the cache file too. They cost
// as much as the rest of the way from the network to the reader together.
func (c *Cache) PutFetched(id objectid.ID, body []byte, stream bool) error {
	size := int64(len(body))
	if size <= hotFile {
		return c.Put(id, body, false)
	}
	err := c.add(id, size, false, nil, func(to string, replaces bool) error {
		if stream && !replaces && size >= directLeast && !c.noDirect.Load() {
			err := c.writeDirect(to, body)
			if !errors.Is(err, errNoDirect) {
				return err
			}
		}
		return writeFile(to, body, replaces)
	})
	if err == nil {
		c.keep(id, body)
	}
	return err
}

// writeDirect writes a new file past the page cache. errNoDirect when the page cache is
// to do it: it cannot be passed, or the disk does not follow.
func (c *Cache) writeDirect(to string, body []byte) error {
	patient := time.NewTimer(directPatience)
	defer patient.Stop()
	select {
	case c.direct <- struct{}{}:
	case <-patient.C:
		return errNoDirect
	}
	defer func() { <-c.direct }()
	err := writeFileDirect(to, body)
	if errors.Is(err, errNoDirect) {
		c.noDirect.Store(true)
	}
	return err
}

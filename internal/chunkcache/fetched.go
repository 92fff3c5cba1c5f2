package chunkcache

import (
	"errors"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

const (
	// directLeast is the size from which on a fetched chunk passes by the page cache on
	// its way to the disk.
	directLeast = 1 << 20
	// directMost bounds the writes under way that do, directPatience how long one waits
	// for its turn before it is left to the page cache.
	directMost     = 4
	directPatience = 20 * time.Millisecond
)

var (
	// errNoDirect means that the file system of the cache, or this system, cannot write past the
	// page cache.
	errNoDirect = errors.New("no direct writes")
	// errNotNow means that the page cache is to write one chunk: where it lies in memory or how long it is does
	// not permit more, or the disk does not follow.
	errNotNow = errors.New("no direct write of this chunk")
)

// PutFetched adds a chunk that the bucket has, as Put does without pin, but holds
// body for those who read it next. A large one passes by the page cache: what reads it has pages
// of its own, and the kernel need not keep those of the cache file too. They cost
// as much as the rest of the way from the network to the reader together.
//
// stream says that it is read once, from its beginning to its end, and then wanted less than
// others.
func (c *Cache) PutFetched(id objectid.ID, body *pagebuf.Buffer, stream bool) error {
	size := int64(body.Len())
	if size <= hotFile {
		return c.Put(id, body.Bytes(), false)
	}
	err := c.add(id, size, false, nil, func(to string, replaces bool) error {
		if !replaces && size >= directLeast && !c.noDirect.Load() {
			err := c.writeDirect(to, body.Bytes())
			if !errors.Is(err, errNoDirect) && !errors.Is(err, errNotNow) {
				return err
			}
		}
		return writeFile(to, body.Bytes(), replaces)
	})
	if err == nil {
		c.keep(id, body, stream)
	}
	return err
}

// writeDirect writes a new file past the page cache. errNoDirect or errNotNow when the page cache is
// to do it; the former holds for all chunks of this cache.
func (c *Cache) writeDirect(to string, body []byte) error {
	patient := time.NewTimer(directPatience)
	defer patient.Stop()
	select {
	case c.direct <- struct{}{}:
	case <-patient.C:
		return errNotNow
	}
	defer func() { <-c.direct }()
	err := writeFileDirect(to, body)
	if errors.Is(err, errNoDirect) {
		c.noDirect.Store(true)
	}
	return err
}

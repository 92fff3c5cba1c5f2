package chunkcache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

// handle is an open file of a verified chunk. Its fields but f are guarded by
// Cache.mu.
type handle struct {
	f       *os.File
	readers int
	retired bool // left Cache.files: the last reader closes it
}

// retire is told of a handle that left c.files. c.mu is held, and unlock must
// follow.
func (c *Cache) retire(h *handle) {
	h.retired = true
	if h.readers == 0 {
		c.retired = append(c.retired, h.f)
	}
}

// unlock unlocks c.mu, closes the files that were retired under it and removes the
// packs that were given up.
func (c *Cache) unlock() (err error) {
	files, packs := c.retired, c.dead
	c.retired, c.dead = nil, nil
	c.mu.Unlock()
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	for _, p := range packs {
		closed, removed := p.f.Close(), busyfile.Remove(p.f.Name())
		if errors.Is(removed, fs.ErrNotExist) {
			removed = nil
		}
		err = errors.Join(err, closed, removed)
	}
	return err
}

// reading reports whether someone reads the chunk's file at this moment. c.mu is
// held.
func (c *Cache) reading(id objectid.ID) bool {
	p := c.files.places[id]
	return p != nil && p.value.readers > 0
}

// keep puts the bytes of a verified chunk into memory; they are not changed any
// more.
func (c *Cache) keep(id objectid.ID, body *pagebuf.Buffer, once bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.entries.find(id)
	if !ok || !c.entries.at[i].verified {
		return
	}
	if _, there := c.hot.get(id); there {
		return
	}
	if !c.hot.put(id, hotChunk{body.Hold(), once}, body.Held()) {
		body.Release()
	}
}

// Get returns the whole chunk, compared with its name even if it was before, unless
// memory has it. The bytes are shared: they must not be changed. ErrNotExist when
// the cache does not have it. A damaged chunk is removed, or, when it is pinned, set
// aside below damaged/ in the cache directory, and answered with ErrNotExist.
func (c *Cache) Get(id objectid.ID) ([]byte, error) {
	body, _, size, err := c.look(id, 0)
	if err != nil {
		return nil, err
	}
	if body == nil {
		// Whoever wants it whole does not come back for its parts.
		if body, err = c.readWhole(id, size <= hotFile); err != nil {
			return nil, err
		}
	}
	defer body.Release()
	return body.Own(), nil
}

// ReadAt reads into p from byte off of the chunk on, as io.ReaderAt does
// (io.EOF when the chunk ends before p is full). Only the first time in this
// process reads and verifies the whole chunk, and only when it was not put in
// this process. Errors as Get.
func (c *Cache) ReadAt(id objectid.ID, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read chunk %s: negative offset", id)
	}
	for {
		body, verified, size, err := c.look(id, off+int64(len(p)))
		if err != nil {
			return 0, err
		}
		if body == nil {
			if verified && size > hotFile {
				n, err := c.readPart(id, p, off, size)
				if err == errLookAgain {
					continue
				}
				return n, err
			}
			if body, err = c.readWhole(id, true); err != nil {
				return 0, err
			}
		}
		defer body.Release()
		if off >= int64(body.Len()) {
			return 0, io.EOF
		}
		n := copy(p, body.Bytes()[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
}

// InMemory returns a chunk, for somebody who reads it up to byte end, if its bytes are in
// memory; the caller holds it. Else it returns nil. It waits for no disk.
func (c *Cache) InMemory(id objectid.ID, end int64) *pagebuf.Buffer {
	if !c.shards[id[0]].ready() {
		return nil
	}
	body, _, _, _ := c.look(id, end)
	return body
}

// errLookAgain is returned by the parts of a read when what look said is no
// longer so: the chunk was evicted and put again, or its file was cut.
var errLookAgain = errors.New("look again")

// look notes a use of the chunk up to byte end, and returns its bytes if memory has them,
// which the caller then holds, and whether its file was verified and is how large.
func (c *Cache) look(id objectid.ID, end int64) (body *pagebuf.Buffer, verified bool, size int64, err error) {
	if err := c.shards[id[0]].load(c, id[0]); err != nil {
		return nil, false, 0, err
	}
	c.mu.Lock()
	i, ok := c.entries.find(id)
	if !ok {
		c.mu.Unlock()
		return nil, false, 0, notExist(id)
	}
	renew := c.touch(i)
	e := &c.entries.at[i]
	verified, size = e.verified, int64(e.size)
	if h, ok := c.hot.get(id); ok {
		body = h.body.Hold()
		if h.once && end >= size {
			c.hot.back(id) // its reader has it all
		}
	}
	file := c.fileOf(i)
	c.mu.Unlock()
	if renew {
		renewFile(file)
	}
	return body, verified, size, nil
}

// fileOf returns the path of the file that holds entry i. c.mu is held.
func (c *Cache) fileOf(i int32) string {
	e := &c.entries.at[i]
	if e.pack != nil {
		return e.pack.f.Name()
	}
	return c.names.file(e.id)
}

// renewFile notes in a file that it is in use. Only the order of eviction after a
// restart depends on it, so it may fail.
func renewFile(path string) {
	t := time.Now()
	_ = os.Chtimes(path, t, t)
}

// readPart reads from the file of a verified chunk of size bytes, which it keeps
// open.
func (c *Cache) readPart(id objectid.ID, p []byte, off, size int64) (int, error) {
	h, err := c.acquire(id)
	if err != nil {
		return 0, c.failedPart(id, err)
	}
	n, err := h.f.ReadAt(p, off)
	c.mu.Lock()
	h.readers--
	if h.retired && h.readers == 0 {
		c.retired = append(c.retired, h.f)
	}
	closed := c.unlock()
	switch {
	case err == io.EOF && int64(n) < size-off:
		// Somebody cut the file: it is not what was verified.
		c.mu.Lock()
		if i, ok := c.entries.find(id); ok {
			c.entries.at[i].verified = false
			c.files.drop(id)
		}
		if err := c.unlock(); err != nil {
			return 0, err
		}
		return 0, errLookAgain
	case err == io.EOF:
		return n, err
	case err != nil:
		c.mu.Lock()
		c.files.drop(id) // it may be the open file that is of no use any more
		closed = c.unlock()
		return n, c.failedPart(id, errors.Join(err, closed))
	}
	return n, closed
}

// failedPart deals with an error of readPart, which has not claimed the chunk.
func (c *Cache) failedPart(id objectid.ID, cause error) error {
	c.claim(id)
	defer c.disclaim(id)
	if errors.Is(cause, fs.ErrNotExist) {
		// It may have been evicted and put again since it was looked for.
		if _, err := os.Lstat(c.names.file(id)); !errors.Is(err, fs.ErrNotExist) {
			return errLookAgain
		}
	}
	return c.unreadable(id, cause)
}

// acquire returns an open file of the chunk with one reader more.
func (c *Cache) acquire(id objectid.ID) (*handle, error) {
	c.mu.Lock()
	h, ok := c.files.get(id)
	if ok {
		h.readers++
		c.mu.Unlock()
		return h, nil
	}
	c.mu.Unlock()
	f, err := busyfile.Open(c.names.file(id))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if h, ok = c.files.get(id); ok {
		c.retired = append(c.retired, f)
	} else {
		h = &handle{f: f, retired: true}
		// A chunk that went in the meantime is read once more from its open
		// file, which must not be found again.
		if i, there := c.entries.find(id); there && c.entries.at[i].verified {
			h.retired = !c.files.put(id, h, 1)
		}
	}
	h.readers++
	return h, c.unlock()
}

// readWhole reads a chunk's file and verifies it; the caller holds the result. With keep
// only one of several readers does; the others find the bytes in memory.
func (c *Cache) readWhole(id objectid.ID, keep bool) (*pagebuf.Buffer, error) {
	c.claim(id)
	defer c.disclaim(id)
	c.mu.Lock()
	i, ok := c.entries.find(id)
	if !ok {
		c.mu.Unlock()
		return nil, notExist(id)
	}
	if h, kept := c.hot.get(id); kept {
		h.body.Hold()
		c.mu.Unlock()
		return h.body, nil
	}
	from, size := spot{c.entries.at[i].pack, c.entries.at[i].at}, int64(c.entries.at[i].size)
	if from.pack != nil {
		from.pack.users++
	}
	c.mu.Unlock()
	var body *pagebuf.Buffer
	var err error
	if from.pack == nil {
		body, err = readFile(c.names.file(id))
	} else {
		var packed []byte
		packed, err = readPacked(from, size)
		body = pagebuf.Of(packed)
		err = errors.Join(err, c.releasePack(from.pack))
	}
	if err != nil || objectid.Of(body.Bytes()) != id {
		defer body.Release()
		switch {
		case from.pack != nil && (err == nil || errors.Is(err, io.EOF)):
			return nil, c.putAside(id, from, body.Bytes())
		case err != nil:
			return nil, c.unreadable(id, err)
		}
		return nil, c.setAside(id)
	}
	c.mu.Lock()
	// Nobody else removes or replaces the entry of a chunk that is claimed.
	if i, ok := c.entries.find(id); ok {
		c.entries.at[i].verified = true
	}
	c.mu.Unlock()
	if keep {
		c.keep(id, body, false)
	}
	return body, nil
}

// readFile reads a whole chunk file. The caller holds the result, also with an error.
func readFile(path string) (*pagebuf.Buffer, error) {
	none := pagebuf.Of(nil)
	f, err := busyfile.Open(path)
	if err != nil {
		return none, err
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return none, err
	}
	if info.Size() > MaxChunk { // no chunk, whatever it is
		return none, nil
	}
	body := pagebuf.New(int(info.Size()))
	if _, err := io.ReadFull(f, body.Bytes()); err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return body, err
	}
	return body, nil // of a file that was cut meanwhile, its bytes show it
}

// setAside takes a claimed chunk that is not what its name says out of the
// cache. A pinned one may be all there is of somebody's file: it is kept where
// nothing reads it.
func (c *Cache) setAside(id objectid.ID) error {
	c.mu.Lock()
	i, ok := c.entries.find(id)
	if !ok {
		c.mu.Unlock()
		return notExist(id)
	}
	pinned := c.entries.at[i].pins > 0
	if !pinned {
		return errors.Join(fmt.Errorf("%w: %s was damaged and is removed", ErrNotExist, id), c.drop(i))
	}
	c.forget(i)
	err := c.unlock()
	aside := filepath.Join(c.dir, damagedDir, id.String())
	err = errors.Join(err, os.MkdirAll(filepath.Dir(aside), 0o700), rename(c.names.file(id), aside))
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %s is damaged", ErrNotExist, id), err)
	}
	return fmt.Errorf("%w: %s was damaged before it was uploaded; what is left of it is %s", ErrNotExist, id, aside)
}

// putAside is setAside for what was read from a pack. The chunk need not be claimed.
func (c *Cache) putAside(id objectid.ID, from spot, body []byte) error {
	c.mu.Lock()
	i, ok := c.entries.find(id)
	if !ok || c.entries.at[i].pack != from.pack || c.entries.at[i].at != from.at {
		c.mu.Unlock()
		return notExist(id)
	}
	pinned := c.entries.at[i].pins > 0
	c.forget(i)
	err := c.unlock()
	if !pinned {
		return errors.Join(fmt.Errorf("%w: %s was damaged", ErrNotExist, id), err)
	}
	aside := filepath.Join(c.dir, damagedDir, id.String())
	err = errors.Join(err, os.MkdirAll(filepath.Dir(aside), 0o700), os.WriteFile(aside, body, 0o600))
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %s is damaged", ErrNotExist, id), err)
	}
	return fmt.Errorf("%w: %s was damaged before it was uploaded; what is left of it is %s", ErrNotExist, id, aside)
}

// unreadable deals with a claimed chunk whose file cannot be read: one that is
// gone, or that the bucket has too, is forgotten. A pinned one stays, for its disk
// may recover.
func (c *Cache) unreadable(id objectid.ID, cause error) error {
	c.mu.Lock()
	i, ok := c.entries.find(id)
	switch {
	case !ok:
		c.mu.Unlock()
		return notExist(id)
	case errors.Is(cause, fs.ErrNotExist):
		c.forget(i)
		return errors.Join(fmt.Errorf("%w: the file of %s was removed", ErrNotExist, id), c.unlock())
	case c.entries.at[i].pins > 0:
		c.mu.Unlock()
		if isBadDisk(cause) {
			return fmt.Errorf("%w: %w", ErrUnreadable, cause)
		}
		return fmt.Errorf("read chunk: %w", cause)
	}
	err := fmt.Errorf("%w: the file of %s cannot be read: %w", ErrNotExist, id, cause)
	if isBadDisk(cause) {
		return errors.Join(err, c.drop(i)) // c.mu is unlocked by drop
	}
	c.mu.Unlock()
	return err
}

package chunkcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hamflx/pocket/internal/objectid"
)

// Small chunks lie one after the other in packs: making a file costs a file system
// more than all else that is done for a chunk of a few kilobytes, and so does syncing
// it. A pack is only ever appended to, and removed as a whole.
//
// A pack consists of records: a header of 48 bytes, the chunk, zeros up to a multiple
// of 16. A pack that will not grow any more ends with a table of its records, so that
// opening the cache need not read it all. docs/state.md has the bytes.

const (
	packsDir   = "packs"
	packSuffix = ".pack"

	recordMagic  = "Pck1"
	recordHeader = 48
	recordAlign  = 16

	tableMagic   = "PckT"
	tableTrailer = 16
	tableEntry   = 40

	// packMost is the size up to which a chunk goes to a pack. It must not exceed
	// hotFile: parts of packed chunks are not read.
	packMost = hotFile
	// A pack grows to a packsPerCache-th of the cap, within these bounds: it is what
	// eviction gives back at once, and what opening the cache may have to read.
	packsPerCache = 256
	packSmallest  = 1 << 20
	packLargest   = 256 << 20
	packUnlimited = 64 << 20 // without a cap
)

// packSize returns how large packs grow in a cache of capBytes.
func packSize(capBytes int64) int64 {
	if capBytes <= 0 {
		return packUnlimited
	}
	return max(packSmallest, min(capBytes/packsPerCache, packLargest))
}

// pack is one pack. Its fields are guarded by Cache.mu.
type pack struct {
	number  uint64
	f       packFile
	size    int64   // bytes taken, which Cache.bytes counts
	live    int64   // bytes of records that entries name
	places  []int32 // entries that were put here; some are gone
	users   int     // who use f, or are about to name a record
	sealed  bool    // nothing is appended any more
	tabled  bool    // its table is written, or nobody will
	named   bool    // its name survives a power loss
	suspect bool    // a sync failed, after which the system may have forgotten bytes of it
	removed bool
}

// packFile is what a pack needs of its file.
type packFile interface {
	io.ReaderAt
	io.WriterAt
	Name() string
	Sync() error
	Close() error
}

// spot is where a chunk lies: in a pack, or in a file of its own.
type spot struct {
	pack *pack // nil: a file
	at   uint32
}

// recordSize returns the bytes that a chunk takes in a pack.
func recordSize(size int64) int64 {
	return (recordHeader + size + recordAlign - 1) &^ (recordAlign - 1)
}

// newRecord returns the record of a chunk, and the chunk's bytes in it.
func newRecord(id objectid.ID, body []byte) (record, copied []byte) {
	record = make([]byte, recordSize(int64(len(body))))
	copy(record, recordMagic)
	binary.LittleEndian.PutUint32(record[4:], uint32(len(body)))
	copy(record[8:], id[:])
	binary.LittleEndian.PutUint32(record[40:], crc32.Checksum(record[:40], castagnoli))
	copy(record[recordHeader:], body)
	return record, record[recordHeader : recordHeader+len(body) : recordHeader+len(body)]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseRecord reads the header of a record.
func parseRecord(header []byte) (id objectid.ID, size int64, ok bool) {
	if string(header[:4]) != recordMagic || binary.LittleEndian.Uint32(header[40:]) != crc32.Checksum(header[:40], castagnoli) {
		return id, 0, false
	}
	size = int64(binary.LittleEndian.Uint32(header[4:]))
	copy(id[:], header[8:40])
	return id, size, size <= packMost && !id.IsZero()
}

// append puts a chunk into the pack that grows. On success the caller names the
// record, or does not, and gives the pack back by releasePack. What the caller has reserved of
// Cache.bytes, if anything, becomes the pack's, and is nothing then.
func (c *Cache) append(id objectid.ID, record []byte, reserved *int64) (spot, error) {
	size := int64(len(record))
	var p *pack
	for {
		c.mu.Lock()
		p = c.growing
		if p != nil && p.size+size > c.packSize && p.size > 0 {
			c.seal(p)
			if err := c.releasePackLocked(p, 0); err != nil {
				return spot{}, err
			}
			continue
		}
		if p != nil {
			break
		}
		c.mu.Unlock()
		if err := c.newPack(); err != nil {
			return spot{}, err
		}
	}
	at := p.size
	p.size += size
	p.users++
	c.bytes += size - *reserved
	*reserved = 0
	c.mu.Unlock()
	if _, err := p.f.WriteAt(record, at); err != nil {
		return spot{}, errors.Join(err, c.releasePack(p))
	}
	return spot{p, uint32(at + recordHeader)}, nil
}

// seal ends the growth of p. c.mu is held.
func (c *Cache) seal(p *pack) {
	p.sealed = true
	if c.growing == p {
		c.growing = nil
	}
}

// newPack makes a pack and lets it grow, unless somebody else was faster.
func (c *Cache) newPack() error {
	c.packing.Lock()
	defer c.packing.Unlock()
	c.mu.Lock()
	there := c.growing != nil
	c.lastPack++
	number := c.lastPack
	c.mu.Unlock()
	if there {
		return nil
	}
	path := c.names.pack(number)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if made := os.Mkdir(filepath.Dir(path), 0o700); made != nil && !errors.Is(made, fs.ErrExist) {
			return made
		}
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	p := &pack{number: number, f: f}
	c.mu.Lock()
	c.packs[number] = p
	c.growing = p
	c.mu.Unlock()
	return nil
}

// releasePack gives back a use of p.
func (c *Cache) releasePack(p *pack) error {
	c.mu.Lock()
	return c.releasePackLocked(p, 1)
}

// releasePackLocked gives back a number of uses of p. The last of a pack that does not
// grow any more removes it when nothing in it is named, or else writes its table. c.mu
// is held, and not on return.
func (c *Cache) releasePackLocked(p *pack, uses int) error {
	p.users -= uses
	if p.users > 0 || !p.sealed {
		return c.unlock()
	}
	if p.live == 0 {
		c.dropPack(p)
		return c.unlock()
	}
	if p.tabled {
		return c.unlock()
	}
	p.tabled = true
	table, at := c.table(p), p.size
	p.size += int64(len(table))
	c.bytes += int64(len(table))
	p.users++
	c.mu.Unlock()
	// Without its table the pack is read record by record, so nothing is lost
	// when this fails, as on a full disk.
	_, _ = p.f.WriteAt(table, at)
	return c.releasePack(p)
}

// table returns the table of p's records. c.mu is held.
func (c *Cache) table(p *pack) []byte {
	b := make([]byte, 0, len(p.places)*tableEntry+tableTrailer)
	for _, i := range p.places {
		if e := &c.entries.at[i]; e.pack == p {
			b = append(b, e.id[:]...)
			b = binary.LittleEndian.AppendUint32(b, e.at)
			b = binary.LittleEndian.AppendUint32(b, e.size)
		}
	}
	b = append(b, tableMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)-len(tableMagic))/tableEntry)
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// dropPack forgets a pack that nobody uses and no entry names; unlock removes its
// file. c.mu is held.
func (c *Cache) dropPack(p *pack) {
	if p.removed {
		return
	}
	p.removed = true
	c.seal(p)
	delete(c.packs, p.number)
	c.bytes -= p.size
	c.dead = append(c.dead, p)
}

// name makes e the entry of the record at s. c.mu is held.
func (c *Cache) name(i int32, s spot) {
	e := &c.entries.at[i]
	e.pack, e.at = s.pack, s.at
	s.pack.live += recordSize(int64(e.size))
	s.pack.places = append(s.pack.places, i)
}

// unname takes the entry out of its pack, which goes when it was the last and nobody
// uses it. c.mu is held, and unlock must follow.
func (c *Cache) unname(e *entry) {
	p := e.pack
	p.live -= recordSize(int64(e.size))
	e.pack = nil
	if p.live == 0 && p.users == 0 && p.sealed {
		c.dropPack(p)
	}
}

// readPacked reads the chunk at s, of size bytes. The caller has a use of its pack.
func readPacked(s spot, size int64) ([]byte, error) {
	body := make([]byte, size)
	if _, err := s.pack.f.ReadAt(body, int64(s.at)); err != nil {
		return nil, err
	}
	return body, nil
}

// syncPack makes a pack survive a power loss. The caller has a use of it. One whose
// sync failed before is not believed: the system reports the loss of written bytes once,
// and then takes them for clean. What is needed of it is written anew.
func (c *Cache) syncPack(p *pack) error {
	c.mu.Lock()
	suspect, named, removed := p.suspect, p.named, p.removed
	c.mu.Unlock()
	if removed {
		return nil // its chunks were moved, and synced
	}
	if suspect {
		_, err := c.emptyPack(p, keepPinned)
		return err
	}
	err := p.f.Sync()
	if err == nil && !named {
		err = syncDirs(filepath.Dir(p.f.Name()), c.dir)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		p.suspect = true
		c.seal(p)
		return fmt.Errorf("pack %s: %w", p.f.Name(), err)
	}
	p.named = true
	return nil
}

// How emptyPack chooses what is moved to another pack.
type keeping int

const (
	keepPinned keeping = iota // pinned chunks: the others are given up
	keepUsed                  // those, and the more recently used of the others up to half of the pack
)

// move is a chunk on its way to another pack.
type move struct {
	id     objectid.ID
	from   spot
	to     spot
	size   int64
	pinned bool
}

// emptyPack gives up a pack: what is pinned, and by what keep says more, goes to the
// pack that grows. It returns how many bytes that freed: none when too much of the pack
// is pinned to be worth it. c.mu is not held.
func (c *Cache) emptyPack(p *pack, keep keeping) (freed int64, err error) {
	c.emptying.Lock()
	defer c.emptying.Unlock()
	c.mu.Lock()
	if p.removed {
		return 0, c.unlock()
	}
	moves, gone, kept := c.choose(p, keep)
	if freed = p.size - kept; !p.suspect && freed < p.size/16 {
		return 0, c.unlock()
	}
	c.seal(p)
	p.tabled = true // it will not be needed
	p.users++
	for _, i := range gone {
		c.forget(i)
	}
	err = c.unlock()
	pinned := false
	for n := range moves {
		m := &moves[n]
		if err == nil || !m.pinned {
			if failed := c.copyOut(m); failed != nil && m.pinned && !errors.Is(failed, ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
		pinned = pinned || m.pinned
	}
	if pinned && err == nil {
		// The only copies must survive a power loss before the old ones go.
		for _, m := range moves {
			if m.to.pack != nil && err == nil {
				err = c.syncMoved(m.to.pack)
			}
		}
	}
	c.mu.Lock()
	for _, m := range moves {
		i, ok := c.entries.find(m.id)
		there := ok && c.entries.at[i].pack == p && c.entries.at[i].at == m.from.at
		switch {
		case there && m.to.pack != nil && err == nil:
			c.unname(&c.entries.at[i])
			c.name(i, m.to)
			e := &c.entries.at[i]
			c.entries.born++
			e.born = c.entries.born // a sync of the old pack says nothing about the new one
			e.verified, e.synced = true, pinned
			delete(c.dirty, m.id)
			if e.pins > 0 && !e.synced { // pinned since it was chosen
				c.dirty[m.id] = struct{}{}
			}
		case there && c.entries.at[i].pins == 0:
			c.forget(i)
		}
	}
	for _, m := range moves {
		if m.to.pack == nil {
			continue
		}
		failed := c.releasePackLocked(m.to.pack, 1)
		err = errors.Join(err, failed)
		c.mu.Lock()
	}
	if p.live > 0 {
		freed = 0
	}
	return freed, errors.Join(err, c.releasePackLocked(p, 1))
}

// choose sorts the entries of a pack into those to move and those to forget, and
// returns how many bytes the former have. c.mu is held.
func (c *Cache) choose(p *pack, keep keeping) (moves []move, gone []int32, kept int64) {
	var oldest uint32
	if i := c.entries.at[0].prev; i != 0 {
		oldest = c.entries.at[i].stamp
	}
	recent := (c.clock - oldest) / 2
	seen := make(map[int32]bool, len(p.places))
	pass := func(want func(e *entry) bool) {
		for _, i := range p.places {
			e := &c.entries.at[i]
			if e.pack != p || seen[i] || !want(e) {
				continue
			}
			seen[i] = true
			size := int64(e.size)
			kept += recordSize(size)
			moves = append(moves, move{id: e.id, from: spot{p, e.at}, size: size, pinned: e.pins > 0})
		}
	}
	pass(func(e *entry) bool { return e.pins > 0 })
	if keep == keepUsed {
		pass(func(e *entry) bool { return e.stamp-oldest > recent && kept < p.size/2 })
	}
	for _, i := range p.places {
		if c.entries.at[i].pack == p && !seen[i] {
			seen[i] = true
			gone = append(gone, i)
		}
	}
	return moves, gone, kept
}

// copyOut copies a chunk to the pack that grows.
func (c *Cache) copyOut(m *move) error {
	body, err := readPacked(m.from, m.size)
	if err != nil {
		return err
	}
	if objectid.Of(body) != m.id {
		return c.putAside(m.id, m.from, body)
	}
	record, _ := newRecord(m.id, body)
	m.to, err = c.append(m.id, record, new(int64))
	return err
}

// syncMoved is syncPack for a pack that chunks were moved to.
func (c *Cache) syncMoved(p *pack) error {
	if err := p.f.Sync(); err != nil {
		c.mu.Lock()
		p.suspect = true
		c.seal(p)
		c.mu.Unlock()
		return fmt.Errorf("pack %s: %w", p.f.Name(), err)
	}
	return syncDirs(filepath.Dir(p.f.Name()), c.dir)
}

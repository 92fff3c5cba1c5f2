package chunkcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/objectid"
)

// record is a chunk that a pack holds.
type record struct {
	id   objectid.ID
	at   uint32 // of its bytes
	size uint32
}

// loadPacks makes the chunks in packs known, before those in files of their own. An
// error is not kept: the next call tries again.
func (c *Cache) loadPacks() error {
	if c.packsKnown.Load() {
		return nil
	}
	c.packing.Lock()
	defer c.packing.Unlock()
	if c.packsKnown.Load() {
		return nil
	}
	dir := filepath.Join(c.dir, packsDir)
	listed, err := list(dir)
	if err != nil {
		return err
	}
	var numbers []uint64
	for _, item := range listed {
		name, ours := strings.CutSuffix(item.Name(), packSuffix)
		number, err := strconv.ParseUint(name, 16, 64)
		if ours && err == nil && c.names.pack(number) == filepath.Join(dir, item.Name()) && item.Type().IsRegular() {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	for n, number := range numbers {
		if c.closing.Load() {
			return nil
		}
		if err := c.loadPack(number, n == len(numbers)-1); err != nil {
			return fmt.Errorf("read the chunk cache: %w", err)
		}
	}
	c.packsKnown.Store(true)
	return nil
}

// loadPack makes the chunks of one pack known. The last one grows on if it has room, no
// table, and nothing in it that a process left unfinished: behind the header of a chunk
// that was cut, others would be taken for its bytes.
func (c *Cache) loadPack(number uint64, last bool) error {
	c.mu.Lock()
	_, known := c.packs[number]
	c.lastPack = max(c.lastPack, number)
	c.mu.Unlock()
	if known {
		return nil // by an attempt that broke off later
	}
	f, err := busyfile.OpenFile(c.names.pack(number), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if info.Size() > packLargest+(packLargest>>4) {
		return f.Close() // not one of ours
	}
	records, tabled, err := readTable(f, info.Size())
	whole := false
	if err == nil && !tabled {
		records, whole, err = scanRecords(f, info.Size())
	}
	// What cannot be read of a damaged pack does not keep its other chunks from
	// being used.
	p := &pack{number: number, f: f, tabled: tabled, sealed: true}
	p.size = (info.Size() + recordAlign - 1) &^ (recordAlign - 1)
	if last && whole && err == nil && p.size < c.packSize {
		p.sealed = false
	}
	c.mu.Lock()
	c.packs[number] = p
	c.bytes += p.size
	for _, r := range records {
		i, ok := c.entries.find(r.id)
		switch {
		case ok && c.entries.at[i].size != r.size:
			continue
		case ok:
			c.unname(&c.entries.at[i]) // the later record counts
		default:
			i = c.entries.add(r.id, r.size)
			c.entries.at[i].used = uint32(info.ModTime().Unix())
		}
		c.name(i, spot{p, r.at})
		if s := &c.shards[r.id[0]]; s.early[r.id] > 0 {
			c.pin(i, s.early[r.id])
			delete(s.early, r.id)
		}
	}
	if !p.sealed {
		c.growing = p
	} else if p.live == 0 {
		c.dropPack(p)
	}
	return c.unlock()
}

// readTable reads the table at the end of a pack of size bytes, and reports whether
// there is one.
func readTable(f io.ReaderAt, size int64) (records []record, ok bool, err error) {
	var trailer [tableTrailer]byte
	if size < tableTrailer {
		return nil, false, nil
	}
	if _, err := f.ReadAt(trailer[:], size-tableTrailer); err != nil {
		return nil, false, err
	}
	count := int64(binary.LittleEndian.Uint32(trailer[4:]))
	length := count*tableEntry + tableTrailer
	if string(trailer[:4]) != tableMagic || length > size {
		return nil, false, nil
	}
	table := make([]byte, length)
	if _, err := f.ReadAt(table, size-length); err != nil {
		return nil, false, err
	}
	sum := len(table) - 4
	if binary.LittleEndian.Uint32(table[sum:]) != crc32.Checksum(table[:sum], castagnoli) {
		return nil, false, nil
	}
	records = make([]record, 0, count)
	for b := table[:count*tableEntry]; len(b) > 0; b = b[tableEntry:] {
		r := record{at: binary.LittleEndian.Uint32(b[32:]), size: binary.LittleEndian.Uint32(b[36:])}
		copy(r.id[:], b)
		if r.size > packMost || int64(r.at)+int64(r.size) > size-length || r.id.IsZero() {
			return nil, false, nil
		}
		records = append(records, r)
	}
	return records, true, nil
}

// scanRecords finds the records of a pack of size bytes by their headers, and reports
// whether the pack consists of nothing else. What is damaged between two of them is
// passed over. After an error the records before it are returned.
func scanRecords(f io.ReaderAt, size int64) (records []record, whole bool, err error) {
	const window = 1 << 20
	buf := make([]byte, window)
	var have []byte // bytes of the file from at on
	at, whole := int64(0), true
	for at+recordHeader <= size {
		if int64(len(have)) < recordHeader {
			n, err := f.ReadAt(buf[:min(window, size-at)], at)
			if have = buf[:n]; n < recordHeader {
				if err == io.EOF {
					err = nil // it was cut meanwhile
				}
				return records, false, err
			}
		}
		step := int64(recordAlign)
		if id, length, ok := parseRecord(have); ok {
			step = recordSize(length)
			if at+recordHeader+length <= size {
				records = append(records, record{id, uint32(at + recordHeader), uint32(length)})
			}
		} else {
			whole = false
			next := int64(bytes.Index(have[1:], []byte(recordMagic)) + 1)
			if next == 0 {
				next = int64(len(have) - recordHeader)
			}
			step = max(recordAlign, next&^(recordAlign-1))
		}
		at += step
		have = have[min(step, int64(len(have))):]
	}
	return records, whole && at == size, nil
}

package loro

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// An SSTable holds the key-value pairs of a snapshot section in sorted blocks
// of about 4 KiB, docs/encoding.md section 4. A section of zero bytes is the
// empty table.

const (
	sstMagic     = "LORO"
	sstBlockSize = 4096
	sstLarge     = 0x80 // block flag: one value, whose key is only in the metadata
	sstLZ4       = 1    // block flag: compression
)

// sstable reads one section. It aliases the section's bytes.
type sstable struct {
	b      []byte
	at     io.ReaderAt // where the bytes are, in place of b, after moveTo
	blocks []sstBlock
	// pure has, of a ChangeStore section, the number of change blocks in each
	// block that holds nothing else, and 0 for others.
	pure []uint16
}

type sstBlock struct {
	off, end    uint32 // of the stored payload, its checksum excluded
	flags       byte
	first, last []byte
}

// openSSTable parses the metadata and verifies every checksum; block contents
// are decoded by scan.
func openSSTable(b []byte) (*sstable, error) {
	t := &sstable{b: b}
	if len(b) == 0 {
		return t, nil
	}
	if len(b) < 4+1+4+4+4 || string(b[:4]) != sstMagic {
		return nil, invalidf("sstable: bad magic or truncated")
	}
	if b[4] != 0 {
		return nil, invalidf("sstable: unknown schema version %d", b[4])
	}
	metaOff := binary.LittleEndian.Uint32(b[len(b)-4:])
	if metaOff < 5 || uint64(metaOff) > uint64(len(b)-4-8) {
		return nil, invalidf("sstable: metadata offset out of range")
	}
	meta := b[metaOff : len(b)-4]
	n := binary.LittleEndian.Uint32(meta)
	entries, sum := meta[4:len(meta)-4], binary.LittleEndian.Uint32(meta[len(meta)-4:])
	if checksum(entries) != sum {
		return nil, ErrChecksum
	}
	if n == 0 || uint64(n) > uint64(len(entries)/7) {
		return nil, invalidf("sstable: block count out of range")
	}
	c := cursor{b: entries}
	t.blocks = make([]sstBlock, n)
	for i := range t.blocks {
		bl := &t.blocks[i]
		bl.off = c.u32le()
		bl.first = c.take(uint64(c.u16le()))
		bl.flags = c.byte()
		if bl.flags&^sstLarge > sstLZ4 {
			c.fail("sstable: unknown compression")
		}
		bl.last = bl.first
		if bl.flags&sstLarge == 0 {
			bl.last = c.take(uint64(c.u16le()))
		}
	}
	if err := c.done("sstable metadata"); err != nil {
		return nil, err
	}
	for i := range t.blocks {
		bl := &t.blocks[i]
		end := metaOff
		if i+1 < len(t.blocks) {
			end = t.blocks[i+1].off
		}
		if bl.off < 5 || i == 0 && bl.off != 5 || end < bl.off || end-bl.off < 4 || end > metaOff {
			return nil, invalidf("sstable: block offsets out of order")
		}
		bl.end = end - 4
		if checksum(b[bl.off:bl.end]) != binary.LittleEndian.Uint32(b[bl.end:]) {
			return nil, ErrChecksum
		}
		if bytes.Compare(bl.first, bl.last) > 0 || i > 0 && bytes.Compare(t.blocks[i-1].last, bl.first) >= 0 {
			return nil, invalidf("sstable: keys out of order")
		}
	}
	return t, nil
}

// moveTo lets the blocks be read from elsewhere from now on, where the section's bytes
// were written.
func (t *sstable) moveTo(at io.ReaderAt) {
	var keys []byte
	for i := range t.blocks {
		keys = append(append(keys, t.blocks[i].first...), t.blocks[i].last...)
	}
	for i := range t.blocks {
		b := &t.blocks[i]
		n, m := len(b.first), len(b.first)+len(b.last)
		b.first, b.last, keys = keys[:n:n], keys[n:m:m], keys[m:]
	}
	t.b, t.at = nil, at
}

// stored returns block i as it is stored, its checksum included.
func (t *sstable) stored(i int) ([]byte, error) {
	bl := &t.blocks[i]
	if t.at == nil {
		return t.b[bl.off : bl.end+4], nil
	}
	b := make([]byte, bl.end+4-bl.off)
	if _, err := t.at.ReadAt(b, int64(bl.off)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHistory, err)
	}
	if n := len(b) - 4; checksum(b[:n]) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, fmt.Errorf("%w: %w", ErrHistory, ErrChecksum)
	}
	return b, nil
}

// body returns the uncompressed content of block i, using buf as scratch. The
// result aliases the section or buf, which is returned possibly grown.
func (t *sstable) body(i int, buf []byte, bud *budget) (body, scratch []byte, err error) {
	bl := &t.blocks[i]
	stored, err := t.stored(i)
	if err != nil {
		return nil, buf, err
	}
	stored = stored[:len(stored)-4]
	if bl.flags&^sstLarge != sstLZ4 {
		return stored, buf, nil
	}
	buf, err = inflate(buf, stored, bud)
	return buf, buf, err
}

// sstEntries walks the entries of one block.
type sstEntries struct {
	first, data []byte
	offs        []byte // u16le each
	i, n        int
	key         []byte // of the present entry; scratch
	whole       bool   // large block
	err         error
}

func (t *sstable) entries(i int, body []byte) sstEntries {
	bl := &t.blocks[i]
	e := sstEntries{first: bl.first, data: body}
	if bl.flags&sstLarge != 0 {
		e.whole, e.n = true, 1
		return e
	}
	if len(body) < 2 {
		e.err = invalidf("sstable: truncated block")
		return e
	}
	n := int(binary.LittleEndian.Uint16(body[len(body)-2:]))
	if n == 0 || 2*n+2 > len(body) {
		e.err = invalidf("sstable: bad entry count")
		return e
	}
	e.n = n
	e.data, e.offs = body[:len(body)-2-2*n], body[len(body)-2-2*n:]
	return e
}

// next returns the next pair. key is valid until the next call.
func (e *sstEntries) next() (key, val []byte, ok bool) {
	if e.err != nil || e.i >= e.n {
		return nil, nil, false
	}
	i := e.i
	e.i++
	if e.whole {
		return e.first, e.data, true
	}
	start, end := int(binary.LittleEndian.Uint16(e.offs[2*i:])), len(e.data)
	if i+1 < e.n {
		end = int(binary.LittleEndian.Uint16(e.offs[2*i+2:]))
	}
	if i == 0 && start != 0 || start > end || end > len(e.data) {
		e.err = invalidf("sstable: entry offsets out of order")
		return nil, nil, false
	}
	if i == 0 {
		e.key = append(e.key[:0], e.first...)
		return e.key, e.data[:end], true
	}
	c := cursor{b: e.data[start:end]}
	prefix := int(c.byte())
	suffix := c.take(uint64(c.u16le()))
	if c.err != nil || prefix > len(e.first) {
		e.err = invalidf("sstable: malformed entry key")
		return nil, nil, false
	}
	// Compare with the previous key in place before overwriting it.
	if !laterKey(e.key, e.first[:prefix], suffix) {
		e.err = invalidf("sstable: keys out of order")
		return nil, nil, false
	}
	e.key = append(append(e.key[:0], e.first[:prefix]...), suffix...)
	return e.key, c.b, true
}

// laterKey reports whether prefix+suffix sorts after old.
func laterKey(old, prefix, suffix []byte) bool {
	if len(old) < len(prefix) {
		return bytes.Compare(old, prefix) < 0
	}
	if c := bytes.Compare(old[:len(prefix)], prefix); c != 0 {
		return c < 0
	}
	return bytes.Compare(old[len(prefix):], suffix) < 0
}

// scan calls f for every pair in blocks [from, to), in key order. key and val
// are valid only during the call.
func (t *sstable) scan(from, to int, bud *budget, f func(key, val []byte) error) error {
	var buf []byte
	var key []byte
	for i := from; i < to; i++ {
		body, scratch, err := t.body(i, buf, bud)
		buf = scratch
		if err != nil {
			return err
		}
		e := t.entries(i, body)
		e.key = key
		for {
			k, v, ok := e.next()
			if !ok {
				break
			}
			if err := f(k, v); err != nil {
				return err
			}
			if e.i == e.n && !bytes.Equal(k, t.blocks[i].last) {
				return invalidf("sstable: last key differs from the metadata")
			}
		}
		key = e.key
		if e.err != nil {
			return e.err
		}
	}
	return nil
}

// sstWriter builds a section. Keys must be added in strictly increasing order.
type sstWriter struct {
	out    []byte
	base   int // where in out the section begins
	meta   []byte
	blocks uint32
	data   []byte // entries of the open block
	offs   []uint16
	first  []byte
	last   []byte
	lz     deflater
}

// newSSTWriter returns a writer that appends a section to out.
func newSSTWriter(out []byte) *sstWriter {
	w := &sstWriter{base: len(out)}
	w.out = append(append(out, sstMagic...), 0)
	return w
}

// add appends a pair; key and val are copied.
func (w *sstWriter) add(key, val []byte) {
	if len(w.offs) > 0 && len(w.data)+len(key)+len(val)+3+2*len(w.offs)+4 > sstBlockSize {
		w.flush()
	}
	if len(w.offs) == 0 {
		if len(val) > sstBlockSize {
			w.block(val, key, nil, sstLarge)
			return
		}
		w.first = append(w.first[:0], key...)
		w.offs = append(w.offs, 0)
		w.data = append(w.data, val...)
	} else {
		n := 0
		for n < 255 && n < len(key) && n < len(w.first) && key[n] == w.first[n] {
			n++
		}
		w.offs = append(w.offs, uint16(len(w.data)))
		w.data = append(w.data, byte(n))
		w.data = binary.LittleEndian.AppendUint16(w.data, uint16(len(key)-n))
		w.data = append(append(w.data, key[n:]...), val...)
	}
	w.last = append(w.last[:0], key...)
}

func (w *sstWriter) flush() {
	if len(w.offs) == 0 {
		return
	}
	for _, o := range w.offs {
		w.data = binary.LittleEndian.AppendUint16(w.data, o)
	}
	w.data = binary.LittleEndian.AppendUint16(w.data, uint16(len(w.offs)))
	w.block(w.data, w.first, w.last, 0)
	w.data, w.offs = w.data[:0], w.offs[:0]
}

// block stores one block body, compressed where that does not grow it.
func (w *sstWriter) block(body, first, last []byte, flags byte) {
	start := len(w.out)
	w.out = w.lz.appendFrame(w.out, body)
	if len(w.out)-start > len(body) {
		w.out = append(w.out[:start], body...)
	} else {
		flags |= sstLZ4
	}
	w.out = binary.LittleEndian.AppendUint32(w.out, checksum(w.out[start:]))
	w.blockMeta(uint32(start-w.base), first, last, flags)
}

func (w *sstWriter) blockMeta(off uint32, first, last []byte, flags byte) {
	w.meta = binary.LittleEndian.AppendUint32(w.meta, off)
	w.meta = binary.LittleEndian.AppendUint16(w.meta, uint16(len(first)))
	w.meta = append(append(w.meta, first...), flags)
	if flags&sstLarge == 0 {
		w.meta = binary.LittleEndian.AppendUint16(w.meta, uint16(len(last)))
		w.meta = append(w.meta, last...)
	}
	w.blocks++
}

// copyBlock takes over a stored block of another table unchanged. Its keys must
// all sort after those added so far.
func (w *sstWriter) copyBlock(t *sstable, i int) error {
	w.flush()
	stored, err := t.stored(i)
	if err != nil {
		return err
	}
	bl, start := &t.blocks[i], len(w.out)
	w.out = append(w.out, stored...)
	w.blockMeta(uint32(start-w.base), bl.first, bl.last, bl.flags)
	return nil
}

// finish returns out with the section: nothing at all when no pair was added.
func (w *sstWriter) finish() []byte {
	w.flush()
	if w.blocks == 0 {
		return w.out[:w.base]
	}
	metaOff := uint32(len(w.out) - w.base)
	w.out = binary.LittleEndian.AppendUint32(w.out, w.blocks)
	w.out = append(w.out, w.meta...)
	w.out = binary.LittleEndian.AppendUint32(w.out, checksum(w.meta))
	return binary.LittleEndian.AppendUint32(w.out, metaOff)
}

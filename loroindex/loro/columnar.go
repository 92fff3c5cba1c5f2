package loro

import (
	"encoding/binary"
	"math"
)

// The column strategies of serde_columnar, docs/encoding.md section 8.

// boolRle iterates over a BoolRle stream: alternating run lengths, the first of
// false.
type boolRle struct {
	c    cursor
	left uint64
	next bool // value of the run after the present one
}

// take returns the next value; false, false at the end or on malformed input.
func (r *boolRle) take() (v, ok bool) {
	for r.left == 0 {
		if len(r.c.b) == 0 {
			return false, false
		}
		r.left = r.c.uvarint()
		r.next = !r.next
	}
	r.left--
	return !r.next, true
}

// anyRle iterates over an AnyRle stream of unsigned integers.
type anyRle struct {
	c       cursor
	left    uint64
	literal bool
	v       uint64
}

func (r *anyRle) take() (uint64, bool) {
	if r.left == 0 {
		if len(r.c.b) == 0 {
			return 0, false
		}
		if r.left, r.literal = runHead(&r.c); r.left == 0 {
			return 0, false
		}
		if !r.literal {
			r.v = r.c.uvarint()
		}
	}
	if r.literal {
		r.v = r.c.uvarint()
	}
	if r.c.err != nil {
		return 0, false
	}
	r.left--
	return r.v, true
}

// exhausted reports whether the stream ended exactly here.
func (r *anyRle) exhausted() bool { return r.left == 0 && len(r.c.b) == 0 && r.c.err == nil }

func runHead(c *cursor) (n uint64, literal bool) {
	k := c.varint()
	switch {
	case c.err != nil:
		return 0, false
	case k == 0 || k == math.MinInt64:
		c.fail("run of length zero")
		return 0, false
	case k < 0:
		return uint64(-k), true
	}
	return uint64(k), false
}

// deltaRle iterates over a DeltaRle stream: AnyRle of i128 differences. Values
// and differences must fit 64 bits, which those of every column in use do.
type deltaRle struct {
	c       cursor
	left    uint64
	literal bool
	d, v    int64
}

func (r *deltaRle) take() (int64, bool) {
	if r.left == 0 {
		if len(r.c.b) == 0 {
			return 0, false
		}
		if r.left, r.literal = runHead(&r.c); r.left == 0 {
			return 0, false
		}
		if !r.literal {
			r.d = wideVarint(&r.c)
		}
	}
	if r.literal {
		r.d = wideVarint(&r.c)
	}
	if r.c.err != nil {
		return 0, false
	}
	r.left--
	sum := r.v + r.d
	if (sum > r.v) != (r.d > 0) {
		r.c.fail("delta overflows")
		return 0, false
	}
	r.v = sum
	return sum, true
}

func (r *deltaRle) exhausted() bool { return r.left == 0 && len(r.c.b) == 0 && r.c.err == nil }

// wideVarint reads a zigzag i128 that must fit an i64.
func wideVarint(c *cursor) int64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		return unzigzag(uint64(c.byte()))
	}
	// The zigzag form of an i64 fits 64 bits, so what needs more is refused;
	// zero-valued continuation bytes beyond are tolerated up to the 19 bytes
	// a 128-bit varint may have.
	var v uint64
	for i := 0; i < 19; i++ {
		if i >= len(c.b) {
			break
		}
		x := c.b[i]
		if i > 9 && x&0x7f != 0 || i == 9 && x&0x7f > 1 {
			c.fail("128-bit delta out of range")
			return 0
		}
		if i <= 9 {
			v |= uint64(x&0x7f) << (7 * i)
		}
		if x < 0x80 {
			c.b = c.b[i+1:]
			return unzigzag(v)
		}
	}
	c.fail("truncated or overlong varint")
	return 0
}

// takeDeltaOfDelta reads n values of a DeltaOfDelta stream from the front of c
// and leaves c after the stream's last byte.
func takeDeltaOfDelta(c *cursor, n int) []int64 {
	some := c.byte()
	var first int64
	if some > 1 || (some == 1) != (n > 0) {
		c.fail("delta-of-delta stream does not have the expected length")
		return nil
	}
	if some == 1 {
		first = c.varint()
	}
	lastBits := c.byte()
	if c.err != nil || n == 0 {
		return nil
	}
	// Each value costs at least one bit.
	if n-1 > 8*len(c.b) {
		c.fail("delta-of-delta stream is truncated")
		return nil
	}
	out := make([]int64, n)
	out[0] = first
	br := bitReader{b: c.b, end: 8 * len(c.b)}
	if len(c.b) > 0 {
		// lastBits counts what is used of the last byte. The official decoder takes that for the
		// last one it was given, whatever follows the stream, and refuses to read further.
		br.end = min(br.end, 8*(len(c.b)-1)+int(lastBits))
	}
	delta := int64(0)
	for i := 1; i < n; i++ {
		dd, ok := br.deltaOfDelta()
		if !ok {
			c.fail("delta-of-delta stream is truncated")
			return nil
		}
		delta += dd // wraps like the encoder's subtraction
		out[i] = out[i-1] + delta
	}
	c.b = c.b[(br.bit+7)/8:]
	return out
}

type bitReader struct {
	b   []byte
	bit int // position from the front, MSB first
	end int // no bit from here on is read
}

func (r *bitReader) take(n int) (uint64, bool) {
	if r.bit+n > r.end {
		return 0, false
	}
	var v uint64
	for n > 0 {
		avail := 8 - r.bit&7
		k := min(avail, n)
		x := r.b[r.bit>>3] >> (avail - k) & (1<<k - 1)
		v = v<<k | uint64(x)
		r.bit += k
		n -= k
	}
	return v, true
}

func (r *bitReader) deltaOfDelta() (int64, bool) {
	ones := 0
	for ones < 5 {
		b, ok := r.take(1)
		if !ok {
			return 0, false
		}
		if b == 0 {
			break
		}
		ones++
	}
	var width int
	var bias int64
	switch ones {
	case 0:
		return 0, true
	case 1:
		width, bias = 7, 63
	case 2:
		width, bias = 9, 255
	case 3:
		width, bias = 12, 2047
	case 4:
		width, bias = 21, 1<<20-1
	case 5:
		width, bias = 64, 0
	}
	v, ok := r.take(width)
	return int64(v) - bias, ok
}

// Writers.

// appendBoolRle appends vs as a BoolRle stream.
func appendBoolRle(b []byte, vs []bool) []byte {
	cur, run := false, uint64(0)
	for _, v := range vs {
		if v != cur {
			b = appendUvarint(b, run)
			cur, run = v, 0
		}
		run++
	}
	if run > 0 {
		b = appendUvarint(b, run)
	}
	return b
}

// rleEncoder writes an AnyRle stream value by value. put appends one encoded
// value; runs of equal values are folded, others become literals.
type rleEncoder struct {
	out  []byte
	lits []uint64 // pending literals, last one possibly the start of a run
	run  uint64   // length of the run of lits[len-1]
}

// add appends one value, already zigzagged where its type is signed.
func (e *rleEncoder) add(v uint64) {
	if n := len(e.lits); n > 0 && e.lits[n-1] == v {
		e.run++
		return
	}
	if e.run > 1 {
		e.flushRun()
	}
	e.lits = append(e.lits, v)
	e.run = 1
}

// flushRun writes the literals before the run, then the run.
func (e *rleEncoder) flushRun() {
	n := len(e.lits)
	e.flushLiterals(n - 1)
	e.out = appendVarint(e.out, int64(e.run))
	e.out = appendUvarint(e.out, e.lits[n-1])
	e.lits, e.run = e.lits[:0], 0
}

func (e *rleEncoder) flushLiterals(n int) {
	if n == 0 {
		return
	}
	e.out = appendVarint(e.out, -int64(n))
	for _, v := range e.lits[:n] {
		e.out = appendUvarint(e.out, v)
	}
}

// finish returns the stream and resets the encoder; the result is valid until
// the next use.
func (e *rleEncoder) finish() []byte {
	switch {
	case e.run > 1:
		e.flushRun()
	case len(e.lits) == 1:
		// A lone value is a run of one, as the original encoder writes it.
		e.flushRun()
	default:
		e.flushLiterals(len(e.lits))
	}
	out := e.out
	e.out, e.lits, e.run = e.out[:0], e.lits[:0], 0
	return out
}

// deltaEncoder writes a DeltaRle stream.
type deltaEncoder struct {
	rle  rleEncoder
	last int64
}

func (e *deltaEncoder) add(v int64) {
	e.rle.add(zigzag(v - e.last))
	e.last = v
}

func (e *deltaEncoder) finish() []byte {
	e.last = 0
	return e.rle.finish()
}

// appendDeltaOfDelta appends vs as a DeltaOfDelta stream.
func appendDeltaOfDelta(b []byte, vs []int64) []byte {
	if len(vs) == 0 {
		return append(b, 0, 0)
	}
	b = append(b, 1)
	b = appendVarint(b, vs[0])
	at := len(b)
	b = append(b, 0)
	w := bitWriter{out: b}
	delta := int64(0)
	for i := 1; i < len(vs); i++ {
		d := vs[i] - vs[i-1]
		w.deltaOfDelta(d - delta)
		delta = d
	}
	w.out[at] = byte(w.used)
	return w.out
}

type bitWriter struct {
	out  []byte
	used int // bits used in the last byte, 8 when full; 0 only when none was begun
}

func (w *bitWriter) put(v uint64, n int) {
	for n > 0 {
		if w.used == 0 || w.used == 8 {
			w.out = append(w.out, 0)
			w.used = 0
		}
		k := min(8-w.used, n)
		x := byte(v >> (n - k) & (1<<k - 1))
		w.out[len(w.out)-1] |= x << (8 - w.used - k)
		w.used += k
		n -= k
	}
}

func (w *bitWriter) deltaOfDelta(d int64) {
	switch {
	case d == 0:
		w.put(0, 1)
	case d >= -63 && d <= 64:
		w.put(0b10, 2)
		w.put(uint64(d+63), 7)
	case d >= -255 && d <= 256:
		w.put(0b110, 3)
		w.put(uint64(d+255), 9)
	case d >= -2047 && d <= 2048:
		w.put(0b1110, 4)
		w.put(uint64(d+2047), 12)
	case d >= -(1<<20-1) && d <= 1<<20:
		w.put(0b11110, 5)
		w.put(uint64(d+1<<20-1), 21)
	default:
		w.put(0b11111, 5)
		w.put(uint64(d), 64)
	}
}

// positions

// appendPositions appends the PositionArena of sorted unique positions.
func appendPositions(b []byte, ps []string) []byte {
	var prefix rleEncoder
	rest := appendUvarint(nil, uint64(len(ps)))
	last := ""
	for _, p := range ps {
		n := 0
		for n < len(p) && n < len(last) && p[n] == last[n] {
			n++
		}
		prefix.add(uint64(n))
		rest = appendBytes(rest, p[n:])
		last = p
	}
	b = append(b, 1, 2)
	b = appendBytes(b, prefix.finish())
	return appendBytes(b, rest)
}

// maxPositionBytes bounds what the prefix compression of one arena may expand to.
const maxPositionBytes = 64 << 20

// readPositions decodes a PositionArena.
func readPositions(b []byte) ([]string, error) {
	c := cursor{b: b}
	if c.uvarint() != 1 || c.uvarint() != 2 {
		c.fail("position arena: unexpected shape")
	}
	prefix := anyRle{c: cursor{b: c.bytes()}}
	rest := cursor{b: c.bytes()}
	if err := c.done("position arena"); err != nil {
		return nil, err
	}
	n := rest.count(1)
	if n > 1<<16+len(b)/2 {
		return nil, invalidf("position arena: too many positions")
	}
	out := make([]string, 0, n)
	last := ""
	budget := maxPositionBytes
	for range n {
		k, ok := prefix.take()
		tail := rest.bytes()
		if !ok || rest.err != nil || k > uint64(len(last)) {
			return nil, invalidf("position arena: malformed prefix or suffix")
		}
		p := last[:k] + string(tail)
		if budget -= len(p); budget < 0 {
			return nil, invalidf("position arena: expands beyond %d bytes", maxPositionBytes)
		}
		out = append(out, p)
		last = p
	}
	if !prefix.exhausted() {
		return nil, invalidf("position arena: more prefixes than positions")
	}
	return out, rest.done("position arena")
}

// peer tables

// appendPeerTable appends a shared peer table: a count, then u64le each.
func appendPeerTable(b []byte, peers []PeerID) []byte {
	b = appendUvarint(b, uint64(len(peers)))
	for _, p := range peers {
		b = binary.LittleEndian.AppendUint64(b, uint64(p))
	}
	return b
}

func readPeerTable(c *cursor) []PeerID {
	n := c.count(8)
	if n == 0 {
		return nil
	}
	b := c.take(uint64(n) * 8)
	out := make([]PeerID, n)
	for i := range out {
		out[i] = PeerID(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return out
}

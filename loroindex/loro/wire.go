package loro

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// cursor reads the primitive encodings of the format from hostile bytes. The
// first failure is kept in err and empties the cursor; every later read then
// fails too and returns zero, so callers may check once after a group of reads.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(what string) {
	if c.err == nil {
		c.err = invalidf("%s", what)
	}
	c.b = nil
}

// done fails unless everything was read.
func (c *cursor) done(what string) error {
	if c.err == nil && len(c.b) != 0 {
		c.fail(what + ": trailing bytes")
	}
	return c.err
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.fail("truncated")
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// uvarint reads unsigned LEB128 of at most 64 bits.
func (c *cursor) uvarint() uint64 {
	b := c.b
	if len(b) > 0 && b[0] < 0x80 {
		c.b = b[1:]
		return uint64(b[0])
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		c.fail("truncated or overlong varint")
		return 0
	}
	c.b = b[n:]
	return v
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
func zigzag(i int64) uint64   { return uint64(i<<1) ^ uint64(i>>63) }

// varint reads a postcard signed integer: zigzag, then unsigned LEB128.
func (c *cursor) varint() int64 { return unzigzag(c.uvarint()) }

// sleb reads a signed LEB128 of at most 64 bits.
func (c *cursor) sleb() int64 {
	var v int64
	for i := 0; i < len(c.b); i++ {
		x := c.b[i]
		shift := 7 * i
		if shift == 63 && x != 0 && x != 0x7f || shift > 63 {
			c.fail("signed varint overflows")
			return 0
		}
		v |= int64(x&0x7f) << shift
		if x < 0x80 {
			if shift+7 < 64 && x&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			c.b = c.b[i+1:]
			return v
		}
	}
	c.fail("truncated signed varint")
	return 0
}

func (c *cursor) u32() uint32 {
	v := c.uvarint()
	if v > math.MaxUint32 {
		c.fail("integer exceeds 32 bits")
		return 0
	}
	return uint32(v)
}

// counter reads an unsigned integer that must be a valid counter.
func (c *cursor) counter() int32 {
	v := c.uvarint()
	if v > math.MaxInt32 {
		c.fail("counter exceeds 31 bits")
		return 0
	}
	return int32(v)
}

// i32 reads a postcard i32.
func (c *cursor) i32() int32 {
	v := c.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		c.fail("integer exceeds 32 bits")
		return 0
	}
	return int32(v)
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail("truncated")
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// bytes reads a length-prefixed byte string; the result aliases the input.
func (c *cursor) bytes() []byte { return c.take(c.uvarint()) }

// text is bytes that must be UTF-8.
func (c *cursor) text() []byte {
	b := c.bytes()
	if !utf8.Valid(b) {
		c.fail("string is not UTF-8")
		return nil
	}
	return b
}

func (c *cursor) u16le() uint16 {
	b := c.take(2)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint16(b)
}

func (c *cursor) u32le() uint32 {
	b := c.take(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

func (c *cursor) u64le() uint64 {
	b := c.take(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// count reads a number of items of which each takes at least min bytes, so that
// a lying count cannot cause an allocation larger than the input deserves.
func (c *cursor) count(min int) int {
	n := c.uvarint()
	if n > uint64(len(c.b)/min) {
		c.fail("count exceeds the input")
		return 0
	}
	return int(n)
}

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func appendVarint(b []byte, v int64) []byte { return binary.AppendUvarint(b, zigzag(v)) }

func appendSleb(b []byte, v int64) []byte {
	for {
		x := byte(v & 0x7f)
		v >>= 7
		if v == 0 && x&0x40 == 0 || v == -1 && x&0x40 != 0 {
			return append(b, x)
		}
		b = append(b, x|0x80)
	}
}

func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(appendUvarint(b, uint64(len(s))), s...)
}

package loro

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format, https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md,
// of which SSTable blocks use one frame each. Frames are parsed here rather
// than by a stream reader so that output can be bounded before it is allocated.

const lz4Magic = 0x184D2204

// budget bounds what one import may inflate: LZ4 turns one byte into up to 255,
// and a hostile blob must not be able to turn that against us.
type budget struct {
	left  int // bytes
	nodes int // rows of tree states, which can be run-length encoded
}

// inflateBudget allows a generous multiple of the compressed input.
func inflateBudget(input int) *budget { return &budget{left: 16<<20 + 64*input, nodes: 1<<20 + input} }

func (b *budget) spend(n int) error {
	if b == nil {
		return nil
	}
	if b.left -= n; b.left < 0 {
		return invalidf("compressed data expands too far")
	}
	return nil
}

// inflate decodes one LZ4 frame that must fill b exactly, into dst[:0], which is
// grown as needed.
func inflate(dst, b []byte, bud *budget) ([]byte, error) {
	c := cursor{b: b}
	dst = dst[:0]
	if c.u32le() != lz4Magic {
		c.fail("not an lz4 frame")
	}
	desc := c.b
	flg, bd := c.byte(), c.byte()
	if c.err == nil && (flg>>6 != 1 || flg&2 != 0 || bd&0x8f != 0 || bd>>4 < 4) {
		c.fail("lz4: unsupported frame flags")
	}
	independent, blockSums, sized, contentSum, dict := flg&0x20 != 0, flg&0x10 != 0, flg&8 != 0, flg&4 != 0, flg&1 != 0
	maxBlock := 1 << (8 + 2*(bd>>4))
	var size uint64
	if sized {
		size = c.u64le()
	}
	if dict {
		c.fail("lz4: frame needs a dictionary")
	}
	n := len(desc) - len(c.b)
	if hc := c.byte(); c.err == nil && hc != byte(xxh32(desc[:n], 0)>>8) {
		c.fail("lz4: header checksum mismatch")
	}
	for {
		head := c.u32le()
		if c.err != nil {
			return dst, c.err
		}
		if head == 0 {
			break
		}
		src := c.take(uint64(head &^ (1 << 31)))
		if blockSums {
			if sum := c.u32le(); c.err == nil && sum != xxh32(src, 0) {
				c.fail("lz4: block checksum mismatch")
			}
		}
		if c.err != nil {
			return dst, c.err
		}
		if head>>31 != 0 {
			if len(src) > maxBlock {
				return dst, invalidf("lz4: block larger than declared")
			}
			if err := bud.spend(len(src)); err != nil {
				return dst, err
			}
			dst = append(dst, src...)
			continue
		}
		// An LZ4 block expands at most 255 times.
		room := min(maxBlock, 255*len(src)+16)
		start := len(dst)
		if cap(dst)-start < room {
			grown := make([]byte, start, max(start+room, 2*cap(dst)))
			copy(grown, dst)
			dst = grown
		}
		var k int
		var err error
		if independent {
			k, err = lz4.UncompressBlock(src, dst[start:start+room])
		} else {
			k, err = lz4.UncompressBlockWithDict(src, dst[start:start+room], dst[max(0, start-64<<10):start])
		}
		if err != nil {
			return dst, fmt.Errorf("%w: lz4: %v", ErrInvalid, err)
		}
		if err := bud.spend(k); err != nil {
			return dst, err
		}
		dst = dst[:start+k]
	}
	if contentSum {
		if sum := c.u32le(); c.err == nil && sum != xxh32(dst, 0) {
			c.fail("lz4: content checksum mismatch")
		}
	}
	if sized && c.err == nil && size != uint64(len(dst)) {
		c.fail("lz4: content size mismatch")
	}
	return dst, c.done("lz4 frame")
}

// deflater writes LZ4 frames as the original writer does: independent blocks,
// no checksums, the block size chosen by length.
type deflater struct {
	comp lz4.Compressor
	buf  []byte
}

// appendFrame appends b as a frame.
func (d *deflater) appendFrame(out, b []byte) []byte {
	start := len(out)
	id, maxBlock := byte(4), 64<<10
	if len(b) > 256<<10 {
		id, maxBlock = 7, 4<<20
	} else if len(b) > 64<<10 {
		id, maxBlock = 5, 256<<10
	}
	out = binary.LittleEndian.AppendUint32(out, lz4Magic)
	out = append(out, 0x60, id<<4)
	out = append(out, byte(xxh32(out[start+4:], 0)>>8))
	for len(b) > 0 {
		src := b[:min(len(b), maxBlock)]
		b = b[len(src):]
		if bound := lz4.CompressBlockBound(len(src)); cap(d.buf) < bound {
			d.buf = make([]byte, bound)
		}
		n, err := d.comp.CompressBlock(src, d.buf[:cap(d.buf)])
		if err != nil || n == 0 || n >= len(src) {
			out = binary.LittleEndian.AppendUint32(out, uint32(len(src))|1<<31)
			out = append(out, src...)
			continue
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(n))
		out = append(out, d.buf[:n]...)
	}
	return binary.LittleEndian.AppendUint32(out, 0)
}

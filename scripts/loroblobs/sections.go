package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// Snapshots hold their content in blocks with checksums of their own, most of
// them compressed, so that damage from outside never reaches what is in them. Here
// they are taken apart to pairs of keys and values, and put together again
// without compression. docs/encoding.md of the Loro repository has the format.

const envelope = 22 // magic, checksum, mode

type pair struct{ key, value []byte }

// section is one of the three parts of a snapshot.
type section struct {
	raw   []byte // as it is, unless pairs is set
	pairs []pair
}

type snapshot [3]section

func openSnapshot(body []byte) (snapshot, bool) {
	var s snapshot
	for i := range s {
		if len(body) < 4 {
			return s, false
		}
		n := binary.LittleEndian.Uint32(body)
		body = body[4:]
		if uint64(n) > uint64(len(body)) {
			return s, false
		}
		s[i] = openSection(bytes.Clone(body[:n]))
		body = body[n:]
	}
	return s, len(body) == 0
}

// openSection reads the pairs of a sound table.
func openSection(raw []byte) section {
	if len(raw) < 17 || string(raw[:4]) != "LORO" {
		return section{raw: raw}
	}
	end := binary.LittleEndian.Uint32(raw[len(raw)-4:])
	meta := raw[end+4:]
	var starts []uint32
	var firsts [][]byte
	var flags []byte
	take := func(n int) []byte {
		b := meta[:n]
		meta = meta[n:]
		return b
	}
	for range binary.LittleEndian.Uint32(raw[end:]) {
		starts = append(starts, binary.LittleEndian.Uint32(take(4)))
		firsts = append(firsts, take(int(binary.LittleEndian.Uint16(take(2)))))
		flag := take(1)[0]
		flags = append(flags, flag)
		if flag&0x80 == 0 {
			take(int(binary.LittleEndian.Uint16(take(2))))
		}
	}
	starts = append(starts, end)
	var s section
	for i, flag := range flags {
		block := raw[starts[i] : starts[i+1]-4]
		if flag&0x7f == 1 {
			block = inflate(block)
		}
		if flag&0x80 != 0 {
			s.pairs = append(s.pairs, pair{firsts[i], block})
			continue
		}
		s.pairs = append(s.pairs, blockPairs(firsts[i], block)...)
	}
	return s
}

// blockPairs splits a block: entries, their offsets, their number.
func blockPairs(first, block []byte) []pair {
	n := int(binary.LittleEndian.Uint16(block[len(block)-2:]))
	offsets := block[len(block)-2-2*n:]
	entries := block[:len(block)-2-2*n]
	var pairs []pair
	for i := range n {
		start, end := int(binary.LittleEndian.Uint16(offsets[2*i:])), len(entries)
		if i+1 < n {
			end = int(binary.LittleEndian.Uint16(offsets[2*i+2:]))
		}
		entry := entries[start:end]
		if i == 0 {
			pairs = append(pairs, pair{first, entry})
			continue
		}
		common, rest := int(entry[0]), int(binary.LittleEndian.Uint16(entry[1:]))
		key := slices.Concat(first[:common], entry[3:3+rest])
		pairs = append(pairs, pair{key, entry[3+rest:]})
	}
	return pairs
}

// inflate decodes a sound LZ4 frame.
func inflate(frame []byte) []byte {
	var out []byte
	contentSize := 8 * int(frame[4]>>3&1)
	blockSums := frame[4]>>4&1 == 1
	for b := frame[4+2+contentSize+1:]; ; {
		size := binary.LittleEndian.Uint32(b)
		if size == 0 {
			return out
		}
		block := b[4 : 4+size&0x7fffffff]
		b = b[4+len(block):]
		if blockSums {
			b = b[4:]
		}
		if size>>31 == 1 {
			out = append(out, block...)
		} else {
			out = inflateBlock(out, block)
		}
	}
}

func inflateBlock(out, b []byte) []byte {
	length := func(n int) int {
		for more := n == 15; more; {
			n += int(b[0])
			more = b[0] == 255
			b = b[1:]
		}
		return n
	}
	for {
		token := int(b[0])
		b = b[1:]
		literals := length(token >> 4)
		out = append(out, b[:literals]...)
		if b = b[literals:]; len(b) == 0 {
			return out
		}
		from := len(out) - int(binary.LittleEndian.Uint16(b))
		b = b[2:]
		for i := range 4 + length(token&15) {
			out = append(out, out[from+i])
		}
	}
}

// damage damages one thing in the snapshot.
func (s *snapshot) damage(r *rand.Rand) string {
	part := r.IntN(3)
	name := [...]string{"changes", "state", "root"}[part]
	sec := &s[part]
	switch n := r.IntN(30); {
	case n == 0:
		*sec = section{}
		return name + " missing"
	case n == 1:
		*sec = section{raw: []byte("E")}
		return name + " omitted"
	case n == 2:
		s[1], s[2] = s[2], s[1]
		return "state and root swapped"
	case sec.pairs == nil:
		var how string
		sec.raw, how = scratch(r, sec.raw, nil)
		return name + " " + how
	}
	i, j := r.IntN(len(sec.pairs)), r.IntN(len(sec.pairs))
	p := &sec.pairs[i]
	var how string
	switch n := r.IntN(20); {
	case n == 0:
		sec.pairs = slices.Delete(sec.pairs, i, i+1)
		return name + " pair missing"
	case n == 1:
		p.value = sec.pairs[j].value
		return name + " value of another"
	case n < 4:
		p.key, how = scratch(r, bytes.Clone(p.key), sec.pairs[j].key)
		if r.IntN(4) > 0 {
			slices.SortFunc(sec.pairs, func(a, b pair) int { return bytes.Compare(a.key, b.key) })
		}
		return name + " key " + how
	}
	p.value, how = scratch(r, bytes.Clone(p.value), sec.pairs[j].value)
	return name + " value " + how
}

// pack puts a snapshot's body together, its blocks of some size or other.
func (s *snapshot) pack(r *rand.Rand) []byte {
	var out []byte
	for _, sec := range s {
		raw := sec.raw
		if sec.pairs != nil {
			raw = packSection(sec.pairs, 1+r.IntN(9))
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(len(raw)))
		out = append(out, raw...)
	}
	return out
}

// packSection writes a table with so many pairs a block, or fewer: offsets in a
// block have 16 bits.
func packSection(pairs []pair, each int) []byte {
	out := []byte("LORO\x00")
	var meta []byte
	blocks := uint32(0)
	for len(pairs) > 0 {
		n, size := 1, len(pairs[0].value)
		for n < min(each, len(pairs)) && size+len(pairs[n].key)+len(pairs[n].value) < 1<<15 {
			size += len(pairs[n].key) + len(pairs[n].value)
			n++
		}
		chunk := pairs[:n]
		pairs = pairs[n:]
		start := len(out)
		var offsets []byte
		for i, p := range chunk {
			offsets = binary.LittleEndian.AppendUint16(offsets, uint16(len(out)-start))
			if i > 0 {
				out = append(out, 0)
				out = binary.LittleEndian.AppendUint16(out, uint16(len(p.key)))
				out = append(out, p.key...)
			}
			out = append(out, p.value...)
		}
		large := n == 1 && size >= 1<<15 // then it is the value alone
		if !large {
			out = append(out, offsets...)
			out = binary.LittleEndian.AppendUint16(out, uint16(n))
		}
		out = binary.LittleEndian.AppendUint32(out, xxh32(out[start:]))
		meta = binary.LittleEndian.AppendUint32(meta, uint32(start))
		meta = binary.LittleEndian.AppendUint16(meta, uint16(len(chunk[0].key)))
		meta = append(meta, chunk[0].key...)
		blocks++
		if large {
			meta = append(meta, 0x80)
			continue
		}
		last := chunk[n-1].key
		meta = binary.LittleEndian.AppendUint16(append(meta, 0), uint16(len(last)))
		meta = append(meta, last...)
	}
	end := len(out)
	out = binary.LittleEndian.AppendUint32(out, blocks)
	out = append(out, meta...)
	out = binary.LittleEndian.AppendUint32(out, xxh32(meta))
	return binary.LittleEndian.AppendUint32(out, uint32(end))
}

// seal puts a body into the envelope of another blob.
func seal(envelopeOf, body []byte) []byte {
	out := append(bytes.Clone(envelopeOf[:envelope]), body...)
	binary.LittleEndian.PutUint32(out[16:], xxh32(out[20:]))
	return out
}

// xxh32 is the 32-bit xxHash with Loro's seed, after the specification and as
// slow as it is short. It is written here anew so that a mistake in the library's
// own would show.
func xxh32(b []byte) uint32 {
	const seed = 0x4f524f4c
	primes := [...]uint32{2654435761, 2246822519, 3266489917, 668265263, 374761393}
	rotate := func(x uint32, n int) uint32 { return x<<n | x>>(32-n) }
	h := seed + primes[4]
	total := uint32(len(b))
	if len(b) >= 16 {
		minus := uint32(0) - primes[0]
		lanes := [4]uint32{seed + primes[0] + primes[1], seed + primes[1], seed, seed + minus}
		for ; len(b) >= 16; b = b[16:] {
			for i := range lanes {
				lanes[i] = rotate(lanes[i]+binary.LittleEndian.Uint32(b[4*i:])*primes[1], 13) * primes[0]
			}
		}
		h = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18)
	}
	h += total
	for ; len(b) >= 4; b = b[4:] {
		h = rotate(h+binary.LittleEndian.Uint32(b)*primes[2], 17) * primes[3]
	}
	for _, x := range b {
		h = rotate(h+uint32(x)*primes[4], 11) * primes[0]
	}
	h = (h ^ h>>15) * primes[1]
	h = (h ^ h>>13) * primes[2]
	return h ^ h>>16
}

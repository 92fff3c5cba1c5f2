package loro

import (
	"encoding/binary"
	"slices"
)

// The registers of a map are one record in an arena: a 32-bit body length, then
// per register
//
//	uvarint key, uvarint peer, uvarint lamport, uvarint 2*len(value)+deleted, value
//
// with interned key and peer and a packed value (packed.go). A map of more than
// smallMap registers is a bigMap instead, whose values are records of their own.

// recRef locates a record: its offset in the arena in units of 4 bytes, or with
// bigRef set the index of a bigMap. 0 is no record.
type recRef uint32

const (
	bigRef   recRef = 1 << 31
	smallMap        = 32

	arenaChunkBits = 20
	arenaChunk     = 1 << arenaChunkBits
)

// arena holds records in chunks of 1 MiB; a larger one takes several chunk
// numbers. Bytes of replaced records are reclaimed by state.compact.
type arena struct {
	chunks  [][]byte // length used, capacity available; nil inside an oversized chunk's range
	last    recRef   // the record that ends where the open chunk is filled to
	live    int      // bytes of records in use
	garbage int
}

func (a *arena) body(r recRef) []byte {
	off := int(r) << 2 & (arenaChunk - 1)
	b := a.chunks[r>>(arenaChunkBits-2)]
	n := int(binary.LittleEndian.Uint32(b[off:]))
	return b[off+4 : off+4+n]
}

func padded(n int) int { return (n + 4 + 3) &^ 3 }

// alloc makes a record with an uninitialised body of n bytes.
func (a *arena) alloc(n int) (recRef, []byte) {
	need := padded(n)
	c := len(a.chunks) - 1
	if c < 0 || len(a.chunks[c])+need > cap(a.chunks[c]) {
		c = len(a.chunks)
		size := arenaChunk
		start := 0
		if c == 0 {
			start = 4 // so that no record has reference 0
		}
		if need+start > size {
			size = need + start
		}
		a.chunks = append(a.chunks, make([]byte, start, size))
		for extra := (size - 1) >> arenaChunkBits; extra > 0; extra-- {
			a.chunks = append(a.chunks, nil)
		}
	}
	// After an oversized chunk the last number is nil and has no capacity, so
	// the next record opens a new chunk.
	off := len(a.chunks[c])
	a.chunks[c], a.last = appendRecord(a.chunks[c], c, n)
	a.live += need
	return a.last, a.chunks[c][off+4 : off+4+n]
}

// appendRecord makes a record with an uninitialised body of n bytes in the room of
// chunk number c.
func appendRecord(b []byte, c, n int) ([]byte, recRef) {
	off := len(b)
	b = b[:off+padded(n)]
	binary.LittleEndian.PutUint32(b[off:], uint32(n))
	return b, recRef(c<<(arenaChunkBits-2) | off>>2)
}

// resize makes the body of r n bytes long, keeping its content up to the
// shorter length, in place if there is room.
func (a *arena) resize(r recRef, n int) (recRef, []byte) {
	c := int(r >> (arenaChunkBits - 2))
	off := int(r) << 2 & (arenaChunk - 1)
	b := a.chunks[c]
	old := int(binary.LittleEndian.Uint32(b[off:]))
	have, need := padded(old), padded(n)
	switch {
	case need <= have:
		a.free(have - need) // lost until compact
	case r == a.last && off+need <= cap(b):
		b = b[:off+need]
		a.chunks[c] = b
		a.live += need - have
	default:
		ref, fresh := a.alloc(n)
		copy(fresh, b[off+4:off+4+old])
		a.free(have)
		return ref, fresh
	}
	binary.LittleEndian.PutUint32(b[off:], uint32(n))
	return r, b[off+4 : off+4+n]
}

func (a *arena) free(bytes int) {
	a.live -= bytes
	a.garbage += bytes
}

// register is one decoded register; val is nil when deleted.
type register struct {
	key, peer, lam uint32
	deleted        bool
	val            []byte // packed; aliases the arena
}

// nextReg reads the register at the front of body.
func nextReg(body []byte) (r register, rest []byte) {
	var v uint64
	v, body = trustedUvarint(body)
	r.key = uint32(v)
	v, body = trustedUvarint(body)
	r.peer = uint32(v)
	v, body = trustedUvarint(body)
	r.lam = uint32(v)
	v, body = trustedUvarint(body)
	r.deleted = v&1 != 0
	n := v >> 1
	r.val = body[:n:n]
	return r, body[n:]
}

// trustedUvarint reads a varint this package wrote.
func trustedUvarint(b []byte) (uint64, []byte) {
	if b[0] < 0x80 {
		return uint64(b[0]), b[1:]
	}
	v, n := binary.Uvarint(b)
	return v, b[n:]
}

func appendReg(b []byte, r register) []byte {
	b = appendUvarint(b, uint64(r.key))
	b = appendUvarint(b, uint64(r.peer))
	b = appendUvarint(b, uint64(r.lam))
	n := uint64(len(r.val)) << 1
	if r.deleted {
		n |= 1
	}
	return append(appendUvarint(b, n), r.val...)
}

// bigMap is a map of many registers.
type bigMap struct {
	regs map[uint32]bigReg
	live int // registers not deleted
}

type bigReg struct {
	peer, lam uint32
	val       recRef // packed value, 0 when deleted
}

// findReg returns the register of a key.
func (s *state) findReg(rec recRef, key uint32) (register, bool) {
	if rec == 0 {
		return register{}, false
	}
	if rec&bigRef != 0 {
		b, ok := s.bigs[rec&^bigRef].regs[key]
		if !ok {
			return register{}, false
		}
		return s.bigRegister(key, b), true
	}
	for body := s.arena.body(rec); len(body) > 0; {
		var r register
		if r, body = nextReg(body); r.key == key {
			return r, true
		}
	}
	return register{}, false
}

func (s *state) bigRegister(key uint32, b bigReg) register {
	r := register{key: key, peer: b.peer, lam: b.lam, deleted: b.val == 0}
	if b.val != 0 {
		r.val = s.arena.body(b.val)
	}
	return r
}

// eachReg calls f for every register of a record, in no particular order.
func (s *state) eachReg(rec recRef, f func(register) bool) {
	switch {
	case rec == 0:
	case rec&bigRef != 0:
		for key, b := range s.bigs[rec&^bigRef].regs {
			if !f(s.bigRegister(key, b)) {
				return
			}
		}
	default:
		for body := s.arena.body(rec); len(body) > 0; {
			var r register
			if r, body = nextReg(body); !f(r) {
				return
			}
		}
	}
}

// sortedRegs returns all registers sorted by the bytes of their keys.
func (s *state) sortedRegs(buf []register, rec recRef) []register {
	buf = buf[:0]
	s.eachReg(rec, func(r register) bool {
		buf = append(buf, r)
		return true
	})
	slices.SortFunc(buf, func(a, b register) int {
		if s.keys.list[a.key] < s.keys.list[b.key] {
			return -1
		}
		return 1
	})
	return buf
}

// setReg writes a register into the map of an entity unless a later write is
// already there. w.val is copied. It reports whether it was written.
func (s *state) setReg(e ent, w register) bool {
	if !s.writeReg(s.nodes.at(e), w) {
		return false
	}
	s.changed(e)
	return true
}

func (s *state) writeReg(n *node, w register) bool {
	rec := n.rec
	if rec&bigRef != 0 {
		return s.setBig(&s.bigs[rec&^bigRef], w)
	}
	size := regSize(w)
	if rec == 0 {
		ref, body := s.arena.alloc(size)
		appendReg(body[:0], w)
		n.rec = ref
		return true
	}
	body := s.arena.body(rec)
	count := 0
	for at := 0; at < len(body); count++ {
		r, rest := nextReg(body[at:])
		end := len(body) - len(rest)
		if r.key != w.key {
			at = end
			continue
		}
		if !s.later(w.lam, w.peer, r.lam, r.peer) {
			return false
		}
		// Move what follows into its place, then append the new value.
		tail := len(body) - end
		if grow := size - (end - at); grow > 0 {
			old := len(body)
			n.rec, body = s.arena.resize(rec, old+grow)
			copy(body[at:], body[end:old])
			appendReg(body[:at+tail], w)
		} else {
			copy(body[at:], body[end:])
			appendReg(body[:at+tail], w)
			n.rec, _ = s.arena.resize(rec, at+tail+size)
		}
		return true
	}
	if count >= smallMap {
		n.rec = s.promote(rec)
		return s.setBig(&s.bigs[n.rec&^bigRef], w)
	}
	old := len(body)
	n.rec, body = s.arena.resize(rec, old+size)
	appendReg(body[:old], w)
	return true
}

func regSize(r register) int {
	n := uint64(len(r.val)) << 1
	return uvarintLen(uint64(r.key)) + uvarintLen(uint64(r.peer)) + uvarintLen(uint64(r.lam)) + uvarintLen(n|1) + len(r.val)
}

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

// later reports whether write a beats write b.
func (s *state) later(lamA, peerA, lamB, peerB uint32) bool {
	if lamA != lamB {
		return lamA > lamB
	}
	return s.peers.list[peerA] > s.peers.list[peerB]
}

// promote turns a small record into a bigMap.
func (s *state) promote(rec recRef) recRef {
	b := bigMap{regs: make(map[uint32]bigReg)}
	body := s.arena.body(rec)
	for rest := body; len(rest) > 0; {
		var r register
		r, rest = nextReg(rest)
		s.putBig(&b, r)
	}
	s.arena.free(padded(len(body)))
	s.bigs = append(s.bigs, b)
	return recRef(len(s.bigs)-1) | bigRef
}

func (s *state) putBig(b *bigMap, w register) {
	e := bigReg{peer: w.peer, lam: w.lam}
	if !w.deleted {
		ref, body := s.arena.alloc(len(w.val))
		copy(body, w.val)
		e.val = ref
		b.live++
	}
	b.regs[w.key] = e
}

func (s *state) setBig(b *bigMap, w register) bool {
	if old, ok := b.regs[w.key]; ok {
		if !s.later(w.lam, w.peer, old.lam, old.peer) {
			return false
		}
		if old.val != 0 {
			s.arena.free(padded(len(s.arena.body(old.val))))
			b.live--
		}
	}
	s.putBig(b, w)
	return true
}

// compact rewrites the arena when too much of it is garbage.
func (s *state) compact() {
	if s.arena.garbage < 4<<20 || s.arena.garbage < s.arena.live/3 {
		return
	}
	old := s.arena
	s.arena = arena{}
	move := func(r recRef) recRef {
		body := old.body(r)
		ref, fresh := s.arena.alloc(len(body))
		copy(fresh, body)
		return ref
	}
	for e := range s.nodes.n {
		if n := s.nodes.at(e); n.rec != 0 && n.rec&bigRef == 0 {
			n.rec = move(n.rec)
		}
	}
	for _, b := range s.bigs {
		for k, r := range b.regs {
			if r.val != 0 {
				r.val = move(r.val)
				b.regs[k] = r
			}
		}
	}
}

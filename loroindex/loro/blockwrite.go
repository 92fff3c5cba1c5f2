package loro

import (
	"encoding/binary"
	"slices"
	"sort"
)

// blockWriter encodes one change block. Changes are opened with change, then
// filled with operations; finish returns the bytes.
type blockWriter struct {
	ctr     int32
	peers   registry[PeerID] // the block's own first
	keys    registry[string]
	cids    registry[ContainerID]
	changes []outChange
	rows    []outRow
	vals    []byte // payloads of all rows but tree moves
	dels    []delRow
	size    int // estimate of the encoded size, as the official block splitter has it
}

type outChange struct {
	n    int32
	lam  uint32
	ts   int64
	msg  string
	self bool
	deps []ID
}

type outRow struct {
	cid    uint32
	prop   int32
	n      int32
	tag    byte
	val    int32 // length of the payload in vals
	target ID    // of tree moves
	parent ID
	root   bool
	pos    string
}

// targetBlockSize is where blocks are split, by estimated size. Much larger ones
// are valid, but with 300,000 operations in one block loro-crdt 1.10.3 takes
// minutes to read it.
const targetBlockSize = 4096

// estimated sizes per operation, after the official estimate.
const (
	mapOpSize  = 3
	treeOpSize = 8
)

func newBlockWriter(peer PeerID, ctr int32) *blockWriter {
	w := &blockWriter{ctr: ctr}
	w.peerOf(peer)
	return w
}

// registry numbers distinct things in the order they are first used.
type registry[K comparable] struct {
	list []K
	idx  map[K]uint32 // once there are more than a few
}

func (r *registry[K]) number(k K) uint32 {
	if r.idx == nil {
		for i := range r.list {
			if r.list[i] == k {
				return uint32(i)
			}
		}
	} else if i, ok := r.idx[k]; ok {
		return i
	}
	i := uint32(len(r.list))
	r.list = append(r.list, k)
	if r.idx != nil {
		r.idx[k] = i
	} else if len(r.list) > 16 {
		r.idx = make(map[K]uint32)
		for i, k := range r.list {
			r.idx[k] = uint32(i)
		}
	}
	return i
}

func (w *blockWriter) peerOf(p PeerID) uint32 { return w.peers.number(p) }

func (w *blockWriter) key(k string) uint32 { return w.keys.number(k) }

func (w *blockWriter) cid(id ContainerID) uint32 {
	if id.Root {
		w.key(id.Name)
	} else {
		w.peerOf(id.ID.Peer)
	}
	return w.cids.number(id)
}

// appendCIDs encodes the containers, whose names and peers are registered.
func (w *blockWriter) appendCIDs(b []byte) []byte {
	b = appendUvarint(b, uint64(len(w.cids.list)))
	for _, id := range w.cids.list {
		if id.Root {
			b = append(b, 4, 1, byte(id.Type), 0)
			b = appendVarint(b, int64(w.key(id.Name)))
		} else {
			b = append(b, 4, 0, byte(id.Type))
			b = appendUvarint(b, uint64(w.peerOf(id.ID.Peer)))
			b = appendVarint(b, int64(id.ID.Counter))
		}
	}
	return b
}

// change begins a change, or continues the last one where nothing is lost by
// that: no dependency but its predecessor, same message and timestamp.
func (w *blockWriter) change(c outChange) {
	if n := len(w.changes); n > 0 && c.self && len(c.deps) == 0 {
		last := &w.changes[n-1]
		if last.msg == c.msg && last.ts == c.ts && last.lam+uint32(last.n) == c.lam {
			last.n += c.n
			return
		}
	}
	w.changes = append(w.changes, c)
	w.size += 8 + len(c.msg) + 8*len(c.deps)
}

// mapSet writes an operation that sets a key to the nested value the caller
// appended to vals from start on.
func (w *blockWriter) mapSet(cid, key uint32, start int) {
	w.rows = append(w.rows, outRow{cid: cid, prop: int32(key), n: 1, tag: tagLoroValue, val: int32(len(w.vals) - start)})
	w.size += mapOpSize
}

func (w *blockWriter) mapDelete(cid, key uint32) {
	w.rows = append(w.rows, outRow{cid: cid, prop: int32(key), n: 1, tag: tagDeleteOnce})
	w.size += mapOpSize
}

func (w *blockWriter) treeMove(cid uint32, target, parent ID, root bool, pos string) {
	w.peerOf(target.Peer)
	if !root {
		w.peerOf(parent.Peer)
	}
	w.rows = append(w.rows, outRow{cid: cid, n: 1, tag: tagRawTreeMove, target: target, parent: parent, root: root, pos: pos})
	w.size += treeOpSize
}

// other writes an operation of another kind, whose payload the caller appended
// to vals from start on.
func (w *blockWriter) other(cid uint32, prop int32, tag byte, n int32, start int) {
	w.rows = append(w.rows, outRow{cid: cid, prop: prop, n: n, tag: tag, val: int32(len(w.vals) - start)})
	w.size += 8 + len(w.vals) - start
}

// finish returns the encoded block.
func (w *blockWriter) finish() []byte {
	var positions []string
	for i := range w.rows {
		if r := &w.rows[i]; r.tag == tagRawTreeMove && !r.trash() {
			if len(positions) == 0 || positions[len(positions)-1] != r.pos {
				positions = append(positions, r.pos)
			}
		}
	}
	slices.Sort(positions)
	positions = slices.Compact(positions)

	var cid, prop deltaEncoder
	var tag, length rleEncoder
	values := make([]byte, 0, len(w.vals)+12*len(w.rows))
	rest := w.vals
	for i := range w.rows {
		r := &w.rows[i]
		cid.add(int64(r.cid))
		prop.add(int64(r.prop))
		tag.add(uint64(r.tag))
		length.add(uint64(r.n))
		if r.tag != tagRawTreeMove {
			values = append(values, rest[:r.val]...)
			rest = rest[r.val:]
			continue
		}
		values = appendUvarint(values, uint64(w.peerOf(r.target.Peer)))
		values = appendUvarint(values, uint64(r.target.Counter))
		at := 0
		if !r.trash() {
			at = sort.SearchStrings(positions, r.pos)
		}
		values = appendUvarint(values, uint64(at))
		if r.root {
			values = append(values, 1)
			continue
		}
		values = append(values, 0)
		values = appendUvarint(values, uint64(w.peerOf(r.parent.Peer)))
		values = appendUvarint(values, uint64(r.parent.Counter))
	}

	header, meta := w.header()
	first, last := w.changes[0], w.changes[len(w.changes)-1]
	total := int32(0)
	for _, c := range w.changes {
		total += c.n
	}
	out := make([]byte, 0, len(header)+len(meta)+12*len(w.cids.list)+8*len(w.rows)+len(values)+256)
	out = appendUvarint(out, uint64(w.ctr))
	out = appendUvarint(out, uint64(total))
	out = appendUvarint(out, uint64(first.lam))
	out = appendUvarint(out, uint64(last.lam)+uint64(last.n)-uint64(first.lam))
	out = appendUvarint(out, uint64(len(w.changes)))
	out = appendBytes(out, header)
	out = appendBytes(out, meta)
	out = appendBytes(out, w.appendCIDs(nil))
	n := 0
	for _, k := range w.keys.list {
		n += uvarintLen(uint64(len(k))) + len(k)
	}
	out = appendUvarint(out, uint64(n))
	for _, k := range w.keys.list {
		out = appendBytes(out, k)
	}
	if len(positions) > 0 {
		out = appendBytes(out, appendPositions(nil, positions))
	} else {
		out = append(out, 0)
	}
	cols := [4][]byte{cid.finish(), prop.finish(), tag.finish(), length.finish()}
	n = 2
	for _, c := range cols {
		n += uvarintLen(uint64(len(c))) + len(c)
	}
	out = append(appendUvarint(out, uint64(n)), 1, 4)
	for _, c := range cols {
		out = appendBytes(out, c)
	}
	out = appendBytes(out, w.delRows())
	return appendBytes(out, values)
}

func (r *outRow) trash() bool { return !r.root && r.parent == ID{maxPeer, trashCounter} }

func (w *blockWriter) delRows() []byte {
	if len(w.dels) == 0 {
		return nil
	}
	var peer, ctr, n deltaEncoder
	for _, d := range w.dels {
		peer.add(int64(w.peerOf(d.id.Peer)))
		ctr.add(int64(d.id.Counter))
		n.add(d.n)
	}
	out := []byte{1, 3}
	out = appendBytes(out, peer.finish())
	out = appendBytes(out, ctr.finish())
	return appendBytes(out, n.finish())
}

func (w *blockWriter) header() (header, meta []byte) {
	var self []bool
	var counts, depPeers, msgLens rleEncoder
	var depCtrs, lams, stamps []int64
	var msgs []byte
	for i, c := range w.changes {
		for _, d := range c.deps {
			depPeers.add(uint64(w.peerOf(d.Peer)))
			depCtrs = append(depCtrs, int64(d.Counter))
		}
		self = append(self, c.self)
		counts.add(uint64(len(c.deps)))
		if i < len(w.changes)-1 {
			lams = append(lams, int64(c.lam))
		}
		stamps = append(stamps, c.ts)
		msgLens.add(uint64(len(c.msg)))
		msgs = append(msgs, c.msg...)
	}
	header = appendUvarint(nil, uint64(len(w.peers.list)))
	for _, p := range w.peers.list {
		header = binary.LittleEndian.AppendUint64(header, uint64(p))
	}
	for _, c := range w.changes[:len(w.changes)-1] {
		header = appendUvarint(header, uint64(c.n))
	}
	header = appendBoolRle(header, self)
	header = append(header, counts.finish()...)
	header = append(header, depPeers.finish()...)
	header = appendDeltaOfDelta(header, depCtrs)
	header = appendDeltaOfDelta(header, lams)
	meta = appendDeltaOfDelta(nil, stamps)
	meta = append(meta, msgLens.finish()...)
	return header, append(meta, msgs...)
}

// blockCopier copies operations from a decoded block into a writer.
type blockCopier struct {
	w    *blockWriter
	b    *changeBlock
	cids []uint32 // writer's index+1 per source container
	keys []uint32
	it   rowIter
}

func newBlockCopier(w *blockWriter, b *changeBlock) *blockCopier {
	return &blockCopier{w: w, b: b, cids: make([]uint32, len(b.cids)), keys: make([]uint32, len(b.keys)), it: b.rows()}
}

func (c *blockCopier) cid(i uint32) uint32 {
	if c.cids[i] == 0 {
		c.cids[i] = c.w.cid(c.b.id(c.b.cids[i])) + 1
	}
	return c.cids[i] - 1
}

func (c *blockCopier) key(i uint32) uint32 {
	if c.keys[i] == 0 {
		c.keys[i] = c.w.key(string(c.b.keys[i])) + 1
	}
	return c.keys[i] - 1
}

// changes copies the operations [from, to) with their changes. lam gives the
// Lamport time of a change's first copied operation, nil for the encoded one.
func (c *blockCopier) changes(from, to int32, lam func(change int, at int32) uint32) error {
	var r row
	opened := -1
	for c.it.next(&r) {
		if r.ctr+r.n <= from {
			continue
		}
		if r.ctr >= to {
			break
		}
		if r.ctr < from || r.ctr+r.n > to {
			if err := c.b.cut(&r, max(r.ctr, from), min(r.ctr+r.n, to)); err != nil {
				return err
			}
		}
		if r.change != opened {
			opened = r.change
			ch := &c.b.changes[opened]
			out := outChange{n: min(ch.end, to) - r.ctr, lam: ch.lam + uint32(r.ctr-ch.ctr), ts: ch.ts, msg: string(ch.msg), self: ch.self, deps: ch.deps}
			if r.ctr > ch.ctr {
				out.self, out.deps = true, nil
			}
			if lam != nil {
				out.lam = lam(opened, r.ctr)
			}
			c.w.change(out)
		}
		c.row(&r)
	}
	return c.it.err
}

// row copies one operation, translating the registry indices in its payload.
func (c *blockCopier) row(r *row) {
	w, b := c.w, c.b
	cid := c.cid(r.cid)
	kind := b.cids[r.cid].kind
	if r.tag == tagRawTreeMove {
		pos := ""
		if !r.tree.trash() {
			pos = b.positions[r.tree.pos]
		}
		w.treeMove(cid, r.tree.target, r.tree.parent, r.tree.root, pos)
		out := &w.rows[len(w.rows)-1]
		out.prop, out.n = r.prop, r.n
		return
	}
	prop := r.prop
	if kind == TypeMap {
		prop = int32(c.key(uint32(r.prop)))
	}
	if r.tag == tagDeleteSeq && kind <= TypeCounter {
		w.peerOf(r.del.id.Peer)
		w.dels = append(w.dels, r.del)
	}
	start := len(w.vals)
	w.vals = c.payload(w.vals, r)
	w.other(cid, prop, r.tag, r.n, start)
	if kind == TypeMap {
		w.size += mapOpSize - 8 - int(w.rows[len(w.rows)-1].val)
	}
}

func (c *blockCopier) payload(out []byte, r *row) []byte {
	in := cursor{b: r.val}
	switch r.tag {
	case tagLoroValue:
		return c.nested(out, &in)
	case tagMarkStart:
		out = append(out, in.byte())
		out = appendUvarint(out, in.uvarint())
		out = appendUvarint(out, uint64(c.key(uint32(in.uvarint()))))
		return c.nested(out, &in)
	case tagListMove:
		out = appendUvarint(out, in.uvarint())
		out = appendUvarint(out, uint64(c.w.peerOf(c.b.peers[in.uvarint()])))
		return appendUvarint(out, in.uvarint())
	case tagListSet:
		out = appendUvarint(out, uint64(c.w.peerOf(c.b.peers[in.uvarint()])))
		out = appendUvarint(out, in.uvarint())
		return c.nested(out, &in)
	}
	return append(out, r.val...)
}

// nested copies a nested value, translating key indices.
func (c *blockCopier) nested(out []byte, in *cursor) []byte {
	start := in.b
	tag := in.byte()
	switch tag {
	case nestedList:
		n := in.uvarint()
		out = appendUvarint(append(out, tag), n)
		for ; n > 0; n-- {
			out = c.nested(out, in)
		}
		return out
	case nestedMap:
		n := in.uvarint()
		out = appendUvarint(append(out, tag), n)
		for ; n > 0; n-- {
			out = appendUvarint(out, uint64(c.key(uint32(in.uvarint()))))
			out = c.nested(out, in)
		}
		return out
	case nestedI64:
		in.sleb()
	case nestedF64:
		in.take(8)
	case nestedString, nestedBinary:
		in.bytes()
	case nestedContainer:
		in.byte()
	}
	return append(out, start[:len(start)-len(in.b)]...)
}

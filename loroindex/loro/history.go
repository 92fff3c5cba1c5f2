package loro

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// history is the operation log: per peer a contiguous run of change blocks,
// kept as the bytes they arrived in, plus the changes committed here that do not
// fill a block yet.
type history struct {
	peers []peerHistory       // by interned peer
	heads map[uint32]struct{} // peers whose last operation nothing depends on
	open  *openBlock

	// Of a shallow document: the counters history starts at, its root, and the
	// state section at the root.
	start     VersionVector
	root      Frontiers
	rootState []byte

	// Of a document loaded from a snapshot: the largest Lamport time in it, and
	// whether the registers have been made exact since, see reconcile.
	loaded    bool
	loadedLam uint32
	exact     bool
}

type peerHistory struct {
	blocks  []blockRef
	end     int32  // exclusive end of known counters
	lastLam uint32 // lamport of the last operation
}

// blockRef locates a block: either raw bytes, or part of a block of an SSTable.
type blockRef struct {
	ctr, end    int32
	lam, lamEnd uint32
	raw         []byte
	sst         *sstable
	blk         uint32
	off, n      uint32
}

func (h *history) peer(p uint32) *peerHistory {
	if int(p) >= len(h.peers) {
		h.peers = append(h.peers, make([]peerHistory, int(p)+1-len(h.peers))...)
	}
	return &h.peers[p]
}

// end is the exclusive end of a peer's known counters.
func (h *history) end(p uint32) int32 {
	if int(p) >= len(h.peers) {
		return 0
	}
	return h.peers[p].end
}

// blockReader fetches the bytes of blocks, remembering the SSTable block it
// inflated last. Each user has its own, so that reads may be concurrent.
type blockReader struct {
	sst  *sstable
	blk  uint32
	body []byte
	buf  []byte
}

// bytes returns the block's bytes, valid until the next call.
func (r *blockReader) bytes(b *blockRef) ([]byte, error) {
	if b.sst == nil {
		return b.raw, nil
	}
	if r.sst != b.sst || r.blk != b.blk || r.body == nil {
		body, buf, err := b.sst.body(int(b.blk), r.buf, nil)
		r.body, r.buf = body, buf
		if err != nil {
			r.body = nil
			return nil, err
		}
		r.sst, r.blk = b.sst, b.blk
	}
	return r.body[b.off : b.off+b.n], nil
}

// find returns the index of the sealed block that contains a counter.
func (p *peerHistory) find(ctr int32) (int, bool) {
	i := sort.Search(len(p.blocks), func(i int) bool { return p.blocks[i].end > ctr })
	return i, i < len(p.blocks) && p.blocks[i].ctr <= ctr
}

// lookup returns the change that contains an operation.
func (d *Doc) lookup(p uint32, ctr int32) (blockChange, error) {
	if o := d.h.open; o != nil && p == d.self && ctr >= o.ctr && ctr < o.end() {
		return o.change(ctr), nil
	}
	b, err := d.headOf(p, ctr)
	if err != nil {
		return blockChange{}, err
	}
	return b.changeAt(ctr), nil
}

// headOf decodes the head of the sealed block that contains an operation.
func (d *Doc) headOf(p uint32, ctr int32) (*changeBlock, error) {
	if int(p) >= len(d.h.peers) || ctr < 0 {
		return nil, ErrUnknownRange
	}
	ph := &d.h.peers[p]
	i, ok := ph.find(ctr)
	if !ok {
		return nil, ErrUnknownRange
	}
	var r blockReader
	raw, err := r.bytes(&ph.blocks[i])
	if err != nil {
		return nil, err
	}
	return decodeHead(raw)
}

func (b *changeBlock) changeAt(ctr int32) blockChange {
	i := sort.Search(len(b.changes), func(i int) bool { return b.changes[i].end > ctr })
	return b.changes[i]
}

// lamport returns the Lamport time of a known operation.
func (d *Doc) lamport(p uint32, ctr int32) (uint32, error) {
	if ph := &d.h.peers[p]; ctr == ph.end-1 {
		return ph.lastLam, nil
	}
	ch, err := d.lookup(p, ctr)
	if err != nil {
		return 0, err
	}
	return ch.lam + uint32(ctr-ch.ctr), nil
}

// nextLamport is the Lamport time of an operation that depends on all heads.
func (d *Doc) nextLamport() uint64 {
	next := uint64(0)
	for p := range d.h.heads {
		next = max(next, uint64(d.h.peers[p].lastLam)+1)
	}
	return next
}

// advance records that a peer's operations now end at end, after a change that
// began with the given dependencies.
func (h *history) advance(p uint32, end int32, lastLam uint32, deps []ID, peers *peerTable) {
	for _, d := range deps {
		if q, ok := peers.find(d.Peer); ok && h.end(q) == d.Counter+1 {
			delete(h.heads, q)
		}
	}
	ph := h.peer(p)
	ph.end, ph.lastLam = end, lastLam
	if h.heads == nil {
		h.heads = make(map[uint32]struct{})
	}
	h.heads[p] = struct{}{}
}

// Version returns what is known: the exclusive end of every peer's counters.
// An open transaction is not part of it.
func (d *Doc) Version() VersionVector {
	v := make(VersionVector, len(d.h.peers))
	for i := range d.h.peers {
		if end := d.h.peers[i].end; end > 0 {
			v[d.s.peers.list[i]] = end
		}
	}
	return v
}

// Frontiers returns the heads of the history, sorted. An open transaction is
// not part of it.
func (d *Doc) Frontiers() Frontiers {
	f := make(Frontiers, 0, len(d.h.heads))
	for p := range d.h.heads {
		f = append(f, ID{d.s.peers.list[p], d.h.peers[p].end - 1})
	}
	slices.SortFunc(f, ID.Compare)
	return f
}

// openBlock holds the changes committed here since the last sealed block, as
// operations on interned things.
type openBlock struct {
	ctr     int32
	changes []openChange
	ops     []localOp
	vals    []byte
	size    int // estimate
}

type openChange struct {
	ctr, end int32
	lam      uint32
	ts       int64
	msg      string
	self     bool
	deps     []ID
}

// localOp is one operation made here.
type localOp struct {
	kind   OpKind
	on     uint32 // entity of the map, or index+1 of the tree
	key    uint32
	target ent
	parent ent
	pos    uint32
	val    int // end of the packed value in vals
}

func (o *openBlock) end() int32 { return o.ctr + int32(len(o.ops)) }

func (o *openBlock) change(ctr int32) blockChange {
	i := sort.Search(len(o.changes), func(i int) bool { return o.changes[i].end > ctr })
	c := &o.changes[i]
	return blockChange{ctr: c.ctr, end: c.end, lam: c.lam, ts: c.ts, msg: []byte(c.msg), self: c.self, deps: c.deps}
}

// encode writes the operations [from, to) of the open block as a change block.
func (d *Doc) encodeOpen(from, to int32) []byte {
	o := d.h.open
	w := newBlockWriter(d.peer, from)
	s := d.s
	key := func(k uint32) uint32 { return w.key(s.keys.list[k]) }
	i := sort.Search(len(o.changes), func(i int) bool { return o.changes[i].end > from })
	for ; i < len(o.changes) && o.changes[i].ctr < to; i++ {
		c := &o.changes[i]
		lo, hi := max(c.ctr, from), min(c.end, to)
		out := outChange{n: hi - lo, lam: c.lam + uint32(lo-c.ctr), ts: c.ts, msg: c.msg, self: c.self, deps: c.deps}
		if lo > c.ctr {
			out.self, out.deps = true, nil
		}
		w.change(out)
		for ctr := lo; ctr < hi; ctr++ {
			at := ctr - o.ctr
			op := &o.ops[at]
			start := 0
			if at > 0 {
				start = o.ops[at-1].val
			}
			switch op.kind {
			case OpMapSet:
				cid := w.cid(s.mapID(op.on))
				k, at := key(op.key), len(w.vals)
				w.vals, _ = s.appendNested(w.vals, o.vals[start:op.val], key)
				w.mapSet(cid, k, at)
			case OpMapDelete:
				w.mapDelete(w.cid(s.mapID(op.on)), key(op.key))
			default:
				cid := w.cid(s.trees[op.on-1].id)
				parent, root := ID{maxPeer, trashCounter}, op.parent == atRoot
				if op.parent < noEnt {
					parent = ID(s.nodeID(op.parent))
				}
				w.treeMove(cid, ID(s.nodeID(op.target)), parent, root, s.pos.list[op.pos])
			}
		}
	}
	return w.finish()
}

// seal turns the open block into a stored one.
func (d *Doc) seal() {
	o := d.h.open
	if o == nil {
		return
	}
	last := o.changes[len(o.changes)-1]
	d.h.peers[d.self].blocks = append(d.h.peers[d.self].blocks, blockRef{
		ctr: o.ctr, end: o.end(), lam: o.changes[0].lam, lamEnd: last.lam + uint32(last.end-last.ctr),
		raw: d.encodeOpen(o.ctr, o.end()),
	})
	d.h.open = nil
}

// eachBlock calls f for the decoded blocks of a peer that intersect [from, to),
// the open one included.
func (d *Doc) eachBlock(p uint32, from, to int32, f func(*changeBlock) error) error {
	if int(p) >= len(d.h.peers) || from >= to {
		return nil
	}
	var r blockReader
	ph := &d.h.peers[p]
	for i, _ := ph.find(from); i < len(ph.blocks) && ph.blocks[i].ctr < to; i++ {
		raw, err := r.bytes(&ph.blocks[i])
		if err != nil {
			return err
		}
		b, err := decodeBlock(raw)
		if err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
	if o := d.h.open; o != nil && p == d.self && o.ctr < to && from < o.end() {
		b, err := decodeBlock(d.encodeOpen(o.ctr, o.end()))
		if err != nil {
			return err
		}
		return f(b)
	}
	return nil
}

// peersByID returns the interned peers that have history, sorted by PeerID.
func (d *Doc) peersByID() []uint32 {
	var ps []uint32
	for i := range d.h.peers {
		if d.h.peers[i].end > 0 {
			ps = append(ps, uint32(i))
		}
	}
	d.sortPeers(ps)
	return ps
}

func (d *Doc) sortPeers(ps []uint32) {
	slices.SortFunc(ps, func(a, b uint32) int { return cmp.Compare(d.s.peers.list[a], d.s.peers.list[b]) })
}

// depsOf returns the sorted dependencies of a change of peer p.
func depsOf(p PeerID, ctr int32, self bool, others []ID) []ID {
	deps := slices.Clone(others)
	if self {
		deps = append(deps, ID{p, ctr - 1})
	}
	slices.SortFunc(deps, ID.Compare)
	return deps
}

// maxLamport bounds the Lamport times of local operations: the state encoding
// of trees holds no larger ones.
const maxLamport = math.MaxInt32

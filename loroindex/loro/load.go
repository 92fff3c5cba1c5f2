package loro

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// errShutsOut: a change waits that could never be applied to the shallow document
// that was to be loaded.
var errShutsOut = errors.New("waiting changes depend on history before the start of the snapshot")

// load initialises an empty document with a snapshot.
func (d *Doc) load(sec sections) (status ImportStatus, err error) {
	err = caught(func() error {
		status, err = d.tryLoad(sec)
		return err
	})
	return status, err
}

func (d *Doc) tryLoad(sec sections) (ImportStatus, error) {
	fresh := &Doc{peer: d.peer}
	fresh.reset()

	type result struct {
		h   *loadedHistory
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = caught(func() (err error) {
			r.h, err = loadHistory(sec.oplog)
			return err
		})
		done <- r
	}()
	stateErr := caught(func() error { return fresh.s.load(sec) })
	r := <-done
	if r.err != nil {
		return ImportStatus{}, r.err
	}
	if stateErr != nil {
		return ImportStatus{}, stateErr
	}
	if err := fresh.adopt(r.h, sec); err != nil {
		return ImportStatus{}, err
	}

	waiting := d.pending.all()
	in := importer{d: fresh}
	for i := range waiting {
		if in.beforeShallowRoot(&waiting[i].incoming) {
			return ImportStatus{}, errShutsOut
		}
	}
	d.keepHistory(r.h.t, sec.oplog)
	old := *d
	d.self, d.s, d.h = fresh.self, fresh.s, fresh.h
	var status ImportStatus
	for i := range d.h.peers {
		p := d.s.peers.list[i]
		if end := d.h.peers[i].end; end > d.h.start[p] {
			status.Applied = extend(status.Applied, p, d.h.start[p], end)
		}
	}
	status.Touched.All = true
	if err := caught(func() error { return d.retryPending(waiting, &status) }); err != nil {
		*d = old
		d.pending = pendingSet{}
		for _, w := range waiting {
			d.pending.add(w)
		}
		return ImportStatus{}, err
	}
	return status, nil
}

// keepHistory puts the bytes of a section, which are the caller's, where they stay.
func (d *Doc) keepHistory(t *sstable, section []byte) {
	if d.putHistory != nil && len(section) >= putAtLeast {
		if at, err := d.putHistory(section); err == nil {
			t.moveTo(at)
			return
		}
	}
	t.moveTo(nil)
	t.b = slices.Clone(section)
}

// retryPending applies what waited for the snapshot that was just loaded.
func (d *Doc) retryPending(waiting []pendingChange, status *ImportStatus) error {
	if len(waiting) == 0 {
		return nil
	}
	in := importer{d: d}
	for _, w := range waiting {
		if p, ok := d.s.peers.find(w.b.peer()); !ok || w.change().end > d.h.end(p) {
			in.changes = append(in.changes, w.incoming)
		}
	}
	d.pending = pendingSet{}
	more, err := in.run()
	if err != nil {
		return err
	}
	for p, s := range more.Applied {
		status.Applied = extend(status.Applied, p, s.Start, s.End)
	}
	return nil
}

// loadedHistory is a decoded ChangeStore section.
type loadedHistory struct {
	t        *sstable
	peers    []loadedPeer
	vv, sv   VersionVector
	fr, sf   Frontiers
	lastTree treeKey
	// deps are the dependencies of all changes of other peers on the last
	// operation of a peer, and everything else that needs checking once vv is
	// known.
	deps map[PeerID]int32 // largest counter depended on
}

type loadedPeer struct {
	id      PeerID
	blocks  []blockRef
	lastLam uint32
}

// openChangeStore is openSSTable for the history, of which even an empty document
// has something to say.
func openChangeStore(section []byte) (*sstable, error) {
	if len(section) == 0 {
		return nil, invalidf("change store: empty")
	}
	return openSSTable(section)
}

// loadHistory decodes and validates a ChangeStore section, which it refers to.
func loadHistory(section []byte) (*loadedHistory, error) {
	t, err := openChangeStore(section)
	if err != nil {
		return nil, err
	}
	h := &loadedHistory{t: t, deps: make(map[PeerID]int32)}
	bud := inflateBudget(len(section))
	var buf []byte
	t.pure = make([]uint16, len(t.blocks))
	for i := range t.blocks {
		body, scratch, err := t.body(i, buf, bud)
		if err != nil {
			return nil, err
		}
		buf = scratch
		e := t.entries(i, body)
		t.pure[i] = uint16(e.n)
		for {
			key, val, ok := e.next()
			if !ok {
				break
			}
			if len(key) != 12 {
				t.pure[i] = 0
				err = h.meta(string(key), val)
			} else {
				err = h.block(t, i, key, val, body)
			}
			if err != nil {
				return nil, err
			}
			if e.i == e.n && string(key) != string(t.blocks[i].last) {
				return nil, invalidf("sstable: last key differs from the metadata")
			}
		}
		if e.err != nil {
			return nil, e.err
		}
	}
	return h, h.check()
}

func (h *loadedHistory) meta(key string, val []byte) (err error) {
	switch key {
	case "vv":
		h.vv, err = readVersionVector(val)
	case "sv":
		if len(val) > 0 {
			h.sv, err = readVersionVector(val)
		}
	case "fr":
		h.fr, err = readFrontiers(val)
	case "sf":
		h.sf, err = readFrontiers(val)
	}
	return err
}

func (h *loadedHistory) block(t *sstable, i int, key, val, body []byte) error {
	id := PeerID(binary.BigEndian.Uint64(key))
	ctr := int32(binary.BigEndian.Uint32(key[8:]))
	b, err := decodeBlock(val)
	if err != nil {
		return err
	}
	if b.peer() != id || b.ctr != ctr {
		return invalidf("change store: block is not what its key says")
	}
	// val is a part of body.
	ref := blockRef{ctr: b.ctr, end: b.end, lam: b.lam, lamEnd: b.lamEnd, sst: t, blk: uint32(i)}
	ref.off, ref.n = uint32(cap(body)-cap(val)), uint32(len(val))
	if n := len(h.peers); n == 0 || h.peers[n-1].id != id {
		h.peers = append(h.peers, loadedPeer{id: id})
	}
	p := &h.peers[len(h.peers)-1]
	if n := len(p.blocks); n > 0 && (p.blocks[n-1].end != ref.ctr || p.lastLam >= ref.lam) {
		return invalidf("change store: blocks of peer %v are not contiguous", id)
	}
	p.blocks = append(p.blocks, ref)
	p.lastLam = b.lamEnd - 1
	if h.lastTree.less(b.lastTree) {
		h.lastTree = b.lastTree
	}
	for c := range b.changes {
		for _, d := range b.changes[c].deps {
			if last, ok := h.deps[d.Peer]; !ok || last < d.Counter {
				h.deps[d.Peer] = d.Counter
			}
		}
	}
	return nil
}

// complete makes sure that the section says what version it is of.
func (h *loadedHistory) complete() error {
	if h.vv == nil || h.fr == nil {
		return invalidf("change store: no version")
	}
	return nil
}

// check compares the section's metadata with its blocks.
func (h *loadedHistory) check() error {
	if err := h.complete(); err != nil {
		return err
	}
	have := make(VersionVector, len(h.peers))
	for i := range h.peers {
		p := &h.peers[i]
		if p.blocks[0].ctr != h.sv[p.id] {
			return invalidf("change store: history of peer %v starts at %d, not %d", p.id, p.blocks[0].ctr, h.sv[p.id])
		}
		have[p.id] = p.blocks[len(p.blocks)-1].end
	}
	for p, start := range h.sv {
		if _, ok := have[p]; !ok {
			have[p] = start
		}
	}
	if h.vv.Compare(have) != Equal {
		return invalidf("change store: version vector differs from the changes")
	}
	for p, ctr := range h.deps {
		if ctr >= have[p] {
			return invalidf("change store: depends on a missing operation of peer %v", p)
		}
	}
	var heads Frontiers
	for i := range h.peers {
		p := h.peers[i].id
		if dep, ok := h.deps[p]; !ok || dep < have[p]-1 {
			heads = append(heads, ID{p, have[p] - 1})
		}
	}
	if !heads.Equal(h.fr) {
		return invalidf("change store: frontiers differ from the changes")
	}
	if (len(h.sv) > 0 || len(h.sf) > 0) && len(h.peers) > 0 {
		for _, id := range h.sf {
			if !h.vv.Includes(id) || h.sv[id.Peer] != id.Counter {
				return invalidf("change store: shallow root is not the start of its history")
			}
		}
	}
	return nil
}

// adopt takes over a loaded history, and brings the state up to it where the
// snapshot left that to the reader.
func (d *Doc) adopt(l *loadedHistory, sec sections) error {
	h := &d.h
	h.heads = make(map[uint32]struct{})
	for i := range l.peers {
		lp := &l.peers[i]
		p := d.s.peers.intern(lp.id)
		ph := h.peer(p)
		ph.blocks, ph.lastLam = lp.blocks, lp.lastLam
	}
	for id, end := range l.vv {
		h.peer(d.s.peers.intern(id)).end = end
	}
	h.loaded = true
	for i := range l.peers {
		h.loadedLam = max(h.loadedLam, l.peers[i].lastLam)
	}
	for _, id := range l.fr {
		h.heads[d.s.peers.intern(id.Peer)] = struct{}{}
	}
	d.s.log.floor = l.lastTree
	if len(sec.root) == 0 {
		if len(l.sv) > 0 || len(l.sf) > 0 {
			return invalidf("snapshot: shallow history without its state")
		}
		if len(l.peers) > 0 && (len(sec.state) == 0 || string(sec.state) == stateOmitted) {
			// Other readers would show an empty document here. The history
			// knows better.
			d.s.log.floor = treeKey{}
			return d.replay(d.s, nil)
		}
		return nil
	}
	if len(l.sf) == 0 && len(l.sv) == 0 {
		// Shallow in form, from the very beginning: nothing was cut off.
		if string(sec.state) == stateOmitted {
			d.s.log.floor = treeKey{}
			return d.replay(d.s, nil)
		}
		return nil
	}
	if len(l.sf) != 1 {
		return invalidf("snapshot: shallow root is not one operation")
	}
	h.start, h.root = l.sv, l.sf
	if h.start == nil {
		h.start = VersionVector{}
	}
	h.rootState = slices.Clone(sec.root)
	if !d.s.rootFrontiers.Equal(l.sf) {
		return invalidf("snapshot: state at the shallow root is of another version")
	}
	if string(sec.state) == stateOmitted {
		lam, err := d.lamportAt(l.sf[0])
		if err != nil {
			return err
		}
		d.s.log.floor = treeKey{lam, l.sf[0].Peer, l.sf[0].Counter, true}
		return d.replay(d.s, &l.sf[0])
	}
	return nil
}

// replay applies the whole history to a state, without the operation root of a
// shallow document, whose effect the state has.
func (d *Doc) replay(s *state, root *ID) error {
	var ops []treeOp
	for _, p := range d.peersByID() {
		err := d.eachBlock(p, 0, math.MaxInt32, func(b *changeBlock) error {
			ops = s.replayBlock(b, root, math.MaxInt32, ops)
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.sortOps(ops)
	s.execute(ops)
	s.compact()
	return nil
}

// replayBlock applies the operations of a block below a counter to the
// registers, and appends those on trees to ops.
func (s *state) replayBlock(b *changeBlock, root *ID, to int32, ops []treeOp) []treeOp {
	var as []accepted
	for i := range b.changes {
		c := &b.changes[i]
		from := c.ctr
		if root != nil && root.Peer == b.peer() && from <= root.Counter {
			from = root.Counter + 1
		}
		if from < min(c.end, to) {
			as = append(as, accepted{incoming{b, i, from}, c.lam + uint32(from-c.ctr)})
		}
	}
	if len(as) == 0 {
		return ops
	}
	return s.applyBlock(as, to, ops)
}

// lamportAt is lamport by public id.
func (d *Doc) lamportAt(id ID) (uint32, error) {
	p, ok := d.s.peers.find(id.Peer)
	if !ok || id.Counter >= d.h.end(p) {
		return 0, ErrUnknownRange
	}
	return d.lamport(p, id.Counter)
}

func readVersionVector(b []byte) (VersionVector, error) {
	c := cursor{b: b}
	n := c.count(2)
	v := make(VersionVector, n)
	for range n {
		p := PeerID(c.uvarint())
		end := c.i32()
		if _, dup := v[p]; dup || end < 0 {
			c.fail("version vector: bad entry")
		}
		if c.err != nil {
			break
		}
		v[p] = end
	}
	return v, c.done("version vector")
}

func appendVersionVector(b []byte, v VersionVector) []byte {
	ps := make([]PeerID, 0, len(v))
	for p := range v {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	b = appendUvarint(b, uint64(len(ps)))
	for _, p := range ps {
		b = appendUvarint(b, uint64(p))
		b = appendVarint(b, int64(v[p]))
	}
	return b
}

func readFrontiers(b []byte) (Frontiers, error) {
	c := cursor{b: b}
	n := c.count(2)
	f := make(Frontiers, 0, n)
	for range n {
		id := ID{PeerID(c.uvarint()), c.i32()}
		if id.Counter < 0 {
			c.fail("frontiers: negative counter")
		}
		f = append(f, id)
	}
	return f, c.done("frontiers")
}

func appendFrontiers(b []byte, f Frontiers) []byte {
	b = appendUvarint(b, uint64(len(f)))
	for _, id := range sortedIDs(f) {
		b = appendUvarint(b, uint64(id.Peer))
		b = appendVarint(b, int64(id.Counter))
	}
	return b
}

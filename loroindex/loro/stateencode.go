package loro

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// encodeState appends a state section. root, if not nil, makes it the state at
// the root of a shallow snapshot, which names its version. over, if not nil, is
// such a root section that the result will be laid over: entries equal to those
// there are left out. Of a state that is written as it is, what did not change since
// it was last read or written is copied.
func (d *Doc) encodeState(out []byte, s *state, root Frontiers, over []byte) ([]byte, error) {
	for id, o := range s.others {
		if o.dirty {
			return nil, fmt.Errorf("%w: %v", ErrUnsupportedContainer, id)
		}
	}
	e := stateEncoder{d: d, s: s, w: newSSTWriter(out)}
	if over != nil {
		if err := e.loadBase(over); err != nil {
			return nil, err
		}
	}
	// Keys sort by kind first; each kind's entries are sorted among themselves.
	var loose []looseEntry // everything but the maps that are no roots
	for i := range s.trees {
		if s.trees[i].nodes > 0 {
			val, err := e.tree(uint32(i + 1))
			if err != nil {
				return nil, err
			}
			loose = append(loose, looseEntry{appendCIDKey(nil, s.trees[i].id), val})
		}
	}
	for id, o := range s.others {
		if o.state != nil {
			loose = append(loose, looseEntry{appendCIDKey(nil, id), o.state})
		}
	}
	for _, r := range s.roots {
		if s.nodes.at(r.e).rec != 0 {
			val, err := e.mapEntry(r.e)
			if err != nil {
				return nil, err
			}
			loose = append(loose, looseEntry{appendCIDKey(nil, RootID(r.name, TypeMap)), slices.Clone(val)})
		}
	}
	if root != nil {
		loose = append(loose, looseEntry{[]byte(frontiersKey), appendFrontiers(nil, root)})
	}
	slices.SortFunc(loose, func(a, b looseEntry) int { return bytes.Compare(a.key, b.key) })

	// The keys of maps that are no roots begin with 0 and come first.
	plain := root == nil && over == nil
	var kept *keptState
	if plain {
		kept = s.kept.Load()
	}
	fresh, err := e.addMaps(kept)
	if err != nil {
		return nil, err
	}
	for _, l := range loose {
		e.add(l.key, l.val)
	}
	section := len(out)
	out = e.w.finish()
	if plain && (kept == nil || fresh > 256+len(kept.clean)/8) {
		err = s.keep(out[section:])
	}
	return out, err
}

type looseEntry struct{ key, val []byte }

type stateEncoder struct {
	d     *Doc
	s     *state
	w     *sstWriter
	base  map[string]string
	buf   []byte
	regs  []register
	peers []PeerID
	idx   []uint64
}

func (e *stateEncoder) loadBase(section []byte) error {
	t, err := openSSTable(section)
	if err != nil {
		return err
	}
	e.base = make(map[string]string)
	return t.scan(0, len(t.blocks), nil, func(key, val []byte) error {
		e.base[string(key)] = string(val)
		return nil
	})
}

func (e *stateEncoder) add(key, val []byte) {
	if old, ok := e.base[string(key)]; ok && old == string(val) {
		return
	}
	e.w.add(key, val)
}

// mapKey sorts maps like the bytes of their keys, whose integers are
// little-endian.
type mapKey struct {
	peer uint64
	ctr  uint32
	e    ent
	gone bool // has no entry, but may have one in what is kept
}

// maps returns the maps that get an entry, are no roots and cannot be copied from
// what is kept, in key order.
func (e *stateEncoder) maps(kept *keptState) []mapKey {
	s := e.s
	var out []mapKey
	if kept == nil {
		out = make([]mapKey, 0, s.nodes.n)
	}
	for i := range s.nodes.n {
		n := s.nodes.at(i)
		if n.peer == rootPeer || kept.has(i) {
			continue
		}
		m := mapKey{peer: bits.ReverseBytes64(uint64(s.peers.list[n.peer])), ctr: bits.ReverseBytes32(uint32(n.ctr)), e: i}
		if !s.hasEntry(i) {
			if kept == nil || int(i) >= len(kept.clean) || !s.first(i) {
				continue
			}
			m.gone = true
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b mapKey) int {
		return cmp.Or(cmp.Compare(a.peer, b.peer), cmp.Compare(a.ctr, b.ctr))
	})
	return out
}

// parentOf returns the container a map is in, and the depth it is at.
func (e *stateEncoder) parentOf(m ent) (parent ContainerID, has bool, depth uint64, err error) {
	s := e.s
	depth = 1
	at := m
	for first := true; ; first = false {
		n := s.nodes.at(at)
		var p ContainerID
		switch f, foreign := s.foreign[at]; {
		case foreign:
			p = f
		case n.peer == rootPeer:
			p = mergeableParent(s.roots[n.ctr].name)
		case n.tree != 0:
			p = s.trees[n.tree-1].id
		case n.parent < noEnt:
			p = s.mapID(n.parent)
		default:
			if p, err = e.d.origin(s.mapID(at)); err != nil {
				return parent, has, depth, err
			}
		}
		if p == (ContainerID{}) {
			return parent, has, depth, nil
		}
		if first {
			parent, has = p, true
		}
		depth++
		if depth > maxResolve {
			return parent, has, depth, nil
		}
		next := noEnt
		switch {
		case p.Root && p.Type == TypeMap:
			if i, ok := s.rootIdx[p.Name]; ok {
				next = s.roots[i].e
			}
		case n.tree != 0:
			next = s.trees[n.tree-1].owner
		case n.parent < noEnt:
			next = n.parent
		}
		if next >= noEnt {
			return parent, has, depth, nil
		}
		at = next
	}
}

// origin looks up in the history where a container was created whose parent the
// state does not know: one that was overwritten before the document was loaded.
func (d *Doc) origin(id ContainerID) (parent ContainerID, err error) {
	p, ok := d.s.peers.find(id.ID.Peer)
	if !ok || id.Root {
		return parent, nil
	}
	err = d.eachBlock(p, id.ID.Counter, id.ID.Counter+1, func(b *changeBlock) error {
		it := b.rows()
		var r row
		for it.next(&r) {
			if r.ctr <= id.ID.Counter && id.ID.Counter < r.ctr+r.n {
				parent = b.id(b.cids[r.cid])
			}
		}
		return it.err
	})
	return parent, err
}

func (e *stateEncoder) wrapper(kind ContainerType, depth uint64, parent ContainerID, has bool) {
	e.buf = appendWrapper(e.buf[:0], kind, depth, parent, has)
}

// mapEntry encodes the entry of a map, valid until the next call.
func (e *stateEncoder) mapEntry(m ent) ([]byte, error) {
	s := e.s
	parent, has, depth, err := e.parentOf(m)
	if err != nil {
		return nil, err
	}
	e.wrapper(TypeMap, depth, parent, has)
	b := e.buf
	e.regs = s.sortedRegs(e.regs, s.nodes.at(m).rec)
	live := 0
	for i := range e.regs {
		if !e.regs[i].deleted {
			live++
		}
	}
	b = appendUvarint(b, uint64(live))
	for i := range e.regs {
		if r := &e.regs[i]; !r.deleted {
			b = appendBytes(b, s.keys.list[r.key])
			b, _ = s.appendStateValue(b, r.val)
		}
	}
	b = appendUvarint(b, uint64(len(e.regs)-live))
	for i := range e.regs {
		if r := &e.regs[i]; r.deleted {
			b = appendBytes(b, s.keys.list[r.key])
		}
	}
	e.peers, e.idx = e.peers[:0], e.idx[:0]
	for i := range e.regs {
		e.idx = append(e.idx, e.peerIndex(s.peers.list[e.regs[i].peer]))
	}
	b = appendPeerTable(b, e.peers)
	for i := range e.regs {
		b = appendUvarint(b, e.idx[i])
		b = appendUvarint(b, uint64(e.regs[i].lam))
	}
	e.buf = b
	return b, nil
}

// peerIndex registers a peer; few maps were written by more than a handful.
func (e *stateEncoder) peerIndex(p PeerID) uint64 {
	i := slices.Index(e.peers, p)
	if i < 0 {
		i = len(e.peers)
		e.peers = append(e.peers, p)
	}
	return uint64(i)
}

// tree encodes the entry of a tree: live nodes, then deleted ones, in both
// halves all children of a node together and in order before any grandchildren.
func (e *stateEncoder) tree(t uint32) ([]byte, error) {
	s := e.s
	tr := &s.trees[t-1]
	parent := tr.foreign
	if tr.id.Root {
		parent = mergeableParent(tr.id.Name)
	}
	has, depth := parent != (ContainerID{}), uint64(1)
	if !has && !tr.id.Root {
		if tr.owner < noEnt {
			parent, has = s.mapID(tr.owner), true
		} else {
			var err error
			if parent, err = e.d.origin(tr.id); err != nil {
				return nil, err
			}
			has = parent != (ContainerID{})
		}
	}
	if has {
		depth = 2
		if tr.owner < noEnt {
			_, _, above, err := e.parentOf(tr.owner)
			if err != nil {
				return nil, err
			}
			depth = above + 1
		}
	}

	rows := s.treeRows(t)
	number := make([]uint32, s.nodes.n) // row+2 of an entity
	used := make([]bool, len(s.pos.list))
	var peers []PeerID
	peerNo := make([]uint32, len(s.peers.list)) // index+1
	register := func(p uint32) int64 {
		if peerNo[p] == 0 {
			peers = append(peers, s.peers.list[p])
			peerNo[p] = uint32(len(peers))
		}
		return int64(peerNo[p] - 1)
	}
	var idPeer, idCtr, par, mPeer, mCtr, mLam deltaEncoder
	for i, r := range rows {
		n := s.nodes.at(r)
		number[r] = uint32(i) + 2
		used[n.pos] = true
		idPeer.add(register(n.peer))
		idCtr.add(int64(n.ctr))
	}
	var positions []string
	for i, u := range used {
		if u {
			positions = append(positions, s.pos.list[i])
		}
	}
	slices.Sort(positions)
	posNo := make(map[uint32]uint64, len(positions))
	for i, u := range used {
		if u {
			at, _ := slices.BinarySearch(positions, s.pos.list[i])
			posNo[uint32(i)] = uint64(at)
		}
	}
	fi := appendUvarint(nil, uint64(len(rows)))
	for _, r := range rows {
		n := s.nodes.at(r)
		switch n.parent {
		case atRoot:
			par.add(0)
		case atTrash:
			par.add(1)
		default:
			par.add(int64(number[n.parent]))
		}
		mPeer.add(register(n.movePee))
		mCtr.add(int64(n.moveCtr))
		d := int64(n.moveLam) - int64(n.moveCtr)
		if d > math.MaxInt32 {
			return nil, fmt.Errorf("%w: lamport time %d", ErrLimit, n.moveLam)
		}
		mLam.add(d)
		fi = appendUvarint(fi, posNo[n.pos])
	}

	e.wrapper(TypeTree, depth, parent, has)
	b := appendPeerTable(slices.Clone(e.buf), peers)
	b = append(b, 4, 2)
	b = appendBytes(b, idPeer.finish())
	b = appendBytes(b, idCtr.finish())
	b = append(b, 5)
	b = appendBytes(b, par.finish())
	b = appendBytes(b, mPeer.finish())
	b = appendBytes(b, mCtr.finish())
	b = appendBytes(b, mLam.finish())
	b = appendBytes(b, fi)
	b = appendBytes(b, appendPositions(nil, positions))
	return append(b, 0), nil
}

// treeRows lists the nodes of a tree in the order of the state section. Nodes
// below one that was never created are not in it, as with the official writer.
func (s *state) treeRows(t uint32) []ent {
	rows := make([]ent, 0, s.trees[t-1].nodes)
	// spread appends the children of rows[from:], block by block.
	var stack []ent
	children := func(k *kidSet) {
		if k == nil {
			return
		}
		from := len(rows)
		k.each(func(e ent) bool {
			rows = append(rows, e)
			return true
		})
		for i := len(rows) - 1; i >= from; i-- {
			stack = append(stack, rows[i])
		}
	}
	drain := func() {
		for len(stack) > 0 {
			e := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			children(s.kidsOf(t, e))
		}
	}
	children(s.kidsOf(t, atRoot))
	drain()
	from := len(rows)
	for e := range s.nodes.n {
		if n := s.nodes.at(e); n.tree == t && n.parent == atTrash {
			rows = append(rows, e)
		}
	}
	slices.SortFunc(rows[from:], s.compareSiblings)
	for i := len(rows) - 1; i >= from; i-- {
		stack = append(stack, rows[i])
	}
	drain()
	return rows
}

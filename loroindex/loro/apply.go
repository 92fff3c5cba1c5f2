package loro

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// apply performs the accepted changes. It cannot fail.
func (in *importer) apply() {
	d := in.d
	if len(in.accepted) == 0 {
		return
	}
	// The state takes changes block by block: registers do not care for the
	// order and tree operations are sorted anyway.
	var ops []treeOp
	in.eachBlock(func(as []accepted) {
		ops = d.s.applyBlock(as, math.MaxInt32, ops)
		d.storeBlock(as)
	})
	if in.past != nil {
		in.past.ops = append(in.past.ops, ops...)
		d.s.relog(in.past)
	} else {
		d.s.sortOps(ops)
		d.s.execute(ops)
	}
	for i := range in.accepted {
		a := &in.accepted[i]
		ch := a.change()
		p, _ := d.s.peers.find(a.b.peer())
		deps := ch.deps
		if a.from > ch.ctr {
			deps = nil
		}
		d.h.advance(p, ch.end, a.lam+uint32(ch.end-a.from)-1, deps, &d.s.peers)
	}
	d.s.compact()
	in.status.Touched = d.s.touched(d.s.rec)
}

// touched turns the notes of an import into its public form.
func (s *state) touched(r *recorder) Touched {
	var t Touched
	for i := range r.touches {
		x := &r.touches[i]
		n := s.nodes.at(x.node)
		x.moved = x.moved && x.before != n.place()
		if !x.moved && !x.meta || n.tree == 0 {
			continue
		}
		if t.Nodes == nil {
			t.Nodes = make(map[string][]NodeTouch)
		}
		id := s.trees[n.tree-1].id
		if !id.Root {
			continue
		}
		t.Nodes[id.Name] = append(t.Nodes[id.Name], NodeTouch{s.nodeID(x.node), x.moved, x.meta})
	}
	t.Maps = slices.Sorted(maps.Keys(r.maps))
	return t
}

// eachBlock calls f for the accepted changes of every block, in counter order.
func (in *importer) eachBlock(f func([]accepted)) {
	if in.order == nil {
		in.order = slices.Clone(in.accepted)
		slices.SortStableFunc(in.order, func(a, b accepted) int {
			return cmp.Or(cmp.Compare(a.b.peer(), b.b.peer()), cmp.Compare(a.from, b.from))
		})
	}
	for i := 0; i < len(in.order); {
		j := i + 1
		for j < len(in.order) && in.order[j].b == in.order[i].b {
			j++
		}
		f(in.order[i:j])
		i = j
	}
}

// eachAccepted calls f for the operations of accepted changes of one block, in
// counter order and below to, with their Lamport times.
func eachAccepted(as []accepted, to int32, f func(r *row, lam uint32)) {
	it := as[0].b.rows()
	var r row
	k := 0
	for it.next(&r) && r.ctr < to {
		for r.ctr >= as[k].change().end {
			if k++; k == len(as) {
				return
			}
		}
		if r.ctr+r.n > as[k].from {
			f(&r, as[k].lam+uint32(r.ctr-as[k].from))
		}
	}
}

// applyBlock applies accepted changes of one block, in counter order and below
// to, to the registers and appends its tree operations to ops.
func (s *state) applyBlock(as []accepted, to int32, ops []treeOp) []treeOp {
	b := as[0].b
	t := s.tables(b)
	peer := s.peers.intern(b.peer())
	eachAccepted(as, to, func(r *row, lam uint32) { ops = t.apply(r, peer, lam, ops) })
	return ops
}

// blockTables translates the registries of a block to the document's.
type blockTables struct {
	s    *state
	b    *changeBlock
	keys []uint32 // interned+1
	pos  []uint32
	cids []cidRef
}

type cidRef struct {
	known bool
	e     ent    // of a map
	tree  uint32 // of a tree
	other *otherContainer
}

func (s *state) tables(b *changeBlock) *blockTables {
	t := &blockTables{s: s, b: b, keys: make([]uint32, len(b.keys)), pos: make([]uint32, len(b.positions)), cids: make([]cidRef, len(b.cids))}
	for i, k := range b.keys {
		t.keys[i] = s.keys.intern(k)
	}
	for i, p := range b.positions {
		t.pos[i] = s.pos.internString(p)
	}
	return t
}

func (t *blockTables) cid(i uint32) *cidRef {
	r := &t.cids[i]
	if r.known {
		return r
	}
	r.known = true
	c := t.b.cids[i]
	switch {
	case c.kind == TypeMap && c.root:
		r.e = t.s.rootMapEnt(string(t.b.keys[c.key]))
	case c.kind == TypeMap:
		r.e = t.s.nodes.get(t.s.peers.intern(c.peer), c.ctr)
	case c.kind == TypeTree:
		r.tree = t.s.treeOf(t.b.id(c))
	default:
		r.other = t.s.other(t.b.id(c))
	}
	return r
}

// apply applies one operation to the registers, or appends it to ops.
func (t *blockTables) apply(r *row, peer, lam uint32, ops []treeOp) []treeOp {
	s := t.s
	c := t.cid(r.cid)
	switch t.b.cids[r.cid].kind {
	case TypeMap:
		w := register{key: t.keys[r.prop], peer: peer, lam: lam, deleted: r.tag == tagDeleteOnce}
		if !w.deleted {
			in := cursor{b: r.val}
			var room [256]byte
			w.val = s.pk.nested(room[:0], &in, t.keys, packID{peer: peer, ctr: r.ctr, top: true})
			s.ownContainers(w.val, c.e, w.key)
		}
		if s.setReg(c.e, w) {
			s.noteWrite(c.e)
		}
	case TypeTree:
		op := treeOp{lam: lam, peer: peer, ctr: r.ctr, parent: atRoot}
		op.target = s.getNode(c.tree, s.peers.intern(r.tree.target.Peer), r.tree.target.Counter)
		switch {
		case r.tree.trash():
			op.parent = atTrash
		case !r.tree.root:
			op.parent = s.getNode(c.tree, s.peers.intern(r.tree.parent.Peer), r.tree.parent.Counter)
		}
		if op.parent != atTrash {
			op.pos = t.pos[r.tree.pos]
		}
		ops = append(ops, op)
	default:
		c.other.dirty = true
	}
	return ops
}

// ownContainers notes the owner of a child container that is the whole of a
// packed value: it returns the entity of a map, else noEnt, and the tree or 0.
func (s *state) ownContainers(val []byte, owner ent, key uint32) (child ent, tree uint32) {
	if val[0] != packContainer {
		return noEnt, 0
	}
	id, _ := s.unpackContainer(val[1:])
	if id.Root {
		return noEnt, 0
	}
	switch id.Type {
	case TypeMap:
		child = s.nodes.get(s.peers.intern(id.ID.Peer), id.ID.Counter)
		s.own(child, owner, key)
		return child, 0
	case TypeTree:
		tree = s.treeOf(id)
		t := &s.trees[tree-1]
		t.owner, t.key = owner, key
		return noEnt, tree
	}
	return noEnt, 0
}

// storeBlock adds accepted changes of one block, in counter order, to the
// history: as they came where possible.
func (d *Doc) storeBlock(as []accepted) {
	b := as[0].b
	p := d.s.peers.intern(b.peer())
	if p == d.self {
		d.seal()
	}
	first, last := &as[0], &as[len(as)-1]
	ref := blockRef{ctr: first.from, end: last.change().end, lam: first.lam, lamEnd: last.lam + uint32(last.change().end-last.from)}
	whole := ref.ctr == b.ctr && ref.end == b.end
	for i := range as {
		whole = whole && as[i].lam == as[i].change().lam
	}
	if whole {
		ref.raw = slices.Clone(b.raw)
	} else {
		w := newBlockWriter(b.peer(), ref.ctr)
		c := newBlockCopier(w, b)
		k := 0
		// The block was validated, and no operation here spans a boundary
		// that cut refuses: only unsupported containers have longer ones.
		err := c.changes(ref.ctr, ref.end, func(change int, at int32) uint32 {
			for as[k].i != change {
				k++
			}
			return as[k].lam + uint32(at-as[k].from)
		})
		if err != nil {
			panic(err)
		}
		ref.raw = w.finish()
	}
	ph := d.h.peer(p)
	ph.blocks = append(ph.blocks, ref)
}

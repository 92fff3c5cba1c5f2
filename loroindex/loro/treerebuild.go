package loro

import "math"

// reconcile prepares the state for changes that were made without knowing all
// of the snapshot the document was loaded from. Such changes must be compared
// with operations of which the loaded state tells only the outcome, and in
// places not even that exactly, so the history is consulted, once:
//
//   - Tree operations are executed in IDLP order, so one that is earlier than
//     some in the snapshot needs the log of those.
//   - Registers: when a merge does not change a value, official writers leave
//     the older writer in the state (MapDiffCalculator in
//     crates/loro-internal/src/diff_calc.rs). Against that an operation could
//     win that lost to a later one.
func (in *importer) reconcile() error {
	d := in.d
	if !d.h.loaded {
		return nil
	}
	needLog, needRegs := false, false
	in.eachBlock(func(as []accepted) {
		old := false
		for i := range as {
			old = old || as[i].lam <= d.h.loadedLam
		}
		if !old || needLog && needRegs {
			return
		}
		b := as[0].b
		eachAccepted(as, math.MaxInt32, func(r *row, lam uint32) {
			switch c := b.cids[r.cid]; c.kind {
			case TypeTree:
				needLog = needLog || !d.s.log.floor.less(treeKey{lam, b.peer(), r.ctr, true})
			case TypeMap:
				needRegs = needRegs || !d.h.exact && lam <= d.h.loadedLam && d.s.replaces(b, c, b.keys[r.prop], lam)
			}
		})
	})
	if needRegs {
		if err := d.exactRegisters(); err != nil {
			return err
		}
	}
	if needLog && d.s.log.floor.set {
		var err error
		in.past, err = d.readPast()
		return err
	}
	return nil
}

// replaces reports whether a map operation of the block's peer would replace an
// existing register.
func (s *state) replaces(b *changeBlock, c blockCID, name []byte, lam uint32) bool {
	e, ok := s.mapEnt(b.id(c))
	if !ok {
		return false
	}
	key, ok := s.keys.idx[string(name)]
	if !ok {
		return false
	}
	r, ok := s.findReg(s.nodes.at(e).rec, key)
	return ok && IDLP{lam, b.peer()}.Compare(IDLP{r.lam, s.peers.list[r.peer]}) > 0
}

// exactRegisters replays all map operations of the history, which leaves every
// register with its true writer.
func (d *Doc) exactRegisters() error {
	for _, p := range d.peersByID() {
		err := d.eachBlock(p, 0, math.MaxInt32, func(b *changeBlock) error {
			d.s.applyMaps(b)
			return nil
		})
		if err != nil {
			return err
		}
	}
	d.h.exact = true
	return nil
}

// applyMaps applies the map operations of a block that registers do not have.
func (s *state) applyMaps(b *changeBlock) {
	t := s.tables(b)
	peer := s.peers.intern(b.peer())
	it := b.rows()
	var r row
	for it.next(&r) {
		if b.cids[r.cid].kind != TypeMap {
			continue
		}
		c := &b.changes[r.change]
		lam := c.lam + uint32(r.ctr-c.ctr)
		e := t.cid(r.cid).e
		if old, ok := s.findReg(s.nodes.at(e).rec, t.keys[r.prop]); ok && !s.later(lam, peer, old.lam, old.peer) {
			continue
		}
		t.apply(&r, peer, lam, nil)
	}
}

// hasTree reports whether any operation of the block is on a tree.
func (b *changeBlock) hasTree() bool {
	for _, c := range b.cids {
		if c.kind == TypeTree {
			return true
		}
	}
	return false
}

// past is what it takes to replace the tree log by one of the whole history.
type past struct {
	ops   []treeOp // in no particular order
	base  map[ent]nodePlace
	floor treeKey
}

// readPast collects all tree operations of the history.
func (d *Doc) readPast() (*past, error) {
	p := &past{}
	var root *ID
	if d.IsShallow() {
		root = &d.h.root[0]
		lam, err := d.lamportAt(*root)
		if err != nil {
			return nil, err
		}
		p.floor = treeKey{lam, root.Peer, root.Counter, true}
		if p.base, err = d.rootPlaces(); err != nil {
			return nil, err
		}
	}
	for _, peer := range d.peersByID() {
		err := d.eachBlock(peer, 0, math.MaxInt32, func(b *changeBlock) error {
			p.ops = d.s.treeOps(b, root, p.ops)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// relog replaces the log by one of all operations there are, the given ones, so
// that further ones can be executed anywhere in it, and puts the nodes where
// they amount to. The places of nodes do not change by the operations executed
// before, unless the document was loaded from a snapshot whose state
// contradicts its history; then the history is right.
func (s *state) relog(p *past) {
	s.sortOps(p.ops)
	sim := newTreeSim(int(s.nodes.n), p.base)
	log := make([]logEntry, 0, len(p.ops))
	for _, op := range p.ops {
		log = append(log, logEntry{op, sim.do(op, uint32(len(log)+1))})
	}
	s.log = treeLog{ops: log, floor: p.floor, base: p.base}
	for e := range s.nodes.n {
		n := s.nodes.at(e)
		if n.tree == 0 {
			continue
		}
		place, ok := p.base[e]
		if !ok {
			place = nodePlace{parent: nowhere}
		}
		if i := sim.last[e]; i > 0 {
			op := &log[i-1]
			place = nodePlace{op.parent, op.pos, op.lam, op.peer, op.ctr}
		}
		n.last = sim.last[e]
		if place != n.place() && (place.parent != nowhere || n.parent != nowhere) {
			s.correct(e, place)
		}
	}
}

// correct puts a node where the history says it is.
func (s *state) correct(e ent, place nodePlace) {
	n := s.nodes.at(e)
	s.rec.noteMove(e, n)
	s.changed(e)
	s.detach(e)
	if n.parent == nowhere {
		s.trees[n.tree-1].nodes++
	}
	if place.parent == nowhere {
		s.trees[n.tree-1].nodes--
	}
	n.setPlace(place)
	s.attach(e)
}

// treeOps appends the tree operations of a block, without those up to the root
// of a shallow document.
func (s *state) treeOps(b *changeBlock, root *ID, ops []treeOp) []treeOp {
	if !b.hasTree() {
		return ops
	}
	t := s.tables(b)
	peer := s.peers.intern(b.peer())
	it := b.rows()
	var r row
	for it.next(&r) {
		if b.cids[r.cid].kind != TypeTree || root != nil && root.Peer == b.peer() && r.ctr <= root.Counter {
			continue
		}
		c := &b.changes[r.change]
		ops = t.apply(&r, peer, c.lam+uint32(r.ctr-c.ctr), ops)
	}
	return ops
}

// rootPlaces decodes the places of nodes at the root of a shallow document.
func (d *Doc) rootPlaces() (map[ent]nodePlace, error) {
	old := newState()
	if err := old.load(sections{root: d.h.rootState, state: []byte(stateOmitted)}); err != nil {
		return nil, err
	}
	s := d.s
	places := make(map[ent]nodePlace, old.nodes.n)
	here := func(tree uint32, e ent) ent {
		n := old.nodes.at(e)
		return s.getNode(tree, s.peers.intern(old.peers.list[n.peer]), n.ctr)
	}
	for e := range old.nodes.n {
		n := old.nodes.at(e)
		if n.tree == 0 || n.parent == nowhere {
			continue
		}
		tree := s.treeOf(old.trees[n.tree-1].id)
		p := n.place()
		if p.parent < noEnt {
			p.parent = here(tree, p.parent)
		}
		p.pos = s.pos.internString(old.pos.list[p.pos])
		p.movePee = s.peers.intern(old.peers.list[p.movePee])
		places[here(tree, e)] = p
	}
	return places, nil
}

// treeSim executes tree operations without keeping child sets in order, which
// is all that telling effective from ineffective ones takes.
type treeSim struct {
	parent []ent
	last   []uint32
	kids   []uint32 // number of children
}

func newTreeSim(n int, base map[ent]nodePlace) *treeSim {
	sim := &treeSim{parent: make([]ent, n), last: make([]uint32, n), kids: make([]uint32, n)}
	for i := range sim.parent {
		sim.parent[i] = nowhere
	}
	for e, p := range base {
		sim.parent[e] = p.parent
		if p.parent < noEnt {
			sim.kids[p.parent]++
		}
	}
	return sim
}

// do executes an operation that will be the log's entry of number i, and
// returns what the entry's prev is.
func (t *treeSim) do(op treeOp, i uint32) uint32 {
	if op.parent == op.target {
		return noEffect
	}
	if t.kids[op.target] > 0 {
		for e := op.parent; e < noEnt; e = t.parent[e] {
			if e == op.target {
				return noEffect
			}
		}
	}
	if old := t.parent[op.target]; old < noEnt {
		t.kids[old]--
	}
	if op.parent < noEnt {
		t.kids[op.parent]++
	}
	t.parent[op.target] = op.parent
	prev := t.last[op.target]
	t.last[op.target] = i
	return prev
}

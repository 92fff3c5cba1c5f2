package loro

import (
	"cmp"
	"slices"
	"sort"
)

// The places of tree nodes are what results from executing all tree operations
// in IDLP order. The log holds, in that order, the operations executed since
// the document was loaded, each with what it replaced, so that operations which
// arrive late are executed in their place: later ones are undone, then redone.

// treeOp is one create, move or delete.
type treeOp struct {
	lam, peer uint32
	ctr       int32
	target    ent
	parent    ent // node, atRoot or atTrash
	pos       uint32
}

// logEntry is an executed operation.
type logEntry struct {
	treeOp
	prev uint32 // node.last before it; noEffect when it would have made a cycle
}

const noEffect = 1<<32 - 1

type treeLog struct {
	ops []logEntry
	// floor: the operations up to it were executed before the log begins. To
	// execute one below it, the log is first rebuilt from the history.
	floor treeKey
	// base remembers the places of nodes that the log's operations replaced
	// and that are from before the log.
	base map[ent]nodePlace
}

// treeKey orders operations: IDLP, and the counter to make the order total even
// in histories that break the rule of one operation per peer and Lamport time.
type treeKey struct {
	lam  uint32
	peer PeerID
	ctr  int32
	set  bool
}

func (k treeKey) less(o treeKey) bool {
	if k.set != o.set {
		return o.set
	}
	return cmp.Or(cmp.Compare(k.lam, o.lam), cmp.Compare(k.peer, o.peer), cmp.Compare(k.ctr, o.ctr)) < 0
}

type nodePlace struct {
	parent  ent
	pos     uint32
	moveLam uint32
	movePee uint32
	moveCtr int32
}

func (n *node) place() nodePlace {
	return nodePlace{n.parent, n.pos, n.moveLam, n.movePee, n.moveCtr}
}

func (n *node) setPlace(p nodePlace) {
	n.parent, n.pos, n.moveLam, n.movePee, n.moveCtr = p.parent, p.pos, p.moveLam, p.movePee, p.moveCtr
}

func (s *state) compareOps(a, b *treeOp) int {
	if c := cmp.Compare(a.lam, b.lam); c != 0 {
		return c
	}
	if c := cmp.Compare(s.peers.list[a.peer], s.peers.list[b.peer]); c != 0 {
		return c
	}
	return cmp.Compare(a.ctr, b.ctr)
}

func (s *state) sortOps(ops []treeOp) {
	less := func(a, b treeOp) int { return s.compareOps(&a, &b) }
	if !slices.IsSortedFunc(ops, less) {
		slices.SortFunc(ops, less)
	}
}

// execute performs ops, sorted and none below the floor, in their place in the
// order.
func (s *state) execute(ops []treeOp) {
	if len(ops) == 0 {
		return
	}
	log := &s.log
	cut := len(log.ops)
	if cut > 0 && s.compareOps(&ops[0], &log.ops[cut-1].treeOp) < 0 {
		cut = sort.Search(cut, func(i int) bool { return s.compareOps(&ops[0], &log.ops[i].treeOp) < 0 })
	}
	var late []logEntry
	if cut < len(log.ops) {
		late = slices.Clone(log.ops[cut:])
		for i := len(log.ops) - 1; i >= cut; i-- {
			s.undo(&log.ops[i])
		}
		log.ops = log.ops[:cut]
	}
	log.ops = slices.Grow(log.ops, len(ops)+len(late))
	for len(late) > 0 && len(ops) > 0 {
		if s.compareOps(&late[0].treeOp, &ops[0]) < 0 {
			s.do(late[0].treeOp)
			late = late[1:]
		} else {
			s.do(ops[0])
			ops = ops[1:]
		}
	}
	for i := range late {
		s.do(late[i].treeOp)
	}
	for i := range ops {
		s.do(ops[i])
	}
}

// do executes one operation that sorts after all in the log.
func (s *state) do(op treeOp) {
	n := s.nodes.at(op.target)
	if op.parent < noEnt && (op.parent == op.target || s.hasKids(n) && s.isAncestor(op.target, op.parent)) {
		s.log.ops = append(s.log.ops, logEntry{op, noEffect})
		return
	}
	s.rec.noteMove(op.target, n)
	if n.last == 0 && n.parent != nowhere {
		if s.log.base == nil {
			s.log.base = make(map[ent]nodePlace)
		}
		s.log.base[op.target] = n.place()
	}
	if n.parent == nowhere {
		s.trees[n.tree-1].nodes++
		s.changed(op.target)
	}
	s.detach(op.target)
	s.log.ops = append(s.log.ops, logEntry{op, n.last})
	n.last = uint32(len(s.log.ops))
	n.setPlace(nodePlace{op.parent, op.pos, op.lam, op.peer, op.ctr})
	s.attach(op.target)
}

// undo takes back the last operation of the log.
func (s *state) undo(e *logEntry) {
	if e.prev == noEffect {
		return
	}
	n := s.nodes.at(e.target)
	s.rec.noteMove(e.target, n)
	s.detach(e.target)
	n.last = e.prev
	switch {
	case e.prev > 0:
		p := &s.log.ops[e.prev-1]
		n.setPlace(nodePlace{p.parent, p.pos, p.lam, p.peer, p.ctr})
	default:
		base, ok := s.log.base[e.target]
		if !ok {
			base = nodePlace{parent: nowhere}
			s.trees[n.tree-1].nodes--
			s.changed(e.target)
		}
		n.setPlace(base)
	}
	s.attach(e.target)
}

func (s *state) hasKids(n *node) bool { return n.kids != 0 && s.kids[n.kids].n > 0 }

// recorder notes which nodes and maps an import touches. A nil recorder notes
// nothing.
type recorder struct {
	nodes   map[ent]int // index into touches
	touches []touch     // in the order of first touch
	maps    map[string]struct{}
}

type touch struct {
	node   ent
	before nodePlace
	moved  bool
	meta   bool
}

// node returns the note about a node, valid until the next call.
func (r *recorder) node(e ent) *touch {
	i, ok := r.nodes[e]
	if !ok {
		if r.nodes == nil {
			r.nodes = make(map[ent]int)
		}
		i = len(r.touches)
		r.touches = append(r.touches, touch{node: e})
		r.nodes[e] = i
	}
	return &r.touches[i]
}

// noteMove is called before a node's place changes.
func (r *recorder) noteMove(e ent, n *node) {
	if r == nil {
		return
	}
	if t := r.node(e); !t.moved {
		t.moved, t.before = true, n.place()
	}
}

// noteWrite is called after a register of the map of e changed.
func (s *state) noteWrite(e ent) {
	r := s.rec
	if r == nil {
		return
	}
	for depth := 0; e < noEnt && depth < maxResolve; depth++ {
		n := s.nodes.at(e)
		if n.peer == rootPeer {
			if r.maps == nil {
				r.maps = make(map[string]struct{})
			}
			r.maps[s.roots[n.ctr].name] = struct{}{}
			return
		}
		if n.tree != 0 {
			r.node(e).meta = true
			return
		}
		e = n.parent
	}
}

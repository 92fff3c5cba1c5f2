package loro

import (
	"bytes"
	"fmt"
	"math"
)

// Verify replays the whole history (from the shallow root, if there is one) and
// compares the result with the state. It takes time and memory in proportion to
// the document and changes nothing. That a key loaded from a snapshot has the
// right value but names an earlier operation that wrote the same is no error:
// official writers leave it so after some merges, and Import allows for it.
//
// Errors: ErrDiverged.
func (d *Doc) Verify() error {
	if len(d.txn.ops) > 0 {
		return fmt.Errorf("verify: a transaction is open, commit first")
	}
	if err := d.verifyLamports(); err != nil {
		return err
	}
	var root *ID
	want := newState()
	if d.IsShallow() {
		root = &d.h.root[0]
		if err := want.load(sections{root: d.h.rootState, state: []byte(stateOmitted)}); err != nil {
			return err
		}
	}
	if err := d.replay(want, root); err != nil {
		return err
	}
	return d.s.equal(want, d.h.loaded && !d.h.exact)
}

// verifyLamports checks that every change comes right after what it depends on.
func (d *Doc) verifyLamports() error {
	for _, p := range d.peersByID() {
		id := d.s.peers.list[p]
		var failed error
		err := d.eachHead(p, d.h.start[id], math.MaxInt32, func(c *blockChange) {
			if d.h.start.Includes(ID{id, c.ctr}) || d.IsShallow() && d.h.root[0] == (ID{id, c.ctr}) || failed != nil {
				return
			}
			next := uint32(0)
			for _, dep := range depsOf(id, c.ctr, c.self, c.deps) {
				if d.h.start.Includes(dep) {
					continue // earlier than the shallow root
				}
				lam, err := d.lamportAt(dep)
				if err != nil {
					failed = fmt.Errorf("%w: %v depends on %v, which is missing", ErrDiverged, ID{id, c.ctr}, dep)
					return
				}
				next = max(next, lam+1)
			}
			if c.lam != next {
				failed = fmt.Errorf("%w: %v has lamport time %d instead of %d", ErrDiverged, ID{id, c.ctr}, c.lam, next)
			}
		})
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// equal compares what a replay gave, o, with the state; if stale is set, not who
// wrote a key.
func (s *state) equal(o *state, stale bool) error {
	// Every node and register of one must be in the other; nothing depends on
	// how each numbers them.
	if err := s.within(o, stale); err != nil {
		return err
	}
	return o.within(s, stale)
}

func (s *state) within(o *state, stale bool) error {
	var regs []register
	for e := range s.nodes.n {
		n := s.nodes.at(e)
		if n.tree != 0 && n.parent != nowhere {
			id := s.trees[n.tree-1].id
			f, ok := o.findTreeNode(o.treeIdx[id], s.nodeID(e))
			if !ok || s.describe(e) != o.describe(f) {
				return fmt.Errorf("%w: node %v of %v is %s, but %s by the history", ErrDiverged, s.nodeID(e), id, s.describe(e), o.describeFound(f, ok))
			}
		}
		if n.rec == 0 {
			continue
		}
		id := s.mapID(e)
		f, ok := o.mapEnt(id)
		if !ok && s.hidden(e) {
			continue // an overwritten map may be left out of a snapshot
		}
		regs = s.sortedRegs(regs, n.rec)
		for _, r := range regs {
			key := s.keys.list[r.key]
			if !ok || !s.sameReg(r, o, f, key, stale) {
				if s.hidden(e) {
					break
				}
				return fmt.Errorf("%w: key %q of %v", ErrDiverged, key, id)
			}
		}
	}
	return nil
}

// hidden reports whether a map cannot be seen from any root, for which snapshots
// may lack its state.
func (s *state) hidden(e ent) bool {
	n := s.nodes.at(e)
	return n.peer != rootPeer && n.tree == 0 && !s.attached(e)
}

func (s *state) mapEnt(id ContainerID) (ent, bool) {
	return Map{d: &Doc{s: s}, id: id, e: noEnt}.ent()
}

func (s *state) sameReg(r register, o *state, f ent, key string, stale bool) bool {
	k, ok := o.keys.find(key)
	if !ok {
		return false
	}
	q, ok := o.findReg(o.nodes.at(f).rec, k)
	if !ok || q.deleted != r.deleted || !stale && (q.lam != r.lam || o.peers.list[q.peer] != s.peers.list[r.peer]) {
		return false
	}
	if r.deleted {
		return true
	}
	a, _ := s.appendStateValue(nil, r.val)
	b, _ := o.appendStateValue(nil, q.val)
	return bytes.Equal(a, b)
}

// placeText describes a node's place independently of its state's numbering.
type placeText struct {
	parent  string
	pos     string
	lam     uint32
	peer    PeerID
	moveCtr int32
}

func (s *state) describe(e ent) placeText {
	n := s.nodes.at(e)
	p := placeText{pos: fmt.Sprintf("%X", s.pos.list[n.pos]), lam: n.moveLam, peer: s.peers.list[n.movePee], moveCtr: n.moveCtr}
	switch n.parent {
	case atRoot:
		p.parent = "root"
	case atTrash:
		p.parent = "deleted"
	case nowhere:
		p.parent = "absent"
	default:
		p.parent = s.nodeID(n.parent).String()
	}
	return p
}

func (p placeText) String() string {
	return fmt.Sprintf("under %s at %s since %d@%v (lamport %d)", p.parent, p.pos, p.moveCtr, p.peer, p.lam)
}

func (s *state) describeFound(e ent, ok bool) string {
	if !ok {
		return "absent"
	}
	return s.describe(e).String()
}

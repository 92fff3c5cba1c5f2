package loro

import "slices"

// ent is the index of an entity in the node table: a tree node together with
// its meta map, a child map, or a root map.
type ent = uint32

// Special values of node.parent.
const (
	atRoot  ent = 1<<32 - 1 // attached to the tree's root
	atTrash ent = 1<<32 - 2 // deleted
	nowhere ent = 1<<32 - 3 // not in the tree; of a map: owner unknown
	noEnt   ent = 1<<32 - 4
)

// rootPeer marks the entity of a root map in node.peer; node.ctr is then its
// index in Doc.roots.
const rootPeer = 1<<32 - 1

// node is one entity. A million of them are expected, hence indexes of 32 bits
// throughout and nothing the garbage collector has to look at.
type node struct {
	peer    uint32 // interned peer of its id
	ctr     int32
	tree    uint32 // index+1 of the tree it belongs to; 0: only a map
	parent  ent    // of a map that is no node: the map it is a value of
	kids    uint32 // index of its child set, 0: none
	pos     uint32 // interned fractional index
	moveLam uint32 // last effective move: lamport, interned peer, counter
	movePee uint32
	moveCtr int32
	last    uint32 // index+1 of that move in the tree log, 0: from before the log
	rec     recRef // registers of its map
}

const (
	nodeChunkBits = 12
	nodeChunk     = 1 << nodeChunkBits
)

// nodeTable stores entities in fixed chunks, so that growth never copies them,
// and finds them by id.
type nodeTable struct {
	chunks [][]node
	n      uint32
	slots  []uint64 // open addressing: counter<<32 | entity+1, 0 when free; length a power of two
	used   int
	// alias finds nodes whose id already names an entity of another tree,
	// which only a hostile document has.
	alias map[aliasKey]ent
}

type aliasKey struct {
	tree uint32
	of   ent
}

func (t *nodeTable) at(e ent) *node { return &t.chunks[e>>nodeChunkBits][e&(nodeChunk-1)] }

func (t *nodeTable) add(peer uint32, ctr int32) ent {
	e := t.n
	if e>>nodeChunkBits == uint32(len(t.chunks)) {
		t.chunks = append(t.chunks, make([]node, nodeChunk))
	}
	t.n++
	n := t.at(e)
	n.peer, n.ctr, n.parent = peer, ctr, nowhere
	return e
}

// home is the slot an id is looked for first. Ids near each other share cache
// lines, since what is used together was mostly created together.
func home(peer uint32, ctr int32) uint32 {
	h := uint64(peer)<<32 | uint64(uint32(ctr)>>4)
	h *= 0x9E3779B97F4A7C15
	return uint32(h>>32)&^15 | uint32(ctr)&15
}

func (t *nodeTable) find(peer uint32, ctr int32) (ent, bool) {
	e, _ := t.lookup(peer, ctr)
	return e, e != noEnt
}

// lookup returns the entity of an id, or noEnt and the slot it would go to.
func (t *nodeTable) lookup(peer uint32, ctr int32) (ent, uint32) {
	if len(t.slots) == 0 {
		return noEnt, 0
	}
	mask := uint32(len(t.slots) - 1)
	for i := home(peer, ctr) & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s == 0 {
			return noEnt, i
		}
		if e := uint32(s) - 1; int32(s>>32) == ctr && t.at(e).peer == peer {
			return e, i
		}
	}
}

// get finds or makes the entity of an id.
func (t *nodeTable) get(peer uint32, ctr int32) ent {
	e, i := t.lookup(peer, ctr)
	if e != noEnt {
		return e
	}
	e = t.add(peer, ctr)
	if 4*(t.used+1) > 3*len(t.slots) {
		t.resize(max(64, 2*len(t.slots)))
		_, i = t.lookup(peer, ctr)
	}
	t.slots[i] = uint64(uint32(ctr))<<32 | uint64(e+1)
	t.used++
	return e
}

func (t *nodeTable) resize(n int) {
	old := t.slots
	t.slots = make([]uint64, n)
	mask := uint32(n - 1)
	for _, s := range old {
		if s == 0 {
			continue
		}
		ctr := int32(s >> 32)
		i := home(t.at(uint32(s)-1).peer, ctr) & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

// reserve makes room for n more entities in the id table.
func (t *nodeTable) reserve(n int) {
	size := max(64, len(t.slots))
	for 3*size < 4*(t.used+n) {
		size *= 2
	}
	if size > len(t.slots) {
		t.resize(size)
	}
}

// findNode finds the node of an id in a tree.
func (t *nodeTable) findNode(tree uint32, peer uint32, ctr int32) (ent, bool) {
	e, ok := t.find(peer, ctr)
	if !ok {
		return 0, false
	}
	if t.at(e).tree == tree {
		return e, true
	}
	e, ok = t.alias[aliasKey{tree, e}]
	return e, ok
}

// getNode finds or makes the node of an id in a tree; it is in no place yet
// when new.
func (s *state) getNode(tree uint32, peer uint32, ctr int32) ent {
	t := &s.nodes
	e := t.get(peer, ctr)
	n := t.at(e)
	switch n.tree {
	case tree:
		return e
	case 0:
		n.tree, n.parent = tree, nowhere
		s.changed(e)
		return e
	}
	k := aliasKey{tree, e}
	if a, ok := t.alias[k]; ok {
		return a
	}
	a := t.add(peer, ctr)
	t.at(a).tree = tree
	if t.alias == nil {
		t.alias = make(map[aliasKey]ent)
	}
	t.alias[k] = a
	return a
}

// kidSet holds the children of one parent in sibling order. Beyond one leaf's
// worth it is a list of leaves, so that inserting into or removing from a
// directory of a million files moves little.
type kidSet struct {
	one  []ent
	more [][]ent // used instead of one when not nil
	n    int
}

const kidLeaf = 512

// siblingLess orders nodes by position bytes, then by their last effective move.
func (s *state) siblingLess(a, b ent) bool {
	x, y := s.nodes.at(a), s.nodes.at(b)
	if x.pos != y.pos {
		return s.pos.list[x.pos] < s.pos.list[y.pos]
	}
	if x.moveLam != y.moveLam {
		return x.moveLam < y.moveLam
	}
	return s.peers.list[x.movePee] < s.peers.list[y.movePee]
}

func (s *state) searchKids(leaf []ent, e ent) int {
	if n := len(leaf); n > 0 && s.siblingLess(leaf[n-1], e) {
		return n // by far the most common: a new child sorts last
	}
	i, _ := slices.BinarySearchFunc(leaf, e, func(x, e ent) int {
		if s.siblingLess(x, e) {
			return -1
		}
		return 1
	})
	return i
}

// leafOf returns the leaf e is in or belongs into.
func (s *state) leafOf(k *kidSet, e ent) int {
	last := len(k.more) - 1
	if s.siblingLess(k.more[last][0], e) || k.more[last][0] == e {
		return last
	}
	i, _ := slices.BinarySearchFunc(k.more, e, func(leaf []ent, e ent) int {
		if leaf[0] == e || s.siblingLess(leaf[0], e) {
			return -1
		}
		return 1
	})
	return max(0, i-1)
}

func (s *state) kidsInsert(k *kidSet, e ent) {
	k.n++
	if k.more == nil {
		k.one = slices.Insert(k.one, s.searchKids(k.one, e), e)
		if len(k.one) > kidLeaf {
			k.more = [][]ent{k.one[: kidLeaf/2 : kidLeaf/2], slices.Clone(k.one[kidLeaf/2:])}
			k.one = nil
		}
		return
	}
	i := s.leafOf(k, e)
	leaf := k.more[i]
	at := s.searchKids(leaf, e)
	leaf = slices.Insert(leaf, at, e)
	k.more[i] = leaf
	if len(leaf) <= kidLeaf {
		return
	}
	cut := kidLeaf / 2
	if i == len(k.more)-1 && at == len(leaf)-1 {
		cut = kidLeaf // appending: leave full leaves behind
	}
	k.more[i] = leaf[:cut:cut]
	k.more = slices.Insert(k.more, i+1, slices.Clone(leaf[cut:]))
}

// kidsRemove takes e out. Its sort key must still be what it was inserted with.
func (s *state) kidsRemove(k *kidSet, e ent) {
	k.n--
	if k.more == nil {
		at := s.searchExact(k.one, e)
		k.one = slices.Delete(k.one, at, at+1)
		return
	}
	i := s.leafOf(k, e)
	at := s.searchExact(k.more[i], e)
	k.more[i] = slices.Delete(k.more[i], at, at+1)
	if len(k.more[i]) == 0 {
		k.more = slices.Delete(k.more, i, i+1)
		if len(k.more) == 0 {
			k.more = nil
		}
	}
}

func (s *state) searchExact(leaf []ent, e ent) int {
	i, _ := slices.BinarySearchFunc(leaf, e, func(x, e ent) int {
		switch {
		case x == e:
			return 0
		case s.siblingLess(x, e):
			return -1
		}
		return 1
	})
	return i
}

// each calls f for the children in order until it returns false.
func (k *kidSet) each(f func(ent) bool) bool {
	for _, e := range k.one {
		if !f(e) {
			return false
		}
	}
	for _, leaf := range k.more {
		for _, e := range leaf {
			if !f(e) {
				return false
			}
		}
	}
	return true
}

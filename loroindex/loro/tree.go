package loro

import (
	"fmt"
	"iter"
)

// Tree is a handle to a tree container. Nodes form a forest under [TreeRoot];
// every node has a meta map. It is cheap to copy and stays valid for the life of
// the document.
//
// Moves of all replicas are decided as if executed in [IDLP] order, where one
// that would make a node its own ancestor has no effect. Deleting a node moves
// it, with everything below it, out of sight; a later move brings it back.
type Tree struct {
	d  *Doc
	id ContainerID
}

// Place says where a node is.
type Place uint8

const (
	Absent  Place = iota // never created, as far as this replica knows
	Live                 // reachable from the root
	Trashed              // deleted itself: its parent is the trash
	Hidden               // attached, but some ancestor is trashed or absent
)

// String returns the place in lower case.
func (p Place) String() string {
	switch p {
	case Absent:
		return "absent"
	case Live:
		return "live"
	case Trashed:
		return "trashed"
	}
	return "hidden"
}

// ID names the container.
func (t Tree) ID() ContainerID { return t.id }

// tree returns the tree's index+1, 0 while nothing is known of it.
func (t Tree) tree() uint32 { return t.d.s.treeIdx[t.id] }

func (t Tree) find(id TreeID) (ent, bool) { return t.d.s.findTreeNode(t.tree(), id) }

// parentEnt resolves the parent of an edit.
func (t Tree) parentEnt(parent TreeID) (ent, error) {
	if parent == TreeRoot {
		return atRoot, nil
	}
	e, ok := t.find(parent)
	if !ok || t.d.s.place(e) != Live {
		return 0, fmt.Errorf("%w: parent %v", ErrNoNode, parent)
	}
	return e, nil
}

// Create makes a new node under parent ([TreeRoot] for the top).
//
// Errors: ErrNoNode, ErrLimit, ErrValue (the name of a root).
func (t Tree) Create(parent TreeID) (TreeID, error) {
	if t.id.Root && t.tree() == 0 {
		if err := checkRootName(t.id.Name); err != nil {
			return TreeID{}, err
		}
	}
	p, err := t.parentEnt(parent)
	if err != nil {
		return TreeID{}, err
	}
	d := t.d
	ctr, _, err := d.begin()
	if err != nil {
		return TreeID{}, err
	}
	tree := d.s.treeOf(t.id)
	e := d.s.getNode(tree, d.self, ctr)
	if err := d.moveNode(OpTreeCreate, tree, e, p); err != nil {
		return TreeID{}, err
	}
	return TreeID{d.peer, ctr}, nil
}

// Move puts a node, live or not, with all below it under parent. Moving to the
// present parent records nothing.
//
// Errors: ErrNoNode (node absent, parent not live), ErrCycle, ErrLimit.
func (t Tree) Move(node, parent TreeID) error {
	e, ok := t.find(node)
	if !ok || t.d.s.nodes.at(e).parent == nowhere {
		return fmt.Errorf("%w: %v", ErrNoNode, node)
	}
	p, err := t.parentEnt(parent)
	if err != nil {
		return err
	}
	if t.d.s.nodes.at(e).parent == p {
		return nil
	}
	if p != atRoot && t.d.s.isAncestor(e, p) {
		return fmt.Errorf("%w: %v under %v", ErrCycle, node, parent)
	}
	return t.d.moveNode(OpTreeMove, t.tree(), e, p)
}

// MoveLast moves a live node to where it is, so that it comes last among its siblings.
//
// Errors: ErrNoNode, ErrLimit.
func (t Tree) MoveLast(node TreeID) error {
	e, ok := t.find(node)
	if !ok || t.d.s.place(e) != Live {
		return fmt.Errorf("%w: %v", ErrNoNode, node)
	}
	return t.d.moveNode(OpTreeMove, t.tree(), e, t.d.s.nodes.at(e).parent)
}

// Delete takes a live node and all below it out of sight.
//
// Errors: ErrNoNode, ErrLimit.
func (t Tree) Delete(node TreeID) error {
	e, ok := t.find(node)
	if !ok || t.d.s.place(e) != Live {
		return fmt.Errorf("%w: %v", ErrNoNode, node)
	}
	return t.d.moveNode(OpTreeDelete, t.tree(), e, atTrash)
}

// Meta returns the node's meta map. It exists, perhaps empty, for every node.
func (t Tree) Meta(node TreeID) Map {
	m := Map{d: t.d, id: ChildID(ID(node), TypeMap), e: noEnt}
	m.e, _ = m.entOrNone()
	return m
}

func (m Map) entOrNone() (ent, bool) {
	e, ok := m.ent()
	if !ok {
		return noEnt, false
	}
	return e, true
}

// Parent returns where a node is attached. For a [Live] node the parent is a
// live node or [TreeRoot]; for a [Hidden] one the node it will reappear under;
// for the others it is meaningless. The cost is the depth of the node.
func (t Tree) Parent(node TreeID) (TreeID, Place) {
	e, ok := t.find(node)
	if !ok {
		return TreeID{}, Absent
	}
	p := t.d.s.nodes.at(e).parent
	switch place := t.d.s.place(e); {
	case p == atRoot:
		return TreeRoot, place
	case p < noEnt:
		return t.d.s.nodeID(p), place
	default:
		return TreeID{}, place
	}
}

// Alive reports whether the node is reachable from the root. The cost is the
// depth of the node.
func (t Tree) Alive(node TreeID) bool {
	e, ok := t.find(node)
	return ok && t.d.s.place(e) == Live
}

// kids returns the child set of a parent, nil when it has none.
func (t Tree) kids(parent TreeID) *kidSet {
	tree := t.tree()
	if tree == 0 {
		return nil
	}
	p := atRoot
	if parent != TreeRoot {
		e, ok := t.find(parent)
		if !ok {
			return nil
		}
		p = e
	}
	return t.d.s.kidsOf(tree, p)
}

// Children iterates over the nodes attached to parent, whether parent itself is
// live or hidden, in Loro's sibling order: by position bytes, then by the IDLP
// of the last effective move. The tree must not change meanwhile.
func (t Tree) Children(parent TreeID) iter.Seq[TreeID] {
	return func(yield func(TreeID) bool) {
		if k := t.kids(parent); k != nil {
			k.each(func(e ent) bool { return yield(t.d.s.nodeID(e)) })
		}
	}
}

// LastChild returns the last node that Children yields: with positions as this
// package writes them, the one that came last. It is false when there is none.
func (t Tree) LastChild(parent TreeID) (TreeID, bool) {
	k := t.kids(parent)
	if k == nil || k.n == 0 {
		return TreeID{}, false
	}
	leaf := k.one
	if k.more != nil {
		leaf = k.more[len(k.more)-1]
	}
	return t.d.s.nodeID(leaf[len(leaf)-1]), true
}

// ChildCount is the number of nodes Children yields.
func (t Tree) ChildCount(parent TreeID) int {
	if k := t.kids(parent); k != nil {
		return k.n
	}
	return 0
}

// Nodes iterates over all live nodes, each before its children, siblings in
// order. The tree must not change meanwhile.
func (t Tree) Nodes() iter.Seq[TreeID] {
	return func(yield func(TreeID) bool) {
		if tree := t.tree(); tree != 0 {
			t.d.s.walk(tree, atRoot, func(e ent) bool { return yield(t.d.s.nodeID(e)) })
		}
	}
}

// walk calls f for all nodes below parent, each before its children, without
// recursion: trees of hostile documents can be deep.
func (s *state) walk(tree uint32, parent ent, f func(ent) bool) {
	var stack []ent
	push := func(k *kidSet) {
		if k == nil {
			return
		}
		at := len(stack)
		k.each(func(e ent) bool {
			stack = append(stack, e)
			return true
		})
		for i, j := at, len(stack)-1; i < j; i, j = i+1, j-1 {
			stack[i], stack[j] = stack[j], stack[i]
		}
	}
	push(s.kidsOf(tree, parent))
	for len(stack) > 0 {
		e := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !f(e) {
			return
		}
		push(s.kidsOf(tree, e))
	}
}

// Len is the number of nodes ever created in the tree, deleted ones included.
func (t Tree) Len() int {
	if tree := t.tree(); tree != 0 {
		return t.d.s.trees[tree-1].nodes
	}
	return 0
}

// LastMove returns the IDLP of the operation that put the node where it is (its
// creation, a move or a deletion). It is false for an absent node.
func (t Tree) LastMove(node TreeID) (IDLP, bool) {
	e, ok := t.find(node)
	if !ok || t.d.s.nodes.at(e).parent == nowhere {
		return IDLP{}, false
	}
	n := t.d.s.nodes.at(e)
	return IDLP{n.moveLam, t.d.s.peers.list[n.movePee]}, true
}

// Position returns the node's position among its siblings, which this package
// always writes as the single byte 0x80. It is nil for an absent node.
func (t Tree) Position(node TreeID) []byte {
	e, ok := t.find(node)
	if !ok || t.d.s.nodes.at(e).parent == nowhere {
		return nil
	}
	return []byte(t.d.s.pos.list[t.d.s.nodes.at(e).pos])
}

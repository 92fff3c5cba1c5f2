package loro

import "iter"

// Tree is a handle to a tree container. Nodes form a forest under [TreeRoot];
// every node has a meta map. It is cheap to copy and stays valid for the life of
// the document.
//
// Moves of all replicas are decided as if executed in [IDLP] order, where one
// that would make a node its own ancestor has no effect. Deleting a node moves
// it, with everything below it, out of sight; a later move brings it back.
type Tree struct {
	d *Doc
}

// Place says where a node is.
type Place uint8

const (
	Absent  Place = iota // never created, as far as this replica knows
	Live                 // reachable from the root
	Trashed              // deleted itself: its parent is the trash
	Hidden               // it or its ancestors are attached, but some ancestor is trashed or absent
)

// ID names the container.
func (t Tree) ID() ContainerID { panic("not yet") }

// Create makes a new node under parent ([TreeRoot] for the top).
//
// Errors: ErrNoNode, ErrLimit.
func (t Tree) Create(parent TreeID) (TreeID, error) { panic("not yet") }

// Move puts a live or hidden or trashed node, with all below it, under parent.
// Moving to the present parent records nothing.
//
// Errors: ErrNoNode (node absent, parent not live), ErrCycle, ErrLimit.
func (t Tree) Move(node, parent TreeID) error { panic("not yet") }

// Delete takes a live node and all below it out of sight.
//
// Errors: ErrNoNode, ErrLimit.
func (t Tree) Delete(node TreeID) error { panic("not yet") }

// Meta returns the node's meta map. It exists, perhaps empty, for every node.
func (t Tree) Meta(node TreeID) Map { panic("not yet") }

// Parent returns where a node is attached. For a [Live] node the parent is a
// live node or [TreeRoot]; for a [Hidden] one the node it will reappear under;
// for the others it is meaningless. The cost is the depth of the node.
func (t Tree) Parent(node TreeID) (TreeID, Place) { panic("not yet") }

// Alive reports whether the node is reachable from the root. The cost is the
// depth of the node.
func (t Tree) Alive(node TreeID) bool { panic("not yet") }

// Children iterates over the nodes attached to parent, whether parent itself is
// live or hidden, in Loro's sibling order: by position bytes, then by the IDLP
// of the last effective move. The tree must not change meanwhile.
func (t Tree) Children(parent TreeID) iter.Seq[TreeID] { panic("not yet") }

// ChildCount is the number of nodes Children yields.
func (t Tree) ChildCount(parent TreeID) int { panic("not yet") }

// Nodes iterates over all live nodes, each before its children, siblings in
// order. The tree must not change meanwhile.
func (t Tree) Nodes() iter.Seq[TreeID] { panic("not yet") }

// Len is the number of nodes ever created in the tree, deleted ones included.
func (t Tree) Len() int { panic("not yet") }

// LastMove returns the IDLP of the operation that put the node where it is (its
// creation, a move or a deletion). It is false for an absent node.
func (t Tree) LastMove(node TreeID) (IDLP, bool) { panic("not yet") }

// Position returns the node's position among its siblings, which this package
// always writes as the single byte 0x80. It is nil for an absent node.
func (t Tree) Position(node TreeID) []byte { panic("not yet") }

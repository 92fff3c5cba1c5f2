package loroindex

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Orphans lists the orphans of the whole document, for the start of a mount:
// deletions that were merged while this device was not looking. It reads the
// whole history.
func (x *Index) Orphans() ([]Orphan, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return nil, x.failed
	}
	deleted := make(map[loro.TreeID]struct{})
	for op, err := range x.doc.Ops() {
		if err != nil {
			return nil, fmt.Errorf("read the index history: %w", err)
		}
		if op.Kind == loro.OpTreeDelete {
			deleted[op.Node] = struct{}{}
		}
	}
	var out Changes
	c := newCausality(x.doc)
	seen := make(map[loro.TreeID]struct{})
	for _, id := range slices.SortedFunc(maps.Keys(deleted), loro.TreeID.Compare) {
		if x.placeOf(id) == loro.Trashed {
			x.orphansBelow(&out, c, id, seen)
		}
	}
	return out.Orphans, nil
}

// Rescue brings back a node that is out of sight: it moves to the nearest
// directory above its last place that is in sight, under its own name.
//
// Errors: ErrNotExist, ErrInvalid when the node is in sight, ErrLimit.
func (t *Tx) Rescue(n Node) error {
	x := t.x
	if !x.known(n) {
		return fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	n = x.canon(n)
	nd := x.at(n)
	if nd.flags&fVisible != 0 {
		return fmt.Errorf("rescue %q, which is in sight: %w", x.nameOf(n), ErrInvalid)
	}
	if err := t.room(); err != nil {
		return err
	}
	d, err := x.home(n)
	if err != nil {
		return err
	}
	x.read(d)
	t.save(n)
	given := x.givenIn(n) // it may have been renamed before it was deleted
	if nd.flags&fPlaced != 0 {
		x.displace(n)
	}
	delete(x.floating, n)
	t.ops = append(t.ops, docOp{kind: opMove, node: n, parent: d})
	x.place(n, d, given)
	x.setVisible(n, true)
	x.settle()
	nd.changed = t.now
	t.stamp(d)
	return nil
}

// Home returns where [Tx.Rescue] would bring back a node that is out of sight, or where it is.
//
// Errors: ErrNotExist.
func (t *Tx) Home(n Node) (Node, error) {
	x := t.x
	if !x.known(n) {
		return NoNode, fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	n = x.canon(n)
	if x.at(n).flags&fVisible != 0 {
		return x.at(n).parent, nil
	}
	return x.home(n)
}

// RemovedHere reports whether this session removed a node. What another one removed it did not
// know of what is written here now.
func (t *Tx) RemovedHere(n Node) bool { return t.x.removedHere(n) }

// RemovedHere is [Tx.RemovedHere].
func (x *Index) RemovedHere(n Node) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.removedHere(n)
}

func (x *Index) removedHere(n Node) bool {
	if !x.known(n) || x.at(n).flags&fVisible != 0 {
		return false
	}
	id := x.id(n)
	at, ok := x.tree.LastMove(id)
	return ok && x.placeOf(id) == loro.Trashed && uint64(at.Peer) == x.Peer()
}

// MadeBy names the operation that made a node.
//
// Errors: ErrNotExist.
func (t *Tx) MadeBy(n Node) (peer uint64, counter int32, err error) {
	if !t.x.known(n) {
		return 0, 0, fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	id := t.x.id(n)
	return uint64(id.Peer), id.Counter, nil
}

// WrittenBy tells which device wrote a node's content and when, in seconds since 1970, as far as
// the history goes.
func (t *Tx) WrittenBy(n Node) (device string, unix int64) {
	x := t.x
	if !x.known(n) {
		return "", 0
	}
	reg, ok := x.tree.Meta(x.id(x.canon(n))).Register(keyContent)
	if !ok {
		return "", 0
	}
	op, ok := newCausality(x.doc).idOf(reg.IDLP)
	if !ok {
		return "", 0
	}
	c, err := x.doc.ChangeOf(op)
	if err != nil {
		return "", 0 // before the start of a compacted history
	}
	return c.Message, c.Timestamp
}

// home returns the nearest visible directory above the last place of a node
// that is out of sight.
func (x *Index) home(n Node) (Node, error) {
	// The view remembers where what it has shown was. Places remembered at
	// different times may go round in circles; a path is no longer than this.
	const maxDepth = 1 << 12
	for k, i := x.at(n).parent, 0; k != NoNode && i < maxDepth; k, i = x.at(k).parent, i+1 {
		if nd := x.at(k); nd.flags&fVisible != 0 && nd.kind == Dir {
			return x.canon(k), nil
		}
	}
	id := x.id(n)
	for range maxDepth {
		parent, place := x.tree.Parent(id)
		if place == loro.Trashed {
			var err error
			if parent, err = x.lastParent(id); err != nil {
				return NoNode, err
			}
		}
		id = parent
		if id == loro.TreeRoot {
			return Root, nil
		}
		if !x.tree.Alive(id) {
			continue
		}
		if k := x.reach(id, x.micros()); k != NoNode && x.at(x.canon(k)).kind == Dir {
			return x.canon(k), nil
		}
	}
	return Root, nil
}

// lastParent finds in the history where a deleted node was before. It reads all
// of it, which only a rescue after a restart needs.
func (x *Index) lastParent(id loro.TreeID) (loro.TreeID, error) {
	parent, last := loro.TreeRoot, loro.IDLP{}
	for op, err := range x.doc.Ops() {
		if err != nil {
			return loro.TreeID{}, fmt.Errorf("read the index history: %w", err)
		}
		if op.Node != id || op.Kind != loro.OpTreeCreate && op.Kind != loro.OpTreeMove {
			continue
		}
		if at := (loro.IDLP{Lamport: op.Lamport, Peer: op.ID.Peer}); at.Compare(last) > 0 || last == (loro.IDLP{}) {
			parent, last = op.Parent, at
		}
	}
	return parent, nil
}

package play

import (
	"fmt"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// TreeMove is one operation on a tree.
type TreeMove struct {
	At           loro.IDLP
	Node, Parent loro.TreeID
	Creates      bool
	Trashes      bool // deletes: there is no parent
}

// MoveOf returns the operation on a tree that op is, if it is one.
func MoveOf(op loro.Op) (TreeMove, bool) {
	m := TreeMove{At: loro.IDLP{Lamport: op.Lamport, Peer: op.ID.Peer}, Node: op.Node, Parent: op.Parent}
	switch op.Kind {
	case loro.OpTreeCreate:
		m.Creates = true
	case loro.OpTreeDelete:
		m.Trashes = true
	case loro.OpTreeMove:
	default:
		return m, false
	}
	return m, true
}

// Replay executes operations on one tree in order of IDLP, which is what the place
// of every node is defined by, and returns the last effective one of each node.
// odd counts those without effect, because they would have made a node its own
// ancestor, and those with a node or parent that had not been created.
func Replay(moves []TreeMove) (last map[loro.TreeID]TreeMove, odd int) {
	moves = slices.Clone(moves)
	slices.SortFunc(moves, func(a, b TreeMove) int { return a.At.Compare(b.At) })
	last = make(map[loro.TreeID]TreeMove)
	for _, m := range moves {
		if !m.Trashes && isAncestor(last, m.Node, m.Parent) {
			odd++
			continue
		}
		_, known := last[m.Node]
		_, parentKnown := last[m.Parent]
		if !known && !m.Creates || !parentKnown && !m.Trashes && m.Parent != loro.TreeRoot {
			odd++
		}
		last[m.Node] = m
	}
	return last, odd
}

// isAncestor reports whether node is at, or above it.
func isAncestor(last map[loro.TreeID]TreeMove, node, at loro.TreeID) bool {
	for at != loro.TreeRoot {
		if at == node {
			return true
		}
		m, ok := last[at]
		if !ok || m.Trashes {
			return false
		}
		at = m.Parent
	}
	return false
}

// CheckTrees compares the place of every node of the root trees with a replay of
// the history, which must not be shallow.
func CheckTrees(d *loro.Doc) error {
	moves := make(map[string][]TreeMove)
	for op, err := range d.Ops() {
		if err != nil {
			return err
		}
		if m, ok := MoveOf(op); ok && op.Container.Root {
			moves[op.Container.Name] = append(moves[op.Container.Name], m)
		}
	}
	for name, ms := range moves {
		t := d.Tree(name)
		last, _ := Replay(ms)
		for node, m := range last {
			at, ok := t.LastMove(node)
			parent, place := t.Parent(node)
			if !ok || at != m.At || (place == loro.Trashed) != m.Trashes || !m.Trashes && parent != m.Parent {
				return fmt.Errorf("node %v of %s is %v under %v by %v, by the history under %v (trashed %v) by %v",
					node, name, place, parent, at, m.Parent, m.Trashes, m.At)
			}
		}
	}
	return nil
}

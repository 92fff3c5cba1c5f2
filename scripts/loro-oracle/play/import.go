package play

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
)

// ErrUntouched is an import that changed what it did not say.
var ErrUntouched = errors.New("import does not report what it changed")

// Import imports a blob and holds what it reports as touched against what looks
// different. Nodes that are only hidden or shown again because an ancestor moved
// need not be reported, nor need something that is reported have changed.
func Import(d *loro.Doc, blob []byte) (loro.ImportStatus, error) {
	before := factsOf(d)
	status, err := d.Import(blob)
	if err != nil || status.Touched.All {
		return status, err
	}
	after := factsOf(d)
	said := make(map[nodeName]loro.NodeTouch)
	for tree, nodes := range status.Touched.Nodes {
		for _, n := range nodes {
			said[nodeName{tree, n.Node}] = n
		}
	}
	for node, was := range before.nodes {
		now, stays := after.nodes[node]
		switch {
		case !stays && !movedWith(d, node, said):
			return status, fmt.Errorf("%w: node %v of %s is gone", ErrUntouched, node.id, node.tree)
		case stays && (was.place != now.place && !said[node].Moved || was.meta != now.meta && !said[node].Meta):
			return status, fmt.Errorf("%w: node %v of %s went from %v to %v, reported as %+v",
				ErrUntouched, node.id, node.tree, was, now, said[node])
		}
	}
	for node := range after.nodes {
		if _, was := before.nodes[node]; !was && !movedWith(d, node, said) {
			return status, fmt.Errorf("%w: node %v of %s is new", ErrUntouched, node.id, node.tree)
		}
	}
	for name, now := range after.maps {
		if before.maps[name] != now && !slices.Contains(status.Touched.Maps, name) {
			return status, fmt.Errorf("%w: root map %s went from %s to %s", ErrUntouched, name, before.maps[name], now)
		}
	}
	return status, nil
}

// movedWith reports whether a node or what it is below is said to have moved.
func movedWith(d *loro.Doc, node nodeName, said map[nodeName]loro.NodeTouch) bool {
	t := d.Tree(node.tree)
	for at := node.id; at != loro.TreeRoot; {
		if said[nodeName{node.tree, at}].Moved {
			return true
		}
		parent, place := t.Parent(at)
		if place != loro.Live && place != loro.Hidden {
			return false
		}
		at = parent
	}
	return false
}

// facts are what an index over a document keeps of it.
type facts struct {
	nodes map[nodeName]nodeFacts
	maps  map[string]string // by root, as canonical text
}

type nodeName struct {
	tree string
	id   loro.TreeID
}

type nodeFacts struct{ place, meta string }

func factsOf(d *loro.Doc) facts {
	f := facts{nodes: make(map[nodeName]nodeFacts), maps: make(map[string]string)}
	for _, root := range d.Roots() {
		switch root.Type {
		case loro.TypeMap:
			f.maps[root.Name] = deepMap(d, d.Map(root.Name))
		case loro.TypeTree:
			t := d.Tree(root.Name)
			f.below(d, t, loro.TreeRoot)
		}
	}
	return f
}

// below adds the nodes under a parent that can be reached from the root.
func (f facts) below(d *loro.Doc, t loro.Tree, parent loro.TreeID) {
	for id := range t.Children(parent) {
		at, _ := t.LastMove(id)
		f.nodes[nodeName{t.ID().Name, id}] = nodeFacts{
			place: fmt.Sprintf("under %v by %v %x", parent, at, t.Position(id)),
			meta:  deepMap(d, t.Meta(id)),
		}
		f.below(d, t, id)
	}
}

func deepMap(d *loro.Doc, m loro.Map) string {
	var out []byte
	for key, v := range m.All() {
		out = fmt.Appendf(out, "%q:", key)
		if id, ok := v.AsContainer(); ok {
			if child, ok := d.MapOf(id); ok {
				out = fmt.Appendf(out, "{%s}", deepMap(d, child))
				continue
			}
		}
		out = append(canon.AppendValue(out, v), ',')
	}
	return string(out)
}

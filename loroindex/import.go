package loroindex

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Import merges a snapshot or update of another device, or of an earlier
// session of this one. It is atomic: on an error nothing changed. Operations
// that depend on others not yet known wait in memory until those arrive. The
// cost follows what changes, not the size of the tree.
//
// Errors: ErrUpdate; ErrBroken; ErrNewerSchema when the merged document is of a newer
// schema: reading goes on, changes are refused from then on.
func (x *Index) Import(blob []byte) (Changes, error) {
	changes, _, err := x.ImportAll(blob)
	return changes, err
}

// ImportAll is Import for several, one after the other, as far as none fails; it
// returns how many did not. It costs less than as many Imports: what competes with
// what is found out once.
func (x *Index) ImportAll(blobs ...[]byte) (Changes, int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return Changes{}, 0, x.failed
	}
	before := x.doc.Version()
	heads := x.doc.Frontiers()
	sum := imported{applied: make(map[loro.PeerID]loro.Span), places: make(map[loro.TreeID]int)}
	done := 0
	var failed error
	for ; done < len(blobs) && failed == nil; done++ {
		status, err := x.doc.Import(blobs[done])
		if errors.Is(err, loro.ErrBroken) {
			x.failed = fmt.Errorf("%w until the mount is started again: %w", ErrBroken, err)
			return Changes{}, done, x.failed
		}
		if err != nil {
			failed = fmt.Errorf("%w: %w", ErrUpdate, err)
			break
		}
		sum.add(status)
	}
	var changes Changes
	changes.Pending = pendingSpans(sum.pending)
	if sum.all {
		x.reread()
	}
	var refused error
	if sum.all || slices.Contains(sum.maps, rootMap) {
		refused = x.rereadRoot()
	}
	changes.Nodes = x.follow(sum.nodes)
	if x.imported != nil {
		x.imported(changes.Nodes)
	}
	x.conflicts(&changes, sum.applied, sum.nodes, before, heads)
	return changes, done, cmp.Or(failed, refused)
}

// imported is what several imports did together.
type imported struct {
	applied, pending map[loro.PeerID]loro.Span
	all              bool
	maps             []string
	nodes            []loro.NodeTouch
	places           map[loro.TreeID]int // in nodes
}

func (m *imported) add(s loro.ImportStatus) {
	for p, span := range s.Applied {
		if was, ok := m.applied[p]; ok {
			span = loro.Span{Start: min(was.Start, span.Start), End: max(was.End, span.End)}
		}
		m.applied[p] = span
	}
	// What waited is applied now, or waits still.
	for p, span := range s.Pending {
		if m.pending == nil {
			m.pending = make(map[loro.PeerID]loro.Span)
		}
		if was, ok := m.pending[p]; ok {
			span = loro.Span{Start: min(was.Start, span.Start), End: max(was.End, span.End)}
		}
		m.pending[p] = span
	}
	for p, span := range m.pending {
		if m.applied[p].End >= span.End {
			delete(m.pending, p)
		}
	}
	m.all = m.all || s.Touched.All
	m.maps = append(m.maps, s.Touched.Maps...)
	for _, t := range s.Touched.Nodes[treeName] {
		at, ok := m.places[t.Node]
		if !ok {
			m.places[t.Node] = len(m.nodes)
			m.nodes = append(m.nodes, t)
			continue
		}
		m.nodes[at].Moved = m.nodes[at].Moved || t.Moved
		m.nodes[at].Meta = m.nodes[at].Meta || t.Meta
	}
}

func pendingSpans(m map[loro.PeerID]loro.Span) []Span {
	if len(m) == 0 {
		return nil
	}
	spans := make([]Span, 0, len(m))
	for p, s := range m {
		spans = append(spans, Span{Peer: uint64(p), Start: s.Start, End: s.End})
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.Peer, b.Peer) })
	return spans
}

// reread forgets that the root directory was empty: a snapshot filled the
// document.
func (x *Index) reread() {
	if d := &x.dirs[x.at(Root).dir]; d.read {
		d.read = false
		x.unread++
	}
}

// rereadRoot takes over a changed schema and the facts of the root directory.
func (x *Index) rereadRoot() error {
	x.readRoot()
	fresh, err := x.checkSchema()
	if err != nil {
		x.refuse = fmt.Errorf("%w: %w", ErrBroken, err)
		return err
	}
	x.schema = !fresh
	return nil
}

// wasNode is what a change is reported against.
type wasNode struct {
	visible bool
	parent  Node
	name    string
}

func (x *Index) was(n Node) wasNode {
	nd := x.at(n)
	return wasNode{nd.flags&fVisible != 0, nd.parent, x.nameOf(n)}
}

// recorder collects, while an import is followed, what it does to others than
// the nodes it names.
type recorder struct {
	on     bool
	shown  map[Node]wasNode  // nodes that may look different, as they were
	facts  map[Node]struct{} // nodes whose facts were written
	listed map[Node]struct{} // directories whose entries changed
	unread map[Node]struct{} // the same of directories not yet read, which are not reported
}

// note remembers a node before its shown name or place changes.
func (x *Index) note(n Node) {
	if !x.rec.on {
		return
	}
	if _, ok := x.rec.shown[n]; !ok {
		x.rec.shown[n] = x.was(n)
	}
}

// follow brings the view up to a document in which the given nodes changed.
func (x *Index) follow(touched []loro.NodeTouch) []Change {
	x.rec = recorder{
		on: true, shown: make(map[Node]wasNode),
		facts: make(map[Node]struct{}), listed: make(map[Node]struct{}), unread: make(map[Node]struct{}),
	}
	defer func() { x.rec = recorder{} }()
	now := x.micros()

	// First everything whose place or name changes leaves. The places of the
	// document fit together only all at once: on the way two directories could
	// end up inside each other.
	for _, t := range touched {
		n := x.find(t.Node)
		if n == NoNode {
			continue
		}
		x.note(n)
		if x.at(n).flags&fPlaced != 0 && (t.Moved || x.givenIn(n) != x.givenOf(n)) {
			x.listed(x.at(n).parent, now)
			x.displace(n)
		}
	}
	for _, t := range touched {
		n := x.find(t.Node)
		if n != NoNode && t.Meta {
			x.refresh(n, now)
		}
		x.settleIn(t.Node, n, now)
	}
	x.settle()
	x.resurface(now)
	for _, t := range touched {
		if n := x.find(t.Node); n != NoNode {
			n = x.canon(n) // with it, what is merged into it
			x.setVisible(n, x.placedIn(n))
		}
	}
	x.retime()
	return x.report()
}

// listed records that the entries of d change.
func (x *Index) listed(d Node, now int64) {
	nd := x.at(d)
	nd.changed = max(nd.changed, now)
	if x.rec.on {
		x.rec.listed[d] = struct{}{}
	}
}

// refresh takes over what the view has of a node's facts.
func (x *Index) refresh(n Node, now int64) {
	nd := x.at(n)
	info, content := x.factsOf(x.id(n))
	x.resize(n, content.of(Info{Kind: nd.kind, Target: info.Target}, true).Size)
	nd.changed = max(nd.changed, now)
	x.rec.facts[n] = struct{}{}
}

// retime takes over the times of directories that changed.
func (x *Index) retime() {
	for _, changed := range []map[Node]struct{}{x.rec.listed, x.rec.unread} {
		for d := range changed {
			at := x.dirTime(d)
			dir := &x.dirs[x.at(d).dir]
			dir.mtime = max(dir.mtime, at)
		}
	}
	for n := range x.rec.facts {
		if d := x.canon(n); x.at(d).kind == Dir {
			at := x.dirTime(d)
			x.dirs[x.at(d).dir].mtime = at // also an earlier one, for it was set
		}
	}
}

// settleIn puts a tree node where the document has it, if the view shows that
// place. n is its slot, or NoNode.
func (x *Index) settleIn(id loro.TreeID, n Node, now int64) {
	if n != NoNode && x.at(n).flags&fPlaced != 0 {
		return
	}
	parent, place := x.tree.Parent(id)
	if place != loro.Live {
		if place == loro.Hidden {
			x.hide(id, n, parent)
		}
		return
	}
	p := x.find(parent)
	if p == NoNode {
		if n == NoNode {
			return // in a directory nobody looked into
		}
		p = x.reach(parent, now)
		if p == NoNode || x.at(n).flags&fPlaced != 0 { // the latter by reading what was on the way
			return
		}
	}
	d := x.canon(p)
	if x.at(d).kind != Dir {
		return // below a file, which only a foreign writer does
	}
	if !x.dirs[x.at(d).dir].read {
		if n == NoNode {
			if x.rec.on {
				x.rec.unread[d] = struct{}{}
			}
			return
		}
		x.read(d) // and n with it
		x.listed(d, now)
		return
	}
	if n == NoNode {
		n = x.adopt(id)
		x.note(n)
	}
	delete(x.floating, n)
	x.place(n, d, x.givenIn(n))
	x.listed(d, now)
}

// hide puts a node under a directory that is out of sight itself. When the
// view has read that directory, it stays complete, for when it comes back.
func (x *Index) hide(id loro.TreeID, n Node, parent loro.TreeID) {
	if p := x.find(parent); p != NoNode {
		p = x.canon(p)
		if pd := x.at(p); pd.kind == Dir && x.dirs[pd.dir].read {
			if n == NoNode {
				n = x.adopt(id)
			}
			delete(x.floating, n)
			x.place(n, p, x.givenIn(n))
			return
		}
	}
	if n != NoNode {
		x.floating[n] = struct{}{}
	}
}

// resurface places nodes that were under an unknown directory which is in sight
// again.
func (x *Index) resurface(now int64) {
	for n := range x.floating {
		if id := x.id(n); x.tree.Alive(id) {
			delete(x.floating, n)
			x.settleIn(id, n, now)
			x.settle()
			n = x.canon(n)
			x.setVisible(n, x.placedIn(n))
		}
	}
}

// placedIn reports whether n is an entry of a visible directory.
func (x *Index) placedIn(n Node) bool {
	nd := x.at(n)
	return nd.flags&fPlaced != 0 && x.at(nd.parent).flags&fVisible != 0
}

// reach returns the slot of a live tree node after reading the directories
// above it. It is NoNode below what is no directory, where only a foreign
// writer puts a node.
func (x *Index) reach(id loro.TreeID, now int64) Node {
	var below []loro.TreeID
	n := x.find(id)
	for n == NoNode {
		below = append(below, id)
		id, _ = x.tree.Parent(id)
		n = x.find(id)
	}
	for _, b := range slices.Backward(below) {
		if n = x.canon(n); x.at(n).kind != Dir {
			return NoNode
		}
		x.read(n)
		if n = x.find(b); n == NoNode {
			// The directory was read before this import made b in it.
			x.settleIn(b, NoNode, now)
			n = x.find(b)
		}
	}
	return n
}

// report compares the nodes noted with what they are now.
func (x *Index) report() []Change {
	changes := make([]Change, 0, len(x.rec.shown)+len(x.rec.listed))
	at := make(map[Node]int, len(x.rec.shown))
	for n, was := range x.rec.shown {
		now := x.was(n)
		c := Change{Node: n, Kind: x.at(n).kind, OldParent: was.parent, OldName: was.name}
		switch {
		case !was.visible && !now.visible:
			continue
		case !was.visible:
			c.What, c.OldParent, c.OldName = Added, NoNode, ""
		case !now.visible:
			c.What = Gone
		case was.parent != now.parent || was.name != now.name:
			c.What = Moved
		}
		if _, ok := x.rec.facts[n]; ok && was.visible {
			c.What |= Altered
		}
		if c.What != 0 {
			at[n] = len(changes)
			changes = append(changes, c)
		}
	}
	for d := range x.rec.listed {
		if i, ok := at[d]; ok {
			changes[i].What |= Listing
		} else if x.at(d).flags&fVisible != 0 {
			w := x.was(d)
			changes = append(changes, Change{Node: d, Kind: Dir, What: Listing, OldParent: w.parent, OldName: w.name})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Node, b.Node) })
	return changes
}

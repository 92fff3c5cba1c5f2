package loroindex

import (
	"cmp"
	"iter"
	"slices"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// bodyOp is a write of a file's content.
type bodyOp struct {
	id      loro.ID
	idlp    loro.IDLP
	content Content
	time    int64
}

// manyBlind is from how many on that did not know the same only those are asked who knew
// least.
const manyBlind = 16

// blindest returns some of blind that together did not know what all did not, each with the peers for
// which it stands.
func blindest(blind map[*unseen][]loro.PeerID) map[*unseen][]loro.PeerID {
	least := make(map[loro.PeerID]*unseen) // of those who knew one operation and what is below it, by its peer
	for u := range blind {
		if len(u.deps) == 1 {
			d := u.deps[0]
			if other := least[d.Peer]; other == nil || d.Counter < other.deps[0].Counter {
				least[d.Peer] = u
			}
		}
	}
	out := make(map[*unseen][]loro.PeerID)
	for u, peers := range blind {
		if len(u.deps) == 1 {
			u = least[u.deps[0].Peer]
		}
		out[u] = append(out[u], peers...)
	}
	return out
}

// conflicts looks for contents and nodes of this device that the import of the
// given operations put out of sight without their writers having known.
func (x *Index) conflicts(out *Changes, applied map[loro.PeerID]loro.Span, touched []loro.NodeTouch, before loro.VersionVector, heads loro.Frontiers) {
	if len(applied) == 0 || len(before) == 0 {
		return
	}
	c := newCausality(x.doc)
	// The imported peers by what their first operations, which know least, did not know.
	blind := make(map[*unseen][]loro.PeerID)
	for p, s := range applied {
		u := c.unseen(loro.ID{Peer: p, Counter: s.Start})
		blind[u] = append(blind[u], p)
	}
	if len(blind) > manyBlind {
		blind = blindest(blind)
	}
	// What was here and is unknown to one of them.
	unknown := make(map[loro.PeerID]int32)
	for u, peers := range blind {
		missed := slices.DeleteFunc(slices.Clone(heads), u.knows)
		if len(missed) == 0 || len(missed) == 1 && len(peers) == 1 && missed[0].Peer == peers[0] {
			continue
		}
		for q, from := range u.ranges() {
			if len(peers) == 1 && q == peers[0] {
				continue // its own
			}
			if least, ok := unknown[q]; from < before[q] && (!ok || from < least) {
				unknown[q] = from
			}
		}
	}
	if len(unknown) == 0 {
		return
	}
	x.lostContents(out, c, applied, unknown, before)
	x.orphansOf(out, c, touched)
}

// lostContents finds contents of this device that lost against one whose writer
// did not know them.
func (x *Index) lostContents(out *Changes, c *causality, applied map[loro.PeerID]loro.Span, unknown map[loro.PeerID]int32, before loro.VersionVector) {
	// What was imported, by whomever, and what this device wrote before.
	look := make(map[loro.PeerID][]loro.Span)
	ours := false
	for p, s := range applied {
		look[p] = append(look[p], s)
		ours = ours || x.ours(c, p)
	}
	for p, start := range unknown {
		if x.ours(c, p) {
			look[p] = append(look[p], loro.Span{Start: start, End: before[p]})
			ours = true
		}
	}
	if !ours {
		return // nothing this device did is at stake
	}
	writes := make(map[loro.TreeID][]bodyOp)
	for op := range x.contentWrites(look) {
		id := loro.TreeID(op.Container.ID)
		writes[id] = append(writes[id], bodyOp{op.ID, loro.IDLP{Lamport: op.Lamport, Peer: op.ID.Peer}, contentOf(op.Value), op.Timestamp})
	}
	for id, ops := range writes {
		if !slices.ContainsFunc(ops, func(op bodyOp) bool { return x.ours(c, op.id.Peer) }) {
			continue
		}
		ops = x.withWinner(c, id, ops)
		for _, loser := range ops {
			if !x.ours(c, loser.id.Peer) {
				continue
			}
			if winner, lost := beaten(c, loser, ops); lost && !x.removedKnowing(c, id, loser.id) {
				if n := x.slotOf(id); n != NoNode {
					out.Lost = append(out.Lost, Lost{
						Node: n, Content: loser.content, Peer: uint64(loser.id.Peer),
						Time: loser.time, Winner: c.device(winner.id.Peer),
					})
				}
			}
		}
	}
	slices.SortFunc(out.Lost, func(a, b Lost) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Time, b.Time))
	})
}

// removedKnowing reports whether this device deleted a node, or a directory above it, and knew of
// op when it did.
func (x *Index) removedKnowing(c *causality, id loro.TreeID, op loro.ID) bool {
	place := x.placeOf(id)
	for place == loro.Hidden {
		id, place = x.parentOf(id)
	}
	at, ok := x.tree.LastMove(id)
	if place != loro.Trashed || !ok || !x.ours(c, at.Peer) {
		return false
	}
	deletion, ok := c.idOf(at)
	return ok && c.knows(deletion, op)
}

// beaten reports whether op was replaced by a write that did not know it, and
// nobody who knew op replaced it first.
func beaten(c *causality, op bodyOp, all []bodyOp) (winner bodyOp, lost bool) {
	for _, w := range all {
		if w.idlp.Compare(op.idlp) <= 0 || c.knows(w.id, op.id) || sameBody(w.content, op.content) {
			continue
		}
		knowingly := false
		for _, y := range all {
			if y.id != op.id && c.knows(y.id, op.id) && !c.knows(y.id, w.id) {
				knowingly = true
				break
			}
		}
		if !knowingly {
			return w, true
		}
	}
	return bodyOp{}, false
}

// contentOf is decodeContent for a value of the history.
func contentOf(v loro.Value) Content {
	var c Content
	if size, ok := v.Get(contentSize); ok {
		i, _ := size.AsInt()
		c.Size = max(i, 0)
	}
	if mtime, ok := v.Get(contentModTime); ok {
		c.ModTime, _ = mtime.AsInt()
	}
	if object, ok := v.Get(contentObject); ok {
		if b, ok := object.AsBinary(); ok && len(b) == objectid.Size {
			c.Object = objectid.ID(b)
		}
	}
	if manifest, ok := v.Get(contentManifest); ok {
		c.Manifest, _ = manifest.AsBool()
	}
	if first, ok := v.Get(contentFirst); ok && c.Manifest {
		if b, ok := first.AsBinary(); ok && len(b) == objectid.Size {
			c.First = objectid.ID(b)
		}
	}
	return c
}

func sameBody(a, b Content) bool { return a.Size == b.Size && a.Object == b.Object }

// withWinner adds the write that the document shows, if ops lacks it.
func (x *Index) withWinner(c *causality, id loro.TreeID, ops []bodyOp) []bodyOp {
	reg, ok := x.tree.Meta(id).Register(keyContent)
	if !ok {
		return ops
	}
	for _, op := range ops {
		if op.idlp == reg.IDLP {
			return ops
		}
	}
	if w, ok := c.idOf(reg.IDLP); ok {
		ops = append(ops, bodyOp{id: w, idlp: reg.IDLP, content: contentOf(reg.Value)})
	}
	return ops
}

// contentWrites iterates over the writes of contents in spans of operations.
func (x *Index) contentWrites(spans map[loro.PeerID][]loro.Span) iter.Seq[loro.Op] {
	return func(yield func(loro.Op) bool) {
		for op, err := range x.doc.Ops() {
			if err != nil {
				return // damaged history, which exports will report
			}
			if op.Kind != loro.OpMapSet || op.Key != keyContent || op.Container.Root {
				continue
			}
			for _, s := range spans[op.ID.Peer] {
				if s.Start <= op.ID.Counter && op.ID.Counter < s.End {
					if !yield(op) {
						return
					}
					break
				}
			}
		}
	}
}

// slotOf returns the slot of a tree node that must be named now: one that is in
// sight is read into the view, any other gets a slot outside of it.
func (x *Index) slotOf(id loro.TreeID) Node {
	if n := x.find(id); n != NoNode {
		return n
	}
	if x.tree.Alive(id) {
		if n := x.reach(id, x.micros()); n != NoNode {
			return n
		}
	}
	n := x.adopt(id)
	x.setName(n, x.givenIn(n))
	if _, place := x.tree.Parent(id); place == loro.Hidden {
		x.floating[n] = struct{}{}
	}
	return n
}

// orphansOf finds, among the nodes an import touched and those below them, the
// ones out of sight because of a deletion that did not know of this device's
// doing.
func (x *Index) orphansOf(out *Changes, c *causality, touched []loro.NodeTouch) {
	seen := make(map[loro.TreeID]struct{})
	for _, t := range touched {
		switch id, place := t.Node, x.placeOf(t.Node); place {
		case loro.Trashed:
			x.orphansBelow(out, c, id, seen)
		case loro.Hidden:
			// Only what hangs below t can have become an orphan by it; t itself
			// and its siblings by the deletion above, which did not know of t.
			for place == loro.Hidden {
				id, place = x.parentOf(id)
			}
			if place == loro.Trashed {
				x.orphan(out, c, t.Node, id, seen)
			}
		}
	}
}

func (x *Index) placeOf(id loro.TreeID) loro.Place {
	_, p := x.tree.Parent(id)
	return p
}

// parentOf goes one step up from a hidden node.
func (x *Index) parentOf(id loro.TreeID) (loro.TreeID, loro.Place) {
	p, _ := x.tree.Parent(id)
	return p, x.placeOf(p)
}

// orphansBelow looks at a deleted node and what is hidden below it.
func (x *Index) orphansBelow(out *Changes, c *causality, deleted loro.TreeID, seen map[loro.TreeID]struct{}) {
	if x.orphan(out, c, deleted, deleted, seen) {
		return
	}
	todo := []loro.TreeID{deleted}
	for len(todo) > 0 {
		top := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for id := range x.tree.Children(top) {
			if !x.orphan(out, c, id, deleted, seen) {
				todo = append(todo, id)
			}
		}
	}
}

// orphan reports whether the deletion of deleted, which is id or above it, did
// not know of what this device did to id, and notes it if so.
func (x *Index) orphan(out *Changes, c *causality, id, deleted loro.TreeID, seen map[loro.TreeID]struct{}) bool {
	if _, ok := seen[id]; ok {
		return false
	}
	seen[id] = struct{}{}
	at, ok := x.tree.LastMove(deleted)
	if !ok {
		return false
	}
	var doings [3]loro.IDLP
	n := 0
	if id != deleted {
		if l, ok := c.lamport(loro.ID(id)); ok {
			doings[n] = loro.IDLP{Lamport: l, Peer: id.Peer}
			n++
		}
		if at, ok := x.tree.LastMove(id); ok {
			doings[n] = at
			n++
		}
	}
	// That of a directory is a time alone, nothing to bring it back for.
	if reg, ok := x.tree.Meta(id).Register(keyContent); ok && !x.isDir(id) {
		doings[n] = reg.IDLP
		n++
	}
	for _, d := range doings[:n] {
		if d.Peer == at.Peer || !x.ours(c, d.Peer) {
			continue
		}
		op, ok1 := c.idOf(d)
		deletion, ok2 := c.idOf(at)
		if ok1 && ok2 && !c.knows(deletion, op) {
			if n := x.slotOf(id); n != NoNode {
				out.Orphans = append(out.Orphans, Orphan{Node: n, Peer: uint64(op.Peer)})
			}
			return true
		}
	}
	return false
}

// isDir reports whether a node of the document is a directory.
func (x *Index) isDir(id loro.TreeID) bool {
	info, _ := x.factsOf(id)
	return info.Kind == Dir
}

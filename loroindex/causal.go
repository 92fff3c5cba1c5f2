package loroindex

import (
	"cmp"
	queue "container/heap"
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"sort"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// causality answers who knew of what, from the dependencies of the changes. It
// is made for one look at a document that does not change meanwhile. What it
// reads of the history is what happened at once, not what came before, and that
// once for all changes that depend on the same.
type causality struct {
	doc     *loro.Doc
	version loro.VersionVector
	heads   loro.Frontiers
	start   loro.VersionVector  // where a compacted history begins
	changes map[loro.ID]*unseen // by the first operation of a change
	deps    map[string]*unseen  // by dependencies, see depsKey
	devices map[loro.PeerID]string
}

// unseen is what the writers of some operations did not know, who all knew deps and what
// these depend on. Operations of a writer's own peer do not count.
type unseen struct {
	c      *causality
	deps   []loro.ID
	walked bool
	from   loro.VersionVector // see ranges; once walked
}

// ranges returns, for each peer of whose operations the writers did not know all, the counter
// from which on.
func (u *unseen) ranges() loro.VersionVector {
	if !u.walked {
		u.from, u.walked = u.c.unknown(u.deps), true
	}
	return u.from
}

func newCausality(doc *loro.Doc) *causality {
	c := &causality{
		doc: doc, version: doc.Version(), heads: doc.Frontiers(),
		changes: make(map[loro.ID]*unseen),
		deps:    make(map[string]*unseen),
		devices: make(map[loro.PeerID]string),
	}
	c.start, _ = doc.ShallowSince()
	return c
}

// knows reports whether the writer of op knew of id.
func (c *causality) knows(op, id loro.ID) bool {
	if op.Peer == id.Peer {
		return op.Counter >= id.Counter
	}
	return c.unseen(op).knows(id)
}

// knows reports whether the writers knew of id, of another peer than theirs.
func (u *unseen) knows(id loro.ID) bool {
	from, ok := u.ranges()[id.Peer]
	return !ok || id.Counter < from
}

// aloneMost bounds the changes of one peer that are gone back to find others that depend on
// the same: a session may have any number of them.
const aloneMost = 32

// unseen returns what the writer of op did not know. It is the same for all operations
// of a change, and for changes that depend on the same or follow such a one without
// another peer's in between.
func (c *causality) unseen(op loro.ID) *unseen {
	change, err := c.doc.ChangeOf(op)
	if err != nil {
		return &unseen{walked: true} // before the start of a compacted history, which all know
	}
	var passed []loro.ID
	found := c.changes[change.ID]
	for found == nil {
		passed = append(passed, change.ID)
		if len(change.Deps) == 1 && change.Deps[0].Peer == op.Peer && len(passed) < aloneMost {
			if before, err := c.doc.ChangeOf(change.Deps[0]); err == nil {
				change, found = before, c.changes[before.ID]
				continue
			}
		}
		key := depsKey(change.Deps)
		if found = c.deps[key]; found == nil {
			found = &unseen{c: c, deps: change.Deps}
			c.deps[key] = found
		}
	}
	for _, id := range passed {
		c.changes[id] = found
	}
	return found
}

// depsKey is the same for the same dependencies, which are sorted.
func depsKey(deps []loro.ID) string {
	key := make([]byte, 0, 12*len(deps))
	for _, d := range deps {
		key = binary.LittleEndian.AppendUint64(key, uint64(d.Peer))
		key = binary.LittleEndian.AppendUint32(key, uint32(d.Counter))
	}
	return string(key)
}

// unknown returns, for each peer of whose operations somebody did not know all who
// knew of deps and what those depend on, the counter from which on.
//
// The history is walked from its heads and from deps at once, later operations
// before earlier ones, until everything still to be visited is below both, and
// earlier than all that was not.
func (c *causality) unknown(deps []loro.ID) loro.VersionVector {
	w := walk{c: c, peers: make(map[loro.PeerID]*walked), been: make(map[loro.ID]way)}
	for _, h := range c.heads {
		w.visit(h, way{heads: true})
	}
	for _, d := range deps {
		w.visit(d, way{heads: true, deps: true})
	}
	floor := uint32(math.MaxUint32) // the first operation of the changes that were not known whole
	for len(w.todo) > 0 && (w.open > 0 || w.todo[0].lamport >= floor) {
		id := w.next()
		change, err := c.doc.ChangeOf(id)
		if err != nil {
			continue
		}
		p := w.peers[id.Peer]
		ways := way{heads: id.Counter < p.all, deps: id.Counter < p.known}
		if !ways.deps {
			floor = min(floor, change.Lamport)
		}
		for _, dep := range change.Deps {
			w.visit(dep, ways)
		}
		if change.ID.Counter > 0 {
			w.visit(loro.ID{Peer: id.Peer, Counter: change.ID.Counter - 1}, ways)
		}
	}
	v := make(loro.VersionVector)
	for id, p := range w.peers {
		if from := max(p.known, c.start[id]); from < p.all {
			v[id] = from
		}
	}
	return v
}

// walk is a walk down the history.
type walk struct {
	c     *causality
	todo  reaches
	open  int // of todo: those that are not below both
	peers map[loro.PeerID]*walked
	been  map[loro.ID]way
}

// way is from where an operation was reached.
type way struct{ heads, deps bool }

// walked is what a walk reached of one peer.
type walked struct {
	all, known int32   // exclusive ends of what was reached, from the heads and from the dependencies
	todo       []int32 // counters of those of its operations that are to be visited
	open       int     // of these: those that are not below both
}

// visit notes that an operation was reached.
func (w *walk) visit(id loro.ID, from way) {
	p := w.peers[id.Peer]
	if p == nil {
		p = &walked{}
		w.peers[id.Peer] = p
	}
	if from.heads {
		p.all = max(p.all, id.Counter+1)
	}
	if from.deps {
		p.known = max(p.known, id.Counter+1)
	}
	b := w.been[id]
	if now := (way{b.heads || from.heads, b.deps || from.deps}); now != b {
		w.been[id] = now
		if l, ok := w.c.lamport(id); ok {
			queue.Push(&w.todo, reach{id, l})
			p.todo = append(p.todo, id.Counter)
		}
	}
	w.count(p)
}

// next takes the latest operation that is to be visited.
func (w *walk) next() loro.ID {
	id := queue.Pop(&w.todo).(reach).id
	p := w.peers[id.Peer]
	i := slices.Index(p.todo, id.Counter)
	p.todo = slices.Delete(p.todo, i, i+1)
	w.count(p)
	return id
}

// count brings the numbers of open operations up to date after p changed.
func (w *walk) count(p *walked) {
	w.open -= p.open
	p.open = 0
	for _, counter := range p.todo {
		if counter >= min(p.all, p.known) {
			p.open++
		}
	}
	w.open += p.open
}

// reach is an operation that a walk has come to.
type reach struct {
	id      loro.ID
	lamport uint32
}

// reaches is a heap with the latest operation at its top.
type reaches []reach

func (r reaches) Len() int           { return len(r) }
func (r reaches) Less(i, j int) bool { return r[i].lamport > r[j].lamport }
func (r reaches) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *reaches) Push(x any)        { *r = append(*r, x.(reach)) }
func (r *reaches) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}

// device returns the device a peer's session ran on.
func (c *causality) device(p loro.PeerID) string {
	d, ok := c.devices[p]
	if !ok {
		// Every session records its device with its first change.
		if ch, err := c.doc.ChangeOf(loro.ID{Peer: p, Counter: c.start[p]}); err == nil {
			d = ch.Message
		}
		c.devices[p] = d
	}
	return d
}

// ours reports whether a peer is a session of this index's device.
func (x *Index) ours(c *causality, p loro.PeerID) bool {
	if x.own == nil {
		return c.device(p) == x.device
	}
	return p == x.doc.Peer() || x.own[p]
}

// idOf finds the operation of an IDLP: Lamport times rise with counters.
func (c *causality) idOf(at loro.IDLP) (loro.ID, bool) {
	lo, end := c.start[at.Peer], c.version[at.Peer]
	id := func(i int) loro.ID { return loro.ID{Peer: at.Peer, Counter: lo + int32(i)} }
	n := int(end - lo)
	i := sort.Search(n, func(i int) bool {
		l, _ := c.lamport(id(i))
		return l >= at.Lamport
	})
	if i == n {
		return loro.ID{}, false
	}
	l, ok := c.lamport(id(i))
	return id(i), ok && l == at.Lamport
}

func (c *causality) lamport(id loro.ID) (uint32, bool) {
	ch, err := c.doc.ChangeOf(id)
	if err != nil {
		return 0, false
	}
	return ch.Lamport + uint32(id.Counter-ch.ID.Counter), true
}

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

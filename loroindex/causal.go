package loroindex

import (
	queue "container/heap"
	"encoding/binary"
	"math"
	"slices"
	"sort"

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

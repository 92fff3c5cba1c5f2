package loro

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// ImportStatus tells what Import did.
type ImportStatus struct {
	Applied map[PeerID]Span // operations that became part of the document, pending ones of earlier imports included
	Pending map[PeerID]Span // operations of this blob that wait for others they depend on
	Touched Touched         // what may look different now
}

// Touched is what an import changed, at the cost of the change: an index over
// the document needs to look at nothing else.
type Touched struct {
	// All: a snapshot initialised an empty document; rebuild from scratch.
	// The fields below are empty then.
	All bool
	// Nodes, by root tree name: the nodes whose position or deletion, or
	// whose meta map (or a map below it), changed. Each once, in the order of
	// first change. Only the node that moved is named, not its descendants.
	Nodes map[string][]NodeTouch
	// Maps names the root maps in which, at any depth, a key changed, sorted.
	Maps []string
}

// NodeTouch names a node and what changed about it.
type NodeTouch struct {
	Node  TreeID
	Moved bool // created, moved, deleted or brought back; or an earlier move took effect instead
	Meta  bool // a key of its meta map, or of a map below it, was written
}

// Import merges a snapshot or updates into the document. An open transaction is
// committed first. It is atomic: on an error the document is as before. Changes
// whose dependencies are missing are kept and applied when those arrive.
//
// A snapshot imported into an empty document also brings its state, which is
// validated in form but, like in every Loro implementation, trusted in content;
// [Doc.Verify] checks it. Shallow snapshots can only initialise an empty
// document; into another they are merged like updates. A document is empty that has
// no operations, even if changes wait in it, which are then applied if they can be. If
// one of them depends on what a shallow snapshot lacks, that is merged, too, and waits
// for the history: so no change is shut out for ever.
//
// A change that has everything it depends on but not the operations of its peer
// before it is an error, as no writer makes one.
//
// blob is not kept: the caller may reuse it.
//
// Errors: ErrInvalid (ErrChecksum, ErrUnsupportedMode), ErrShallowDeps, ErrLimit,
// ErrBroken.
func (d *Doc) Import(blob []byte) (ImportStatus, error) {
	if d.broken != nil {
		return ImportStatus{}, d.broken
	}
	d.Commit()
	mode, body, err := openEnvelope(blob)
	if err != nil {
		return ImportStatus{}, err
	}
	if mode == ModeUpdates {
		return d.merge(func(in *importer) error { return in.readUpdates(body) })
	}
	sec, err := splitSnapshot(body)
	if err != nil {
		return ImportStatus{}, err
	}
	if d.empty() {
		status, err := d.load(sec)
		if err != errShutsOut {
			return status, err
		}
	}
	return d.merge(func(in *importer) error { return in.readChangeStore(sec) })
}

// merge imports the changes that read collects.
func (d *Doc) merge(read func(*importer) error) (status ImportStatus, err error) {
	in := importer{d: d}
	if err := caught(func() error { return read(&in) }); err != nil {
		return ImportStatus{}, err
	}
	return in.run()
}

// empty reports whether a snapshot may initialise the document.
func (d *Doc) empty() bool { return len(d.h.heads) == 0 }

// incoming is a change that is not known yet, from counter from on.
type incoming struct {
	b    *changeBlock
	i    int // index into b.changes
	from int32
}

func (c *incoming) change() *blockChange { return &c.b.changes[c.i] }

// accepted is an incoming change whose dependencies are met.
type accepted struct {
	incoming
	lam uint32 // of the operation at from
}

// importer merges changes in two steps: deciding what can be applied, which may
// fail and leaves the document alone, then applying it.
type importer struct {
	d        *Doc
	changes  []incoming
	peers    map[uint32]*importPeer
	accepted []accepted
	order    []accepted      // the same by peer and counter, see eachBlock
	added    []pendingChange // put into the pending set
	taken    []pendingChange // removed from it
	head     *changeBlock    // decoded last by lamport, of headPeer
	headPeer uint32
	past     *past // set when the tree log must reach further back
	status   ImportStatus
}

// importPeer is what the import adds to one peer's history.
type importPeer struct {
	end   int32
	spans []acceptedSpan
}

type acceptedSpan struct {
	ctr, end int32
	lam      uint32 // of the operation at ctr
}

// readUpdates decodes the body of a mode-4 blob.
func (in *importer) readUpdates(body []byte) error {
	for c := (cursor{b: body}); len(c.b) > 0; {
		raw := c.bytes()
		if c.err != nil {
			return c.err
		}
		if err := in.readBlock(raw); err != nil {
			return err
		}
	}
	return nil
}

// readChangeStore collects the unknown changes of a snapshot, whose state is of
// no use here but is still checked for damage.
func (in *importer) readChangeStore(sec sections) error {
	if string(sec.state) != stateOmitted {
		if _, err := openSSTable(sec.state); err != nil {
			return err
		}
	}
	if _, err := openSSTable(sec.root); err != nil {
		return err
	}
	t, err := openChangeStore(sec.oplog)
	if err != nil {
		return err
	}
	var meta loadedHistory
	spans := make(map[PeerID][]Span)
	err = t.scan(0, len(t.blocks), inflateBudget(len(sec.oplog)), func(key, val []byte) error {
		if len(key) != 12 {
			return meta.meta(string(key), val)
		}
		c := cursor{b: val}
		ctr, end, _, _, _ := blockPrefix(&c)
		if c.err != nil {
			return c.err
		}
		peer := PeerID(binary.BigEndian.Uint64(key))
		spans[peer] = append(spans[peer], Span{ctr, end})
		if p, ok := in.d.s.peers.find(peer); ok && end <= in.d.h.end(p) {
			return nil
		}
		return in.readBlock(slices.Clone(val))
	})
	if err != nil {
		return err
	}
	if err := meta.complete(); err != nil {
		return err
	}
	for _, id := range meta.fr {
		if !slices.ContainsFunc(spans[id.Peer], func(s Span) bool { return s.Start <= id.Counter && id.Counter < s.End }) {
			return invalidf("change store: frontiers name a missing operation")
		}
	}
	return nil
}

// readBlock decodes a block and collects its unknown changes.
func (in *importer) readBlock(raw []byte) error {
	b, err := decodeBlock(raw)
	if err != nil {
		return err
	}
	known := int32(0)
	if p, ok := in.d.s.peers.find(b.peer()); ok {
		known = in.d.h.end(p)
	}
	for i := range b.changes {
		if ch := &b.changes[i]; ch.end > known {
			in.changes = append(in.changes, incoming{b, i, max(ch.ctr, known)})
		}
	}
	return nil
}

// run merges the collected changes.
func (in *importer) run() (ImportStatus, error) {
	d := in.d
	for i := range in.changes {
		if in.beforeShallowRoot(&in.changes[i]) {
			c := &in.changes[i]
			return ImportStatus{}, fmt.Errorf("%w: %v", ErrShallowDeps, ID{c.b.peer(), c.from})
		}
	}
	slices.SortFunc(in.changes, func(a, b incoming) int {
		x, y := a.change(), b.change()
		return cmp.Or(cmp.Compare(x.lam, y.lam), cmp.Compare(a.b.peer(), b.b.peer()), cmp.Compare(a.from, b.from))
	})
	in.peers = make(map[uint32]*importPeer)
	d.s.rec = &recorder{}
	defer func() { d.s.rec = nil }()
	err := caught(func() error {
		for i := range in.changes {
			if err := in.offer(in.changes[i]); err != nil {
				return err
			}
		}
		return in.reconcile()
	})
	if err != nil {
		in.rollback()
		return ImportStatus{}, err
	}
	for i := range in.changes {
		c := &in.changes[i]
		if ch := c.change(); d.pending.has(c) {
			in.status.Pending = extend(in.status.Pending, c.b.peer(), c.from, ch.end)
		}
	}
	err = caught(func() error {
		in.apply()
		return nil
	})
	if err != nil {
		d.broken = fmt.Errorf("%w: %v", ErrBroken, err)
		return ImportStatus{}, d.broken
	}
	return in.status, nil
}

// rollback makes the pending set what it was.
func (in *importer) rollback() {
	for i := range in.added {
		in.d.pending.remove(&in.added[i])
	}
	for _, w := range in.taken {
		in.d.pending.add(w)
	}
}

// extend widens a peer's span to include [from, to).
func extend(m map[PeerID]Span, p PeerID, from, to int32) map[PeerID]Span {
	if m == nil {
		m = make(map[PeerID]Span)
	}
	s, ok := m[p]
	if !ok {
		s = Span{from, to}
	}
	m[p] = Span{min(s.Start, from), max(s.End, to)}
	return m
}

// beforeShallowRoot reports whether a change depends on history this document
// does not have and will never get.
func (in *importer) beforeShallowRoot(c *incoming) bool {
	h := &in.d.h
	if len(h.start) == 0 {
		return false
	}
	ch := c.change()
	if c.from > ch.ctr {
		return false // continues what is known
	}
	deps := depsOf(c.b.peer(), ch.ctr, ch.self, ch.deps)
	if len(deps) == 0 {
		return true
	}
	for _, id := range deps {
		if slices.Contains(h.root, id) {
			return false
		}
	}
	for _, id := range deps {
		if h.start.Includes(id) {
			return true
		}
	}
	return false
}

// end is the exclusive end of a peer's counters as of now in the import.
func (in *importer) end(p uint32) int32 {
	if ip := in.peers[p]; ip != nil {
		return ip.end
	}
	return in.d.h.end(p)
}

// offer accepts a change if its dependencies are met, and then those that
// waited for it. Otherwise the change waits.
func (in *importer) offer(c incoming) error {
	if err := in.checkGap(&c); err != nil {
		return err
	}
	queue := []incoming{c}
	for len(queue) > 0 {
		c := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		missing, peer, err := in.accept(c)
		if err != nil {
			return err
		}
		if missing != nil {
			w := pendingChange{c, *missing}
			if in.d.pending.add(w) {
				in.added = append(in.added, w)
			}
			continue
		}
		for _, w := range in.d.pending.take(c.b.peer(), in.end(peer)) {
			in.taken = append(in.taken, w)
			queue = append(queue, w.incoming)
		}
	}
	return nil
}

// checkGap refuses a change that skips counters of its peer although everything
// it says it depends on is there: no writer makes one. One that waits already, or
// depends on the skipped counters, may fit when they arrive.
func (in *importer) checkGap(c *incoming) error {
	d := in.d
	ch := c.change()
	id := c.b.peer()
	end := int32(0)
	if p, ok := d.s.peers.find(id); ok {
		end = in.end(p)
	}
	if c.from <= end || ch.self {
		return nil
	}
	for _, dep := range ch.deps {
		if q, ok := d.s.peers.find(dep.Peer); !ok || dep.Counter >= in.end(q) {
			return nil
		}
	}
	return invalidf("change %v skips counters of its peer, of whom %d are known", ID{id, c.from}, end)
}

// accept takes one change if its dependencies are met.
func (in *importer) accept(c incoming) (missing *ID, peer uint32, err error) {
	d := in.d
	ch := c.change()
	id := c.b.peer()
	p := d.s.peers.intern(id)
	end := in.end(p)
	if ch.end <= end {
		return nil, p, nil
	}
	c.from = max(c.from, end)
	if c.from > end {
		return &ID{id, c.from - 1}, p, nil
	}
	lam := uint64(0)
	self, deps := ch.self, ch.deps
	if c.from > ch.ctr {
		self, deps = true, nil
	}
	for _, dep := range deps {
		q, ok := d.s.peers.find(dep.Peer)
		if !ok || dep.Counter >= in.end(q) {
			return &dep, p, nil
		}
		if d.h.start.Includes(dep) {
			continue // earlier than the shallow root, which is among deps
		}
		l, err := in.lamport(q, dep.Counter)
		if err != nil {
			return nil, p, err
		}
		lam = max(lam, uint64(l)+1)
	}
	if self && !d.h.start.Includes(ID{id, c.from - 1}) {
		l, err := in.lamport(p, c.from-1)
		if err != nil {
			return nil, p, err
		}
		lam = max(lam, uint64(l)+1)
	}
	if end > 0 && !d.h.start.Includes(ID{id, end - 1}) {
		// Whatever a peer does depends on all it did before. A block could not hold
		// operations that do not.
		switch before, err := in.lamport(p, end-1); {
		case err != nil:
			return nil, p, err
		case lam <= uint64(before):
			return nil, p, invalidf("change %v does not depend on what its peer did before", ID{id, c.from})
		}
	}
	if lam+uint64(ch.end-c.from) > 1<<32-1 {
		return nil, p, ErrLimit
	}
	ip := in.peers[p]
	if ip == nil {
		ip = &importPeer{}
		in.peers[p] = ip
	}
	ip.spans = append(ip.spans, acceptedSpan{ctr: c.from, end: ch.end, lam: uint32(lam)})
	ip.end = ch.end
	in.accepted = append(in.accepted, accepted{c, uint32(lam)})
	in.status.Applied = extend(in.status.Applied, id, c.from, ch.end)
	return nil, p, nil
}

// lamport is Doc.lamport that also knows what was accepted so far.
func (in *importer) lamport(p uint32, ctr int32) (uint32, error) {
	if ip := in.peers[p]; ip != nil && len(ip.spans) > 0 && ctr >= ip.spans[0].ctr {
		i := len(ip.spans) - 1
		if ctr < ip.spans[i].ctr {
			i = sort.Search(len(ip.spans), func(i int) bool { return ip.spans[i].end > ctr })
		}
		return ip.spans[i].lam + uint32(ctr-ip.spans[i].ctr), nil
	}
	d := in.d
	if int(p) >= len(d.h.peers) {
		return 0, ErrUnknownRange
	}
	if o := d.h.open; ctr == d.h.peers[p].end-1 || o != nil && p == d.self && ctr >= o.ctr {
		return d.lamport(p, ctr)
	}
	// Changes of one peer mostly depend on another's in sequence.
	if b := in.head; b == nil || p != in.headPeer || ctr < b.ctr || ctr >= b.end {
		var err error
		if in.head, err = d.headOf(p, ctr); err != nil {
			return 0, err
		}
		in.headPeer = p
	}
	ch := in.head.changeAt(ctr)
	return ch.lam + uint32(ctr-ch.ctr), nil
}

package loroindex

import (
	"fmt"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Update runs fn, which changes the tree through its Tx, as one commit. When fn
// returns an error nothing has changed. fn runs under the index's lock: it must
// not block, must use nothing of the index but tx, and must not keep tx.
//
// committed is called, still under the lock and so in commit order, with what
// must be journaled; it must not block either. It is not called when nothing
// changed. It may be nil.
//
// Errors: those of fn, unchanged; ErrBroken.
func (x *Index) Update(fn func(tx *Tx) error, committed func(Op)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return x.failed
	}
	if x.refuse != nil {
		return x.refuse
	}
	t := &x.tx
	t.begin()
	defer func() {
		if t.open { // fn panicked
			t.rollback()
		}
	}()
	head := len(t.ops)
	if err := fn(t); err != nil {
		t.rollback()
		return err
	}
	if len(t.ops) == head {
		t.end()
		return nil
	}
	op, recorded, err := t.apply()
	if err != nil {
		x.failed = fmt.Errorf("%w until the mount is started again: %w", ErrBroken, err)
		t.rollback()
		return x.failed
	}
	t.end()
	if x.names.sparse() {
		x.compactNames()
	}
	if recorded && committed != nil {
		committed(op)
	}
	return nil
}

func (t *Tx) begin() {
	t.open, t.now = true, t.x.micros()
	if t.x.schema {
		return
	}
	t.set(Root, keySchema, loro.Int(schemaVersion))
	t.set(Root, keyEpoch, loro.Int(firstEpoch))
}

func (t *Tx) set(n Node, key string, v loro.Value) {
	t.ops = append(t.ops, docOp{kind: opSet, node: n, key: key, val: v})
}

// end forgets the transaction.
func (t *Tx) end() {
	for _, s := range t.saved {
		t.x.at(s.n).flags &^= fInTx
	}
	for _, n := range t.made {
		t.x.at(n).flags &^= fInTx
	}
	if cap(t.ops) > 4096 { // do not keep what one large transaction needed
		t.ops, t.saved, t.made, t.facts = nil, nil, nil, nil
	}
	clear(t.ops) // they hold strings
	clear(t.saved)
	clear(t.facts)
	t.ops, t.saved, t.made, t.facts, t.index = t.ops[:0], t.saved[:0], t.made[:0], t.facts[:0], nil
	t.open = false
}

// manyFacts is how many facts are looked through one by one.
const manyFacts = 16

// pending returns the facts of a node that the transaction changed, or nil.
func (t *Tx) pending(n Node) *txFacts {
	if t.index != nil {
		if i, ok := t.index[n]; ok {
			return &t.facts[i]
		}
		return nil
	}
	for i := range t.facts {
		if t.facts[i].n == n {
			return &t.facts[i]
		}
	}
	return nil
}

// keep notes the facts of a node as they are to be.
func (t *Tx) keep(n Node, info Info, c Content) {
	if f := t.pending(n); f != nil {
		f.info, f.content = info, c
		return
	}
	t.facts = append(t.facts, txFacts{n, info, c})
	switch i := len(t.facts); {
	case t.index != nil:
		t.index[n] = int32(i - 1)
	case i > manyFacts:
		t.index = make(map[Node]int32, 4*i)
		for j := range t.facts {
			t.index[t.facts[j].n] = int32(j)
		}
	}
}

// apply records the transaction in the document and commits it. Nothing is
// recorded when the document holds it all already: the time that is written for
// a directory may be older than the one shown. An error can only come from a
// document that disagrees with the view, or that is full.
func (t *Tx) apply() (op Op, recorded bool, err error) {
	x := t.x
	for i := range t.ops {
		op := &t.ops[i]
		switch op.kind {
		case opCreate:
			var id loro.TreeID
			if id, err = x.tree.Create(x.id(op.parent)); err == nil && id != x.id(op.node) {
				x.dropID(op.node)
				x.setID(op.node, id)
			}
		case opMove:
			err = x.tree.Move(x.id(op.node), x.id(op.parent))
		case opLast:
			err = x.tree.MoveLast(x.id(op.node))
		case opDelete:
			err = x.tree.Delete(x.id(op.node))
		case opSet:
			err = x.meta(op.node).Set(op.key, op.val)
		}
		if err != nil {
			return Op{}, false, fmt.Errorf("record a change of %q: %w", x.nameOf(op.node), err)
		}
	}
	span, ok := x.doc.Commit()
	if !ok {
		return Op{}, false, nil
	}
	x.next, x.schema = span.End, true
	op.Span = Span{Peer: uint64(span.Peer), Start: span.Start, End: span.End}
	if op.Update, err = x.export(op.Span); err != nil {
		return Op{}, false, err
	}
	// The order among nodes of one name follows the moves just recorded.
	for _, s := range t.saved {
		x.regroupLater(s.n)
	}
	for _, n := range t.made {
		x.regroupLater(n)
	}
	x.settle()
	return op, true, nil
}

// meta is where a node's facts are in the document.
func (x *Index) meta(n Node) loro.Map {
	if n == Root {
		return x.pocket
	}
	return x.tree.Meta(x.id(n))
}

// regroupLater has settle look at the group n is in, if any.
func (x *Index) regroupLater(n Node) {
	if nd := x.at(n); nd.flags&fGroup != 0 {
		x.dirty[nameKey{nd.parent, x.givenOf(n)}] = struct{}{}
	}
}

// save remembers n as it is, once, before the transaction changes it.
func (t *Tx) save(n Node) {
	nd := t.x.at(n)
	if nd.flags&fInTx != 0 {
		return
	}
	s := savedNode{n: n, was: *nd, given: t.x.givenOf(n)}
	if nd.kind == Dir {
		s.mtime = t.x.dirs[nd.dir].mtime
	}
	t.saved = append(t.saved, s)
	nd.flags |= fInTx
}

// rollback puts the view back.
func (t *Tx) rollback() {
	x := t.x
	clear(t.ops)
	t.ops = t.ops[:0] // from here on the document is what counts
	for _, n := range t.made {
		if x.at(n).flags&fPlaced != 0 {
			x.displace(n)
		}
		x.setVisible(n, false)
		x.dropID(n)
		x.at(n).flags |= fDead
	}
	// Where a node was is where the document has it. What the view had when it
	// was saved may come of a merge this transaction brought about.
	home := func(n Node) Node {
		id, _ := x.tree.Parent(x.id(n))
		return x.canon(x.find(id))
	}
	for _, s := range t.saved {
		if s.n == Root || x.at(s.n).flags&fPlaced == 0 {
			continue
		}
		if s.was.flags&fPlaced == 0 || x.givenOf(s.n) != s.given || x.at(s.n).parent != home(s.n) {
			x.displace(s.n)
		}
	}
	for _, s := range t.saved {
		nd := x.at(s.n)
		x.resize(s.n, s.was.size)
		nd.changed = s.was.changed
		if nd.kind == Dir {
			x.dirs[nd.dir].mtime = s.mtime
		}
	}
	for _, s := range t.saved {
		nd := x.at(s.n)
		switch {
		case s.n == Root || nd.flags&fPlaced != 0:
		case s.was.flags&fPlaced != 0:
			x.place(s.n, home(s.n), s.given)
		default:
			nd.parent = s.was.parent
			if x.placeOf(x.id(s.n)) == loro.Hidden {
				x.floating[s.n] = struct{}{}
			}
		}
	}
	for _, s := range t.saved {
		x.setVisible(s.n, s.was.flags&fVisible != 0)
	}
	x.settle()
	t.end()
}

package loroindex

import (
	"fmt"
	"math"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Tx changes the tree within one Update. Each method either applies whole or
// returns an error and applies nothing: it checks everything before it changes
// the view, and the document is changed only after the function given to Update
// succeeded. When that returns an error, the view's nodes are put back as they
// were saved before their first change.
type Tx struct {
	x     *Index
	open  bool
	now   int64 // microseconds, one time for all of the transaction
	ops   []docOp
	saved []savedNode
	made  []Node

	facts []txFacts      // of the nodes whose facts it changed, in order of first change
	index map[Node]int32 // in facts, once there are many
}

// txFacts are the facts of a node as a transaction has changed them.
type txFacts struct {
	n       Node
	info    Info
	content Content
}

// docOp is one operation the document will record.
type docOp struct {
	kind   docOpKind
	node   Node
	parent Node   // of opCreate and opMove
	key    string // of opSet
	val    loro.Value
}

type docOpKind uint8

const (
	opCreate docOpKind = iota
	opMove
	opDelete
	opSet // a key of the node's meta map; of Root, of the map "pocket"
)

// savedNode is a node before the transaction.
type savedNode struct {
	n     Node
	was   node
	given string
	mtime int64 // of a directory
}

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

// live returns the node that stands for n in the view, if it is visible.
func (t *Tx) live(n Node) (Node, error) {
	if !t.x.known(n) {
		return NoNode, fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	n = t.x.canon(n)
	if t.x.at(n).flags&fVisible == 0 {
		return NoNode, fmt.Errorf("%q: %w", t.x.nameOf(n), ErrRemoved)
	}
	return n, nil
}

// dir returns the directory that shows n's entries, which are read.
func (t *Tx) dir(n Node) (Node, error) {
	d, unread, err := t.x.openDir(n)
	if unread != NoNode {
		t.x.read(unread)
	}
	return d, err
}

// room refuses what could not be numbered.
func (t *Tx) room() error {
	const perCall = 8
	if t.x.full() || int64(t.x.next)+int64(len(t.ops)) > math.MaxInt32-perCall {
		return fmt.Errorf("%w: start the mount again", ErrLimit)
	}
	return nil
}

// touch records that the entries of d changed.
func (t *Tx) touch(d Node) {
	t.save(d)
	nd := t.x.at(d)
	nd.changed = t.now
	t.x.dirs[nd.dir].mtime = t.now
}

// all returns n and, of a directory that is shown merged, the others.
func (t *Tx) all(n Node) []Node {
	ms := t.x.members[n]
	if len(ms) == 0 {
		return []Node{n}
	}
	return append([]Node{n}, ms...)
}

// Lookup is [Index.Lookup] as of the changes made so far.
func (t *Tx) Lookup(parent Node, name string) (Entry, error) {
	d, err := t.dir(parent)
	if err != nil {
		return Entry{}, err
	}
	e, _, err := t.x.lookup(d, name)
	return e, err
}

// Stat is [Index.Stat] as of the changes made so far.
func (t *Tx) Stat(n Node) (Entry, error) { return t.x.stat(n) }

// Create makes a node. Created and ModTime 0 mean now; Changed is set to now.
// Only a File has size and object.
//
// Errors: ErrExist, ErrNotDir, ErrName, ErrNameLong, ErrRemoved, ErrInvalid,
// ErrLimit.
func (t *Tx) Create(parent Node, name string, info Info, c Content) (Node, error) {
	x := t.x
	d, err := t.dir(parent)
	if err != nil {
		return NoNode, err
	}
	if err := CheckName(name); err != nil {
		return NoNode, err
	}
	if x.child(d, name) != NoNode {
		return NoNode, fmt.Errorf("%q: %w", name, ErrExist)
	}
	if err := checkFacts(info, c); err != nil {
		return NoNode, fmt.Errorf("%q: %w", name, err)
	}
	if err := t.room(); err != nil {
		return NoNode, err
	}
	if info.Created == 0 {
		info.Created = t.now
	}
	info.Changed = t.now
	if c.ModTime == 0 {
		c.ModTime = t.now
	}
	c = c.of(info, true)

	n := x.newNode(info.Kind)
	x.setID(n, loro.TreeID{Peer: x.doc.Peer(), Counter: x.next + int32(len(t.ops))})
	t.made = append(t.made, n)
	nd := x.at(n)
	nd.flags |= fInTx
	nd.size = c.Size
	if info.Kind == Dir {
		x.dirs[nd.dir] = dir{read: true, mtime: c.ModTime} // there is nothing in it yet
	}
	t.keep(n, info, c)
	x.place(n, d, name)
	x.setVisible(n, true)
	t.touch(d)

	t.ops = append(t.ops, docOp{kind: opCreate, node: n, parent: d})
	t.set(n, keyName, loro.String(name))
	t.set(n, keyInfo, encodeInfo(info, "", loro.Null()))
	if c != (Content{}).of(info, false) {
		t.set(n, keyContent, encodeContent(c, loro.Null()))
	}
	return n, nil
}

func checkFacts(info Info, c Content) error {
	if c.Size < 0 {
		return &factError{"size", "is negative"}
	}
	return checkInfo(info)
}

// Remove takes a node out of its directory. The node can still be named, and
// Stat tells that it is removed.
//
// Errors: ErrNotEmpty, ErrRemoved, ErrInvalid for Root.
func (t *Tx) Remove(n Node) error {
	n, err := t.removable(n)
	if err != nil {
		return err
	}
	t.remove(n)
	return nil
}

func (t *Tx) removable(n Node) (Node, error) {
	if n == Root {
		return NoNode, fmt.Errorf("remove the root directory: %w", ErrInvalid)
	}
	n, err := t.live(n)
	if err != nil {
		return NoNode, err
	}
	if nd := t.x.at(n); nd.kind == Dir {
		t.x.read(n)
		if t.x.dirs[nd.dir].count > 0 {
			return NoNode, fmt.Errorf("%q: %w", t.x.nameOf(n), ErrNotEmpty)
		}
	}
	return n, t.room()
}

func (t *Tx) remove(n Node) {
	parent := t.x.at(n).parent
	for _, m := range t.all(n) {
		t.save(m)
		t.x.displace(m)
		t.x.setVisible(m, false)
		t.x.at(m).changed = t.now
		t.ops = append(t.ops, docOp{kind: opDelete, node: m})
	}
	t.touch(parent)
	t.x.settle()
}

// Rename moves a node to newName in newParent, by the rules of POSIX rename: an
// existing file is replaced by a file, an existing empty directory by a
// directory, and when the node has that place and name already nothing happens.
// Without replace an entry that exists is ErrExist. It returns the node that
// was replaced, or NoNode.
//
// Errors: ErrExist, ErrIsDir (the target is a directory, the node is not),
// ErrNotDir (the node is a directory, the target is not; or newParent is not),
// ErrNotEmpty, ErrInvalid (into itself, Root), ErrName, ErrNameLong,
// ErrRemoved, ErrLimit.
func (t *Tx) Rename(n, newParent Node, newName string, replace bool) (replaced Node, err error) {
	x := t.x
	if n == Root {
		return NoNode, fmt.Errorf("rename the root directory: %w", ErrInvalid)
	}
	if n, err = t.live(n); err != nil {
		return NoNode, err
	}
	d, err := t.dir(newParent)
	if err != nil {
		return NoNode, err
	}
	if err := CheckName(newName); err != nil {
		return NoNode, err
	}
	target := x.child(d, newName)
	if target == n {
		return NoNode, nil
	}
	isDir := x.at(n).kind == Dir
	if isDir && x.inside(d, n) {
		return NoNode, fmt.Errorf("move %q into itself: %w", x.nameOf(n), ErrInvalid)
	}
	if target != NoNode {
		targetDir := x.at(target).kind == Dir
		switch {
		case !replace:
			return NoNode, fmt.Errorf("%q: %w", newName, ErrExist)
		case isDir && !targetDir:
			return NoNode, fmt.Errorf("%q: %w", newName, ErrNotDir)
		case !isDir && targetDir:
			return NoNode, fmt.Errorf("%q: %w", newName, ErrIsDir)
		}
		if target, err = t.removable(target); err != nil {
			return NoNode, err
		}
	}
	if err := t.room(); err != nil {
		return NoNode, err
	}
	if target != NoNode {
		t.remove(target)
	}
	nodes := t.all(n)
	t.touch(x.at(n).parent)
	t.record(nodes, d, newName)
	t.leave(nodes)
	t.arrive(nodes, d, newName)
	x.settle()
	t.touch(d)
	return target, nil
}

// record notes what the document must record for nodes, all shown as one, to
// get a place and name.
func (t *Tx) record(nodes []Node, d Node, name string) {
	homes := t.all(d)
	for _, m := range nodes {
		t.save(m)
		if t.x.givenOf(m) != name {
			t.set(m, keyName, loro.String(name))
		}
		if !slices.Contains(homes, t.docParent(m)) {
			t.ops = append(t.ops, docOp{kind: opMove, node: m, parent: d})
		}
	}
}

func (t *Tx) leave(nodes []Node) {
	for _, m := range nodes {
		t.x.displace(m)
	}
}

func (t *Tx) arrive(nodes []Node, d Node, name string) {
	for _, m := range nodes {
		t.x.place(m, d, name)
		t.x.at(m).changed = t.now
	}
}

// docParent is the directory of the document n is in, with the operations of
// this transaction counted.
func (t *Tx) docParent(n Node) Node {
	if t.x.at(n).flags&fInTx != 0 {
		for _, op := range slices.Backward(t.ops) {
			if op.node == n && (op.kind == opCreate || op.kind == opMove) {
				return op.parent
			}
		}
	}
	id, place := t.x.tree.Parent(t.x.id(n))
	if place != loro.Live && place != loro.Hidden {
		return NoNode
	}
	return t.x.find(id)
}

// Exchange swaps two nodes' places and names.
//
// Errors: ErrInvalid (one inside the other, Root), ErrRemoved, ErrLimit.
func (t *Tx) Exchange(a, b Node) error {
	x := t.x
	a, err := t.live(a)
	if err != nil {
		return err
	}
	if b, err = t.live(b); err != nil {
		return err
	}
	if a == b {
		return nil
	}
	if x.inside(a, b) || x.inside(b, a) {
		return fmt.Errorf("exchange %q and %q, one inside the other: %w", x.nameOf(a), x.nameOf(b), ErrInvalid)
	}
	if err := t.room(); err != nil {
		return err
	}
	da, db := x.at(a).parent, x.at(b).parent
	na, nb := x.nameOf(a), x.nameOf(b)
	as, bs := t.all(a), t.all(b)
	t.touch(da)
	t.touch(db)
	t.record(as, db, nb)
	t.record(bs, da, na)
	// Both leave before either arrives, so that neither finds its name taken.
	t.leave(as)
	t.leave(bs)
	t.arrive(as, db, nb)
	t.arrive(bs, da, na)
	x.settle()
	return nil
}

// SetContent replaces size, modification time and object at once. Of anything
// but a File only ModTime counts.
//
// Errors: ErrRemoved, ErrInvalid (negative size), ErrLimit.
func (t *Tx) SetContent(n Node, c Content) error {
	x := t.x
	n, err := t.live(n)
	if err != nil {
		return err
	}
	if c.Size < 0 {
		return &factError{"size", "is negative"}
	}
	if err := t.room(); err != nil {
		return err
	}
	nd := x.at(n)
	info, old := x.facts(n)
	c = c.of(info, true)
	t.save(n)
	nd.changed = t.now
	if nd.kind == Dir {
		x.dirs[nd.dir].mtime = c.ModTime
	}
	if c == old {
		return nil
	}
	x.resize(n, c.Size)
	t.keep(n, info, c)
	var prev loro.Value
	if raw, _ := x.meta(n).Raw(keyContent); decodeContent(raw).more {
		prev = raw.Value()
	}
	t.set(n, keyContent, encodeContent(c, prev))
	return nil
}

// SetModTime changes the modification time alone.
//
// Errors: ErrRemoved, ErrLimit.
func (t *Tx) SetModTime(n Node, us int64) error {
	n, err := t.live(n)
	if err != nil {
		return err
	}
	_, c := t.x.facts(n)
	c.ModTime = us
	return t.SetContent(n, c)
}

// SetInfo replaces the rarely changing facts. Kind must stay. Created 0 keeps
// the one it has, Changed 0 is now. When only Changed differs nothing is
// recorded.
//
// Errors: ErrRemoved, ErrInvalid (another kind), ErrLimit.
func (t *Tx) SetInfo(n Node, info Info) error {
	x := t.x
	n, err := t.live(n)
	if err != nil {
		return err
	}
	if err := checkInfo(info); err != nil {
		return err
	}
	old, c := x.facts(n)
	if info.Kind != old.Kind {
		return &factError{"kind", "cannot change from " + old.Kind.String() + " to " + info.Kind.String()}
	}
	if err := t.room(); err != nil {
		return err
	}
	if info.Created == 0 {
		info.Created = old.Created
	}
	if info.Changed == 0 {
		info.Changed = t.now
	}
	t.save(n)
	x.at(n).changed = info.Changed
	same := info
	same.Changed = old.Changed
	if same == old {
		return nil
	}
	raw, _ := x.meta(n).Raw(keyInfo)
	prev, was := loro.Null(), decodeInfo(raw)
	if was.more {
		prev = raw.Value()
	}
	if info.Kind == Symlink {
		c.Size = int64(len(info.Target))
		x.resize(n, c.Size)
	}
	t.keep(n, info, c)
	t.set(n, keyInfo, encodeInfo(info, was.kindName, prev))
	return nil
}

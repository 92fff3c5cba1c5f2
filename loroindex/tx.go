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
	opLast // opMove to where it is, as the last of its siblings
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

	t.ops = append(t.ops, docOp{kind: opCreate, node: n, parent: d})
	t.set(n, keyName, loro.String(name))
	t.set(n, keyInfo, encodeInfo(info, "", loro.Null()))
	if c != (Content{}).of(info, false) {
		t.set(n, keyContent, encodeContent(c, loro.Null()))
	}
	if info.Created != t.now || x.dirs[x.at(d).dir].mtime > endOf(t.now) {
		t.stamp(d) // when n was created would not tell, or not prevail
	} else {
		t.touch(d)
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
	t.stamp(parent)
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
	from := x.at(n).parent
	t.record(nodes, d, newName)
	t.leave(nodes)
	t.arrive(nodes, d, newName)
	x.settle()
	t.stamp(d)
	if from != d {
		t.stamp(from)
	}
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
	t.record(as, db, nb)
	t.record(bs, da, na)
	// Both leave before either arrives, so that neither finds its name taken.
	t.leave(as)
	t.leave(bs)
	t.arrive(as, db, nb)
	t.arrive(bs, da, na)
	x.settle()
	t.stamp(da)
	if da != db {
		t.stamp(db)
	}
	return nil
}

// SetContent replaces size, modification time and object at once, now. Of anything
// but a File only ModTime counts.
//
// Errors: ErrRemoved, ErrInvalid (negative size), ErrLimit.
func (t *Tx) SetContent(n Node, c Content) error {
	return t.SetContentOf(n, c, t.now)
}

// SetContentOf is SetContent of what was written at that time, in microseconds since 1970:
// the time of change becomes that, if it was not later already.
func (t *Tx) SetContentOf(n Node, c Content, written int64) error {
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
	nd.changed = max(nd.changed, written)
	if nd.kind == Dir {
		dir := &x.dirs[nd.dir]
		if c == old && dir.mtime != c.ModTime {
			// It was set to this, and entries came since. A value that is there already is
			// not written, but must be, to be later than they are.
			other := c
			other.ModTime++
			t.setContent(n, other)
			old = other
		}
		dir.mtime = c.ModTime
	}
	if c == old {
		return nil
	}
	x.resize(n, c.Size)
	t.keep(n, info, c)
	t.setContent(n, c)
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
	if d := x.at(n).parent; info.Created != old.Created && d != NoNode && x.dirs[x.at(d).dir].mtime == old.Created {
		t.save(d) // its time may be read from this entry, and stays
		dirInfo, dirContent := x.facts(d)
		t.writeTime(d, dirInfo, dirContent, old.Created)
	}
	return nil
}

package loroindex

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Redone is what [Index.Redo] made of operations.
type Redone struct {
	// Ops are what is to be imported and journaled in their place: operations of one peer that made nothing
	// else, in order.
	Ops []Op
	// Missing is how many operations are missing before or between those that were made again, as far as can be told.
	Missing int
	// Unplaced are the names that nodes got whose own name, or directory, is among what is missing: the latter are in the
	// root directory.
	Unplaced []string
	// Inos has the inode numbers of nodes that were made anew, by those of before; 0 for one that was not, since it
	// was removed.
	Inos map[uint64]uint64
}

// redoOps is how many operations one Op of Redone has at most.
const redoOps = 1000

// Redo makes operations again, as a new peer's, that cannot be imported for ever since others that they build on are
// lost: updates has them in their order. They change what they did then, and know of what they knew of then as
// far as it is not lost, so that what others did meanwhile competes with them as before. Their own peer's gap cannot be
// filled with something else instead: whoever has what was there would never agree.
//
// A node whose creation is lost is made anew, if it has content or entries. The index is not changed.
//
// What of an update cannot be read is missing, too.
func (x *Index) Redo(updates ...[]byte) (Redone, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	r := &redo{
		x: x, peer: loro.RandomPeer(), version: x.doc.Version(),
		ids:  make(map[loro.ID]int32),
		made: make(map[loro.TreeID]bool), lost: make(map[loro.TreeID]*lostNode),
		home: make(map[loro.TreeID]loro.TreeID), dirs: make(map[loro.TreeID]bool), last: make(map[loro.PeerID]int32),
		known: make(loro.VersionVector),
	}
	seen := make(map[loro.ID]bool)
	for _, update := range updates {
		from := len(r.old)
		for op, err := range loro.UpdateOps(update) {
			if err != nil {
				break
			}
			if !r.version.Includes(op.ID) && !seen[op.ID] {
				seen[op.ID] = true
				r.old = append(r.old, op)
			}
		}
		r.look(r.old[from:])
	}
	if err := r.run(); err != nil {
		return Redone{}, err
	}
	var done Redone
	for start := 0; start < len(r.ops); start += redoOps {
		part := r.ops[start:min(start+redoOps, len(r.ops))]
		update, err := loro.EncodeUpdate(r.peer, int32(start), part)
		if err != nil {
			return Redone{}, fmt.Errorf("%w: %w", ErrUpdate, err)
		}
		done.Ops = append(done.Ops, Op{Span{uint64(r.peer), int32(start), int32(start + len(part))}, update})
	}
	done.Missing, done.Unplaced, done.Inos = r.missing, r.unplaced, make(map[uint64]uint64)
	for id := range r.made {
		done.Inos[inoOf(id.Peer, id.Counter)] = r.ino(id)
	}
	for id, n := range r.lost {
		if n.deleted || n.label != "" {
			done.Inos[inoOf(id.Peer, id.Counter)] = r.ino(id)
		}
	}
	return done, nil
}

// ByIno returns the nodes with some inode numbers, as far as the history goes: NoNode for one that is removed. All must
// be read (LoadAll).
func (x *Index) ByIno(inos map[uint64]bool) (map[uint64]Node, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found := make(map[uint64]Node)
	for op, err := range x.doc.Ops() {
		if err != nil {
			return nil, fmt.Errorf("read the index history: %w", err)
		}
		if op.Kind != loro.OpTreeCreate {
			continue
		}
		if ino := inoOf(op.Node.Peer, op.Node.Counter); inos[ino] {
			found[ino] = NoNode
			if n := x.find(op.Node); n != NoNode && x.at(x.canon(n)).flags&fVisible != 0 {
				found[ino] = n
			}
		}
	}
	return found, nil
}

// redo is a Redo under way.
type redo struct {
	x       *Index
	peer    loro.PeerID
	version loro.VersionVector // what the document has
	old     []loro.Op
	ops     []loro.Op
	ids     map[loro.ID]int32 // counters in ops, of operations of old

	made map[loro.TreeID]bool        // by operations of old
	lost map[loro.TreeID]*lostNode   // named by these, and made by none that there is
	home map[loro.TreeID]loro.TreeID // where old puts nodes
	dirs map[loro.TreeID]bool        // that old tells are directories

	last     map[loro.PeerID]int32 // the end of what there is of a peer
	known    loro.VersionVector    // what ops depend on
	missing  int
	unplaced []string
}

// lostNode is a node whose creation is lost, as what is left tells of it.
type lostNode struct {
	parent  loro.TreeID // where it was put later, or seems to have been
	placed  bool
	name    string
	info    bool
	content Content // with an object
	parents bool    // there was something in it
	deleted bool    // at last
	label   string  // part of its name, once it is made anew
}

// keep reports whether there is anything of a node.
func (n *lostNode) keep() bool {
	return n.parents || !n.deleted && (!n.content.Object.IsZero() || n.info && n.name != "")
}

// look notes what the operations of an update tell of nodes.
func (r *redo) look(ops []loro.Op) {
	var dir *loro.TreeID // of which entries were renamed or removed
	var named []*lostNode
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case loro.OpTreeCreate:
			r.made[op.Node] = true
			r.put(op)
		case loro.OpTreeMove:
			if n := r.lostNode(op.Node); n != nil {
				n.parent, n.placed, n.deleted = op.Parent, true, false
			}
			r.put(op)
		case loro.OpTreeDelete:
			if n := r.lostNode(op.Node); n != nil {
				n.deleted = true
			}
			if parent, ok := r.parentOf(op.Node); ok && dir == nil {
				dir = &parent
			}
		case loro.OpMapSet:
			if op.Container == rootMapID && op.Key == keyContent && dir == nil {
				dir = &loro.TreeRoot
			}
			if op.Container.Root || op.Container.Type != loro.TypeMap {
				break
			}
			id := loro.TreeID(op.Container.ID)
			n := r.lostNode(id)
			if n == nil {
				if op.Key == keyContent && dir == nil && r.isDir(id) {
					dir = &id
				} else if op.Key == keyInfo && textOf(op.Value, infoKind) == Dir.String() {
					r.dirs[id] = true
				}
				break
			}
			switch op.Key {
			case keyName:
				n.name, _ = op.Value.AsString()
				named = append(named, n)
			case keyInfo:
				n.info = true
			case keyContent:
				n.content = writtenContent(op.Value)
			}
		}
	}
	for _, n := range named {
		if !n.placed && dir != nil { // a rename within a directory says that it changed
			n.parent, n.placed = *dir, true
		}
	}
}

// put notes where an operation puts a node.
func (r *redo) put(op *loro.Op) {
	if n := r.lostNode(op.Parent); n != nil {
		n.parents = true
	}
	r.home[op.Node] = op.Parent
}

// parentOf returns where a node is before the operation that is looked at.
func (r *redo) parentOf(id loro.TreeID) (loro.TreeID, bool) {
	if parent, ok := r.home[id]; ok {
		return parent, true
	}
	parent, place := r.x.tree.Parent(id)
	return parent, place == loro.Live
}

func (r *redo) isDir(id loro.TreeID) bool {
	if r.dirs[id] || r.x.placeOf(id) == loro.Absent {
		return r.dirs[id]
	}
	info, _ := r.x.factsOf(id)
	return info.Kind == Dir
}

// lostNode returns what is known of a node whose creation is lost; nil for others.
func (r *redo) lostNode(id loro.TreeID) *lostNode {
	if id == loro.TreeRoot || r.made[id] || r.x.placeOf(id) != loro.Absent {
		return nil
	}
	n := r.lost[id]
	if n == nil {
		n = &lostNode{}
		r.lost[id] = n
	}
	return n
}

// run makes the operations of old again.
func (r *redo) run() error {
	if len(r.old) == 0 {
		return nil
	}
	deps, err := r.firstDeps(&r.old[0])
	if err != nil {
		return err
	}
	isSchema := func(op loro.Op) bool { return op.Container == rootMapID && op.Key == keySchema }
	if !r.x.schema && !slices.ContainsFunc(r.old, isSchema) {
		op := r.old[0] // its time and device
		op.Kind, op.Container = loro.OpMapSet, rootMapID
		op.Key, op.Value = keySchema, loro.Int(schemaVersion)
		r.add(op, deps)
		op.Key, op.Value = keyEpoch, loro.Int(firstEpoch)
		r.add(op, deps)
	}
	for i := range r.old {
		op := r.old[i]
		if i > 0 {
			deps = op.Deps
		}
		r.count(&op)
		id := op.ID
		if r.translate(&op, deps) {
			r.ids[id] = int32(len(r.ops))
			r.add(op, deps)
		}
	}
	return nil
}

// count counts what is missing before an operation.
func (r *redo) count(op *loro.Op) {
	p := op.ID.Peer
	if _, ok := r.last[p]; !ok {
		r.last[p] = r.version[p]
	}
	r.missing += max(0, int(op.ID.Counter-r.last[p]))
	r.last[p] = max(r.last[p], op.ID.Counter+op.Len)
}

// translate has an operation name what there is, and makes anew what there is not. It reports whether it can be made.
func (r *redo) translate(op *loro.Op, deps []loro.ID) bool {
	switch {
	case op.Kind == loro.OpOther:
		return false
	case op.Container == treeID || op.Container == rootMapID:
	case op.Container.Root || op.Container.Type != loro.TypeMap:
		return false
	default:
		id := loro.TreeID(op.Container.ID)
		now, ok := r.node(id, op, deps)
		if !ok {
			return false
		}
		op.Container.ID = loro.ID(now)
		if n := r.lost[id]; n != nil && n.label != "" && !n.placed && op.Kind == loro.OpMapSet && op.Key == keyName {
			// Its name elsewhere is not for the root directory.
			op.Value = loro.String(n.unplacedName())
		}
	}
	var ok bool
	switch op.Kind {
	case loro.OpMapSet:
		return op.Value.Kind() != loro.KindContainer
	case loro.OpTreeMove, loro.OpTreeDelete:
		if op.Node, ok = r.node(op.Node, op, deps); !ok {
			return false
		}
	}
	if op.Kind == loro.OpTreeCreate || op.Kind == loro.OpTreeMove {
		op.Parent, ok = r.node(op.Parent, op, deps)
		return ok
	}
	return true
}

// node returns the node that stands for one that op names. One that is lost is made before it, if there is anything of
// it.
func (r *redo) node(id loro.TreeID, op *loro.Op, deps []loro.ID) (loro.TreeID, bool) {
	if ctr, ok := r.ids[loro.ID(id)]; ok {
		return loro.TreeID{Peer: r.peer, Counter: ctr}, true
	}
	if id == loro.TreeRoot || r.x.placeOf(id) != loro.Absent {
		return id, true
	}
	n := r.lost[id]
	if n == nil || !n.keep() || n.label != "" { // the last: it is being made, and was put below itself
		return loro.TreeID{}, false
	}
	n.label = RecoveredName(inoOf(id.Peer, id.Counter))
	parent := loro.TreeRoot
	if n.placed {
		if known, ok := r.node(n.parent, op, deps); ok {
			parent = known
		}
	}
	name := n.name
	if name == "" || !n.placed {
		name = n.unplacedName()
		r.unplaced = append(r.unplaced, name)
	}
	info := Info{Kind: File, Mode: defaultMode(File), UID: -1, GID: -1, Created: n.content.ModTime}
	if n.parents {
		info.Kind, info.Mode = Dir, defaultMode(Dir)
	}
	made := loro.Op{Lamport: op.Lamport, Timestamp: op.Timestamp, Message: op.Message}
	create := made
	create.Kind, create.Container = loro.OpTreeCreate, treeID
	create.Parent, create.Position = parent, []byte{nodePosition}
	now := loro.TreeID{Peer: r.peer, Counter: int32(len(r.ops))}
	r.ids[loro.ID(id)] = now.Counter
	r.add(create, deps)
	made.Kind, made.Container = loro.OpMapSet, loro.ChildID(loro.ID(now), loro.TypeMap)
	made.Key, made.Value = keyName, loro.String(name)
	r.add(made, deps)
	made.Key, made.Value = keyInfo, encodeInfo(info, "", loro.Null())
	r.add(made, deps)
	return now, true
}

// The containers of the document.
var treeID, rootMapID = loro.RootID(treeName, loro.TypeTree), loro.RootID(rootMap, loro.TypeMap)

// nodePosition is the position of every node among its siblings.
const nodePosition = 0x80

// unplacedName is the name of a node whose directory is not known.
func (n *lostNode) unplacedName() string {
	if name := n.label + "-" + n.name; n.name != "" && CheckName(name) == nil {
		return name
	}
	return n.label
}

// ino returns the inode number of a node that was made anew, or 0.
func (r *redo) ino(id loro.TreeID) uint64 {
	ctr, ok := r.ids[loro.ID(id)]
	if !ok {
		return 0
	}
	return inoOf(r.peer, ctr)
}

// add makes an operation that depends on those before it and on deps, operations that old may have or that are lost.
func (r *redo) add(op loro.Op, deps []loro.ID) {
	op.Deps = nil
	for _, dep := range deps {
		if _, again := r.ids[dep]; again {
			continue // it is before this one
		}
		ctr := min(dep.Counter, r.version[dep.Peer]-1) // the last that is not lost
		if ctr >= 0 && r.known[dep.Peer] <= ctr {
			r.known[dep.Peer] = ctr + 1
			op.Deps = append(op.Deps, loro.ID{Peer: dep.Peer, Counter: ctr})
		}
	}
	if n := len(r.ops); n > 0 {
		op.Deps = append(op.Deps, loro.ID{Peer: r.peer, Counter: int32(n - 1)})
	}
	r.ops = append(r.ops, op)
}

// firstDeps returns what the first operation depends on. Where nothing of that is left, as with the beginning of a
// session, it is what it can have known of: all with a lower Lamport time.
func (r *redo) firstDeps(op *loro.Op) ([]loro.ID, error) {
	if len(op.Deps) == 0 && !r.x.doc.IsShallow() {
		return nil, nil
	}
	for _, dep := range op.Deps {
		if r.version[dep.Peer] > 0 {
			return op.Deps, nil
		}
	}
	last := make(map[loro.PeerID]int32)
	covered := make(loro.VersionVector)
	for c, err := range r.x.doc.Changes() {
		if err != nil {
			return nil, fmt.Errorf("read the index history: %w", err)
		}
		if c.Lamport >= op.Lamport {
			continue
		}
		end := c.ID.Counter + min(c.Len, int32(op.Lamport-c.Lamport))
		last[c.ID.Peer] = max(last[c.ID.Peer], end-1)
		for _, dep := range c.Deps {
			covered[dep.Peer] = max(covered[dep.Peer], dep.Counter+1)
		}
	}
	var deps []loro.ID
	for p, ctr := range last {
		if covered[p] <= ctr {
			deps = append(deps, loro.ID{Peer: p, Counter: ctr})
		}
	}
	if len(deps) == 0 {
		return r.x.doc.Frontiers(), nil
	}
	slices.SortFunc(deps, func(a, b loro.ID) int { return cmp.Compare(a.Peer, b.Peer) })
	return deps, nil
}

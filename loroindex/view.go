package loroindex

import (
	"hash/maphash"

	"github.com/hamflx/pocket/loroindex/loro"
)

// node is one slot of the view: what finds and lists it, without pointers, so
// the collector never scans a million of them. Its facts stay in the document,
// which keeps them in fewer bytes, and are decoded when asked for.
type node struct {
	ctr        int32  // with peer, the tree id
	peer       uint32 // index in view.peers
	parent     Node   // directory it is shown in; of one that is out, the last
	next, prev Node   // in the parent's list of entries
	name       nameRef
	nameLen    uint8
	kind       Kind
	flags      flags
	dir        uint32 // index in view.dirs, of directories
	size       int64  // bytes, as counted in view.bytes
	changed    int64  // microseconds since 1970: the last change seen by this index, 0 if none
}

type flags uint16

const (
	fPlaced  flags = 1 << iota // belongs to its parent's entries (perhaps merged into another)
	fLinked                    // is in the parent's list and in the table of names
	fVisible                   // is reachable from the root, and counted
	fMerged                    // its entries are shown under view.merged[n]
	fMerger                    // shows the entries of view.members[n] too
	fAlias                     // shown under another name than the one in view.given
	fGroup                     // one of several of one name: in view.groups
	fDead                      // the slot of a creation that was taken back
	fInTx                      // saved or made by the open transaction
)

// dir is what a directory has beyond a node.
type dir struct {
	first, last Node
	count       uint32
	subdirs     uint32 // directories among them
	read        bool   // its entries, and those of its members, are in the view
	mtime       int64  // microseconds since 1970
}

// nameKey is a name in a directory of the view.
type nameKey struct {
	dir  Node
	name string
}

const (
	chunkBits = 9
	chunkLen  = 1 << chunkBits
)

// view is the tree as shown: flat arrays of nodes and two hash tables. It is
// filled directory by directory from the document. What is sparse is in maps.
type view struct {
	chunks []*[chunkLen]node
	count  int // slots in use, NoNode included
	names  arena
	dirs   []dir

	peers   []loro.PeerID
	peerIdx map[loro.PeerID]uint32

	byName table // linked nodes by (parent, shown name)
	byID   table // slots by tree id
	byFold table // linked nodes by (parent, folded name), once somebody asked
	seed   maphash.Seed

	given    map[Node]string      // of fAlias: the name in the document, made safe
	groups   map[nameKey][]Node   // given names of more than one placed node
	blocked  map[nameKey]nameKey  // a name wanted as an alias by a group, taken as a given one
	dirty    map[nameKey]struct{} // groups to settle
	settling bool                 // settle is at work
	folding  bool                 // byFold is kept
	merged   map[Node]Node        // of fMerged: the directory that shows it
	members  map[Node][]Node      // of fMerger: the directories it shows beside its own
	floating map[Node]struct{}    // held, out of sight, under a directory the view does not know

	files, folders int
	bytes          int64
	unread         int // visible directories not yet read
}

func (v *view) init() {
	*v = view{
		seed:     maphash.MakeSeed(),
		peerIdx:  make(map[loro.PeerID]uint32),
		given:    make(map[Node]string),
		groups:   make(map[nameKey][]Node),
		blocked:  make(map[nameKey]nameKey),
		dirty:    make(map[nameKey]struct{}),
		merged:   make(map[Node]Node),
		members:  make(map[Node][]Node),
		floating: make(map[Node]struct{}),
		dirs:     make([]dir, 1), // index 0: no directory
		count:    1,              // NoNode
	}
	v.chunks = append(v.chunks, new([chunkLen]node))
}

// at returns a slot. The pointer stays valid: chunks never move.
func (v *view) at(n Node) *node { return &v.chunks[n>>chunkBits][n&(chunkLen-1)] }

// known reports whether n was handed out.
func (v *view) known(n Node) bool {
	return n != NoNode && int(n) < v.count && v.at(n).flags&fDead == 0
}

func (v *view) peerIndex(p loro.PeerID) uint32 {
	i, ok := v.peerIdx[p]
	if !ok {
		i = uint32(len(v.peers))
		v.peers = append(v.peers, p)
		v.peerIdx[p] = i
	}
	return i
}

// newNode takes the next slot.
func (v *view) newNode(k Kind) Node {
	n := Node(v.count)
	if int(n)>>chunkBits == len(v.chunks) {
		v.chunks = append(v.chunks, new([chunkLen]node))
	}
	v.count++
	nd := v.at(n)
	nd.kind = k
	if k == Dir {
		nd.dir = uint32(len(v.dirs))
		v.dirs = append(v.dirs, dir{})
	}
	return n
}

// full reports whether no further slot can be numbered.
func (v *view) full() bool { return v.count >= int(tombstone)-1 }

func (v *view) setID(n Node, id loro.TreeID) {
	nd := v.at(n)
	nd.peer, nd.ctr = v.peerIndex(id.Peer), id.Counter
	v.byID.insert(hashID(nd.peer, nd.ctr), n, v.idHash)
}

func (v *view) dropID(n Node) {
	nd := v.at(n)
	v.byID.remove(hashID(nd.peer, nd.ctr), n)
}

// id returns the tree node of a slot.
func (v *view) id(n Node) loro.TreeID {
	if n == Root {
		return loro.TreeRoot
	}
	nd := v.at(n)
	return loro.TreeID{Peer: v.peers[nd.peer], Counter: nd.ctr}
}

// find returns the slot of a tree node, or NoNode.
func (v *view) find(id loro.TreeID) Node {
	if id == loro.TreeRoot {
		return Root
	}
	p, ok := v.peerIdx[id.Peer]
	if !ok {
		return NoNode
	}
	h := hashID(p, id.Counter)
	for n, i := v.byID.probe(h, h); n != NoNode; n, i = v.byID.probe(h, i) {
		if nd := v.at(n); nd.peer == p && nd.ctr == id.Counter {
			return n
		}
	}
	return NoNode
}

func hashID(peer uint32, ctr int32) uint64 { return mix64(uint64(peer)<<32 | uint64(uint32(ctr))) }

func (v *view) idHash(n Node) uint64 {
	nd := v.at(n)
	return hashID(nd.peer, nd.ctr)
}

func (v *view) hashName(d Node, name string) uint64 {
	return mixParent(d, maphash.String(v.seed, name))
}

func mixParent(d Node, h uint64) uint64 {
	h ^= uint64(d) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

func (v *view) nameHash(n Node) uint64 { return v.hashName(v.at(n).parent, v.nameOf(n)) }

// nameOf returns the shown name, which of a merged directory is its given one.
func (v *view) nameOf(n Node) string {
	nd := v.at(n)
	return v.names.at(nd.name, nd.nameLen)
}

// givenOf returns the name in the document, made safe.
func (v *view) givenOf(n Node) string {
	if v.at(n).flags&fAlias != 0 {
		return v.given[n]
	}
	return v.nameOf(n)
}

// setName changes the shown name. n must not be in the table of names.
func (v *view) setName(n Node, name string) {
	nd := v.at(n)
	v.names.drop(nd.nameLen)
	nd.name, nd.nameLen = v.names.add(name), uint8(len(name))
}

// child returns the entry of that name, or NoNode.
func (v *view) child(d Node, name string) Node {
	h := v.hashName(d, name)
	for n, i := v.byName.probe(h, h); n != NoNode; n, i = v.byName.probe(h, i) {
		if v.at(n).parent == d && v.nameOf(n) == name {
			return n
		}
	}
	return NoNode
}

// link enters n into its parent's list and the table, under its shown name.
func (v *view) link(n Node) {
	nd := v.at(n)
	d := &v.dirs[v.at(nd.parent).dir]
	nd.prev, nd.next = d.last, NoNode
	if d.last != NoNode {
		v.at(d.last).next = n
	} else {
		d.first = n
	}
	d.last = n
	d.count++
	if nd.kind == Dir {
		d.subdirs++
	}
	nd.flags |= fLinked
	v.enterName(n)
}

func (v *view) unlink(n Node) {
	nd := v.at(n)
	v.dropName(n)
	d := &v.dirs[v.at(nd.parent).dir]
	if nd.prev != NoNode {
		v.at(nd.prev).next = nd.next
	} else {
		d.first = nd.next
	}
	if nd.next != NoNode {
		v.at(nd.next).prev = nd.prev
	} else {
		d.last = nd.prev
	}
	nd.next, nd.prev = NoNode, NoNode
	d.count--
	if nd.kind == Dir {
		d.subdirs--
	}
	nd.flags &^= fLinked
}

// enterName makes a node known by its shown name.
func (v *view) enterName(n Node) {
	v.byName.insert(v.nameHash(n), n, v.nameHash)
	if v.folding {
		v.byFold.insert(v.foldHash(n), n, v.foldHash)
	}
}

// dropName undoes enterName, before the name or the parent changes. The place
// in the list of entries, and so the order of listings, stays.
func (v *view) dropName(n Node) {
	v.byName.remove(v.nameHash(n), n)
	if v.folding {
		v.byFold.remove(v.foldHash(n), n)
	}
}

// canon returns the directory under which n is shown: n itself unless merged.
func (v *view) canon(n Node) Node {
	if v.at(n).flags&fMerged != 0 {
		return v.merged[n]
	}
	return n
}

// inside reports whether n is top or below it.
func (v *view) inside(n, top Node) bool {
	for ; n != NoNode; n = v.at(n).parent {
		if n == top {
			return true
		}
	}
	return false
}

// ino is the inode number: the tree id mixed to 64 bits. 0 and 1 are taken.
func (v *view) ino(n Node) uint64 {
	if n == Root {
		return 1
	}
	nd := v.at(n)
	return inoOf(v.peers[nd.peer], nd.ctr)
}

func inoOf(p loro.PeerID, ctr int32) uint64 {
	i := mix64(uint64(p) ^ mix64(uint64(uint32(ctr))))
	if i < 2 {
		i += 1 << 63
	}
	return i
}

// compactNames rewrites the arena without the names dropped.
func (v *view) compactNames() {
	old := v.names
	v.names = arena{}
	for n := Root; int(n) < v.count; n++ {
		nd := v.at(n)
		nd.name = v.names.add(old.at(nd.name, nd.nameLen))
	}
}

// setVisible makes n and all below it visible or not, and counts them.
func (v *view) setVisible(n Node, on bool) {
	if v.at(n).flags&fVisible != 0 == on {
		return // and so are all below it
	}
	stack := []Node{n}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		nd := v.at(n)
		if nd.flags&fVisible != 0 == on {
			continue
		}
		v.flip(n, nd, on)
		if nd.kind != Dir {
			continue
		}
		stack = append(stack, v.members[n]...)
		for c := v.dirs[nd.dir].first; c != NoNode; c = v.at(c).next {
			stack = append(stack, c)
		}
	}
}

func (v *view) flip(n Node, nd *node, on bool) {
	d := 1
	if on {
		nd.flags |= fVisible
	} else {
		nd.flags &^= fVisible
		d = -1
	}
	switch {
	case nd.kind != Dir:
		v.files += d
		v.bytes += int64(d) * nd.size
	case nd.flags&fMerged == 0:
		v.folders += d
		if !v.dirs[nd.dir].read {
			v.unread += d
		}
	}
}

// resize changes the size that a node is counted with.
func (v *view) resize(n Node, size int64) {
	nd := v.at(n)
	if nd.flags&fVisible != 0 {
		v.bytes += size - nd.size
	}
	nd.size = size
}

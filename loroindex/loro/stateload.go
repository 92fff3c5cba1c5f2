package loro

import (
	"bytes"
	"math"
	"slices"
	"strings"
)

// The state sections, docs/encoding-container-states.md: one entry per
// container.

// load decodes the state of a snapshot: the state section, or for a shallow
// snapshot the root's state overlaid with the state section.
func (s *state) load(sec sections) error {
	// A state that stands for itself is kept, for exports. The rest of the blob is not.
	keep := len(sec.root) == 0 && keepable(sec.state)
	if keep {
		sec.state = bytes.Clone(sec.state)
	}
	root, err := openSSTable(sec.root)
	if err != nil {
		return err
	}
	top := &sstable{}
	if string(sec.state) != stateOmitted {
		if top, err = openSSTable(sec.state); err != nil {
			return err
		}
	}
	l := stateLoader{s: s, bud: inflateBudget(len(sec.root) + len(sec.state))}
	if len(root.blocks) > 0 && len(top.blocks) > 0 {
		l.over = make(map[string]struct{})
		err := top.scan(0, len(top.blocks), l.bud, func(key, _ []byte) error {
			l.over[string(key)] = struct{}{}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// Trees first: their nodes then lie in the table in tree order. The maps that trees
	// are in come after that: they may be nodes of a tree that was not read yet.
	for _, trees := range []bool{true, false} {
		if keep && !trees {
			l.clean = make([]bool, s.nodes.n)
			for t := range s.trees {
				l.wrappers = append(l.wrappers, s.wrapperIn(uint32(t+1)))
			}
		}
		if err := l.table(root, trees, true); err != nil {
			return err
		}
		if err := l.table(top, trees, false); err != nil {
			return err
		}
		for _, n := range l.nested {
			l.s.trees[n.tree-1].owner = l.owner(n.parent)
		}
		l.nested = nil
	}
	if keep {
		s.kept.Store(&keptState{top, l.clean})
	}
	return nil
}

// wrapperIn is how the entries of maps of nodes of a tree begin, nil if that may change.
func (s *state) wrapperIn(t uint32) []byte {
	id := s.trees[t-1].id
	if !id.Root || mergeableParent(id.Name) != (ContainerID{}) {
		return nil
	}
	return appendWrapper(nil, TypeMap, rootDepth, id, true)
}

// usual reports whether the entry of a map, of which c is what is left, begins as the
// one that is written for it and always will.
func (l *stateLoader) usual(e ent, val []byte, c *cursor) bool {
	s := l.s
	n := s.nodes.at(e)
	head := val[:len(val)-len(c.b)]
	if n.tree != 0 {
		t := int(n.tree - 1)
		return n.parent != nowhere && t < len(l.wrappers) && bytes.Equal(head, l.wrappers[t])
	}
	parent, ok := s.fixedParent(e)
	if ok {
		l.head = appendWrapper(l.head[:0], TypeMap, rootDepth, parent, true)
	}
	return ok && bytes.Equal(head, l.head)
}

// noteClean notes that the entry of a map is as it would be written.
func (l *stateLoader) noteClean(e ent, usual bool) {
	if l.wrappers == nil || !usual {
		return
	}
	if int(e) >= len(l.clean) {
		l.clean = append(l.clean, make([]bool, int(e)+1-len(l.clean))...)
	}
	l.clean[e] = true
}

// nestedTree is a tree in a map.
type nestedTree struct {
	tree   uint32 // one more than its index
	parent ContainerID
}

type stateLoader struct {
	s     *state
	bud   *budget
	over  map[string]struct{} // keys of the overlay, which hide the root's
	under *stateLoader        // for the entries that they hide; nil before the first
	vals  []byte
	regs  []register
	spans []packedEntry
	peers []uint32
	lastP PeerID
	lastI uint32
	hasP  bool

	nested []nestedTree // trees read whose maps are not looked up yet

	// Of a section that is kept:
	clean    []bool   // see keptState
	wrappers [][]byte // by tree, see wrapperIn
	head     []byte   // scratch

	ownedMaps  bitset // child maps seen as the value of a key
	ownedTrees bitset // the same of trees, one more than their index
}

const frontiersKey = "fr"

// table loads the entries of a section that are, or are not, trees.
func (l *stateLoader) table(t *sstable, trees, isRoot bool) error {
	isTree := func(key []byte) bool { return len(key) > 0 && key[0]&0x7f == byte(TypeTree) }
	entry := func(key, val []byte) error {
		if isTree(key) != trees {
			return nil
		}
		if isRoot {
			if string(key) == frontiersKey {
				var err error
				l.s.rootFrontiers, err = readFrontiers(val)
				return err
			}
			if _, hidden := l.over[string(key)]; hidden {
				return l.hidden().entry(key, val)
			}
		}
		return l.entry(key, val)
	}
	if !trees {
		return l.maps(t, isRoot, entry)
	}
	for i := range t.blocks {
		b := &t.blocks[i]
		for _, k := range []byte{byte(TypeTree), byte(TypeTree) | 0x80} {
			if bytes.Compare(b.last, []byte{k}) >= 0 && bytes.Compare(b.first, []byte{k + 1}) < 0 {
				if err := t.scan(i, i+1, l.bud, entry); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// hidden returns a loader for entries of the root that the overlay hides. They are
// needed only to look further back, but must be sound, too.
func (l *stateLoader) hidden() *stateLoader {
	if l.under == nil {
		l.under = &stateLoader{s: newState(), bud: l.bud}
	}
	return l.under
}

func (l *stateLoader) entry(key, val []byte) error {
	id, err := parseCIDKey(key)
	if err != nil {
		return err
	}
	c := cursor{b: val}
	kind := ContainerType(c.byte())
	c.uvarint() // depth: follows from the parents
	var parent ContainerID
	var parentName []byte
	has := c.byte()
	if has == 1 {
		parent, parentName = scanPostcardCID(&c)
	}
	if c.err != nil {
		return c.err
	}
	if has > 1 || kind != id.Type {
		return invalidf("state of %v: malformed wrapper", id)
	}
	s := l.s
	switch kind {
	case TypeMap:
		var e ent
		if id.Root {
			e = s.rootMapEnt(id.Name)
		} else {
			e = s.nodes.get(l.peer(id.ID.Peer), id.ID.Counter)
			if n := s.nodes.at(e); has == 1 && n.tree == 0 && n.parent == nowhere {
				parent.Name = string(parentName)
				l.placeMap(e, parent)
			}
		}
		if s.nodes.at(e).rec != 0 {
			return invalidf("state of %v: more than one entry", id)
		}
		usual := !id.Root && l.usual(e, val, &c)
		l.mapState(e, &c)
		l.noteClean(e, usual && c.err == nil)
	case TypeTree:
		t := s.treeOf(id)
		if has == 1 && !id.Root {
			parent.Name = string(parentName)
			l.placeTree(t, parent)
		}
		l.treeState(t, &c)
	default:
		s.other(id).state = slices.Clone(val)
		return nil
	}
	if c.err != nil {
		return invalidf("state of %v: %v", id, c.err)
	}
	return c.done("container state")
}

func (l *stateLoader) peer(p PeerID) uint32 {
	if !l.hasP || l.lastP != p {
		l.lastP, l.lastI, l.hasP = p, l.s.peers.intern(p), true
	}
	return l.lastI
}

// placeMap notes the parent of a map that is neither a root nor of a node.
func (l *stateLoader) placeMap(e ent, parent ContainerID) {
	s := l.s
	if parent.Type == TypeMap {
		owner := l.owner(parent)
		s.nodes.at(e).parent = owner
		return
	}
	if s.foreign == nil {
		s.foreign = make(map[ent]ContainerID)
	}
	s.foreign[e] = parent
}

func (l *stateLoader) placeTree(t uint32, parent ContainerID) {
	if parent.Type == TypeMap {
		l.nested = append(l.nested, nestedTree{t, parent})
	} else {
		l.s.trees[t-1].foreign = parent
	}
}

func (l *stateLoader) owner(parent ContainerID) ent {
	if parent.Root {
		return l.s.rootMapEnt(parent.Name)
	}
	return l.s.nodes.get(l.peer(parent.ID.Peer), parent.ID.Counter)
}

// mapState decodes the registers of a map.
func (l *stateLoader) mapState(e ent, c *cursor) {
	if size := l.registers(c); c.err == nil && len(l.regs) > 0 {
		l.store(e, size, c)
	}
}

// registers decodes the registers of a map into l.regs. It returns how many bytes they
// take in a record.
func (l *stateLoader) registers(c *cursor) (size int) {
	s := l.s
	l.vals, l.regs, l.spans = l.vals[:0], l.regs[:0], l.spans[:0]
	s.pk.at = 0
	for n := c.count(2); n > 0 && c.err == nil; n-- {
		key := s.pk.key(c.text())
		start := len(l.vals)
		l.vals = s.pk.state(l.vals, c, 0)
		l.regs = append(l.regs, register{key: key})
		l.spans = append(l.spans, packedEntry{key, start, len(l.vals)})
	}
	for n := c.count(1); n > 0 && c.err == nil; n-- {
		l.regs = append(l.regs, register{key: s.keys.intern(c.text()), deleted: true})
	}
	if c.err != nil {
		return 0
	}
	for i := range l.spans {
		l.regs[i].val = l.vals[l.spans[i].start:l.spans[i].end]
	}
	l.peers = l.peers[:0]
	for n := c.count(8); n > 0; n-- {
		l.peers = append(l.peers, l.peer(PeerID(c.u64le())))
	}
	names := s.keys.list
	byName := func(a, b register) int { return strings.Compare(names[a.key], names[b.key]) }
	if !slices.IsSortedFunc(l.regs, byName) {
		slices.SortFunc(l.regs, byName)
	}
	for i := range l.regs {
		r := &l.regs[i]
		if i > 0 && l.regs[i-1].key == r.key {
			c.fail("key occurs twice")
			return 0
		}
		p := c.uvarint()
		r.lam = c.u32()
		if p >= uint64(len(l.peers)) {
			c.fail("peer index out of range")
		}
		if c.err != nil {
			return 0
		}
		r.peer = l.peers[p]
		size += regSize(*r)
	}
	return size
}

// store makes l.regs the registers of a map. c is where they were read, for errors.
func (l *stateLoader) store(e ent, size int, c *cursor) {
	s := l.s
	if len(l.regs) > smallMap {
		b := bigMap{regs: make(map[uint32]bigReg, len(l.regs))}
		for _, r := range l.regs {
			s.putBig(&b, r)
		}
		s.bigs = append(s.bigs, b)
		s.nodes.at(e).rec = recRef(len(s.bigs)-1) | bigRef
	} else {
		ref, body := s.arena.alloc(size)
		body = body[:0]
		for _, r := range l.regs {
			body = appendReg(body, r)
		}
		s.nodes.at(e).rec = ref
	}
	for _, r := range l.regs {
		if r.deleted {
			continue
		}
		// A container is the value that the operation of its id wrote, which was
		// one. Were it in two places, it could also be inside itself.
		child, tree := s.ownContainers(r.val, e, r.key)
		if child != noEnt && !l.ownedMaps.add(child) || tree != 0 && !l.ownedTrees.add(tree) {
			c.fail("a container is in two places")
			return
		}
	}
}

// bitset is a set of small integers.
type bitset []uint64

// add reports whether i was not in the set.
func (b *bitset) add(i uint32) bool {
	if n := int(i/64) + 1; n > len(*b) {
		*b = append(*b, make([]uint64, n-len(*b))...)
	}
	word, bit := &(*b)[i/64], uint64(1)<<(i%64)
	fresh := *word&bit == 0
	*word |= bit
	return fresh
}

// treeState decodes the nodes of a tree.
func (l *stateLoader) treeState(t uint32, c *cursor) {
	s := l.s
	table := readPeerTable(c)
	if c.uvarint() != 4 {
		c.fail("unexpected shape")
	}
	var ids [2][]byte
	var cols [5][]byte
	column := func(into [][]byte) {
		if c.uvarint() != uint64(len(into)) {
			c.fail("unexpected shape")
		}
		for i := range into {
			into[i] = c.bytes()
		}
	}
	column(ids[:])
	column(cols[:])
	arena := c.bytes()
	c.bytes() // reserved
	if c.done("tree state") != nil {
		return
	}
	positions, err := readPositions(arena)
	if err != nil {
		c.err = err
		return
	}
	pos := make([]uint32, len(positions))
	for i, p := range positions {
		pos[i] = s.pos.internString(p)
	}
	peers := make([]uint32, len(table))
	for i, p := range table {
		peers[i] = s.peers.intern(p)
	}

	fi := cursor{b: cols[4]}
	n := fi.count(1) // the one column that says how many rows there are
	if n > 0 && s.trees[t-1].nodes > 0 {
		c.fail("more than one entry")
		return
	}
	if l.bud.nodes -= n; l.bud.nodes < 0 {
		c.fail("more nodes than the snapshot's size allows")
		return
	}
	s.nodes.reserve(n)
	rows := make([]ent, n)
	idPeer, idCtr := deltaRle{c: cursor{b: ids[0]}}, deltaRle{c: cursor{b: ids[1]}}
	for i := range rows {
		p, ok1 := idPeer.take()
		ctr, ok2 := idCtr.take()
		if !ok1 || !ok2 || uint64(p) >= uint64(len(peers)) || ctr < 0 || ctr >= math.MaxInt32 {
			c.fail("node id out of range")
			return
		}
		before := s.nodes.n
		if rows[i] = s.getNode(t, peers[p], int32(ctr)); rows[i] < before {
			c.fail("node occurs twice")
			return
		}
	}
	parent, mPeer := deltaRle{c: cursor{b: cols[0]}}, deltaRle{c: cursor{b: cols[1]}}
	mCtr, mLam := deltaRle{c: cursor{b: cols[2]}}, deltaRle{c: cursor{b: cols[3]}}
	for _, e := range rows {
		p, ok1 := parent.take()
		q, ok2 := mPeer.take()
		ctr, ok3 := mCtr.take()
		d, ok4 := mLam.take()
		f := fi.uvarint()
		if !ok1 || !ok2 || !ok3 || !ok4 || p < 0 || p > int64(n)+1 || uint64(q) >= uint64(len(peers)) || f >= uint64(len(pos)) ||
			ctr < 0 || ctr >= math.MaxInt32 || ctr+d < 0 || ctr+d > math.MaxUint32 {
			c.fail("node column out of range")
			return
		}
		place := nodePlace{parent: atRoot, pos: pos[f], moveLam: uint32(ctr + d), movePee: peers[q], moveCtr: int32(ctr)}
		if p == 1 {
			place.parent = atTrash
		} else if p > 1 {
			place.parent = rows[p-2]
		}
		s.nodes.at(e).setPlace(place)
	}
	if !idPeer.exhausted() || !idCtr.exhausted() || !parent.exhausted() || !mPeer.exhausted() || !mCtr.exhausted() || !mLam.exhausted() || fi.done("") != nil {
		c.fail("columns differ in length")
		return
	}
	s.trees[t-1].nodes = n
	if !s.acyclic(rows) {
		c.fail("nodes form a cycle")
		return
	}
	if !s.attachAll(t, rows) {
		c.fail("nodes of one parent were put there by one operation")
	}
}

// acyclic reports whether the ancestors of all rows end somewhere. rows are
// consecutive entities.
func (s *state) acyclic(rows []ent) bool {
	if len(rows) == 0 {
		return true
	}
	const open, good = 1, 2
	base := rows[0]
	mark := make([]byte, len(rows))
	for _, e := range rows {
		at := e
		for at < noEnt && mark[at-base] == 0 {
			mark[at-base] = open
			at = s.nodes.at(at).parent
		}
		if at < noEnt && mark[at-base] == open {
			return false
		}
		for at = e; at < noEnt && mark[at-base] == open; at = s.nodes.at(at).parent {
			mark[at-base] = good
		}
	}
	return true
}

// attachAll fills the child sets of a tree whose nodes have their places. It reports
// whether siblings, those in the trash included, differ in the operation that put
// them there.
func (s *state) attachAll(t uint32, rows []ent) bool {
	if len(rows) == 0 {
		return true
	}
	base := rows[0]
	counts := make([]uint32, len(rows)+1) // the root's last
	slot := func(p ent) uint32 {
		if p == atRoot {
			return uint32(len(rows))
		}
		return p - base
	}
	total, parents := 0, 0
	var trash []IDLP
	for _, e := range rows {
		n := s.nodes.at(e)
		if p := n.parent; p != atTrash {
			if counts[slot(p)] == 0 {
				parents++
			}
			counts[slot(p)]++
			total++
		} else {
			trash = append(trash, IDLP{n.moveLam, s.peers.list[n.movePee]})
		}
	}
	slices.SortFunc(trash, IDLP.Compare)
	if len(slices.Compact(trash)) < len(rows)-total {
		return false
	}
	all := make([]ent, total)
	s.kids = slices.Grow(s.kids, parents)
	at := 0
	for _, e := range rows {
		p := s.nodes.at(e).parent
		if p == atTrash {
			continue
		}
		k := s.makeKids(t, p)
		if k.one == nil {
			n := int(counts[slot(p)])
			k.one = all[at : at : at+n]
			at += n
		}
		k.one = append(k.one, e)
	}
	for i := len(s.kids) - parents; i < len(s.kids); i++ {
		k := &s.kids[i]
		k.n = len(k.one)
		for j := 1; j < len(k.one); j++ {
			if !s.siblingLess(k.one[j-1], k.one[j]) {
				slices.SortFunc(k.one, s.compareSiblings)
				for j := 1; j < len(k.one); j++ {
					if !s.siblingLess(k.one[j-1], k.one[j]) {
						return false
					}
				}
				break
			}
		}
		if k.n > kidLeaf {
			for leaf := range slices.Chunk(k.one, kidLeaf) {
				k.more = append(k.more, leaf)
			}
			k.one = nil
		}
	}
	return true
}

func (s *state) compareSiblings(a, b ent) int {
	switch {
	case s.siblingLess(a, b):
		return -1
	case s.siblingLess(b, a):
		return 1
	}
	return 0
}

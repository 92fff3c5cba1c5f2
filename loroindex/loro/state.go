package loro

import "sync/atomic"

// state is what the operations amount to: registers of maps and places of tree
// nodes. It knows nothing of history.
type state struct {
	peers peerTable
	keys  stringTable
	pos   stringTable // fractional indexes; 0 is the default one

	nodes nodeTable
	arena arena
	bigs  []bigMap
	kids  []kidSet // [0] unused

	roots   []rootMap
	rootIdx map[string]uint32
	trees   []tree
	treeIdx map[ContainerID]uint32
	others  map[ContainerID]*otherContainer
	// foreign holds the parents of maps that live inside containers of
	// unsupported types, as the state section named them.
	foreign map[ent]ContainerID

	rootFrontiers Frontiers // the version a loaded shallow root state is of

	kept atomic.Pointer[keptState] // nil: none; replaced by exports, of which several may run

	log treeLog
	rec *recorder // notes what changes during an import, else nil
	pk  packer
}

type rootMap struct {
	name string
	e    ent
}

// tree is one tree container.
type tree struct {
	id      ContainerID
	kids    uint32      // child set of the root
	owner   ent         // map whose value it is, unless a root
	key     uint32      // key of that map
	foreign ContainerID // container of an unsupported type it lives in
	nodes   int         // nodes ever in it
}

// otherContainer is a container of an unsupported type.
type otherContainer struct {
	state []byte // its entry of the state section, nil when there was none
	dirty bool   // operations were applied that state does not include
}

const defaultPosition = "\x80"

func newState() *state {
	s := &state{
		kids:    make([]kidSet, 1),
		rootIdx: make(map[string]uint32),
		treeIdx: make(map[ContainerID]uint32),
	}
	s.pos.internString(defaultPosition)
	s.pk.s = s
	return s
}

// rootMapEnt finds or makes the entity of a root map.
func (s *state) rootMapEnt(name string) ent {
	if i, ok := s.rootIdx[name]; ok {
		return s.roots[i].e
	}
	i := uint32(len(s.roots))
	e := s.nodes.add(rootPeer, int32(i))
	s.roots = append(s.roots, rootMap{name, e})
	s.rootIdx[name] = i
	return e
}

// treeOf finds or makes a tree and returns its index+1.
func (s *state) treeOf(id ContainerID) uint32 {
	if t, ok := s.treeIdx[id]; ok {
		return t
	}
	s.trees = append(s.trees, tree{id: id, owner: nowhere})
	t := uint32(len(s.trees))
	s.treeIdx[id] = t
	return t
}

func (s *state) other(id ContainerID) *otherContainer {
	o := s.others[id]
	if o == nil {
		if s.others == nil {
			s.others = make(map[ContainerID]*otherContainer)
		}
		o = &otherContainer{}
		s.others[id] = o
	}
	return o
}

// mapID names the container of an entity's map.
func (s *state) mapID(e ent) ContainerID {
	n := s.nodes.at(e)
	if n.peer == rootPeer {
		return RootID(s.roots[n.ctr].name, TypeMap)
	}
	return ChildID(ID{s.peers.list[n.peer], n.ctr}, TypeMap)
}

func (s *state) nodeID(e ent) TreeID {
	n := s.nodes.at(e)
	return TreeID{s.peers.list[n.peer], n.ctr}
}

// findTreeNode finds the node of a public id.
func (s *state) findTreeNode(tree uint32, id TreeID) (ent, bool) {
	p, ok := s.peers.find(id.Peer)
	if !ok || tree == 0 {
		return 0, false
	}
	return s.nodes.findNode(tree, p, id.Counter)
}

// kidsOf returns the child set of a node or, for atRoot, of a tree's root.
func (s *state) kidsOf(tree uint32, parent ent) *kidSet {
	var i uint32
	if parent == atRoot {
		i = s.trees[tree-1].kids
	} else {
		i = s.nodes.at(parent).kids
	}
	if i == 0 {
		return nil
	}
	return &s.kids[i]
}

// makeKids is kidsOf, making the set if there is none.
func (s *state) makeKids(tree uint32, parent ent) *kidSet {
	slot := &s.trees[tree-1].kids
	if parent != atRoot {
		slot = &s.nodes.at(parent).kids
	}
	if *slot == 0 {
		*slot = uint32(len(s.kids))
		s.kids = append(s.kids, kidSet{})
	}
	return &s.kids[*slot]
}

// attach puts a node, whose parent, position and move are set, among its
// siblings.
func (s *state) attach(e ent) {
	if n := s.nodes.at(e); n.parent < noEnt || n.parent == atRoot {
		s.kidsInsert(s.makeKids(n.tree, n.parent), e)
	}
}

// detach undoes attach.
func (s *state) detach(e ent) {
	if n := s.nodes.at(e); n.parent < noEnt || n.parent == atRoot {
		s.kidsRemove(s.kidsOf(n.tree, n.parent), e)
	}
}

// place says where a node is, following its ancestors.
func (s *state) place(e ent) Place {
	n := s.nodes.at(e)
	switch n.parent {
	case nowhere:
		return Absent
	case atTrash:
		return Trashed
	}
	for n.parent < noEnt {
		n = s.nodes.at(n.parent)
	}
	if n.parent == atRoot {
		return Live
	}
	return Hidden
}

// isAncestor reports whether a is e or above it.
func (s *state) isAncestor(a, e ent) bool {
	for e < noEnt {
		if e == a {
			return true
		}
		e = s.nodes.at(e).parent
	}
	return false
}

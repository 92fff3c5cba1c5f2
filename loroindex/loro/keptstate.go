package loro

import "bytes"

// A snapshot is written anew only where it changed: the history's blocks are copied
// (Doc.storePeer), and so are those of the state section, as it was read or last
// written, that hold nothing but maps that are still the same. Almost all of a large
// state is maps of tree nodes.

const (
	// keepState is the size of the largest state section that is kept: about 350,000
	// files. Beyond that its memory matters more than the time of an export.
	keepState = 32 << 20

	// Blocks that are stored in less than this are put together with their neighbours.
	smallStateBlock = 1024
)

// keptState is a state section whose maps that are no roots may be copied.
type keptState struct {
	t *sstable
	// clean has, by entity, whether the entry of its map in t is what would be
	// written for it.
	clean []bool
}

func (k *keptState) has(e ent) bool { return k != nil && int(e) < len(k.clean) && k.clean[e] }

// keepable reports whether a state section is to be kept.
func keepable(section []byte) bool {
	return len(section) > len(stateOmitted) && len(section) <= keepState
}

// changed is called for every change of what the entry of a map says: its registers,
// its place, and whether it has one at all.
func (s *state) changed(e ent) {
	if k := s.kept.Load(); k != nil && int(e) < len(k.clean) {
		k.clean[e] = false
	}
}

// fixedParent returns the container a map is in if that can never be another one
// and is a root, so that the entry's wrapper never changes.
func (s *state) fixedParent(e ent) (parent ContainerID, ok bool) {
	n := s.nodes.at(e)
	if _, foreign := s.foreign[e]; foreign || n.peer == rootPeer {
		return parent, false
	}
	if n.tree != 0 {
		parent = s.trees[n.tree-1].id
	} else if n.parent < noEnt && s.nodes.at(n.parent).peer == rootPeer {
		parent = s.mapID(n.parent)
	}
	return parent, parent.Root && mergeableParent(parent.Name) == (ContainerID{})
}

// rootDepth is the depth of what is in a root.
const rootDepth = 2

// appendWrapper begins an entry of a state section.
func appendWrapper(b []byte, kind ContainerType, depth uint64, parent ContainerID, has bool) []byte {
	b = appendUvarint(append(b, byte(kind)), depth)
	if !has {
		return append(b, 0)
	}
	return appendPostcardCID(append(b, 1), parent)
}

// hasEntry reports whether a map that is no root gets an entry.
//
// Empty maps get one too: the official library takes a map without one for a map
// that does not exist once it edits the document. A second entity of a node, which
// stands for nothing of its own, does not.
func (s *state) hasEntry(e ent) bool {
	n := s.nodes.at(e)
	return n.rec != 0 || n.parent != nowhere && s.first(e)
}

// first reports whether e is the entity that the id of its map finds.
func (s *state) first(e ent) bool {
	n := s.nodes.at(e)
	f, _ := s.nodes.find(n.peer, n.ctr)
	return f == e
}

// keep makes a state section that was just written the one that is kept.
func (s *state) keep(section []byte) error {
	if !keepable(section) {
		s.kept.Store(nil)
		return nil
	}
	t, err := openSSTable(bytes.Clone(section))
	if err != nil {
		return err
	}
	k := &keptState{t: t, clean: make([]bool, s.nodes.n)}
	for e := range s.nodes.n {
		if s.nodes.at(e).peer != rootPeer && s.hasEntry(e) {
			_, k.clean[e] = s.fixedParent(e)
		}
	}
	s.kept.Store(k)
	return nil
}

// addMaps writes the entries of maps that are no roots, and reports how many of them
// were not copied.
func (e *stateEncoder) addMaps(kept *keptState) (fresh int, err error) {
	todo := e.maps(kept)
	fresh = len(todo)
	var key []byte // of todo[0], nil when there is none
	next := func() {
		if key = key[:0]; len(todo) == 0 {
			key = nil
			return
		}
		key = appendCIDKey(key, e.s.mapID(todo[0].e))
	}
	next()
	put := func() error {
		if !todo[0].gone {
			val, err := e.mapEntry(todo[0].e)
			if err != nil {
				return err
			}
			e.add(key, val)
		}
		todo = todo[1:]
		next()
		return nil
	}
	before := func(k []byte) error {
		for key != nil && bytes.Compare(key, k) < 0 {
			if err := put(); err != nil {
				return err
			}
		}
		return nil
	}
	if kept == nil {
		kept = &keptState{t: &sstable{}}
	}
	isMap := func(key []byte) bool { return key[0] == byte(TypeMap) } // and no root
	var buf []byte
	for i := range kept.t.blocks {
		b := &kept.t.blocks[i]
		if !isMap(b.first) {
			break
		}
		if err := before(b.first); err != nil {
			return fresh, err
		}
		if isMap(b.last) && (key == nil || bytes.Compare(key, b.last) > 0) && b.end-b.off >= smallStateBlock {
			if err := e.w.copyBlock(kept.t, i); err != nil {
				return fresh, err
			}
			continue
		}
		body, scratch, err := kept.t.body(i, buf, nil)
		if err != nil {
			return fresh, err
		}
		buf = scratch
		entries := kept.t.entries(i, body)
		for {
			k, v, ok := entries.next()
			if !ok || !isMap(k) {
				break
			}
			if err := before(k); err != nil {
				return fresh, err
			}
			if bytes.Equal(key, k) {
				if err := put(); err != nil {
					return fresh, err
				}
				continue
			}
			e.add(k, v)
		}
		if entries.err != nil {
			return fresh, entries.err
		}
	}
	for key != nil {
		if err := put(); err != nil {
			return fresh, err
		}
	}
	return fresh, nil
}

package loro

import (
	"fmt"
	"iter"
	"unicode/utf8"
)

// Map is a handle to a map container: a set of keys, each a last-writer-wins
// register decided by [IDLP]. It is cheap to copy and stays valid for the life
// of the document.
type Map struct {
	d  *Doc
	id ContainerID
	e  ent // noEnt while unknown
}

// ID names the container.
func (m Map) ID() ContainerID { return m.id }

// ent finds the map's entity.
func (m Map) ent() (ent, bool) {
	if m.e != noEnt {
		return m.e, true
	}
	s := m.d.s
	if m.id.Type != TypeMap {
		return 0, false
	}
	if m.id.Root {
		i, ok := s.rootIdx[m.id.Name]
		if !ok {
			return 0, false
		}
		return s.roots[i].e, true
	}
	p, ok := s.peers.find(m.id.ID.Peer)
	if !ok {
		return 0, false
	}
	return s.nodes.find(p, m.id.ID.Counter)
}

// edit finds or, for a root, makes the entity of a map that may be edited.
func (m Map) edit() (ent, error) {
	e, ok := m.ent()
	switch {
	case ok && m.d.s.attached(e):
		return e, nil
	case !ok && m.id.Root && m.id.Type == TypeMap:
		if err := checkRootName(m.id.Name); err != nil {
			return 0, err
		}
		return m.d.s.rootMapEnt(m.id.Name), nil
	}
	return 0, ErrNotAttached
}

// maxRootName keeps the name of a root within the 16-bit key length of state
// sections.
const maxRootName = 1<<16 - 16

// plainRootName reports whether the official library takes a name for a root: it
// refuses to make others, and crashes on changes that name them.
func plainRootName[T string | []byte](name T) bool {
	for i := range len(name) {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return len(name) > 0
}

// checkRootName says whether a root of a name may be made here.
func checkRootName(name string) error {
	if !plainRootName(name) || !utf8.ValidString(name) || len(name) > maxRootName {
		return fmt.Errorf("%w: root name %.40q", ErrValue, name)
	}
	return nil
}

// attached reports whether a map is reachable from a root.
func (s *state) attached(e ent) bool {
	for range maxResolve {
		n := s.nodes.at(e)
		switch {
		case n.peer == rootPeer:
			return true
		case n.tree != 0:
			t := &s.trees[n.tree-1]
			if s.place(e) != Live {
				return false
			}
			if t.id.Root || t.owner >= noEnt {
				return t.id.Root || t.foreign != (ContainerID{})
			}
			if !s.holds(t.owner, t.key, t.id) {
				return false
			}
			e = t.owner
		case n.parent >= noEnt:
			return s.foreign[e] != (ContainerID{})
		default:
			// A child map's node.pos is the key it was set under.
			if !s.holds(n.parent, n.pos, s.mapID(e)) {
				return false
			}
			e = n.parent
		}
	}
	return false
}

// holds reports whether the value of a key is a given container.
func (s *state) holds(owner ent, key uint32, id ContainerID) bool {
	r, ok := s.findReg(s.nodes.at(owner).rec, key)
	if !ok || r.deleted || r.val[0] != packContainer {
		return false
	}
	is, _ := s.unpackContainer(r.val[1:])
	return is == id
}

// Get returns the value of a key. A child container is returned as a container
// value; see [Doc.MapOf].
func (m Map) Get(key string) (Value, bool) {
	r, ok := m.reg(key)
	if !ok || r.deleted {
		return Value{}, false
	}
	v, _ := m.d.s.unpack(r.val)
	return v, true
}

func (m Map) reg(key string) (register, bool) {
	e, ok := m.ent()
	if !ok {
		return register{}, false
	}
	k, ok := m.d.s.keys.find(key)
	if !ok {
		return register{}, false
	}
	return m.d.s.findReg(m.d.s.nodes.at(e).rec, k)
}

// Set writes a key. Like the official library it records nothing when the key
// already holds an equal value.
//
// Errors: ErrValue, ErrNotAttached, ErrLimit.
func (m Map) Set(key string, v Value) error {
	if err := v.check(0); err != nil {
		return err
	}
	e, k, err := m.editKey(key)
	if err != nil {
		return err
	}
	var room [256]byte
	return m.d.setKey(e, k, m.d.s.pk.value(room[:0], v))
}

func (m Map) editKey(key string) (ent, uint32, error) {
	if !utf8.ValidString(key) {
		return 0, 0, ErrValue
	}
	e, err := m.edit()
	if err != nil {
		return 0, 0, err
	}
	return e, m.d.s.keys.internString(key), nil
}

// SetMap writes a new, empty child map to a key and returns a handle to it.
// Two replicas that do this concurrently make two maps, of which one is hidden.
//
// Errors: ErrNotAttached, ErrLimit.
func (m Map) SetMap(key string) (Map, error) {
	e, k, err := m.editKey(key)
	if err != nil {
		return Map{}, err
	}
	d := m.d
	ctr, _, err := d.begin()
	if err != nil {
		return Map{}, err
	}
	id := ChildID(ID{d.peer, ctr}, TypeMap)
	if err := d.setKey(e, k, d.s.pk.container(nil, id)); err != nil {
		return Map{}, err
	}
	child := d.s.nodes.get(d.self, ctr)
	d.s.own(child, e, k)
	return Map{d: d, id: id, e: child}, nil
}

// own records that a map is the value of a key of another map.
func (s *state) own(child, owner ent, key uint32) {
	if n := s.nodes.at(child); n.tree == 0 {
		if n.parent != owner {
			s.changed(child)
		}
		n.parent, n.pos = owner, key
	}
}

// Delete removes a key; a key that is absent records nothing.
//
// Errors: ErrNotAttached, ErrLimit.
func (m Map) Delete(key string) error {
	if _, ok := m.reg(key); !ok {
		return nil
	}
	e, k, err := m.editKey(key)
	if err != nil {
		return err
	}
	return m.d.setKey(e, k, nil)
}

// Len is the number of keys.
func (m Map) Len() int {
	e, ok := m.ent()
	if !ok {
		return 0
	}
	rec := m.d.s.nodes.at(e).rec
	if rec&bigRef != 0 {
		return m.d.s.bigs[rec&^bigRef].live
	}
	n := 0
	m.d.s.eachReg(rec, func(r register) bool {
		if !r.deleted {
			n++
		}
		return true
	})
	return n
}

// All iterates over keys and values in the order of the keys' UTF-8 bytes. The
// document must not change meanwhile.
func (m Map) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		e, ok := m.ent()
		if !ok {
			return
		}
		s := m.d.s
		var room [smallMap]register
		for _, r := range s.sortedRegs(room[:0], s.nodes.at(e).rec) {
			if r.deleted {
				continue
			}
			v, _ := s.unpack(r.val)
			if !yield(s.keys.list[r.key], v) {
				return
			}
		}
	}
}

// Register is the stored state of a map key.
type Register struct {
	IDLP    IDLP // of the operation that wrote it
	Deleted bool // the key was deleted; deletions are remembered for ever
	Value   Value
}

// Register returns the state of a key, a deleted one included. It is false for
// a key never written.
func (m Map) Register(key string) (Register, bool) {
	r, ok := m.reg(key)
	if !ok {
		return Register{}, false
	}
	out := Register{IDLP: IDLP{r.lam, m.d.s.peers.list[r.peer]}, Deleted: r.deleted}
	if !r.deleted {
		out.Value, _ = m.d.s.unpack(r.val)
	}
	return out, true
}

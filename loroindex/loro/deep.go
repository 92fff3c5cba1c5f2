package loro

import (
	"encoding/hex"
	"slices"
	"strings"
)

// DeepValue returns the whole document as one map value: root name to value,
// child containers resolved in place, empty roots left out. A tree is a list of
// its root nodes in sibling order, each a map of children, fractional_index
// (upper-case hex), id, index, meta and parent, as Loro's toJSON has it.
// Containers of unsupported types are null. It is meant for tests and tools.
func (d *Doc) DeepValue() Value {
	var es []Entry
	for _, r := range d.s.roots {
		if v := d.s.deepMap(r.e, 0); v.Len() > 0 {
			es = append(es, Entry{r.name, v})
		}
	}
	for i, t := range d.s.trees {
		if t.id.Root {
			if v := d.s.deepTree(uint32(i+1), 0); v.Len() > 0 {
				es = append(es, Entry{t.id.Name, v})
			}
		}
	}
	return MapValue(es...)
}

// maxResolve bounds how deep containers in containers are followed; hostile
// documents can nest them without end.
const maxResolve = 4096

func (s *state) deepMap(e ent, depth int) Value {
	var es []Entry
	s.eachReg(s.nodes.at(e).rec, func(r register) bool {
		if !r.deleted {
			v, _ := s.unpack(r.val)
			es = append(es, Entry{s.keys.list[r.key], s.resolve(v, depth+1)})
		}
		return true
	})
	return MapValue(es...)
}

// resolve replaces container references in a value by what they hold.
func (s *state) resolve(v Value, depth int) Value {
	switch v.kind {
	case KindList:
		items := slices.Clone(v.c.list)
		for i := range items {
			items[i] = s.resolve(items[i], depth)
		}
		return Value{kind: KindList, c: &compound{list: items}}
	case KindMap:
		es := slices.Clone(v.c.entries)
		for i := range es {
			es[i].Value = s.resolve(es[i].Value, depth)
		}
		return Value{kind: KindMap, c: &compound{entries: es}}
	case KindContainer:
		if depth > maxResolve {
			return Null()
		}
		id := v.c.cid
		switch id.Type {
		case TypeMap:
			if id.Root {
				return Null()
			}
			if p, ok := s.peers.find(id.ID.Peer); ok {
				if e, ok := s.nodes.find(p, id.ID.Counter); ok {
					return s.deepMap(e, depth)
				}
			}
			return MapValue()
		case TypeTree:
			if t := s.treeIdx[id]; t != 0 {
				return s.deepTree(t, depth)
			}
			return List()
		}
		return Null()
	}
	return v
}

func (s *state) deepTree(t uint32, depth int) Value {
	return s.deepKids(t, atRoot, Null(), depth)
}

func (s *state) deepKids(t uint32, parent ent, parentID Value, depth int) Value {
	var out []Value
	if k := s.kidsOf(t, parent); k != nil && depth < maxResolve {
		k.each(func(e ent) bool {
			n := s.nodes.at(e)
			id := String(s.nodeID(e).String())
			meta := e
			if first, ok := s.nodes.find(n.peer, n.ctr); ok {
				meta = first
			}
			out = append(out, MapValue(
				Entry{"children", s.deepKids(t, e, id, depth+1)},
				Entry{"fractional_index", String(strings.ToUpper(hex.EncodeToString([]byte(s.pos.list[n.pos]))))},
				Entry{"id", id},
				Entry{"index", Int(int64(len(out)))},
				Entry{"meta", s.deepMap(meta, depth+1)},
				Entry{"parent", parentID},
			))
			return true
		})
	}
	return List(out...)
}

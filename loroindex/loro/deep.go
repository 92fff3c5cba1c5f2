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
	x := resolver{d.s, make(map[ContainerID]bool)}
	for _, id := range d.Roots() {
		var v Value
		switch id.Type {
		case TypeMap:
			v = x.deepMap(d.s.rootMapEnt(id.Name), 0)
		case TypeTree:
			v = x.deepTree(d.s.treeIdx[id], 0)
		}
		if v.Len() > 0 {
			es = append(es, Entry{id.Name, v})
		}
	}
	return MapValue(es...)
}

// maxResolve bounds how deep containers in containers are followed; hostile
// documents can nest them without end, even in a circle.
const maxResolve = 1024

type resolver struct {
	*state
	seen map[ContainerID]bool // each child container is shown once
}

func (x resolver) deepMap(e ent, depth int) Value {
	var es []Entry
	s := x.state
	s.eachReg(s.nodes.at(e).rec, func(r register) bool {
		if !r.deleted {
			v, _ := s.unpack(r.val)
			es = append(es, Entry{s.keys.list[r.key], v})
		}
		return true
	})
	// In order, so that it does not depend on the past which of two places shows
	// what is in both.
	slices.SortFunc(es, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	for i := range es {
		es[i].Value = x.resolve(es[i].Value, depth+1)
	}
	return MapValue(es...)
}

// resolve replaces container references in a value by what they hold.
func (x resolver) resolve(v Value, depth int) Value {
	switch v.kind {
	case KindList:
		items := slices.Clone(v.c.list)
		for i := range items {
			items[i] = x.resolve(items[i], depth)
		}
		return Value{kind: KindList, c: &compound{list: items}}
	case KindMap:
		es := slices.Clone(v.c.entries)
		for i := range es {
			es[i].Value = x.resolve(es[i].Value, depth)
		}
		return Value{kind: KindMap, c: &compound{entries: es}}
	case KindContainer:
		s := x.state
		id := v.c.cid
		if depth > maxResolve || x.seen[id] {
			return Null()
		}
		x.seen[id] = true
		switch id.Type {
		case TypeMap:
			if id.Root {
				return Null()
			}
			if p, ok := s.peers.find(id.ID.Peer); ok {
				if e, ok := s.nodes.find(p, id.ID.Counter); ok {
					return x.deepMap(e, depth)
				}
			}
			return MapValue()
		case TypeTree:
			if t := s.treeIdx[id]; t != 0 {
				return x.deepTree(t, depth)
			}
			return List()
		}
		return Null()
	}
	return v
}

func (x resolver) deepTree(t uint32, depth int) Value {
	return x.deepKids(t, atRoot, Null(), depth)
}

func (x resolver) deepKids(t uint32, parent ent, parentID Value, depth int) Value {
	var out []Value
	s := x.state
	if k := s.kidsOf(t, parent); k != nil && depth < maxResolve {
		k.each(func(e ent) bool {
			n := s.nodes.at(e)
			id := String(s.nodeID(e).String())
			meta := e
			if first, ok := s.nodes.find(n.peer, n.ctr); ok {
				meta = first
			}
			out = append(out, MapValue(
				Entry{"children", x.deepKids(t, e, id, depth+1)},
				Entry{"fractional_index", String(strings.ToUpper(hex.EncodeToString([]byte(s.pos.list[n.pos]))))},
				Entry{"id", id},
				Entry{"index", Int(int64(len(out)))},
				Entry{"meta", x.deepMap(meta, depth+1)},
				Entry{"parent", parentID},
			))
			return true
		})
	}
	return List(out...)
}

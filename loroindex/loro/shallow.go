package loro

import (
	"fmt"
	"slices"
)

// versionOf returns the version an operation is the only head of: it and
// everything it depends on.
func (d *Doc) versionOf(id ID) (VersionVector, error) {
	v := d.h.start.Clone()
	if d.IsShallow() {
		// Everything kept depends on the root.
		v.Merge(VersionVector{d.h.root[0].Peer: d.h.root[0].Counter + 1})
	}
	todo := []ID{id}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		from := v[id.Peer]
		if id.Counter < from {
			continue
		}
		v[id.Peer] = id.Counter + 1
		p, _ := d.s.peers.find(id.Peer)
		err := d.eachHead(p, from, id.Counter+1, func(c *blockChange) {
			if c.ctr < from {
				return
			}
			for _, dep := range c.deps {
				if !v.Includes(dep) {
					todo = append(todo, dep)
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

// eachHead calls f for the changes of a peer that intersect [from, to).
func (d *Doc) eachHead(p uint32, from, to int32, f func(*blockChange)) error {
	ph := &d.h.peers[p]
	var r blockReader
	for i, _ := ph.find(from); i < len(ph.blocks) && ph.blocks[i].ctr < to; i++ {
		raw, err := r.bytes(&ph.blocks[i])
		if err != nil {
			return err
		}
		b, err := decodeHead(raw)
		if err != nil {
			return err
		}
		for j := range b.changes {
			if c := &b.changes[j]; c.end > from && c.ctr < to {
				f(c)
			}
		}
	}
	if o := d.h.open; o != nil && p == d.self {
		for i := range o.changes {
			if c := o.change(o.changes[i].ctr); c.end > from && c.ctr < to {
				f(&c)
			}
		}
	}
	return nil
}

// checkCritical makes sure that every operation outside v, the version of root,
// depends on root.
func (d *Doc) checkCritical(root ID, v VersionVector) error {
	for i := range d.h.peers {
		p := uint32(i)
		id := d.s.peers.list[p]
		bad := false
		err := d.eachHead(p, v[id], d.h.peers[p].end, func(c *blockChange) {
			deps := depsOf(id, c.ctr, c.self, c.deps)
			if c.ctr < v[id] {
				deps = []ID{{id, v[id] - 1}} // the part of the change that is outside
			}
			bad = bad || !slices.ContainsFunc(deps, func(dep ID) bool { return dep == root || !v.Includes(dep) })
		})
		if err != nil {
			return err
		}
		if bad {
			return fmt.Errorf("%w: operations of peer %v were made without knowing %v", ErrShallowFrontiers, id, root)
		}
	}
	return nil
}

// stateAt computes the state at an older version by replaying the history up to
// it.
func (d *Doc) stateAt(v VersionVector) (*state, error) {
	s := newState()
	var root *ID
	if d.IsShallow() {
		root = &d.h.root[0]
		if err := s.load(sections{root: d.h.rootState, state: []byte(stateOmitted)}); err != nil {
			return nil, err
		}
	}
	var ops []treeOp
	later := make(map[ContainerID]bool) // unsupported containers changed after v
	for _, p := range d.peersByID() {
		id := d.s.peers.list[p]
		err := d.eachBlock(p, 0, d.h.peers[p].end, func(b *changeBlock) error {
			ops = s.replayBlock(b, root, v[id], ops)
			if b.end > v[id] {
				b.othersFrom(v[id], later)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	s.sortOps(ops)
	s.execute(ops)
	// The state of an unsupported container is known at v if it is known now
	// and nothing happened to it since.
	s.others = nil
	for id, o := range d.s.others {
		if o.dirty || later[id] {
			return nil, fmt.Errorf("%w: %v", ErrUnsupportedContainer, id)
		}
		s.other(id).state = o.state
	}
	return s, nil
}

// othersFrom adds the unsupported containers that operations from a counter on
// are on.
func (b *changeBlock) othersFrom(from int32, into map[ContainerID]bool) {
	it := b.rows()
	var r row
	for it.next(&r) {
		if c := b.cids[r.cid]; r.ctr+r.n > from && c.kind != TypeMap && c.kind != TypeTree {
			into[b.id(c)] = true
		}
	}
}

// supported fails if the state of some container is not known.
func (d *Doc) supported() error {
	for id, o := range d.s.others {
		if o.dirty {
			return fmt.Errorf("%w: %v", ErrUnsupportedContainer, id)
		}
	}
	return nil
}

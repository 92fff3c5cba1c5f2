package loro

import (
	"errors"
	"fmt"
	"iter"
	"math"
)

// Change describes one change: the operations of one commit, or of several that
// were merged. Replicas may divide the same operations into changes differently.
type Change struct {
	ID        ID // of its first operation
	Len       int32
	Lamport   uint32 // of its first operation
	Timestamp int64  // seconds since 1970, 0 when not recorded
	Message   string
	Deps      []ID // what its first operation depends on, sorted
}

// ChangeOf returns the change an operation is part of.
//
// Errors: ErrUnknownRange.
func (d *Doc) ChangeOf(id ID) (Change, error) {
	p, ok := d.s.peers.find(id.Peer)
	if !ok {
		return Change{}, fmt.Errorf("%w: %v", ErrUnknownRange, id)
	}
	c, err := d.lookup(p, id.Counter)
	if err != nil {
		return Change{}, fmt.Errorf("%w: %v", err, id)
	}
	return c.public(id.Peer), nil
}

func (c *blockChange) public(p PeerID) Change {
	return Change{
		ID: ID{p, c.ctr}, Len: c.end - c.ctr, Lamport: c.lam, Timestamp: c.ts, Message: string(c.msg),
		Deps: depsOf(p, c.ctr, c.self, c.deps),
	}
}

// Op is one operation of the history.
type Op struct {
	ID        ID
	Len       int32 // number of counters; 1 for every Map and Tree operation
	Lamport   uint32
	Deps      []ID // of the first operation of a change its dependencies, else its predecessor
	Timestamp int64
	Message   string
	Container ContainerID
	Kind      OpKind
	Key       string // of a map operation
	Value     Value  // of OpMapSet
	Node      TreeID // target of a tree operation
	Parent    TreeID // of OpTreeCreate and OpTreeMove
	Position  []byte // fractional index of OpTreeCreate and OpTreeMove
}

// OpKind is what an operation does.
type OpKind uint8

// The operations. OpOther stands for those of unsupported containers.
const (
	OpMapSet OpKind = iota
	OpMapDelete
	OpTreeCreate
	OpTreeMove
	OpTreeDelete
	OpOther
)

// Ops iterates over the history: by peer, then counter. It stops after an error.
func (d *Doc) Ops() iter.Seq2[Op, error] {
	return func(yield func(Op, error) bool) {
		for _, p := range d.peersByID() {
			err := d.eachBlock(p, 0, math.MaxInt32, func(b *changeBlock) error { return b.ops(yield) })
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				yield(Op{}, err)
				return
			}
		}
	}
}

var errStop = errors.New("iteration stopped")

// ops yields the operations of one block.
func (b *changeBlock) ops(yield func(Op, error) bool) error {
	peer := b.peer()
	// Values are unpacked by way of scratch tables, so that reading the
	// history changes nothing.
	s := newState()
	t := s.tables(b)
	it := b.rows()
	var r row
	for it.next(&r) {
		c := &b.changes[r.change]
		op := Op{
			ID: ID{peer, r.ctr}, Len: r.n, Lamport: c.lam + uint32(r.ctr-c.ctr), Timestamp: c.ts, Message: string(c.msg),
			Container: b.id(b.cids[r.cid]), Kind: OpOther,
		}
		if r.ctr == c.ctr {
			op.Deps = depsOf(peer, c.ctr, c.self, c.deps)
		} else {
			op.Deps = []ID{{peer, r.ctr - 1}}
		}
		switch op.Container.Type {
		case TypeMap:
			op.Key = string(b.keys[r.prop])
			op.Kind = OpMapDelete
			if r.tag != tagDeleteOnce {
				op.Kind = OpMapSet
				packed := s.pk.nested(nil, &cursor{b: r.val}, t.keys, packID{peer: s.peers.intern(peer), ctr: r.ctr, top: true})
				op.Value, _ = s.unpack(packed)
			}
		case TypeTree:
			op.Node = TreeID(r.tree.target)
			switch {
			case r.tree.trash():
				op.Kind = OpTreeDelete
			case op.Node == TreeID(op.ID):
				op.Kind = OpTreeCreate
			default:
				op.Kind = OpTreeMove
			}
			if op.Kind != OpTreeDelete {
				op.Position = []byte(b.positions[r.tree.pos])
				op.Parent = TreeRoot
				if !r.tree.root {
					op.Parent = TreeID(r.tree.parent)
				}
			}
		}
		if !yield(op, nil) {
			return errStop
		}
	}
	return it.err
}

// Changes iterates over the changes: by peer, then counter. It stops after an
// error.
func (d *Doc) Changes() iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for _, p := range d.peersByID() {
			err := d.eachBlock(p, 0, math.MaxInt32, func(b *changeBlock) error {
				for i := range b.changes {
					if !yield(b.changes[i].public(b.peer()), nil) {
						return errStop
					}
				}
				return nil
			})
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				yield(Change{}, err)
				return
			}
		}
	}
}

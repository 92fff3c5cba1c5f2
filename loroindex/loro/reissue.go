package loro

import (
	"errors"
	"fmt"
	"iter"
	"math"
)

// UpdateOps iterates over the operations of an update (mode 4), in their order, without a document: those
// that they depend on need not be known. It stops after an error.
//
// Errors: ErrInvalid (ErrChecksum, ErrUnsupportedMode).
func UpdateOps(blob []byte) iter.Seq2[Op, error] {
	return func(yield func(Op, error) bool) {
		mode, body, err := openEnvelope(blob)
		if err == nil && mode != ModeUpdates {
			err = fmt.Errorf("%w: %d where updates are wanted", ErrUnsupportedMode, mode)
		}
		if err != nil {
			yield(Op{}, err)
			return
		}
		for c := (cursor{b: body}); len(c.b) > 0; {
			raw := c.bytes()
			err := c.err
			var b *changeBlock
			if err == nil {
				b, err = decodeBlock(raw)
			}
			if err == nil {
				err = b.ops(yield)
			}
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

// EncodeUpdate returns an update (mode 4) of operations that peer makes from counter start on, one counter
// each: what others made and could not be used is made again by one who made nothing else. ID and
// Len of ops count for nothing. Deps that are not the operation before alone begin a
// change. Lamport is the least that is written: what a document goes by is what it reckons from the
// dependencies, when it imports the update.
//
// Errors: ErrValue for an operation that is none of a Map or a Tree, or sets a container; ErrLimit.
func EncodeUpdate(peer PeerID, start int32, ops []Op) ([]byte, error) {
	if start < 0 || int64(start)+int64(len(ops)) >= math.MaxInt32 {
		return nil, ErrLimit
	}
	out := newEnvelope(ModeUpdates, 512)
	s := newState() // its tables, by way of which values are written
	var w *blockWriter
	lam := uint64(0)
	for i := range ops {
		op := &ops[i]
		ctr := start + int32(i)
		if w != nil && (w.size >= targetBlockSize || len(w.vals) >= 4*targetBlockSize) {
			out = appendBytes(out, w.finish())
			w = nil
		}
		if w == nil {
			w = newBlockWriter(peer, ctr)
		}
		if lam = max(lam, uint64(op.Lamport)); lam >= maxLamport {
			return nil, ErrLimit
		}
		c := outChange{n: 1, lam: uint32(lam), ts: op.Timestamp, msg: op.Message}
		lam++
		for _, dep := range op.Deps {
			if before := (ID{peer, ctr - 1}); dep == before {
				c.self = true
			} else {
				c.deps = append(c.deps, dep)
			}
		}
		w.change(c)
		if err := w.op(s, op, ID{peer, ctr}); err != nil {
			return nil, err
		}
	}
	if w != nil {
		out = appendBytes(out, w.finish())
	}
	return sealEnvelope(out), nil
}

// op writes an operation, which is made as id.
func (w *blockWriter) op(s *state, op *Op, id ID) error {
	kind := TypeTree
	if op.Kind == OpMapSet || op.Kind == OpMapDelete {
		kind = TypeMap
	}
	if op.Kind == OpOther || op.Container.Type != kind {
		return fmt.Errorf("%w: an operation on a %v cannot be made again", ErrValue, op.Container.Type)
	}
	cid := w.cid(op.Container)
	switch op.Kind {
	case OpMapSet:
		if err := op.Value.check(0); err != nil {
			return err
		}
		key, at := w.key(op.Key), len(w.vals)
		w.vals, _ = s.appendNested(w.vals, s.pk.value(nil, op.Value), func(k uint32) uint32 { return w.key(s.keys.list[k]) })
		w.mapSet(cid, key, at)
	case OpMapDelete:
		w.mapDelete(cid, w.key(op.Key))
	case OpTreeDelete:
		w.treeMove(cid, ID(op.Node), ID{maxPeer, trashCounter}, false, "")
	case OpTreeCreate:
		w.treeMove(cid, id, ID(op.Parent), op.Parent == TreeRoot, string(op.Position))
	default:
		w.treeMove(cid, ID(op.Node), ID(op.Parent), op.Parent == TreeRoot, string(op.Position))
	}
	return nil
}

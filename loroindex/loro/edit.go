package loro

import (
	"bytes"
	"fmt"
	"math"
)

// openTxn is the transaction edits go to. Its operations are in the state
// already; Commit moves them into the history.
type openTxn struct {
	ops  []localOp
	vals []byte
	ctr  int32  // counter of the first operation
	lam  uint32 // Lamport time of the first operation
}

// begin makes room for one operation and returns its counter and Lamport time.
func (d *Doc) begin() (ctr int32, lam uint32, err error) {
	if d.broken != nil {
		return 0, 0, d.broken
	}
	if d.peer == maxPeer {
		return 0, 0, fmt.Errorf("%w: peer id %v is reserved, no operation may be made under it", ErrValue, d.peer)
	}
	t := &d.txn
	if len(t.ops) == 0 {
		next := d.nextLamport()
		if next >= maxLamport {
			return 0, 0, ErrLimit
		}
		t.ctr, t.lam = d.h.end(d.self), uint32(next)
		t.vals = t.vals[:0]
	}
	n := int64(len(t.ops))
	if int64(t.ctr)+n >= math.MaxInt32-1 || int64(t.lam)+n >= maxLamport {
		return 0, 0, ErrLimit
	}
	return t.ctr + int32(n), t.lam + uint32(n), nil
}

// record adds the operation begun last. val is a packed value.
func (t *openTxn) record(op localOp, val []byte) {
	t.vals = append(t.vals, val...)
	op.val = len(t.vals)
	t.ops = append(t.ops, op)
}

// Commit closes the open transaction: the edits since the last commit become
// history, and their span is returned. Without edits it returns false. It costs
// microseconds, does no I/O, and the same edits give the same bytes.
func (d *Doc) Commit() (IDSpan, bool) {
	t := &d.txn
	if len(t.ops) == 0 {
		return IDSpan{}, false
	}
	var ts int64
	if d.now != nil {
		ts = d.now().Unix()
	}
	h := &d.h
	ph := &h.peers[d.self]
	_, self := h.heads[d.self]
	var deps []ID
	for p := range h.heads {
		if p != d.self {
			deps = append(deps, ID{d.s.peers.list[p], h.peers[p].end - 1})
		}
	}
	deps = sortedIDs(deps)
	for done := 0; done < len(t.ops); {
		if h.open == nil {
			h.open = &openBlock{ctr: ph.end}
		}
		o := h.open
		first := done == 0
		lam := t.lam + uint32(done)
		if !o.mergeable(first, self && len(deps) == 0, d.message, ts) {
			c := openChange{ctr: ph.end, end: ph.end, lam: lam, ts: ts, msg: d.message, self: self || !first}
			if first {
				c.deps = deps
			}
			o.changes = append(o.changes, c)
			o.size += 8 + len(d.message) + 8*len(deps)
		}
		n := o.take(t, done)
		c := &o.changes[len(o.changes)-1]
		c.end += int32(n)
		done += n
		h.advance(d.self, ph.end+int32(n), lam+uint32(n)-1, deps, &d.s.peers)
		ph = &h.peers[d.self]
		if o.size >= targetBlockSize || len(o.vals) >= 4*targetBlockSize {
			d.seal()
		}
	}
	span := IDSpan{d.peer, t.ctr, ph.end}
	d.txn = openTxn{}
	if cap(t.ops) <= 256 {
		d.txn.ops, d.txn.vals = t.ops[:0], t.vals[:0]
	}
	d.s.compact()
	return span, true
}

// mergeable reports whether operations may continue the block's last change.
func (o *openBlock) mergeable(first, onlySelf bool, msg string, ts int64) bool {
	if len(o.changes) == 0 {
		return false
	}
	last := &o.changes[len(o.changes)-1]
	return (!first || onlySelf) && last.msg == msg && ts-last.ts <= mergeInterval
}

// take moves operations of the transaction from index at on into the block,
// as many as it has room for, at least one.
func (o *openBlock) take(t *openTxn, at int) int {
	from := 0
	if at > 0 {
		from = t.ops[at-1].val
	}
	shift := len(o.vals) - from
	n := 0
	for at+n < len(t.ops) && (n == 0 || o.size < targetBlockSize && len(o.vals) < 4*targetBlockSize) {
		op := t.ops[at+n]
		start := op.val
		o.vals = append(o.vals, t.vals[from:op.val]...)
		from = start
		op.val += shift
		o.ops = append(o.ops, op)
		if op.kind == OpMapSet || op.kind == OpMapDelete {
			o.size += mapOpSize
		} else {
			o.size += treeOpSize
		}
		n++
	}
	return n
}

// setKey writes a packed value, nil to delete, to a key of a map.
func (d *Doc) setKey(e ent, key uint32, val []byte) error {
	n := d.s.nodes.at(e)
	if old, ok := d.s.findReg(n.rec, key); ok && old.deleted == (val == nil) && bytes.Equal(old.val, val) || !ok && val == nil {
		return nil
	}
	_, lam, err := d.begin()
	if err != nil {
		return err
	}
	op := localOp{kind: OpMapSet, on: e, key: key}
	if val == nil {
		op.kind = OpMapDelete
	}
	d.txn.record(op, val)
	d.s.setReg(e, register{key: key, peer: d.self, lam: lam, deleted: val == nil, val: val})
	return nil
}

// moveNode records and executes a tree operation.
func (d *Doc) moveNode(kind OpKind, tree uint32, target, parent ent) error {
	ctr, lam, err := d.begin()
	if err != nil {
		return err
	}
	d.txn.record(localOp{kind: kind, on: tree, target: target, parent: parent}, nil)
	d.s.do(treeOp{lam: lam, peer: d.self, ctr: ctr, target: target, parent: parent})
	return nil
}

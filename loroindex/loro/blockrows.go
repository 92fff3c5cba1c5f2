package loro

import (
	"math"
	"unicode/utf8"
)

// row is one operation of a block.
type row struct {
	ctr    int32
	n      int32 // counters it takes
	change int   // index into changes
	cid    uint32
	prop   int32
	tag    byte
	val    []byte // payload in the values section, of a map set tag 11 the nested value
	tree   treeRow
	del    delRow // of tagDeleteSeq on a known container
}

type treeRow struct {
	target, parent ID
	pos            uint32
	root           bool // no parent: the tree's root
}

func (t *treeRow) trash() bool {
	return !t.root && t.parent == ID{maxPeer, trashCounter}
}

type delRow struct {
	id ID
	n  int64
}

// rowIter iterates over a block's operations.
type rowIter struct {
	b                  *changeBlock
	cid, prop          deltaRle
	tag, length        anyRle
	delPeer, delC, del deltaRle
	vals               cursor
	ctr                int32
	change             int
	err                error
}

func (b *changeBlock) rows() rowIter {
	return rowIter{
		b:       b,
		cid:     deltaRle{c: cursor{b: b.opsCols[0]}},
		prop:    deltaRle{c: cursor{b: b.opsCols[1]}},
		tag:     anyRle{c: cursor{b: b.opsCols[2]}},
		length:  anyRle{c: cursor{b: b.opsCols[3]}},
		delPeer: deltaRle{c: cursor{b: b.delCols[0]}},
		delC:    deltaRle{c: cursor{b: b.delCols[1]}},
		del:     deltaRle{c: cursor{b: b.delCols[2]}},
		vals:    cursor{b: b.values},
		ctr:     b.ctr,
	}
}

func (it *rowIter) fail(what string) bool {
	if it.err == nil {
		it.err = invalidf("change block: %s", what)
	}
	return false
}

// next reads the next operation. It returns false at the end and on error.
func (it *rowIter) next(r *row) bool {
	b := it.b
	if it.err != nil || it.ctr >= b.end {
		return false
	}
	for it.ctr >= b.changes[it.change].end {
		it.change++
	}
	cid, ok1 := it.cid.take()
	prop, ok2 := it.prop.take()
	tag, ok3 := it.tag.take()
	n, ok4 := it.length.take()
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return it.fail("operation columns are truncated")
	}
	if uint64(cid) >= uint64(len(b.cids)) || prop < math.MinInt32 || prop > math.MaxInt32 || tag > 255 {
		return it.fail("operation column out of range")
	}
	if n == 0 || n > uint64(b.changes[it.change].end-it.ctr) {
		return it.fail("operation length crosses its change")
	}
	r.ctr, r.n, r.change, r.cid, r.prop, r.tag = it.ctr, int32(n), it.change, uint32(cid), int32(prop), byte(tag)
	it.ctr += int32(n)
	start := it.vals.b
	if r.tag == tagRawTreeMove {
		it.tree(r)
	} else {
		it.skip(r)
	}
	if it.vals.err != nil && it.err == nil {
		it.err = it.vals.err
	}
	if it.err != nil {
		return false
	}
	r.val = start[:len(start)-len(it.vals.b)]
	return it.checkKind(r)
}

// maxPosition is where positions in texts and lists end for the official library. Whether
// a smaller one is in the sequence only its state can tell, which is not kept here.
const maxPosition = 1 << 30

// sequencePosition reports whether an operation of a sequence says in prop where it is.
func sequencePosition(tag byte) bool {
	switch tag {
	case tagLoroValue, tagStr, tagDeleteSeq, tagMarkStart, tagListMove:
		return true
	}
	return false
}

// checkKind rejects operations that do not fit their container.
func (it *rowIter) checkKind(r *row) bool {
	b := it.b
	known := false
	switch kind := b.cids[r.cid].kind; kind {
	case TypeMap:
		if r.prop < 0 || int(r.prop) >= len(b.keys) {
			return it.fail("map key out of range")
		}
		known = r.tag == tagLoroValue || r.tag == tagDeleteOnce
	case TypeTree:
		known = r.tag == tagRawTreeMove
	case TypeList:
		known = r.tag == tagLoroValue || r.tag == tagDeleteSeq
	case TypeText:
		known = r.tag == tagStr || r.tag == tagDeleteSeq || r.tag == tagMarkStart || r.tag == tagNull
	case TypeMovableList:
		known = r.tag == tagLoroValue || r.tag == tagDeleteSeq || r.tag == tagListMove || r.tag == tagListSet
	case TypeCounter:
		known = r.tag == tagI64 || r.tag == tagF64
	default:
		return true // an unknown kind's operations are opaque
	}
	if !known {
		return it.fail("operation does not fit its container")
	}
	if sequencePosition(r.tag) && b.cids[r.cid].kind != TypeMap && (r.prop < 0 || r.prop >= maxPosition) {
		return it.fail("sequence position out of range")
	}
	if r.n != 1 && (r.tag == tagRawTreeMove || b.cids[r.cid].kind == TypeMap) {
		return it.fail("map or tree operation of length other than one")
	}
	return true
}

func (it *rowIter) tree(r *row) {
	c, b := &it.vals, it.b
	peer, ctr, pos, null := c.uvarint(), c.uvarint(), c.uvarint(), c.byte()
	t := &r.tree
	*t = treeRow{root: null != 0}
	if c.err != nil {
		return
	}
	if peer >= uint64(len(b.peers)) || ctr >= math.MaxInt32 {
		c.fail("change block: tree target out of range")
		return
	}
	t.target = ID{b.peers[peer], int32(ctr)}
	if null == 0 {
		peer, ctr := c.uvarint(), c.uvarint()
		if c.err == nil && (peer >= uint64(len(b.peers)) || ctr > math.MaxInt32) {
			c.fail("change block: tree parent out of range")
		}
		if c.err != nil {
			return
		}
		t.parent = ID{b.peers[peer], int32(ctr)}
	}
	if t.trash() {
		return
	}
	if t.parent.Counter == trashCounter {
		c.fail("change block: tree parent out of range")
		return
	}
	if pos >= uint64(len(b.positions)) {
		c.fail("change block: tree position out of range")
		return
	}
	t.pos = uint32(pos)
}

// skip steps over a payload that is not a tree move, validating it.
func (it *rowIter) skip(r *row) {
	c, b := &it.vals, it.b
	tag := r.tag
	if tag&0x80 != 0 && tag&0x7f <= tagRawTreeMove {
		// The format lets bit 7 be set on known tags too; no writer does.
		c.fail("change block: non-canonical value tag")
		return
	}
	switch tag {
	case tagNull, tagTrue, tagFalse, tagDeleteOnce:
	case tagDeleteSeq:
		if b.cids[r.cid].kind > TypeCounter {
			return
		}
		peer, ok1 := it.delPeer.take()
		ctr, ok2 := it.delC.take()
		n, ok3 := it.del.take()
		if !ok1 || !ok2 || !ok3 || uint64(peer) >= uint64(len(b.peers)) || ctr < 0 || ctr > math.MaxInt32 ||
			n != int64(r.n) && n != -int64(r.n) {
			it.fail("delete range out of range")
			return
		}
		r.del = delRow{ID{b.peers[peer], int32(ctr)}, n}
	case tagI64, tagDeltaInt:
		c.sleb()
	case tagF64:
		c.take(8)
	case tagStr:
		s := c.text()
		if c.err == nil && b.cids[r.cid].kind == TypeText && utf8.RuneCount(s) != int(r.n) {
			c.fail("change block: text length differs from the operation's")
		}
	case tagBinary:
		c.bytes()
	case tagContainer:
		c.uvarint()
	case tagLoroValue:
		probe := *c
		if list := probe.byte() == nestedList; list || b.cids[r.cid].kind != TypeMap {
			n := probe.uvarint()
			k := b.cids[r.cid].kind
			if (k == TypeList || k == TypeMovableList) && (!list || n != uint64(r.n)) {
				c.fail("change block: list length differs from the operation's")
				return
			}
			// Containers directly in a list are named by counting on.
			if list && n > uint64(math.MaxInt32-r.ctr) {
				c.fail("change block: list too long for its counter")
				return
			}
		}
		skipNested(c, len(b.keys), 0)
	case tagMarkStart:
		c.byte()
		if n := c.uvarint(); c.err == nil && uint64(max(r.prop, 0))+n >= maxPosition {
			c.fail("change block: style range out of range")
		}
		if k := c.uvarint(); c.err == nil && k >= uint64(len(b.keys)) {
			c.fail("change block: style key out of range")
		}
		skipNested(c, len(b.keys), 0)
	case tagListMove:
		if from := c.uvarint(); c.err == nil && from >= maxPosition {
			c.fail("change block: list position out of range")
		}
		it.elem(c)
	case tagListSet:
		it.elem(c)
		skipNested(c, len(b.keys), 0)
	case tagTreeMove:
		c.fail("change block: obsolete tree operation")
	default: // an opaque value of a kind yet unknown
		c.bytes()
	}
}

func (it *rowIter) elem(c *cursor) {
	peer := c.uvarint()
	if c.err == nil && peer >= uint64(len(it.b.peers)) {
		c.fail("change block: list element out of range")
	}
	c.u32()
}

// skipNested steps over a nested value, validating it.
func skipNested(c *cursor, keys, depth int) {
	if depth > MaxDepth {
		c.fail("value is nested too deeply")
		return
	}
	switch c.byte() {
	case nestedNull, nestedTrue, nestedFalse:
	case nestedI64:
		c.sleb()
	case nestedF64:
		c.take(8)
	case nestedString:
		c.text()
	case nestedBinary:
		c.bytes()
	case nestedList:
		for n := c.count(1); n > 0 && c.err == nil; n-- {
			skipNested(c, keys, depth+1)
		}
	case nestedMap:
		for n := c.count(2); n > 0 && c.err == nil; n-- {
			if k := c.uvarint(); k >= uint64(keys) {
				c.fail("value: map key out of range")
			}
			skipNested(c, keys, depth+1)
		}
	case nestedContainer:
		c.byte()
	default:
		c.fail("value: unknown tag")
	}
}

// validateRows checks every operation and that all columns end together.
func (b *changeBlock) validateRows() error {
	// Run-length columns can claim any number of operations without payload
	// (map deletions). Real ones name distinct keys, so they stay far below this.
	limit := 4096 + 16*len(b.raw)
	it := b.rows()
	var r row
	for n := 0; it.next(&r); n++ {
		if n >= limit {
			return invalidf("change block: more operations than its size allows")
		}
		if r.tag == tagRawTreeMove {
			c := &b.changes[r.change]
			b.lastTree = treeKey{c.lam + uint32(r.ctr-c.ctr), b.peers[0], r.ctr, true}
		}
	}
	if it.err != nil {
		return it.err
	}
	if it.ctr != b.end || !it.cid.exhausted() || !it.prop.exhausted() || !it.tag.exhausted() || !it.length.exhausted() {
		return invalidf("change block: operations do not fill the block")
	}
	if !it.delPeer.exhausted() || !it.delC.exhausted() || !it.del.exhausted() {
		return invalidf("change block: unused delete ranges")
	}
	return it.vals.done("change block values")
}

package loro

import (
	"math"
	"unicode/utf8"
)

// A change block holds consecutive changes of one peer, docs/encoding.md
// sections 7 to 10. It is the unit history is stored and exchanged in.

// Payload tags of the value_type column.
const (
	tagNull        = 0
	tagTrue        = 1
	tagFalse       = 2
	tagI64         = 3
	tagF64         = 4
	tagStr         = 5
	tagBinary      = 6
	tagContainer   = 7
	tagDeleteOnce  = 8
	tagDeleteSeq   = 9
	tagDeltaInt    = 10
	tagLoroValue   = 11
	tagMarkStart   = 12
	tagTreeMove    = 13
	tagListMove    = 14
	tagListSet     = 15
	tagRawTreeMove = 16
)

// Tags of a LoroValue nested in an operation.
const (
	nestedNull      = 0
	nestedTrue      = 1
	nestedFalse     = 2
	nestedI64       = 3
	nestedF64       = 4
	nestedString    = 5
	nestedBinary    = 6
	nestedList      = 7
	nestedMap       = 8
	nestedContainer = 9
)

// trashCounter, with maxPeer, names the parent of deleted tree nodes.
const trashCounter = math.MaxInt32

// changeBlock is a decoded block. Byte slices alias the raw bytes.
type changeBlock struct {
	raw       []byte
	ctr, end  int32 // counters [ctr, end)
	lam       uint32
	lamEnd    uint32 // lamport after the last operation
	peers     []PeerID
	changes   []blockChange
	cids      []blockCID
	keys      [][]byte
	positions []string
	opsCols   [4][]byte
	delCols   [3][]byte
	values    []byte
	lastTree  treeKey      // of the last tree operation, from validateRows
	kept      *changeBlock // the same with bytes of its own, see keep
}

// blockChange is the head of one change in a block.
type blockChange struct {
	ctr, end int32
	lam      uint32
	ts       int64
	msg      []byte
	self     bool // depends on the peer's previous operation
	deps     []ID // others
}

// blockCID is a container in a block's registry.
type blockCID struct {
	root bool
	kind ContainerType
	key  uint32 // key index of a root's name
	peer PeerID
	ctr  int32
}

func (b *changeBlock) peer() PeerID { return b.peers[0] }

// id names the container; name is copied.
func (b *changeBlock) id(c blockCID) ContainerID {
	if c.root {
		return RootID(string(b.keys[c.key]), c.kind)
	}
	return ChildID(ID{c.peer, c.ctr}, c.kind)
}

// blockPrefix reads the five integers a block begins with.
func blockPrefix(c *cursor) (ctr, end int32, lam, lamEnd uint32, n uint32) {
	start, length := c.u32(), c.u32()
	lam, lamLen, n := c.u32(), c.u32(), c.u32()
	if c.err == nil && (uint64(start)+uint64(length) > math.MaxInt32 || length == 0 || n == 0 || n > length) {
		c.fail("change block: counters out of range")
	}
	if c.err == nil && uint64(lam)+uint64(lamLen) > math.MaxUint32 {
		c.fail("change block: lamports out of range")
	}
	if c.err != nil {
		return 0, 0, 0, 0, 0
	}
	return int32(start), int32(start + length), lam, lam + lamLen, n
}

// decodeHead decodes what describes the changes but not their operations.
func decodeHead(raw []byte) (*changeBlock, error) {
	b := &changeBlock{raw: raw}
	_, err := b.head(raw)
	return b, err
}

type blockSections struct {
	cids, keys, positions, ops, dels, values []byte
}

func (b *changeBlock) head(raw []byte) (s blockSections, err error) {
	c := cursor{b: raw}
	var n uint32
	b.ctr, b.end, b.lam, b.lamEnd, n = blockPrefix(&c)
	header, meta := c.bytes(), c.bytes()
	s.cids, s.keys, s.positions, s.ops, s.dels, s.values = c.bytes(), c.bytes(), c.bytes(), c.bytes(), c.bytes(), c.bytes()
	if err := c.done("change block"); err != nil {
		return s, err
	}
	if err := b.decodeHeader(header, int(n)); err != nil {
		return s, err
	}
	return s, b.decodeMeta(meta)
}

func (b *changeBlock) decodeHeader(raw []byte, n int) error {
	c := cursor{b: raw}
	if b.peers = readPeerTable(&c); len(b.peers) == 0 {
		c.fail("change block: no peers")
		return c.err
	}
	// Each change but the last costs at least a byte here.
	if n-1 > len(c.b) {
		return invalidf("change block: more changes than bytes")
	}
	b.changes = make([]blockChange, n)
	at := b.ctr
	for i := range b.changes {
		ch := &b.changes[i]
		length := b.end - at
		if i < n-1 {
			length = c.counter()
		}
		if c.err != nil || length <= 0 || length > b.end-at {
			return invalidf("change block: change lengths exceed the block")
		}
		ch.ctr, ch.end = at, at+length
		at += length
	}
	if at != b.end {
		return invalidf("change block: change lengths do not fill the block")
	}
	self := boolRle{c: c}
	for i := range b.changes {
		v, ok := self.take()
		if !ok || v && b.changes[i].ctr == 0 {
			return invalidf("change block: bad self dependency")
		}
		b.changes[i].self = v
	}
	if self.left != 0 {
		return invalidf("change block: too many self dependency flags")
	}
	counts := anyRle{c: self.c}
	total := uint64(0)
	each := make([]uint32, n)
	for i := range each {
		v, ok := counts.take()
		if !ok || v > uint64(len(raw)) {
			return invalidf("change block: bad dependency count")
		}
		each[i] = uint32(v)
		total += v
	}
	// A dependency can cost as little as a bit (its peer in a run, its counter
	// at a constant distance), but must differ from the others of its change
	// by peer, and nobody has that many.
	if counts.left != 0 || total > uint64(len(b.peers))*uint64(n) || total > uint64(1<<20+len(raw)) {
		return invalidf("change block: too many dependencies")
	}
	deps := make([]ID, total)
	peers := anyRle{c: counts.c}
	for i := range deps {
		v, ok := peers.take()
		if !ok || v >= uint64(len(b.peers)) {
			return invalidf("change block: bad dependency peer")
		}
		deps[i].Peer = b.peers[v]
	}
	if peers.left != 0 {
		return invalidf("change block: too many dependency peers")
	}
	c = peers.c
	for i, v := range takeDeltaOfDelta(&c, len(deps)) {
		if v < 0 || v >= math.MaxInt32 {
			return invalidf("change block: dependency counter out of range")
		}
		deps[i].Counter = int32(v)
	}
	lams := takeDeltaOfDelta(&c, n-1)
	if err := c.done("change block header"); err != nil {
		return err
	}
	for i := range b.changes {
		ch := &b.changes[i]
		ch.deps, deps = deps[:each[i]:each[i]], deps[each[i]:]
		lam := int64(b.lamEnd) - int64(ch.end-ch.ctr)
		if i < n-1 {
			lam = lams[i]
		}
		if lam < 0 || lam+int64(ch.end-ch.ctr) > math.MaxUint32 || i == 0 && lam != int64(b.lam) ||
			i > 0 && lam < int64(b.changes[i-1].lam)+int64(b.changes[i-1].end-b.changes[i-1].ctr) {
			return invalidf("change block: change lamports out of order")
		}
		ch.lam = uint32(lam)
	}
	return nil
}

func (b *changeBlock) decodeMeta(raw []byte) error {
	c := cursor{b: raw}
	for i, ts := range takeDeltaOfDelta(&c, len(b.changes)) {
		b.changes[i].ts = ts
	}
	if c.err != nil {
		return c.err
	}
	lens := anyRle{c: c}
	sizes := make([]uint32, len(b.changes))
	for i := range sizes {
		v, ok := lens.take()
		if !ok || v > uint64(len(raw)) {
			return invalidf("change block: bad commit message length")
		}
		sizes[i] = uint32(v)
	}
	if lens.left != 0 {
		return invalidf("change block: too many commit message lengths")
	}
	c = lens.c
	for i, n := range sizes {
		if n == 0 {
			continue
		}
		b.changes[i].msg = c.take(uint64(n))
		if !utf8.Valid(b.changes[i].msg) {
			return invalidf("change block: commit message is not UTF-8")
		}
	}
	return c.done("change block metadata")
}

// decodeBlock decodes and validates a whole block. Operations are then read
// with rows, which cannot fail any more.
func decodeBlock(raw []byte) (*changeBlock, error) {
	b, err := decodeBlockTables(raw)
	if err != nil {
		return nil, err
	}
	return b, b.validateRows()
}

// decodeBlockTables decodes everything but the operation rows.
func decodeBlockTables(raw []byte) (*changeBlock, error) {
	b := &changeBlock{raw: raw}
	s, err := b.head(raw)
	if err != nil {
		return nil, err
	}
	for c := (cursor{b: s.keys}); len(c.b) > 0; {
		b.keys = append(b.keys, c.text())
		// Distinct keys take some bytes each; a list of empty ones would
		// take up much more memory than it has bytes.
		if len(b.keys) > 1<<16+len(s.keys)/4 {
			c.fail("change block: too many keys")
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	if err := b.decodeCIDs(s.cids); err != nil {
		return nil, err
	}
	if len(s.positions) > 0 {
		if b.positions, err = readPositions(s.positions); err != nil {
			return nil, err
		}
	}
	if err := columns(s.ops, b.opsCols[:]); err != nil {
		return nil, err
	}
	if len(s.dels) > 0 {
		if err := columns(s.dels, b.delCols[:]); err != nil {
			return nil, err
		}
	}
	b.values = s.values
	return b, nil
}

// columns splits a columnar struct of one nested vector into its columns.
func columns(raw []byte, into [][]byte) error {
	c := cursor{b: raw}
	if c.uvarint() != 1 || c.uvarint() != uint64(len(into)) {
		c.fail("columnar data: unexpected shape")
	}
	for i := range into {
		into[i] = c.bytes()
	}
	return c.done("columnar data")
}

func (b *changeBlock) decodeCIDs(raw []byte) error {
	c := cursor{b: raw}
	n := c.count(5)
	b.cids = make([]blockCID, n)
	for i := range b.cids {
		id := &b.cids[i]
		if c.uvarint() != 4 {
			c.fail("change block: unexpected container row")
		}
		root := c.byte()
		id.kind = ContainerType(c.byte())
		peer, key := c.uvarint(), c.i32()
		switch {
		case c.err != nil:
		case root > 1:
			c.fail("change block: bad container root flag")
		case root == 1:
			if peer != 0 || key < 0 || int(key) >= len(b.keys) {
				c.fail("change block: root container name out of range")
			}
			id.root, id.key = true, uint32(key)
		default:
			if peer >= uint64(len(b.peers)) || key < 0 {
				c.fail("change block: container id out of range")
				break
			}
			id.peer, id.ctr = b.peers[peer], key
		}
		if c.err != nil {
			return c.err
		}
	}
	return c.done("change block containers")
}

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
	if peer >= uint64(len(b.peers)) || ctr > math.MaxInt32 {
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
		if k := b.cids[r.cid].kind; k == TypeList || k == TypeMovableList {
			probe := *c
			if probe.byte() != nestedList || probe.uvarint() != uint64(r.n) {
				c.fail("change block: list length differs from the operation's")
				return
			}
		}
		skipNested(c, len(b.keys), 0)
	case tagMarkStart:
		c.byte()
		c.uvarint()
		if k := c.uvarint(); c.err == nil && k >= uint64(len(b.keys)) {
			c.fail("change block: style key out of range")
		}
		skipNested(c, len(b.keys), 0)
	case tagListMove:
		c.uvarint()
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

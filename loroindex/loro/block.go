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
			} else if !plainRootName(b.keys[key]) {
				c.fail("change block: root container name is empty or has a / or NUL")
			}
			id.root, id.key = true, uint32(key)
		default:
			if peer >= uint64(len(b.peers)) || key < 0 || key == math.MaxInt32 {
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

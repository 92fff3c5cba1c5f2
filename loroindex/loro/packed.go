package loro

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Values are kept packed: a tag byte, then
//
//	int        zigzag varint            float   8 bytes little-endian
//	string     uvarint length, bytes    binary  the same
//	list       uvarint count, values
//	map        uvarint count, per entry uvarint interned key, value; sorted by
//	           the keys' bytes, without duplicates
//	container  type, then 1 and uvarint interned name of a root, or 0, uvarint
//	           interned peer and uvarint counter
//
// Equal values have equal bytes within one document.
const (
	packNull = iota
	packFalse
	packTrue
	packInt
	packFloat
	packString
	packBinary
	packList
	packMap
	packContainer
)

// packer turns values of other encodings into packed bytes, interning keys and
// peers. Its scratch is reused.
type packer struct {
	s    *state
	tmp  []byte
	es   []packedEntry
	hint []uint32 // keys in the order last seen, see key
	at   int
}

// packedEntry is an entry of a map being packed: out[start:end] holds its key
// and value.
type packedEntry struct {
	key        uint32
	start, end int
}

// key interns a key. The keys of one container after the other tend to be the
// same in the same order, so the one at this place last time is tried first.
func (p *packer) key(b []byte) uint32 {
	if p.at < len(p.hint) {
		if k := p.hint[p.at]; p.s.keys.list[k] == string(b) {
			p.at++
			return k
		}
	}
	k := p.s.keys.intern(b)
	if p.at < 64 {
		p.hint = append(p.hint[:p.at], k)
		p.at++
	}
	return k
}

// endMap puts the entries packed in out[base:], noted in p.es[first:], into
// canonical order if they were not packed in it.
func (p *packer) endMap(out []byte, base, first int) []byte {
	es := p.es[first:]
	names := p.s.keys.list
	for i := 1; i < len(es); i++ {
		if names[es[i-1].key] >= names[es[i].key] {
			out = p.reorder(out, base, es)
			break
		}
	}
	p.es = p.es[:first]
	return out
}

// reorder sorts the entries packed in out[base:] and drops all but the last of
// those with the same key.
func (p *packer) reorder(out []byte, base int, es []packedEntry) []byte {
	names := p.s.keys.list
	slices.SortStableFunc(es, func(a, b packedEntry) int { return strings.Compare(names[a.key], names[b.key]) })
	k := 0
	for i, e := range es {
		if i+1 < len(es) && es[i+1].key == e.key {
			continue
		}
		es[k] = e
		k++
	}
	p.tmp = append(p.tmp[:0], out[base:]...)
	if k < len(es) {
		out = appendUvarint(out[:base-uvarintLen(uint64(len(es)))], uint64(k))
	} else {
		out = out[:base]
	}
	for _, e := range es[:k] {
		out = append(out, p.tmp[e.start-base:e.end-base]...)
	}
	return out
}

// nested packs a value nested in an operation, as validated by skipNested. id
// is the operation's, from which child containers take theirs.
func (p *packer) nested(out []byte, c *cursor, keys []uint32, id packID) []byte {
	switch c.byte() {
	case nestedNull:
		return append(out, packNull)
	case nestedTrue:
		return append(out, packTrue)
	case nestedFalse:
		return append(out, packFalse)
	case nestedI64:
		return appendVarint(append(out, packInt), c.sleb())
	case nestedF64:
		return binary.LittleEndian.AppendUint64(append(out, packFloat), binary.BigEndian.Uint64(c.take(8)))
	case nestedString:
		return appendBytes(append(out, packString), c.bytes())
	case nestedBinary:
		return appendBytes(append(out, packBinary), c.bytes())
	case nestedList:
		n := c.uvarint()
		out = appendUvarint(append(out, packList), n)
		for i := uint64(0); i < n; i++ {
			item := id
			if id.top {
				// The items of an outermost list count on from the operation.
				item.ctr += int32(i)
				item.top = false
			}
			out = p.nested(out, c, keys, item)
		}
		return out
	case nestedMap:
		id.top = false
		n := c.uvarint()
		out = appendUvarint(append(out, packMap), n)
		base, first := len(out), len(p.es)
		for ; n > 0; n-- {
			key, start := keys[c.uvarint()], len(out)
			out = p.nested(appendUvarint(out, uint64(key)), c, keys, id)
			p.es = append(p.es, packedEntry{key, start, len(out)})
		}
		return p.endMap(out, base, first)
	default: // nestedContainer
		out = append(out, packContainer, c.byte(), 0)
		out = appendUvarint(out, uint64(id.peer))
		return appendUvarint(out, uint64(uint32(id.ctr)))
	}
}

type packID struct {
	peer uint32
	ctr  int32
	top  bool // at the outermost value
}

// Tags of postcard values in state sections.
const (
	stateNull = iota
	stateBool
	stateFloat
	stateInt
	stateString
	stateList
	stateMap
	stateContainer
	stateBinary
)

// state packs a postcard value of a state section, which it validates.
func (p *packer) state(out []byte, c *cursor, depth int) []byte {
	if depth > MaxDepth {
		c.fail("value is nested too deeply")
	}
	switch c.uvarint() {
	case stateNull:
		return append(out, packNull)
	case stateBool:
		switch c.byte() {
		case 0:
			return append(out, packFalse)
		case 1:
			return append(out, packTrue)
		}
		c.fail("value: bad boolean")
		return out
	case stateFloat:
		return append(append(out, packFloat), c.take(8)...)
	case stateInt:
		return appendVarint(append(out, packInt), c.varint())
	case stateString:
		return appendBytes(append(out, packString), c.text())
	case stateBinary:
		return appendBytes(append(out, packBinary), c.bytes())
	case stateList:
		n := c.count(1)
		out = appendUvarint(append(out, packList), uint64(n))
		for ; n > 0 && c.err == nil; n-- {
			out = p.state(out, c, depth+1)
		}
		return out
	case stateMap:
		n := c.count(2)
		out = appendUvarint(append(out, packMap), uint64(n))
		base, first := len(out), len(p.es)
		for ; n > 0 && c.err == nil; n-- {
			key, start := p.key(c.text()), len(out)
			out = p.state(appendUvarint(out, uint64(key)), c, depth+1)
			p.es = append(p.es, packedEntry{key, start, len(out)})
		}
		if c.err != nil {
			p.es = p.es[:first]
			return out
		}
		return p.endMap(out, base, first)
	case stateContainer:
		id := readPostcardCID(c)
		if c.err != nil {
			return out
		}
		return p.container(out, id)
	}
	c.fail("value: unknown tag")
	return out
}

func (p *packer) container(out []byte, id ContainerID) []byte {
	out = append(out, packContainer, byte(id.Type))
	if id.Root {
		return appendUvarint(append(out, 1), uint64(p.s.keys.internString(id.Name)))
	}
	out = appendUvarint(append(out, 0), uint64(p.s.peers.intern(id.ID.Peer)))
	return appendUvarint(out, uint64(uint32(id.ID.Counter)))
}

// value packs a Value.
func (p *packer) value(out []byte, v Value) []byte {
	switch v.kind {
	case KindBool:
		if v.n != 0 {
			return append(out, packTrue)
		}
		return append(out, packFalse)
	case KindInt:
		return appendVarint(append(out, packInt), int64(v.n))
	case KindFloat:
		return binary.LittleEndian.AppendUint64(append(out, packFloat), v.n)
	case KindString:
		return appendBytes(append(out, packString), v.s)
	case KindBinary:
		return appendBytes(append(out, packBinary), v.s)
	case KindList:
		out = appendUvarint(append(out, packList), uint64(len(v.c.list)))
		for _, it := range v.c.list {
			out = p.value(out, it)
		}
		return out
	case KindMap:
		out = appendUvarint(append(out, packMap), uint64(len(v.c.entries)))
		for _, e := range v.c.entries {
			out = appendUvarint(out, uint64(p.s.keys.internString(e.Key)))
			out = p.value(out, e.Value)
		}
		return out
	case KindContainer:
		return p.container(out, v.c.cid)
	}
	return append(out, packNull)
}

// unpack decodes the packed value at the front of b.
func (s *state) unpack(b []byte) (Value, []byte) {
	tag := b[0]
	b = b[1:]
	switch tag {
	case packFalse, packTrue:
		return Bool(tag == packTrue), b
	case packInt:
		u, rest := trustedUvarint(b)
		return Int(unzigzag(u)), rest
	case packFloat:
		return Value{kind: KindFloat, n: binary.LittleEndian.Uint64(b)}, b[8:]
	case packString, packBinary:
		n, rest := trustedUvarint(b)
		v := Value{kind: KindString, s: string(rest[:n])}
		if tag == packBinary {
			v.kind = KindBinary
		}
		return v, rest[n:]
	case packList:
		n, rest := trustedUvarint(b)
		items := make([]Value, n)
		for i := range items {
			items[i], rest = s.unpack(rest)
		}
		return Value{kind: KindList, c: &compound{list: items}}, rest
	case packMap:
		n, rest := trustedUvarint(b)
		es := make([]Entry, n)
		for i := range es {
			var k uint64
			k, rest = trustedUvarint(rest)
			es[i].Key = s.keys.list[k]
			es[i].Value, rest = s.unpack(rest)
		}
		return Value{kind: KindMap, c: &compound{entries: es}}, rest
	case packContainer:
		id, rest := s.unpackContainer(b)
		return containerValue(id), rest
	}
	return Null(), b
}

// unpackContainer decodes what follows the tag of a packed container.
func (s *state) unpackContainer(b []byte) (ContainerID, []byte) {
	kind, root := ContainerType(b[0]), b[1] != 0
	u, rest := trustedUvarint(b[2:])
	if root {
		return RootID(s.keys.list[u], kind), rest
	}
	ctr, rest := trustedUvarint(rest)
	return ChildID(ID{s.peers.list[u], int32(ctr)}, kind), rest
}

// appendStateValue appends the packed value at the front of b in the postcard
// form of state sections, and returns what follows it.
func (s *state) appendStateValue(out, b []byte) (_, rest []byte) {
	tag := b[0]
	b = b[1:]
	switch tag {
	case packNull:
		return append(out, stateNull), b
	case packFalse, packTrue:
		return append(out, stateBool, tag-packFalse), b
	case packInt:
		n := varintSize(b)
		return append(append(out, stateInt), b[:n]...), b[n:]
	case packFloat:
		return append(append(out, stateFloat), b[:8]...), b[8:]
	case packString, packBinary:
		kind := byte(stateString)
		if tag == packBinary {
			kind = stateBinary
		}
		n, after := trustedUvarint(b)
		whole := len(b) - len(after) + int(n)
		return append(append(out, kind), b[:whole]...), b[whole:]
	case packList:
		n, rest := trustedUvarint(b)
		out = appendUvarint(append(out, stateList), n)
		for ; n > 0; n-- {
			out, rest = s.appendStateValue(out, rest)
		}
		return out, rest
	case packMap:
		n, rest := trustedUvarint(b)
		out = appendUvarint(append(out, stateMap), n)
		for ; n > 0; n-- {
			var k uint64
			k, rest = trustedUvarint(rest)
			out = appendBytes(out, s.keys.list[k])
			out, rest = s.appendStateValue(out, rest)
		}
		return out, rest
	default:
		id, rest := s.unpackContainer(b)
		return appendPostcardCID(append(out, stateContainer), id), rest
	}
}

func varintSize(b []byte) int {
	n := 1
	for b[n-1] >= 0x80 {
		n++
	}
	return n
}

// appendNested appends the packed value at the front of b in the form of
// operations, its keys indexed by w, and returns what follows it.
func (s *state) appendNested(out, b []byte, key func(uint32) uint32) (_, rest []byte) {
	tag := b[0]
	b = b[1:]
	switch tag {
	case packNull:
		return append(out, nestedNull), b
	case packFalse:
		return append(out, nestedFalse), b
	case packTrue:
		return append(out, nestedTrue), b
	case packInt:
		u, rest := trustedUvarint(b)
		return appendSleb(append(out, nestedI64), unzigzag(u)), rest
	case packFloat:
		return binary.BigEndian.AppendUint64(append(out, nestedF64), binary.LittleEndian.Uint64(b)), b[8:]
	case packString, packBinary:
		kind := byte(nestedString)
		if tag == packBinary {
			kind = nestedBinary
		}
		n, after := trustedUvarint(b)
		whole := len(b) - len(after) + int(n)
		return append(append(out, kind), b[:whole]...), b[whole:]
	case packList:
		n, rest := trustedUvarint(b)
		out = appendUvarint(append(out, nestedList), n)
		for ; n > 0; n-- {
			out, rest = s.appendNested(out, rest, key)
		}
		return out, rest
	case packMap:
		n, rest := trustedUvarint(b)
		out = appendUvarint(append(out, nestedMap), n)
		for ; n > 0; n-- {
			var k uint64
			k, rest = trustedUvarint(rest)
			out = appendUvarint(out, uint64(key(uint32(k))))
			out, rest = s.appendNested(out, rest, key)
		}
		return out, rest
	default:
		id, rest := s.unpackContainer(b)
		return append(out, nestedContainer, byte(id.Type)), rest
	}
}

// Container ids.

// The kind numbering of container ids inside postcard differs from the raw one.
var postcardKind = [...]byte{TypeMap: 1, TypeList: 2, TypeText: 0, TypeTree: 4, TypeMovableList: 3, TypeCounter: 5}

var kindOfPostcard = [...]ContainerType{TypeText, TypeMap, TypeList, TypeMovableList, TypeTree, TypeCounter}

func appendPostcardCID(b []byte, id ContainerID) []byte {
	if id.Root {
		b = appendBytes(append(b, 0), id.Name)
	} else {
		b = appendUvarint(append(b, 1), uint64(id.ID.Peer))
		b = appendVarint(b, int64(id.ID.Counter))
	}
	if int(id.Type) < len(postcardKind) {
		return append(b, postcardKind[id.Type])
	}
	return append(b, byte(id.Type))
}

func readPostcardCID(c *cursor) ContainerID {
	id, name := scanPostcardCID(c)
	id.Name = string(name)
	return id
}

// scanPostcardCID reads a container id and, apart from it, the name of a root.
func scanPostcardCID(c *cursor) (id ContainerID, name []byte) {
	switch c.uvarint() {
	case 0:
		id.Root = true
		name = c.text()
	case 1:
		id.ID.Peer = PeerID(c.uvarint())
		if id.ID.Counter = c.i32(); id.ID.Counter < 0 {
			c.fail("container id: negative counter")
		}
	default:
		c.fail("container id: unknown variant")
	}
	k := c.byte()
	id.Type = ContainerType(k)
	if int(k) < len(kindOfPostcard) {
		id.Type = kindOfPostcard[k]
	}
	return id, name
}

// appendCIDKey appends the key of a container in a state section.
func appendCIDKey(b []byte, id ContainerID) []byte {
	if id.Root {
		return appendBytes(append(b, byte(id.Type)|0x80), id.Name)
	}
	b = binary.LittleEndian.AppendUint64(append(b, byte(id.Type)), uint64(id.ID.Peer))
	return binary.LittleEndian.AppendUint32(b, uint32(id.ID.Counter))
}

func parseCIDKey(key []byte) (ContainerID, error) {
	c := cursor{b: key}
	k := c.byte()
	id := ContainerID{Type: ContainerType(k & 0x7f), Root: k&0x80 != 0}
	if id.Root {
		name := c.bytes()
		if c.err == nil && !utf8.Valid(name) {
			c.fail("container name is not UTF-8")
		} else if c.err == nil && !plainRootName(name) {
			c.fail("root container name is empty or has a / or NUL")
		}
		id.Name = string(name)
	} else {
		id.ID.Peer = PeerID(c.u64le())
		id.ID.Counter = int32(c.u32le())
		if c.err == nil && (id.ID.Counter < 0 || id.ID.Counter == math.MaxInt32) {
			c.fail("container id: counter out of range")
		}
	}
	return id, c.done("container key")
}

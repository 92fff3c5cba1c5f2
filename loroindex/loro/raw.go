package loro

import (
	"encoding/binary"
	"iter"
	"math"
)

// Raw is a value where the document keeps it: reading one allocates nothing. It
// is valid until the document is next changed. Use [Raw.Value] for one that
// lasts.
type Raw struct {
	s *state
	b []byte // packed; more may follow the value
}

// Raw is [Map.Get] without copying the value out.
func (m Map) Raw(key string) (Raw, bool) {
	r, ok := m.reg(key)
	if !ok || r.deleted {
		return Raw{}, false
	}
	return Raw{m.d.s, r.val}, true
}

// Value returns a copy that stays valid. The zero Raw gives null.
func (r Raw) Value() Value {
	if len(r.b) == 0 {
		return Null()
	}
	v, _ := r.s.unpack(r.b)
	return v
}

// Kind says what the value holds.
func (r Raw) Kind() Kind {
	if len(r.b) == 0 {
		return KindNull
	}
	return packedKinds[r.b[0]]
}

var packedKinds = [...]Kind{
	packNull: KindNull, packFalse: KindBool, packTrue: KindBool, packInt: KindInt, packFloat: KindFloat,
	packString: KindString, packBinary: KindBinary, packList: KindList, packMap: KindMap, packContainer: KindContainer,
}

// Bool returns the boolean, if the value is one.
func (r Raw) Bool() (b, ok bool) {
	if r.Kind() != KindBool {
		return false, false
	}
	return r.b[0] == packTrue, true
}

// Int returns the integer, if the value is one.
func (r Raw) Int() (int64, bool) {
	if r.Kind() != KindInt {
		return 0, false
	}
	u, _ := trustedUvarint(r.b[1:])
	return unzigzag(u), true
}

// Float returns the double, if the value is one.
func (r Raw) Float() (float64, bool) {
	if r.Kind() != KindFloat {
		return 0, false
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(r.b[1:])), true
}

// Bytes returns the bytes of a string or binary, which must not be modified.
func (r Raw) Bytes() ([]byte, bool) {
	if k := r.Kind(); k != KindString && k != KindBinary {
		return nil, false
	}
	n, rest := trustedUvarint(r.b[1:])
	return rest[:n:n], true
}

// Len is the number of items of a list or entries of a map, the number of bytes
// of a string or binary, and 0 otherwise.
func (r Raw) Len() int {
	switch r.Kind() {
	case KindString, KindBinary, KindList, KindMap:
		n, _ := trustedUvarint(r.b[1:])
		return int(n)
	}
	return 0
}

// Get returns the value of a key of a map value.
func (r Raw) Get(key string) (Raw, bool) {
	for k, v := range r.Entries() {
		if k == key {
			return v, true
		}
	}
	return Raw{}, false
}

// Entries iterates over a map value in key order; nothing for other kinds.
func (r Raw) Entries() iter.Seq2[string, Raw] {
	return func(yield func(string, Raw) bool) {
		if r.Kind() != KindMap {
			return
		}
		n, rest := trustedUvarint(r.b[1:])
		for ; n > 0; n-- {
			var k uint64
			k, rest = trustedUvarint(rest)
			if !yield(r.s.keys.list[k], Raw{r.s, rest}) {
				return
			}
			rest = skipPacked(rest)
		}
	}
}

// skipPacked returns what follows the packed value at the front of b.
func skipPacked(b []byte) []byte {
	tag := b[0]
	b = b[1:]
	switch tag {
	case packInt:
		return b[varintSize(b):]
	case packFloat:
		return b[8:]
	case packString, packBinary:
		n, rest := trustedUvarint(b)
		return rest[n:]
	case packList:
		n, rest := trustedUvarint(b)
		for ; n > 0; n-- {
			rest = skipPacked(rest)
		}
		return rest
	case packMap:
		n, rest := trustedUvarint(b)
		for ; n > 0; n-- {
			rest = skipPacked(rest[varintSize(rest):])
		}
		return rest
	case packContainer:
		if b[1] != 0 {
			return b[2+varintSize(b[2:]):]
		}
		rest := b[2+varintSize(b[2:]):]
		return rest[varintSize(rest):]
	}
	return b
}

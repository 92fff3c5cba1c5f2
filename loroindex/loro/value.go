package loro

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting of lists and maps a Value may have. Loro
// 1.17 refuses deeper values on some paths.
const MaxDepth = 128

// Kind says which of its alternatives a Value holds.
type Kind uint8

// The kinds of Value.
const (
	KindNull Kind = iota
	KindBool
	KindInt
	KindFloat
	KindString
	KindBinary
	KindList
	KindMap
	KindContainer
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

var kindNames = [...]string{"null", "bool", "int", "float", "string", "binary", "list", "map", "container"}

// Value is an immutable value of a map key: null, bool, 64-bit integer, double,
// string, binary, list, map, or a reference to a child container. Ints and
// floats stay distinct. The zero Value is null.
type Value struct {
	kind Kind
	n    uint64    // bool, int, float bits
	s    string    // string, binary
	c    *compound // list, map, container
}

type compound struct {
	list    []Value
	entries []Entry // sorted by key, no duplicates
	cid     ContainerID
}

// Entry is one key of a map value.
type Entry struct {
	Key   string
	Value Value
}

// Null returns the null value.
func Null() Value { return Value{} }

// Bool returns a boolean value.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.n = 1
	}
	return v
}

// Int returns a 64-bit integer value. JavaScript readers lose precision beyond
// 2^53 and some of Loro's JSON exports refuse such numbers.
func Int(i int64) Value { return Value{kind: KindInt, n: uint64(i)} }

// Float returns a double value.
func Float(f float64) Value { return Value{kind: KindFloat, n: math.Float64bits(f)} }

// String returns a string value. It must be UTF-8 to be stored in a document.
func String(s string) Value { return Value{kind: KindString, s: s} }

// Binary returns a binary value holding a copy of b.
func Binary(b []byte) Value { return Value{kind: KindBinary, s: string(b)} }

// List returns a list value.
func List(items ...Value) Value {
	return Value{kind: KindList, c: &compound{list: slices.Clone(items)}}
}

// MapValue returns a map value. Of entries with the same key the last counts.
func MapValue(entries ...Entry) Value {
	es := slices.Clone(entries)
	slices.SortStableFunc(es, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	out := es[:0]
	for _, e := range es {
		if n := len(out); n > 0 && out[n-1].Key == e.Key {
			out[n-1] = e
			continue
		}
		out = append(out, e)
	}
	return Value{kind: KindMap, c: &compound{entries: out}}
}

func containerValue(id ContainerID) Value {
	return Value{kind: KindContainer, c: &compound{cid: id}}
}

// Kind says what the value holds.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether the value is null.
func (v Value) IsNull() bool { return v.kind == KindNull }

// AsBool returns the boolean, if the value is one.
func (v Value) AsBool() (b, ok bool) { return v.n != 0 && v.kind == KindBool, v.kind == KindBool }

// AsInt returns the integer, if the value is one. A float is not converted.
func (v Value) AsInt() (int64, bool) {
	if v.kind != KindInt {
		return 0, false
	}
	return int64(v.n), true
}

// AsFloat returns the double, if the value is one. An integer is not converted.
func (v Value) AsFloat() (float64, bool) {
	if v.kind != KindFloat {
		return 0, false
	}
	return math.Float64frombits(v.n), true
}

// AsString returns the string, if the value is one.
func (v Value) AsString() (string, bool) {
	if v.kind != KindString {
		return "", false
	}
	return v.s, true
}

// AsBinary returns a copy of the bytes, if the value is binary.
func (v Value) AsBinary() ([]byte, bool) {
	if v.kind != KindBinary {
		return nil, false
	}
	return []byte(v.s), true
}

// AsContainer returns the id of the child container, if the value is one.
func (v Value) AsContainer() (ContainerID, bool) {
	if v.kind != KindContainer {
		return ContainerID{}, false
	}
	return v.c.cid, true
}

// Len is the number of items of a list or entries of a map, the number of bytes
// of a string or binary, and 0 otherwise.
func (v Value) Len() int {
	switch v.kind {
	case KindString, KindBinary:
		return len(v.s)
	case KindList:
		return len(v.c.list)
	case KindMap:
		return len(v.c.entries)
	}
	return 0
}

// Items iterates over a list's items; nothing for other kinds.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.kind != KindList {
			return
		}
		for _, it := range v.c.list {
			if !yield(it) {
				return
			}
		}
	}
}

// Index returns the i-th item of a list. It panics when v is no list or i is
// out of range, like indexing a slice.
func (v Value) Index(i int) Value { return v.c.list[i] }

// Entries iterates over a map value in key order; nothing for other kinds.
func (v Value) Entries() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.kind != KindMap {
			return
		}
		for _, e := range v.c.entries {
			if !yield(e.Key, e.Value) {
				return
			}
		}
	}
}

// Get returns the value of a key of a map value.
func (v Value) Get(key string) (Value, bool) {
	if v.kind != KindMap {
		return Value{}, false
	}
	i, ok := slices.BinarySearchFunc(v.c.entries, key, func(e Entry, k string) int { return strings.Compare(e.Key, k) })
	if !ok {
		return Value{}, false
	}
	return v.c.entries[i].Value, true
}

// Equal reports deep equality. Floats are compared by their bits, so NaN equals
// itself and 0 differs from -0; an int never equals a float.
func (v Value) Equal(o Value) bool {
	if v.kind != o.kind || v.n != o.n || v.s != o.s {
		return false
	}
	switch v.kind {
	case KindList:
		return slices.EqualFunc(v.c.list, o.c.list, Value.Equal)
	case KindMap:
		return slices.EqualFunc(v.c.entries, o.c.entries, func(a, b Entry) bool {
			return a.Key == b.Key && a.Value.Equal(b.Value)
		})
	case KindContainer:
		return v.c.cid == o.c.cid
	}
	return true
}

// check says whether the value may be stored by a local edit.
func (v Value) check(depth int) error {
	switch v.kind {
	case KindString:
		if !utf8.ValidString(v.s) {
			return fmt.Errorf("%w: string is not UTF-8", ErrValue)
		}
	case KindContainer:
		return fmt.Errorf("%w: a container reference cannot be set", ErrValue)
	case KindList, KindMap:
		if depth >= MaxDepth {
			return fmt.Errorf("%w: nested deeper than %d", ErrValue, MaxDepth)
		}
		for _, it := range v.c.list {
			if err := it.check(depth + 1); err != nil {
				return err
			}
		}
		for _, e := range v.c.entries {
			if !utf8.ValidString(e.Key) {
				return fmt.Errorf("%w: map key %q is not UTF-8", ErrValue, e.Key)
			}
			if err := e.Value.check(depth + 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// String renders the value for people, as the JSON of [Value.AppendJSON].
func (v Value) String() string { return string(v.AppendJSON(nil)) }

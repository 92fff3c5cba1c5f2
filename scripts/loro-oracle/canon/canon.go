// Package canon writes what a Loro document shows in the one form the oracle
// scripts compute from the official library (oracle.mjs), so that the two can be
// compared by their hashes.
//
// State is the deep value of the document without empty roots, as JSON without
// spaces, keys sorted by their UTF-8 bytes. Integers within 2^53-1 are numbers,
// other integral values {"$num":"bits of the double"}, other doubles
// {"$f64":"bits"}, binary {"$bin":"hex"}. JavaScript shows integers as doubles,
// so that the form cannot tell 1 from 1.0, nor two large integers that round to
// the same double.
package canon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hamflx/pocket/loroindex/loro"
)

// maxSafe is the largest integer JavaScript tells from its neighbours.
const maxSafe = 1<<53 - 1

// State returns the canonical state of a document. Roots that are neither map nor
// tree are left out.
func State(d *loro.Doc) []byte {
	var roots []loro.Entry
	for name, v := range d.DeepValue().Entries() {
		if !v.IsNull() {
			roots = append(roots, loro.Entry{Key: name, Value: v})
		}
	}
	return AppendValue(nil, loro.MapValue(roots...))
}

// Sum returns the SHA-256 of a canonical text in hex.
func Sum(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

// Ops returns the canonical history: a list of operations by peer, then counter,
// each {id,lamport,deps,ts,msg,container,content}. It does not depend on how
// operations are divided into changes. Operations on containers that are neither
// map nor tree are left out. Binary values are lists of integers, for that is how
// the official library's JSON updates write them.
func Ops(d *loro.Doc) ([]byte, error) {
	out := []byte{'['}
	for op, err := range d.Ops() {
		if err != nil {
			return nil, err
		}
		if op.Kind == loro.OpOther {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendOp(out, op)
	}
	return append(out, ']'), nil
}

// Version returns a version vector with peers in decimal, those at 0 left out.
func Version(v loro.VersionVector) map[string]int32 {
	out := make(map[string]int32, len(v))
	for p, end := range v {
		if end > 0 {
			out[p.String()] = end
		}
	}
	return out
}

// IDs returns ids as "counter@peer", sorted as strings.
func IDs(ids []loro.ID) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return out
}

// AppendValue appends the canonical form of a value.
func AppendValue(b []byte, v loro.Value) []byte { return writer{}.value(b, v) }

type writer struct{ history bool }

func (w writer) value(b []byte, v loro.Value) []byte {
	switch v.Kind() {
	case loro.KindNull:
		return append(b, "null"...)
	case loro.KindBool:
		x, _ := v.AsBool()
		return strconv.AppendBool(b, x)
	case loro.KindInt:
		i, _ := v.AsInt()
		return appendNumber(b, float64(i))
	case loro.KindFloat:
		f, _ := v.AsFloat()
		return appendNumber(b, f)
	case loro.KindString:
		s, _ := v.AsString()
		return appendString(b, s)
	case loro.KindBinary:
		bin, _ := v.AsBinary()
		if w.history {
			return appendBytes(b, bin)
		}
		b = hex.AppendEncode(append(b, `{"$bin":"`...), bin)
		return append(b, `"}`...)
	case loro.KindList:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = w.value(b, v.Index(i))
		}
		return append(b, ']')
	case loro.KindMap:
		b = append(b, '{')
		start := len(b)
		for key, item := range v.Entries() {
			if len(b) > start {
				b = append(b, ',')
			}
			b = append(appendString(b, key), ':')
			b = w.value(b, item)
		}
		return append(b, '}')
	case loro.KindContainer:
		id, _ := v.AsContainer()
		return appendString(b, "🦜:"+id.String())
	}
	panic(fmt.Sprintf("value of unknown kind %v", v.Kind()))
}

func appendNumber(b []byte, f float64) []byte {
	switch bits := math.Float64bits(f); {
	case math.IsNaN(f):
		return append(b, `{"$f64":"7ff8000000000000"}`...)
	case math.IsInf(f, 0) || f != math.Trunc(f):
		return fmt.Appendf(b, `{"$f64":"%016x"}`, bits)
	case math.Abs(f) > maxSafe:
		return fmt.Appendf(b, `{"$num":"%016x"}`, bits)
	}
	return strconv.AppendInt(b, int64(f), 10)
}

func appendBytes(b, bin []byte) []byte {
	b = append(b, '[')
	for i, x := range bin {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(x), 10)
	}
	return append(b, ']')
}

// appendString quotes like JSON.stringify.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			if r < 0x20 {
				b = fmt.Appendf(b, `\u%04x`, r)
			} else {
				b = utf8.AppendRune(b, r)
			}
		}
	}
	return append(b, '"')
}

func appendOp(b []byte, op loro.Op) []byte {
	w := writer{history: true}
	b = append(b, `{"container":`...)
	b = appendString(b, op.Container.String())
	b = append(b, `,"content":`...)
	b = appendContent(b, w, op)
	b = append(b, `,"deps":[`...)
	for i, dep := range IDs(op.Deps) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, dep)
	}
	b = append(b, `],"id":`...)
	b = appendString(b, op.ID.String())
	b = fmt.Appendf(b, `,"lamport":%d,"msg":`, op.Lamport)
	if op.Message == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, op.Message)
	}
	return fmt.Appendf(b, `,"ts":%d}`, op.Timestamp)
}

// appendContent writes what an operation does, keys in order.
func appendContent(b []byte, w writer, op loro.Op) []byte {
	switch op.Kind {
	case loro.OpMapSet:
		b = appendString(append(b, `{"key":`...), op.Key)
		b = w.value(append(b, `,"type":"insert","value":`...), op.Value)
	case loro.OpMapDelete:
		b = appendString(append(b, `{"key":`...), op.Key)
		b = append(b, `,"type":"delete"`...)
	case loro.OpTreeDelete:
		b = fmt.Appendf(b, `{"target":"%v","type":"delete"`, op.Node)
	case loro.OpTreeCreate, loro.OpTreeMove:
		name := "move"
		if op.Kind == loro.OpTreeCreate {
			name = "create"
		}
		parent := "null"
		if op.Parent != loro.TreeRoot {
			parent = `"` + op.Parent.String() + `"`
		}
		b = fmt.Appendf(b, `{"fractional_index":"%s","parent":%s,"target":"%v","type":"%s"`,
			strings.ToUpper(hex.EncodeToString(op.Position)), parent, op.Node, name)
	default:
		panic(fmt.Sprintf("operation %v of unknown kind %d", op.ID, op.Kind))
	}
	return append(b, '}')
}

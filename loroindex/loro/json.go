package loro

import (
	"encoding/hex"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the value as one line of JSON with map keys sorted by
// their UTF-8 bytes. What JSON lacks is written as an object with one key:
// {"$bin":"hex"} for binary, {"$f64":"hex of the big-endian bits"} for a double
// that is not finite, {"$container":"cid:..."} for a child container. Integers
// are written in full; a double that is integral keeps a ".0".
func (v Value) AppendJSON(b []byte) []byte {
	switch v.kind {
	case KindBool:
		return strconv.AppendBool(b, v.n != 0)
	case KindInt:
		return strconv.AppendInt(b, int64(v.n), 10)
	case KindFloat:
		f := math.Float64frombits(v.n)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			b = append(b, `{"$f64":"`...)
			for shift := 60; shift >= 0; shift -= 4 {
				b = append(b, "0123456789abcdef"[v.n>>shift&15])
			}
			return append(b, `"}`...)
		}
		start := len(b)
		b = strconv.AppendFloat(b, f, 'g', -1, 64)
		for _, c := range b[start:] {
			if c == '.' || c == 'e' {
				return b
			}
		}
		return append(b, ".0"...)
	case KindString:
		return appendJSONString(b, v.s)
	case KindBinary:
		b = append(b, `{"$bin":"`...)
		b = hex.AppendEncode(b, []byte(v.s))
		return append(b, `"}`...)
	case KindList:
		b = append(b, '[')
		for i, it := range v.c.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = it.AppendJSON(b)
		}
		return append(b, ']')
	case KindMap:
		b = append(b, '{')
		for i, e := range v.c.entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(b, e.Key)
			b = append(b, ':')
			b = e.Value.AppendJSON(b)
		}
		return append(b, '}')
	case KindContainer:
		b = append(b, `{"$container":`...)
		b = appendJSONString(b, v.c.cid.String())
		return append(b, '}')
	}
	return append(b, "null"...)
}

// appendJSONString quotes like JavaScript's JSON.stringify: only quotes,
// backslashes and control characters are escaped.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r < 0x20:
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

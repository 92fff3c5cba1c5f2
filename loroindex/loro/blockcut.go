package loro

import "unicode/utf8"

// cut shortens an operation that takes several counters to those in [from, to).
// Only operations of unsupported containers do: text and list insertions and
// range deletions. The rules are those of Sliceable in
// crates/loro-internal/src/container/list/list_op.rs.
func (b *changeBlock) cut(r *row, from, to int32) error {
	lo, hi := from-r.ctr, to-r.ctr
	kind := b.cids[r.cid].kind
	switch {
	case r.tag == tagStr && kind == TypeText:
		c := cursor{b: r.val}
		s := c.bytes()
		start := runeOffset(s, lo)
		end := start + runeOffset(s[start:], hi-lo)
		r.val = appendBytes(nil, s[start:end])
		r.prop += lo
	case r.tag == tagDeleteSeq && kind <= TypeCounter:
		if r.del.n > 0 {
			r.del.id.Counter += lo
			r.del.n = int64(hi - lo)
		} else {
			r.del.id.Counter += r.n - hi
			r.del.n = -int64(hi - lo)
			r.prop -= lo
		}
	case r.tag == tagLoroValue && (kind == TypeList || kind == TypeMovableList):
		c := cursor{b: r.val}
		c.byte()
		c.uvarint()
		for range lo {
			skipNested(&c, len(b.keys), 1)
		}
		items := c.b
		for i := lo; i < hi; i++ {
			skipNested(&c, len(b.keys), 1)
		}
		items = items[:len(items)-len(c.b)]
		r.val = append(appendUvarint([]byte{nestedList}, uint64(hi-lo)), items...)
		r.prop += lo
	default:
		return invalidf("change block: an operation on a %v cannot be divided", kind)
	}
	r.ctr, r.n = from, hi-lo
	return nil
}

// runeOffset is the byte offset of the n-th rune of s.
func runeOffset(s []byte, n int32) int {
	at := 0
	for ; n > 0; n-- {
		_, size := utf8.DecodeRune(s[at:])
		at += size
	}
	return at
}

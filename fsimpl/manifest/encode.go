package manifest

import (
	"encoding/binary"
	"fmt"

	"github.com/hamflx/pocket/internal/objectid"
)

const (
	magic   = "PKTM"
	version = 1

	// What an extent is made of: the two low bits of its tag.
	tagHole = 0 // no object
	tagNew  = 1 // an object not named before: its 32 bytes follow
	tagSeen = 2 // an object named before: its number, counted from 0 in the order of first use, follows
	tagKind = 3

	tagSameLength = 1 << 2 // as long as the extent before it: no length follows
	tagOffset     = 1 << 3 // an offset other than 0 follows
	tagKnown      = tagKind | tagSameLength | tagOffset
)

// Encode returns the bytes of l as docs/format.md, "Manifest", describes them.
// Neighbouring extents that continue each other are written as one, so equal
// contents give equal bytes however they were put together. It fails with
// ErrTooLarge, or when an extent of l breaks the rules of Extent.
func (l List) Encode() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	merged := l.merged()
	if len(merged) > MaxExtents {
		return nil, fmt.Errorf("%w: %d, more than %d", ErrTooLarge, len(merged), MaxExtents)
	}
	// Most extents name an object of their own and have the length of the one before.
	b := make([]byte, 0, len(magic)+1+binary.MaxVarintLen64+len(merged)*(1+objectid.Size)+64)
	b = append(b, magic...)
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(len(merged)))
	numbers := make(map[objectid.ID]uint64, len(merged))
	var previous int64
	for i := range merged {
		e := &merged[i]
		tag, number := byte(tagHole), uint64(0)
		if !e.IsHole() {
			n, seen := numbers[e.Object]
			if seen {
				tag, number = tagSeen, n
			} else {
				tag = tagNew
				numbers[e.Object] = uint64(len(numbers))
			}
		}
		if e.Length == previous {
			tag |= tagSameLength
		}
		if e.Offset != 0 {
			tag |= tagOffset
		}
		b = append(b, tag)
		switch tag & tagKind {
		case tagNew:
			b = append(b, e.Object[:]...)
		case tagSeen:
			b = binary.AppendUvarint(b, number)
		}
		if tag&tagSameLength == 0 {
			b = binary.AppendUvarint(b, uint64(e.Length))
		}
		if tag&tagOffset != 0 {
			b = binary.AppendUvarint(b, uint64(e.Offset))
		}
		previous = e.Length
	}
	if len(b) > MaxEncoded {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(b), MaxEncoded)
	}
	return b, nil
}

// merged returns l with extents that continue each other joined: l itself when
// there are none.
func (l List) merged() List {
	for i := 1; i < len(l); i++ {
		if l[i-1].continues(l[i]) {
			out := make(List, 0, len(l))
			for _, e := range l {
				out = out.push(e)
			}
			return out
		}
	}
	return l
}

// Decode reads what Encode wrote. The bytes may be hostile: it accepts exactly
// the canonical form, refuses an extent that ends beyond byte maxObject of its
// object (the largest object the caller would fetch), and never needs more
// memory than 100 times len(b). Errors are ErrDamaged or ErrNewer.
func Decode(b []byte, maxObject int64) (List, error) {
	if len(b) > MaxEncoded {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrDamaged, len(b), MaxEncoded)
	}
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic)
	}
	if v := b[len(magic)]; v != version {
		if v > version {
			return nil, fmt.Errorf("%w: format %d, this one reads %d", ErrNewer, v, version)
		}
		return nil, fmt.Errorf("%w: unknown format %d", ErrDamaged, v)
	}
	r := reader{b: b[len(magic)+1:]}
	count := r.uvarint()
	// An extent takes a byte at the least, so the count can be believed before
	// the list is made.
	if r.bad || count > MaxExtents || count > uint64(len(r.b)) {
		return nil, fmt.Errorf("%w: impossible number of extents", ErrDamaged)
	}
	list := make(List, 0, count)
	var objects []objectid.ID
	var numbers map[objectid.ID]struct{}
	var size, previous int64
	for i := range int(count) {
		e, err := r.extent(previous, &objects)
		if err != nil {
			return nil, fmt.Errorf("%w: extent %d: %w", ErrDamaged, i, err)
		}
		if e.isNew {
			if numbers == nil {
				numbers = make(map[objectid.ID]struct{}, len(r.b)/objectid.Size+1)
			}
			if _, dup := numbers[e.Object]; dup || e.Object.IsZero() {
				return nil, fmt.Errorf("%w: extent %d names an object as new that is not", ErrDamaged, i)
			}
			numbers[e.Object] = struct{}{}
		}
		switch {
		case !e.IsHole() && (e.Length > maxObject || e.Offset > maxObject-e.Length):
			return nil, fmt.Errorf("%w: extent %d ends beyond byte %d of its object", ErrDamaged, i, maxObject)
		case e.Length > MaxSize-size:
			return nil, fmt.Errorf("%w: the file is larger than %d bytes", ErrDamaged, int64(MaxSize))
		case i > 0 && list[i-1].continues(e.Extent):
			return nil, fmt.Errorf("%w: extent %d continues the one before it", ErrDamaged, i)
		}
		size += e.Length
		previous = e.Length
		list = append(list, e.Extent)
	}
	if len(r.b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes follow the last extent", ErrDamaged, len(r.b))
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, nil
}

// reader takes values from the front of b. Once a value was not whole or not in
// its shortest form, bad is set and everything reads as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) id() (id objectid.ID) {
	if len(r.b) < objectid.Size {
		r.fail()
		return id
	}
	copy(id[:], r.b)
	r.b = r.b[objectid.Size:]
	return id
}

func (r *reader) fail() { r.bad, r.b = true, nil }

// length reads a number that a file may be long, or an offset: neither is zero
// where it is written out.
func (r *reader) length() int64 {
	v := r.uvarint()
	if v == 0 || v > MaxSize {
		r.fail()
		return 0
	}
	return int64(v)
}

type decoded struct {
	Extent
	isNew bool
}

func (r *reader) extent(previous int64, objects *[]objectid.ID) (e decoded, err error) {
	tag := r.byte()
	if tag&^tagKnown != 0 {
		return e, fmt.Errorf("unknown tag %#x", tag)
	}
	switch tag & tagKind {
	case tagHole:
		if tag&tagOffset != 0 {
			return e, fmt.Errorf("a hole with an offset")
		}
	case tagNew:
		e.isNew = true
		e.Object = r.id()
		*objects = append(*objects, e.Object)
	case tagSeen:
		n := r.uvarint()
		if r.bad || n >= uint64(len(*objects)) {
			return e, fmt.Errorf("an object that was not named before")
		}
		e.Object = (*objects)[n]
	default:
		return e, fmt.Errorf("unknown tag %#x", tag)
	}
	if tag&tagSameLength != 0 {
		e.Length = previous
	} else {
		e.Length = r.length()
		if e.Length == previous {
			r.fail()
		}
	}
	if tag&tagOffset != 0 {
		e.Offset = r.length()
	}
	if r.bad || e.Length == 0 {
		return e, fmt.Errorf("cut short, or a number not in its shortest form")
	}
	return e, nil
}

// Package manifest describes the content of a large file as a list of extents.
//
// A file of at most one chunk is one object and has no manifest. A larger file
// is a List: runs of bytes, each of them a range of a stored object or a hole.
// Its encoded form is itself stored as an object, named by the SHA-256 of its
// bytes; because equal contents encode to equal bytes, writing the same file
// twice stores one manifest. docs/format.md, "Manifest", gives the bytes.
//
// Lists are values: no method changes its receiver, and all of them may be
// called concurrently on one List. A List that came from Decode is canonical;
// Replace, Slice and Truncate keep it so.
package manifest

import (
	"errors"
	"fmt"
	"iter"
	"sort"

	"github.com/hamflx/pocket/internal/objectid"
)

const (
	// MaxSize is the largest size of a file in bytes that a List describes.
	MaxSize = 1 << 62
	// MaxExtents bounds the length of a List that Encode writes and Decode
	// reads: 4 TiB in chunks of 4 MiB.
	MaxExtents = 1 << 20
	// MaxEncoded bounds the bytes of an encoded List. It is the size limit to
	// fetch a manifest with: none that Encode wrote is larger.
	MaxEncoded = 64 << 20
)

var (
	// ErrDamaged is returned by Decode for bytes that Encode never writes.
	ErrDamaged = errors.New("manifest is damaged")
	// ErrNewer is returned by Decode for a manifest of a later version of the
	// format.
	ErrNewer = errors.New("manifest was written by a newer version of pocket")
	// ErrTooLarge is returned by Encode for a file that needs more extents
	// than MaxExtents, more bytes than MaxEncoded, or is larger than MaxSize.
	ErrTooLarge = errors.New("file has too many extents for a manifest")
)

// Extent is a run of Length bytes of a file: those of Object from Offset on or,
// when Object is zero, a hole that reads as zeros and has Offset 0.
type Extent struct {
	Length int64 // bytes, more than 0
	Object objectid.ID
	Offset int64 // in Object, in bytes
}

// IsHole reports whether e reads as zeros.
func (e Extent) IsHole() bool { return e.Object.IsZero() }

// continues reports whether next goes on where e ends, so that the two are one
// extent.
func (e Extent) continues(next Extent) bool {
	if e.Object != next.Object {
		return false
	}
	return e.IsHole() || e.Offset+e.Length == next.Offset
}

// List is the content of a file: its extents from the first byte to the last.
// The nil List is the empty file.
type List []Extent

// Hole returns the List of a file of size zero bytes.
func Hole(size int64) List {
	if size <= 0 {
		return nil
	}
	return List{{Length: size}}
}

// Size returns the size of the file in bytes.
func (l List) Size() int64 {
	var size int64
	for i := range l {
		size += l[i].Length
	}
	return size
}

// Find returns the index of the extent that holds the byte at off and where in
// the file that extent starts. At or beyond the end of the file it returns
// len(l) and the size; a negative off is treated as 0. It looks at every extent
// before off: use Index for many searches in one long List.
func (l List) Find(off int64) (i int, start int64) {
	for i = range l {
		if off < start+l[i].Length {
			return i, start
		}
		start += l[i].Length
	}
	return len(l), start
}

// Index makes searches in a long List cheap. It is good for as long as the List
// it was made from is not changed.
type Index struct {
	starts []int64 // starts[i] is where extent i begins; one more, the size, ends it
}

// Index returns an Index of l, in time and memory (8 bytes an extent) that
// follow the length of l.
func (l List) Index() Index {
	starts := make([]int64, len(l)+1)
	for i := range l {
		starts[i+1] = starts[i] + l[i].Length
	}
	return Index{starts: starts}
}

// Find answers as List.Find does, by a binary search.
func (x Index) Find(off int64) (i int, start int64) {
	if len(x.starts) == 0 {
		return 0, 0
	}
	last := len(x.starts) - 1
	if off >= x.starts[last] {
		return last, x.starts[last]
	}
	if off < 0 {
		off = 0
	}
	i = sort.Search(last, func(i int) bool { return x.starts[i+1] > off })
	return i, x.starts[i]
}

// Size returns the size of the file in bytes.
func (x Index) Size() int64 {
	if len(x.starts) == 0 {
		return 0
	}
	return x.starts[len(x.starts)-1]
}

// Slice returns the extents of the bytes [from, to) of the file, cut at both
// ends, as a List of their own. What lies outside the file is left out.
func (l List) Slice(from, to int64) List {
	from = max(from, 0)
	if from >= to {
		return nil
	}
	i, start := l.Find(from)
	var out List
	for ; i < len(l) && start < to; i++ {
		out = out.push(l[i].cut(from-start, to-start))
		start += l[i].Length
	}
	return out
}

// cut returns the part of e between its own bytes from and to, both of which
// may lie outside of it. The part must not be empty.
func (e Extent) cut(from, to int64) Extent {
	from, to = max(from, 0), min(to, e.Length)
	if !e.IsHole() {
		e.Offset += from
	}
	e.Length = to - from
	return e
}

// push appends e to l, which it may write to, and joins it with the last extent
// where e continues that one.
func (l List) push(e Extent) List {
	if e.Length <= 0 {
		return l
	}
	if n := len(l); n > 0 && l[n-1].continues(e) {
		l[n-1].Length += e.Length
		return l
	}
	return append(l, e)
}

// Replace returns the file with its bytes [from, to) replaced by with. When
// with is not to-from bytes long, what follows the range moves. A range that
// starts beyond the end of the file leaves a hole before it; from > to is
// treated as from == to. The size of the result must not exceed MaxSize.
func (l List) Replace(from, to int64, with List) List {
	from = max(from, 0)
	to = max(from, to)
	out := make(List, 0, len(l)+len(with)+2)
	var start int64
	i := 0
	for ; i < len(l) && start < from; i++ {
		out = out.push(l[i].cut(0, from-start))
		start += l[i].Length
	}
	if start < from {
		out = out.push(Extent{Length: from - start})
		start = from
	}
	for _, e := range with {
		out = out.push(e)
	}
	// The extent that straddles from may reach beyond to as well.
	if i > 0 && start > to {
		i--
		start -= l[i].Length
	}
	for ; i < len(l); i++ {
		if start+l[i].Length > to {
			out = out.push(l[i].cut(to-start, l[i].Length))
		}
		start += l[i].Length
	}
	return out
}

// Truncate returns the file cut to size bytes, or made longer by a hole.
func (l List) Truncate(size int64) List {
	have := l.Size()
	if size <= have {
		return l.Slice(0, size)
	}
	out := make(List, len(l), len(l)+1)
	copy(out, l)
	return out.push(Extent{Length: size - have})
}

// Objects returns the objects that l names, each once, in the order in which
// the file first uses them.
func (l List) Objects() iter.Seq[objectid.ID] {
	return func(yield func(objectid.ID) bool) {
		seen := make(map[objectid.ID]struct{}, len(l))
		for i := range l {
			id := l[i].Object
			if id.IsZero() {
				continue
			}
			if _, dup := seen[id]; dup {
				continue
			}
			seen[id] = struct{}{}
			if !yield(id) {
				return
			}
		}
	}
}

// check reports what makes l impossible to encode.
func (l List) check() error {
	var size int64
	for i := range l {
		e := &l[i]
		switch {
		case e.Length <= 0:
			return fmt.Errorf("manifest: extent %d has the length %d", i, e.Length)
		case e.Offset < 0 || e.Offset > MaxSize-e.Length:
			return fmt.Errorf("manifest: extent %d has the offset %d and the length %d", i, e.Offset, e.Length)
		case e.IsHole() && e.Offset != 0:
			return fmt.Errorf("manifest: extent %d is a hole with the offset %d", i, e.Offset)
		case e.Length > MaxSize-size:
			return fmt.Errorf("%w: it is larger than %d bytes", ErrTooLarge, int64(MaxSize))
		}
		size += e.Length
	}
	return nil
}

package manifest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

func obj(n int) objectid.ID { return objectid.Of([]byte{byte(n), byte(n >> 8), byte(n >> 16)}) }

// place is one byte of a file: which byte of which object it is.
type place struct {
	object objectid.ID
	offset int64
}

// flat is the naive form of a List: its bytes one by one.
func flat(l List) []place {
	var places []place
	for _, e := range l {
		for i := range e.Length {
			if e.IsHole() {
				places = append(places, place{})
			} else {
				places = append(places, place{e.Object, e.Offset + i})
			}
		}
	}
	return places
}

// requireCanonical checks that no two extents of l could be one.
func requireCanonical(t *testing.T, l List) {
	t.Helper()
	require.NoError(t, l.check())
	for i := 1; i < len(l); i++ {
		require.False(t, l[i-1].continues(l[i]), "extents %d and %d of %v", i-1, i, l)
	}
}

// randomList returns extents of few objects, so that they often continue or
// repeat each other.
func randomList(r *rand.Rand, extents int) (l List) {
	for range extents {
		e := Extent{Length: 1 + r.Int64N(8)}
		if r.IntN(4) > 0 {
			e.Object = obj(r.IntN(3))
			e.Offset = r.Int64N(10)
		}
		if n := len(l); n > 0 && r.IntN(3) == 0 && !l[n-1].IsHole() {
			e.Object, e.Offset = l[n-1].Object, l[n-1].Offset+l[n-1].Length
		}
		l = l.push(e)
	}
	return l
}

func TestEditsMatchAByteByByteModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		l := randomList(r, r.IntN(8))
		model := flat(l)
		first, before := l, slices.Clone(l)
		for range 4 {
			from, to := r.Int64N(70)-2, r.Int64N(70)-2
			switch r.IntN(3) {
			case 0:
				with := randomList(r, r.IntN(4))
				if r.IntN(2) == 0 {
					with = randomList(r, 40).Slice(0, max(0, to-max(from, 0)))
				}
				l = l.Replace(from, to, with)
				at := max(from, 0)
				end := max(at, to)
				for int64(len(model)) < at {
					model = append(model, place{})
				}
				rest := model[min(end, int64(len(model))):]
				model = slices.Concat(model[:at], flat(with), rest)
			case 1:
				part := l.Slice(from, to)
				start := min(max(from, 0), l.Size())
				end := max(start, min(to, l.Size()))
				require.Equal(t, nonNil(model[start:end]), nonNil(flat(part)))
				requireCanonical(t, part)
			case 2:
				size := max(from, 0)
				l = l.Truncate(size)
				for int64(len(model)) < size {
					model = append(model, place{})
				}
				model = model[:size]
			}
			requireCanonical(t, l)
			require.Equal(t, nonNil(model), nonNil(flat(l)))
			require.Equal(t, int64(len(model)), l.Size())
			index := l.Index()
			require.Equal(t, l.Size(), index.Size())
			for off := int64(-1); off <= l.Size()+1; off++ {
				i, start := l.Find(off)
				if j, same := index.Find(off); j != i || same != start {
					t.Fatalf("byte %d: Index.Find says %d at %d, List.Find %d at %d", off, j, same, i, start)
				}
				if off < 0 {
					continue
				}
				if off >= l.Size() {
					require.Equal(t, len(l), i)
					continue
				}
				p := place{l[i].Object, l[i].Offset + off - start}
				if l[i].IsHole() {
					p.offset = 0
				}
				if p != model[off] {
					t.Fatalf("byte %d: Find says %v, want %v", off, p, model[off])
				}
			}
		}
		require.Equal(t, before, first)
	}
}

// nonNil makes empty slices equal.
func nonNil(p []place) []place {
	if len(p) == 0 {
		return []place{}
	}
	return p
}

func TestEditsDoNotTouchTheListTheyStartFrom(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		l := randomList(r, 6)
		l = append(make(List, 0, 20), l...) // room to be overwritten by mistake
		with := append(make(List, 0, 20), randomList(r, 3)...)
		before, beforeWith := slices.Clone(l), slices.Clone(with)
		from, to := r.Int64N(50), r.Int64N(50)
		results := []List{l.Replace(from, to, with), l.Slice(from, to), l.Truncate(from), l.Truncate(from + 100)}
		for _, result := range results {
			for i := range result {
				result[i].Length += 1000
			}
		}
		_, err := append(slices.Clone(l), with...).Encode()
		require.NoError(t, err)
		require.Equal(t, before, l)
		require.Equal(t, beforeWith, with)
	}
}

func TestEqualContentsHaveEqualBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		l := randomList(r, r.IntN(10))
		want, err := l.Encode()
		require.NoError(t, err)
		// The same file, put together from pieces.
		var pieces List
		for _, e := range l {
			for e.Length > 0 {
				part := e
				part.Length = 1 + r.Int64N(e.Length)
				pieces = append(pieces, part)
				e.Length -= part.Length
				if !e.IsHole() {
					e.Offset += part.Length
				}
			}
		}
		got, err := pieces.Encode()
		require.NoError(t, err)
		require.Equal(t, want, got)

		back, err := Decode(want, 100)
		require.NoError(t, err)
		require.Equal(t, l, back)
	}
}

// The bytes of the format: they must never change.
func TestGoldenBytes(t *testing.T) {
	a, b := objectid.ID{0xaa}, objectid.ID{0xbb}
	long := func(id objectid.ID) string { return string(id[:]) }
	for name, c := range map[string]struct {
		list List
		want string
	}{
		"empty": {nil, "PKTM\x01\x00"},
		"hole":  {Hole(300), "PKTM\x01\x01\x00\xac\x02"},
		"all kinds": {
			List{{100, a, 0}, {100, b, 0}, {7, a, 200}, {7, objectid.ID{}, 0}, {100, a, 0}, {100, b, 5}},
			"PKTM\x01\x06" +
				"\x01" + long(a) + "\x64" + // new object, length
				"\x05" + long(b) + // new object, the same length
				"\x0a\x00\x07\xc8\x01" + // object 0, length, offset
				"\x04" + // hole of the same length
				"\x02\x00\x64" + // object 0, length
				"\x0e\x01\x05", // object 1, the same length, offset
		},
	} {
		got, err := c.list.Encode()
		require.NoError(t, err, name)
		require.Equal(t, c.want, string(got), name)
		back, err := Decode(got, 1000)
		require.NoError(t, err, name)
		require.Equal(t, c.list, back, name)
	}
}

func TestFourGiBInChunksTakesLessThan48KiB(t *testing.T) {
	var l List
	for n := range 1024 {
		l = append(l, Extent{Length: 4 << 20, Object: obj(n)})
	}
	b, err := l.Encode()
	require.NoError(t, err)
	require.Less(t, len(b), 48<<10)
	require.Less(t, len(b), 1024*33+20)
	back, err := Decode(b, 4<<20)
	require.NoError(t, err)
	require.Equal(t, l, back)
	require.Equal(t, int64(4<<30), back.Size())

	// A small write adds one object and cuts one chunk in two.
	small := List{{Length: 4096, Object: obj(5000)}}
	edited, err := back.Replace(1<<30+8192, 1<<30+8192+4096, small).Encode()
	require.NoError(t, err)
	require.Less(t, len(edited), len(b)+60)
}

func TestDecodeRefusesWhatEncodeNeverWrites(t *testing.T) {
	id := obj(1)
	object := string(id[:])
	other := obj(2)
	second := string(other[:])
	head := "PKTM\x01"
	for name, b := range map[string]string{
		"nothing":                          "",
		"short":                            "PKTM",
		"another magic":                    "PKTN\x01\x00",
		"version 0":                        "PKTM\x00\x00",
		"no count":                         head,
		"more extents than bytes":          head + "\x05\x00\x01",
		"huge count":                       head + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"long count":                       head + "\x81\x00\x00\x01",
		"bytes after the end":              head + "\x00\x00",
		"cut in the object":                head + "\x01\x01" + object[:31],
		"cut before the length":            head + "\x01\x01" + object,
		"length zero":                      head + "\x01\x01" + object + "\x00",
		"same length as none":              head + "\x01\x05" + object,
		"length beyond the object":         head + "\x01\x01" + object + "\xe9\x07",
		"offset beyond the object":         head + "\x01\x09" + object + "\x01\xe8\x07",
		"offset zero written out":          head + "\x01\x09" + object + "\x01\x00",
		"hole with an offset":              head + "\x01\x08\x01\x01",
		"unknown kind":                     head + "\x01\x03\x01",
		"unknown flag":                     head + "\x01\x10\x01",
		"the same length written out":      head + "\x02\x01" + object + "\x05\x00\x05",
		"unknown object":                   head + "\x01\x02\x00\x05",
		"object 1 of 1":                    head + "\x02\x01" + object + "\x05\x02\x01\x04",
		"new object that is not":           head + "\x03\x01" + object + "\x05\x04\x05" + object,
		"new object that is none":          head + "\x01\x01" + string(make([]byte, 32)) + "\x05",
		"two holes in a row":               head + "\x02\x00\x05\x00\x06",
		"two halves of an object in a row": head + "\x02\x01" + object + "\x05\x0a\x00\x06\x05",
		"larger than any file":             head + "\x03\x00\x80\x80\x80\x80\x80\x80\x80\x80\x40\x01" + object + "\x01\x00\x05",
		"a hole larger than any file":      head + "\x01\x00\x81\x80\x80\x80\x80\x80\x80\x80\x40",
		"cut before the second":            head + "\x02\x01" + object + "\x05",
		"order of new objects":             head + "\x02\x02\x00\x05\x01" + second,
	} {
		_, err := Decode([]byte(b), 1000)
		require.ErrorIs(t, err, ErrDamaged, name)
		require.NotContains(t, err.Error(), "\n", name)
	}
	_, err := Decode([]byte("PKTM\x02"), 1000)
	require.ErrorIs(t, err, ErrNewer)
	_, err = Decode(make([]byte, MaxEncoded+1), 1000)
	require.ErrorIs(t, err, ErrDamaged)
	largest, err := Hole(MaxSize).Encode()
	require.NoError(t, err)
	_, err = Decode(largest, 0)
	require.NoError(t, err, "a hole is in no object")
}

func TestEncodeRefusesImpossibleLists(t *testing.T) {
	for name, l := range map[string]List{
		"length zero":      {{Length: 0}},
		"negative length":  {{Length: -1}},
		"negative offset":  {{Length: 1, Object: obj(1), Offset: -1}},
		"overflow":         {{Length: MaxSize, Object: obj(1), Offset: MaxSize}},
		"hole with offset": {{Length: 1, Offset: 1}},
		"too large":        {{Length: MaxSize}, {Length: 1, Object: obj(1)}},
	} {
		_, err := l.Encode()
		require.Error(t, err, name)
	}
	many := make(List, MaxExtents+1)
	for i := range many {
		many[i] = Extent{Length: 1, Object: obj(1), Offset: int64(i%2) * 5}
	}
	_, err := many.Encode()
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = many[:MaxExtents].Encode()
	require.NoError(t, err)
}

func TestObjectsAreListedOnceInOrderOfUse(t *testing.T) {
	l := List{{5, obj(3), 0}, {5, objectid.ID{}, 0}, {5, obj(1), 0}, {5, obj(3), 9}, {5, obj(2), 0}}
	require.Equal(t, []objectid.ID{obj(3), obj(1), obj(2)}, slices.Collect(l.Objects()))
	for id := range l.Objects() {
		require.Equal(t, obj(3), id)
		break
	}
	require.Empty(t, slices.Collect(Hole(100).Objects()))
}

func TestZeroIndexIsAnEmptyFile(t *testing.T) {
	var x Index
	i, start := x.Find(5)
	require.Zero(t, i)
	require.Zero(t, start)
	require.Zero(t, x.Size())
}

// FuzzDecode checks that whatever Decode accepts is canonical: it is what Encode
// writes for it.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(8, 9))
	for n := range 20 {
		b, err := randomList(r, n).Encode()
		require.NoError(f, err)
		f.Add(b, int64(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, maxObject int64) {
		l, err := Decode(b, maxObject)
		if err != nil {
			return
		}
		for _, e := range l {
			if !e.IsHole() && e.Offset+e.Length > maxObject {
				t.Fatalf("%+v ends beyond %d", e, maxObject)
			}
		}
		if size := l.Size(); size < 0 || size > MaxSize {
			t.Fatalf("size %d", size)
		}
		again, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(b) {
			t.Fatalf("%x was read from %x", again, b)
		}
	})
}

func BenchmarkDecode4GiB(b *testing.B) {
	var l List
	for n := range 1024 {
		l = append(l, Extent{Length: 4 << 20, Object: obj(n)})
	}
	bytes, err := l.Encode()
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(bytes, 4<<20); err != nil {
			b.Fatal(err)
		}
	}
}

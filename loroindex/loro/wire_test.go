package loro

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestXXH32(t *testing.T) {
	// From the specification's sanity checks and the reference implementation.
	for _, c := range []struct {
		in   string
		seed uint32
		want uint32
	}{
		{"", 0, 0x02CC5D05},
		{"", 0x9E3779B1, 0x36B78AE7},
		{"a", 0, 0x550D7456},
		{"abc", 0, 0x32D153FF},
		{"Nobody inspects the spammish repetition", 0, 0xE2293B2F},
	} {
		require.Equal(t, c.want, xxh32([]byte(c.in), c.seed), "%q", c.in)
	}
}

func TestVarints(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 127, 128, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64} {
		c := cursor{b: appendSleb(nil, v)}
		require.Equal(t, v, c.sleb())
		require.NoError(t, c.done(""))
		c = cursor{b: appendVarint(nil, v)}
		require.Equal(t, v, c.varint())
		require.NoError(t, c.done(""))
		c = cursor{b: appendVarint(nil, v)}
		require.Equal(t, v, wideVarint(&c))
		require.NoError(t, c.done(""))
	}
	require.Equal(t, []byte{0x7f}, appendSleb(nil, -1))
	require.Equal(t, []byte{0x01}, appendVarint(nil, -1))
	for _, bad := range [][]byte{{}, {0x80}, bytes.Repeat([]byte{0x80}, 20), {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}} {
		for _, read := range []func(*cursor){func(c *cursor) { c.sleb() }, func(c *cursor) { c.uvarint() }, func(c *cursor) { wideVarint(c) }} {
			c := cursor{b: bad}
			read(&c)
			require.ErrorIs(t, c.err, ErrInvalid)
		}
	}
}

func TestColumnsReadBackWhatWasWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n := r.IntN(40)
		spread := []int64{1, 2, 100, 1000, 5000, 1 << 22, 1 << 40}[r.IntN(7)]
		vs := make([]int64, n)
		at := r.Int64N(1000)
		for i := range vs {
			if r.IntN(3) > 0 {
				at += r.Int64N(2*spread+1) - spread
			}
			vs[i] = at
		}
		delta := deltaEncoder{}
		rle := rleEncoder{}
		var bools []bool
		for _, v := range vs {
			delta.add(v)
			rle.add(zigzag(v))
			bools = append(bools, v&4 != 0)
		}
		d := deltaRle{c: cursor{b: slices.Clone(delta.finish())}}
		a := anyRle{c: cursor{b: slices.Clone(rle.finish())}}
		b := boolRle{c: cursor{b: appendBoolRle(nil, bools)}}
		for i, v := range vs {
			x, ok := d.take()
			require.True(t, ok)
			require.Equal(t, v, x)
			u, ok := a.take()
			require.True(t, ok)
			require.Equal(t, zigzag(v), u)
			y, ok := b.take()
			require.True(t, ok)
			require.Equal(t, bools[i], y)
		}
		require.True(t, d.exhausted() && a.exhausted())
		_, ok := d.take()
		require.False(t, ok)
		_, ok = b.take()
		require.False(t, ok)

		c := cursor{b: append(appendDeltaOfDelta(nil, vs), 0xAB)}
		require.Equal(t, vs, append([]int64{}, takeDeltaOfDelta(&c, n)...))
		require.Equal(t, byte(0xAB), c.byte(), "what follows starts on the next byte")
	}
}

func TestEmptyAndSingleDeltaOfDeltaStreams(t *testing.T) {
	require.Equal(t, []byte{0, 0}, appendDeltaOfDelta(nil, nil))
	require.Equal(t, []byte{1, 10, 0}, appendDeltaOfDelta(nil, []int64{5}))
}

// The last byte's count of used bits is not needed to read a stream of known
// length, but must be written as others expect it.
func TestDeltaOfDeltaStreamsOfTheOfficialLibraryAreRewrittenTheSame(t *testing.T) {
	checked := 0
	for _, v := range readManifest(t).Vectors {
		for _, im := range v.Imports {
			mode, body, err := openEnvelope(readVector(t, im.File))
			require.NoError(t, err)
			if mode != ModeUpdates {
				continue
			}
			for c := (cursor{b: body}); len(c.b) > 0; {
				raw := c.bytes()
				b, err := decodeHead(raw)
				require.NoError(t, err)
				p := cursor{b: raw}
				blockPrefix(&p)
				p.bytes()
				meta := p.bytes()
				m := cursor{b: meta}
				stamps := takeDeltaOfDelta(&m, len(b.changes))
				require.Equal(t, meta[:len(meta)-len(m.b)], appendDeltaOfDelta(nil, stamps), im.File)
				checked++
			}
		}
	}
	require.Greater(t, checked, 100)
}

func TestSSTables(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	type pair struct{ k, v []byte }
	var pairs []pair
	for i := range 2000 {
		k := fmt.Appendf(nil, "%06d", i*3)
		if i%10 == 0 {
			k = append(k, bytes.Repeat([]byte{'x'}, r.IntN(400))...)
		}
		v := make([]byte, r.IntN(100))
		if i%100 == 7 {
			v = make([]byte, 4097+r.IntN(100_000))
		}
		for j := range v {
			v[j] = byte(r.IntN(1 + i%256))
		}
		pairs = append(pairs, pair{k, v})
	}
	w := newSSTWriter(nil)
	for _, p := range pairs {
		w.add(p.k, p.v)
	}
	section := w.finish()
	tab, err := openSSTable(section)
	require.NoError(t, err)
	check := func(tab *sstable) {
		i := 0
		require.NoError(t, tab.scan(0, len(tab.blocks), nil, func(k, v []byte) error {
			require.Equal(t, string(pairs[i].k), string(k))
			require.True(t, bytes.Equal(pairs[i].v, v))
			i++
			return nil
		}))
		require.Equal(t, len(pairs), i)
	}
	check(tab)
	// Every other block taken over as it is.
	w = newSSTWriter(nil)
	for i := range tab.blocks {
		if i%2 == 0 {
			require.NoError(t, w.copyBlock(tab, i))
			continue
		}
		require.NoError(t, tab.scan(i, i+1, nil, func(k, v []byte) error {
			w.add(k, v)
			return nil
		}))
	}
	tab, err = openSSTable(w.finish())
	require.NoError(t, err)
	check(tab)

	for range 300 {
		bad := slices.Clone(section)
		bad[r.IntN(len(bad))] ^= byte(1 + r.IntN(255))
		tab, err := openSSTable(bad)
		if err == nil {
			err = tab.scan(0, len(tab.blocks), nil, func(_, _ []byte) error { return nil })
		}
		require.ErrorIs(t, err, ErrInvalid, "a flipped bit is noticed")
	}
	tab, err = openSSTable(nil)
	require.NoError(t, err)
	require.Empty(t, tab.blocks)
	require.Empty(t, newSSTWriter(nil).finish())
}

func TestIDsAndVersions(t *testing.T) {
	id, err := ParseID("7@18446744073709551615")
	require.NoError(t, err)
	require.Equal(t, ID{1<<64 - 1, 7}, id)
	require.Equal(t, "7@18446744073709551615", id.String())
	for _, bad := range []string{"", "7", "@", "7@", "@7", "-1@7", "7@-1", "99999999999@1", "1@99999999999999999999"} {
		_, err := ParseID(bad)
		require.Error(t, err, bad)
	}
	n, err := ParseTreeID("3@4")
	require.NoError(t, err)
	require.Equal(t, TreeID{4, 3}, n)
	require.Equal(t, "root", TreeRoot.String())
	require.Equal(t, "cid:root-a:Map", RootID("a", TypeMap).String())
	require.Equal(t, "cid:3@4:Unknown(9)", ChildID(ID{4, 3}, 9).String())

	a, b := VersionVector{1: 2, 2: 1}, VersionVector{1: 1, 3: 1}
	require.Equal(t, Concurrent, a.Compare(b))
	require.Equal(t, Equal, a.Compare(VersionVector{1: 2, 2: 1, 9: 0}))
	c := a.Clone()
	c.Merge(b)
	require.Equal(t, VersionVector{1: 2, 2: 1, 3: 1}, c)
	require.Equal(t, After, c.Compare(a))
	require.Equal(t, Before, b.Compare(c))
	require.True(t, a.Includes(ID{1, 1}) && !a.Includes(ID{1, 2}))
	require.True(t, Frontiers{{1, 1}, {2, 2}}.Equal(Frontiers{{2, 2}, {1, 1}}))
	require.NotEqual(t, RandomPeer(), RandomPeer())
}

func TestMergeableParents(t *testing.T) {
	for name, want := range map[string]ContainerID{
		"entries":              {},
		"🤝:$state>note-1":      RootID("state", TypeMap),
		"🤝:$state>note-1>body": RootID("🤝:$state>note-1", TypeMap),
		`🤝:$a\>b\s\\>k\>1`:     RootID(`a>b/\`, TypeMap),
		"🤝:@zz:a>k":            ChildID(ID{35*36 + 35, 10}, TypeMap),
		"🤝:nothing":            {},
		"🤝:@bad>k":             {},
	} {
		require.Equal(t, want, mergeableParent(name), name)
	}
}

func TestValueJSONAndEquality(t *testing.T) {
	v := MapValue(Entry{"b", List(Int(1), Float(1), Float(0.5), Float(math.Inf(-1)))}, Entry{"a", String("é\"\n\x01")}, Entry{"a", Binary([]byte{1, 255})}, Entry{"c", Null()}, Entry{"d", Bool(true)})
	require.Equal(t, `{"a":{"$bin":"01ff"},"b":[1,1.0,0.5,{"$f64":"fff0000000000000"}],"c":null,"d":true}`, v.String())
	require.Equal(t, `"é\"\n\u0001"`, String("é\"\n\x01").String())
	require.True(t, v.Equal(v))
	require.False(t, Int(1).Equal(Float(1)))
	require.True(t, Float(math.NaN()).Equal(Float(math.NaN())))
	require.False(t, List(Int(1)).Equal(List(Int(2))))
	got, ok := v.Get("a")
	require.True(t, ok)
	require.Equal(t, KindBinary, got.Kind())
	require.Equal(t, 4, v.Len())
}

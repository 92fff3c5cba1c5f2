package loro

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMapKeepsEveryKindOfValue(t *testing.T) {
	values := map[string]Value{
		"null": Null(), "true": Bool(true), "false": Bool(false),
		"zero": Int(0), "max": Int(math.MaxInt64), "min": Int(math.MinInt64), "filetime": Int(133500000000000001),
		"float": Float(1.5), "integral": Float(1), "-0": Float(math.Copysign(0, -1)), "inf": Float(math.Inf(1)), "nan": Float(math.NaN()),
		"text": String("né 🙂\x00"), "": String(""), "binary": Binary([]byte{0, 255, 128}), "nothing": Binary(nil),
		"list": List(Int(1), List(), MapValue(Entry{"a", Null()})),
		"map":  MapValue(Entry{"z", Int(1)}, Entry{"a", List(Float(2))}, Entry{"\U00010000", Null()}, Entry{"\ue000", Null()}),
		"big":  String(strings.Repeat("x", 70000)), "huge": Binary(make([]byte, 3<<20)),
	}
	d := NewDoc(1)
	m := d.Map("m")
	for _, k := range slices.Sorted(maps.Keys(values)) {
		require.NoError(t, m.Set(k, values[k]))
	}
	d.Commit()
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	up, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	for _, d := range []*Doc{d, load(t, snap), load(t, up)} {
		m := d.Map("m")
		require.Equal(t, len(values), m.Len())
		var keys []string
		for k := range m.All() {
			keys = append(keys, k)
		}
		require.Equal(t, slices.Sorted(maps.Keys(values)), keys)
		for k, v := range values {
			got, ok := m.Get(k)
			require.True(t, ok, k)
			require.True(t, v.Equal(got), "%s: %v", k, got)
			raw, ok := m.Raw(k)
			require.True(t, ok)
			require.True(t, v.Equal(raw.Value()), k)
			require.Equal(t, v.Kind(), raw.Kind())
			require.Equal(t, v.Len(), raw.Len())
		}
	}
}

func TestRawReadsInPlace(t *testing.T) {
	d := NewDoc(1)
	require.NoError(t, d.Map("m").Set("v", MapValue(Entry{"b", Bool(true)}, Entry{"i", Int(-7)}, Entry{"f", Float(2.5)},
		Entry{"s", String("é")}, Entry{"l", List(Int(1), MapValue(Entry{"x", Null()}), Binary([]byte{1}))}, Entry{"z", Int(9)})))
	v, ok := d.Map("m").Raw("v")
	require.True(t, ok)
	get := func(k string) Raw {
		r, ok := v.Get(k)
		require.True(t, ok, k)
		return r
	}
	b, ok := get("b").Bool()
	require.True(t, b && ok)
	i, ok := get("i").Int()
	require.True(t, ok)
	require.EqualValues(t, -7, i)
	f, ok := get("f").Float()
	require.True(t, ok)
	require.Equal(t, 2.5, f)
	s, ok := get("s").Bytes()
	require.True(t, ok)
	require.Equal(t, "é", string(s))
	z, ok := get("z").Int()
	require.True(t, ok)
	require.EqualValues(t, 9, z)
	_, ok = get("z").Bytes()
	require.False(t, ok)
	_, ok = v.Get("absent")
	require.False(t, ok)
	require.True(t, Raw{}.Value().IsNull())
	require.Equal(t, 3, get("l").Len())
}

func TestSettingAnEqualValueOrDeletingAnAbsentKeyRecordsNothing(t *testing.T) {
	d := NewDoc(1)
	m := d.Map("m")
	require.NoError(t, m.Delete("k"))
	_, ok := d.Commit()
	require.False(t, ok)
	require.NoError(t, m.Set("k", MapValue(Entry{"b", Int(1)}, Entry{"a", Int(2)})))
	span, ok := d.Commit()
	require.True(t, ok)
	require.Equal(t, IDSpan{1, 0, 1}, span)
	require.NoError(t, m.Set("k", MapValue(Entry{"a", Int(2)}, Entry{"b", Int(1)})))
	_, ok = d.Commit()
	require.False(t, ok)
	require.NoError(t, m.Set("k", Float(1)))
	require.NoError(t, m.Set("k", Int(1)))
	require.NoError(t, m.Delete("k"))
	require.NoError(t, m.Delete("k"))
	span, _ = d.Commit()
	require.Equal(t, IDSpan{1, 1, 4}, span)
	r, ok := m.Register("k")
	require.True(t, ok)
	require.Equal(t, Register{IDLP: IDLP{3, 1}, Deleted: true}, r)
	_, ok = m.Get("k")
	require.False(t, ok)
	require.Zero(t, m.Len())
}

func TestValuesTheFormatCannotHoldAreRefused(t *testing.T) {
	m := NewDoc(1).Map("m")
	deepList := func(n int) Value {
		v := List()
		for range n - 1 {
			v = List(v)
		}
		return v
	}
	require.NoError(t, m.Set("k", deepList(MaxDepth)))
	require.ErrorIs(t, m.Set("k", deepList(MaxDepth+1)), ErrValue)
	require.ErrorIs(t, m.Set("k", String("\xff")), ErrValue)
	require.ErrorIs(t, m.Set("\xff", Int(1)), ErrValue)
	require.ErrorIs(t, m.Set("k", MapValue(Entry{"\xff", Null()})), ErrValue)
	require.ErrorIs(t, m.Set("k", containerValue(RootID("x", TypeMap))), ErrValue)
	require.ErrorIs(t, NewDoc(1).Map(strings.Repeat("x", 1<<16)).Set("k", Int(1)), ErrValue)
	b, err := m.d.ExportUpdates(nil)
	require.NoError(t, err)
	same(t, m.d, load(t, b))
}

func TestMapOfManyKeys(t *testing.T) {
	d := NewDoc(1)
	m := d.Map("m")
	r := rand.New(rand.NewPCG(1, 1))
	want := map[string]int64{}
	for i := range int64(2000) {
		k := fmt.Sprint(r.IntN(300))
		if r.IntN(4) == 0 {
			require.NoError(t, m.Delete(k))
			delete(want, k)
		} else {
			require.NoError(t, m.Set(k, Int(i)))
			want[k] = i
		}
		require.Equal(t, len(want), m.Len())
	}
	got := map[string]int64{}
	for k, v := range m.All() {
		got[k], _ = v.AsInt()
	}
	require.Equal(t, want, got)
	d.Commit()
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	same(t, d, load(t, snap))
}

func TestChildMaps(t *testing.T) {
	d := NewDoc(1)
	m := d.Map("entries")
	a, err := m.SetMap("a")
	require.NoError(t, err)
	require.NoError(t, a.Set("size", Int(1)))
	deepest, err := a.SetMap("b")
	require.NoError(t, err)
	require.NoError(t, deepest.Set("x", Bool(true)))
	require.Equal(t, `{"entries":{"a":{"b":{"x":true},"size":1}}}`, deep(d))
	v, _ := m.Get("a")
	id, ok := v.AsContainer()
	require.True(t, ok)
	again, ok := d.MapOf(id)
	require.True(t, ok)
	require.Equal(t, 2, again.Len())
	require.NoError(t, m.Set("a", Int(1)))
	require.ErrorIs(t, a.Set("size", Int(2)), ErrNotAttached)
	require.ErrorIs(t, deepest.Set("size", Int(2)), ErrNotAttached)
	_, err = deepest.SetMap("y")
	require.ErrorIs(t, err, ErrNotAttached)
	_, ok = d.MapOf(RootID("t", TypeTree))
	require.False(t, ok)
	d.Commit()
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	same(t, d, load(t, snap))
}

func TestTreeEdits(t *testing.T) {
	d := NewDoc(1)
	tree := d.Tree("files")
	require.Zero(t, tree.Len())
	require.Empty(t, slices.Collect(tree.Nodes()))
	create := func(p TreeID) TreeID {
		n, err := tree.Create(p)
		require.NoError(t, err)
		return n
	}
	a := create(TreeRoot)
	b := create(a)
	c := create(b)
	e := create(a)
	require.Equal(t, []TreeID{b, e}, slices.Collect(tree.Children(a)))
	require.Equal(t, []TreeID{a, b, c, e}, slices.Collect(tree.Nodes()))
	require.Equal(t, 2, tree.ChildCount(a))
	require.Equal(t, []byte{0x80}, tree.Position(c))

	require.ErrorIs(t, tree.Move(a, c), ErrCycle)
	require.ErrorIs(t, tree.Move(a, a), ErrCycle)
	require.ErrorIs(t, tree.Move(TreeID{9, 9}, a), ErrNoNode)
	require.ErrorIs(t, tree.Move(a, TreeID{9, 9}), ErrNoNode)
	require.ErrorIs(t, tree.Delete(TreeRoot), ErrNoNode)
	_, err := tree.Create(TreeID{9, 9})
	require.ErrorIs(t, err, ErrNoNode)

	before := len(d.txn.ops)
	require.NoError(t, tree.Move(c, b))
	require.Len(t, d.txn.ops, before, "a move to the same parent records nothing")

	require.ErrorIs(t, tree.MoveLast(TreeID{9, 9}), ErrNoNode)
	require.NoError(t, tree.MoveLast(b))
	require.Equal(t, []TreeID{e, b}, slices.Collect(tree.Children(a)))
	require.NoError(t, tree.MoveLast(e))
	require.Equal(t, []TreeID{b, e}, slices.Collect(tree.Children(a)))

	require.NoError(t, tree.Move(b, TreeRoot))
	require.Equal(t, []TreeID{a, b}, slices.Collect(tree.Children(TreeRoot)))
	lp, _ := tree.LastMove(b)
	require.Equal(t, IDLP{6, 1}, lp)

	require.NoError(t, tree.Delete(b))
	place := func(n TreeID) Place { _, p := tree.Parent(n); return p }
	require.Equal(t, []Place{Live, Trashed, Hidden, Live, Absent}, []Place{place(a), place(b), place(c), place(e), place(TreeID{9, 9})})
	require.False(t, tree.Alive(c))
	require.Equal(t, []TreeID{a, e}, slices.Collect(tree.Nodes()))
	require.ErrorIs(t, tree.Delete(c), ErrNoNode)
	require.ErrorIs(t, tree.Move(a, c), ErrNoNode)
	require.ErrorIs(t, tree.Meta(c).Set("k", Int(1)), ErrNotAttached)
	require.ErrorIs(t, tree.Meta(TreeID{9, 9}).Set("k", Int(1)), ErrNotAttached)
	require.NoError(t, tree.Move(c, e), "out of what was deleted")
	require.NoError(t, tree.Move(b, c), "and what was deleted itself")
	require.Equal(t, []TreeID{a, e, c, b}, slices.Collect(tree.Nodes()))
	require.Equal(t, 4, tree.Len())
	d.Commit()
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	same(t, d, load(t, snap))
}

func TestSiblingsStayInOrderInWideDirectories(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	d := NewDoc(1)
	tree := d.Tree("files")
	dirs := []TreeID{TreeRoot}
	for range 3 {
		n, err := tree.Create(TreeRoot)
		require.NoError(t, err)
		dirs = append(dirs, n)
	}
	var files []TreeID
	for range 3000 {
		n, err := tree.Create(dirs[1])
		require.NoError(t, err)
		files = append(files, n)
	}
	d.Commit()
	// A replica that moved some of them meanwhile, so that arrivals are put
	// between those that are there.
	up, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	e := load(t, up)
	for range 3000 {
		f := files[r.IntN(len(files))]
		for _, x := range []*Doc{d, e} {
			if r.IntN(2) == 0 {
				require.NoError(t, x.Tree("files").Move(f, dirs[r.IntN(len(dirs))]))
			}
		}
	}
	d.Commit()
	e.Commit()
	up, err = e.ExportUpdates(d.Version())
	require.NoError(t, err)
	_, err = d.Import(up)
	require.NoError(t, err)
	for _, dir := range dirs {
		last := IDLP{}
		n := 0
		for c := range tree.Children(dir) {
			lp, _ := tree.LastMove(c)
			require.Negative(t, last.Compare(lp))
			p, place := tree.Parent(c)
			require.Equal(t, Live, place)
			require.Equal(t, dir, p)
			last = lp
			n++
		}
		require.Equal(t, n, tree.ChildCount(dir))
	}
	for len(files) > 0 {
		i := r.IntN(len(files))
		require.NoError(t, tree.Delete(files[i]))
		files = slices.Delete(files, i, i+1)
	}
	require.Zero(t, tree.ChildCount(dirs[1]))
	require.NoError(t, verifyAfterCommit(d))
}

func verifyAfterCommit(d *Doc) error {
	d.Commit()
	return d.Verify()
}

func TestCommitsMergeIntoChangesByTimeAndMessage(t *testing.T) {
	d := NewDoc(5)
	sec := int64(0)
	d.SetCommitInfo("", func() time.Time { return time.Unix(sec, 0) })
	commit := func(at int64, msg string) {
		sec = at
		d.SetCommitInfo(msg, d.now)
		require.NoError(t, d.Map("m").Set("k", Int(at*1000+int64(len(msg)))))
		_, ok := d.Commit()
		require.True(t, ok)
	}
	commit(100, "")
	commit(1100, "")
	commit(1101, "")
	commit(1102, "hello")
	commit(1103, "hello")
	commit(1104, "")
	var got []string
	for c, err := range d.Changes() {
		require.NoError(t, err)
		got = append(got, fmt.Sprint(c.ID.Counter, "+", c.Len, " ", c.Timestamp, " ", c.Message, " ", c.Lamport, c.Deps))
	}
	require.Equal(t, []string{"0+2 100  0 []", "2+1 1101  2 [1@5]", "3+2 1102 hello 3 [2@5]", "5+1 1104  5 [4@5]"}, got)
	c, err := d.ChangeOf(ID{5, 4})
	require.NoError(t, err)
	require.Equal(t, ID{5, 3}, c.ID)
	_, err = d.ChangeOf(ID{5, 6})
	require.ErrorIs(t, err, ErrUnknownRange)
	_, err = d.ChangeOf(ID{6, 0})
	require.ErrorIs(t, err, ErrUnknownRange)
}

func TestALargeTransactionIsDividedIntoBlocks(t *testing.T) {
	d := NewDoc(1)
	tree := d.Tree("files")
	for i := range 3000 {
		n, err := tree.Create(TreeRoot)
		require.NoError(t, err)
		require.NoError(t, tree.Meta(n).Set("name", Int(int64(i))))
	}
	span, ok := d.Commit()
	require.True(t, ok)
	require.Equal(t, IDSpan{1, 0, 6000}, span)
	require.Greater(t, len(d.h.peers[d.self].blocks), 5)
	for _, b := range d.h.peers[d.self].blocks {
		require.Less(t, b.end-b.ctr, int32(1400))
	}
	up, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	same(t, d, load(t, up))
	// A second one, on top of what another peer did.
	e := load(t, up)
	require.NoError(t, e.Map("m").Set("k", Int(1)))
	e.Commit()
	more, err := e.ExportUpdates(d.Version())
	require.NoError(t, err)
	_, err = d.Import(more)
	require.NoError(t, err)
	for i := range int64(2000) {
		require.NoError(t, d.Map("m").Set("k", Int(-i)))
	}
	d.Commit()
	require.Equal(t, Frontiers{{1, 7999}}, d.Frontiers())
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	same(t, d, load(t, snap))
}

func TestEditsContinueAHistoryOfTheSamePeer(t *testing.T) {
	d := NewDoc(1)
	require.NoError(t, d.Map("m").Set("a", Int(1)))
	d.Commit()
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	e := NewDoc(1)
	_, err = e.Import(snap)
	require.NoError(t, err)
	require.NoError(t, e.Map("m").Set("b", Int(2)))
	span, _ := e.Commit()
	require.Equal(t, IDSpan{1, 1, 2}, span)
	up, err := e.ExportUpdates(d.Version())
	require.NoError(t, err)
	_, err = d.Import(up)
	require.NoError(t, err)
	require.NoError(t, d.Map("m").Set("c", Int(3)))
	d.Commit()
	up, err = d.ExportUpdates(nil)
	require.NoError(t, err)
	same(t, d, load(t, up))
}

func TestExportRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	d := randomSession(t, r, 2, 30)[0]
	for p, end := range d.Version() {
		for range 30 {
			from := r.Int32N(end)
			to := from + 1 + r.Int32N(end-from)
			b, err := d.ExportRange(IDSpan{p, from, to})
			require.NoError(t, err)
			m, err := Peek(b)
			require.NoError(t, err)
			require.Equal(t, Meta{Mode: ModeUpdates, Start: VersionVector{p: from}, End: VersionVector{p: to}, Changes: m.Changes}, m)
		}
		for _, s := range []IDSpan{{p, 0, end + 1}, {p, -1, 1}, {p, 1, 1}, {p, 2, 1}, {p + 1, 0, 1}} {
			_, err := d.ExportRange(s)
			require.ErrorIs(t, err, ErrUnknownRange)
		}
	}
	b, err := d.ExportUpdates(d.Version())
	require.NoError(t, err)
	require.Len(t, b, envelopeSize)
	_, err = NewDoc(1).Import(b)
	require.NoError(t, err)
}

func TestExportOfOneEditCostsTheSameInAnyDocument(t *testing.T) {
	one := func(n int) (bytes int, allocs float64) {
		d := load(t, filesSnapshot(t, n))
		file := slices.Collect(d.Tree("files").Children(TreeRoot))[0]
		i := int64(0)
		v := d.Version()
		allocs = testing.AllocsPerRun(10, func() {
			i++
			require.NoError(t, d.Tree("files").Meta(file).Set("content", MapValue(Entry{"size", Int(i)})))
			d.Commit()
			up, err := d.ExportUpdates(v)
			require.NoError(t, err)
			v[d.Peer()]++
			bytes = len(up)
		})
		return bytes, allocs
	}
	smallBytes, smallAllocs := one(100)
	largeBytes, largeAllocs := one(10_000)
	require.InDelta(t, smallBytes, largeBytes, 8)
	require.Less(t, largeBytes, 200)
	require.InDelta(t, smallAllocs, largeAllocs, 8)
}

func TestReadsMayRunConcurrently(t *testing.T) {
	d := load(t, filesSnapshot(t, 500))
	want, err := d.ExportSnapshot()
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			walkAll(d)
			for range d.Ops() {
			}
			_, _ = d.ChangeOf(ID{1, 100})
			_, _ = d.ExportUpdates(VersionVector{1: 77})
			_ = d.Map("absent").Len()
			_ = d.Verify()
			got, err := d.ExportSnapshot()
			if err != nil || string(got) != string(want) {
				t.Errorf("snapshot differs: %v", err)
			}
		})
	}
	wg.Wait()
}

package loro

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// merged returns a document with one head that everything later will include.
func merged(t testing.TB, d *Doc) Frontiers {
	require.NoError(t, d.Map("pocket").Set("epoch", Int(int64(d.nextLamport()))))
	d.Commit()
	require.Len(t, d.Frontiers(), 1)
	return d.Frontiers()
}

func TestShallowSnapshots(t *testing.T) {
	for _, tail := range []int{0, 10, 150} {
		t.Run(fmt.Sprint(tail), func(t *testing.T) {
			r := rand.New(rand.NewPCG(4, uint64(tail)))
			d := randomSession(t, r, 3, 15)[0]
			root := merged(t, d)
			atRoot := d.Version()
			for i := range tail {
				editRandomly(t, r, d)
				if i%7 == 0 {
					d.Commit()
				}
			}
			blob, err := d.ExportShallow(root)
			require.NoError(t, err)
			m, err := Peek(blob)
			require.NoError(t, err)
			require.True(t, m.Shallow)
			require.Equal(t, root, m.ShallowRoot)
			require.Equal(t, d.Version(), m.End)

			e := load(t, blob)
			require.True(t, e.IsShallow())
			start, f := e.ShallowSince()
			require.Equal(t, root, f)
			atRoot[root[0].Peer]--
			require.Equal(t, atRoot, start)
			require.Equal(t, deep(d), deep(e))
			require.Equal(t, d.Version(), e.Version())
			require.NoError(t, e.Verify())

			// Both go on, and understand each other.
			for range 30 {
				editRandomly(t, r, d)
				editRandomly(t, r, e)
			}
			d.Commit()
			e.Commit()
			fromD, err := d.ExportUpdates(e.Version())
			require.NoError(t, err)
			fromE, err := e.ExportUpdates(d.Version())
			require.NoError(t, err)
			_, err = d.Import(fromE)
			require.NoError(t, err)
			_, err = e.Import(fromD)
			require.NoError(t, err)
			require.Equal(t, deep(d), deep(e))
			require.NoError(t, e.Verify())

			// Written again it starts where it did, and can be cut further.
			again, err := e.ExportSnapshot()
			require.NoError(t, err)
			g := load(t, again)
			require.Equal(t, deep(d), deep(g))
			_, f = g.ShallowSince()
			require.Equal(t, root, f)
			require.NoError(t, g.Verify())
			_, err = g.ExportShallow(root)
			require.NoError(t, err)
			root = merged(t, g)
			again, err = g.ExportShallow(root)
			require.NoError(t, err)
			x := load(t, again)
			require.Equal(t, deep(g), deep(x))
			require.NoError(t, x.Verify())
			editRandomly(t, r, x)
			root = merged(t, x)
			for range 40 {
				editRandomly(t, r, x)
			}
			again, err = x.ExportShallow(root)
			require.NoError(t, err)
			y := load(t, again)
			require.Equal(t, deep(x), deep(y))
			require.NoError(t, y.Verify())
		})
	}
}

func TestLateChangesMergeIntoAReopenedShallowDocument(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(5, seed))
		d := randomSession(t, r, 2, 10)[0]
		root := merged(t, d)
		up, err := d.ExportUpdates(nil)
		require.NoError(t, err)
		other := NewDoc(88)
		_, err = other.Import(up)
		require.NoError(t, err)
		for range 60 {
			editRandomly(t, r, d)
			editRandomly(t, r, other)
		}
		if seed%2 == 0 {
			for range 300 {
				editRandomly(t, r, d) // enough that the snapshot has an overlay
			}
		}
		blob, err := d.ExportShallow(root)
		require.NoError(t, err)
		e := load(t, blob)
		view := viewOf(e)
		late, err := other.ExportUpdates(d.Version())
		require.NoError(t, err)
		status, err := e.Import(late)
		require.NoError(t, err)
		view.follow(e, status.Touched)
		require.Equal(t, viewOf(e), view)
		_, err = d.Import(late)
		require.NoError(t, err)
		require.Equal(t, deep(d), deep(e))
		require.NoError(t, e.Verify())
	}
}

func TestShallowSnapshotsStartOnlyWhereEverythingLaterDependsOn(t *testing.T) {
	d, e := NewDoc(1), NewDoc(2)
	set := func(d *Doc, k string) {
		require.NoError(t, d.Map("m").Set(k, Int(1)))
		d.Commit()
	}
	set(d, "a")
	set(d, "b")
	up, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	_, err = e.Import(up)
	require.NoError(t, err)
	set(d, "c")
	set(e, "d")
	up, err = e.ExportUpdates(d.Version())
	require.NoError(t, err)
	_, err = d.Import(up)
	require.NoError(t, err)
	for _, bad := range []Frontiers{nil, {{1, 2}}, {{2, 0}}, {{1, 2}, {2, 0}}, {{1, 3}}, {{7, 0}}, {{1, -1}}} {
		_, err := d.ExportShallow(bad)
		require.ErrorIs(t, err, ErrShallowFrontiers, "%v", bad)
	}
	for _, good := range []Frontiers{{{1, 0}}, {{1, 1}}} {
		blob, err := d.ExportShallow(good)
		require.NoError(t, err)
		x := load(t, blob)
		require.Equal(t, deep(d), deep(x))
		require.NoError(t, x.Verify())
		_, err = x.ExportShallow(Frontiers{{1, -1 + good[0].Counter}})
		require.ErrorIs(t, err, ErrShallowFrontiers)
	}
}

func TestChangesFromBeforeAShallowStartAreRefused(t *testing.T) {
	d := NewDoc(1)
	require.NoError(t, d.Map("m").Set("a", Int(1)))
	d.Commit()
	stale := NewDoc(2)
	up, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	_, err = stale.Import(up)
	require.NoError(t, err)
	require.NoError(t, stale.Map("m").Set("b", Int(1)))
	stale.Commit()
	require.NoError(t, d.Map("m").Set("c", Int(1)))
	root := merged(t, d)
	blob, err := d.ExportShallow(root)
	require.NoError(t, err)
	late, err := stale.ExportUpdates(nil)
	require.NoError(t, err)
	unrelated, err := docWithAnEdit(t).ExportUpdates(nil)
	require.NoError(t, err)
	e := load(t, blob)
	before := deep(e)
	for _, b := range [][]byte{late, unrelated} {
		_, err = e.Import(b)
		require.ErrorIs(t, err, ErrShallowDeps)
		require.Equal(t, before, deep(e))
		require.Equal(t, d.Version(), e.Version())
		require.Empty(t, e.Pending())
	}
}

func TestShallowSnapshotIntoADocumentWithHistoryIsMergedLikeUpdates(t *testing.T) {
	d := NewDoc(1)
	require.NoError(t, d.Map("m").Set("a", Int(1)))
	d.Commit()
	early, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	root := merged(t, d)
	require.NoError(t, d.Map("m").Set("b", Int(2)))
	blob, err := d.ExportShallow(root)
	require.NoError(t, err)
	e := load(t, early)
	status, err := e.Import(blob)
	require.NoError(t, err)
	require.Equal(t, map[PeerID]Span{1: {1, 3}}, status.Applied)
	same(t, d, e)
	require.False(t, e.IsShallow())
}

func TestAChangeMayAlsoNameDependenciesBeforeAShallowStart(t *testing.T) {
	d, other := NewDoc(1), NewDoc(2)
	require.NoError(t, other.Map("m").Set("a", Int(1)))
	up, err := other.ExportUpdates(nil)
	require.NoError(t, err)
	_, err = d.Import(up)
	require.NoError(t, err)
	root := merged(t, d)
	blob, err := d.ExportShallow(root)
	require.NoError(t, err)
	lam, err := d.lamportAt(root[0])
	require.NoError(t, err)
	// Redundant beside the root, but not wrong.
	more := updatesOf(blockOf(2, 1, 1, lam+1, true, root[0]))
	e := load(t, blob, more)
	require.NoError(t, e.Verify())
	_, err = d.Import(more)
	require.NoError(t, err)
	require.Equal(t, deep(d), deep(e))
	got, err := e.lamportAt(ID{2, 1})
	require.NoError(t, err)
	require.Equal(t, lam+1, got)
}

// A document in which changes wait is loaded from a shallow snapshot, too, unless that
// would shut some of them out for ever.
func TestShallowSnapshotIntoADocumentWithWaitingChanges(t *testing.T) {
	set := func(d *Doc, key string) []byte {
		before := d.Version()
		require.NoError(t, d.Map("m").Set(key, Int(1)))
		return must(d.ExportUpdates(before))
	}
	d, stale := NewDoc(1), NewDoc(2)
	first := set(d, "a")
	_, err := stale.Import(first)
	require.NoError(t, err)
	late := set(stale, "late") // depends on what the shallow snapshot lacks
	root := merged(t, d)
	known := set(d, "b")
	blob := must(d.ExportShallow(root))
	other := load(t, must(d.ExportUpdates(nil)))
	c1, c2 := set(other, "c1"), set(other, "c2")

	for name, x := range map[string]struct {
		waiting []byte
		applied map[PeerID]Span
		pending map[PeerID]Span
	}{
		"that can be applied then":       {c1, map[PeerID]Span{1: {1, 3}, 7: {0, 1}}, map[PeerID]Span{}},
		"that wait on":                   {c2, map[PeerID]Span{1: {1, 3}}, map[PeerID]Span{7: {1, 2}}},
		"that the snapshot has":          {known, map[PeerID]Span{1: {1, 3}}, map[PeerID]Span{}},
		"that depend on what is cut off": {late, nil, map[PeerID]Span{1: {1, 3}, 2: {0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewDoc(9)
			_, err := e.Import(x.waiting)
			require.NoError(t, err)
			require.NotEmpty(t, e.Pending())
			status, err := e.Import(blob)
			require.NoError(t, err)
			require.Equal(t, x.applied, status.Applied)
			require.Equal(t, x.pending, e.Pending())
			require.Equal(t, x.applied != nil, e.IsShallow())
			if x.applied != nil {
				_, err = e.Import(c1)
				require.NoError(t, err)
			} else { // all of it is there as soon as the history is
				_, err = e.Import(first)
				require.NoError(t, err)
				require.Equal(t, VersionVector{1: 3, 2: 1}, e.Version())
			}
			require.Empty(t, e.Pending())
			require.NoError(t, e.Verify())
		})
	}
}

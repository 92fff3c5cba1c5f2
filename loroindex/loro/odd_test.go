package loro

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Documents of other writers, and shapes this package never makes itself.

func TestHistoriesOfOtherContainersAreCutAnywhereWithoutLoss(t *testing.T) {
	d := load(t, readVector(t, "blobs/other-all-upd-v1171.0.bin"))
	end := d.Version()[77]
	for k := int32(1); k < end; k++ {
		first, err := d.ExportRange(IDSpan{77, 0, k})
		require.NoError(t, err)
		second, err := d.ExportRange(IDSpan{77, k, end})
		require.NoError(t, err)
		e := load(t, first, second)
		require.Equal(t, d.Version(), e.Version())
		// Cut again elsewhere, every counter is still there once.
		n := int32(0)
		for op, err := range e.Ops() {
			require.NoError(t, err)
			require.Equal(t, n, op.ID.Counter)
			n += op.Len
		}
		require.Equal(t, end, n)
		_, err = e.ExportSnapshot()
		require.ErrorIs(t, err, ErrUnsupportedContainer)
		_, err = e.ExportShallow(e.Frontiers())
		require.ErrorIs(t, err, ErrUnsupportedContainer)
	}
}

func TestUntouchedStateOfOtherContainersIsKept(t *testing.T) {
	blob := readVector(t, "blobs/other-all-snap-v1171.0.bin")
	d := load(t, blob)
	require.NoError(t, d.Map("m").Set("more", Int(1)))
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	e := load(t, snap)
	require.Equal(t, len(d.s.others), len(e.s.others))
	require.NotEmpty(t, e.s.others)
	for id, o := range d.s.others {
		require.Equal(t, o.state, e.s.others[id].state, "%v", id)
	}
	require.Contains(t, e.Roots(), RootID("text", TypeText))
	require.Contains(t, e.Roots(), RootID("files", TypeTree))
	shallow, err := d.ExportShallow(d.Frontiers())
	require.NoError(t, err)
	require.Equal(t, len(d.s.others), len(load(t, shallow).s.others))
	// At an older version, too, as long as they have not changed since.
	root := d.Frontiers()
	require.NoError(t, d.Map("m").Set("more", Int(2)))
	shallow, err = d.ExportShallow(root)
	require.NoError(t, err)
	require.Equal(t, deep(d), deep(load(t, shallow)))
	_, err = d.ExportShallow(Frontiers{{77, 3}})
	require.ErrorIs(t, err, ErrUnsupportedContainer)
}

// treeBlock writes tree operations by hand.
func treeBlock(peer PeerID, ops func(w *blockWriter), n int32) []byte {
	w := newBlockWriter(peer, 0)
	w.change(outChange{n: n})
	ops(w)
	return w.finish()
}

func TestATreeInsideAMap(t *testing.T) {
	inner := ChildID(ID{1, 0}, TypeTree)
	blob := updatesOf(treeBlock(1, func(w *blockWriter) {
		w.setTo(w.cid(RootID("m", TypeMap)), w.key("tree"), nestedContainer, byte(TypeTree))
		w.treeMove(w.cid(inner), ID{1, 1}, ID{}, true, defaultPosition)
		w.setTo(w.cid(ChildID(ID{1, 1}, TypeMap)), w.key("name"), nestedTrue)
	}, 3))
	d := load(t, blob)
	want := `{"m":{"tree":[{"children":[],"fractional_index":"80","id":"1@1","index":0,"meta":{"name":true},"parent":null}]}}`
	require.Equal(t, want, deep(d))
	meta, ok := d.MapOf(ChildID(ID{1, 1}, TypeMap))
	require.True(t, ok)
	require.NoError(t, meta.Set("more", Int(1)))
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	same(t, d, load(t, snap))
	require.NoError(t, d.Map("m").Delete("tree"))
	require.ErrorIs(t, meta.Set("more", Int(2)), ErrNotAttached)
}

func TestOneNodeIDInTwoTrees(t *testing.T) {
	// No writer does this, but nothing in the format forbids it.
	d := load(t, updatesOf(treeBlock(1, func(w *blockWriter) {
		for _, name := range []string{"a", "b", "a", "b"} {
			w.treeMove(w.cid(RootID(name, TypeTree)), ID{1, 0}, ID{}, true, defaultPosition)
		}
		w.treeMove(w.cid(RootID("b", TypeTree)), ID{1, 0}, ID{maxPeer, trashCounter}, false, "")
		w.setTo(w.cid(ChildID(ID{1, 0}, TypeMap)), w.key("name"), nestedTrue)
	}, 6)))
	require.True(t, d.Tree("a").Alive(TreeID{1, 0}))
	require.False(t, d.Tree("b").Alive(TreeID{1, 0}))
	require.Equal(t, 1, d.Tree("b").Len())
	v, ok := d.Tree("b").Meta(TreeID{1, 0}).Get("name")
	require.True(t, ok)
	require.Equal(t, Bool(true), v)
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	e := load(t, snap)
	require.Equal(t, deep(d), deep(e))
	require.NoError(t, e.Verify())
}

func TestMovesUnderNodesNeverCreated(t *testing.T) {
	blob := updatesOf(treeBlock(1, func(w *blockWriter) {
		cid := w.cid(RootID("t", TypeTree))
		w.treeMove(cid, ID{1, 0}, ID{9, 9}, false, defaultPosition) // under an unknown node
		w.treeMove(cid, ID{8, 8}, ID{}, true, "\x81\x80")           // an unknown node
		w.treeMove(cid, ID{8, 8}, ID{8, 8}, false, defaultPosition) // under itself
	}, 3))
	d := load(t, blob)
	tree := d.Tree("t")
	_, place := tree.Parent(TreeID{1, 0})
	require.Equal(t, Hidden, place)
	require.True(t, tree.Alive(TreeID{8, 8}))
	require.Equal(t, []byte("\x81\x80"), tree.Position(TreeID{8, 8}))
	_, place = tree.Parent(TreeID{9, 9})
	require.Equal(t, Absent, place)
	require.NoError(t, d.Verify())
}

func TestGarbageOfRewrittenValuesIsReclaimed(t *testing.T) {
	d := NewDoc(1)
	m := d.Map("m")
	n, err := d.Tree("t").Create(TreeRoot)
	require.NoError(t, err)
	for i := range 40 {
		require.NoError(t, m.Set(fmt.Sprint("k", i), Int(int64(i)))) // a map in many pieces
	}
	for i := range 3000 {
		v := String(strings.Repeat("x", 1000+i))
		require.NoError(t, m.Set("big", v))
		require.NoError(t, d.Tree("t").Meta(n).Set("big", v))
		if i%100 == 0 {
			d.Commit()
		}
	}
	require.NoError(t, m.Set("huge", String(strings.Repeat("y", 5<<20))))
	require.NoError(t, m.Set("huge", Int(1)))
	d.Commit()
	require.Less(t, d.s.arena.garbage, 6<<20)
	v, _ := m.Get("big")
	require.Equal(t, 3999, v.Len())
	v, _ = d.Tree("t").Meta(n).Get("big")
	require.Equal(t, 3999, v.Len())
	require.Equal(t, 42, m.Len())
	require.NoError(t, d.Verify())
}

func TestImportKeepsNothingOfTheBlob(t *testing.T) {
	d := filesDoc(t, 1, 200)
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	up, err := d.ExportUpdates(VersionVector{1: 100})
	require.NoError(t, err)
	first, err := d.ExportUpdates(nil)
	require.NoError(t, err)
	e, f := NewDoc(2), NewDoc(3)
	_, err = e.Import(snap)
	require.NoError(t, err)
	_, err = f.Import(up) // waits
	require.NoError(t, err)
	clear(snap)
	clear(up)
	_, err = f.Import(first)
	require.NoError(t, err)
	clear(first)
	same(t, d, e)
	same(t, d, f)
}

package loro

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What an update says is read without the operations before it, and written as another peer's means the same.
func TestOperationsOfAnUpdateAreMadeAgain(t *testing.T) {
	a := NewDoc(1)
	a.SetCommitInfo("anna", nil)
	tree := a.Tree("files")
	first, err := tree.Create(TreeRoot)
	require.NoError(t, err)
	require.NoError(t, tree.Meta(first).Set("name", String("first")))
	span, _ := a.Commit()
	before, err := a.ExportRange(span)
	require.NoError(t, err)
	second, err := tree.Create(first)
	require.NoError(t, err)
	value := MapValue(Entry{"size", Int(-7)}, Entry{"object", Binary([]byte{1, 2})}, Entry{"list", List(Bool(true), Null(), Float(2.5))})
	require.NoError(t, tree.Meta(second).Set("content", value))
	require.NoError(t, tree.Meta(first).Delete("name"))
	third, err := tree.Create(TreeRoot)
	require.NoError(t, err)
	require.NoError(t, tree.Move(third, second))
	require.NoError(t, tree.Delete(third))
	for n := range 2000 { // more than a block
		require.NoError(t, a.Map("root").Set("n", Int(int64(n))))
	}
	span, _ = a.Commit()
	update, err := a.ExportRange(span)
	require.NoError(t, err)

	var ops []Op
	for op, err := range UpdateOps(update) {
		require.NoError(t, err)
		require.Equal(t, ID{1, span.Start + int32(len(ops))}, op.ID)
		require.Equal(t, "anna", op.Message)
		ops = append(ops, op)
	}
	require.Len(t, ops, int(span.End-span.Start))
	const other = 5
	again := func(id *ID) {
		if id.Peer == 1 && id.Counter >= span.Start {
			*id = ID{other, id.Counter - span.Start}
		}
	}
	for i := range ops {
		op := &ops[i]
		again((*ID)(&op.Node))
		if op.Parent != TreeRoot {
			again((*ID)(&op.Parent))
		}
		again(&op.Container.ID)
		for d := range op.Deps {
			again(&op.Deps[d])
		}
	}
	var b *Doc
	for _, parts := range [][]int{{0, len(ops)}, {0, 3, 900, len(ops)}} {
		b = NewDoc(2)
		_, err = b.Import(before)
		require.NoError(t, err)
		for i, to := range parts[1:] {
			update, err := EncodeUpdate(other, int32(parts[i]), ops[parts[i]:to])
			require.NoError(t, err)
			status, err := b.Import(update)
			require.NoError(t, err)
			require.Empty(t, status.Pending)
		}
		require.Equal(t, int32(len(ops)), b.Version()[other])
		content, _ := b.Tree("files").Meta(TreeID{other, second.Counter - span.Start}).Get("content")
		require.True(t, value.Equal(content), content.String())
		n, _ := b.Map("root").Get("n")
		require.True(t, Int(1999).Equal(n))
		_, ok := b.Tree("files").Meta(first).Get("name")
		require.False(t, ok)
		require.Equal(t, 1, b.Tree("files").ChildCount(first))
		_, place := b.Tree("files").Parent(TreeID{other, third.Counter - span.Start})
		require.Equal(t, Trashed, place)
		// A snapshot of it is what others read.
		snapshot, err := b.ExportSnapshot()
		require.NoError(t, err)
		c := NewDoc(3)
		_, err = c.Import(snapshot)
		require.NoError(t, err)
		require.NoError(t, c.Verify())
		require.True(t, b.DeepValue().Equal(c.DeepValue()))
	}
}

func TestOperationsThatCannotBeMadeAgain(t *testing.T) {
	at := RootID("files", TypeTree)
	for _, c := range []struct {
		start int32
		op    Op
		err   error
	}{
		{0, Op{Kind: OpOther, Container: RootID("text", TypeText)}, ErrValue},
		{0, Op{Kind: OpMapSet, Container: at}, ErrValue},
		{0, Op{Kind: OpMapSet, Container: RootID("m", TypeMap), Key: "k", Value: containerValue(at)}, ErrValue},
		{1<<31 - 1, Op{Kind: OpMapDelete, Container: RootID("m", TypeMap)}, ErrLimit},
		{-1, Op{Kind: OpMapDelete, Container: RootID("m", TypeMap)}, ErrLimit},
		{0, Op{Kind: OpMapDelete, Container: RootID("m", TypeMap), Lamport: maxLamport}, ErrLimit},
	} {
		_, err := EncodeUpdate(9, c.start, []Op{c.op})
		require.ErrorIs(t, err, c.err)
	}
	d := NewDoc(1)
	require.NoError(t, d.Map("m").Set("k", Null()))
	snapshot, err := d.ExportSnapshot()
	require.NoError(t, err)
	for _, blob := range [][]byte{nil, snapshot, []byte("loro")} {
		for _, err := range UpdateOps(blob) {
			require.ErrorIs(t, err, ErrInvalid)
		}
	}
}

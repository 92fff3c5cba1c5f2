package loroindex

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// manyAtOnce returns an index with a change, and the updates of n others who knew the same and
// wrote a file each, and some of them the first one's, without knowing of each other.
func manyAtOnce(t testing.TB, n int) (mine *Index, theirs [][]byte) {
	xs := devices(t, func(x *Index) { mk(t, x, "f") }, "mine", "base")
	mine, base := xs[0], xs[1]
	setContent(t, mine, "f", "mine")
	snapshot, err := base.Export(Span{1, 0, base.Version()[1]})
	require.NoError(t, err)
	for i := range n {
		x, err := Open(Options{Device: fmt.Sprint("device ", i), Peer: uint64(100 + i), Now: clock(1_700_000_100)})
		require.NoError(t, err)
		_, err = x.Import(snapshot)
		require.NoError(t, err)
		mk(t, x, fmt.Sprint("file ", i))
		if i%100 == 0 {
			setContent(t, x, "f", fmt.Sprint("theirs ", i))
		}
		update, err := x.Export(Span{x.Peer(), 0, x.next})
		require.NoError(t, err)
		theirs = append(theirs, update)
	}
	return mine, theirs
}

// What many wrote at once is merged by looking at the history once for all who knew the same, not
// once for each of them, or for each pair.
func TestManyWhoWroteAtOnceAreMerged(t *testing.T) {
	const n = 500
	mine, theirs := manyAtOnce(t, n)
	changes, done, err := mine.ImportAll(theirs[1:]...)
	require.NoError(t, err)
	require.Equal(t, n-1, done)
	require.Len(t, changes.Lost, 1)
	require.Equal(t, content("mine"), changes.Lost[0].Content)
	_, err = mine.Import(theirs[0])
	require.NoError(t, err)
	heads := mine.doc.Frontiers()
	require.Len(t, heads, n+1)

	c := newCausality(mine.doc)
	for _, op := range heads {
		for _, id := range heads {
			require.Equal(t, op == id, c.knows(op, id), "%v of %v", op, id)
		}
	}
	require.Len(t, c.deps, 2, "of the one who was alone, and of all others")
}

// manyInTurn is like manyAtOnce, but each of the others knew one change more of a further device.
func manyInTurn(t testing.TB, n int) (mine *Index, theirs [][]byte) {
	xs := devices(t, func(x *Index) { mk(t, x, "f") }, "mine", "base", "reader")
	mine, base, reader := xs[0], xs[1], xs[2]
	setContent(t, mine, "f", "mine")
	before, err := reader.Export(Span{1, 0, reader.Version()[1]})
	require.NoError(t, err)
	var updates [][]byte
	for i := range n {
		op := do(t, base, func(tx *Tx) error { return tx.SetContent(find2(tx, "f"), content(fmt.Sprint("base ", i))) })
		x, err := Open(Options{Device: fmt.Sprint("device ", i), Peer: uint64(100 + i), Now: clock(1_700_000_100)}, before)
		require.NoError(t, err)
		theirs = append(theirs, op.Update)
		_, _, err = x.ImportAll(theirs...)
		require.NoError(t, err)
		mk(t, x, fmt.Sprint("file ", i))
		update, err := x.Export(Span{x.Peer(), 0, x.next})
		require.NoError(t, err)
		updates = append(updates, update)
	}
	return mine, append(theirs, updates...)
}

func TestManyWhoKnewMoreAndMoreAreMerged(t *testing.T) {
	mine, theirs := manyInTurn(t, 2*manyBlind)
	changes, done, err := mine.ImportAll(theirs...)
	require.NoError(t, err)
	require.Equal(t, len(theirs), done)
	require.Len(t, changes.Lost, 1)
	require.Equal(t, content("mine"), changes.Lost[0].Content)
	require.Equal(t, "base", changes.Lost[0].Winner)
}

// What a long session did is not read again for each of its changes that arrive.
func TestLongSessionIsNotGoneBackThrough(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "f") }, "anna", "berta")
	a, b := xs[0], xs[1]
	for i := range 20 * aloneMost {
		setContent(t, a, "f", fmt.Sprint(i))
	}
	pass(t, a, b)
	setContent(t, b, "f", "berta")
	setContent(t, a, "f", "anna")
	pass(t, a, b)
	c := newCausality(b.doc)
	heads := b.doc.Frontiers()
	require.Len(t, heads, 2)
	require.False(t, c.knows(heads[0], heads[1]))
	require.False(t, c.knows(heads[1], heads[0]))
	require.LessOrEqual(t, len(c.changes), 2*aloneMost)
	for _, u := range c.deps {
		require.LessOrEqual(t, len(u.ranges()), 2)
	}
}

func BenchmarkManyWhoWroteAtOnce(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(testing.TB, int) (*Index, [][]byte)
		n    int
	}{{"knew the same", manyAtOnce, 500}, {"knew the same", manyAtOnce, 2000}, {"knew the same", manyAtOnce, 8000},
		{"knew more and more", manyInTurn, 250}, {"knew more and more", manyInTurn, 1000}} {
		b.Run(fmt.Sprint(c.name, "/", c.n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				mine, theirs := c.make(b, c.n)
				b.StartTimer()
				_, _, err := mine.ImportAll(theirs...)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*c.n), "µs/peer")
		})
	}
}

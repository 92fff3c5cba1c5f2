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

func BenchmarkManyWhoWroteAtOnce(b *testing.B) {
	for _, n := range []int{500, 2000, 8000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				mine, theirs := manyAtOnce(b, n)
				b.StartTimer()
				_, _, err := mine.ImportAll(theirs...)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/peer")
		})
	}
}

package fusehost

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/stretchr/testify/require"
	"github.com/winfsp/cgofuse/fuse"
)

func TestHandlesAreFoundAndReused(t *testing.T) {
	var table handles
	var numbers []uint64
	for i := range 1000 {
		n, ok := table.add(&handle{node: fsimpl.Node(i)})
		require.True(t, ok)
		require.NotZero(t, n)
		numbers = append(numbers, n)
	}
	for i, n := range numbers {
		require.EqualValues(t, i, table.get(n).node)
	}
	require.NotNil(t, table.remove(numbers[7]))
	require.Nil(t, table.get(numbers[7]))
	require.Nil(t, table.remove(numbers[7]), "twice")
	n, ok := table.add(&handle{node: 5000})
	require.True(t, ok)
	require.Equal(t, numbers[7], n)
	for _, n := range []uint64{0, 1001, 1 << 30, noHandle, noHandle - 1} {
		require.Nil(t, table.get(n))
		require.Nil(t, table.remove(n))
	}
}

func TestHandlesUsedByManyAtOnce(t *testing.T) {
	var table handles
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				h := &handle{node: fsimpl.Node(i)}
				n, _ := table.add(h)
				if table.get(n) != h || table.remove(n) != h {
					t.Error("another handle under this number")
				}
			}
		})
	}
	wg.Wait()
	for range table.all() {
		t.Fatal("a handle is left")
	}
}

func TestAliasesEndWithTheirNode(t *testing.T) {
	var a aliases
	a.add(1, "x", 10)
	a.add(2, "x", 10)
	a.add(2, "y", 11)
	n, ok := a.find(2, "x")
	require.True(t, ok)
	require.EqualValues(t, 10, n)
	a.add(2, "x", 12) // the name is used again
	n, _ = a.find(2, "x")
	require.EqualValues(t, 12, n)
	a.forget(10)
	_, ok = a.find(1, "x")
	require.False(t, ok)
	require.True(t, a.remove(2, "y"))
	require.False(t, a.remove(2, "y"))
	a.forget(12)
	require.Zero(t, a.count.Load())
	require.Empty(t, a.nodes)
	require.Empty(t, a.names)
}

func TestGateLetsNobodyInOnceShut(t *testing.T) {
	g := newGate()
	require.True(t, g.enter())
	require.True(t, g.enter())
	g.shut()
	require.False(t, g.enter())
	g.leave()
	require.False(t, g.enter())
	select {
	case <-g.empty:
		t.Fatal("a callback still runs")
	default:
	}
	g.leave()
	<-g.empty
	require.False(t, g.enter(), "for ever")

	g = newGate()
	g.shut()
	<-g.empty
}

func TestTimesSurviveTheWay(t *testing.T) {
	for _, us := range []int64{0, 1, -1, 999999, 1000000, -999999, -1000001, 1761955200123456, -62135596800000000, mostSeconds * 1e6} {
		got := timespec(us)
		require.GreaterOrEqual(t, got.Nsec, int64(0))
		require.Less(t, got.Nsec, int64(1e9))
		require.Equal(t, us, micros(got))
	}
	require.EqualValues(t, mostSeconds*1e6, micros(fuse.Timespec{Sec: math.MaxInt64}))
	require.EqualValues(t, -mostSeconds*1e6, micros(fuse.Timespec{Sec: math.MinInt64}))
}

func TestAttributesSurviveTheWay(t *testing.T) {
	for _, a := range []uint32{0, 1, 2, 4, 0x20, 0x27} {
		require.Equal(t, a, attributesOf(flagsOf(a)))
	}
	require.Zero(t, flagsOf(0x80), "FILE_ATTRIBUTE_NORMAL has no flag")
}

func TestSplit(t *testing.T) {
	for path, want := range map[string][2]string{
		"/a": {"/", "a"}, "/a/b": {"/a", "b"}, "/a/b/c": {"/a/b", "c"}, "/": {"/", ""}, "": {"/", ""},
	} {
		dir, name := split(path)
		require.Equal(t, want, [2]string{dir, name}, path)
	}
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// soon is a context that ends in a while, for what must not take long.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

package loroindex

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

// reopened returns an index of the same document, as the next session has it.
func reopened(t testing.TB, x *Index) *Index {
	t.Helper()
	blob, _, err := x.ExportSnapshot()
	require.NoError(t, err)
	return testIndex(t, "anna", blob)
}

func TestATimeThatWasSetForADirectoryStays(t *testing.T) {
	x := testIndex(t, "anna")
	d, f := mk(t, x, "d/"), mk(t, x, "d/f")
	mk(t, x, "d/g")
	set := func(us int64) { do(t, x, func(tx *Tx) error { return tx.SetModTime(d, us) }) }
	same := func(want int64) {
		t.Helper()
		for _, x := range []*Index{x, reopened(t, x)} {
			e, err := x.Resolve("d")
			require.NoError(t, err)
			require.Equal(t, want, e.ModTime)
			_, err = x.ReadDir(e.Node, nil)
			require.NoError(t, err)
			e, err = x.Resolve("d")
			require.NoError(t, err)
			require.Equal(t, want, e.ModTime, "after the directory was read")
		}
	}
	created := func(n Node) int64 {
		e, err := x.Stat(n)
		require.NoError(t, err)
		return e.Created
	}
	set(77)
	same(77)
	same(created(mk(t, x, "d/h")))
	set(77) // what is recorded already
	same(77)
	set(1_900_000_000_000_000) // in the future
	same(1_900_000_000_000_000)
	set(77)
	do(t, x, func(tx *Tx) error { return tx.SetContent(f, content("other")) })
	same(77)
	// Programs that set the time of creation too do not change the directory's.
	n := mk(t, x, "d/i")
	was := created(n)
	do(t, x, func(tx *Tx) error {
		e, err := tx.Stat(n)
		require.NoError(t, err)
		e.Info.Created = 55
		return tx.SetInfo(n, e.Info)
	})
	same(was)
}

func TestCreatingAfterATimeInTheFutureSetsTheTime(t *testing.T) {
	x := testIndex(t, "anna")
	d := mk(t, x, "d/")
	do(t, x, func(tx *Tx) error { return tx.SetModTime(d, 1_900_000_000_000_000) })
	f := mk(t, x, "d/f")
	e, err := x.Stat(f)
	require.NoError(t, err)
	again, err := reopened(t, x).Resolve("d")
	require.NoError(t, err)
	require.GreaterOrEqual(t, again.ModTime, e.Created)
	require.Less(t, again.ModTime, e.Created+second)
}

func TestRemovingManyFilesWritesTheirDirectoryOnce(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "d/")
	for i := range 100 {
		mk(t, x, fmt.Sprintf("d/%d", i))
	}
	before := x.Version()[loro.PeerID(x.Peer())]
	for i := range 100 {
		do(t, x, func(tx *Tx) error { return tx.Remove(find2(tx, fmt.Sprintf("d/%d", i))) })
	}
	require.Equal(t, int32(101), x.Version()[loro.PeerID(x.Peer())]-before)
}

// What is shown after a restart is what was shown before it, or later by what is left of
// that second, on this machine and on another one that merged every change.
func TestTimesOfDirectoriesSurviveARestart(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(1_700_000_000, 0)
		x, err := Open(Options{Device: "anna", Now: func() time.Time {
			now = now.Add(time.Duration(1+rng.Int64N([]int64{1000, 3_000_000}[rng.IntN(2)])) * time.Microsecond)
			return now
		}})
		require.NoError(t, err)
		other := testIndex(t, "berta")
		a := &actor{Index: x, rng: rng}
		for range 150 {
			n, d := a.pickDir(), a.pickDir()
			entries, err := x.ReadDir(n, nil)
			require.NoError(t, err)
			name := randomNames[rng.IntN(3)]
			op, err := try(x, func(tx *Tx) error {
				var err error
				switch k := rng.IntN(8); {
				case k < 2:
					_, err = tx.Create(n, name, fileInfo, Content{})
				case k == 2:
					_, err = tx.Create(n, name, dirInfo, Content{})
				case k == 3:
					err = tx.SetModTime(n, rng.Int64N(1_600_000_000_000_000))
				case len(entries) == 0:
				case k == 4:
					err = tx.Remove(entries[rng.IntN(len(entries))].Node)
				case k == 5 && len(entries) > 1:
					err = tx.Exchange(entries[0].Node, entries[1].Node)
				default:
					_, err = tx.Rename(entries[rng.IntN(len(entries))].Node, d, name, true)
				}
				return err
			})
			if err == nil && op != nil {
				_, err = other.Import(op.Update)
				require.NoError(t, err)
			}
		}
		again := reopened(t, x)
		for _, line := range append(paths(t, x), "") {
			e, err := x.Resolve(line)
			if err != nil || e.Kind != Dir {
				continue
			}
			for _, y := range []*Index{again, other} {
				got, err := y.Resolve(line)
				require.NoError(t, err)
				if e.ModTime == 0 {
					require.Zero(t, got.ModTime)
					continue
				}
				require.GreaterOrEqual(t, got.ModTime, e.ModTime, "seed %d: %q", seed, line)
				require.LessOrEqual(t, got.ModTime, endOf(e.ModTime), "seed %d: %q", seed, line)
			}
		}
	}
}

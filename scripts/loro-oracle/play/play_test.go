package play

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
)

func session(t *testing.T, seed uint64) *Session {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 9))
	s := NewSession(r, 2+r.IntN(3))
	for range 25 {
		require.NoError(t, s.Round())
	}
	require.NoError(t, s.Root())
	require.NoError(t, s.Round())
	require.NoError(t, s.Sync())
	return s
}

func TestReplicasAgreeOnceTheyHaveEverything(t *testing.T) {
	for seed := range uint64(12) {
		s := session(t, seed)
		require.Contains(t, string(canon.State(s.Docs[0])), `"files"`)
	}
}

func TestAnyOrderOfWhatWasPublishedGivesTheSame(t *testing.T) {
	for seed := range uint64(12) {
		s := session(t, seed)
		pieces, err := Pieces(s.R, s.Docs[0], nil)
		require.NoError(t, err)
		for _, blobs := range [][][]byte{s.Sent, pieces} {
			for range 3 {
				mixed, err := Shuffle(s.R, s.Docs[0], blobs)
				require.NoError(t, err)
				d := loro.NewDoc(1)
				for _, blob := range mixed {
					_, err := Import(d, blob)
					require.NoError(t, err)
				}
				require.Empty(t, d.Pending())
				require.NoError(t, Same(s.Docs[0], d))
			}
		}
	}
}

// A document that shows something else must not pass as the same.
func TestSameTellsDocumentsApart(t *testing.T) {
	a, b := loro.NewDoc(1), loro.NewDoc(1)
	require.NoError(t, a.Map("m").Set("k", loro.Int(1)))
	require.ErrorContains(t, Same(a, b), "versions")
	require.NoError(t, b.Map("m").Set("k", loro.Int(2)))
	require.ErrorContains(t, Same(a, b), "states differ: at 10:")
}

package loroindex

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogTellsWhatWasDone(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "docs/")
	file := mk(t, x, "docs/a.txt")
	do(t, x, func(tx *Tx) error {
		_, err := tx.Rename(file, Root, "b.txt", false)
		return err
	})
	gone := mk(t, x, "docs/gone")
	do(t, x, func(tx *Tx) error { return tx.Remove(gone) })
	var lines []string
	for e, err := range x.Log() {
		require.NoError(t, err)
		require.Equal(t, "anna", e.Device)
		require.Equal(t, int64(1_700_000_000), e.Time)
		require.Equal(t, x.Peer(), e.Peer)
		require.Equal(t, int32(len(lines)), e.Counter)
		lines = append(lines, fmt.Sprintf("%s: %s %s", e.Path, e.What, e.Detail))
	}
	require.Contains(t, lines, "docs: create in /")
	require.Contains(t, lines, "docs: name docs")
	require.Contains(t, lines, "docs: info dir 0755")
	require.Contains(t, lines, "b.txt: create in docs")
	require.Contains(t, lines, "b.txt: name a.txt")
	require.Contains(t, lines, "b.txt: move to /")
	require.Contains(t, lines, "b.txt: name b.txt")
	require.Contains(t, lines, "b.txt: content 10 bytes in "+content("docs/a.txt").Object.String()+", modified 1970-01-01 00:00:00")
	require.Contains(t, lines, "gone (deleted): delete ")
	require.Contains(t, lines, ": set schema = 2")

	h, err := x.History()
	require.NoError(t, err)
	require.Equal(t, int64(2), h.Schema)
	require.Equal(t, 1, h.Peers)
	require.Equal(t, []string{"anna"}, h.Devices)
	require.Equal(t, int64(len(lines)), h.Ops)
	require.Equal(t, 1, h.Deleted)
	require.Equal(t, int64(1_700_000_000), h.First)
	require.Positive(t, h.Bytes)
}

package loro

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What the decoders overlook must not end the process, in none of their goroutines.
// There are no bytes known that do so: tables are broken here instead.
func TestAPanicWhileLoadingIsAnError(t *testing.T) {
	snap := filesSnapshot(t, 20_000)
	table, err := openSSTable(stateSection(t, snap))
	require.NoError(t, err)
	s := load(t, snap).s
	for e := range s.nodes.n {
		s.nodes.at(e).rec = 0
	}
	s.nodes.chunks = s.nodes.chunks[:1]
	l := stateLoader{s: s, bud: inflateBudget(len(snap))}
	err = caught(func() error { return l.maps(table, false, l.entry) })
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "index out of range")
	require.ErrorContains(t, err, "at nodes.go:")
}

func TestAPanicWhileMergingBreaksTheDocumentAlone(t *testing.T) {
	d := load(t, filesSnapshot(t, 1000))
	base := d.Version()
	other := load(t, filesSnapshot(t, 1000))
	other.peer = 8
	other.self = other.s.peers.intern(8)
	other.h.peer(other.self)
	_, node := other.find("files", 10)
	require.NoError(t, other.Tree("files").Move(node, TreeRoot))
	up := must(other.ExportUpdates(base))
	d.s.kids = nil
	_, err := d.Import(up)
	require.ErrorIs(t, err, ErrBroken)
	require.NotErrorIs(t, err, ErrInvalid)
	_, err = d.Import(up)
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorIs(t, d.Map("m").Set("k", Int(1)), ErrBroken)
	_, err = d.ExportSnapshot()
	require.ErrorIs(t, err, ErrBroken)
	_, err = d.ExportUpdates(nil)
	require.ErrorIs(t, err, ErrBroken)
}

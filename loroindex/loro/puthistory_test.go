package loro

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// A document whose history was put elsewhere does all that one with its history in
// memory does, and says so when it cannot read it.
func TestHistoryThatWasPutElsewhere(t *testing.T) {
	snap := filesSnapshot(t, 80_000)
	inMemory := load(t, snap)
	var elsewhere []byte
	d := NewDoc(7)
	d.PutHistory(func(section []byte) (io.ReaderAt, error) {
		elsewhere = bytes.Clone(section)
		return bytes.NewReader(elsewhere), nil
	})
	blob := bytes.Clone(snap)
	_, err := d.Import(blob)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(elsewhere), putAtLeast)
	clear(blob)
	require.NoError(t, d.Verify())

	// What was done without knowing the snapshot takes its whole history.
	other := NewDoc(5)
	node, err := other.Tree("files").Create(TreeRoot)
	require.NoError(t, err)
	require.NoError(t, other.Tree("files").Meta(node).Set("name", String("x")))
	late := must(other.ExportUpdates(nil))
	sound := bytes.Clone(elsewhere)
	for i := range elsewhere {
		elsewhere[i] ^= 1
	}
	before := d.Version()
	_, err = d.Import(late)
	require.ErrorIs(t, err, ErrHistory)
	require.Equal(t, before, d.Version())
	require.Empty(t, d.Pending())
	_, err = d.ExportSnapshot()
	require.ErrorIs(t, err, ErrHistory)
	_, err = d.ExportUpdates(nil)
	require.ErrorIs(t, err, ErrHistory)

	copy(elsewhere, sound)
	for _, x := range []*Doc{d, inMemory} {
		_, err = x.Import(late)
		require.NoError(t, err)
		_, file := x.find("files", 100)
		require.NoError(t, x.Tree("files").Meta(file).Set("name", String("y")))
	}
	require.Equal(t, must(inMemory.ExportUpdates(nil)), must(d.ExportUpdates(nil)))
	require.Equal(t, must(inMemory.ExportSnapshot()), must(d.ExportSnapshot()))
}

func TestHistoryThatCannotBePutElsewhereStaysInMemory(t *testing.T) {
	snap := filesSnapshot(t, 80_000)
	d := NewDoc(7)
	d.PutHistory(func([]byte) (io.ReaderAt, error) { return nil, errors.New("the disk is full") })
	blob := bytes.Clone(snap)
	_, err := d.Import(blob)
	require.NoError(t, err)
	clear(blob)
	require.NoError(t, d.Verify())

	small := NewDoc(7)
	small.PutHistory(func([]byte) (io.ReaderAt, error) { panic("not asked for a small one") })
	_, err = small.Import(filesSnapshot(t, 1000))
	require.NoError(t, err)
}

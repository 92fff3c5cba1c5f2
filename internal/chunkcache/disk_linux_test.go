package chunkcache

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/testdisk"
)

func TestUnpinnedChunksGiveWayOnAFullDisk(t *testing.T) {
	dir := testdisk.Small(t, "4m")
	c := open(t, filepath.Join(dir, "cache"), 0)
	defer c.Close()

	put := func(n int, pin bool) (objectid.ID, error) {
		id, body := chunk(n, 300_000)
		return id, c.Put(id, body, pin)
	}
	var unpinned, pinned []objectid.ID
	for n := range 20 { // more than there is room for
		id, err := put(n, false)
		require.NoError(t, err)
		unpinned = append(unpinned, id)
	}
	require.False(t, c.Has(unpinned[0]), "the oldest went")
	require.True(t, c.Has(unpinned[19]))
	var err error
	for n := 100; err == nil; n++ {
		var id objectid.ID
		if id, err = put(n, true); err == nil {
			pinned = append(pinned, id)
		}
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.Greater(t, len(pinned), 10)
	for n, id := range pinned {
		_, body := chunk(100+n, 300_000)
		requireChunk(t, c, id, body)
	}
	require.Equal(t, int64(len(pinned))*300_000, c.Stats().Bytes, "nothing unpinned is left, nor of the one that failed")
	failed, _ := chunk(100+len(pinned), 300_000)
	require.NoFileExists(t, c.names.file(failed))

	c.Unpin(pinned[0])
	_, err = put(100+len(pinned), true)
	require.NoError(t, err)
	require.False(t, c.Has(pinned[0]))
}

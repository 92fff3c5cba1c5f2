package chunkcache

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/testdisk"
)

// moment is how long another program has a file in these tests.
const moment = 50 * time.Millisecond

// What a scanner has open for a moment is neither lost nor an error for whoever writes or reads it.
func TestFilesThatAreHeldForAMoment(t *testing.T) {
	dir := t.TempDir()
	c := open(t, filepath.Join(dir, "cache"), 0)
	id, body := chunk(1, hotFile+1)
	path := filepath.Join(dir, "staged")
	require.NoError(t, os.WriteFile(path, body, 0o600))
	testdisk.HoldFor(t, moment, path, 0)
	require.NoError(t, c.Adopt(id, path, int64(len(body)), true))

	testdisk.HoldFor(t, moment, c.names.file(id), 0)
	require.NoError(t, c.SyncDirty())

	c = reopen(t, c, id)
	testdisk.HoldFor(t, moment, c.names.file(id), 0)
	requireChunk(t, c, id, body)

	c = reopen(t, c, id)
	testdisk.HoldFor(t, moment, c.names.file(id), 0)
	part := make([]byte, 100)
	_, err := c.ReadAt(id, part, 1000)
	require.NoError(t, err)
	require.Equal(t, body[1000:1100], part)
}

func TestPackThatIsHeldForAMoment(t *testing.T) {
	dir := t.TempDir()
	c := openPacked(t, dir, 0)
	id, body := chunk(1, 100)
	require.NoError(t, c.Put(id, body, true))
	require.NoError(t, c.Close())
	packs, err := filepath.Glob(filepath.Join(dir, packsDir, "*"))
	require.NoError(t, err)
	require.Len(t, packs, 1)
	testdisk.HoldFor(t, moment, packs[0], 0)
	requireChunk(t, openPacked(t, dir, 0, id), id, body)
}

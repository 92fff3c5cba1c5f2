package chunkcache

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

func TestSyncDirtyRemembersWhatIsDurable(t *testing.T) {
	for _, many := range []int{3, 2 * syncTogether} {
		t.Run(fmt.Sprint(many), func(t *testing.T) {
			c := open(t, t.TempDir(), 0)
			var ids []objectid.ID
			for n := range many {
				id, body := chunk(n, 1000)
				require.NoError(t, c.Put(id, body, n != 0))
				ids = append(ids, id)
			}
			require.Len(t, c.dirty, many-1)
			require.NoError(t, c.SyncDirty())
			require.Empty(t, c.dirty)
			c.Unpin(ids[1])
			require.NoError(t, c.Pin(ids[1]))
			require.Empty(t, c.dirty, "it is durable already")
			require.NoError(t, c.Pin(ids[0]))
			require.Len(t, c.dirty, 1, "pinned later")
			require.NoError(t, c.Sync(ids...))
			require.Empty(t, c.dirty)

			c = reopen(t, c, ids...)
			c.background.Wait()
			require.Len(t, c.dirty, many, "what an earlier process left may not be durable")
			c.Unpin(ids[2])
			require.Len(t, c.dirty, many-1, "nobody needs it any more")
			require.NoError(t, c.SyncDirty())
			require.Empty(t, c.dirty)
		})
	}
}

func TestWhatTheStoreHasIsNotSynced(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	stored, body := chunk(1, 1<<20)
	require.NoError(t, c.Put(stored, body, true))
	c.Stored(stored)
	require.NoError(t, os.Remove(c.names.file(stored)), "no sync looks for it")
	require.NoError(t, c.SyncDirty())
	require.ErrorIs(t, c.Sync(stored), os.ErrNotExist, "unless it is asked for")
}

func TestSyncOfAMissingFileFailsOnce(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	lost, body := chunk(1, 1000)
	require.NoError(t, c.Put(lost, body, true))
	kept, body := chunk(2, 1000)
	require.NoError(t, c.Put(kept, body, true))
	require.NoError(t, os.Remove(c.names.file(lost)))
	err := c.SyncDirty()
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, c.SyncDirty())
	require.NoError(t, c.Sync(kept))
}

func TestFailedSyncIsTriedAgain(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 1000)
	require.NoError(t, c.Put(id, body, true))
	// A directory in the file's place can be opened by nobody for writing.
	path := c.names.file(id)
	require.NoError(t, os.Rename(path, path+"x"))
	require.NoError(t, os.Mkdir(path, 0o700))
	require.Error(t, c.SyncDirty())
	require.Len(t, c.dirty, 1)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Rename(path+"x", path))
	require.NoError(t, c.SyncDirty())
	require.Empty(t, c.dirty)
}

func TestChunkPutAgainDuringASyncStaysDirty(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 1000)
	require.NoError(t, c.Put(id, body, true))
	c.mu.Lock()
	taken := c.take(nil, id)
	c.mu.Unlock()
	c.Unpin(id)
	require.NoError(t, c.Remove(id))
	require.NoError(t, c.Put(id, body, true))
	require.NoError(t, c.sync(taken))
	require.Len(t, c.dirty, 1)
}

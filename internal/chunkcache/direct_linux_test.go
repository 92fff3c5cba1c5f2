package chunkcache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

func TestDirectWriteThatIsNotPossibleLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chunk")
	_, body := chunk(1, 4<<20)
	err := writeFileDirect(path, body[1:]) // not aligned
	require.ErrorIs(t, err, errNotNow)
	require.NoFileExists(t, path)
	switch err = writeFileDirect(path, body[:directAlign+1]); {
	case errors.Is(err, errNoDirect): // the file system of the temporary directory
		require.NoFileExists(t, path)
	default:
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, body[:directAlign+1], got)
	}
}

// Where one chunk lies in memory says nothing about the file system.
func TestChunkThatIsNotAlignedLeavesDirectWritesToOthers(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	_, body := chunk(1, 4<<20)
	body = body[1:]
	id := objectid.Of(body)
	require.NoError(t, c.PutFetched(id, pagebuf.Of(body), false))
	requireChunk(t, c, id, body)
	require.False(t, c.noDirect.Load())
}

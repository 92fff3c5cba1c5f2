package chunkcache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirectWriteThatIsNotPossibleLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chunk")
	_, body := chunk(1, 4<<20)
	err := writeFileDirect(path, body[1:]) // not aligned
	require.ErrorIs(t, err, errNoDirect)
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

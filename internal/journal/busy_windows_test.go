package journal

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/testdisk"
)

// moment is how long another program has a file in these tests.
const moment = 50 * time.Millisecond

func TestFilesThatAreHeldForAMoment(t *testing.T) {
	path := newPath(t)
	j := open(t, path, Options{})
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	copied := filepath.Join(t.TempDir(), "journal.db")
	copyJournal(t, path, copied, -1) // as of a killed process

	testdisk.HoldFor(t, moment, copied, 0)
	testdisk.HoldFor(t, moment, copied+"-wal", 0)
	again, err := Open(copied, Options{})
	require.NoError(t, err)
	require.Len(t, load(t, again).Entries, 1)
	require.NoError(t, again.Close())

	copyJournal(t, path, copied, -1)
	testdisk.HoldFor(t, moment, copied, 0)
	testdisk.HoldFor(t, moment, copied+"-wal", 0)
	aside, err := SetAside(copied)
	require.NoError(t, err)
	require.FileExists(t, aside)
	require.FileExists(t, aside+"-wal", "it goes with its database")
}

package journal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/testdisk"
)

func TestJournalGoesOnWhenARealDiskHasRoomAgain(t *testing.T) {
	dir := testdisk.Small(t, "2m")
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	j := open(t, filepath.Join(dir, "journal.db"), Options{SyncDelay: time.Hour})
	acknowledged := 0
	var err error
	for err == nil {
		if err = j.Enqueue(large(acknowledged)).Wait(); err == nil {
			acknowledged++
		}
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, j.Err(), ErrNoSpace)
	require.Greater(t, acknowledged, 5)

	// A kill now loses nothing that was acknowledged, on a disk still full.
	copied := filepath.Join(t.TempDir(), "journal.db")
	copyJournal(t, j.path, copied, -1)
	found := open(t, copied, Options{})
	require.Len(t, load(t, found).Entries, acknowledged)

	for range 3 {
		require.ErrorIs(t, j.Enqueue(large(acknowledged)).Wait(), ErrNoSpace)
		acknowledged++ // queued: it comes when there is room
	}
	require.NoError(t, os.Remove(ballast))
	last := j.Enqueue(large(acknowledged + 1))
	require.NoError(t, last.Wait())
	require.NoError(t, j.Err())
	require.NoError(t, j.Sync(ctx))
	j = reopen(t, j)
	loaded := load(t, j)
	require.Len(t, loaded.Entries, acknowledged+2)
	for i, e := range loaded.Entries {
		if i < acknowledged-3 {
			require.Equal(t, int32(i), e.Start)
		}
	}
	require.NoError(t, j.Close())
}

// A copy that does not fit was left behind in part, as if it were all, on a disk that it had filled.
func TestACopyThatDoesNotFitIsNotLeftBehind(t *testing.T) {
	dir := testdisk.Small(t, "2m")
	path := filepath.Join(dir, "journal.db")
	require.NoError(t, os.WriteFile(path, make([]byte, 700<<10), 0o600))
	require.NoError(t, os.WriteFile(path+"-wal", make([]byte, 700<<10), 0o600))
	_, err := copyAside(path)
	require.ErrorIs(t, err, syscall.ENOSPC)
	left, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{path, path + "-wal"}, left)
}

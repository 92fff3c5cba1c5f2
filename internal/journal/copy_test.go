package journal

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// allocated returns how many bytes do allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A journal can be larger than what a machine has of memory to spare.
func TestADamagedJournalIsNotReadIntoMemory(t *testing.T) {
	path := filepath.Join(memoryDir(t), "journal.db")
	j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
	object := []IndexObject{{Key: "large", Body: make([]byte, MaxIndexBody)}}
	require.NoError(t, j.UpdateIndexObjects(ctx, object, nil, false))
	_, _, err := j.db.main.checkpoint("TRUNCATE")
	require.NoError(t, err)
	for n := range 20 {
		require.NoError(t, j.Enqueue(change(n)).Wait())
	}
	damaged := filepath.Join(memoryDir(t), "journal.db")
	copyKilled(t, path, damaged)
	log, err := os.ReadFile(damaged + "-wal")
	require.NoError(t, err)
	clear(log[walHeader+frameSize : walHeader+2*frameSize])
	require.NoError(t, os.WriteFile(damaged+"-wal", log, 0o600))
	const most = 8 << 20
	require.Less(t, allocated(func() {
		j, err := Open(damaged, Options{Boot: "one"})
		require.NoError(t, err)
		_, why := j.Kept()
		require.ErrorIs(t, why, ErrDamaged)
		require.NoError(t, j.Close())
	}), uint64(most))
}

package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// With the database cut, all that its log has is used: SQLite removed the log of an empty one.
func TestTheLogOfADatabaseThatWasCutIsUsed(t *testing.T) {
	for _, fact := range []bool{false, true} {
		path := filepath.Join(memoryDir(t), "journal.db")
		j := open(t, path, Options{SyncDelay: time.Hour, Boot: "one"})
		const count = 60
		for n := range count {
			require.NoError(t, j.Enqueue(change(n)).Wait())
		}
		if fact {
			require.NoError(t, j.SetMeta(ctx, "fact", []byte("value")))
		}
		for _, size := range []int64{-1, 0, 1, pageSize - 1, pageSize, 2 * pageSize, 5000} {
			for _, boot := range []string{"one", "two"} {
				t.Run(fmt.Sprint(fact, size, boot), func(t *testing.T) {
					damaged := filepath.Join(memoryDir(t), "journal.db")
					copyKilled(t, path, damaged)
					if size < 0 {
						require.NoError(t, os.Remove(damaged))
					} else {
						require.NoError(t, os.Truncate(damaged, size))
					}
					opts := Options{Boot: boot, Used: true}
					again, err := Open(damaged, opts)
					if err != nil {
						again, _ = openDamaged(t, damaged, opts)
					}
					require.Len(t, there(t, again), count)
					require.Len(t, load(t, again).Uploads, count)
					if fact {
						require.Equal(t, "value", string(again.GetMeta("fact")))
					}
					require.NoError(t, again.Close())
				})
			}
		}
	}
}

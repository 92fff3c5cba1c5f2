package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edit changes the database of a closed journal.
func edit(t *testing.T, path, sql string) {
	t.Helper()
	c, err := connect(path)
	require.NoError(t, err)
	require.NoError(t, c.run(sql))
	require.NoError(t, c.Close())
}

func TestNewerJournalIsLeftAlone(t *testing.T) {
	path := newPath(t)
	require.NoError(t, open(t, path, Options{}).Close())
	edit(t, path, fmt.Sprintf("PRAGMA user_version=%d", schemaVersion+1))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = Open(path, Options{})
	require.ErrorIs(t, err, ErrNewer)
	require.NotErrorIs(t, err, ErrDamaged)
	require.NotContains(t, err.Error(), "\n")
	require.Contains(t, err.Error(), path)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
}

// A journal of version 1 is the same but for the number, which keeps a Pocket away that
// does not look for chunks in packs.
func TestJournalOfVersion1IsTakenOver(t *testing.T) {
	path := newPath(t)
	j := open(t, path, Options{})
	require.NoError(t, j.Enqueue(entry(1, 1, Upload{Object: objectOf(1), Size: 1})).Wait())
	require.NoError(t, j.Close())
	edit(t, path, "PRAGMA user_version=1")
	for range 2 {
		j = open(t, path, Options{})
		left := load(t, j)
		require.Len(t, left.Entries, 1)
		require.Len(t, left.Uploads, 1)
		version, err := j.db.main.number("PRAGMA user_version")
		require.NoError(t, err)
		require.Equal(t, int64(schemaVersion), version)
		require.NoError(t, j.Close())
	}
}

func TestDamagedJournalIsReportedAndSetAside(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"not a database": func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
		},
		"a few bytes": func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte("SQLite"), 0o600))
		},
		"another program's": func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			edit(t, path, "CREATE TABLE t (a)")
		},
		"version 0": func(t *testing.T, path string) { edit(t, path, "PRAGMA user_version=0") },
		"a page of garbage": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			for i := pageSize; i < 2*pageSize; i++ {
				b[i] ^= 0xa5
			}
			require.NoError(t, os.WriteFile(path, b, 0o600))
		},
		"half of it": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, info.Size()/2/pageSize*pageSize))
		},
		"an object without a name": func(t *testing.T, path string) {
			edit(t, path, "INSERT INTO uploads VALUES (999, x'00', 1, 1, 1)")
		},
		"an object listed twice": func(t *testing.T, path string) {
			edit(t, path, "INSERT INTO uploads SELECT row+1000, object, size, node, added FROM uploads")
		},
		"a table is missing": func(t *testing.T, path string) { edit(t, path, "DROP TABLE entries") },
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			j := open(t, path, Options{})
			for n := range 200 {
				j.Enqueue(entry(1, n, Upload{Object: objectOf(n), Size: 1}))
			}
			require.NoError(t, j.Close())
			spoil(t, path)
			_, err := Open(path, Options{})
			require.ErrorIs(t, err, ErrDamaged)
			require.Contains(t, err.Error(), path)
			require.NotContains(t, err.Error(), "\n")

			aside, err := SetAside(path)
			require.NoError(t, err)
			require.FileExists(t, aside)
			require.NoFileExists(t, path)
			j = open(t, path, Options{})
			require.Equal(t, Loaded{}, load(t, j))
		})
	}
}

func TestSetAsideKeepsTheLogWithItsDatabase(t *testing.T) {
	path := newPath(t)
	j := open(t, path, Options{})
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	// As a killed process leaves them: the entry is in the log alone.
	copied := filepath.Join(t.TempDir(), "journal.db")
	copyJournal(t, path, copied, -1)
	aside, err := SetAside(copied)
	require.NoError(t, err)
	require.FileExists(t, aside+"-wal")
	require.NoFileExists(t, copied+"-wal")
	saved := open(t, aside, Options{})
	require.Len(t, load(t, saved).Entries, 1)
}

func TestNothingOfAJournalIsNotSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	_, err := SetAside(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, Unsalvaged(path))
}

// Wherever a start ends that sets a journal aside and reads it, the next one does the rest.
func TestSalvageIsBegunAgainWhereItWasCutShort(t *testing.T) {
	for name, cut := range map[string]func(t *testing.T, path, aside string){
		"before the first rename": func(t *testing.T, path, aside string) {
			require.NoError(t, os.Rename(aside, path))
			require.NoError(t, os.Rename(aside+"-wal", path+"-wal"))
			require.NoError(t, os.WriteFile(path+markSuffix, []byte(filepath.Base(aside)), 0o600))
		},
		"between two renames": func(t *testing.T, path, aside string) {
			require.NoError(t, os.Rename(aside+"-wal", path+"-wal"))
			require.NoError(t, os.WriteFile(path+markSuffix, []byte(filepath.Base(aside)), 0o600))
		},
		"after the last rename": func(t *testing.T, path, aside string) {
			require.NoError(t, os.WriteFile(path+markSuffix, []byte(filepath.Base(aside)), 0o600))
		},
		"before there is a new one": func(t *testing.T, path, aside string) {},
		"with half of a new one": func(t *testing.T, path, aside string) {
			other := newPath(t)
			j := open(t, other, Options{})
			require.NoError(t, j.Enqueue(entry(1, 0)).Wait())
			copyJournal(t, other, path, -1) // as a killed process leaves it
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			j := open(t, path, Options{})
			for n := range 3 {
				require.NoError(t, j.Enqueue(entry(1, n)).Wait())
			}
			copied := filepath.Join(t.TempDir(), "journal.db")
			copyJournal(t, path, copied, -1)
			require.False(t, Unsalvaged(copied))
			aside, err := SetAside(copied)
			require.NoError(t, err)
			cut(t, copied, aside)

			require.True(t, Unsalvaged(copied))
			again, err := SetAside(copied)
			require.NoError(t, err)
			require.Equal(t, aside, again)
			j = open(t, copied, Options{Used: true})
			saved, err := j.Salvage(t.Context(), aside)
			require.NoError(t, err)
			require.Equal(t, 3, saved)
			require.False(t, Unsalvaged(copied))
			require.Len(t, load(t, j).Entries, 3)
		})
	}
}

// Of a journal whose database was removed the log is left, which is no reason never to start again.
func TestLogWithoutItsDatabaseIsSetAside(t *testing.T) {
	path := newPath(t)
	j := open(t, path, Options{})
	for n := range 3 {
		require.NoError(t, j.Enqueue(entry(1, n)).Wait())
	}
	copied := filepath.Join(t.TempDir(), "journal.db")
	copyJournal(t, path, copied, -1)
	require.NoError(t, os.Remove(copied))
	_, err := Open(copied, Options{Used: true})
	require.ErrorIs(t, err, ErrDamaged)
	aside, err := SetAside(copied)
	require.NoError(t, err)
	require.FileExists(t, aside+"-wal")
	j = open(t, copied, Options{Used: true})
	saved, err := j.Salvage(t.Context(), aside)
	require.NoError(t, err)
	require.Equal(t, 3, saved)
	require.NoError(t, j.Enqueue(entry(1, 3)).Wait())
	require.Len(t, load(t, j).Entries, 4)
}

func TestInterruptedCreationIsStartedOver(t *testing.T) {
	path := newPath(t)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, open(t, path, Options{}).Close())

	path = newPath(t)
	edit(t, path, "PRAGMA journal_mode=WAL") // and was killed
	j := open(t, path, Options{})
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	require.Len(t, load(t, j).Entries, 1)
}

func TestOpenNamesThePathItCannotUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "journal.db")
	_, err := Open(path, Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotErrorIs(t, err, ErrDamaged)
	require.Contains(t, err.Error(), path)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows derives access from the directory's")
	}
	path := newPath(t)
	j := open(t, path, Options{})
	require.NoError(t, j.Enqueue(entry(1, 1)).Wait())
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
	}
}

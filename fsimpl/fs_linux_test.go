package fsimpl_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore"
)

// A mount that cannot be opened is tried again: nothing of the attempt stays open.
func TestMountThatCannotBeOpenedLeavesNothingOpen(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	m.put("f", []byte("content"))
	m.stop()
	state, err := statedir.Open(m.data, "test")
	require.NoError(t, err)
	cache := state.Cache()
	require.NoError(t, os.Rename(cache, cache+"-away"))
	require.NoError(t, os.WriteFile(cache, nil, 0o600))
	_, err = fsimpl.Open(t.Context(), fsimpl.Options{Name: "test", Store: m.store, State: state, Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, cache)
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, link := range links {
		name, err := os.Readlink(link)
		require.False(t, err == nil && strings.HasPrefix(name, m.data) && !strings.HasSuffix(name, "/lock"), name)
	}
	require.NoError(t, state.Close())
	require.NoError(t, os.Remove(cache))
	require.NoError(t, os.Rename(cache+"-away", cache))
	m.start()
	require.Equal(t, "content", string(m.get("/f")))
}

// An earlier content that cannot be read just now, in place of one that is lost, is still there: it was taken for gone.
func TestEarlierContentThatCannotBeReadJustNowIsFound(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 1 << 20, name: "a"}
	m.startForTest()
	m.store.setFail(failing(objstore.OpPut, ""))
	first, second := bytes.Repeat([]byte("1"), 300_000), bytes.Repeat([]byte("2"), 400_000)
	file := func(body []byte) string {
		files, err := filepath.Glob(filepath.Join(m.data, "state", "*", "cache", "*", objectid.Of(body).String()))
		require.NoError(t, err)
		require.Len(t, files, 1)
		return files[0]
	}
	m.put("f", first)
	m.put("f", second)
	require.NoError(t, m.Persist())
	require.NoError(t, os.WriteFile(file(second), second[1:], 0o600))
	there := file(first)
	require.NoError(t, os.Rename(there, there+"-away"))
	require.NoError(t, os.Mkdir(there, 0o700)) // reading it is an error, and not that it does not exist
	m.store.setFail(nil)
	n, err := m.Resolve("/f")
	require.NoError(t, err)
	eventually(t, "the earlier content", func() bool {
		a, err := m.Stat(n)
		return err == nil && a.Size == int64(len(first))
	})
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, there+"-away", unix.AT_FDCWD, there, unix.RENAME_EXCHANGE)) // it is there all the time
	m.drain()
	require.True(t, bytes.Equal(first, m.get("/f")))
	_, err = m.store.Store.Get(t.Context(), objectid.Of(first).Key(), 1<<20)
	require.NoError(t, err)
}

// What is written in the middle of a file whose chunk this machine cannot read just now is committed: the rest stays
// in the object that the store has.
func TestWriteToAFileWhoseChunkCannotBeReadIsCommitted(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 1 << 20, name: "a"}
	m.startForTest()
	body := bytes.Repeat([]byte("1"), 300_000)
	m.put("f", body)
	m.restart()
	eventually(t, "what is in the cache", func() bool { return m.Status().Cache.Chunks > 0 })
	files, err := filepath.Glob(filepath.Join(m.data, "state", "*", "cache", "*", objectid.Of(body).String()))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Rename(files[0], files[0]+"-away"))
	require.NoError(t, os.Mkdir(files[0], 0o700)) // reading it is an error, and not that it does not exist
	n, err := m.Resolve("/f")
	require.NoError(t, err)
	for _, pinned := range []bool{false, true} { // while the file is open its chunks are
		f, err := m.Open(n, readWrite)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("in the middle"), 1000)
		require.NoError(t, err)
		if pinned {
			require.NoError(t, f.Flush())
		}
		require.NoError(t, f.Release())
	}
	m.drain()
	copy(body[1000:], "in the middle")
	other := newMachine(t, m.store, 1<<20)
	require.True(t, bytes.Equal(body, other.get("/f")))
}

package fsimpl_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/objstore"
)

// afterKill returns a machine that starts from what m's disk would hold if m's process
// were killed at this moment, with a store that has only what m put into it so far.
func (m *machine) afterKill() *machine {
	m.t.Helper()
	copied := &machine{t: m.t, store: m.store, data: m.t.TempDir(), chunk: m.chunk, name: m.name, cache: m.cache, roomWait: m.roomWait}
	require.NoError(m.t, os.CopyFS(copied.data, os.DirFS(m.data)))
	copied.start()
	m.t.Cleanup(func() {
		if copied.FS != nil {
			_ = copied.leave()
		}
	})
	return copied
}

// TestClosedFileSurvivesAKill guards the order in which create, write and close are
// journaled: only close waits.
func TestClosedFileSurvivesAKill(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags fsimpl.OpenFlags
		body  []byte
	}{
		{"written", readWrite, []byte("content")},
		{"empty", readWrite, nil},
		{"opened to read", fsimpl.OpenRead, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := newFaultStore()
			m := newMachine(t, store, 1<<20)
			store.setFail(func(op, key string) error {
				if op == objstore.OpPut {
					return unavailable(op, key)
				}
				return nil
			})
			f, _, err := m.Create(root, "f", 0o640, me, c.flags)
			require.NoError(t, err)
			if c.body != nil {
				_, err = f.WriteAt(c.body, 0)
				require.NoError(t, err)
			}
			require.NoError(t, f.Flush())
			after := m.afterKill()
			require.Equal(t, len(c.body), len(after.get("f")))
			require.Equal(t, string(c.body), string(after.get("f")))
			a, err := after.Lookup(root, "f")
			require.NoError(t, err)
			require.Equal(t, uint32(0o640), a.Mode)
			require.NoError(t, f.Release())
			store.setFail(nil)
		})
	}
}

// TestTimesStayWhenAWrittenFileIsClosed guards what git relies on: it remembers a file's times
// when it closed it and takes a file whose times differ for a changed one.
func TestTimesStayWhenAWrittenFileIsClosed(t *testing.T) {
	m := newMachine(t, newFaultStore(), 1<<20)
	f, _, err := m.Create(root, "f", 0o644, me, readWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("content"), 0)
	require.NoError(t, err)
	written, err := f.Stat()
	require.NoError(t, err)
	require.NoError(t, f.Flush())
	flushed, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, written, flushed)
	require.NoError(t, f.Release())
	closed, err := m.Stat(written.Node)
	require.NoError(t, err)
	require.Equal(t, written, closed)
}

// newSmall returns a machine with a small cache, of some bytes, in which writers wait for room for some time, and
// chunks of 64 KiB.
func newSmall(t *testing.T, store *faultStore, cache int64, roomWait time.Duration) *machine {
	m := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, cache: cache, roomWait: roomWait}
	m.startForTest()
	return m
}

// cached returns how many bytes the machine's cache takes on disk. Nothing is mounted: files
// that come and go during the walk would be counted together.
func (m *machine) cached() (bytes int64) {
	m.t.Helper()
	require.NoError(m.t, filepath.WalkDir(m.state.Cache(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			bytes += info.Size()
			return err
		}
		return err
	}))
	return bytes
}

// Who waits for room in a full cache goes on when the mount ends: what was acknowledged is kept, and what was not fails.
func TestEndOfTheMountEndsTheWaitForRoom(t *testing.T) {
	store := newFaultStore()
	m := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, cache: 1 << 20, roomWait: time.Hour}
	m.start()
	store.setFail(func(op, key string) error {
		if op == objstore.OpPut {
			return unavailable(op, key)
		}
		return nil
	})
	body := randomBytes(rand.New(rand.NewPCG(2, 3)), 100_000)
	m.put("acknowledged", body)
	f := m.create(root, "not")
	type end struct{ written, released error }
	ended := make(chan end)
	go func() {
		var e end
		for off := int64(0); e.written == nil; off += int64(len(body)) {
			_, e.written = f.WriteAt(body, off)
		}
		e.released = f.Release()
		ended <- e
	}()
	require.Eventually(t, func() bool { return m.Status().Cache.Pinned > m.cache/2 }, time.Minute, time.Millisecond)
	m.EndWaits()
	e := <-ended
	require.Equal(t, fsimpl.NoSpace, fsimpl.KindOf(e.written), e.written)
	require.ErrorContains(t, e.written, "the mount ends")

	store.setFail(nil)
	m.stop()
	m.start()
	require.True(t, bytes.Equal(body, m.get("acknowledged")))
	require.True(t, bytes.Equal(body, m.get("not")[:len(body)]), "what was written of it was kept all the same")
	m.stop()
}

func TestFileLargerThanTheCacheIsWrittenAsFastAsItIsUploaded(t *testing.T) {
	m := newSmall(t, newFaultStore(), 8<<20, time.Hour)
	// While a pack is given up, what is kept of it, up to half, is there twice.
	most := m.cache + 512<<10
	body := randomBytes(rand.New(rand.NewPCG(1, 1)), 24<<20+123)
	f := m.create(root, "large")
	for off := 0; off < len(body); off += 50_000 {
		_, err := f.WriteAt(body[off:min(off+50_000, len(body))], int64(off))
		require.NoError(t, err)
		require.LessOrEqual(t, m.Status().Cache.Bytes, most)
	}
	m.close(f)
	require.True(t, bytes.Equal(body, m.get("large")))
	m.restart()
	require.True(t, bytes.Equal(body, m.get("large")))
	require.LessOrEqual(t, m.Status().Cache.Bytes, most)
	m.stop()
	require.LessOrEqual(t, m.cached(), m.cache)
}

// A write that finds the cache full half-way is tried again as a whole once what came before it is
// committed. What it had written beyond the end of the file by then is not in the way.
func TestLargeWritesIntoAFullCacheAreTriedAgain(t *testing.T) {
	m := newSmall(t, newFaultStore(), 8<<20, time.Hour)
	body := randomBytes(rand.New(rand.NewPCG(3, 3)), 10<<20)
	f := m.create(root, "large")
	for off := 0; off < len(body); off += 500_000 {
		_, err := f.WriteAt(body[off:min(off+500_000, len(body))], int64(off))
		require.NoError(t, err)
	}
	m.close(f)
	require.True(t, bytes.Equal(body, m.get("large")))
}

func TestCacheFullOfPendingContentIsNoSpaceAndLosesNothing(t *testing.T) {
	store := newFaultStore()
	m := newSmall(t, store, 1<<20, 300*time.Millisecond)
	store.setFail(func(op, key string) error {
		if op == objstore.OpPut {
			return unavailable(op, key)
		}
		return nil
	})
	rng := rand.New(rand.NewPCG(2, 2))
	kept := map[string][]byte{}
	var err error
	for n := 0; err == nil; n++ {
		name := string(rune('a' + n))
		body := randomBytes(rng, 1+rng.IntN(150_000))
		f := m.create(root, name)
		if _, err = f.WriteAt(body, 0); err == nil {
			err = f.Flush()
		}
		if err == nil {
			kept[name] = body
		}
		require.Less(t, n, 26)
		_ = f.Release() // fails as Flush did
	}
	require.Equal(t, fsimpl.NoSpace, fsimpl.KindOf(err), err)
	require.ErrorContains(t, err, "forced", "it tells why the cache is full")
	require.LessOrEqual(t, m.Status().Cache.Bytes, m.cache)
	require.Greater(t, len(kept), 4)
	for name, body := range kept {
		require.True(t, bytes.Equal(body, m.get(name)), name)
	}
	after := m.afterKill()
	require.LessOrEqual(t, after.cached(), after.cache)
	for name, body := range kept {
		require.True(t, bytes.Equal(body, after.get(name)), name)
	}
	store.setFail(nil)
	m.drain()
	m.put("later", randomBytes(rng, 150_000))
}

func TestCacheSmallerThanAChunkIsRefused(t *testing.T) {
	m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 1 << 20, cache: 1<<20 - 1}
	err := m.tryStart()
	require.ErrorContains(t, err, "cache_size")
	require.NotContains(t, err.Error(), "\n")
}

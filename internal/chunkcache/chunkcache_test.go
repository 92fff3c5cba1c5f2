package chunkcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

// chunk returns a chunk of size bytes that depend on n.
func chunk(n, size int) (objectid.ID, []byte) {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	body := make([]byte, size)
	r.Read(body)
	return objectid.Of(body), body
}

// open opens a cache without packs, so that each chunk has a file of its own.
func open(t testing.TB, dir string, capBytes int64, pinned ...objectid.ID) *Cache {
	t.Helper()
	c, err := openCache(dir, capBytes, pinned, -1)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// openPacked opens a cache as a mount does, with small chunks in packs.
func openPacked(t testing.TB, dir string, capBytes int64, pinned ...objectid.ID) *Cache {
	t.Helper()
	c, err := Open(dir, capBytes, pinned)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// reopen closes c and opens its directory again, as another process would.
func reopen(t testing.TB, c *Cache, pinned ...objectid.ID) *Cache {
	t.Helper()
	require.NoError(t, c.Close())
	again, err := openCache(c.dir, c.cap, pinned, c.packMost)
	require.NoError(t, err)
	t.Cleanup(func() { again.Close() })
	return again
}

func requireChunk(t *testing.T, c *Cache, id objectid.ID, want []byte) {
	t.Helper()
	got, err := c.Get(id)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
	for _, off := range []int{0, 1, len(want) / 2, len(want) - 1} {
		p := make([]byte, min(1000, len(want)-off))
		n, err := c.ReadAt(id, p, int64(off))
		require.NoError(t, err)
		require.Equal(t, len(p), n)
		require.True(t, bytes.Equal(want[off:off+n], p))
	}
}

func TestChunkReadsBackWholeAndInParts(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	for n, size := range []int{2, 4096, hotFile, hotFile + 1, 4 << 20, 9 << 20} {
		id, body := chunk(n, size)
		require.False(t, c.Has(id))
		require.NoError(t, c.Put(id, body, false))
		requireChunk(t, c, id, body)
		size, ok := c.Size(id)
		require.True(t, ok)
		require.Equal(t, int64(len(body)), size)

		p := make([]byte, 10)
		got, err := c.ReadAt(id, p, int64(len(body))-1)
		require.Equal(t, 1, got)
		require.Equal(t, io.EOF, err)
		got, err = c.ReadAt(id, p, int64(len(body)))
		require.Equal(t, 0, got)
		require.Equal(t, io.EOF, err)
		_, err = c.ReadAt(id, p, -1)
		require.Error(t, err)
	}
	c = reopen(t, c)
	for n, size := range []int{2, 4096, hotFile, hotFile + 1, 4 << 20, 9 << 20} {
		id, body := chunk(n, size)
		requireChunk(t, c, id, body)
	}
}

func TestEmptyChunk(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id := objectid.Of(nil)
	require.NoError(t, c.Put(id, nil, false))
	for range 2 {
		body, err := c.Get(id)
		require.NoError(t, err)
		require.Empty(t, body)
		_, err = c.ReadAt(id, make([]byte, 1), 0)
		require.Equal(t, io.EOF, err)
		c = reopen(t, c)
	}
}

func TestPutDoesNotKeepTheBytesItWasGiven(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 100)
	given := bytes.Clone(body)
	require.NoError(t, c.Put(id, given, false))
	clear(given)
	requireChunk(t, c, id, body)
}

func TestUnknownChunkDoesNotExist(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 100)
	_, err := c.Get(id)
	require.ErrorIs(t, err, ErrNotExist)
	_, err = c.ReadAt(id, make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrNotExist)
	require.ErrorIs(t, c.Pin(id), ErrNotExist)
	require.ErrorIs(t, c.Sync(id), ErrNotExist)
	require.NoError(t, c.Remove(id))
	c.Unpin(id)
	require.NoError(t, c.Put(id, body, false))
	require.NoError(t, c.Remove(id))
	require.False(t, c.Has(id))
	require.Zero(t, c.Stats().Bytes)
}

func TestDamagedChunkIsNeverServed(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"one bit": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			b[len(b)/2] ^= 1
			require.NoError(t, os.WriteFile(path, b, 0o600))
		},
		"cut short": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 10)) },
		"empty":     func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) },
		"longer": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(t, err)
			_, err = f.Write([]byte{0})
			require.NoError(t, err)
			require.NoError(t, f.Close())
		},
	}
	for name, spoil := range damage {
		for _, pinned := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pinned %v", name, pinned), func(t *testing.T) {
				c := open(t, t.TempDir(), 0)
				id, body := chunk(1, 100_000)
				require.NoError(t, c.Put(id, body, false))
				spoil(t, c.names.file(id))
				if pinned {
					c = reopen(t, c, id)
				} else {
					c = reopen(t, c)
				}
				require.True(t, c.Has(id), "damage shows when it is read")
				n, err := c.ReadAt(id, make([]byte, 5), 0)
				require.ErrorIs(t, err, ErrNotExist)
				require.Zero(t, n)
				_, err = c.Get(id)
				require.ErrorIs(t, err, ErrNotExist)
				require.False(t, c.Has(id))
				require.NoFileExists(t, c.names.file(id))
				aside := filepath.Join(c.dir, damagedDir, id.String())
				if pinned {
					require.FileExists(t, aside, "what may be the only copy is not deleted")
				} else {
					require.NoFileExists(t, aside)
				}
				stats := c.Stats()
				require.Zero(t, stats.Bytes)
				require.Zero(t, stats.Pinned)

				require.NoError(t, c.Put(id, body, true))
				requireChunk(t, c, id, body)
			})
		}
	}
}

func TestChunkCutWhileItIsInUseIsNotServed(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 1<<20)
	require.NoError(t, c.Put(id, body, false))
	p := make([]byte, 1000)
	_, err := c.ReadAt(id, p, 900_000)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(c.names.file(id), 900_100))
	_, err = c.ReadAt(id, p, 900_000)
	require.ErrorIs(t, err, ErrNotExist)
}

func TestPutReplacesADamagedFileOfAnEarlierProcess(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 5000)
	require.NoError(t, c.Put(id, body, false))
	require.NoError(t, os.WriteFile(c.names.file(id), []byte("other"), 0o600))
	for _, adopt := range []bool{false, true} {
		c = reopen(t, c, id, id)
		require.Equal(t, int64(5), pinnedAfterScan(c))
		if adopt {
			path := filepath.Join(c.dir, "staged")
			require.NoError(t, os.WriteFile(path, body, 0o600))
			require.NoError(t, c.Adopt(id, path, int64(len(body)), true))
		} else {
			require.NoError(t, c.Put(id, body, true))
		}
		requireChunk(t, c, id, body)
		stats := c.Stats()
		require.Equal(t, int64(5000), stats.Bytes)
		require.Equal(t, int64(5000), stats.Pinned)
		// The two pins of Open and the one of Put all count.
		c.Unpin(id)
		c.Unpin(id)
		require.ErrorIs(t, c.Remove(id), ErrPinned)
		c.Unpin(id)
		require.Zero(t, c.Stats().Pinned)
		require.NoError(t, os.WriteFile(c.names.file(id), []byte("other"), 0o600))
	}
}

func pinnedAfterScan(c *Cache) int64 {
	c.background.Wait()
	return c.Stats().Pinned
}

func TestFileRemovedByOthersDoesNotExist(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	for n, size := range []int{100, 1 << 20} {
		id, body := chunk(n, size)
		require.NoError(t, c.Put(id, body, true))
		c = reopen(t, c, id)
		require.NoError(t, os.Remove(c.names.file(id)))
		_, err := c.Get(id)
		require.ErrorIs(t, err, ErrNotExist)
		require.False(t, c.Has(id))
		require.NoError(t, c.Put(id, body, true))
		requireChunk(t, c, id, body)
		c.Unpin(id)
		require.ErrorIs(t, c.Remove(id), ErrPinned, "as it was before")
		c.Unpin(id)
		require.NoError(t, c.Remove(id))
	}
	require.Equal(t, Stats{}, c.Stats())
}

func TestPutWritesAgainWhatOthersRemoved(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		c := open(t, t.TempDir(), 0)
		id, body := chunk(size, size)
		require.NoError(t, c.Put(id, body, true))
		if runtime.GOOS != "windows" { // nobody removes there what a reader left open
			requireChunk(t, c, id, body)
		}
		require.NoError(t, os.RemoveAll(c.names.shards[id[0]]))
		require.NoError(t, c.Put(id, body, true))
		c = reopen(t, c, id)
		requireChunk(t, c, id, body)
		require.Equal(t, int64(size), c.Stats().Pinned)
	}
}

func TestGetComparesEvenWhatWasPutInThisProcess(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 1<<20)
	require.NoError(t, c.Put(id, body, true))
	body[5]++
	require.NoError(t, os.WriteFile(c.names.file(id), body, 0o600))
	_, err := c.Get(id)
	require.ErrorIs(t, err, ErrNotExist)
}

func TestAdoptMovesTheFile(t *testing.T) {
	dir := t.TempDir()
	c := open(t, filepath.Join(dir, "cache"), 0)
	id, body := chunk(1, 1<<20)
	path := filepath.Join(dir, "staged")
	require.NoError(t, os.WriteFile(path, body, 0o600))
	before, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, c.Adopt(id, path, 1<<20, true))
	require.NoFileExists(t, path)
	after, err := os.Stat(c.names.file(id))
	require.NoError(t, err)
	if runtime.GOOS != "windows" { // where a FileInfo looks for the file by its old name
		require.True(t, os.SameFile(before, after))
	}
	requireChunk(t, c, id, body)

	require.NoError(t, os.WriteFile(path, body, 0o600))
	require.NoError(t, c.Adopt(id, path, 1<<20, true), "the cache has it already")
	require.NoFileExists(t, path)
	c.Unpin(id)
	require.Equal(t, int64(1<<20), c.Stats().Pinned, "pinned twice")

	missing, _ := chunk(2, 10)
	require.ErrorIs(t, c.Adopt(missing, path, 10, true), os.ErrNotExist)
	require.False(t, c.Has(missing))
	require.Equal(t, int64(1<<20), c.Stats().Bytes)
}

func TestFailedAdoptLeavesTheFile(t *testing.T) {
	dir := t.TempDir()
	c := open(t, filepath.Join(dir, "cache"), 100)
	id, body := chunk(1, 101)
	path := filepath.Join(dir, "staged")
	require.NoError(t, os.WriteFile(path, body, 0o600))
	require.ErrorIs(t, c.Adopt(id, path, 101, true), ErrFull)
	require.FileExists(t, path)
	require.Equal(t, Stats{Cap: 100}, c.Stats())
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := open(t, t.TempDir(), 5000)
	c.background.Wait() // the scan evicts too, and forgets a chunk before its file is gone
	var ids []objectid.ID
	for n := range 5 {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, false))
		ids = append(ids, id)
	}
	_, err := c.ReadAt(ids[0], make([]byte, 1), 0)
	require.NoError(t, err)
	require.NoError(t, c.Pin(ids[1]))

	for n := 5; n < 7; n++ {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, false))
		ids = append(ids, id)
	}
	has := func() (s string) {
		for i, id := range ids {
			if c.Has(id) {
				require.FileExists(t, c.names.file(id))
				s += fmt.Sprint(i)
			} else {
				require.NoFileExists(t, c.names.file(id))
			}
		}
		return s
	}
	require.Equal(t, "01456", has())
	c.Unpin(ids[1]) // now the most recently used
	for n := 7; n < 11; n++ {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, false))
		ids = append(ids, id)
	}
	require.Equal(t, "178910", has())
	require.Equal(t, Stats{Chunks: 5, Bytes: 5000, Cap: 5000}, c.Stats())
}

func TestPinnedChunksAreNotEvictedButFillTheCache(t *testing.T) {
	c := open(t, t.TempDir(), 5000)
	var ids []objectid.ID
	for n := range 5 {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, true))
		ids = append(ids, id)
	}
	one, body := chunk(9, 1000)
	require.ErrorIs(t, c.Put(one, body, true), ErrFull)
	require.ErrorIs(t, c.Put(one, body, false), ErrFull)
	require.False(t, c.Has(one))
	for _, id := range ids {
		require.True(t, c.Has(id))
		require.ErrorIs(t, c.Remove(id), ErrPinned)
	}
	again, body0 := chunk(0, 1000)
	require.NoError(t, c.Put(again, body0, true), "what is there already needs no room")
	c.Unpin(again)
	require.ErrorIs(t, c.Put(one, body, true), ErrFull, "pins are counted")
	c.Unpin(again)
	require.NoError(t, c.Put(one, body, true))
	require.False(t, c.Has(again))
}

// Who pinned a chunk that is lost gives its pins back later, when somebody else may have put the same content again
// and needs it: it was evicted before its upload.
func TestPinsOutliveWhatTheyKeep(t *testing.T) {
	damage := func(t *testing.T, c *Cache, id objectid.ID) {
		c.mu.Lock()
		i, _ := c.entries.find(id)
		file, at := c.fileOf(i), int64(c.entries.at[i].at)
		c.mu.Unlock()
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("damage"), at)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	for name, most := range map[string]int64{"in a file": -1, "in a pack": packMost} {
		for how, lose := range map[string]func(t *testing.T, c *Cache, id objectid.ID) *Cache{
			"damaged": func(t *testing.T, c *Cache, id objectid.ID) *Cache {
				damage(t, c, id)
				return reopen(t, c, id)
			},
			"not there any more": func(t *testing.T, c *Cache, id objectid.ID) *Cache {
				require.NoError(t, c.Close())
				require.NoError(t, os.RemoveAll(c.dir))
				return reopen(t, c, id)
			},
			"removed while it is known": func(t *testing.T, c *Cache, id objectid.ID) *Cache {
				c = reopen(t, c, id)
				require.True(t, c.Has(id))
				if most < 0 {
					require.NoError(t, os.Remove(c.names.file(id)))
				} else {
					damage(t, c, id)
				}
				return c
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				c, err := openCache(t.TempDir(), 0, nil, most)
				require.NoError(t, err)
				id, body := chunk(1, 1000)
				require.NoError(t, c.Put(id, body, true))
				c = lose(t, c, id) // pinned once
				_, err = c.Get(id)
				require.ErrorIs(t, err, ErrNotExist)
				require.Zero(t, c.Stats().Pinned)

				require.NoError(t, c.Put(id, body, true))
				require.NoError(t, c.Pin(id))
				c.Unpin(id) // the pin from before
				c.Unpin(id)
				require.ErrorIs(t, c.Remove(id), ErrPinned)
				require.NotZero(t, c.Stats().Pinned)
				c.Unpin(id)
				require.Zero(t, c.Stats().Pinned)
				require.NoError(t, c.Remove(id))

				c.Unpin(id)
				require.NoError(t, c.Put(id, body, false))
				require.NoError(t, c.Remove(id), "no pin is left, nor less than none")
			})
		}
	}
}

func TestMakeRoomTakesTheOldestThatAreNotPinned(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	var ids []objectid.ID
	for n := range 6 {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, n%2 == 0))
		ids = append(ids, id)
	}
	require.True(t, c.MakeRoom(1500))
	for n, there := range []bool{true, false, true, false, true, true} {
		require.Equal(t, there, c.Has(ids[n]), n)
	}
	require.True(t, c.MakeRoom(5000), "what there is")
	require.False(t, c.MakeRoom(1))
	require.Equal(t, Stats{Chunks: 3, Bytes: 3000, Pinned: 3000}, c.Stats())
}

func TestPinsOfOpenComeBeforeAnyEviction(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	var ids []objectid.ID
	for n := range 100 {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, n%2 == 0))
		ids = append(ids, id)
	}
	require.NoError(t, c.Close())
	var pinned []objectid.ID
	for n, id := range ids {
		if n%2 == 0 {
			pinned = append(pinned, id)
		}
	}
	gone, _ := chunk(1000, 10)
	c = open(t, c.dir, 10_000, append(pinned, gone)...)
	c.background.Wait()
	require.Equal(t, Stats{Chunks: 50, Bytes: 50_000, Pinned: 50_000, Cap: 10_000}, c.Stats())
	for _, id := range pinned {
		require.True(t, c.Has(id))
	}
	require.False(t, c.Has(gone))
}

func TestAgeSurvivesARestart(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	var ids []objectid.ID
	long := time.Now().Add(-100 * 24 * time.Hour)
	for n := range 10 {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, false))
		require.NoError(t, os.Chtimes(c.names.file(id), long, long.Add(time.Duration(n)*time.Hour)))
		ids = append(ids, id)
	}
	// Reading a chunk that was not used for long is noted in its file.
	c = reopen(t, c)
	_, err := c.Get(ids[3])
	require.NoError(t, err)
	require.NoError(t, c.Close())
	info, err := os.Stat(c.names.file(ids[3]))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), info.ModTime(), time.Hour)

	c = open(t, c.dir, 3000)
	c.background.Wait()
	for n, id := range ids {
		require.Equal(t, n == 3 || n >= 8, c.Has(id), "%d", n)
	}
}

func TestLeftoversAreCleanedAndStrangersLeftAlone(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 100)
	require.NoError(t, c.Put(id, body, false))
	unfinished := c.names.file(id) + tempSuffix
	require.NoError(t, os.WriteFile(unfinished, body[:50], 0o600))
	stranger := filepath.Join(c.names.shards[id[0]], "readme")
	require.NoError(t, os.WriteFile(stranger, nil, 0o600))
	other := filepath.Join(c.dir, "readme")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	c = reopen(t, c)
	c.background.Wait()
	require.NoFileExists(t, unfinished)
	require.FileExists(t, stranger)
	require.FileExists(t, other)
	require.Equal(t, Stats{Chunks: 1, Bytes: 100}, c.Stats())
	requireChunk(t, c, id, body)
}

// Chunks come, go, are pinned and read by many at once in a cache too small for
// them. A pinned chunk must always be readable, and nothing may be served that
// is not what its name says.
func TestPinnedChunksStayReadableUnderPressure(t *testing.T) {
	t.Run("files", func(t *testing.T) { testPressure(t, -1) })
	t.Run("packs", func(t *testing.T) { testPressure(t, packMost) })
}

func testPressure(t *testing.T, most int64) {
	const workers, chunks, rounds = 8, 40, 300
	var ids [chunks]objectid.ID
	var bodies [chunks][]byte
	total := 0
	for n := range chunks {
		size := 1000 + n*500
		if n%4 == 0 {
			size += hotFile
		}
		ids[n], bodies[n] = chunk(n, size)
		total += size
	}
	if most > 0 {
		total = max(total, 16*packSmallest)
	}
	// All workers may have one of the largest pinned, which take more than half.
	c, err := openCache(t.TempDir(), int64(total*2/3), nil, most)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	staging := t.TempDir()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				n := r.IntN(chunks)
				id, body := ids[n], bodies[n]
				var err error
				if i%2 == 0 {
					err = c.Put(id, body, true)
				} else {
					path := filepath.Join(staging, fmt.Sprint(w, "-", i))
					if err := os.WriteFile(path, body, 0o600); err != nil {
						t.Error(err)
						return
					}
					err = c.Adopt(id, path, int64(len(body)), true)
				}
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				for range 3 {
					p := make([]byte, 100)
					off := r.IntN(len(body) - 100)
					if _, err := c.ReadAt(id, p, int64(off)); err != nil || !bytes.Equal(p, body[off:off+100]) {
						t.Errorf("pinned chunk %d: %v", n, err)
						return
					}
					other := r.IntN(chunks)
					if b, err := c.Get(ids[other]); err == nil && !bytes.Equal(b, bodies[other]) {
						t.Errorf("chunk %d has other bytes", other)
						return
					}
				}
				if i%10 == 0 {
					if err := c.SyncDirty(); err != nil {
						t.Errorf("sync: %v", err)
						return
					}
				}
				c.Unpin(id)
				if i%7 == 0 {
					c.Remove(ids[r.IntN(chunks)])
				}
			}
		})
	}
	wg.Wait()
	stats := c.Stats()
	require.NoError(t, stats.Err)
	require.Zero(t, stats.Pinned)
	require.LessOrEqual(t, stats.Bytes, stats.Cap)
	require.Empty(t, c.busy)
	require.Empty(t, c.dirty)
	_, onDisk := packFiles(t, c)
	for n := range chunks {
		if info, err := os.Stat(c.names.file(ids[n])); err == nil {
			onDisk += info.Size()
		}
	}
	require.Equal(t, onDisk, stats.Bytes)
	for _, p := range c.files.places {
		require.Zero(t, p.value.readers)
	}
}

func TestImpossibleChunksAreRefused(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	require.Error(t, c.Put(objectid.ID{}, nil, false))
	id, _ := chunk(1, 1)
	require.Error(t, c.Adopt(id, "x", MaxChunk+1, false))
	require.Error(t, c.Adopt(id, "x", -1, false))
}

func TestOpenReportsADirectoryItCannotUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, 0, nil)
	require.Error(t, err)
	require.Contains(t, err.Error(), file)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows derives access from the directory's")
	}
	c := open(t, filepath.Join(t.TempDir(), "cache"), 0)
	id, body := chunk(1, 10)
	require.NoError(t, c.Put(id, body, false))
	for path, want := range map[string]os.FileMode{c.dir: 0o700, c.names.shards[id[0]]: 0o700, c.names.file(id): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), path)
	}
}

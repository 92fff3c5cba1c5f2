package chunkcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
)

// packFiles returns the paths and the sizes of the packs on disk.
func packFiles(t testing.TB, c *Cache) (paths []string, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(c.dir, packsDir), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				paths, bytes = append(paths, path), bytes+info.Size()
			}
		}
		return err
	})
	require.NoError(t, err)
	return paths, bytes
}

func TestPackedChunksReadBackAfterARestart(t *testing.T) {
	sizes := []int{0, 1, 15, 16, 17, 4096, packMost - 1, packMost, packMost + 1}
	c := openPacked(t, t.TempDir(), 0)
	check := func() {
		for n, size := range sizes {
			id, body := chunk(n, size)
			got, err := c.Get(id)
			require.NoError(t, err, size)
			require.True(t, bytes.Equal(body, got), size)
			have, ok := c.Size(id)
			require.True(t, ok)
			require.Equal(t, int64(size), have)
		}
	}
	for n, size := range sizes {
		id, body := chunk(n, size)
		require.NoError(t, c.Put(id, body, n%2 == 0))
	}
	check()
	paths, _ := packFiles(t, c)
	require.Len(t, paths, 1)
	for range 2 {
		c = reopen(t, c)
		check()
	}
	// The pack goes on growing, and what is in it already is not put again.
	for n, size := range sizes {
		id, body := chunk(n, size)
		require.NoError(t, c.Put(id, body, false))
	}
	_, before := packFiles(t, c)
	id, body := chunk(100, 1000)
	require.NoError(t, c.Put(id, body, false))
	paths, after := packFiles(t, c)
	require.Len(t, paths, 1)
	require.Equal(t, recordSize(1000), after-before)
	c = reopen(t, c)
	check()
	requireChunk(t, c, id, body)
}

// fillPacks puts chunks of size bytes until there are packs of that number, and
// returns how many chunks that took.
func fillPacks(t *testing.T, c *Cache, packs, size int, pin bool) int {
	t.Helper()
	for n := 0; ; n++ {
		id, body := chunk(n, size)
		require.NoError(t, c.Put(id, body, pin))
		if paths, _ := packFiles(t, c); len(paths) == packs {
			return n + 1
		}
	}
}

func TestFullPacksAreKnownByTheirTables(t *testing.T) {
	for _, spoil := range []string{"", "last bytes", "cut in the table", "cut in a record"} {
		t.Run(spoil, func(t *testing.T) {
			c := openPacked(t, t.TempDir(), 4*packSmallest)
			count := fillPacks(t, c, 2, 30_000, false)
			paths, _ := packFiles(t, c)
			require.NoError(t, c.Close())
			f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
			require.NoError(t, err)
			info, err := f.Stat()
			require.NoError(t, err)
			_, tabled, err := readTable(f, info.Size())
			require.NoError(t, err)
			require.True(t, tabled)
			missing := 0
			switch spoil {
			case "last bytes":
				_, err = f.WriteAt([]byte("damage"), info.Size()-6)
			case "cut in the table":
				err = f.Truncate(info.Size() - tableTrailer - 5)
			case "cut in a record":
				err = f.Truncate(info.Size() - int64(count)*tableEntry - 1000)
				missing = 1
			}
			require.NoError(t, err)
			require.NoError(t, f.Close())
			c = openPacked(t, c.dir, 4*packSmallest)
			for n := range count {
				id, body := chunk(n, 30_000)
				if n == count-2 && missing == 1 {
					require.False(t, c.Has(id))
					continue
				}
				requireChunk(t, c, id, body)
			}
		})
	}
}

// Whatever is damaged in a pack: nothing wrong is served, no chunk is lost whose own
// bytes are whole, and what may be the only copy is kept beside.
func TestDamageInAPackCostsOnlyWhatItHits(t *testing.T) {
	const count = 40
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for round := range 60 {
		c := openPacked(t, t.TempDir(), 0)
		var ids []objectid.ID
		at := map[int][2]int64{} // of each record
		for n := range count {
			size := r.IntN(3000)
			id, body := chunk(1000*round+n, size)
			require.NoError(t, c.Put(id, body, n%2 == 0))
			ids = append(ids, id)
			i, _ := c.entries.find(id)
			from := int64(c.entries.at[i].at)
			at[n] = [2]int64{from - recordHeader, from + int64(size)}
		}
		paths, total := packFiles(t, c)
		require.NoError(t, c.Close())
		from := r.Int64N(total)
		to := min(total, from+1+r.Int64N(5000))
		junk := make([]byte, to-from)
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		if round%3 == 0 {
			clear(junk)
		}
		f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(junk, from)
		require.NoError(t, err)
		require.NoError(t, f.Close())

		c = openPacked(t, c.dir, 0, ids...)
		for n, id := range ids {
			body, err := c.Get(id)
			hit := at[n][0] < to && from < at[n][1]
			if err == nil {
				require.Equal(t, id, objectid.Of(body))
			} else {
				require.ErrorIs(t, err, ErrNotExist)
				require.True(t, hit, "chunk %d at %v, damage at %d to %d", n, at[n], from, to)
				require.False(t, c.Has(id))
			}
			if inBody := at[n][0]+recordHeader < to && from < at[n][1]; err != nil && inBody && from >= at[n][0]+recordHeader {
				require.FileExists(t, filepath.Join(c.dir, damagedDir, id.String()))
			}
		}
		require.NoError(t, c.SyncDirty())
	}
}

// A cache that is too small for emptying a pack has none.
func TestSmallCachesStayBelowTheCap(t *testing.T) {
	const limit = 2 * packSmallest
	c, err := Open(t.TempDir(), limit, nil)
	require.NoError(t, err)
	defer c.Close()
	for n := range 600 {
		id, body := chunk(n, 10_000)
		require.NoError(t, c.Put(id, body, n%50 == 0))
		require.LessOrEqual(t, c.Stats().Bytes, int64(limit))
	}
	paths, _ := packFiles(t, c)
	require.Empty(t, paths)
	require.Greater(t, c.Stats().Bytes, int64(limit-20_000))
}

func TestPacksStayBelowTheCap(t *testing.T) {
	const limit = 8 * packSmallest
	c := openPacked(t, t.TempDir(), limit)
	pinned := map[int]bool{}
	var hot []int
	for n := range 3000 {
		id, body := chunk(n, 10_000)
		require.NoError(t, c.Put(id, body, n%50 == 0))
		if n%50 == 0 {
			pinned[n] = true
		}
		if n >= 500 && n < 520 {
			hot = append(hot, n)
		}
		if n%100 == 0 {
			for _, h := range hot {
				id, body := chunk(h, 10_000)
				got, err := c.Get(id)
				require.NoError(t, err, "used again and again")
				require.True(t, bytes.Equal(body, got))
			}
			_, disk := packFiles(t, c)
			require.LessOrEqual(t, disk, int64(limit))
			require.Equal(t, disk, c.Stats().Bytes)
		}
	}
	kept := 0
	for n := range 3000 {
		id, body := chunk(n, 10_000)
		if pinned[n] {
			c.mu.Lock()
			c.hot.drop(id)
			c.mu.Unlock()
			requireChunk(t, c, id, body)
		}
		if c.Has(id) {
			kept++
			require.True(t, pinned[n] || n > 1500 || n >= 500 && n < 520, "the old ones went, not %d", n)
		}
	}
	require.Greater(t, kept, limit/2/10_000)
	require.NoError(t, c.Stats().Err)

	var ids []objectid.ID
	for n := range pinned {
		id, _ := chunk(n, 10_000)
		ids = append(ids, id)
	}
	c = reopen(t, c, ids...)
	c.background.Wait()
	require.Equal(t, int64(len(pinned))*recordSize(10_000), c.Stats().Pinned)
	for n := range pinned {
		id, body := chunk(n, 10_000)
		requireChunk(t, c, id, body)
	}
}

func TestPinnedChunksInPacksFillTheCache(t *testing.T) {
	const limit = 8 * packSmallest
	c := openPacked(t, t.TempDir(), limit)
	var err error
	n := 0
	for ; err == nil; n++ {
		id, body := chunk(n, 10_000)
		err = c.Put(id, body, true)
	}
	require.ErrorIs(t, err, ErrFull)
	require.Greater(t, n, limit*3/4/10_000)
	_, disk := packFiles(t, c)
	require.LessOrEqual(t, disk, int64(limit))
	for i := range n - 1 {
		id, body := chunk(i, 10_000)
		requireChunk(t, c, id, body)
		c.Unpin(id)
	}
	id, body := chunk(n, 10_000)
	require.NoError(t, c.Put(id, body, true))
	require.True(t, c.MakeRoom(limit))
	require.Equal(t, int64(1), int64(c.Stats().Chunks))
	requireChunk(t, c, id, body)
	paths, _ := packFiles(t, c)
	require.Len(t, paths, 1)
}

// syncedOnly is a pack's file that remembers how much of it was synced.
type syncedOnly struct {
	packFile
	fail   error
	synced int64
}

func (f *syncedOnly) Sync() error {
	if f.fail != nil {
		return f.fail
	}
	info, err := os.Stat(f.Name())
	if err == nil {
		f.synced = info.Size()
	}
	return errors.Join(err, f.packFile.Sync())
}

func TestFailedSyncOfAPackMovesWhatIsNeededOfIt(t *testing.T) {
	c := openPacked(t, t.TempDir(), 0)
	var ids []objectid.ID
	for n := range 10 {
		id, body := chunk(n, 1000)
		require.NoError(t, c.Put(id, body, n%2 == 0))
		ids = append(ids, id)
	}
	failing := &syncedOnly{packFile: c.growing.f, fail: errors.New("the disk says no")}
	c.growing.f = failing
	require.ErrorIs(t, c.SyncDirty(), failing.fail)
	require.Len(t, c.dirty, 5, "they are tried again")
	failing.fail = nil
	require.NoError(t, c.SyncDirty())
	require.Empty(t, c.dirty)
	require.Zero(t, failing.synced, "a file whose sync failed once is not believed")
	require.NoFileExists(t, failing.Name())
	c = reopen(t, c)
	for n, id := range ids {
		_, body := chunk(n, 1000)
		if n%2 == 0 {
			requireChunk(t, c, id, body)
		} else {
			require.False(t, c.Has(id), "it can be fetched again")
		}
	}
}

// Chunks are put and synced, and at random points the machine loses power: of each
// pack only what was synced is left, and some of what follows, as junk.
func TestSyncedChunksInPacksSurviveAPowerLoss(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		durable := map[objectid.ID][]byte{}
		var pins []objectid.ID
		next := 0
		for range 5 {
			c := openPacked(t, dir, 8*packSmallest, pins...)
			for id, body := range durable {
				requireChunk(t, c, id, body)
			}
			files := map[uint64]*syncedOnly{}
			wrap := func() {
				c.mu.Lock()
				for number, p := range c.packs {
					if files[number] == nil {
						files[number] = &syncedOnly{packFile: p.f}
						if info, err := os.Stat(p.f.Name()); err == nil && next > 0 {
							files[number].synced = info.Size()
						}
						p.f = files[number]
					}
				}
				c.mu.Unlock()
			}
			c.background.Wait()
			wrap()
			fresh := map[objectid.ID][]byte{}
			for range 10 + r.IntN(100) {
				id, body := chunk(int(seed)<<12+next, 2+r.IntN(20_000))
				next++
				require.NoError(t, c.Put(id, body, true))
				c.mu.Lock()
				if p := c.growing; files[p.number] == nil {
					files[p.number] = &syncedOnly{packFile: p.f}
					p.f = files[p.number]
				}
				c.mu.Unlock()
				fresh[id] = body
				pins = append(pins, id)
				if r.IntN(20) == 0 {
					require.NoError(t, c.SyncDirty())
					for id, body := range fresh {
						durable[id] = body
					}
					clear(fresh)
				}
			}
			require.NoError(t, c.Close())
			for _, f := range files {
				info, err := os.Stat(f.Name())
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				require.NoError(t, err)
				lost := info.Size() - f.synced
				if lost <= 0 {
					continue
				}
				left := r.Int64N(lost + 1)
				require.NoError(t, os.Truncate(f.Name(), f.synced+left))
				if left > 0 {
					junk := make([]byte, r.Int64N(left)+1)
					file, err := os.OpenFile(f.Name(), os.O_WRONLY, 0)
					require.NoError(t, err)
					_, err = file.WriteAt(junk, f.synced+r.Int64N(left-int64(len(junk))+1))
					require.NoError(t, err)
					require.NoError(t, file.Close())
				}
			}
		}
	}
}

// What was put when the process is killed is there for the next one, however
// far the pack's eviction is.
func TestPutChunksSurviveAKillDuringEviction(t *testing.T) {
	const limit = 4 * packSmallest
	c := openPacked(t, t.TempDir(), limit)
	var mu sync.Mutex
	pinned := map[objectid.ID][]byte{} // guarded by mu
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for w := range 3 {
		wg.Go(func() {
			var mine []objectid.ID
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id, body := chunk(w<<20|n, 2+(n*977)%(packMost-1))
				err := c.Put(id, body, n%2 == 0)
				if n%2 != 0 && (err == nil || errors.Is(err, ErrFull)) {
					continue // where others are slow to write, what is not pinned is not kept
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				pinned[id] = body
				mu.Unlock()
				if mine = append(mine, id); len(mine) > 15 {
					mu.Lock()
					delete(pinned, mine[0])
					mu.Unlock()
					c.Unpin(mine[0])
					mine = mine[1:]
				}
			}
		})
	}
	for range 30 {
		mu.Lock()
		acknowledged := map[objectid.ID][]byte{}
		var ids []objectid.ID
		for id, body := range pinned {
			acknowledged[id] = body
			ids = append(ids, id)
		}
		// While mu is held nothing in acknowledged is given up; eviction goes on.
		dead, err := snapshot(t, c.dir)
		mu.Unlock()
		require.NoError(t, err)
		after := openPacked(t, dead, limit, ids...)
		for id, body := range acknowledged {
			requireChunk(t, after, id, body)
		}
		require.NoError(t, after.Close())
		require.NoError(t, os.RemoveAll(dead))
	}
}

// snapshot returns a copy of a cache's directory as a kill would leave it. A file that
// is removed while it is copied makes it begin anew. On Windows such a file is there still,
// and cannot be opened for one of several reasons.
func snapshot(t *testing.T, dir string) (string, error) {
	t.Helper()
	for attempt := 0; ; attempt++ {
		to := t.TempDir()
		err := copyAll(dir, to)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && (removesOpenFiles || attempt == 100) {
			return to, err
		}
		if err := os.RemoveAll(to); err != nil {
			return to, err
		}
	}
}

// copyAll copies the files of a directory, newer packs after older ones: a chunk is in
// the new one before the old one goes.
func copyAll(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, body, 0o600)
	})
}

// Before there were packs, small chunks had files of their own too.
func TestSmallChunksInFilesOfTheirOwnAreUsed(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 1000)
	require.NoError(t, c.Put(id, body, true))
	damaged, damagedBody := chunk(2, 1000)
	require.NoError(t, c.Put(damaged, []byte("other"), true))
	require.NoError(t, c.Close())
	for range 2 {
		c = openPacked(t, c.dir, 0, id, damaged)
		requireChunk(t, c, id, body)
		require.NoError(t, c.Put(id, body, false))
		require.NoError(t, c.Put(damaged, damagedBody, false))
		requireChunk(t, c, damaged, damagedBody)
		require.NoError(t, c.SyncDirty())
		paths, _ := packFiles(t, c)
		require.Empty(t, paths)
		require.Equal(t, int64(2000), pinnedAfterScan(c))
		require.NoError(t, c.Close())
	}
}

func TestStrangersAmongThePacksAreLeftAlone(t *testing.T) {
	c := openPacked(t, t.TempDir(), 0)
	id, body := chunk(1, 100)
	require.NoError(t, c.Put(id, body, false))
	for _, name := range []string{"readme", "1.pack", "000000000000000G.pack", "0000000000000001.pack.bak"} {
		require.NoError(t, os.WriteFile(filepath.Join(c.dir, packsDir, name), []byte("x"), 0o600))
	}
	// A table that claims more than there is, one whose sum is wrong, a header that
	// claims a huge chunk.
	table := binary.LittleEndian.AppendUint32([]byte(tableMagic), 1<<31)
	record, _ := newRecord(id, nil)
	binary.LittleEndian.PutUint32(record[4:], 1<<31)
	for n, bytes := range [][]byte{append(table, make([]byte, 8)...), append([]byte("PckT\x00\x00\x00\x00"), make([]byte, 8)...), record, nil} {
		require.NoError(t, os.WriteFile(c.names.pack(uint64(100+n)), bytes, 0o600))
	}
	c = reopen(t, c)
	requireChunk(t, c, id, body)
	other, otherBody := chunk(2, 100)
	require.NoError(t, c.Put(other, otherBody, false))
	c = reopen(t, c)
	requireChunk(t, c, other, otherBody)
	for _, name := range []string{"readme", "1.pack"} {
		require.FileExists(t, filepath.Join(c.dir, packsDir, name))
	}
}

func FuzzPack(f *testing.F) {
	id, body := chunk(1, 100)
	record, _ := newRecord(id, body)
	f.Add(record)
	f.Add(append(record, append([]byte(tableMagic), make([]byte, 12)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := int64(len(b))
		records, tabled, err := readTable(bytes.NewReader(b), size)
		if err != nil {
			t.Fatal(err)
		}
		if !tabled {
			if records, _, err = scanRecords(bytes.NewReader(b), size); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range records {
			if r.size > packMost || int64(r.at)+int64(r.size) > size {
				t.Fatal(fmt.Sprint(r))
			}
		}
	})
}

package chunkcache

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

// Chunks whose length is no multiple of a page, or less than one, are whole too.
func TestFetchedChunkReadsBackHereAndInTheNextProcess(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	sizes := []int{2, hotFile, hotFile + 1, directLeast, directLeast + 1, 4<<20 - 1, 4 << 20, 20 << 20}
	for n, size := range sizes {
		id, body := chunk(n, size)
		require.NoError(t, c.PutFetched(id, pagebuf.Of(body), n%2 == 0))
		requireChunk(t, c, id, body)
		id, body = chunk(100+n, size)
		require.NoError(t, c.PutFetched(id, pagebuf.Of(body), n%2 == 1))
		requireChunk(t, c, id, body)
	}
	c = reopen(t, c)
	for n, size := range sizes {
		for _, from := range []int{0, 100} {
			id, body := chunk(from+n, size)
			requireChunk(t, c, id, body)
			info, err := os.Stat(c.names.file(id))
			if size > hotFile {
				require.NoError(t, err)
				require.Equal(t, int64(size), info.Size())
			}
		}
	}
}

func TestFetchedChunkIsServedFromMemory(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 4<<20)
	require.NoError(t, c.PutFetched(id, pagebuf.Of(body), true))
	require.NoError(t, os.Remove(c.names.file(id)))
	requireChunk(t, c, id, body)
}

// What counts is the memory that a chunk takes, which may be twice as much as its bytes.
func TestMemoryOfFetchedChunksIsBounded(t *testing.T) {
	used := pagebuf.InUse()
	c := open(t, t.TempDir(), 0)
	const size = 2<<20 + 1
	for n := range hotBytes / size {
		id, body := chunk(n, size)
		memory := pagebuf.New(size)
		copy(memory.Bytes(), body)
		require.NoError(t, c.PutFetched(id, memory, false))
		memory.Release()
	}
	require.LessOrEqual(t, pagebuf.InUse()-used, int64(hotBytes))
	require.NoError(t, c.Close())
	require.Equal(t, used, pagebuf.InUse())
}

// A sequential reader comes once: what it left behind makes room, not what it will reach.
func TestFetchedChunkThatWasReadToItsEndLeavesMemoryFirst(t *testing.T) {
	used := pagebuf.InUse()
	c := open(t, t.TempDir(), 0)
	const size = 4 << 20
	var last objectid.ID
	for n := range hotBytes / size {
		id, body := chunk(n, size)
		memory := pagebuf.New(size)
		copy(memory.Bytes(), body)
		require.NoError(t, c.PutFetched(id, memory, true))
		memory.Release()
		last = id
	}
	require.Equal(t, used+hotBytes, pagebuf.InUse())
	piece := make([]byte, 128<<10)
	for off := int64(0); off < size; off += int64(len(piece)) {
		_, err := c.ReadAt(last, piece, off)
		require.NoError(t, err)
	}
	more, body := chunk(1000, size)
	require.NoError(t, c.PutFetched(more, pagebuf.Of(body), true))
	require.Nil(t, c.InMemory(last, size), "it was read")
	for n := range hotBytes/size - 1 {
		id, body := chunk(n, size)
		held := c.InMemory(id, 1)
		require.NotNil(t, held, "nobody has read it")
		require.Equal(t, body, held.Bytes())
		held.Release()
	}
	_, body = chunk(hotBytes/size-1, size)
	requireChunk(t, c, last, body)
	require.NoError(t, c.Close())
	require.Equal(t, used, pagebuf.InUse())
}

// What a disk that does not follow would hold up is left to the page cache.
func TestFetchedChunkDoesNotWaitForDirectWrites(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	for range directMost {
		c.direct <- struct{}{}
	}
	id, body := chunk(1, 4<<20)
	require.NoError(t, c.PutFetched(id, pagebuf.Of(body), true))
	require.False(t, c.noDirect.Load(), "it is tried again")
	c = reopen(t, c)
	requireChunk(t, c, id, body)
}

// An unverified file of an earlier process stays until it is replaced.
func TestFetchedChunkTakesThePlaceOfADamagedFile(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	id, body := chunk(1, 4<<20)
	require.NoError(t, c.PutFetched(id, pagebuf.Of(body), true))
	require.NoError(t, os.Truncate(c.names.file(id), 10))
	c = reopen(t, c)
	require.NoError(t, c.PutFetched(id, pagebuf.Of(body), true))
	requireChunk(t, c, id, body)
	c = reopen(t, c)
	requireChunk(t, c, id, body)
}

// Memory goes from one chunk to the next all the time, on disk and in memory there is room for some of
// them: whoever holds one has its bytes until it is released.
func TestMemoryOfAChunkIsItsOwnWhileSomebodyHoldsIt(t *testing.T) {
	const size, count, readers, reads = 1 << 20, 64, 8, 30
	used := pagebuf.InUse()
	c := open(t, t.TempDir(), 50*size)
	ids, bodies := make([]objectid.ID, count), make([][]byte, count)
	for n := range ids {
		ids[n], bodies[n] = chunk(n, size)
	}
	fetch := func(id objectid.ID, body []byte, stream bool) {
		memory := pagebuf.New(size)
		defer memory.Release()
		copy(memory.Bytes(), body)
		if err := c.PutFetched(id, memory, stream); err != nil {
			assert.ErrorIs(t, err, ErrFull)
		}
		assert.True(t, bytes.Equal(body, memory.Bytes()))
	}
	var running sync.WaitGroup
	for reader := range readers {
		running.Go(func() {
			r := rand.New(rand.NewPCG(uint64(reader), 0))
			p := make([]byte, size)
			for range reads {
				n := r.IntN(count)
				if held := c.InMemory(ids[n], int64(r.IntN(size+1))); held != nil {
					other := r.IntN(count)
					fetch(ids[other], bodies[other], r.IntN(2) == 0)
					assert.True(t, bytes.Equal(bodies[n], held.Bytes()))
					held.Release()
					continue
				}
				if _, err := c.ReadAt(ids[n], p, 0); err == nil {
					assert.True(t, bytes.Equal(bodies[n], p))
				} else if assert.True(t, errors.Is(err, ErrNotExist), "%v", err) {
					fetch(ids[n], bodies[n], r.IntN(2) == 0)
				}
			}
		})
	}
	running.Wait()
	require.NoError(t, c.Close())
	require.Equal(t, used, pagebuf.InUse(), "all was given back")
}

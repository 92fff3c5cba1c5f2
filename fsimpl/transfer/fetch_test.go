package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
)

// slowCache takes nothing in before it may.
type slowCache struct {
	*chunkcache.Cache
	may chan struct{}
}

func (c *slowCache) PutFetched(id objectid.ID, body *pagebuf.Buffer, stream bool) error {
	<-c.may
	return c.Cache.PutFetched(id, body, stream)
}

// gatedStore tells of every Get and answers when it is let.
type gatedStore struct {
	objstore.Store
	asked chan string
	mu    sync.Mutex
	gate  func(ctx context.Context, key string) error // guarded by mu
}

func newGatedStore() *gatedStore {
	return &gatedStore{Store: memstore.New(), asked: make(chan string, 1000)}
}

func (s *gatedStore) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	s.asked <- key
	if gate != nil {
		if err := gate(ctx, key); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, key, max)
}

func (s *gatedStore) setGate(gate func(context.Context, string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = gate
}

// hang is a gate that opens only when the request is given up.
func hang(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func away(_ context.Context, key string) error {
	return &objstore.Error{Op: objstore.OpGet, Key: key, Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
}

func (s *gatedStore) object(t *testing.T, body string) objectid.ID {
	id := objectid.Of([]byte(body))
	require.NoError(t, s.Put(t.Context(), id.Key(), []byte(body)))
	return id
}

func newFetcher(t *testing.T, store Store, patience time.Duration) (*Fetcher, *slowCache) {
	c, err := chunkcache.Open(t.TempDir(), 1<<30, nil)
	require.NoError(t, err)
	cache := &slowCache{c, make(chan struct{})}
	outage := NewOutage(store, patience, slog.New(slog.DiscardHandler))
	f := NewFetcher(store, cache, outage, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		f.Close()
		outage.Close()
		require.NoError(t, c.Close())
	})
	return f, cache
}

func read(t *testing.T, f *Fetcher, id objectid.ID, size int) (string, error) {
	p := make([]byte, size)
	err := f.ReadAt(t.Context(), id, int64(size), p, 0)
	return string(p), err
}

func TestReadersHaveTheBytesBeforeTheCacheHas(t *testing.T) {
	store := newGatedStore()
	id := store.object(t, "content")
	f, cache := newFetcher(t, store, time.Minute)
	for range 3 { // those who come while it is being put are served too
		got, err := read(t, f, id, 7)
		require.NoError(t, err)
		require.Equal(t, "content", got)
	}
	require.False(t, cache.Has(id))
	require.Len(t, store.asked, 1)
	close(cache.may)
	f.Close()
	require.True(t, cache.Has(id))
}

// fullCache has no room.
type fullCache struct{ *slowCache }

func (fullCache) PutFetched(objectid.ID, *pagebuf.Buffer, bool) error { return chunkcache.ErrFull }

func TestObjectThatTheCacheHasNoRoomForIsNotFetchedForEveryRead(t *testing.T) {
	store := newGatedStore()
	id := store.object(t, "content")
	f, cache := newFetcher(t, store, time.Minute)
	f.cache = fullCache{cache}
	require.ErrorIs(t, f.Keep(t.Context(), id, 7), chunkcache.ErrFull)
	for range 5 {
		got, err := read(t, f, id, 7)
		require.NoError(t, err)
		require.Equal(t, "content", got)
	}
	require.Len(t, store.asked, 1)
	for n := range 20 { // more than is held
		other := store.object(t, string(append(make([]byte, 1<<20), byte(n))))
		require.ErrorIs(t, f.Keep(t.Context(), other, 1<<20+1), chunkcache.ErrFull)
	}
	_, err := read(t, f, id, 7)
	require.NoError(t, err)
	require.Len(t, store.asked, 1+20+1)
}

// With the largest chunk_size, and a cache that is full of what is not uploaded, every read fetched a chunk anew.
func TestLargeObjectThatTheCacheHasNoRoomForIsHeldUntilTheNext(t *testing.T) {
	store := newGatedStore()
	f, cache := newFetcher(t, store, time.Minute)
	f.cache = fullCache{cache}
	for n, size := range []int64{heldMost + 1, objectMost, 7} {
		id := store.object(t, string(append(make([]byte, size-1), byte(n+1))))
		require.ErrorIs(t, f.Keep(t.Context(), id, size), chunkcache.ErrFull)
		for off := int64(0); off < size; off += size/4 + 1 {
			require.NoError(t, f.ReadAt(t.Context(), id, size, make([]byte, 1), off))
		}
		require.Len(t, store.asked, n+1)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, f.held, 1, "a large one gives way to the next, whatever that is")
}

// readCache notes what is read of it.
type readCache struct {
	*chunkcache.Cache
	mu   sync.Mutex
	read []objectid.ID // guarded by mu
}

func (c *readCache) ReadAt(id objectid.ID, p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.read = append(c.read, id)
	c.mu.Unlock()
	return c.Cache.ReadAt(id, p, off)
}

func TestLargeObjectOfAnEarlierProcessIsVerifiedAheadOfItsReader(t *testing.T) {
	f, slow := newFetcher(t, newGatedStore(), time.Minute)
	cache := &readCache{Cache: slow.Cache}
	f.cache = cache
	var ids []objectid.ID
	for _, size := range []int{1 << 20, 1 << 10} {
		body := make([]byte, size)
		ids = append(ids, objectid.Of(body))
		require.NoError(t, cache.Put(ids[len(ids)-1], body, false))
		require.True(t, f.Prefetch(ids[len(ids)-1], int64(size)))
	}
	f.Close()
	require.Equal(t, ids[:1], cache.read)
}

// hashingStore hashes what it reads, into memory that it is given.
type hashingStore struct{ *gatedStore }

func (s hashingStore) GetHashed(ctx context.Context, key string, max int64, room func(int64) []byte) ([]byte, [32]byte, error) {
	body, err := s.Get(ctx, key, max)
	if err != nil {
		return nil, [32]byte{}, err
	}
	to := room(int64(len(body)))
	copy(to, body)
	return to, objectid.Of(to), nil
}

// What readers hold, and what was damaged, refused by the cache or fetched for nobody, is given back.
func TestMemoryOfObjectsIsGivenBackOnceNobodyReadsIt(t *testing.T) {
	used := pagebuf.InUse()
	store := hashingStore{newGatedStore()}
	f, cache := newFetcher(t, store, time.Minute)
	var ids []objectid.ID
	var bodies []string
	for n := range 20 {
		bodies = append(bodies, strings.Repeat(string(rune('a'+n)), 1<<20+n))
		ids = append(ids, store.object(t, bodies[n]))
	}
	damaged := objectid.Of([]byte("what it should be"))
	require.NoError(t, store.Put(t.Context(), damaged.Key(), make([]byte, 1<<20)))

	id := ids[0]
	require.Nil(t, f.InMemory(id, 1))
	f.Begin(id, 1<<20)
	got, err := read(t, f, id, 1<<20)
	require.NoError(t, err)
	require.Equal(t, bodies[0], got)
	body := f.InMemory(id, 1<<20)
	require.NotNil(t, body, "the cache does not have it yet")
	close(cache.may)
	require.NoError(t, f.Keep(t.Context(), id, 1<<20))
	require.Equal(t, bodies[0], string(body.Bytes()))
	body.Release()

	f.cache = fullCache{cache}
	var readers sync.WaitGroup
	for n, id := range ids {
		for range 3 {
			readers.Go(func() {
				got, err := read(t, f, id, 1<<20+n)
				assert.NoError(t, err)
				assert.Equal(t, bodies[n], got)
			})
		}
	}
	readers.Wait()
	_, err = read(t, f, damaged, 1<<20)
	require.ErrorIs(t, err, objstore.ErrCorrupt)
	f.Close()
	require.NoError(t, cache.Close())
	require.Equal(t, used, pagebuf.InUse())
}

func TestReadersDoNotWaitBehindWhatIsFetchedAhead(t *testing.T) {
	store := newGatedStore()
	id := store.object(t, "wanted")
	f, cache := newFetcher(t, store, time.Minute)
	close(cache.may)
	store.setGate(func(ctx context.Context, key string) error {
		if key == id.Key() {
			return nil
		}
		return hang(ctx, key)
	})
	n := 0
	for f.Prefetch(objectid.Of(fmt.Append(nil, n)), 4<<20) {
		n++
	}
	require.Equal(t, aheadMemory/(4<<20), n)
	got, err := read(t, f, id, 6)
	require.NoError(t, err)
	require.Equal(t, "wanted", got)
}

func TestReaderGoesOnAsSoonAsTheStoreAnswers(t *testing.T) {
	store := newGatedStore()
	id := store.object(t, "content")
	f, cache := newFetcher(t, store, time.Hour)
	close(cache.may)
	store.setGate(away)
	type result struct {
		got string
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := read(t, f, id, 7)
		done <- result{got, err}
	}()
	<-store.asked
	<-store.asked
	store.setGate(nil)
	require.Equal(t, result{"content", nil}, <-done)
	require.False(t, f.content.failing())
}

func TestReaderDoesNotOutwaitAnOutageBehindARequestThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGatedStore()
		first, second := store.object(t, "first"), store.object(t, "second")
		f, cache := newFetcher(t, store, 50*time.Millisecond)
		close(cache.may)
		began := make(chan struct{})
		var once sync.Once
		store.setGate(func(ctx context.Context, key string) error {
			if key == first.Key() {
				once.Do(func() { close(began) })
				return away(ctx, key)
			}
			return hang(ctx, key) // until the Fetcher is closed
		})
		hanging := make(chan error, 1)
		go func() {
			_, err := read(t, f, second, 6)
			hanging <- err
		}()
		for key := range store.asked {
			if key == second.Key() {
				break
			}
		}
		_, err := read(t, f, first, 5)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		<-began
		require.ErrorIs(t, <-hanging, objstore.ErrUnavailable)
	})
}

// A store that hangs, instead of refusing, is noticed by its silence, not when requests are
// given up.
func TestStoreThatHangsIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGatedStore()
		id := store.object(t, "content")
		f, cache := newFetcher(t, store, 50*time.Millisecond)
		close(cache.may)
		f.content.silence, f.content.doubts = 10*time.Millisecond, 10*time.Millisecond
		store.setGate(hang)
		_, err := read(t, f, id, 7)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		since, failure := f.content.Failing()
		require.False(t, since.IsZero())
		require.ErrorIs(t, failure, objstore.ErrUnavailable)
	})
}

// hurriedStore tells when it is hurried.
type hurriedStore struct {
	*gatedStore
	hurried chan struct{}
	once    *sync.Once
}

func (s hurriedStore) Hurry(time.Duration) { s.once.Do(func() { close(s.hurried) }) }

// A request that was lost on the way during an outage is given up once the store answers, made again, and
// no outage of its own.
func TestRequestThatHangsIsMadeAgainOnceTheStoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := hurriedStore{newGatedStore(), make(chan struct{}), new(sync.Once)}
		id := store.object(t, "content")
		f, cache := newFetcher(t, store, time.Hour)
		close(cache.may)
		f.content.silence, f.content.doubts = 10*time.Millisecond, 10*time.Millisecond
		var requests atomic.Int64
		changes := turns(f.content.Outage)
		store.setGate(func(ctx context.Context, key string) error {
			switch requests.Add(1) {
			case 1: // the reader's
				select {
				case <-store.hurried:
					return away(ctx, key)
				case <-ctx.Done():
					return ctx.Err()
				}
			case 2: // whether the store answers
				return hang(ctx, key)
			}
			return nil
		})
		got, err := read(t, f, id, 7)
		require.NoError(t, err)
		require.Equal(t, "content", got)
		<-changes
		<-changes
		require.False(t, f.content.failing())
		require.Empty(t, changes)
	})
}

// A request that takes long is no outage while others are answered.
func TestSlowRequestIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGatedStore()
		id := store.object(t, "content")
		f, cache := newFetcher(t, store, time.Hour)
		close(cache.may)
		f.content.silence = time.Millisecond
		var mu sync.Mutex
		questions, open := 0, make(chan struct{})
		store.setGate(func(context.Context, string) error {
			mu.Lock()
			questions++
			first := questions == 1
			if questions == 5 {
				close(open)
			}
			mu.Unlock()
			if first {
				<-open
			}
			return nil
		})
		got, err := read(t, f, id, 7)
		require.NoError(t, err)
		require.Equal(t, "content", got)
		require.False(t, f.content.failing())
	})
}

func TestNothingIsFetchedAheadWhileTheStoreIsAway(t *testing.T) {
	store := newGatedStore()
	f, cache := newFetcher(t, store, time.Millisecond)
	close(cache.may)
	store.setGate(away)
	_, err := read(t, f, objectid.Of([]byte("a")), 1)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.False(t, f.Prefetch(objectid.Of([]byte("b")), 1))
}

func TestRefusalIsToldAtOnce(t *testing.T) {
	store := newGatedStore()
	f, cache := newFetcher(t, store, time.Hour)
	close(cache.may)
	store.setGate(func(_ context.Context, key string) error {
		return &objstore.Error{Op: objstore.OpGet, Key: key, Kind: objstore.ErrPermission}
	})
	_, err := read(t, f, objectid.Of([]byte("a")), 1)
	require.ErrorIs(t, err, objstore.ErrPermission)
	require.Len(t, store.asked, 1)
}

// A store that makes a failed request again may learn of the size at first, and not the next time.
func TestObjectIsWhatArrivedLastWhateverMemoryTheStoreUsed(t *testing.T) {
	used := pagebuf.InUse()
	store := retriedStore{hashingStore{newGatedStore()}}
	f, cache := newFetcher(t, store, time.Minute)
	close(cache.may)
	body := strings.Repeat("content", 1<<18)
	id := store.object(t, body)
	got, err := read(t, f, id, len(body))
	require.NoError(t, err)
	require.True(t, body == got)
	f.Close()
	kept, err := cache.Get(id)
	require.NoError(t, err)
	require.True(t, body == string(kept))
	require.NoError(t, cache.Close())
	require.Equal(t, used, pagebuf.InUse())
}

// retriedStore uses memory that it is given for an attempt that fails.
type retriedStore struct{ hashingStore }

func (s retriedStore) GetHashed(ctx context.Context, key string, max int64, room func(int64) []byte) ([]byte, [32]byte, error) {
	body, err := s.Get(ctx, key, max)
	if err != nil {
		return nil, [32]byte{}, err
	}
	copy(room(int64(len(body))), body[:len(body)/2])
	return body, objectid.Of(body), nil
}

// boundedStore notes how many bytes its callers would take together.
type boundedStore struct {
	*gatedStore
	mu         sync.Mutex
	sum, peak  int64 // guarded by mu
	asks, most int64 // guarded by mu
}

func (s *boundedStore) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	s.mu.Lock()
	s.sum += max
	s.asks++
	if s.sum > s.peak {
		s.peak = s.sum
	}
	if max > s.most {
		s.most = max
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.sum -= max
		s.mu.Unlock()
	}()
	return s.gatedStore.Get(ctx, key, max)
}

// Neither what an index says of the size of objects nor what arrives takes more memory than there is for it.
func TestMemoryOfFetchesIsBoundedWhateverObjectsAreSaidToBe(t *testing.T) {
	store := &boundedStore{gatedStore: newGatedStore()}
	f, cache := newFetcher(t, store, time.Minute)
	close(cache.may)
	var readers sync.WaitGroup
	for n := range 20 {
		body := strings.Repeat(string(rune('a'+n)), 200_000)
		id := store.object(t, body)
		readers.Go(func() { // larger than it was said to be
			p := make([]byte, 10)
			assert.NoError(t, f.ReadAt(t.Context(), id, 10, p, 199_990))
			assert.Equal(t, body[:10], string(p))
		})
	}
	readers.Wait()
	require.EqualValues(t, 40, store.asks, "once as large as was said, which costs no body")
	require.LessOrEqual(t, store.peak, int64(objectMost))

	_, err := read(t, f, store.object(t, "small"), 5)
	require.NoError(t, err)
	require.NoError(t, f.ReadAt(t.Context(), store.object(t, "said to be huge"), 1<<50, make([]byte, 4), 0))
	require.EqualValues(t, wholeMost, store.most)
}

// landingCache has an object land just after it said that it does not have it.
type landingCache struct {
	*slowCache
	land func()
}

func (c landingCache) InMemory(id objectid.ID, end int64) *pagebuf.Buffer {
	body := c.slowCache.InMemory(id, end)
	c.land()
	return body
}

func TestObjectIsInMemoryAllTheTimeWhileItLands(t *testing.T) {
	store := newGatedStore()
	content := strings.Repeat("x", 100_000)
	id := store.object(t, content)
	f, cache := newFetcher(t, store, time.Minute)
	land := sync.OnceFunc(func() {
		close(cache.may)
		for f.flying(id) {
			runtime.Gosched()
		}
	})
	f.cache = landingCache{cache, land}
	_, err := read(t, f, id, 10)
	require.NoError(t, err)
	body := f.InMemory(id, 10)
	land()
	require.NotNil(t, body)
	body.Release()
	body = f.InMemory(id, 10)
	require.NotNil(t, body)
	body.Release()
}

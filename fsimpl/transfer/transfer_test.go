package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
)

// watchedStore is a memory store that fails on demand, and tells of every Put.
type watchedStore struct {
	objstore.Store
	mu   sync.Mutex
	puts []string               // keys, in order; guarded by mu
	gets map[string]int         // by key; guarded by mu
	fail func(key string) error // asked before every call; guarded by mu
	hold chan struct{}          // if not nil, every Put waits for it; guarded by mu
}

func newWatchedStore() *watchedStore {
	return &watchedStore{Store: memstore.New(), gets: map[string]int{}}
}

func (s *watchedStore) Put(ctx context.Context, key string, body []byte) error {
	s.mu.Lock()
	fail, hold := s.fail, s.hold
	s.puts = append(s.puts, key)
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		if err := fail(key); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, key, body)
}

func (s *watchedStore) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	s.mu.Lock()
	fail := s.fail
	s.gets[key]++
	s.mu.Unlock()
	if fail != nil {
		if err := fail(key); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, key, max)
}

func (s *watchedStore) setFail(fail func(key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *watchedStore) putKeys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.puts...)
}

// rig is a queue over real parts.
type rig struct {
	t       *testing.T
	store   *watchedStore
	cache   *chunkcache.Cache
	journal *journal.Journal
	dir     string
	eager   bool
	said    said
	queue   *Queue
	outage  *Outage

	mu        sync.Mutex
	published []string        // "peer start-end", in order; guarded by mu
	present   func(end int32) // if set, called in Publish: checks what must be there by then
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, store: newWatchedStore(), dir: t.TempDir()}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start() {
	var err error
	r.journal, err = journal.Open(r.dir+"/journal.db", journal.Options{})
	require.NoError(r.t, err)
	left, err := r.journal.Load(context.Background())
	require.NoError(r.t, err)
	var pinned []objectid.ID
	for _, u := range left.Uploads {
		pinned = append(pinned, u.Object)
	}
	r.cache, err = chunkcache.Open(r.dir+"/cache", 1<<30, pinned)
	require.NoError(r.t, err)
	r.outage = NewOutage(r.store, time.Minute, r.said.log())
	r.queue = New(Options{
		Outage: r.outage, Store: r.store, Cache: r.cache, Journal: r.journal, Log: r.said.log(),
		Publish: func(ctx context.Context, s Span) error {
			if r.present != nil {
				r.present(s.End)
			}
			if err := r.store.Put(ctx, fmt.Sprintf("index/%d-%d", s.Start, s.End), nil); err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.published = append(r.published, fmt.Sprintf("%d %d-%d", s.Peer, s.Start, s.End))
			return nil
		},
		Announce: func(ctx context.Context, spans []Span) error {
			if err := r.store.Put(ctx, "tip", nil); err != nil {
				return err
			}
			for _, s := range spans {
				if err := r.journal.Published(ctx, s.Peer, s.End); err != nil {
					return err
				}
			}
			return nil
		},
		Eager: r.eager,
	}, left.Entries, left.Uploads)
}

func (r *rig) stop() {
	r.queue.Close()
	r.outage.Close()
	require.NoError(r.t, r.journal.Close())
	require.NoError(r.t, r.cache.Close())
}

// write commits content of a file as operation n of peer 1.
func (r *rig) write(n int32, node uint64, body string) objectid.ID {
	id := objectid.Of([]byte(body))
	require.NoError(r.t, r.cache.Put(id, []byte(body), true))
	ticket := r.queue.Add(journal.Entry{Peer: 1, Start: n, End: n + 1, Update: []byte{1}}, Change{
		Node: node, Replaces: true,
		Objects: []journal.Upload{{Object: id, Size: int64(len(body)), Node: node}},
	})
	require.NoError(r.t, ticket.Wait())
	return id
}

func (r *rig) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.NoError(r.t, r.queue.Drain(ctx, nil))
}

func (r *rig) stored(id objectid.ID) bool {
	_, err := r.store.Store.Get(context.Background(), id.Key(), 1<<20)
	return err == nil
}

func TestOperationsArePublishedInOrderAfterWhatTheyName(t *testing.T) {
	r := newRig(t)
	var ids [50]objectid.ID
	var mu sync.Mutex
	r.present = func(end int32) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids[:end] {
			if !r.stored(id) {
				t.Errorf("operation below %d published before its content %s", end, id)
			}
		}
	}
	for i := range ids {
		mu.Lock()
		body := fmt.Sprint("content ", i)
		ids[i] = objectid.Of([]byte(body))
		mu.Unlock()
		r.write(int32(i), uint64(i), body)
	}
	r.drain()
	next := "0"
	for _, p := range r.published {
		var peer, start, end int
		_, err := fmt.Sscanf(p, "%d %d-%d", &peer, &start, &end)
		require.NoError(t, err)
		require.Equal(t, next, fmt.Sprint(start), "published: %v", r.published)
		next = fmt.Sprint(end)
	}
	require.Equal(t, "50", next)
	count, _ := r.journal.Uploads()
	require.Zero(t, count)
	entries, _ := r.journal.Pending()
	require.Zero(t, entries)
}

func TestContentReplacedBeforeItsUploadIsNotUploaded(t *testing.T) {
	r := newRig(t)
	r.store.hold = make(chan struct{})
	// As many small uploads as run at once keep all places busy.
	const busy = 2 * DefaultWorkers
	for i := range int32(busy) {
		r.write(i, uint64(1000+i), fmt.Sprint("busy ", i))
	}
	var versions []objectid.ID
	for i := range int32(10) {
		versions = append(versions, r.write(busy+i, 7, fmt.Sprint("version ", i)))
	}
	deleted := r.write(busy+10, 8, "deleted soon")
	require.NoError(t, r.queue.Add(journal.Entry{Peer: 1, Start: busy + 11, End: busy + 12, Update: []byte{1}},
		Change{Node: 8, Replaces: true}).Wait())
	close(r.store.hold)
	r.drain()
	require.True(t, r.stored(versions[9]))
	for _, id := range append(versions[:9], deleted) {
		require.False(t, r.stored(id))
	}
	require.NoError(t, r.journal.Sync(t.Context()), "until then a power loss brings the others back")
	require.Zero(t, r.cache.Stats().Pinned)
}

func TestIdenticalContentIsUploadedOnce(t *testing.T) {
	r := newRig(t)
	id := r.write(0, 1, "the same")
	r.write(1, 2, "the same")
	r.drain()
	r.write(2, 3, "the same")
	r.drain()
	count := 0
	for _, key := range r.store.putKeys() {
		if key == id.Key() {
			count++
		}
	}
	require.Equal(t, 1, count)
	require.Zero(t, r.cache.Stats().Pinned)
}

func TestStoreThatFailsForAWhileLosesNothing(t *testing.T) {
	r := newRig(t)
	down := &objstore.Error{Op: "put", Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
	r.store.setFail(func(string) error { return down })
	id := r.write(0, 1, "patience")
	failing := make(chan struct{})
	var once sync.Once
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	go func() {
		<-failing
		r.store.setFail(nil)
	}()
	require.NoError(t, r.queue.Drain(ctx, func(p Progress) {
		if !p.Failing.IsZero() {
			require.ErrorIs(t, p.Err, objstore.ErrUnavailable)
			once.Do(func() { close(failing) })
		}
	}))
	require.True(t, r.stored(id))
	require.True(t, r.queue.Progress().Failing.IsZero())
}

func TestPublishedReportsAStoreThatRefusesAndKeepsTheChange(t *testing.T) {
	r := newRig(t)
	refused := &objstore.Error{Op: "put", Kind: objstore.ErrPermission, Err: errors.New("forced")}
	r.store.setFail(func(string) error { return refused })
	id := r.write(0, 1, "refused")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.ErrorIs(t, r.queue.Published(ctx, 1, 1), objstore.ErrPermission)
	require.False(t, r.queue.Progress().Idle())
	require.True(t, r.cache.Has(id))
}

func TestWhatIsLeftIsTakenUpByTheNextProcess(t *testing.T) {
	r := newRig(t)
	down := &objstore.Error{Op: "put", Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
	r.store.setFail(func(string) error { return down })
	id := r.write(0, 1, "left behind")
	r.write(1, 2, "also left")
	r.stop()
	r.store.setFail(nil)
	r.start()
	r.drain()
	require.True(t, r.stored(id))
	require.Equal(t, []string{"1 0-2"}, r.published)
}

func TestManyReadersCauseOneFetch(t *testing.T) {
	r := newRig(t)
	body := []byte(strings.Repeat("x", 100_000))
	id := objectid.Of(body)
	require.NoError(t, r.store.Store.Put(context.Background(), id.Key(), body))
	f := NewFetcher(r.store, r.cache, r.outage, slog.New(slog.DiscardHandler))
	defer f.Close()
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			p := make([]byte, 10)
			if err := f.ReadAt(context.Background(), id, 100_000, p, 99_990); err != nil || string(p) != "xxxxxxxxxx" {
				t.Errorf("%q, %v", p, err)
			}
		})
	}
	readers.Wait()
	require.Equal(t, 1, r.store.gets[id.Key()])
}

func TestDamagedObjectIsReadOnceMoreAndThenRefused(t *testing.T) {
	r := newRig(t)
	id := objectid.Of([]byte("right"))
	require.NoError(t, r.store.Store.Put(context.Background(), id.Key(), []byte("wrong")))
	f := NewFetcher(r.store, r.cache, r.outage, slog.New(slog.DiscardHandler))
	defer f.Close()
	err := f.ReadAt(context.Background(), id, 5, make([]byte, 5), 0)
	require.ErrorIs(t, err, objstore.ErrCorrupt)
	require.ErrorContains(t, err, id.Key())
	require.Equal(t, 2, r.store.gets[id.Key()])
	require.False(t, r.cache.Has(id))
}

func TestWhoWaitsForTheStoreDoesNotWaitForTheAnnouncement(t *testing.T) {
	r := &rig{t: t, store: newWatchedStore(), dir: t.TempDir(), eager: true}
	r.start()
	t.Cleanup(r.stop)
	r.store.setFail(func(key string) error {
		if key == "tip" {
			return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable}
		}
		return nil
	})
	// Creating a file and its content: what is waited for takes along what came before.
	_ = r.queue.Add(journal.Entry{Peer: 1, Start: 0, End: 1, Update: []byte{1}}, Change{Node: 1})
	id := r.write(1, 1, "content")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, r.queue.Published(ctx, 1, 2))
	require.True(t, r.stored(id))
	require.False(t, r.queue.Progress().Idle(), "others have not been told")
	entries, _ := r.journal.Pending()
	require.Equal(t, 2, entries, "a crash before others are told must tell them at the next start")

	r.store.setFail(nil)
	r.drain()
	entries, _ = r.journal.Pending()
	require.Zero(t, entries)
	require.Equal(t, "tip", r.store.putKeys()[len(r.store.putKeys())-1])
}

// What uploads and reads meet is one: readers need not find out for themselves that the
// store is away, and uploads go on when a reader, or a question, is answered.
func TestOutageIsSharedByUploadsAndReads(t *testing.T) {
	r := newRig(t)
	f := NewFetcher(r.store, r.cache, r.outage, slog.New(slog.DiscardHandler))
	defer f.Close()
	changed := turns(r.outage)
	unavailable := func(key string) error {
		return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
	}
	r.store.setFail(unavailable)
	r.write(1, 1, "content")
	<-changed
	require.True(t, r.outage.content.failing())
	require.False(t, f.Prefetch(objectid.Of([]byte("other")), 1), "nothing is fetched ahead")
	r.store.setFail(nil)
	<-changed
	r.drain()
	require.True(t, r.queue.Progress().Failing.IsZero())

	r.store.setFail(unavailable)
	go func() { _ = f.ReadAt(t.Context(), objectid.Of([]byte("other")), 1, make([]byte, 1), 0) }()
	<-changed
	p := r.queue.Progress()
	require.False(t, p.Failing.IsZero(), "though nothing is to be uploaded")
	require.ErrorIs(t, p.Err, objstore.ErrUnavailable)
	r.store.setFail(nil)
	<-changed
	require.True(t, r.queue.Progress().Failing.IsZero())
}

func TestUploadsHoldBackWhileChangesStreamInAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.queue.mu.Lock()
		r.queue.pause = time.Minute // the stream does not end
		r.queue.mu.Unlock()
		n := int32(0)
		stream := func(until func() bool) {
			for !until() {
				r.write(n, uint64(n), fmt.Sprint("content ", n))
				n++
			}
		}
		r.store.hold = make(chan struct{}) // no upload ends
		stream(func() bool { return n >= 4*DefaultWorkers })
		synctest.Wait()
		require.LessOrEqual(t, len(r.store.putKeys()), streamFrom+2*beside(), "a stream of changes has the processor")
		time.Sleep(2 * streamMost)
		stream(func() bool { return len(r.store.putKeys()) >= 2*DefaultWorkers })
		close(r.store.hold)
		r.drain()
	})
}

// Where the index cannot be published, nothing but the change itself wakes the loop that uploads.
func TestChangesOfAStreamAreUploadedWhilePublishingHangs(t *testing.T) {
	r := newRig(t)
	r.queue.mu.Lock()
	r.queue.pause = time.Minute // the stream does not end
	r.queue.mu.Unlock()
	wait := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(wait) })
	defer goOn()
	r.present = func(int32) { <-wait }
	r.mkdir(0)
	for n := range int32(2 * streamFrom) {
		id := r.write(n+1, uint64(n+2), fmt.Sprint("content ", n))
		r.eventually(func() bool { return r.stored(id) })
	}
	goOn()
	r.drain()
}

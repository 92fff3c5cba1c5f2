package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

const (
	// fetchMemory bounds the bytes of all fetches under way.
	fetchMemory = 32 << 20
	// objectMost is the size of the largest object that is read unless the caller
	// expects a larger one: the largest chunk_size that can be configured.
	objectMost = 64 << 20
	// prefetchMost bounds the objects that are fetched ahead of readers.
	prefetchMost = 16
)

// Fetcher brings objects from the store into the cache. Its methods may be called
// concurrently; an object is fetched once however many callers want it.
type Fetcher struct {
	store  Store
	cache  Cache
	log    *slog.Logger
	memory *semaphore.Weighted
	ahead  *semaphore.Weighted
	ctx    context.Context // ends with Close: prefetches and their waiters
	stop   context.CancelFunc
	active sync.WaitGroup // prefetches under way

	mu      sync.Mutex
	flights map[objectid.ID]*flight // fetches under way
}

// flight is one fetch that any number of callers wait for.
type flight struct {
	done chan struct{} // closed when body and err are set
	body []byte
	err  error
}

// NewFetcher returns a Fetcher. How long readers wait for a store that does not
// answer is the store's to decide (objstore.WithRetry).
func NewFetcher(store Store, cache Cache, log *slog.Logger) *Fetcher {
	ctx, stop := context.WithCancel(context.Background())
	return &Fetcher{
		store: store, cache: cache, log: log, ctx: ctx, stop: stop,
		memory:  semaphore.NewWeighted(fetchMemory),
		ahead:   semaphore.NewWeighted(prefetchMost),
		flights: make(map[objectid.ID]*flight),
	}
}

// Close ends every fetch and waits for the prefetches.
func (f *Fetcher) Close() {
	f.stop()
	f.active.Wait()
}

// ReadAt fills p with the object's bytes at off. size is about the object's size.
func (f *Fetcher) ReadAt(ctx context.Context, id objectid.ID, size int64, p []byte, off int64) error {
	n, err := f.cache.ReadAt(id, p, off)
	if err == nil || err == io.EOF && n == len(p) {
		return nil
	}
	body, err := f.fetch(ctx, id, size)
	if err != nil {
		return err
	}
	if off > int64(len(body)) || copy(p, body[off:]) < len(p) {
		return fmt.Errorf("object %s has %d bytes, its file expects %d at %d", id.Key(), len(body), len(p), off)
	}
	return nil
}

// Get returns a whole object of about size bytes. It must not be changed.
func (f *Fetcher) Get(ctx context.Context, id objectid.ID, size int64) ([]byte, error) {
	if body, err := f.cache.Get(id); err == nil {
		return body, nil
	}
	return f.fetch(ctx, id, size)
}

// Prefetch begins to bring an object into the cache, unless it is there or enough
// is being fetched ahead already. It does not wait. It reports whether the object is there or
// on its way.
func (f *Fetcher) Prefetch(id objectid.ID, size int64) bool {
	if f.cache.Has(id) {
		return true
	}
	f.mu.Lock()
	_, flying := f.flights[id]
	f.mu.Unlock()
	if flying {
		return true
	}
	if f.ctx.Err() != nil || !f.ahead.TryAcquire(1) {
		return false
	}
	f.active.Add(1)
	go func() {
		defer f.active.Done()
		defer f.ahead.Release(1)
		if _, err := f.fetch(f.ctx, id, size); err != nil && f.ctx.Err() == nil {
			f.log.Debug("fetching ahead failed; a reader will try again", "object", id, "error", err)
		}
	}()
	return true
}

func (f *Fetcher) fetch(ctx context.Context, id objectid.ID, size int64) ([]byte, error) {
	f.mu.Lock()
	fl := f.flights[id]
	if fl == nil {
		fl = &flight{done: make(chan struct{})}
		f.flights[id] = fl
		go f.fly(id, size, fl)
	}
	f.mu.Unlock()
	select {
	case <-fl.done:
		return fl.body, fl.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly fetches one object for everyone who waits for fl. It belongs to no caller:
// one that gives up must not take the object from the others.
func (f *Fetcher) fly(id objectid.ID, size int64, fl *flight) {
	weight := min(max(size, 1), fetchMemory)
	if fl.err = f.memory.Acquire(f.ctx, weight); fl.err == nil {
		fl.body, fl.err = f.get(f.ctx, id, max(size, objectMost))
		f.memory.Release(weight)
	}
	f.mu.Lock()
	delete(f.flights, id)
	f.mu.Unlock()
	close(fl.done)
}

// get reads an object and verifies it. One that arrives damaged is read once more:
// the damage may have happened on the way.
func (f *Fetcher) get(ctx context.Context, id objectid.ID, most int64) ([]byte, error) {
	key := id.Key()
	for attempt := 1; ; attempt++ {
		body, err := f.store.Get(ctx, key, most)
		if err != nil {
			return nil, err
		}
		if got := objectid.Of(body); got != id {
			err := fmt.Errorf("%s in the store is damaged: its SHA-256 is %s: %w", key, got, objstore.ErrCorrupt)
			if attempt == 1 {
				f.log.Warn("reading a damaged object once more", "key", key, "error", err)
				continue
			}
			f.log.Error("damaged object", "key", key, "error", err)
			return nil, err
		}
		// A cache that is full of pending uploads or a full disk do not keep a
		// reader from what was fetched.
		if err := f.cache.Put(id, body, false); err != nil && !errors.Is(err, context.Canceled) {
			f.log.Debug("the cache does not keep an object", "object", id, "error", err)
		}
		return body, nil
	}
}

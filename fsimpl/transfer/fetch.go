package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
	"github.com/hamflx/pocket/objstore"
)

const (
	// fetchMemory bounds the bytes of the fetches under way that a reader asked
	// for, and aheadMemory those that nobody asked for yet: a reader does not wait
	// behind guesses. 12.5 MB are under way on a link of 1 Gbit/s and 100 ms.
	fetchMemory = 24 << 20
	aheadMemory = 32 << 20
	// objectLeast is what is accounted for an object at least: callers know about how large it is.
	objectLeast = 64 << 10
	// objectMost is the size of the largest object that is read unless the caller
	// expects a larger one: the largest chunk_size that can be configured.
	objectMost = 64 << 20
	// wholeMost is the same of an object that the caller expects to be larger, a file that was
	// written whole: the cache takes no larger one, and each piece of a file would be read by reading it all.
	wholeMost = chunkcache.MaxChunk
	// aheadMost bounds the objects that are fetched ahead of readers: fewer than the
	// requests that a store makes at once, some of which are for readers.
	aheadMost = 48
	// heldMost bounds the bytes of objects that the cache does not take in, but for the last one, which
	// may be of objectMost. Without them every read of 128 KiB would fetch its chunk anew.
	heldMost = 16 << 20
	// verifyAbove is the size from which on comparing an object of the cache with its name
	// takes so long that it is done before a sequential reader is there.
	verifyAbove = 256 << 10
)

// Fetcher brings objects from the store into the cache. Its methods may be called
// concurrently; an object is fetched once however many callers want it.
type Fetcher struct {
	store       Store
	hashed      objstore.HashedGetter // store, or nil where it cannot do that
	cache       Cache
	log         *slog.Logger
	memory      *semaphore.Weighted // bytes of what readers wait for
	aheadMemory *semaphore.Weighted // bytes of what is fetched ahead
	ahead       *semaphore.Weighted // objects that are fetched ahead
	ctx         context.Context     // ends with Close
	stop        context.CancelFunc
	active      sync.WaitGroup // flights
	content     *part          // of the Outage

	mu      sync.Mutex
	closed  bool                    // no flight may begin; guarded by mu
	flights map[objectid.ID]*flight // fetches under way, and those whose object is being put into the cache
	held    []heldObject            // what the cache did not take in, the oldest first; guarded by mu
}

// heldObject is an object that is in memory alone.
type heldObject struct {
	id   objectid.ID
	body *pagebuf.Buffer
}

// flight is one fetch that any number of callers wait for.
type flight struct {
	users  int             // the flight itself and those who may want body; guarded by Fetcher.mu
	done   chan struct{}   // closed when body and err are set
	body   *pagebuf.Buffer // held until users is 0; nil with err
	err    error
	landed chan struct{} // closed when kept is set
	kept   error         // why the cache does not have it
	stream bool          // it is read once, from its beginning to its end; set before the flight begins
}

// NewFetcher returns a Fetcher. A reader waits for a store that does not answer as long
// as the Outage's patience: once it is used up, whoever comes later is refused at once, until
// the store answers again. The Outage is closed by the caller, later.
func NewFetcher(store Store, cache Cache, outage *Outage, log *slog.Logger) *Fetcher {
	ctx, stop := context.WithCancel(context.Background())
	f := &Fetcher{
		store: store, cache: cache, log: log, ctx: ctx, stop: stop,
		memory:      semaphore.NewWeighted(fetchMemory),
		aheadMemory: semaphore.NewWeighted(aheadMemory),
		ahead:       semaphore.NewWeighted(aheadMost),
		content:     &outage.content,
		flights:     make(map[objectid.ID]*flight),
	}
	if s, ok := store.(objstore.Store); ok {
		f.hashed, _ = objstore.As[objstore.HashedGetter](s)
	}
	return f
}

// Close ends every fetch and waits for them.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.active.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.held {
		h.body.Release()
	}
	f.held = nil
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
	defer body.Release()
	if off > int64(body.Len()) || copy(p, body.Bytes()[off:]) < len(p) {
		return fmt.Errorf("object %s has %d bytes, its file expects %d at %d", id.Key(), body.Len(), len(p), off)
	}
	return nil
}

// InMemory returns an object whose bytes are in memory, verified, for somebody who reads them up to
// end; the caller holds it. Else it returns nil. It does not wait.
func (f *Fetcher) InMemory(id objectid.ID, end int64) *pagebuf.Buffer {
	// In this order: what lands meanwhile is in the cache by the time that is asked.
	if body := f.landing(id); body != nil {
		return body
	}
	return f.cache.InMemory(id, end)
}

// landing returns the bytes of an object that the cache is about to have; the caller holds them.
func (f *Fetcher) landing(id objectid.ID) *pagebuf.Buffer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.flights[id]; fl != nil {
		select {
		case <-fl.done:
			if fl.body != nil {
				return fl.body.Hold()
			}
		default:
		}
	}
	return nil
}

// Get returns a whole object of about size bytes. It must not be changed.
func (f *Fetcher) Get(ctx context.Context, id objectid.ID, size int64) ([]byte, error) {
	if body, err := f.cache.Get(id); err == nil {
		return body, nil
	}
	body, err := f.fetch(ctx, id, size)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	return body.Own(), nil
}

// Keep brings a whole object of about size bytes into the cache and returns when it is
// there. The cache's errors: it may be full.
func (f *Fetcher) Keep(ctx context.Context, id objectid.ID, size int64) error {
	if f.cache.Has(id) {
		return nil
	}
	fl, _ := f.begin(id, size, false, f.acquireMemory)
	if fl == nil {
		return context.Canceled
	}
	defer f.leave(fl)
	if err := f.content.wait(ctx, fl.landed); err != nil {
		return err
	}
	return fl.kept
}

// Begin begins to bring an object that somebody is about to read into the cache, unless it
// is there or on its way. It does not wait.
func (f *Fetcher) Begin(id objectid.ID, size int64) {
	if f.cache.Has(id) {
		return
	}
	if fl, _ := f.begin(id, size, false, f.acquireMemory); fl != nil {
		f.leave(fl)
	}
}

// Prefetch begins to bring an object into the cache that somebody who reads sequentially is
// about to reach, unless it is there or enough is being fetched ahead already. It does not wait. It reports whether
// the object is there or on its way.
func (f *Fetcher) Prefetch(id objectid.ID, size int64) bool {
	if f.cache.Has(id) {
		f.verify(id, size)
		return true
	}
	if f.flying(id) {
		return true
	}
	if f.content.failing() || !f.ahead.TryAcquire(1) {
		return false
	}
	weight := min(memoryFor(size), aheadMemory)
	if !f.aheadMemory.TryAcquire(weight) {
		f.ahead.Release(1)
		return false
	}
	return f.launch(id, size, true, weight)
}

// verify has the cache compare a large object with its name, as it does once in a
// process, before a reader waits for that.
func (f *Fetcher) verify(id objectid.ID, size int64) {
	weight := min(memoryFor(size), aheadMemory)
	if size < verifyAbove || !f.aheadMemory.TryAcquire(weight) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		f.aheadMemory.Release(weight)
		return
	}
	f.active.Go(func() {
		defer f.aheadMemory.Release(weight)
		var one [1]byte
		_, _ = f.cache.ReadAt(id, one[:], 0) // the reader sees what is wrong with it
	})
}

// PrefetchWait is Prefetch for who reads here and there, and waits while enough is being fetched ahead already. It
// reports false when the store does not answer or ctx ended.
func (f *Fetcher) PrefetchWait(ctx context.Context, id objectid.ID, size int64) bool {
	if f.cache.Has(id) || f.flying(id) {
		return true
	}
	if f.content.failing() || f.ahead.Acquire(ctx, 1) != nil {
		return false
	}
	weight := min(memoryFor(size), aheadMemory)
	if f.aheadMemory.Acquire(ctx, weight) != nil {
		f.ahead.Release(1)
		return false
	}
	return f.launch(id, size, false, weight)
}

// launch begins a fetch for which room was acquired, and gives that back.
func (f *Fetcher) launch(id objectid.ID, size int64, stream bool, weight int64) bool {
	release := func() {
		f.aheadMemory.Release(weight)
		f.ahead.Release(1)
	}
	fl, mine := f.begin(id, size, stream, func(int64) (func(), error) { return release, nil })
	if !mine {
		release()
	}
	if fl == nil {
		return false
	}
	f.leave(fl)
	return true
}

func (f *Fetcher) flying(id objectid.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flights[id] != nil
}

// account returns the bytes that may arrive for an object of about size bytes, as an index or a manifest has
// it: whoever wrote that may have been wrong, or lie.
func account(size int64) int64 { return min(max(size, objectLeast), wholeMost) }

// memoryFor returns the bytes of memory that an object of about size bytes takes.
func memoryFor(size int64) int64 { return pagebuf.Held(account(size)) }

// acquireMemory waits for the memory of a fetch that a reader asked for.
func (f *Fetcher) acquireMemory(size int64) (release func(), err error) {
	weight := min(memoryFor(size), fetchMemory)
	if err := f.memory.Acquire(f.ctx, weight); err != nil {
		return nil, err
	}
	return func() { f.memory.Release(weight) }, nil
}

// begin returns the flight of an object, which the caller has to leave, and whether this call
// began it. It is nil once the Fetcher is closed.
func (f *Fetcher) begin(id objectid.ID, size int64, stream bool, acquire func(int64) (func(), error)) (fl *flight, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.flights[id]; fl != nil || f.closed {
		if fl != nil {
			fl.users++
		}
		return fl, false
	}
	fl = &flight{users: 2, done: make(chan struct{}), landed: make(chan struct{}), stream: stream}
	f.flights[id] = fl
	f.active.Go(func() { f.fly(id, size, fl, acquire) })
	return fl, true
}

// leave ends what begin began for its caller.
func (f *Fetcher) leave(fl *flight) {
	f.mu.Lock()
	fl.users--
	last := fl.users == 0
	f.mu.Unlock()
	if last && fl.body != nil {
		fl.body.Release()
	}
}

// fetch returns an object that the cache does not have; the caller holds it.
func (f *Fetcher) fetch(ctx context.Context, id objectid.ID, size int64) (*pagebuf.Buffer, error) {
	if body := f.holds(id); body != nil {
		return body, nil
	}
	fl, _ := f.begin(id, size, false, f.acquireMemory)
	if fl == nil {
		return nil, context.Canceled
	}
	defer f.leave(fl)
	if err := f.content.wait(ctx, fl.done); err != nil {
		return nil, err
	}
	if fl.err != nil {
		return nil, fl.err
	}
	return fl.body.Hold(), nil
}

// fly fetches one object for everyone who waits for fl. It belongs to no caller:
// one that gives up must not take the object from the others. They have the bytes as
// soon as these are verified; that the cache has them too takes longer.
func (f *Fetcher) fly(id objectid.ID, size int64, fl *flight, acquire func(int64) (func(), error)) {
	fetched := false
	release, err := acquire(size)
	if err == nil {
		defer func() { release() }()
		// A flight that ended just now may have brought it.
		if f.cache.Has(id) {
			if body, err := f.cache.Get(id); err == nil {
				fl.body = pagebuf.Of(body)
			}
		}
		if fetched = fl.body == nil; fetched {
			fl.body, err = f.get(id, account(size))
		}
		if errors.Is(err, objstore.ErrTooLarge) && size < objectMost {
			// Nothing of it was read. It is larger than the caller thought.
			release()
			if release, err = f.acquireMemory(objectMost); err != nil {
				release = func() {}
			} else {
				fl.body, err = f.get(id, objectMost)
			}
		}
	}
	fl.err, fl.kept = err, err
	close(fl.done)
	if fetched && err == nil {
		// A cache that is full of pending uploads or a full disk do not keep a
		// reader from what was fetched.
		if fl.kept = f.cache.PutFetched(id, fl.body, fl.stream); fl.kept != nil {
			f.log.Debug("the cache does not keep an object", "object", id, "error", fl.kept)
			f.hold(id, fl.body)
		}
	}
	close(fl.landed)
	f.mu.Lock()
	delete(f.flights, id)
	f.mu.Unlock()
	f.leave(fl)
}

// hold keeps an object that the cache did not take in, in place of older ones.
func (f *Fetcher) hold(id objectid.ID, body *pagebuf.Buffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = append(f.held, heldObject{id, body.Hold()})
	sum := int64(0)
	for i := len(f.held) - 1; i >= 0; i-- {
		last := i == len(f.held)-1 && body.Len() <= objectMost
		if sum += f.held[i].body.Held(); sum > heldMost && !last {
			for _, h := range f.held[:i+1] {
				h.body.Release()
			}
			clear(f.held[:i+1])
			f.held = f.held[i+1:]
			break
		}
	}
}

// holds returns an object that is in memory alone, which the caller holds too, or nil.
func (f *Fetcher) holds(id objectid.ID) *pagebuf.Buffer {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.held {
		if h.id == id {
			return h.body.Hold()
		}
	}
	return nil
}

// get reads an object and verifies it. One that arrives damaged is read once more:
// the damage may have happened on the way. A store that does not answer is asked again
// for as long as the Fetcher is patient. The caller holds the result.
func (f *Fetcher) get(id objectid.ID, most int64) (*pagebuf.Buffer, error) {
	key := id.Key()
	if err := f.content.admit(f.ctx, key); err != nil {
		return nil, err
	}
	damaged := false
	for try := f.content.tries(); ; {
		call := f.content.ask(key)
		body, got, err := f.receive(key, most)
		f.content.leave(call)
		if cause := f.ctx.Err(); cause != nil {
			if err == nil {
				body.Release()
			}
			return nil, cause
		}
		if objstore.Retryable(err) {
			if f.content.missed(call, err) {
				try = f.content.tries() // the time that it had was spent on the outage
				continue
			}
			if !try.again(f.ctx, call.begun) {
				return nil, err
			}
			continue
		}
		f.content.read(key, err)
		if err != nil {
			return nil, err
		}
		if got == id {
			return body, nil
		}
		body.Release()
		err = fmt.Errorf("%s in the store is damaged: its SHA-256 is %s: %w", key, got, objstore.ErrCorrupt)
		if damaged {
			f.log.Error("damaged object", "key", key, "error", err)
			return nil, err
		}
		damaged = true
		f.log.Warn("reading a damaged object once more", "key", key, "error", err)
	}
}

// receive asks the store for an object and returns it with its SHA-256. The caller holds it.
func (f *Fetcher) receive(key string, most int64) (*pagebuf.Buffer, objectid.ID, error) {
	if f.hashed == nil {
		body, err := f.store.Get(f.ctx, key, most)
		if err != nil {
			return nil, objectid.ID{}, err
		}
		return pagebuf.Of(body), objectid.Of(body), nil
	}
	var room *pagebuf.Buffer
	body, sum, err := f.hashed.GetHashed(f.ctx, key, most, func(size int64) []byte {
		if room != nil {
			room.Release() // what an earlier attempt left
		}
		room = pagebuf.New(int(size))
		return room.Bytes()
	})
	switch {
	case err == nil && room == nil: // the store did not know the size before
		return pagebuf.Of(body), sum, nil
	case err == nil && holdsAll(room, body):
		return room, sum, nil
	case err == nil: // nor did it in a further attempt
		body = bytes.Clone(body)
	}
	if room != nil {
		room.Release()
	}
	if err != nil {
		return nil, objectid.ID{}, err
	}
	return pagebuf.Of(body), sum, nil
}

// holdsAll reports whether body is the memory in room, whole.
func holdsAll(room *pagebuf.Buffer, body []byte) bool {
	return len(body) == room.Len() && (len(body) == 0 || &body[0] == &room.Bytes()[0])
}

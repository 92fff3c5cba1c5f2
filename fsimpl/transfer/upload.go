package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

// bodies recycles the buffers of large uploads: at full speed, fresh ones would
// cost more in garbage collection than the copies out of the cache.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// uploadLoop starts an upload whenever there is something to upload and a place
// for it.
func (q *Queue) uploadLoop(ctx context.Context) {
	defer q.done.Done()
	for {
		o, err := q.next(ctx)
		if err != nil {
			return
		}
		q.done.Add(1)
		go func() {
			defer q.done.Done()
			err := q.upload(ctx, o)
			if ctx.Err() != nil {
				return
			}
			if q.lost(o, err) && q.opts.Lost != nil {
				q.opts.Lost(ctx, o.id)
			}
			q.finish(o, err)
		}()
	}
}

// next waits for an object whose turn it is and marks it as being uploaded.
func (q *Queue) next(ctx context.Context) (*object, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		o, until := q.turn(time.Now())
		if o != nil {
			o.uploading, o.early, o.joined = true, o.unnamed(), false
			q.running += o.halves()
			if o.early {
				q.early += o.halves()
			}
			return o, nil
		}
		q.sleep(ctx, until)
	}
	return nil, errStopped
}

// turn takes the object whose turn it is from its list, or returns nil and when to look again: the zero time
// for when something has changed. Called with mu held.
func (q *Queue) turn(now time.Time) (o *object, until time.Time) {
	// While the store fails, fewer and fewer uploads probe it, and while nobody is
	// answered, a single one.
	due := q.closeDue(now)
	allowed := max(1, q.opts.Workers>>min(q.uploads.fails, 10))
	calm := q.calm(now)
	switch {
	case q.opts.Outage.content.silent():
		allowed = 1
	case !calm.IsZero():
		allowed = min(allowed, beside())
	}
	switch {
	case now.Before(q.uploads.resume):
		return nil, earliest(due, q.uploads.resume)
	case q.running >= 2*allowed:
		return nil, earliest(due, calm)
	}
	o, until = q.again(now)
	if o == nil {
		o = pop(&q.waiting)
	}
	if o == nil && (q.opts.Eager || q.urgent > 0 || q.early < 2*beside()) {
		o = pop(&q.offered)
	}
	if o == nil {
		until = earliest(due, until)
	}
	return o, until
}

// A program that makes many files at once, as unpacking an archive does, needs the
// processor for that: an upload costs more of it than the file did. So uploads hold back while
// changes stream in, and begin in earnest when that ends, or has gone on for long.
const (
	streamPause = 20 * time.Millisecond // without a change: the stream has ended
	streamFrom  = 16                    // so many changes without a pause are a stream
	streamMost  = 3 * time.Second       // an object waits no longer than this for the end
)

// beside returns how many uploads run beside a stream of changes, or beside a large file
// that is being written.
func beside() int { return max(4, 8*(runtime.GOMAXPROCS(0)-2)) }

// halves is how much of the places for uploads one takes: what is small waits for answers
// more than it sends, so that two of them share a place.
func (o *object) halves() int {
	if o.size <= halfPlace {
		return 1
	}
	return 2
}

// streamed notes a change. Called with mu held.
func (q *Queue) streamed(now time.Time) {
	if now.Sub(q.lastAdd) >= q.pause {
		q.stream = 0
	}
	q.stream++
	q.lastAdd = now
}

// calm returns when the stream of changes that uploads hold back for will have ended if
// nothing follows: the zero time when they need not hold back. Called with mu held.
func (q *Queue) calm(now time.Time) time.Time {
	end := q.lastAdd.Add(q.pause)
	if q.stream < streamFrom || q.urgent > 0 || q.opts.Eager || !now.Before(end) ||
		len(q.waiting) > 0 && now.Sub(q.waiting[0].since) > streamMost {
		return time.Time{}
	}
	return end
}

// again takes the first object whose upload failed and may be tried again, or returns nil and when there will be
// one: the zero time for never. Called with mu held.
func (q *Queue) again(now time.Time) (o *object, later time.Time) {
	q.retry = slices.DeleteFunc(q.retry, func(o *object) bool { return o.done || o.uploading })
	for i, o := range q.retry {
		if !now.Before(o.after) {
			q.retry = slices.Delete(q.retry, i, i+1)
			return o, time.Time{}
		}
		if later.IsZero() || o.after.Before(later) {
			later = o.after
		}
	}
	return nil, later
}

// pop takes the first object of a list that is still to be uploaded, or returns nil.
func pop(list *[]*object) *object {
	for len(*list) > 0 {
		o := (*list)[0]
		(*list)[0] = nil
		*list = (*list)[1:]
		if !o.done && !o.uploading {
			return o
		}
	}
	*list = nil
	return nil
}

// upload puts one object into the store.
func (q *Queue) upload(ctx context.Context, o *object) error {
	weight := min(o.size, uploadMemory)
	if err := q.memory.Acquire(ctx, weight); err != nil {
		return err
	}
	defer q.memory.Release(weight)
	buffer := bodies.Get().(*[]byte)
	defer bodies.Put(buffer)
	if int64(cap(*buffer)) < o.size {
		*buffer = make([]byte, o.size)
	}
	body := (*buffer)[:o.size]
	n, err := q.opts.Cache.ReadAt(o.id, body, 0)
	switch {
	case err == nil && int64(n) == o.size:
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, chunkcache.ErrNotExist), errors.Is(err, chunkcache.ErrUnreadable):
		return q.findStored(ctx, o, fmt.Errorf("the chunk cache has %d of its %d bytes: %w", n, o.size, err))
	default: // as with too many open files: it is still there
		return fmt.Errorf("read what is to be uploaded: %w", err)
	}
	done := q.opts.Outage.Ask(objstore.OpPut, o.id.Key())
	err = q.put(ctx, o.id, body)
	done(err)
	if err == nil || ctx.Err() != nil || objectid.Of(body) == o.id {
		return err
	}
	// It would be refused for ever. The cache looks at it again, and sets it aside.
	switch _, damaged := q.opts.Cache.Get(o.id); {
	case damaged == nil:
		return err // it is right this time
	case errors.Is(damaged, chunkcache.ErrNotExist), errors.Is(damaged, chunkcache.ErrUnreadable):
		return q.findStored(ctx, o, fmt.Errorf("the chunk cache has other bytes: %w", damaged))
	default:
		return fmt.Errorf("read what is to be uploaded: %w", damaged)
	}
}

// errOtherBytes is the error of an upload whose bytes are not what the object's name says. What has that
// name in the store must be right: nobody asks whether it is before the chunk goes.
var errOtherBytes = errors.New("the bytes are not what the name says")

// findStored returns nil when the store has an object that the cache has not: it was
// uploaded just before a crash, and evicted.
func (q *Queue) findStored(ctx context.Context, o *object, cause error) error {
	body, err := q.opts.Store.Get(ctx, o.id.Key(), objectMost)
	switch {
	case err == nil && objectid.Of(body) == o.id:
		return nil
	case err == nil || errors.Is(err, objstore.ErrNotExist):
		return &lostError{cause}
	}
	return err
}

// lostError is content that this machine had acknowledged and cannot read any
// more: the disk under the cache failed.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// lost reports whether an upload that ended with err shows that its object is lost: not when it was written
// again meanwhile.
func (q *Queue) lost(o *object, err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	var lost *lostError
	return errors.As(err, &lost) && !o.joined
}

func (q *Queue) finish(o *object, err error) {
	var lost *lostError
	if err == nil {
		q.opts.Cache.Stored(o.id)
		q.opts.Cache.Unpin(o.id)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.broadcast()
	missed := errors.As(err, &lost)
	settled := err == nil || missed && !o.joined
	if missed && settled {
		q.opts.Cache.Unpin(o.id) // here, where nobody can join it any more
	}
	q.running -= o.halves()
	if o.early {
		q.early -= o.halves()
	}
	o.uploading, o.early = false, false
	switch {
	case err == nil:
		if len(q.recent) > recentMost {
			clear(q.recent)
		}
		q.recent[o.id] = true
		q.state.DoneObjects++
		q.state.DoneBytes += o.size
		q.uploads.fails, q.uploads.resume = 0, time.Time{}
		if o.fails > 0 || q.ailing == 0 {
			q.worked(&q.uploads)
		}
	case settled:
		// Holding back everything that came later would not bring it back.
		q.log.Error("content is lost", "object", o.id, "error", err)
	case missed:
		o.after = time.Time{} // it was written again
	default:
		// What others do not meet is no reason for them to wait.
		alone := o.fails > 0 && q.uploads.fails == 0
		q.failed(&q.uploads, "upload of "+o.id.Key(), err)
		if alone {
			q.uploads.fails, q.uploads.resume = 0, time.Time{}
		}
		o.after = time.Now().Add(pauseAfter(err, o.fails))
		if o.fails++; o.fails == 1 {
			q.ailing++
		}
	}
	switch {
	case settled:
		if o.listed {
			q.opts.Journal.Uploaded(o.id)
		}
		o.done = true
		q.remove(o)
	case o.unwanted():
		q.forget(o)
		q.drop(o)
	default:
		q.retry = append(q.retry, o)
	}
}

package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// bodies recycles the buffers of large uploads: at full speed, fresh ones would
// cost more in garbage collection than the copies out of the cache.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

func (q *Queue) uploadLoop(ctx context.Context) {
	defer q.done.Done()
	for {
		o, err := q.next(ctx)
		if err != nil {
			return
		}
		err = q.upload(ctx, o)
		if ctx.Err() != nil {
			return
		}
		q.finish(o, err)
	}
}

// next waits for an object whose turn it is and marks it as being uploaded.
func (q *Queue) next(ctx context.Context) (*object, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		now := time.Now()
		until := q.resume
		// While the store fails, fewer and fewer uploads probe it.
		if allowed := max(1, q.opts.Workers>>min(q.fails, 10)); !now.Before(q.resume) && q.running < allowed {
			until = time.Time{}
			for i, o := range q.waiting {
				if now.Before(o.after) {
					if until.IsZero() || o.after.Before(until) {
						until = o.after
					}
					continue
				}
				q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
				o.uploading = true
				q.running++
				return o, nil
			}
		}
		q.sleep(ctx, until)
	}
	return nil, errStopped
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
	if n, err := q.opts.Cache.ReadAt(o.id, body, 0); err != nil || int64(n) != o.size {
		return &lostError{fmt.Errorf("the chunk cache does not give %s, which is not uploaded yet (%d of %d bytes): %w", o.id, n, o.size, err)}
	}
	return q.opts.Store.Put(ctx, o.id.Key(), body)
}

// lostError is content that this machine had acknowledged and cannot read any
// more: the disk under the cache failed.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

func (q *Queue) finish(o *object, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	o.uploading = false
	q.running--
	defer q.broadcast()
	var lost *lostError
	switch {
	case err == nil:
		if len(q.recent) > 1<<16 {
			clear(q.recent)
		}
		q.recent[o.id] = true
		q.state.DoneObjects++
		q.state.DoneBytes += o.size
		q.worked()
	case errors.As(err, &lost):
		// Holding back everything that came later would not bring it back:
		// readers of this one file get an I/O error, and the log says why.
		q.log.Error("content is lost", "object", o.id, "error", err)
	default:
		q.failed("upload of "+o.id.Key(), err)
		if o.users > 0 {
			q.waiting = append([]*object{o}, q.waiting...)
			return
		}
	}
	o.done = true
	q.remove(o)
	q.mu.Unlock()
	defer q.mu.Lock()
	q.opts.Cache.Unpin(o.id)
	q.opts.Journal.Uploaded(o.id)
}

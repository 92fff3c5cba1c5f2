package transfer

import (
	"context"
	"time"
)

func (q *Queue) publishLoop(ctx context.Context) {
	defer q.done.Done()
	for {
		batch, err := q.batch(ctx)
		if err != nil {
			return
		}
		first, last := batch[0], batch[len(batch)-1]
		err = q.opts.Publish(ctx, first.peer, first.start, last.end)
		if ctx.Err() != nil {
			return
		}
		q.mu.Lock()
		if err != nil {
			q.failed("publishing the index", err)
			q.broadcast()
			q.mu.Unlock()
			continue
		}
		q.published(batch)
		idle := q.state.Idle()
		q.broadcast()
		q.mu.Unlock()
		if idle && q.opts.Idle != nil {
			q.opts.Idle(ctx)
		}
	}
}

// published forgets a batch. Called with mu held.
func (q *Queue) published(batch []*operation) {
	for _, op := range batch {
		if q.files[op.node] == op {
			delete(q.files, op.node)
		}
	}
	q.ops = q.ops[len(batch):]
	q.state.Changes -= len(batch)
	q.since = time.Now()
	q.worked()
	if len(q.ops) == 0 {
		q.ops = nil
		if q.state.Objects == 0 {
			q.state.DoneBytes, q.state.DoneObjects = 0, 0
		}
	}
}

// batch waits for operations that may be published, and for others to join them.
func (q *Queue) batch(ctx context.Context) ([]*operation, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		until := q.resume
		if now := time.Now(); !now.Before(q.resume) {
			until = time.Time{}
			if ready := q.ready(); ready > 0 {
				due := q.since.Add(gather)
				if q.opts.Eager || q.urgent > 0 || !now.Before(due) {
					return q.ops[:ready:ready], nil
				}
				until = due
			}
		}
		q.sleep(ctx, until)
	}
	return nil, errStopped
}

// ready returns how many of the oldest operations can be published together: of
// one peer, with everything they name in the store, and none without the later
// one that replaced its content. Called with mu held.
func (q *Queue) ready() int {
	ready, need := 0, uint64(0)
	for i, op := range q.ops {
		if op.peer != q.ops[0].peer || ready >= batchMost {
			break
		}
		for len(op.wants) > 0 && op.wants[0].done {
			op.wants = op.wants[1:]
		}
		if len(op.wants) > 0 {
			break
		}
		if op.until != nil {
			need = max(need, op.until.serial)
		}
		if op.serial >= need {
			ready = i + 1
		}
	}
	return ready
}

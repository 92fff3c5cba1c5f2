package transfer

import (
	"context"
	"slices"
	"time"

	"github.com/hamflx/pocket/objstore"
)

// probeKey is asked for when publishing fails: a small object, and that there is none is
// an answer too.
const probeKey = "index/tip"

func (q *Queue) publishLoop(ctx context.Context) {
	defer q.done.Done()
	for {
		batch, err := q.batch(ctx)
		if err != nil {
			return
		}
		span := Span{batch[0].peer, batch[0].start, batch[len(batch)-1].end}
		done := q.opts.Outage.Ask(objstore.OpPut, probeKey)
		err = q.opts.Publish(ctx, span)
		done(err)
		if ctx.Err() != nil {
			return
		}
		q.mu.Lock()
		if err != nil {
			q.failed(&q.publishing, "publishing the index", err)
		} else {
			q.published(batch, span)
		}
		q.broadcast()
		q.mu.Unlock()
	}
}

// published takes a batch off the operations to be published. Called with mu held.
func (q *Queue) published(batch []*operation, span Span) {
	for _, op := range batch {
		if q.files[op.node] == op {
			delete(q.files, op.node)
		}
		op.wants, op.until, op.with, op.prior = nil, nil, nil, nil // somebody may remember it
	}
	q.firm = slices.DeleteFunc(q.firm, func(op *operation) bool { return !op.pending() })
	q.ops = q.ops[len(batch):]
	if len(q.ops) == 0 {
		q.ops = nil
	}
	q.since = time.Now()
	q.told = append(q.told, span)
	q.untold += len(batch)
	q.worked(&q.publishing)
	if len(q.objects) == 0 {
		q.worked(&q.uploads) // what failed is not wanted any more
	}
}

// announceLoop announces what was published: all of it at once that was while the
// announcement before was under way.
func (q *Queue) announceLoop(ctx context.Context) {
	defer q.done.Done()
	for {
		spans, count, err := q.unannounced(ctx)
		if err != nil {
			return
		}
		done := q.opts.Outage.Ask(objstore.OpPut, probeKey)
		err = q.opts.Announce(ctx, spans)
		done(err)
		if ctx.Err() != nil {
			return
		}
		q.mu.Lock()
		if err != nil {
			q.failed(&q.announcing, "announcing the index", err)
		} else {
			q.told = q.told[len(spans):]
			q.untold -= count
			q.state.Changes -= count
			q.worked(&q.announcing)
			if q.state.Idle() {
				q.state.DoneBytes, q.state.DoneObjects = 0, 0
				q.idle = true
			}
		}
		q.broadcast()
		q.mu.Unlock()
	}
}

// unannounced waits for what was published and not announced, and returns it and how many
// operations it is.
func (q *Queue) unannounced(ctx context.Context) ([]Span, int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		var until time.Time
		if n := len(q.told); n > 0 {
			if !time.Now().Before(q.announcing.resume) {
				return q.told[:n:n], q.untold, nil
			}
			until = q.announcing.resume
		}
		q.sleep(ctx, until)
	}
	return nil, 0, errStopped
}

// idleLoop calls Idle beside the others, whom nobody shall wait longer for because of it.
func (q *Queue) idleLoop(ctx context.Context) {
	defer q.done.Done()
	for q.restful(ctx) == nil {
		q.opts.Idle(ctx)
	}
}

// restful waits until the queue has nothing left to do, anew after every time it had something.
func (q *Queue) restful(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		if q.idle {
			if q.idle = false; q.state.Idle() {
				return nil
			}
		}
		q.sleep(ctx, time.Time{})
	}
	return errStopped
}

// batch waits for operations that may be published, and for others to join them.
func (q *Queue) batch(ctx context.Context) ([]*operation, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		until := q.publishing.resume
		if now := time.Now(); !now.Before(until) {
			var ready int
			if ready, until = q.ready(now); ready > 0 {
				due := q.since.Add(gather)
				if q.opts.Eager && len(q.needs) == 0 {
					due = q.since.Add(gatherEager)
				}
				if q.wanted(ready) || !now.Before(due) {
					for _, op := range q.ops[:ready] {
						op.out = true
					}
					q.going = Span{q.ops[0].peer, q.ops[0].start, q.ops[ready-1].end}
					return q.ops[:ready:ready], nil
				}
				until = earliest(until, due)
			}
		}
		q.sleep(ctx, until)
	}
	return nil, errStopped
}

// wanted reports whether somebody waits for the oldest ready operations, or for all of
// them. Called with mu held.
func (q *Queue) wanted(ready int) bool {
	if q.urgent > len(q.needs) {
		return true
	}
	for n := range q.needs {
		pending := func(ops []*operation) bool {
			for _, op := range ops {
				if op.peer == n.peer {
					return op.start < n.end // those of one peer are in order
				}
			}
			return false
		}
		if pending(q.ops[:ready]) && !pending(q.ops[ready:]) {
			return true
		}
	}
	return false
}

// ready returns how many of the oldest operations can be published together: of
// one peer, with everything they name in the store, and none without the later
// one that replaced its content. When late is not zero, there may be more then. Called with mu held.
func (q *Queue) ready(now time.Time) (ready int, late time.Time) {
	need := uint64(0)
	for i, op := range q.ops {
		if op.isHeld() {
			break // woken by its end
		}
		if now.Before(op.late) && q.holds() {
			if late = earliest(late, op.late); op.with == nil {
				break
			}
			need = max(need, op.with.serial)
		}
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
	return ready, late
}

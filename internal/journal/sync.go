package journal

import (
	"context"
	"errors"
	"time"
)

// syncRound is a number of Sync calls that are served together.
type syncRound struct {
	done chan struct{}
	err  error
}

// end tells the calls of r, of which there may be none.
func (r *syncRound) end(err error) {
	if r != nil {
		r.err = err
		close(r.done)
	}
}

// Sync returns nil when everything enqueued before the call survives a power
// loss, the chunk files included (Options.BeforeSync). Concurrent calls share
// their work. When ctx ends it returns at once, with the work going on.
func (j *Journal) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	if j.synced.Load() == j.enqueued {
		j.mu.Unlock()
		return nil
	}
	if j.syncFor == nil {
		j.syncFor = &syncRound{done: make(chan struct{})}
	}
	r := j.syncFor
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default: // it is awake
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// arm has the background look after the queue and the sync after delay, unless
// it will anyway by then. j.mu is held.
func (j *Journal) arm(delay time.Duration) {
	due := time.Now().Add(delay)
	if j.closed || j.armed && !due.Before(j.due) {
		return
	}
	j.armed, j.due = true, due
	j.timer.Reset(delay)
}

// background commits entries nobody waits for, retries after failures, and makes
// what was committed survive a power loss. It sleeps when there is none of that.
func (j *Journal) background() {
	defer close(j.done)
	for {
		select {
		case <-j.stop:
			return
		case <-j.wake:
		case <-j.timer.C:
			j.mu.Lock()
			j.armed = false
			j.mu.Unlock()
		}
		j.mu.Lock()
		asked := j.syncFor
		j.syncFor = nil
		j.mu.Unlock()

		// What was committed is synced even when the rest cannot be committed.
		commits := j.flush()
		syncs := j.syncOnce()
		if commits != nil {
			asked.end(commits)
		} else {
			asked.end(syncs)
		}
		// A checkpoint makes entries durable as a sync does, so it comes after
		// one: never before the chunks.
		if syncs == nil {
			if err := j.db.checkpointWhenLarge(); err != nil {
				syncs = explain(j.path, err)
			}
		}
		j.mu.Lock()
		j.setFailure(commits, syncs)
		if commits != nil || syncs != nil {
			j.arm(retryDelay)
		}
		j.mu.Unlock()
		if commits == nil && j.opts.Reserve != nil && !j.opts.Reserve.Refill() {
			j.mu.Lock()
			j.arm(refillDelay)
			j.mu.Unlock()
		}
	}
}

// syncOnce makes what was committed survive a power loss.
func (j *Journal) syncOnce() error {
	number := j.committed.Load()
	if number == j.synced.Load() {
		return nil
	}
	j.mu.Lock()
	reach := extent{seq: j.lastSeq, row: j.lastRow}
	note := j.judged
	j.mu.Unlock()
	// The chunks before the entries that name them.
	if j.opts.BeforeSync != nil {
		if err := j.opts.BeforeSync(); err != nil {
			return err
		}
	}
	// A full disk keeps nobody from the sync: then the next start looks at more.
	if note {
		_ = j.db.commit([]op{{other: &otherOp{key: metaWhole, value: reach.encode()}}})
	}
	if err := j.db.sync(); err != nil {
		return explain(j.path, errors.Join(errors.New("sync"), err))
	}
	j.synced.Store(number)
	j.finishDrops()
	return nil
}

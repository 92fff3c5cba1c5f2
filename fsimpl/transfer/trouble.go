package transfer

import (
	"math/rand/v2"
	"time"

	"github.com/hamflx/pocket/objstore"
)

const (
	// retryFirst and retryMost bound the pause after a failure that may pass.
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
	// retryRefused is the pause after a failure that only a person can mend.
	retryRefused = 15 * time.Second
)

// trouble is what one kind of work meets. Each has its own: that others are done says nothing about it.
type trouble struct {
	fails  int       // failures in a row
	count  int       // failures ever
	resume time.Time // nothing before this
	since  time.Time // when it began to fail; zero while it works
	err    error     // the last failure while since is set
}

// works returns what the kinds of work meet. Called with mu held.
func (q *Queue) works() [3]*trouble { return [...]*trouble{&q.uploads, &q.publishing, &q.announcing} }

// troubled returns what has failed for longest, or nil. Called with mu held.
func (q *Queue) troubled() (longest *trouble) {
	for _, t := range q.works() {
		if !t.since.IsZero() && (longest == nil || t.since.Before(longest.since)) {
			longest = t
		}
	}
	return longest
}

// reachable is told that an outage began or ended: what waits for the store goes on at
// once.
func (q *Queue) reachable() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.works() {
		part := &q.opts.Outage.index
		if t == &q.uploads {
			part = &q.opts.Outage.content
		}
		if objstore.Retryable(t.err) && !part.failing() {
			t.fails = 0
			q.tryNow(t)
		}
	}
	q.broadcast()
}

// tryNow ends the pause after a failure. Called with mu held.
func (q *Queue) tryNow(t *trouble) {
	t.resume = time.Time{}
	if t == &q.uploads {
		for _, o := range q.retry {
			o.after = time.Time{}
		}
	}
}

// failed notes a failure of the store and sets the pause before the next attempt.
// Called with mu held.
func (q *Queue) failed(t *trouble, what string, err error) {
	now := time.Now()
	if q.troubled() == nil {
		q.log.Warn("the store fails; changes stay in the journal and are tried again", "doing", what, "error", err)
	} else {
		q.log.Debug("the store fails", "doing", what, "error", err, "since", t.since)
	}
	if t.since.IsZero() {
		t.since = now
	}
	t.err = err
	t.count++
	if now.Before(t.resume) {
		return // one of many requests that were under way together
	}
	t.resume = now.Add(pauseAfter(err, t.fails))
	t.fails++
}

// pauseAfter returns how long to wait after err, which so many failures came before.
func pauseAfter(err error, fails int) time.Duration {
	pause := retryRefused
	if objstore.Retryable(err) {
		pause = min(retryFirst<<min(fails, 20), retryMost)
	}
	return pause/2 + rand.N(pause/2+1)
}

// worked notes that what failed works again. Called with mu held.
func (q *Queue) worked(t *trouble) {
	since := t.since
	*t = trouble{count: t.count}
	if !since.IsZero() && q.troubled() == nil {
		q.log.Info("the store works again", "failing since", since)
	}
}

package transfer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// probeFirst and probeMost bound the pause between two questions to a store that
	// does not answer, probePatience the wait for one answer.
	probeFirst    = 100 * time.Millisecond
	probeMost     = 5 * time.Second
	probePatience = 15 * time.Second
	// lastChance is how long who comes after the patience was used up waits for the
	// store that may be back just now.
	lastChance = 500 * time.Millisecond
)

// outage is what is known of a store that does not answer. Whoever waits for it waits
// for the same end: a program's one read may be many requests of the kernel, which come one
// after the other and would each wait anew.
type outage struct {
	patience time.Duration // how long after the beginning readers wait
	poke     chan struct{} // has an element when somebody wants to know now; holds one

	mu    sync.Mutex
	since time.Time     // when it stopped answering, zero while it answers; guarded by mu
	err   error         // the last failure; guarded by mu
	ended chan struct{} // closed at the end; guarded by mu
	began chan struct{} // closed at the beginning; made by who waits for it; guarded by mu
}

// begin notes a failure of a request that was made at a time. It reports whether an outage
// began with it.
func (o *outage) begin(at time.Time, err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
	if !o.since.IsZero() {
		return false
	}
	o.since, o.ended = at, make(chan struct{})
	if o.began != nil {
		close(o.began)
		o.began = nil
	}
	return true
}

// failedAgain notes another failure.
func (o *outage) failedAgain(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.err = err
	}
}

// end notes that the store answered. It returns since when it had not, or zero.
func (o *outage) end() (since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if since = o.since; !since.IsZero() {
		o.since, o.err = time.Time{}, nil
		close(o.ended)
	}
	return since
}

// failing reports whether the store does not answer.
func (o *outage) failing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// state reports whether the store does not answer, how much patience is left then, and
// the last failure. changed is closed when that is no longer so.
func (o *outage) state() (failing bool, left time.Duration, changed chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		if o.began == nil {
			o.began = make(chan struct{})
		}
		return false, 0, o.began, nil
	}
	return true, o.patience - time.Since(o.since), o.ended, o.err
}

// giveUp is the error of who does not wait any longer.
func giveUp(err error) error { return fmt.Errorf("the store does not answer: %w", err) }

// wait waits for done, but not longer than the patience of an outage and, when that is
// used up, for the last chance.
func (o *outage) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	for latest := time.Now().Add(2 * lastChance); ; {
		failing, left, changed, err := o.state()
		if !failing {
			left = forEver
		}
		timer := time.NewTimer(max(left, time.Until(latest)))
		select {
		case <-done:
			timer.Stop()
			return nil
		case <-changed:
			timer.Stop()
		case <-timer.C:
			return giveUp(err)
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// forEver is how long a request that moves may take.
const forEver = 1<<63 - 1

// admit lets a request to the store begin. Where the patience of an outage is used up it
// has the store asked now, and refuses unless that answers soon.
func (o *outage) admit(ctx context.Context) error {
	failing, left, ended, err := o.state()
	if !failing || left > 0 {
		return nil
	}
	select {
	case o.poke <- struct{}{}:
	default:
	}
	timer := time.NewTimer(min(lastChance, o.patience))
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return giveUp(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rest waits for about pause, or until somebody wants to know now. It reports false when
// the outage is over or ctx ended.
func (o *outage) rest(ctx context.Context, pause time.Duration) bool {
	failing, _, ended, _ := o.state()
	if !failing {
		return false
	}
	timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-o.poke:
		return true
	case <-ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// tries is the state of a request that is made again.
type tries struct {
	outage *outage
	begun  time.Time // when the first attempt that failed was made
	pause  time.Duration
}

func (o *outage) tries() *tries { return &tries{outage: o, pause: 2 * probeFirst} }

// again waits before another attempt: for a growing pause, and not longer than the
// outage lasts. It reports false when the patience is used up.
func (t *tries) again(ctx context.Context, begun time.Time) bool {
	if t.begun.IsZero() {
		t.begun = begun
	}
	pause := rand.N(t.pause + 1)
	t.pause = min(2*t.pause, 2*probeMost)
	failing, _, ended, _ := t.outage.state()
	if !failing {
		ended = nil // others are answered: the pause alone counts
	}
	left := t.outage.patience - time.Since(t.begun)
	timer := time.NewTimer(min(pause, max(left, 0)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	case <-ctx.Done():
		return false
	}
	return left > 0
}

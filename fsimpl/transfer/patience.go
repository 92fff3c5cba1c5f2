package transfer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// lastChance is how long who comes after the patience was used up waits for the
// store that may be back just now.
const lastChance = 500 * time.Millisecond

// failing reports whether the store does not answer.
func (p *part) failing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.since.IsZero()
}

// state reports whether the store does not answer, how much patience is left then, and
// the last failure. changed is closed when that is no longer so.
func (p *part) state() (failing bool, left time.Duration, changed chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		if p.began == nil {
			p.began = make(chan struct{})
		}
		return false, 0, p.began, nil
	}
	return true, p.patience - time.Since(p.since), p.ended, p.err
}

// giveUp is the error of who does not wait any longer.
func giveUp(err error) error { return fmt.Errorf("the store does not answer: %w", err) }

// wait waits for done, but not longer than the patience of an outage and, when that is
// used up, for the last chance.
func (p *part) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	for latest := time.Now().Add(2 * lastChance); ; {
		failing, left, changed, err := p.state()
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

// admit lets a read of a key begin. Where the patience of an outage is used up it
// has the store asked for it now, and refuses unless that answers soon.
func (p *part) admit(ctx context.Context, key string) error {
	failing, left, ended, err := p.state()
	if !failing || left > 0 {
		return nil
	}
	p.mu.Lock()
	p.wanted = key
	p.wake()
	p.mu.Unlock()
	timer := time.NewTimer(min(lastChance, p.patience))
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

// rest waits for about pause, or, a moment later than the last time, until somebody wants to know now. It
// reports false when over is closed or ctx ended.
func (p *part) rest(ctx context.Context, over <-chan struct{}, pause time.Duration) bool {
	timer, moment := time.NewTimer(pause/2+rand.N(pause/2+1)), time.NewTimer(probeLeast)
	defer timer.Stop()
	defer moment.Stop()
	var poke chan struct{}
	for {
		select {
		case <-timer.C:
			return true
		case <-moment.C:
			poke = p.poke
		case <-poke:
			return true
		case <-over:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// tries is the state of a request that is made again.
type tries struct {
	part  *part
	begun time.Time // when the first attempt that failed was made
	pause time.Duration
}

func (p *part) tries() *tries { return &tries{part: p, pause: 2 * probeFirst} }

// again waits before another attempt: for a growing pause, and not longer than the
// outage lasts. It reports false when the patience is used up.
func (t *tries) again(ctx context.Context, begun time.Time) bool {
	if t.begun.IsZero() {
		t.begun = begun
	}
	pause := rand.N(t.pause + 1)
	t.pause = min(2*t.pause, 2*probeMost)
	failing, _, ended, _ := t.part.state()
	if !failing {
		ended = nil // others are answered: the pause alone counts
	}
	left := t.part.patience - time.Since(t.begun)
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

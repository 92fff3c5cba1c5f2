package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hamflx/pocket/objstore"
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
	// silence is how long requests may be under way without any answer before the store is
	// asked for something small, and doubtPatience how long that may take: a store that hangs
	// is noticed long before a request that moves slowly would be given up.
	silence       = 5 * time.Second
	doubtPatience = 5 * time.Second
	// late is how long requests that were under way during an outage may stand still once it is over.
	late = 2 * time.Second
)

// Outage is what is known of whether a store answers, shared by all who ask it: reads,
// uploads, and who looks for changes of others. Its methods may be called concurrently.
//
// Whoever waits for a store that does not answer waits for the same end: a program's one
// read may be many requests of the kernel, which come one after the other and would each
// wait anew.
type Outage struct {
	store    Store
	log      *slog.Logger
	patience time.Duration // how long after the beginning readers wait
	silence  time.Duration // the constants; tests have less
	doubts   time.Duration
	poke     chan struct{} // has an element when somebody wants to know now; holds one
	ctx      context.Context
	stop     context.CancelFunc
	active   sync.WaitGroup // the probe, and who doubts

	mu       sync.Mutex
	closed   bool               // nothing may begin; guarded by mu
	since    time.Time          // when it stopped answering, zero while it answers; guarded by mu
	back     time.Time          // when it last answered again, zero when it always did; guarded by mu
	err      error              // the last failure; guarded by mu
	ended    chan struct{}      // closed at the end; guarded by mu
	began    chan struct{}      // closed at the beginning; made by who waits for it; guarded by mu
	changed  []func()           // called at the beginning and the end, without mu; guarded by mu
	calls    map[*call]struct{} // requests under way; guarded by mu
	heard    time.Time          // when it last answered; guarded by mu
	doubting bool               // it is being asked whether it answers; guarded by mu
	watching *time.Timer        // runs while requests are under way; guarded by mu
}

// call is a request under way.
type call struct {
	key   string
	begun time.Time
}

// NewOutage returns an Outage of a store that is taken to answer. patience is how
// long a reader waits for a store that does not, counted from when it stopped to.
func NewOutage(store Store, patience time.Duration, log *slog.Logger) *Outage {
	ctx, stop := context.WithCancel(context.Background())
	return &Outage{
		store: store, log: log, patience: patience, silence: silence, doubts: doubtPatience, ctx: ctx, stop: stop,
		poke: make(chan struct{}, 1), calls: make(map[*call]struct{}),
	}
}

// Close ends what goes on in the background.
func (o *Outage) Close() {
	o.mu.Lock()
	o.closed = true
	if o.watching != nil {
		o.watching.Stop()
	}
	o.mu.Unlock()
	o.stop()
	o.active.Wait()
}

// Ask notes that a request about a key begins. The caller calls done with its outcome.
//
// A failure that may pass makes the store be asked for something small: it is an outage when
// that fails too. So does the silence of all requests under way.
func (o *Outage) Ask(key string) (done func(error)) {
	c := o.ask(key)
	return func(err error) {
		o.leave(c)
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		case objstore.Retryable(err):
			o.doubt(key, c.begun, err)
		default:
			o.answered()
		}
	}
}

func (o *Outage) ask(key string) *call {
	c := &call{key, time.Now()}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls[c] = struct{}{}
	if len(o.calls) == 1 && !o.closed {
		o.watch(o.silence)
	}
	return c
}

func (o *Outage) leave(c *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.calls, c)
}

// watch has the requests under way looked at later. Called with mu held.
func (o *Outage) watch(later time.Duration) {
	if o.watching == nil {
		o.watching = time.AfterFunc(later, o.look)
		return
	}
	o.watching.Reset(later)
}

// look has the store asked when it has been silent for long.
func (o *Outage) look() {
	o.mu.Lock()
	if o.closed || len(o.calls) == 0 {
		o.mu.Unlock()
		return
	}
	var oldest *call
	for c := range o.calls {
		if oldest == nil || c.begun.Before(oldest.begun) {
			oldest = c
		}
	}
	quiet := oldest.begun
	if o.heard.After(quiet) {
		quiet = o.heard
	}
	left := o.silence - time.Since(quiet)
	if left <= 0 {
		left = o.silence
	} else {
		oldest = nil
	}
	o.watch(left)
	o.mu.Unlock()
	if oldest != nil {
		o.doubt(oldest.key, quiet, nil)
	}
}

// doubt asks the store for an object because it has been silent since a time, or
// failed then with err. It does not wait.
func (o *Outage) doubt(key string, since time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.doubting || !o.since.IsZero() {
		return
	}
	o.doubting = true
	o.active.Go(func() {
		answered, said := o.question(key, o.doubts)
		o.mu.Lock()
		o.doubting = false
		silent := !o.heard.After(since)
		o.mu.Unlock()
		switch {
		case o.ctx.Err() != nil:
		case answered:
			o.answered()
		case err != nil || silent: // else a request of before was answered meanwhile
			o.failed(key, since, said)
		}
	})
}

// question asks for an object and reports whether the store said anything about it,
// or the failure, which is an objstore.ErrUnavailable. Of a large object nothing but the
// beginning of the answer is read.
func (o *Outage) question(key string, patience time.Duration) (answered bool, err error) {
	ctx, cancel := context.WithTimeout(o.ctx, patience)
	defer cancel()
	_, err = o.store.Get(ctx, key, 1)
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return false, fmt.Errorf("%w: no answer within %v", objstore.ErrUnavailable, patience)
	}
	return !objstore.Retryable(err), err
}

// failed notes that the store did not answer a request that began at begun, and has
// it asked until it does.
func (o *Outage) failed(key string, begun time.Time, err error) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return
	}
	began := o.begin(begun, err)
	if began {
		o.active.Go(func() { o.probe(key) })
	}
	tell := o.changed
	o.mu.Unlock()
	if began {
		o.log.Warn("the store does not answer; what is not on this machine cannot be read", "error", err)
		for _, f := range tell {
			f()
		}
	}
}

// answered notes that the store answered.
func (o *Outage) answered() {
	o.mu.Lock()
	o.heard = time.Now()
	since := o.since
	if !since.IsZero() {
		o.since, o.err, o.back = time.Time{}, nil, o.heard
		close(o.ended)
	}
	tell := o.changed
	o.mu.Unlock()
	if !since.IsZero() {
		o.log.Info("the store answers again", "since", since)
		// What others lost on the way meanwhile is asked for again.
		if s, ok := o.store.(objstore.Hurrier); ok {
			s.Hurry(late)
		}
		for _, f := range tell {
			f()
		}
	}
}

// missed notes that a call failed in a way that may pass. One that was under way before the
// store came back says nothing of how it is now: then it is asked. It reports whether that is so.
func (o *Outage) missed(c *call, err error) (late bool) {
	o.mu.Lock()
	late = c.begun.Before(o.back)
	o.mu.Unlock()
	if late {
		o.doubt(c.key, time.Now(), err)
	} else {
		o.failed(c.key, c.begun, err)
	}
	return late
}

// probe asks for an object until the store says anything about it.
func (o *Outage) probe(key string) {
	for pause := probeFirst; o.rest(o.ctx, pause); pause = min(2*pause, probeMost) {
		answered, err := o.question(key, probePatience)
		switch {
		case o.ctx.Err() != nil:
			return
		case answered:
			o.answered()
			return
		}
		o.failedAgain(err)
	}
}

// notify has f called whenever an outage begins or ends.
func (o *Outage) notify(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed = append(o.changed, f)
}

// Failing returns since when the store does not answer and the last failure, zero and nil
// while it does.
func (o *Outage) Failing() (since time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since, o.err
}

// begin notes a failure of a request that was made at a time. It reports whether an outage
// began with it. Called with mu held.
func (o *Outage) begin(at time.Time, err error) bool {
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
func (o *Outage) failedAgain(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.err = err
	}
}

// failing reports whether the store does not answer.
func (o *Outage) failing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.since.IsZero()
}

// state reports whether the store does not answer, how much patience is left then, and
// the last failure. changed is closed when that is no longer so.
func (o *Outage) state() (failing bool, left time.Duration, changed chan struct{}, err error) {
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
func (o *Outage) wait(ctx context.Context, done <-chan struct{}) error {
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
func (o *Outage) admit(ctx context.Context) error {
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
func (o *Outage) rest(ctx context.Context, pause time.Duration) bool {
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
	outage *Outage
	begun  time.Time // when the first attempt that failed was made
	pause  time.Duration
}

func (o *Outage) tries() *tries { return &tries{outage: o, pause: 2 * probeFirst} }

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

package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

const (
	// probeFirst and probeMost bound the pause between two questions to a store that
	// does not answer, probeLeast the one before a question that somebody wants to be asked now,
	// probePatience the wait for one answer.
	probeLeast    = 5 * time.Millisecond
	probeFirst    = 100 * time.Millisecond
	probeMost     = 5 * time.Second
	probePatience = 15 * time.Second
	// silence is how long requests may be under way without any answer before the store is
	// asked for something small, and doubtPatience how long that may take: a store that hangs
	// is noticed long before a request that moves slowly would be given up.
	silence       = 5 * time.Second
	doubtPatience = 5 * time.Second
	// late is how long requests that were under way during an outage may stand still once it is over.
	late = 2 * time.Second
	// oddMost bounds the keys that are known to fail alone.
	oddMost = 1000
)

// Outage is what is known of whether a store answers, shared by all who ask it: reads,
// uploads, and who looks for changes of others. Its methods may be called concurrently.
//
// Whoever waits for a store that does not answer waits for the same end: a program's one
// read may be many requests of the kernel, which come one after the other and would each
// wait anew.
//
// Content and index may fail apart, by a policy or a quota, or a disk behind the service. An outage is
// taken to be one of both until the other is answered, and ends for each when a read of it is
// answered: what else works says nothing about what failed.
type Outage struct {
	store    Store
	log      *slog.Logger
	patience time.Duration // how long after the beginning readers wait
	silence  time.Duration // the constants; tests have less
	doubts   time.Duration
	refusals time.Duration // how often what was refused is asked for
	ctx      context.Context
	stop     context.CancelFunc
	active   sync.WaitGroup // probes, and who doubts

	content, index part

	mu      sync.Mutex
	closed  bool     // nothing may begin; guarded by mu
	changed []func() // called when an outage begins or ends for a part, without mu; guarded by mu
}

// part is what is known of the keys of one kind.
type part struct {
	*Outage
	other *part
	small string        // a key to ask for, be there an object or not
	poke  chan struct{} // has an element when somebody wants to know now; holds one

	// What follows is guarded by Outage.mu.

	since    time.Time           // when it stopped answering, zero while it answers
	back     time.Time           // when it last answered again, zero when it always did
	err      error               // the last failure
	key      string              // what failed, and is asked for
	wanted   string              // what somebody would read now: asked for in its place
	ended    chan struct{}       // closed at the end
	began    chan struct{}       // closed at the beginning; made by who waits for it
	calls    map[*call]struct{}  // requests under way
	heard    time.Time           // when it last answered
	stored   time.Time           // when something was last written
	doubting bool                // it is being asked whether it answers
	watching *time.Timer         // runs while requests are under way
	odd      map[string]struct{} // keys that failed while others did not: nothing begins with them
	refused  *refusal            // nil: reads are not refused
}

// refusal is what reads are told by a store that is there.
type refusal struct {
	since time.Time
	key   string
	err   error
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
	o := &Outage{
		store: store, log: log, patience: patience, silence: silence, doubts: doubtPatience, refusals: retryRefused,
		ctx: ctx, stop: stop,
	}
	for _, p := range o.both() {
		p.Outage, p.poke = o, make(chan struct{}, 1)
		p.calls, p.odd = make(map[*call]struct{}), make(map[string]struct{})
	}
	o.content.other, o.index.other = &o.index, &o.content
	o.content.small, o.index.small = objectid.ID{}.Key(), probeKey
	return o
}

// Close ends what goes on in the background.
func (o *Outage) Close() {
	o.mu.Lock()
	o.closed = true
	for _, p := range o.both() {
		if p.watching != nil {
			p.watching.Stop()
		}
	}
	o.mu.Unlock()
	o.stop()
	o.active.Wait()
}

func (o *Outage) both() [2]*part { return [2]*part{&o.content, &o.index} }

// partOf returns the part that a key belongs to.
func (o *Outage) partOf(key string) *part {
	if strings.HasPrefix(key, objectid.KeyPrefix) {
		return &o.content
	}
	return &o.index
}

// Ask notes that a request about a key begins: objstore.OpGet or OpPut. The caller calls done with its
// outcome.
//
// A failure that may pass makes the store be asked for something small: it is an outage when
// that fails too. So does the silence of all requests under way.
func (o *Outage) Ask(op, key string) (done func(error)) {
	p := o.partOf(key)
	c := p.ask(key)
	return func(err error) {
		p.leave(c)
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		case objstore.Retryable(err):
			p.doubt(key, c.begun, err)
		case op == objstore.OpGet:
			p.read(key, err)
		default:
			p.took(err)
		}
	}
}

func (p *part) ask(key string) *call {
	c := &call{key, time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c] = struct{}{}
	if len(p.calls) == 1 && !p.closed {
		p.watch(p.silence)
	}
	return c
}

func (p *part) leave(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c)
}

// watch has the requests under way looked at later. Called with mu held.
func (p *part) watch(later time.Duration) {
	if p.watching == nil {
		p.watching = time.AfterFunc(later, p.look)
		return
	}
	p.watching.Reset(later)
}

// look has the store asked when it has been silent for long.
func (p *part) look() {
	p.mu.Lock()
	if p.closed || len(p.calls) == 0 {
		p.mu.Unlock()
		return
	}
	var oldest *call
	for c := range p.calls {
		if oldest == nil || c.begun.Before(oldest.begun) {
			oldest = c
		}
	}
	quiet := oldest.begun
	if p.heard.After(quiet) {
		quiet = p.heard
	}
	left := p.silence - time.Since(quiet)
	if left <= 0 {
		left = p.silence
	} else {
		oldest = nil
	}
	p.watch(left)
	p.mu.Unlock()
	if oldest != nil {
		p.doubt(oldest.key, quiet, nil)
	}
}

// doubt asks the store for an object because it has been silent since a time, or
// failed then with err. It does not wait.
func (p *part) doubt(key string, since time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, odd := p.odd[key]
	if p.closed || p.doubting || !p.since.IsZero() || odd && err != nil {
		return
	}
	if odd {
		key = p.small
	}
	p.doubting = true
	p.active.Go(func() {
		answered, said := p.question(key, p.doubts)
		p.mu.Lock()
		p.doubting = false
		silent := !p.heard.After(since)
		p.mu.Unlock()
		switch {
		case p.ctx.Err() != nil:
		case answered:
			p.answered(key, said)
		case err != nil || silent: // else a request of before was answered meanwhile
			p.failed(key, since, said)
		}
	})
}

// question asks for an object and reports whether the store said anything about it, and what,
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
func (p *part) failed(key string, begun time.Time, err error) {
	p.mu.Lock()
	if _, odd := p.odd[key]; p.closed || odd {
		p.mu.Unlock()
		return
	}
	first := p.since.IsZero() && p.other.since.IsZero()
	began := p.begin(key, begun, err)
	if began && p.other.since.IsZero() && !p.other.heard.After(begun) {
		// Of the whole store, for all that is known: nobody has to find out for himself.
		p.other.begin(p.other.small, begun, err)
	}
	tell := p.changed
	p.mu.Unlock()
	if first {
		p.log.Warn("the store does not answer; what is not on this machine cannot be read", "error", err)
	}
	if began {
		for _, f := range tell {
			f()
		}
	}
}

// begin notes a failure of a request that was made at a time. It reports whether an outage
// began with it. Called with mu held.
func (p *part) begin(key string, at time.Time, err error) bool {
	p.err = err
	if !p.since.IsZero() {
		return false
	}
	p.since, p.key, p.wanted, p.ended = at, key, "", make(chan struct{})
	if p.began != nil {
		close(p.began)
		p.began = nil
	}
	over := p.ended
	p.active.Go(func() { p.probe(over) })
	return true
}

// isRefusal reports whether err says that the store is not to be read.
func isRefusal(err error) bool {
	return errors.Is(err, objstore.ErrPermission) || errors.Is(err, objstore.ErrNoBucket)
}

// answered notes that the store answered who asked for a key: with the object, or with err.
func (p *part) answered(key string, err error) {
	refused := isRefusal(err)
	p.mu.Lock()
	p.heard = time.Now()
	if !refused {
		delete(p.odd, key)
	}
	since := p.since
	if !since.IsZero() {
		p.since, p.err, p.back = time.Time{}, nil, p.heard
		close(p.ended)
		p.setApart(p.key, key)
		p.other.wake()
	}
	over := !since.IsZero() && p.other.since.IsZero()
	readable := !refused && p.refused != nil
	was := p.refused
	if readable {
		p.refused = nil
		p.setApart(was.key, key)
	}
	tell := p.changed
	p.mu.Unlock()
	if readable {
		p.log.Info("the store does not refuse to be read any more", "since", was.since)
	}
	if over {
		p.log.Info("the store answers again", "since", since)
	}
	if !since.IsZero() {
		// What others lost on the way meanwhile is asked for again.
		if s, ok := p.store.(objstore.Hurrier); ok {
			s.Hurry(late)
		}
		for _, f := range tell {
			f()
		}
	}
}

// setApart notes that a key failed while another was answered. Called with mu held.
func (p *part) setApart(key, answered string) {
	if key == answered || key == p.small {
		return
	}
	if len(p.odd) >= oddMost {
		clear(p.odd)
	}
	p.odd[key] = struct{}{}
}

// read is answered for a key whose object should be there: some services refuse to say that there is none. Where that
// is refused it is asked for until it is not.
func (p *part) read(key string, err error) {
	p.answered(key, err)
	if !isRefusal(err) {
		return
	}
	p.mu.Lock()
	if _, odd := p.odd[key]; p.closed || odd || p.refused != nil {
		p.mu.Unlock()
		return
	}
	r := &refusal{p.heard, key, err}
	p.refused = r
	p.active.Go(func() { p.askRefused(r) })
	p.mu.Unlock()
	p.log.Warn("the store refuses to be read", "error", err)
}

// askRefused asks, now and then, for what was refused, until something is not.
func (p *part) askRefused(r *refusal) {
	tick := time.NewTicker(p.refusals)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
		p.mu.Lock()
		over := p.refused != r
		p.mu.Unlock()
		if over {
			return
		}
		if answered, err := p.question(r.key, probePatience); answered {
			p.answered(r.key, err)
		}
	}
}

// took notes that the store answered a write: with err, unless it has now what was written. That says nothing
// about reads, but they are tried.
func (p *part) took(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
	if err == nil {
		p.stored = p.heard
	}
	p.wake()
}

// wake has an outage's end looked for now. Called with mu held.
func (p *part) wake() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// missed notes that a read failed in a way that may pass. One that was under way before the
// store came back says nothing of how it is now: then it is asked. It reports whether that is so.
func (p *part) missed(c *call, err error) (late bool) {
	p.mu.Lock()
	late = c.begun.Before(p.back)
	p.mu.Unlock()
	if late {
		p.doubt(c.key, time.Now(), err)
	} else {
		p.failed(c.key, c.begun, err)
	}
	return late
}

// probe asks for what failed, or is wanted now, until the store says anything about it, or the outage is over.
func (p *part) probe(over <-chan struct{}) {
	for pause := probeFirst; p.rest(p.ctx, over, pause); pause = min(2*pause, probeMost) {
		p.mu.Lock()
		key := p.key
		if p.wanted != "" {
			key, p.wanted = p.wanted, ""
		}
		p.mu.Unlock()
		answered, err := p.question(key, probePatience)
		switch {
		case p.ctx.Err() != nil:
			return
		case answered:
			p.answered(key, err)
			return
		}
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}
}

// notify has f called whenever an outage begins or ends for content or index.
func (o *Outage) notify(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed = append(o.changed, f)
}

// Failing returns since when the store does not answer, or refuses to be read, and the last failure;
// zero and nil while it gives what it is asked for.
func (o *Outage) Failing() (since time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.both() {
		if !p.since.IsZero() && (since.IsZero() || p.since.Before(since)) {
			since, err = p.since, p.err
		}
	}
	for _, p := range o.both() {
		if p.refused != nil && since.IsZero() {
			since, err = p.refused.since, p.refused.err
		}
	}
	return since, err
}

// Silent returns since when content or index has neither answered reads nor taken what was written,
// and the last failure; zero and nil where that is not so.
func (o *Outage) Silent() (since time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.both() {
		if p.isSilent() && (since.IsZero() || p.since.Before(since)) {
			since, err = p.since, p.err
		}
	}
	return since, err
}

// isSilent is Silent of a part. Called with mu held.
func (p *part) isSilent() bool { return !p.since.IsZero() && !p.stored.After(p.since) }

func (p *part) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isSilent()
}

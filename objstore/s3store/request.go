package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// window is how much has to move within Config.Timeout.
	window = 64 << 10

	// Once a body has been handed to the system the answer may take longer by
	// what the system still has to send, at most sendBuffer, at slowest bytes
	// per second, and by what the service needs to store the body, at storing
	// bytes per second.
	sendBuffer = 4 << 20
	slowest    = 64 << 10
	storing    = 16 << 20
	// brisk is how fast, in bytes per second, the rest of what may be on the way is
	// expected to move once Hurry was called.
	brisk = 1 << 20
)

// errStalled ends a request that stands still.
var errStalled = errors.New("request stalled")

// errAsleep ends a request whose connection is dead for sure.
var errAsleep = errors.New("connections were closed")

// request is one HTTP request under way: a slot, a context that ends with it,
// and a watch over its progress.
type request struct {
	ctx     context.Context
	store   *Store
	cancel  context.CancelCauseFunc
	timeout time.Duration

	mu      sync.Mutex // guards all below
	moved   int        // bytes since the timer was set
	timer   *time.Timer
	limit   time.Duration // what it was set to
	due     time.Time     // when it ends the request
	hurried bool          // the next byte gives it its time back
	body    int           // bytes that it sends
}

type requestKey struct{}

// requestOf returns the request that ctx belongs to, or nil.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// begin waits for a slot. The caller ends the request when it is done with the
// answer's body too.
func (s *Store) begin(ctx context.Context) (*request, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil { // both were ready
		<-s.slots
		return nil, err
	}
	r := &request{store: s, timeout: s.timeout}
	ctx, r.cancel = context.WithCancelCause(ctx)
	r.ctx = context.WithValue(ctx, requestKey{}, r)
	r.timer = time.AfterFunc(s.timeout, func() { r.cancel(errStalled) })
	r.limit, r.due = s.timeout, time.Now().Add(s.timeout)
	s.mu.Lock()
	if s.underWay == nil {
		s.underWay = make(map[*request]bool)
	}
	s.underWay[r] = true
	s.mu.Unlock()
	return r, nil
}

// Reconnect implements objstore.Reconnector.
func (s *Store) Reconnect() {
	s.mu.Lock()
	for r := range s.underWay {
		r.cancel(errAsleep)
	}
	s.mu.Unlock()
	s.http.dropIdle()
}

// Hurry implements objstore.Hurrier.
func (s *Store) Hurry(patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.underWay {
		r.hurry(patience)
	}
}

// hurry ends the request unless a byte moves within patience and the time for what the
// system may still have to send.
func (r *request) hurry(patience time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	patience += time.Duration(min(r.body, sendBuffer)) * time.Second / brisk
	if time.Until(r.due) > patience {
		r.watch(patience)
		r.hurried = true
	}
}

// watch has the request end unless it moves within limit. r.mu is held.
func (r *request) watch(limit time.Duration) {
	r.moved, r.hurried = 0, false
	r.limit, r.due = limit, time.Now().Add(limit)
	r.timer.Reset(limit)
}

// sends notes that a body of size bytes belongs to the request.
func (r *request) sends(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.body = size
}

func (r *request) end() {
	r.timer.Stop()
	r.store.mu.Lock()
	delete(r.store.underWay, r)
	r.store.mu.Unlock()
	r.cancel(nil)
	<-r.store.slots
}

// stalled reports whether the request was ended because it stood still.
func (r *request) stalled() bool { return errors.Is(context.Cause(r.ctx), errStalled) }

// patience returns how long it may stand still, or might when it ended.
func (r *request) patience() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.limit
}

// asleep reports whether the request was ended by Reconnect.
func (r *request) asleep() bool { return errors.Is(context.Cause(r.ctx), errAsleep) }

// progress notes that n more bytes have moved.
func (r *request) progress(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved += n; r.moved >= window || r.hurried && n > 0 {
		r.watch(r.timeout)
	}
}

// sent notes that a body of size bytes is on its way: now the answer is due.
func (r *request) sent(size int) {
	allowance := time.Duration(min(size, sendBuffer))*time.Second/slowest + time.Duration(size/storing)*time.Second
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch(r.timeout + allowance)
}

// sendBody is the body of a Put as the SDK and the HTTP client read it. The
// client may go on reading for a moment after it has returned an error; close
// makes sure that it no longer reads the caller's memory.
type sendBody struct {
	request *request

	mu     sync.Mutex // guards all below
	data   []byte
	at     int
	closed bool
}

var errBodyClosed = errors.New("the body is no longer there")

func (b *sendBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errBodyClosed
	}
	if b.at == len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.at:])
	if b.at += n; b.at == len(b.data) {
		b.request.sent(len(b.data))
	} else {
		b.request.progress(n)
	}
	return n, nil
}

// Seek implements io.Seeker: the SDK reads the body twice, to sign and to send.
func (b *sendBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += int64(b.at)
	case io.SeekEnd:
		offset += int64(len(b.data))
	}
	if offset < 0 || offset > int64(len(b.data)) {
		return 0, fmt.Errorf("seek to %d in a body of %d bytes", offset, len(b.data))
	}
	b.at = int(offset)
	return offset, nil
}

func (b *sendBody) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data, b.at, b.closed = nil, 0, true
}

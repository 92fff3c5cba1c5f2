package objstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how WithRetry repeats calls. The zero value is good for
// what a program waits for.
type RetryPolicy struct {
	// MinWait is the most the first wait takes; each further one may take
	// twice as long, up to MaxWait. The wait itself is random between zero
	// and that (full jitter), so that many clients of a store that comes back
	// do not return at once:
	// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
	// Zero means 200 ms and 10 s.
	MinWait, MaxWait time.Duration

	// Budget is how long after the start of a call a further attempt may
	// begin. It bounds the waiting, not an attempt under way. A List gets it
	// anew whenever it has moved on. Zero means 30 s, negative means until the
	// caller's context ends.
	Budget time.Duration

	// Observe, unless nil, hears of every attempt that tells how the store is:
	// nil when it answered (a missing object is an answer), else the error.
	// Calls that the caller's context ended, and invalid keys, tell nothing.
	// It is called concurrently and must not block.
	Observe func(err error)
}

// WithRetry returns s with calls that fail as ErrUnavailable made again, as
// policy says; every other error is returned at once. Repeating is safe: Put
// writes the same whole object, and List continues after the last key it
// yielded.
//
// It forwards ConditionalGetter, HashedGetter, HashedPutter, Stater and Identifier.
func WithRetry(s Store, policy RetryPolicy) Store {
	if policy.MinWait <= 0 {
		policy.MinWait = 200 * time.Millisecond
	}
	if policy.MaxWait <= 0 {
		policy.MaxWait = 10 * time.Second
	}
	if policy.Budget == 0 {
		policy.Budget = 30 * time.Second
	}
	return &retrying{inner: s, policy: policy}
}

type retrying struct {
	inner  Store
	policy RetryPolicy
}

func (s *retrying) Inner() Store { return s.inner }

func (s *retrying) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	for t := s.start(ctx, OpGet, key); ; {
		body, err := s.inner.Get(ctx, key, max)
		if err = t.settle(err); err != errAgain {
			return body, err
		}
	}
}

func (s *retrying) GetIfChanged(ctx context.Context, key, etag string, max int64) ([]byte, string, error) {
	inner, ok := s.inner.(ConditionalGetter)
	if !ok {
		return nil, "", missing(OpGet, key, "conditional get")
	}
	for t := s.start(ctx, OpGet, key); ; {
		body, newETag, err := inner.GetIfChanged(ctx, key, etag, max)
		if err = t.settle(err); err != errAgain {
			return body, newETag, err
		}
	}
}

func (s *retrying) GetHashed(ctx context.Context, key string, max int64, room func(int64) []byte) (body []byte, sum [sha256.Size]byte, err error) {
	inner, ok := s.inner.(HashedGetter)
	if !ok {
		return nil, sum, missing(OpGet, key, "get by hash")
	}
	for t := s.start(ctx, OpGet, key); ; {
		body, sum, err = inner.GetHashed(ctx, key, max, room)
		if err = t.settle(err); err != errAgain {
			return body, sum, err
		}
	}
}

func (s *retrying) Put(ctx context.Context, key string, body []byte) error {
	for t := s.start(ctx, OpPut, key); ; {
		if err := t.settle(s.inner.Put(ctx, key, body)); err != errAgain {
			return err
		}
	}
}

func (s *retrying) PutHashed(ctx context.Context, key string, body []byte, sum [sha256.Size]byte) error {
	inner, ok := s.inner.(HashedPutter)
	if !ok {
		return missing(OpPut, key, "put by hash")
	}
	for t := s.start(ctx, OpPut, key); ; {
		if err := t.settle(inner.PutHashed(ctx, key, body, sum)); err != errAgain {
			return err
		}
	}
}

func (s *retrying) Delete(ctx context.Context, key string) error {
	for t := s.start(ctx, OpDelete, key); ; {
		if err := t.settle(s.inner.Delete(ctx, key)); err != errAgain {
			return err
		}
	}
}

func (s *retrying) Stat(ctx context.Context, key string) (Info, error) {
	inner, ok := s.inner.(Stater)
	if !ok {
		return Info{}, missing(OpStat, key, "stat")
	}
	for t := s.start(ctx, OpStat, key); ; {
		info, err := inner.Stat(ctx, key)
		if err = t.settle(err); err != errAgain {
			return info, err
		}
	}
}

func (s *retrying) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		from := after
		for t := s.start(ctx, OpList, prefix); ; {
			var failed error
			for info, err := range s.inner.List(ctx, prefix, from) {
				if err != nil {
					failed = err
					break
				}
				if !yield(info, nil) {
					return
				}
				from = info.Key
				t.restart() // after yield, which takes the caller's time
			}
			err := t.settle(failed)
			if err == errAgain {
				continue
			}
			if err != nil {
				yield(Info{}, err)
			}
			return
		}
	}
}

// Identity is the inner store's, or empty when that has none.
func (s *retrying) Identity() string {
	if inner, ok := s.inner.(Identifier); ok {
		return inner.Identity()
	}
	return ""
}

// errAgain is settle's word for "make the attempt again".
var errAgain = errors.New("attempt again")

// tries is the state of one call.
type tries struct {
	ctx     context.Context
	policy  *RetryPolicy
	op, key string
	begun   time.Time
	wait    time.Duration // the most the next wait takes
}

func (s *retrying) start(ctx context.Context, op, key string) *tries {
	t := &tries{ctx: ctx, policy: &s.policy, op: op, key: key}
	t.restart()
	return t
}

// restart gives the call its whole budget again: it has made progress.
func (t *tries) restart() {
	t.wait = min(t.policy.MinWait, t.policy.MaxWait)
	t.begun = time.Now()
}

// settle takes the outcome of an attempt and returns what the call returns,
// or, once it has waited, errAgain.
func (t *tries) settle(err error) error {
	t.observe(err)
	if !Retryable(err) {
		return err
	}
	wait := rand.N(t.wait + 1)
	t.wait = min(2*t.wait, t.policy.MaxWait)
	if t.policy.Budget > 0 && time.Since(t.begun)+wait > t.policy.Budget {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return errAgain
	case <-t.ctx.Done():
		// The failure that was being waited out is worth telling too.
		return &Error{Op: t.op, Key: t.key, Kind: t.ctx.Err(), Err: err}
	}
}

func (t *tries) observe(err error) {
	if t.policy.Observe == nil {
		return
	}
	switch {
	case err == nil, errors.Is(err, ErrNotExist), errors.Is(err, ErrNotModified), errors.Is(err, ErrTooLarge):
		t.policy.Observe(nil)
	case errors.Is(err, ErrInvalidKey), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		t.policy.Observe(err)
	}
}

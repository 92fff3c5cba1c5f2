package storetest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/hamflx/pocket/objstore"
)

// Call is one call of a store, as a plan for faults sees it.
type Call struct {
	Op  string // objstore.OpGet, ...
	Key string // List: the prefix
	N   int    // which call of this Op it is, from 1
}

// Fault is what happens to a call. The zero Fault lets it pass.
type Fault struct {
	// Kind, unless nil, is what the call fails with, such as
	// objstore.ErrUnavailable.
	Kind error
	// Done: the store does what is asked first, and only the answer is lost.
	Done bool
	// Items is how many items a List yields before it fails.
	Items int
	// Wait, unless nil, holds the call up until it is closed or the caller's
	// context ends.
	Wait <-chan struct{}
}

// Faulty is an objstore.Store that fails as told and else does what the store
// below does. It forwards ConditionalGetter, Stater and Identifier.
type Faulty struct {
	inner objstore.Store

	mu    sync.Mutex // guards all below; not held during calls
	plan  func(Call) Fault
	calls map[string]int
}

// NewFaulty returns s with no faults yet.
func NewFaulty(s objstore.Store) *Faulty {
	return &Faulty{inner: s, calls: make(map[string]int)}
}

// Plan asks plan about every later call. It is called by one goroutine at a
// time. A nil plan lets all calls pass.
func (f *Faulty) Plan(plan func(Call) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = plan
}

// Down makes every later call fail with kind, until Up.
func (f *Faulty) Down(kind error) { f.Plan(func(Call) Fault { return Fault{Kind: kind} }) }

// Up lets every later call pass.
func (f *Faulty) Up() { f.Plan(nil) }

// FailNext makes the next n calls of op fail with kind.
func (f *Faulty) FailNext(op string, n int, kind error) {
	f.Plan(func(c Call) Fault {
		if c.Op != op || n == 0 {
			return Fault{}
		}
		n--
		return Fault{Kind: kind}
	})
}

// Calls returns how many calls of op there have been, failed ones too. A
// GetIfChanged is a get.
func (f *Faulty) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Inner implements objstore.Decorator.
func (f *Faulty) Inner() objstore.Store { return f.inner }

// Get implements objstore.Store.
func (f *Faulty) Get(ctx context.Context, key string, max int64) (body []byte, err error) {
	err = f.do(ctx, objstore.OpGet, key, func() (err error) {
		body, err = f.inner.Get(ctx, key, max)
		return err
	})
	if err != nil {
		return nil, err
	}
	return body, nil
}

// GetIfChanged implements objstore.ConditionalGetter.
func (f *Faulty) GetIfChanged(ctx context.Context, key, etag string, max int64) (body []byte, newETag string, err error) {
	err = f.do(ctx, objstore.OpGet, key, func() (err error) {
		inner, ok := f.inner.(objstore.ConditionalGetter)
		if !ok {
			return objstore.ErrFailed
		}
		body, newETag, err = inner.GetIfChanged(ctx, key, etag, max)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return body, newETag, nil
}

// Put implements objstore.Store.
func (f *Faulty) Put(ctx context.Context, key string, body []byte) error {
	return f.do(ctx, objstore.OpPut, key, func() error { return f.inner.Put(ctx, key, body) })
}

// Delete implements objstore.Store.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.do(ctx, objstore.OpDelete, key, func() error { return f.inner.Delete(ctx, key) })
}

// Stat implements objstore.Stater.
func (f *Faulty) Stat(ctx context.Context, key string) (info objstore.Info, err error) {
	err = f.do(ctx, objstore.OpStat, key, func() (err error) {
		inner, ok := f.inner.(objstore.Stater)
		if !ok {
			return objstore.ErrFailed
		}
		info, err = inner.Stat(ctx, key)
		return err
	})
	if err != nil {
		return objstore.Info{}, err
	}
	return info, nil
}

// List implements objstore.Store.
func (f *Faulty) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		fault, err := f.begin(ctx, objstore.OpList, prefix)
		if err != nil {
			yield(objstore.Info{}, err)
			return
		}
		items := 0
		for info, err := range f.inner.List(ctx, prefix, after) {
			if fault.Kind != nil && items == fault.Items {
				break
			}
			items++
			if !yield(info, err) || err != nil {
				return
			}
		}
		if fault.Kind != nil {
			yield(objstore.Info{}, fault.error(objstore.OpList, prefix))
		}
	}
}

// Identity implements objstore.Identifier. It never fails.
func (f *Faulty) Identity() string {
	if inner, ok := f.inner.(objstore.Identifier); ok {
		return inner.Identity()
	}
	return ""
}

func (f *Faulty) do(ctx context.Context, op, key string, call func() error) error {
	fault, err := f.begin(ctx, op, key)
	if err != nil {
		return err
	}
	if fault.Kind == nil {
		return call()
	}
	if fault.Done {
		if err := call(); err != nil {
			return err
		}
	}
	return fault.error(op, key)
}

// begin counts the call, asks the plan, and waits as that says.
func (f *Faulty) begin(ctx context.Context, op, key string) (Fault, error) {
	f.mu.Lock()
	f.calls[op]++
	var fault Fault
	if f.plan != nil {
		fault = f.plan(Call{Op: op, Key: key, N: f.calls[op]})
	}
	f.mu.Unlock()
	if fault.Wait != nil {
		select {
		case <-fault.Wait:
		case <-ctx.Done():
			return Fault{}, objstore.ContextError(ctx, op, key, "a faulty store")
		}
	}
	return fault, nil
}

func (f Fault) error(op, key string) error {
	return &objstore.Error{Op: op, Key: key, Store: "a faulty store", Kind: f.Kind, Err: errors.New("as planned by the test")}
}

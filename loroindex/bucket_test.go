package loroindex

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/stretchr/testify/require"
)

var errUnreachable = errors.New("unreachable")

// memBucket is a shed whose clock goes on by an hour with every write. hook, if set, is called
// before every call and may make it fail.
type memBucket struct {
	*shed
	hook func(op, key string) error

	callsMu sync.Mutex
	calls   []string // "get key" ...; guarded by callsMu
}

func newBucket() *memBucket { return &memBucket{shed: newShed()} }

func (b *memBucket) call(op, key string) error {
	b.callsMu.Lock()
	b.calls = append(b.calls, op+" "+key)
	hook := b.hook
	b.callsMu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(op, key)
}

func (b *memBucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := b.call("get", key); err != nil {
		return nil, err
	}
	return b.shed.Get(ctx, key, limit)
}

func (b *memBucket) Put(_ context.Context, key string, body []byte) error {
	if err := b.call("put", key); err != nil {
		return err
	}
	b.put(key, body)
	return nil
}

func (b *memBucket) put(key string, body []byte) {
	b.pass(time.Hour)
	b.shed.Put(background, key, body)
}

func (b *memBucket) remove(key string) { b.shed.Delete(background, key) }

func (b *memBucket) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if err := b.call("list", prefix); err != nil {
			yield(Object{}, err)
			return
		}
		b.shed.List(ctx, prefix, after)(yield)
	}
}

func (b *memBucket) clone() *memBucket { return &memBucket{shed: b.shed.clone()} }

// took returns the calls so far and forgets them.
func (b *memBucket) took() []string {
	c := b.calls
	b.calls = nil
	return c
}

// noWrites makes every write fail the test.
func (b *memBucket) noWrites(t testing.TB) {
	b.hook = func(op, key string) error {
		if op == "put" {
			t.Errorf("wrote %s", key)
		}
		return nil
	}
}

// memLocal keeps copies in memory.
type memLocal map[string][]byte

func (l memLocal) List(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(l)) {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (l memLocal) Get(_ context.Context, key string) ([]byte, error) {
	if b, ok := l[key]; ok {
		return bytes.Clone(b), nil
	}
	return nil, errNoObject
}

func (l memLocal) Put(_ context.Context, key string, body []byte) error {
	l[key] = bytes.Clone(body)
	return nil
}

func load(t testing.TB, b Bucket, local Local, device string) *Loaded {
	t.Helper()
	l, err := Load(t.Context(), b, local, Options{Device: device, Now: clock(1_700_000_000)})
	require.NoError(t, err)
	return l
}

// publish makes files in an index and publishes each change.
func publish(t testing.TB, x *Index, b Bucket, files ...string) {
	t.Helper()
	for _, p := range files {
		start := x.next
		mk(t, x, p)
		_, err := x.Publish(t.Context(), b, Span{x.Peer(), start, x.next})
		require.NoError(t, err)
	}
}

func publishSnapshot(t testing.TB, x *Index, b Bucket) objectid.ID {
	t.Helper()
	id, _, err := x.PublishSnapshot(t.Context(), b, nil)
	require.NoError(t, err)
	return id
}

// namedError is an error of a bucket that names what it is about.
type namedError struct{ op, key string }

func (e namedError) Error() string           { return e.op + " " + e.key + ": refused" }
func (e namedError) About() (op, key string) { return e.op, e.key }

func TestKeyOfAnErrorIsToldOnce(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errUnreachable, "index: get index/head: unreachable"},
		{namedError{"get", "ssh/index/head"}, "get ssh/index/head: refused"},
		{namedError{"list", "elsewhere/"}, "index: get index/head: list elsewhere/: refused"},
	} {
		b := newBucket()
		b.hook = func(op, key string) error { return c.err }
		_, err := Load(t.Context(), b, nil, Options{Device: "here"})
		require.ErrorIs(t, err, c.err)
		require.EqualError(t, err, c.want)
	}
}

package loroindex

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shed is a bucket in memory whose clock is the test's.
type shed struct {
	mu      sync.Mutex
	now     time.Time
	objects map[string]shedObject
}

type shedObject struct {
	body    []byte
	written time.Time
}

var (
	errNoObject = errors.New("no such object")
	errDead     = errors.New("this process is dead")
)

func newShed() *shed {
	return &shed{now: time.Unix(1_700_000_000, 0), objects: make(map[string]shedObject)}
}

func (s *shed) clone() *shed {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &shed{now: s.now, objects: make(map[string]shedObject)}
	for key, o := range s.objects {
		c.objects[key] = shedObject{slices.Clone(o.body), o.written}
	}
	return c
}

func (s *shed) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *shed) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *shed) Get(_ context.Context, key string, max int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return nil, fmt.Errorf("%w: %s", errNoObject, key)
	}
	if int64(len(o.body)) > max {
		return nil, errors.New("too large")
	}
	return slices.Clone(o.body), nil
}

func (s *shed) Put(_ context.Context, key string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = shedObject{slices.Clone(body), s.now.Truncate(time.Second)} // as S3 does
	return nil
}

func (s *shed) List(_ context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		s.mu.Lock()
		all := maps.Clone(s.objects)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if strings.HasPrefix(key, prefix) && key > after {
				if !yield(Object{key, int64(len(all[key].body)), all[key].written}, nil) {
					return
				}
			}
		}
	}
}

func (s *shed) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

func (s *shed) NotExist(err error) bool { return errors.Is(err, errNoObject) }

func (s *shed) keys(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// call is one call of a store.
type call struct {
	n       int // which of this process, from 1
	op, key string
}

// door is one process's way to a shed. Before each call the test may do
// something, or end the process: from then on every call fails, undone.
type door struct {
	*shed
	mu     sync.Mutex // held while before runs: one call at a time
	calls  int
	before func(c call) error
}

func (d *door) call(op, key string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.before == nil {
		return nil
	}
	return d.before(call{d.calls, op, key})
}

func (d *door) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	if err := d.call("get", key); err != nil {
		return nil, err
	}
	return d.shed.Get(ctx, key, max)
}

func (d *door) Put(ctx context.Context, key string, body []byte) error {
	if err := d.call("put", key); err != nil {
		return err
	}
	return d.shed.Put(ctx, key, body)
}

func (d *door) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	if err := d.call("list", prefix); err != nil {
		return func(yield func(Object, error) bool) { yield(Object{}, err) }
	}
	return d.shed.List(ctx, prefix, after)
}

func (d *door) Delete(ctx context.Context, key string) error {
	if err := d.call("delete", key); err != nil {
		return err
	}
	return d.shed.Delete(ctx, key)
}

// dieAt ends a process before its nth call.
func dieAt(n int) func(call) error {
	return func(c call) error {
		if c.n >= n {
			return errDead
		}
		return nil
	}
}

// doAt does something before the nth call, which goes on then.
func doAt(n int, f func()) func(call) error {
	return func(c call) error {
		if c.n == n {
			f()
		}
		return nil
	}
}

var background = context.Background()

// writer is a device whose every change is published at once.
type writer struct {
	*Index
	t testing.TB
	n int
}

func newWriter(t testing.TB, s *shed, device string, peer uint64) *writer {
	t.Helper()
	l, err := Load(background, s, nil, Options{Device: device, Peer: peer, Now: s.Now})
	require.NoError(t, err)
	return &writer{Index: l.Index, t: t}
}

// write makes files and publishes that. It returns their names.
func (w *writer) write(s *shed, count int) []string {
	w.t.Helper()
	var names []string
	for range count {
		w.n++
		names = append(names, fmt.Sprintf("%s-%d", w.device, w.n))
	}
	op := do(w.t, w.Index, func(tx *Tx) error {
		for _, name := range names {
			if _, err := tx.Create(Root, name, fileInfo, content(name)); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := w.Publish(background, s, op.Span)
	require.NoError(w.t, err)
	return names
}

func (w *writer) pull(s *shed) {
	w.t.Helper()
	_, err := w.Pull(background, s, nil)
	require.NoError(w.t, err)
}

func (w *writer) snapshot(b Bucket) {
	w.t.Helper()
	_, _, err := w.PublishSnapshot(background, b, nil)
	require.NoError(w.t, err)
}

// shows opens the bucket and returns the names in it.
func shows(t testing.TB, b Bucket) []string {
	t.Helper()
	l, err := Load(background, b, nil, Options{Device: "reader"})
	require.NoError(t, err)
	require.Empty(t, l.Damaged)
	return paths(t, l.Index)
}

func compact(t testing.TB, b CompactBucket, o CompactOptions) *Compaction {
	t.Helper()
	c, err := tryCompact(b, o)
	require.NoError(t, err)
	return c
}

func tryCompact(b CompactBucket, o CompactOptions) (*Compaction, error) {
	switch b := b.(type) {
	case *shed:
		o.Now = b.Now
	case *door:
		o.Now = b.Now
	}
	return Compact(background, b, o)
}

package loroindex

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
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
	return &shed{now: s.now, objects: maps.Clone(s.objects)}
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
		return nil, errNoObject
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

func TestCompactionFoldsEverythingAndDeletesItADayLater(t *testing.T) {
	s := newShed()
	w := newWriter(t, s, "anna", 1)
	var want []string
	for range 5 {
		want = append(want, w.write(s, 2)...)
		s.pass(time.Hour)
	}
	w.snapshot(s)
	want = append(want, w.write(s, 2)...)

	c := compact(t, s, CompactOptions{})
	require.Equal(t, 1, c.Snapshots.Objects)
	require.Equal(t, 6, c.Updates.Objects)
	require.Equal(t, 1, c.Written.Objects)
	require.Zero(t, c.Deleted)
	require.Equal(t, 7, c.Waiting.Objects)
	require.Equal(t, s.Now().Add(MinGrace), c.Until)
	require.ElementsMatch(t, want, shows(t, s))
	head, err := readHead(background, s)
	require.NoError(t, err)
	require.Equal(t, c.Head, head.id)

	// Nothing changes until the day has passed.
	s.pass(MinGrace - time.Second)
	c = compact(t, s, CompactOptions{})
	require.Zero(t, c.Written)
	require.Zero(t, c.Deleted)
	require.Equal(t, 7, c.Waiting.Objects)

	s.pass(time.Second)
	before := s.clone()
	c = compact(t, s, CompactOptions{DryRun: true})
	require.Equal(t, before.objects, s.objects)
	require.Equal(t, 7, c.Deleted.Objects)
	require.Equal(t, 6, c.DeletedUpdates)
	real := compact(t, s, CompactOptions{})
	require.Equal(t, c, real)
	require.Equal(t, []string{ObjectKey(c.Head)}, s.keys(ObjectPrefix))
	require.Empty(t, s.keys(UpdatePrefix))
	require.ElementsMatch(t, want, shows(t, s))

	// Those who were there before go on.
	want = append(want, w.write(s, 1)...)
	require.ElementsMatch(t, want, shows(t, s))
}

func TestCompactionOfAnUnmountedIndexDeletesAtOnce(t *testing.T) {
	s := newShed()
	w := newWriter(t, s, "anna", 1)
	want := w.write(s, 3)
	w.snapshot(s)
	want = append(want, w.write(s, 3)...)
	dry := compact(t, s, CompactOptions{Unmounted: true, DryRun: true})
	c := compact(t, s, CompactOptions{Unmounted: true})
	require.Equal(t, 3, c.Deleted.Objects)
	require.Equal(t, dry.Deleted, c.Deleted)
	require.Equal(t, dry.Written, c.Written)
	require.Zero(t, c.Waiting)
	require.Equal(t, want, shows(t, s))
	require.Len(t, s.keys("index/"), 4) // head, tip, clock, one snapshot
}

// yard is a bucket in which a compaction has a lot to delete and a lot to fold:
// two devices, snapshots of different age, updates before and after them.
func yard(t testing.TB) (s *shed, a, b *writer, want []string) {
	s = newShed()
	a = newWriter(t, s, "anna", 1)
	want = append(want, a.write(s, 2)...)
	b = newWriter(t, s, "berta", 2)
	want = append(want, b.write(s, 2)...)
	s.pass(time.Hour)
	b.snapshot(s)
	s.pass(2 * MinGrace)
	a.pull(s)
	want = append(want, a.write(s, 1)...)
	compact(t, s, CompactOptions{})
	s.pass(MinGrace + time.Hour)
	b.pull(s)
	want = append(want, b.write(s, 1)...)
	a.pull(s)
	return s, a, b, want
}

// callsOf counts the store calls of what f does.
func callsOf(s *shed, f func(*door)) int {
	d := &door{shed: s.clone()}
	f(d)
	return d.calls
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

func TestCompactionMayDieBetweenAnyTwoCalls(t *testing.T) {
	start, _, _, want := yard(t)
	whole := callsOf(start, func(d *door) { compact(t, d, CompactOptions{}) })
	require.Greater(t, whole, 15)
	for n := 1; n <= whole+1; n++ {
		s := start.clone()
		d := &door{shed: s, before: dieAt(n)}
		_, err := tryCompact(d, CompactOptions{})
		if n <= whole {
			require.ErrorIs(t, err, errDead)
		}
		require.ElementsMatch(t, want, shows(t, s), "dead at call %d", n)
		// The next one finishes the work.
		compact(t, s, CompactOptions{})
		require.ElementsMatch(t, want, shows(t, s), "dead at call %d, then again", n)
		s.pass(MinGrace)
		compact(t, s, CompactOptions{})
		require.Len(t, s.keys(ObjectPrefix), 1)
		require.Empty(t, s.keys(UpdatePrefix))
		require.ElementsMatch(t, want, shows(t, s))
	}
}

func TestTwoCompactionsAndAWriterMayMeetAtAnyCall(t *testing.T) {
	start, _, _, all := yard(t)
	whole := callsOf(start, func(d *door) { compact(t, d, CompactOptions{}) })
	for n := 1; n <= whole; n++ {
		for _, dies := range []bool{false, true} {
			for second := 1 + n%8; second <= whole+4; second += 8 {
				s := start.clone()
				s.pass(time.Minute) // its devices have seen an earlier time
				want := slices.Clone(all)
				first := &door{shed: s}
				first.before = func(c call) error {
					if c.n == n {
						w := newWriter(t, s, "carla", uint64(100*n+second))
						want = append(want, w.write(s, 1)...)
						s.pass(2 * time.Minute)
						other := &door{shed: s, before: dieAt(second)}
						tryCompact(other, CompactOptions{})
						s.pass(2 * time.Minute)
						want = append(want, w.write(s, 1)...)
					}
					if dies && c.n >= n+2 {
						return errDead
					}
					return nil
				}
				_, err := tryCompact(first, CompactOptions{})
				if !dies {
					require.NoError(t, err)
				}
				require.ElementsMatch(t, want, shows(t, s), "at call %d, dies %v, the other at %d", n, dies, second)
				s.pass(MinGrace)
				compact(t, s, CompactOptions{})
				require.ElementsMatch(t, want, shows(t, s), "at call %d, dies %v, the other at %d, a day later", n, dies, second)
			}
		}
	}
}

func TestReaderMeetsACompactionAtAnyCall(t *testing.T) {
	start, _, _, want := yard(t)
	compaction := callsOf(start, func(d *door) { compact(t, d, CompactOptions{}) })
	reading := callsOf(start, func(d *door) { shows(t, d) })
	for n := 1; n <= reading; n++ {
		for cut := 1; cut <= compaction+1; cut++ {
			s := start.clone()
			r := &door{shed: s, before: doAt(n, func() {
				tryCompact(&door{shed: s, before: dieAt(cut)}, CompactOptions{})
			})}
			l, err := Load(background, r, nil, Options{Device: "reader"})
			require.NoError(t, err, "reader at call %d, compaction cut at %d", n, cut)
			require.ElementsMatch(t, want, paths(t, l.Index), "reader at call %d, compaction cut at %d", n, cut)
		}
	}
}

// A machine that did not see the compaction's snapshot writes an older head,
// and may end right then.
func TestSnapshotOfAMountMeetsACompactionAtAnyCall(t *testing.T) {
	start, _, b, all := yard(t)
	// What the mount knows is less than what the bucket holds.
	late := newWriter(t, start, "late", 77)
	all = append(all, late.write(start, 1)...)
	compaction := callsOf(start, func(d *door) { compact(t, d, CompactOptions{}) })
	blob, _, err := b.ExportSnapshot()
	require.NoError(t, err)
	mount := func(s *shed) *Index {
		x, err := Open(Options{Device: "berta", Now: s.Now}, blob)
		require.NoError(t, err)
		return x
	}
	publishing := callsOf(start, func(d *door) {
		_, _, err := mount(d.shed).PublishSnapshot(background, d, nil)
		require.NoError(t, err)
	})
	for n := 1; n <= publishing; n++ {
		for dies := n; dies <= publishing+6; dies++ {
			for cut := 1 + (n+dies)%6; cut <= compaction+1; cut += 6 {
				s := start.clone()
				d := &door{shed: s}
				d.before = func(c call) error {
					if c.n >= dies {
						return errDead
					}
					if c.n == n {
						s.pass(5 * time.Minute)
						tryCompact(&door{shed: s, before: dieAt(cut)}, CompactOptions{})
						s.pass(5 * time.Minute)
					}
					return nil
				}
				mount(s).PublishSnapshot(background, d, nil)
				where := fmt.Sprintf("publishing at call %d dies at %d, compaction cut at %d", n, dies, cut)
				require.ElementsMatch(t, all, shows(t, s), where)
				// And so it stays, also when a compaction comes by a day later.
				s.pass(MinGrace)
				compact(t, s, CompactOptions{})
				require.ElementsMatch(t, all, shows(t, s), where)
				s.pass(MinGrace)
				compact(t, s, CompactOptions{})
				require.ElementsMatch(t, all, shows(t, s), where)
				require.Len(t, s.keys(ObjectPrefix), 1, where)
			}
		}
	}
}

// A mount that takes most of a day to write a snapshot makes the head one that
// lacks an update; another reads that head, and makes its own from it after the
// update could have been deleted.
func TestSlowMountsHideNothing(t *testing.T) {
	s := newShed()
	a := newWriter(t, s, "anna", 1)
	want := a.write(s, 1)
	a.snapshot(s)
	slow := []*writer{newWriter(t, s, "slow1", 11), newWriter(t, s, "slow2", 12)}
	for _, w := range slow {
		want = append(want, w.write(s, 1)...)
	}
	s.pass(MinGrace)
	publishSlowly(slow[0], s, func() {
		want = append(want, a.write(s, 1)...)
		compact(t, s, CompactOptions{})
		s.pass(10 * time.Hour)
	})
	publishSlowly(slow[1], s, func() {
		compact(t, s, CompactOptions{})
		s.pass(15 * time.Hour)
		// The update is in a head's snapshot of a day ago and in that of the head
		// of now, and yet:
		compact(t, s, CompactOptions{})
	})
	require.ElementsMatch(t, want, shows(t, s))
}

// publishSlowly has w write a snapshot and make it the head, and end then.
// Meanwhile is after it has read everything.
func publishSlowly(w *writer, s *shed, meanwhile func()) {
	w.t.Helper()
	d := &door{shed: s}
	wrote, dead := false, false
	d.before = func(c call) error {
		switch {
		case dead:
			return errDead
		case c.op == "put" && c.key != HeadKey && !wrote:
			meanwhile()
			wrote = true
		case c.op == "list" && wrote:
			dead = true
			return errDead
		}
		return nil
	}
	_, _, err := w.PublishSnapshot(background, d, nil)
	require.ErrorIs(w.t, err, errDead)
	h, err := readHead(background, s)
	require.NoError(w.t, err)
	_, seen := w.shelf.seen(h.id)
	require.True(w.t, seen)
}

// The same, and the head's snapshot that lacks the update is deleted before the
// update could be.
func TestSnapshotThatWasTheHeadHidesNothing(t *testing.T) {
	s := newShed()
	a := newWriter(t, s, "anna", 1)
	want := a.write(s, 1)
	a.snapshot(s)
	b := newWriter(t, s, "berta", 2)
	want = append(want, b.write(s, 1)...)
	late := newWriter(t, s, "late", 3)
	want = append(want, late.write(s, 1)...)
	s.pass(MinGrace)
	publishSlowly(b, s, func() {
		want = append(want, a.write(s, 1)...)
		compact(t, s, CompactOptions{})
		s.pass(10 * time.Hour)
	})
	s.pass(10 * time.Hour)
	publishSlowly(late, s, func() {
		for range 8 {
			compact(t, s, CompactOptions{})
			s.pass(150 * time.Minute)
		}
	})
	require.ElementsMatch(t, want, shows(t, s))
}

func TestDeletionFollowsTheRule(t *testing.T) {
	v := func(ends ...int32) Version {
		out := Version{}
		for p, end := range ends {
			out[peerID(uint64(p+1))] = end
		}
		return out
	}
	id := func(n byte) objectid.ID { return objectid.ID{n} }
	day := func(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * 24 * time.Hour) }
	now := day(10)
	aged := func(t time.Time) bool { return now.Sub(t) >= 24*time.Hour }
	span := Span{Peer: 1, Start: 0, End: 5}
	for _, c := range []struct {
		name      string
		snapshots []*held
		head      int
		update    bool
		deleted   []int
	}{
		{"an aged head that includes it", []*held{{id: id(1), written: day(9), end: v(5)}}, 0, true, nil},
		{"a young head", []*held{{id: id(1), written: now, end: v(5)}}, 0, false, nil},
		{"a head that includes less", []*held{{id: id(1), written: day(8), end: v(4)}}, 0, false, nil},
		{"a newer one that includes less may become the head", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: day(9), end: v(4, 9)},
		}, 0, false, nil},
		{"an older one that includes less", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: day(3), end: v(4)},
		}, 0, true, []int{1}},
		{"the head includes less", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: day(3), end: v(4)},
		}, 1, false, nil},
		{"a young one that includes more takes nothing away", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: now, end: v(6)},
		}, 1, true, nil},
		{"a young one stays", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: now, end: v(5)},
		}, 0, true, nil},
		{"of equals the smaller stays", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: day(4), end: v(5)},
			{id: id(3), written: day(5), end: v(5)},
		}, 0, true, []int{1, 2}},
		{"a newer one stays: who reads it would not read the other", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: day(6), end: v(5)},
			{id: id(3), written: day(6), end: v(3)},
		}, 0, true, []int{2}},
		{"of equals the head stays", []*held{
			{id: id(1), written: day(5), end: v(5)},
			{id: id(2), written: day(4), end: v(5)},
		}, 1, true, nil},
		{"those of the first Pocket stay and are no reason", []*held{
			{id: id(1), written: day(5), end: v(5), first: true},
			{id: id(2), written: now, end: v(6)},
		}, 1, false, nil},
		{"a trimmed one is no reason for what it left out", []*held{
			{id: id(1), written: day(5), end: v(9), start: v(6)},
			{id: id(2), written: day(4), end: v(4)},
		}, 0, false, nil},
		{"a trimmed one goes when the whole is there", []*held{
			{id: id(1), written: day(5), end: v(9)},
			{id: id(2), written: day(4), end: v(9), start: v(6)},
			{id: id(3), written: day(4), end: v(8), start: v(6)},
		}, 0, true, []int{1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPurge(c.snapshots, c.snapshots[c.head], aged)
			require.Equal(t, c.update, p.update(span))
			var deleted []int
			for i, s := range c.snapshots {
				if p.snapshot(s) {
					deleted = append(deleted, i)
				}
			}
			require.Equal(t, c.deleted, deleted)
		})
	}
}

var weeks = flag.Int("weeks", 2, "runs of TestWeeksOfCompactionsLoseNothing")

// Devices, compactions and readers come and go at random, die in the middle, and
// see each other's half-done work, for weeks.
func TestWeeksOfCompactionsLoseNothing(t *testing.T) {
	for seed := range *weeks {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			s := newShed()
			var want []string
			peer := uint64(0)
			mount := func() *writer {
				peer++
				return newWriter(t, s, fmt.Sprintf("dev%d", peer), peer)
			}
			mounts := []*writer{mount(), mount(), mount()}
			deleted := 0
			var act func(depth int)
			// A process does one thing, during which others do theirs and time
			// passes, less than a day in all for each; one in four dies.
			var running []*time.Duration // what is left of their days
			wait := func() {
				d := 30 * time.Hour
				for _, left := range running {
					d = min(d, *left/3)
				}
				d = time.Duration(rng.Int64N(int64(d) + 1))
				for _, left := range running {
					*left -= d
				}
				s.pass(d)
			}
			process := func(depth int, do func(d *door)) {
				left := MinGrace - time.Minute
				running = append(running, &left)
				d := &door{shed: s}
				death := 1 << 30
				if rng.IntN(4) == 0 {
					death = 1 + rng.IntN(30)
				}
				d.before = func(c call) error {
					if c.n >= death {
						return errDead
					}
					if depth < 3 && rng.IntN(10) == 0 {
						act(depth + 1)
					}
					if rng.IntN(4) == 0 {
						wait()
					}
					return nil
				}
				do(d)
				running = running[:len(running)-1]
			}
			act = func(depth int) {
				i := rng.IntN(len(mounts))
				switch n := rng.IntN(10); {
				case n < 4:
					want = append(want, mounts[i].write(s, 1+rng.IntN(2))...)
				case n < 5:
					w := mounts[i]
					process(depth, func(d *door) { w.Pull(background, d, nil) })
				case n < 6:
					mounts[i] = mount()
				case n < 8:
					w := mounts[i]
					process(depth, func(d *door) { w.PublishSnapshot(background, d, nil) })
				default:
					process(depth, func(d *door) {
						c, _ := tryCompact(d, CompactOptions{})
						deleted += c.Deleted.Objects
					})
				}
			}
			for range 120 {
				act(0)
				if rng.IntN(3) == 0 {
					wait()
				}
				require.Equal(t, sorted(want), sorted(shows(t, s)))
			}
			require.Positive(t, deleted)
			s.pass(MinGrace)
			compact(t, s, CompactOptions{})
			s.pass(MinGrace)
			compact(t, s, CompactOptions{})
			require.Equal(t, sorted(want), sorted(shows(t, s)))
			require.Len(t, s.keys(ObjectPrefix), 1)
			require.Empty(t, s.keys(UpdatePrefix))
		})
	}
}

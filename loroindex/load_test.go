package loroindex

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

func TestAnEmptyBucketIsAFreshIndexAndStaysEmpty(t *testing.T) {
	b := newBucket()
	b.noWrites(t)
	l := load(t, b, memLocal{}, "anna")
	require.True(t, l.Fresh)
	require.Empty(t, paths(t, l.Index))
	require.Empty(t, l.Bucket)
	require.Empty(t, l.Damaged)
}

func TestWhatIsPublishedIsLoaded(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "d/", "d/f")
	require.Equal(t, []string{
		TipKey, UpdateKey(Span{x.Peer(), 0, 5}), UpdateKey(Span{x.Peer(), 5, 9}),
	}, b.keys(""))

	y := load(t, b, nil, "berta")
	require.False(t, y.Fresh)
	require.Equal(t, 2, y.Updates)
	require.Equal(t, tree(t, x), tree(t, y.Index))
	require.Equal(t, x.Version(), y.Bucket)

	id := publishSnapshot(t, y.Index, b)
	require.Equal(t, id.String(), string(b.objects[HeadKey].body))
	publish(t, x, b, "later")
	b.took()
	z := load(t, b, nil, "carl")
	require.Equal(t, []string{
		"get " + HeadKey, "get " + ObjectKey(id), "list " + ObjectPrefix, "list " + UpdatePrefix,
		"get " + UpdateKey(Span{x.Peer(), 9, 13}),
	}, b.took(), "only what the snapshot lacks is read")
	require.Equal(t, id, z.Head)
	require.Equal(t, tree(t, x), tree(t, z.Index))
	require.Equal(t, x.Version(), z.Bucket)
}

func TestSnapshotsHoldOnlyWhatIsPublished(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "published")
	mk(t, x, "in the journal")
	publishSnapshot(t, x, b)
	require.Equal(t, []string{"published"}, paths(t, load(t, b, nil, "berta").Index))

	b.took()
	require.Equal(t, publishSnapshot(t, x, b), load(t, b, nil, "berta").Head)
	require.NotContains(t, strings.Join(b.took(), "\n"), "put", "there is nothing new to write")
}

func TestNothingPublishedMakesNoSnapshot(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	mk(t, x, "f")
	require.Zero(t, publishSnapshot(t, x, b))
	require.Empty(t, b.keys(""))
}

// damagedBuckets is a bucket with two snapshots and updates, in every state of
// damage that the older snapshot makes up for.
func damagedBuckets(t *testing.T) (want []string, m map[string]*memBucket) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	first := publishSnapshot(t, x, b)
	publish(t, x, b, "b")
	second := publishSnapshot(t, x, b)
	publish(t, x, b, "c")
	m = map[string]*memBucket{}
	add := func(name string, fn func(b *memBucket)) {
		c := b.clone()
		fn(c)
		m[name] = c
	}
	add("head is missing", func(b *memBucket) { delete(b.objects, HeadKey) })
	add("head is empty", func(b *memBucket) { b.put(HeadKey, nil) })
	add("head is garbage", func(b *memBucket) { b.put(HeadKey, []byte("<html>")) })
	add("head ends in a newline", func(b *memBucket) { b.put(HeadKey, []byte(second.String()+"\n")) })
	add("head names nothing", func(b *memBucket) { b.put(HeadKey, []byte(objectid.Of(nil).String())) })
	add("head's snapshot is damaged", func(b *memBucket) { b.objects[ObjectKey(second)].body[50] ^= 1 })
	add("head's snapshot is cut short", func(b *memBucket) { b.put(ObjectKey(second), b.objects[ObjectKey(second)].body[:50]) })
	add("the older snapshot is damaged", func(b *memBucket) { b.put(ObjectKey(first), []byte("x")) })
	return tree(t, x), m
}

func TestADamagedHeadIsMadeUpForByOtherSnapshots(t *testing.T) {
	want, buckets := damagedBuckets(t)
	for name, b := range buckets {
		t.Run(name, func(t *testing.T) {
			b.noWrites(t)
			l := load(t, b, nil, "berta")
			require.Equal(t, want, tree(t, l.Index))
			if name == "head is missing" || name == "the older snapshot is damaged" {
				require.Len(t, l.Damaged, strings.Count(name, "older"))
			} else {
				require.NotEmpty(t, l.Damaged)
				require.ErrorIs(t, l.Damaged[0], ErrDamaged)
				require.ErrorContains(t, l.Damaged[0], "index/")
			}

			// The next snapshot mends it.
			b.hook = nil
			publishSnapshot(t, l.Index, b)
			after := load(t, b, nil, "carl")
			require.Empty(t, after.Damaged)
			require.Equal(t, want, tree(t, after.Index))
		})
	}
}

func TestAnIndexThatCannotBeReadIsNotTakenForAnEmptyOne(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	id := publishSnapshot(t, x, b)
	publish(t, x, b, "b")
	update := UpdateKey(Span{x.Peer(), 6, x.next})
	require.Contains(t, b.keys(""), update)
	garbage := []byte("not what it was")
	for name, c := range map[string]struct {
		damage func(b *memBucket)
		key    string
		err    error
	}{
		"the only snapshot is garbage":       {func(b *memBucket) { b.put(ObjectKey(id), garbage) }, ObjectKey(id), ErrDamaged},
		"the only snapshot is gone":          {func(b *memBucket) { delete(b.objects, ObjectKey(id)) }, ObjectKey(id), ErrDamaged},
		"head and the only snapshot are bad": {func(b *memBucket) { b.put(HeadKey, nil); b.put(ObjectKey(id), garbage) }, HeadKey, ErrDamaged},
		"head missing, snapshot bad":         {func(b *memBucket) { delete(b.objects, HeadKey); b.put(ObjectKey(id), garbage) }, ObjectKey(id), ErrDamaged},
		"head garbage, nothing else":         {func(b *memBucket) { b.put(HeadKey, garbage); delete(b.objects, ObjectKey(id)) }, HeadKey, ErrDamaged},
		"an update is garbage":               {func(b *memBucket) { b.put(update, garbage) }, update, ErrDamaged},
		"an update is empty":                 {func(b *memBucket) { b.put(update, nil) }, update, ErrDamaged},
		"an update holds something else":     {func(b *memBucket) { b.put(update, b.objects[UpdateKey(Span{x.Peer(), 0, 6})].body) }, update, ErrDamaged},
		"a snapshot that is no snapshot": {func(b *memBucket) {
			b.objects = map[string]shedObject{}
			b.put(ObjectKey(objectid.Of(garbage)), garbage)
			b.put(HeadKey, []byte(objectid.Of(garbage).String()))
		}, ObjectKey(objectid.Of(garbage)), ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			bad := b.clone()
			c.damage(bad)
			bad.noWrites(t)
			before := maps.Clone(bad.objects)
			_, err := Load(t.Context(), bad, nil, Options{})
			require.ErrorIs(t, err, c.err)
			require.ErrorContains(t, err, c.key)
			require.Equal(t, before, bad.objects)
		})
	}
}

func TestAHoleInTheHistoryIsAnErrorThatNamesIt(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a", "b", "c")
	delete(b.objects, UpdateKey(Span{x.Peer(), 6, 10}))
	b.noWrites(t)
	_, err := Load(t.Context(), b, nil, Options{})
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, Span{x.Peer(), 6, 10}.String())
}

func TestAFailureOfAnyCallIsReportedWithItsKey(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a", "b")
	publishSnapshot(t, x, b)
	publish(t, x, b, "c")
	mine := load(t, b, nil, "berta").Index
	publish(t, x, b, "d")
	b.took()
	for name, do := range map[string]func(b Bucket) error{
		"load":     func(b Bucket) error { _, err := Load(t.Context(), b, nil, Options{}); return err },
		"pull":     func(b Bucket) error { _, err := testIndex(t, "carl").Pull(t.Context(), b, nil); return err },
		"publish":  func(b Bucket) error { _, err := x.Publish(t.Context(), b, Span{x.Peer(), 0, 6}); return err },
		"snapshot": func(b Bucket) error { _, _, err := mine.PublishSnapshot(t.Context(), b, nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			for i := 0; ; i++ {
				c := b.clone()
				n, failed := 0, ""
				var mu sync.Mutex // updates are read by several goroutines
				c.hook = func(op, key string) error {
					mu.Lock()
					defer mu.Unlock()
					if n++; n == i+1 {
						failed = key
						return errUnreachable
					}
					return nil
				}
				err := do(c)
				if failed == "" {
					require.NoError(t, err)
					require.Greater(t, i, 1)
					return
				}
				require.ErrorIs(t, err, errUnreachable)
				require.ErrorContains(t, err, failed)
				require.NotErrorIs(t, err, ErrDamaged)
				if name == "load" || name == "pull" {
					require.Equal(t, b.objects, c.objects)
				}
			}
		})
	}
}

func TestAPublishedIndexThatIsGoneIsNotReplaced(t *testing.T) {
	b := newBucket()
	local := memLocal{}
	x := load(t, b, local, "anna").Index
	publish(t, x, b, "a")
	load(t, b, local, "anna")
	require.NotEmpty(t, local)
	empty := newBucket()
	empty.noWrites(t)
	_, err := Load(t.Context(), empty, local, Options{})
	require.ErrorIs(t, err, ErrIndexGone)
}

func TestCopiesOnThisMachineSpareReadingAndStandAlone(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a", "b")
	publishSnapshot(t, x, b)
	publish(t, x, b, "c")
	local := memLocal{}
	load(t, b, local, "berta")
	b.took()
	l := load(t, b, local, "berta")
	require.Equal(t, []string{"get " + HeadKey, "list " + ObjectPrefix, "list " + UpdatePrefix}, b.took())
	require.Equal(t, tree(t, x), tree(t, l.Index))
	require.Equal(t, x.Version(), l.Bucket)

	alone := load(t, nil, local, "berta")
	require.Equal(t, tree(t, x), tree(t, alone.Index))
	require.Empty(t, alone.Bucket)
	_, err := Load(t.Context(), nil, memLocal{}, Options{})
	require.Error(t, err)
	_, err = Load(t.Context(), nil, nil, Options{})
	require.Error(t, err)

	// Damaged copies are read again.
	for key := range local {
		bad := maps.Clone(local)
		bad[key] = []byte("damaged")
		l := load(t, b, bad, "berta")
		require.Equal(t, tree(t, x), tree(t, l.Index))
		require.Len(t, l.Damaged, 1)
		require.ErrorContains(t, l.Damaged[0], key)
		require.Equal(t, local, bad, "and kept again")
	}
}

func TestLoadingOnTopOfCopiesTellsWhatWasLost(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "f")
	local := memLocal{}
	mine := load(t, b, local, "berta").Index
	setContent(t, mine, "f", "berta")
	span := Span{mine.Peer(), 0, mine.next}
	key, err := mine.Publish(t.Context(), b, span)
	require.NoError(t, err)
	local[key], err = mine.Export(span)
	require.NoError(t, err)
	// berta's machine sleeps; anna's did not see that, and folds it all.
	for range 3 {
		setContent(t, x, "f", fmt.Sprint("anna", x.next))
	}
	_, err = x.Publish(t.Context(), b, Span{x.Peer(), 0, x.next})
	require.NoError(t, err)
	_, err = x.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	publishSnapshot(t, x, b)
	for _, k := range b.keys(UpdatePrefix) {
		delete(b.objects, k)
	}

	l := load(t, b, local, "berta")
	require.Equal(t, tree(t, x), tree(t, l.Index))
	require.Len(t, l.Changes.Lost, 1)
	require.Equal(t, content("berta"), l.Changes.Lost[0].Content)
	require.Equal(t, "anna", l.Changes.Lost[0].Winner)
}

func TestPullFollowsTheBucket(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	y := load(t, b, nil, "berta").Index
	publish(t, x, b, "b")
	publish(t, y, b, "c")
	paths(t, y)
	local := memLocal{}
	c, err := y.Pull(t.Context(), b, local)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, paths(t, y))
	require.Len(t, c.Nodes, 2)
	require.Len(t, local, 1)
	b.took()
	c, err = y.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	require.Empty(t, c)
	require.Equal(t, []string{"list " + UpdatePrefix}, b.took())

	// An update that was folded into a snapshot and deleted comes from there.
	publish(t, x, b, "d")
	_, err = x.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	publishSnapshot(t, x, b)
	for _, k := range b.keys(UpdatePrefix) {
		delete(b.objects, k)
	}
	publish(t, x, b, "e")
	_, err = y.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, paths(t, y))
}

func TestPullReadsTheHeadOnceInAWhile(t *testing.T) {
	b := newBucket()
	now := time.Unix(1_700_000_000, 0)
	opt := Options{Now: func() time.Time { return now }}
	l, err := Load(t.Context(), b, nil, opt)
	require.NoError(t, err)
	y := l.Index
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	publishSnapshot(t, x, b)
	for _, k := range b.keys(UpdatePrefix) {
		delete(b.objects, k)
	}
	_, err = y.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	require.Empty(t, paths(t, y))
	now = now.Add(MinGrace)
	_, err = y.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, paths(t, y))
	b.took()
	_, err = y.Pull(t.Context(), b, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"list " + UpdatePrefix}, b.took())
}

func TestAnUpdateThatGoesWhileLoadingIsLookedForAgain(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a", "b")
	all := Span{x.Peer(), 0, x.next}
	body, err := x.Export(all)
	require.NoError(t, err)
	// Another device folds both updates into one while the first of them is asked for.
	fold := sync.OnceFunc(func() {
		for _, k := range b.keys(UpdatePrefix) {
			b.remove(k)
		}
		b.put(UpdateKey(all), body)
	})
	b.hook = func(op, key string) error { // called by several fetchers at once
		if op == "get" && strings.HasPrefix(key, UpdatePrefix) {
			fold()
		}
		return nil
	}
	require.Equal(t, tree(t, x), tree(t, load(t, b, nil, "berta").Index))
}

func TestANewerIndexIsRefusedOnLoading(t *testing.T) {
	b := newBucket()
	x := testIndex(t, "anna")
	require.NoError(t, x.Update(func(tx *Tx) error {
		tx.ops[0].val = loro.Int(schemaVersion + 1)
		_, err := tx.Create(Root, "f", fileInfo, Content{})
		return err
	}, nil))
	_, err := x.Publish(t.Context(), b, Span{x.Peer(), 0, x.next})
	require.NoError(t, err)
	b.noWrites(t)
	_, err = Load(t.Context(), b, nil, Options{})
	require.ErrorIs(t, err, ErrNewerSchema)
}

// fullLocal is a disk without room.
type fullLocal struct{ memLocal }

func (fullLocal) Put(context.Context, string, []byte) error { return errNoRoom }

var errNoRoom = errors.New("no room")

func TestCopiesThatCannotBeKeptAreToldAndStopNothing(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	publish(t, x, b, "a")
	l := load(t, b, fullLocal{}, "berta")
	require.Len(t, l.Damaged, 1)
	require.ErrorIs(t, l.Damaged[0], errNoRoom)
	publish(t, x, b, "b")
	_, err := l.Index.Pull(t.Context(), b, fullLocal{})
	require.ErrorIs(t, err, errNoRoom)
	require.Equal(t, []string{"a", "b"}, paths(t, l.Index))
	id, _, err := l.Index.PublishSnapshot(t.Context(), b, fullLocal{})
	require.ErrorIs(t, err, errNoRoom)
	require.ErrorContains(t, err, ObjectKey(id))
	require.Equal(t, id, load(t, b, nil, "carl").Head)
}

func TestLoadingEndsWhenItIsCancelled(t *testing.T) {
	b := newBucket()
	x := load(t, b, nil, "anna").Index
	for i := range 3 * fetchers {
		publish(t, x, b, fmt.Sprint(i))
	}
	for at := 1; at <= 3*fetchers; at += 7 {
		ctx, cancel := context.WithCancel(t.Context())
		var gets atomic.Int32
		b.hook = func(op, key string) error {
			if strings.HasPrefix(key, UpdatePrefix) && op == "get" && int(gets.Add(1)) == at {
				cancel() // the bucket answers all the same
			}
			return nil
		}
		_, err := Load(ctx, b, nil, Options{})
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
	}
}

// fatBucket says of its updates that they are large, and notes how much is accepted at a time.
type fatBucket struct {
	*memBucket
	size int64

	mu        sync.Mutex
	now, most int64 // guarded by mu
}

func (b *fatBucket) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for obj, err := range b.memBucket.List(ctx, prefix, after) {
			if obj.Size = b.size; !yield(obj, err) {
				return
			}
		}
	}
}

func (b *fatBucket) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	if !strings.HasPrefix(key, UpdatePrefix) {
		return b.memBucket.Get(ctx, key, limit)
	}
	b.mu.Lock()
	b.now += limit
	b.most = max(b.most, b.now)
	b.mu.Unlock()
	runtime.Gosched()
	defer func() {
		b.mu.Lock()
		b.now -= limit
		b.mu.Unlock()
	}()
	return b.memBucket.Get(ctx, key, limit)
}

// Whoever can write to the bucket cannot have all memory taken by many large updates at a time.
func TestUpdatesUnderWayAreBounded(t *testing.T) {
	for _, size := range []int64{0, 1000, 100 << 20, maxIndexObject, 1 << 60} {
		b := &fatBucket{memBucket: newBucket(), size: size}
		x := load(t, b.memBucket, nil, "anna").Index
		for i := range 3 * fetchers {
			publish(t, x, b.memBucket, fmt.Sprint(i))
		}
		y := load(t, b, nil, "berta").Index
		require.Equal(t, paths(t, x), paths(t, y))
		require.LessOrEqual(t, b.most, max(fetchMemory, min(size, maxIndexObject)))
		b.most = 0
		_, err := Verify(t.Context(), b, nil)
		require.NoError(t, err)
		require.NotZero(t, b.most)
		require.LessOrEqual(t, b.most, max(fetchMemory, min(size, maxIndexObject)))
	}
}

// Updates are imported many at a time: those before a damaged one stay imported, are kept
// and told.
func TestManyUpdatesArePulledUpToADamagedOne(t *testing.T) {
	b := newBucket()
	y := load(t, b, nil, "berta").Index
	require.Empty(t, paths(t, y))
	var sessions []*Index
	for s := range 3 {
		sessions = append(sessions, load(t, b, nil, fmt.Sprint("session ", s)).Index)
	}
	for s, x := range sessions {
		for n := range batchUpdates/2 + 10 {
			publish(t, x, b, fmt.Sprintf("file %d of %d", n, s))
		}
	}
	keys := b.keys(UpdatePrefix)
	slices.Sort(keys)
	const good = batchUpdates + 50
	broken := b.objects[keys[good]]
	b.objects[keys[good]] = shedObject{[]byte("nonsense"), broken.written}
	local := memLocal{}
	c, err := y.Pull(t.Context(), b, local)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, keys[good])
	require.GreaterOrEqual(t, len(c.Nodes), good, "and the directory they are in")
	require.Len(t, local, good)
	require.Len(t, paths(t, y), good)

	b.objects[keys[good]] = broken
	c, err = y.Pull(t.Context(), b, local)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(c.Nodes), len(keys)-good)
	require.Len(t, local, len(keys))
}

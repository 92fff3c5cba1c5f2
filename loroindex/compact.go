package loroindex

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

// CompactBucket is what Compact needs of a store beyond reading and writing.
type CompactBucket interface {
	Bucket
	// Delete removes an object for good. That there is none is no error.
	Delete(ctx context.Context, key string) error
}

// ClockKey is written by Compact to learn the store's time. Its content means
// nothing.
const ClockKey = "index/clock"

// MinKeep is the least history that Compact leaves in a trimmed snapshot while
// mounts may be running: a machine that was away for longer may have changes
// that cannot be merged with it.
const MinKeep = 30 * 24 * time.Hour

// CompactOptions say what Compact does. The zero value keeps all history and is
// safe while mounts are running.
type CompactOptions struct {
	// DryRun: nothing is written or deleted; the result is what would be. Ages
	// are then by this machine's clock.
	DryRun bool
	// Unmounted: the caller knows that no mount of the index is running on any
	// machine and that none was left with changes to upload. What is covered is
	// deleted at once, and history of any age may be trimmed.
	Unmounted bool
	// Trim: the head's snapshot begins Keep before now, by the time its
	// operations were recorded at. The whole history stays in another snapshot.
	Trim bool
	Keep time.Duration
	// Step hears how far the work is; may be nil.
	Step func(Step)
	// Now is this machine's clock; nil is time.Now.
	Now func() time.Time
	// Sleep waits; nil is a timer. It is used with Trim only.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Count is a number of objects and their size.
type Count struct {
	Objects int
	Bytes   int64
}

func (c *Count) add(size int64) {
	c.Objects++
	c.Bytes += size
}

// Compaction is what Compact did, or would do.
type Compaction struct {
	Snapshots, Updates Count       // in the bucket before
	Written            Count       // snapshots written
	Deleted            Count       // snapshots and updates deleted
	DeletedUpdates     int         // how many of Deleted are updates
	Waiting            Count       // not needed any more, and deleted by a compaction after Until
	Until              time.Time   // by the store's clock; zero when nothing waits
	Kept               int         // snapshots of the first Pocket, which stay
	Head               objectid.ID // the snapshot that the head names then; zero when a dry run did not write it
	HeadBytes          int64       // its size: what is read to open the index then
	StartBytes         int64       // what was read to open the index before
	Operations         int64       // that there are
	Trimmed            int64       // of these, whose history the head's snapshot does not hold
	NotTrimmed         string      // with Trim: why the history was not trimmed, or ""
}

// Compact folds the updates and snapshots of a bucket into one snapshot, points
// the head to it, and deletes what another snapshot has made unnecessary for
// longer than MinGrace: what is folded now goes when Compact runs again after
// that.
//
// It may run beside mounts and beside itself, and be stopped at any point: what
// the bucket's objects include never shrinks, and whoever opens the index finds
// all of it. docs/format.md, "Deleting index objects", says why.
//
// Errors: those of the bucket in a KeyError; ErrDamaged, ErrMissing, ErrForeign,
// ErrNewerSchema, ErrUnmigrated, ErrNoIndex: the index is as it was. A
// Compaction beside an error says what was done before it.
func Compact(ctx context.Context, b CompactBucket, o CompactOptions) (*Compaction, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Trim && o.Keep < MinKeep && !o.Unmounted {
		return nil, fmt.Errorf("at least %d days of history are kept while mounts may be running: a machine that was away for longer could not merge its changes", MinKeep/(24*time.Hour))
	}
	c := &compacting{heap: newHeap(ctx, b, o.Step), b: b, o: o, begun: wall(o.Now()), out: &Compaction{}, grace: MinGrace}
	if o.Unmounted {
		c.grace = 0
	}
	err := c.run()
	return c.out, err
}

// Errors of Compact.
var (
	// ErrUnmigrated: the index was written by the first Pocket and never opened
	// by a mount of this one.
	ErrUnmigrated = errors.New("the index was written by the first Pocket; mount it once, which brings it over")
	// ErrNoIndex: the bucket holds no index.
	ErrNoIndex = errors.New("no index")
)

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compacting is a Compact under way.
type compacting struct {
	*heap
	b     CompactBucket
	o     CompactOptions
	grace time.Duration
	begun time.Time
	out   *Compaction

	planned []*held // what a dry run did not write
}

func (c *compacting) run() error {
	updates, err := c.read()
	if err != nil {
		return err
	}
	for _, u := range updates {
		c.out.Updates.add(u.size)
	}
	for _, s := range c.there {
		c.out.Snapshots.add(s.size)
		if s.first {
			c.out.Kept++
		}
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := c.opening(updates); err != nil {
		return err
	}
	head, err := c.fold()
	if err != nil {
		return err
	}
	c.out.Head, c.out.HeadBytes = head.id, head.size
	c.out.Operations = operations(c.x.doc.Version())
	c.out.Trimmed = operations(head.start)
	return c.purge(head)
}

// check says whether what was read is an index that can be compacted.
func (c *compacting) check() error {
	if len(c.x.doc.Version()) == 0 {
		if len(c.there) > 0 {
			return fmt.Errorf("%w: what is below %s holds no operation", ErrNoIndex, ObjectPrefix)
		}
		if h, err := readHead(c.ctx, c.b); err != nil || h.there {
			return cmp.Or(err, h.err, error(&KeyError{"read", HeadKey, fmt.Errorf("%w: it names %s, and there is nothing at all", ErrDamaged, ObjectKey(h.id))}))
		}
		return fmt.Errorf("%w: %s does not exist and nothing is below %s and %s; check the bucket and the prefix", ErrNoIndex, HeadKey, ObjectPrefix, UpdatePrefix)
	}
	if c.x.isFirst() {
		return ErrUnmigrated
	}
	if _, err := c.x.checkSchema(); err != nil {
		return err
	}
	// The state of what is written is that of what was read, and others trust
	// it without replaying the history.
	c.step(Step{Verb: "checking", Unit: "documents", Total: 1})
	if err := c.x.doc.Verify(); err != nil {
		return &KeyError{"verify", c.baseKey(), fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	return nil
}

// opening adds up what Load reads.
func (c *compacting) opening(updates []listedUpdate) error {
	h, err := readHead(c.ctx, c.b)
	if err != nil {
		return err
	}
	has := make(Version)
	since := time.Time{}
	if s := c.known[h.id]; s != nil {
		since = s.written.Add(-headSlack)
	}
	for _, s := range c.there {
		if !s.written.Before(since) {
			c.out.StartBytes += s.size
			has.Merge(s.end)
		}
	}
	for _, u := range updates {
		if !covers(has, u.Span) {
			c.out.StartBytes += u.size
		}
	}
	return nil
}

// all is everything that was read, as if it were a snapshot.
func (c *compacting) all() *held {
	s := &held{end: c.x.doc.Version(), written: c.o.Now()}
	s.start, _ = c.x.doc.ShallowSince()
	return s
}

// complete returns the snapshot that includes everything read, with its history,
// or nil. Of several it is the one that stays.
func (c *compacting) complete() *held {
	all := c.all()
	var found *held
	for _, s := range c.there {
		if !s.first && s.end.Covers(all.end) && all.start.Covers(s.start) && (found == nil || s.replaces(found)) {
			found = s
		}
	}
	return found
}

// fold makes sure that one snapshot includes everything and that the head names
// it, or a trimmed one beside it, which it returns.
func (c *compacting) fold() (head *held, err error) {
	// Others may write snapshots meanwhile, which the head must not leave
	// behind: they are merged too, if not for ever.
	const rounds = 3
	for round := 1; ; round++ {
		h, err := readHead(c.ctx, c.b)
		if err != nil {
			return nil, err
		}
		s, err := c.whole()
		if err != nil {
			return nil, err
		}
		if c.o.Trim {
			if s, err = c.trim(h.id, s); err != nil {
				return nil, err
			}
		}
		if s.id == h.id || c.o.DryRun {
			return s, nil
		}
		if err := c.point(s); err != nil {
			return nil, err
		}
		if round == rounds {
			return s, nil
		}
		list, err := c.listSnapshots()
		if err != nil {
			return nil, err
		}
		if _, err := c.takeSnapshots(list); err != nil {
			return nil, err
		}
		if err := c.x.missing(); err != nil {
			return nil, err
		}
	}
}

// whole returns a snapshot that includes everything, after writing it if there
// is none.
func (c *compacting) whole() (*held, error) {
	s := c.complete()
	if s == nil {
		body, _, err := c.x.ExportSnapshot()
		if err != nil {
			return nil, err
		}
		return c.write(body, c.all())
	}
	if !c.overtaken(s) {
		return s, nil
	}
	// The same once more makes it the newest, so that the others can go.
	body, err := getSnapshot(c.ctx, c.b, s.id)
	if err != nil {
		return nil, err
	}
	again := *s
	again.written = c.o.Now()
	return c.write(body, &again)
}

// overtaken reports whether a snapshot that s makes unnecessary was written after
// it: by a device that did not know it.
func (c *compacting) overtaken(s *held) bool {
	for _, o := range c.there {
		if o == s || !o.written.After(s.written) {
			continue
		}
		lacks := !o.end.Covers(s.end)
		trimmed := c.o.Trim && !s.start.Covers(o.start) // is meant to be newer
		if lacks || !o.first && !trimmed {
			return true
		}
	}
	return false
}

// write writes a snapshot and reads it back. s is what it keeps.
func (c *compacting) write(body []byte, s *held) (*held, error) {
	size := int64(len(body))
	c.out.Written.add(size)
	if c.o.DryRun {
		s.size = size
		c.planned = append(c.planned, s)
		return s, nil
	}
	c.step(Step{"writing", "snapshots", 0, 1, 0, size})
	id := objectid.Of(body)
	key := ObjectKey(id)
	if err := c.b.Put(c.ctx, key, body); err != nil {
		return nil, &KeyError{"put", key, err}
	}
	x, back, err := c.openSnapshot(id)
	if err != nil {
		return nil, err
	}
	if !same(back.start, s.start) || !same(back.end, s.end) {
		return nil, &KeyError{"verify", key, fmt.Errorf("%w: it reads back with other operations than were written", ErrDamaged)}
	}
	if err := x.doc.Verify(); err != nil {
		return nil, &KeyError{"verify", key, fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	if back.written, err = c.dated(key); err != nil {
		return nil, err
	}
	if old := c.known[id]; old != nil {
		old.written = back.written
		back = old
	} else {
		c.known[id] = back
	}
	if !slices.Contains(c.there, back) {
		c.there = append(c.there, back)
	}
	c.step(Step{"writing", "snapshots", 1, 1, size, size})
	return back, nil
}

func same(a, b Version) bool { return a.Covers(b) && b.Covers(a) }

// dated returns when an object was written, by the store's clock.
func (c *compacting) dated(key string) (time.Time, error) {
	for obj, err := range c.b.List(c.ctx, key, "") {
		if err != nil {
			return time.Time{}, &KeyError{"list", key, err}
		}
		if obj.Key == key {
			return obj.ModTime, nil
		}
	}
	return time.Time{}, &KeyError{"list", key, errors.New("it was written and is not listed")}
}

// storeTime returns the time by the store's clock.
func (c *compacting) storeTime() (time.Time, error) {
	if c.o.DryRun {
		return c.o.Now(), nil
	}
	if err := c.b.Put(c.ctx, ClockKey, []byte("pocket-index\n")); err != nil {
		return time.Time{}, &KeyError{"put", ClockKey, err}
	}
	return c.dated(ClockKey)
}

// point makes the head name a snapshot.
func (c *compacting) point(s *held) error {
	// Whoever writes the head must have read the bucket less than the grace
	// period ago. This machine may have slept.
	if took := wall(c.o.Now()).Sub(c.begun); took > MinGrace/2 {
		return fmt.Errorf("index: %v have passed since the bucket was read, too long to write %s; run it again", took.Round(time.Minute), HeadKey)
	}
	if err := c.b.Put(c.ctx, HeadKey, []byte(s.id.String())); err != nil {
		return &KeyError{"put", HeadKey, err}
	}
	return nil
}

// wall returns a time that is compared by the calendar: the other clock stands
// still while a machine sleeps.
func wall(t time.Time) time.Time { return t.Round(0) }

// purge deletes what the rule allows, and counts what it will allow when the
// grace period has passed. head is the snapshot the head names, in a dry run
// perhaps one that was not written.
func (c *compacting) purge(head *held) error {
	now, err := c.storeTime()
	if err != nil {
		return err
	}
	updates, err := c.listUpdates()
	if err != nil {
		return err
	}
	there, head, err := c.present(head)
	if err != nil || head == nil {
		return err
	}
	rule := newPurge(there, head, func(t time.Time) bool { return now.Sub(t) >= c.grace })
	later := newPurge(there, head, func(time.Time) bool { return true })
	var goes []Object
	for _, u := range updates {
		switch {
		case rule.update(u.Span):
			goes = append(goes, Object{Key: UpdateKey(u.Span), Size: u.size})
		case later.update(u.Span):
			c.out.Waiting.add(u.size)
		}
	}
	for _, s := range there {
		switch {
		case rule.snapshot(s):
			goes = append(goes, Object{Key: ObjectKey(s.id), Size: s.size})
		case later.snapshot(s):
			c.out.Waiting.add(s.size)
		}
	}
	if c.out.Waiting.Objects > 0 {
		c.out.Until = now.Add(c.grace)
	}
	return c.delete(goes)
}

// present returns all snapshots of the bucket and the one the head names, nil
// when that cannot be told.
func (c *compacting) present(head *held) (there []*held, _ *held, err error) {
	const attempts = 3
	for range attempts {
		list, err := c.listSnapshots()
		if err != nil {
			return nil, nil, err
		}
		if _, err := c.takeSnapshots(list); err != nil {
			return nil, nil, err
		}
		if c.o.DryRun {
			return append(c.there, c.planned...), head, nil
		}
		// What it names may be newer than the listing.
		h, err := readHead(c.ctx, c.b)
		if err != nil {
			return nil, nil, err
		}
		for _, s := range c.there {
			if s.id == h.id {
				return c.there, s, nil
			}
		}
	}
	return nil, nil, nil
}

// delete removes objects, several at a time: the order does not matter.
func (c *compacting) delete(goes []Object) error {
	var (
		mu     sync.Mutex // guards c.out, failed and c.step
		failed error
		wg     sync.WaitGroup
		slots  = make(chan struct{}, fetchers)
	)
	count := func(obj Object) {
		c.out.Deleted.add(obj.Size)
		if _, err := ParseUpdateKey(obj.Key); err == nil {
			c.out.DeletedUpdates++
		}
	}
	for _, obj := range goes {
		if c.o.DryRun {
			count(obj)
			continue
		}
		slots <- struct{}{}
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			err := c.b.Delete(c.ctx, obj.Key)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				count(obj)
				c.step(Step{Verb: "deleting", Unit: "objects", Done: c.out.Deleted.Objects, Total: len(goes)})
			case failed == nil:
				failed = &KeyError{"delete", obj.Key, err}
			}
		})
	}
	wg.Wait()
	return failed
}

package loroindex

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/stretchr/testify/require"
)

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

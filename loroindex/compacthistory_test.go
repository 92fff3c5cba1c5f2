package loroindex

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

// trimming are the options of a compaction that keeps so much history, with a
// clock that goes on while it waits.
func trimming(s *shed, keep time.Duration) CompactOptions {
	return CompactOptions{Trim: true, Keep: keep, Sleep: func(_ context.Context, d time.Duration) error {
		s.pass(d)
		return nil
	}}
}

// history makes a bucket with a change a day of two devices in turn.
func history(t testing.TB, days int) (s *shed, w [2]*writer, want []string) {
	s = newShed()
	w[0] = newWriter(t, s, "anna", 1)
	want = w[0].write(s, 1)
	w[1] = newWriter(t, s, "berta", 2)
	for i := 1; i < days; i++ {
		s.pass(day)
		w[i%2].pull(s)
		want = append(want, w[i%2].write(s, 1)...)
	}
	return s, w, want
}

func headSnapshot(t testing.TB, s *shed) loro.Meta {
	t.Helper()
	h, err := readHead(background, s)
	require.NoError(t, err)
	body, err := getSnapshot(background, s, h.id)
	require.NoError(t, err)
	m, err := loro.Peek(body)
	require.NoError(t, err)
	return m
}

func TestTrimmedHeadBeginsWhenItIsToldAndTheWholeHistoryStays(t *testing.T) {
	s, w, want := history(t, 60)
	whole := operations(w[1].Version())
	c := compact(t, s, trimming(s, MinKeep))
	require.Equal(t, 2, c.Written.Objects)
	require.Empty(t, c.NotTrimmed)
	require.Equal(t, whole, c.Operations)
	require.ElementsMatch(t, want, shows(t, s))

	m := headSnapshot(t, s)
	require.True(t, m.Shallow)
	require.Equal(t, operations(m.Start), c.Trimmed)
	// A day is 4 operations, the first also 2 for the schema. Of 60 days, 30 and
	// today are kept, and the operation that the history begins with.
	require.Equal(t, int64(2+29*4-1), c.Trimmed)
	// Who opens it reads the trimmed snapshot alone.
	l, err := Load(background, s, nil, Options{})
	require.NoError(t, err)
	require.Equal(t, 1, l.Snapshots)
	require.Zero(t, l.Updates)
	require.True(t, l.Index.doc.IsShallow())

	// Nothing new, nothing to do.
	c = compact(t, s, trimming(s, MinKeep))
	require.Zero(t, c.Written)
	require.Zero(t, c.Deleted)
	require.Equal(t, int64(2+29*4-1), c.Trimmed)

	// A day later the updates go; both snapshots stay.
	s.pass(MinGrace)
	c = compact(t, s, trimming(s, MinKeep))
	require.Equal(t, 60, c.DeletedUpdates)
	require.Len(t, s.keys(ObjectPrefix), 2)
	require.ElementsMatch(t, want, shows(t, s))

	// Mounts that were there before and mounts that begin with it work together.
	fresh := newWriter(t, s, "carla", 3)
	want = append(want, fresh.write(s, 1)...)
	w[0].pull(s)
	want = append(want, w[0].write(s, 1)...)
	fresh.pull(s)
	require.ElementsMatch(t, want, paths(t, fresh.Index))
	fresh.snapshot(s)
	require.ElementsMatch(t, want, shows(t, s))

	// Without trimming the head has all history again, and only that stays.
	s.pass(MinGrace)
	c = compact(t, s, CompactOptions{})
	require.Zero(t, c.Trimmed)
	require.False(t, headSnapshot(t, s).Shallow)
	s.pass(MinGrace)
	compact(t, s, CompactOptions{})
	require.Len(t, s.keys(ObjectPrefix), 1)
	require.Empty(t, s.keys(UpdatePrefix))
	require.ElementsMatch(t, want, shows(t, s))
}

func TestTrimmingDryRunWritesNothing(t *testing.T) {
	s, _, _ := history(t, 40)
	before := s.clone()
	dry := compact(t, s, CompactOptions{Trim: true, Keep: MinKeep, DryRun: true})
	require.Equal(t, before.objects, s.objects)
	c := compact(t, s, trimming(s, MinKeep))
	require.Equal(t, c.Trimmed, dry.Trimmed)
	require.Equal(t, c.Written, dry.Written)
	require.Equal(t, c.HeadBytes, dry.HeadBytes)
	require.Equal(t, c.Waiting, dry.Waiting)
}

func TestShortHistoryNeedsAnUnmountedIndex(t *testing.T) {
	s, _, want := history(t, 4)
	before := s.clone()
	_, err := tryCompact(s, trimming(s, MinKeep-time.Second))
	require.ErrorContains(t, err, "at least 30 days")
	require.Equal(t, before.objects, s.objects)

	s.pass(time.Second)
	o := trimming(s, 0)
	o.Unmounted = true
	c := compact(t, s, o)
	require.Empty(t, c.NotTrimmed)
	require.Equal(t, int64(2+4*4-1), c.Trimmed)
	require.Len(t, s.keys(ObjectPrefix), 2)
	require.Empty(t, s.keys(UpdatePrefix))
	require.ElementsMatch(t, want, shows(t, s))
}

func TestYoungHistoryIsNotTrimmed(t *testing.T) {
	s, _, want := history(t, 10)
	c := compact(t, s, trimming(s, MinKeep))
	require.Equal(t, "no operation is older", c.NotTrimmed)
	require.Equal(t, 1, c.Written.Objects)
	require.Zero(t, c.Trimmed)
	require.ElementsMatch(t, want, shows(t, s))
}

// What a machine did without knowing of anything since the beginning has no
// place in a history that begins later.
func TestHistoryIsNotTrimmedBeyondWhatIsBesideIt(t *testing.T) {
	s, w, want := history(t, 40)
	s.pass(40 * day)
	w[0].pull(s)
	want = append(want, w[0].write(s, 1)...)
	// Away since the first day, back now.
	lost := &writer{Index: testIndex(t, "lost"), t: t}
	lost.now = s.Now
	want = append(want, lost.write(s, 1)...)

	c := compact(t, s, trimming(s, MinKeep))
	require.Contains(t, c.NotTrimmed, "at the same time")
	require.Zero(t, c.Trimmed)
	require.False(t, headSnapshot(t, s).Shallow)
	require.ElementsMatch(t, want, shows(t, s))

	// Once somebody who knows all has written something, and that is old enough:
	w[1].pull(s)
	want = append(want, w[1].write(s, 1)...)
	s.pass(MinKeep + day)
	c = compact(t, s, trimming(s, MinKeep))
	require.Empty(t, c.NotTrimmed)
	require.Equal(t, c.Operations-1, c.Trimmed)
	require.ElementsMatch(t, want, shows(t, s))
}

// A machine that was away for longer than anybody promised: its changes cannot
// be merged with the trimmed snapshot. That is an error to all who have nothing
// else, and a compaction without trimming brings all together again.
func TestCompactionHealsWhatWasTrimmedTooFar(t *testing.T) {
	s, _, want := history(t, 60)
	away := newWriter(t, s, "away", 9)
	compact(t, s, CompactOptions{})
	day20, err := Open(Options{Device: "away", Now: s.Now})
	require.NoError(t, err)
	for p, end := range away.Version() {
		blob, err := away.Export(Span{uint64(p), 0, min(end, 40)})
		require.NoError(t, err)
		_, err = day20.Import(blob)
		require.NoError(t, err)
	}
	s.pass(2 * MinGrace)
	compact(t, s, trimming(s, MinKeep))
	s.pass(MinGrace)
	compact(t, s, trimming(s, MinKeep))
	require.Empty(t, s.keys(UpdatePrefix))

	lost := &writer{Index: day20, t: t}
	want = append(want, lost.write(s, 1)...)
	_, err = Load(background, s, nil, Options{})
	require.ErrorIs(t, err, loro.ErrShallowDeps)
	compact(t, s, CompactOptions{})
	require.ElementsMatch(t, want, shows(t, s))
	lost.pull(s)
	require.ElementsMatch(t, want, paths(t, lost.Index))
	compact(t, s, trimming(s, MinKeep))
	require.ElementsMatch(t, want, shows(t, s))
}

func TestConflictCopiesKeepTheirNames(t *testing.T) {
	s := newShed()
	a, b := newWriter(t, s, "anna", 1), newWriter(t, s, "berta", 2)
	for _, w := range []*writer{a, b} {
		op := do(t, w.Index, func(tx *Tx) error {
			_, err := tx.Create(Root, "same.txt", fileInfo, content(w.device))
			return err
		})
		_, err := w.Publish(background, s, op.Span)
		require.NoError(t, err)
	}
	a.pull(s)
	a.write(s, 1)
	s.pass(50 * day)
	want := shows(t, s)
	require.Contains(t, fmt.Sprint(want), "same (conflict ")
	c := compact(t, s, trimming(s, MinKeep))
	require.Contains(t, c.NotTrimmed, "conflict")
	require.Equal(t, want, shows(t, s))
	require.False(t, headSnapshot(t, s).Shallow)
}

// The point found is one the format allows, and there is no later one.
func TestTrimPointIsTheLatestPossible(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s := newShed()
		devices := []*writer{newWriter(t, s, "a", 1), newWriter(t, s, "b", 2), newWriter(t, s, "c", 3)}
		for range 25 {
			w := devices[rng.IntN(len(devices))]
			s.pass(time.Duration(rng.IntN(3000)) * time.Second)
			if rng.IntN(4) == 0 {
				w.write(s, 1)
				continue
			}
			w.pull(s)
			if rng.IntN(2) == 0 {
				w.write(s, 1)
			}
		}
		l, err := Load(background, s, nil, Options{})
		require.NoError(t, err)
		doc := l.Index.doc
		cutoff := s.Now().Add(-time.Duration(rng.IntN(20000)) * time.Second).Unix()
		at, why, err := l.Index.trimPoint(cutoff)
		require.NoError(t, err)

		// Every operation that could be the start, by trying.
		best, most := loro.ID{}, int64(0)
		for ch, err := range doc.Changes() {
			require.NoError(t, err)
			id := loro.ID{Peer: ch.ID.Peer, Counter: ch.ID.Counter + ch.Len - 1}
			blob, err := doc.ExportShallow(loro.Frontiers{id})
			if err != nil {
				continue
			}
			m, err := loro.Peek(blob)
			require.NoError(t, err)
			old := true
			for ch, err := range doc.Changes() {
				require.NoError(t, err)
				gone := m.Start.Includes(ch.ID) || ch.ID == id
				old = old && !(gone && ch.Timestamp >= cutoff)
			}
			if n := operations(m.Start); old && n > most {
				best, most = id, n
			}
		}
		if most == 0 {
			require.NotEmpty(t, why, "seed %d: %v is possible", seed, best)
			continue
		}
		require.Empty(t, why, "seed %d: %v is possible", seed, best)
		require.Equal(t, best, at, "seed %d", seed)
	}
}

// first makes a snapshot as the first Pocket wrote it.
func first(t testing.TB, s *shed, files ...string) objectid.ID {
	t.Helper()
	doc := loro.NewDoc(99)
	for _, f := range files {
		m, err := doc.Map(firstMap).SetMap(`\` + f)
		require.NoError(t, err)
		require.NoError(t, m.Set("is_dir", loro.Bool(false)))
	}
	doc.Commit()
	body, err := doc.ExportSnapshot()
	require.NoError(t, err)
	id := objectid.Of(body)
	require.NoError(t, s.Put(background, ObjectKey(id), body))
	require.NoError(t, s.Put(background, HeadKey, []byte(id.String())))
	return id
}

func TestIndexOfTheFirstPocketIsLeftToAMount(t *testing.T) {
	s := newShed()
	first(t, s, "a")
	before := s.clone()
	_, err := tryCompact(s, CompactOptions{})
	require.ErrorIs(t, err, ErrUnmigrated)
	require.Equal(t, before.objects, s.objects)
	v := verify(t, s)
	require.Empty(t, v.Faults)
	require.Equal(t, []string{"a"}, paths(t, v.Index))
}

func TestSnapshotsOfTheFirstPocketStay(t *testing.T) {
	s := newShed()
	old := first(t, s, "a")
	s.pass(time.Hour)
	newer := first(t, s, "a", "b") // another history; the merge is what counts here
	// What a migration does, as far as this is concerned: operations on top.
	doc := loro.NewDoc(7)
	body, err := getSnapshot(background, s, newer)
	require.NoError(t, err)
	_, err = doc.Import(body)
	require.NoError(t, err)
	require.NoError(t, doc.Map(rootMap).Set(keySchema, loro.Int(schemaVersion)))
	span, ok := doc.Commit()
	require.True(t, ok)
	update, err := doc.ExportRange(span)
	require.NoError(t, err)
	require.NoError(t, s.Put(background, UpdateKey(Span{7, span.Start, span.End}), update))

	c := compact(t, s, CompactOptions{})
	require.Equal(t, 2, c.Kept)
	require.Equal(t, 1, c.Waiting.Objects)
	s.pass(MinGrace)
	c = compact(t, s, CompactOptions{})
	require.Equal(t, 1, c.DeletedUpdates)
	require.Equal(t, 1, c.Deleted.Objects)
	require.Len(t, s.keys(ObjectPrefix), 3)
	require.Contains(t, s.keys(ObjectPrefix), ObjectKey(old))
	require.Contains(t, s.keys(ObjectPrefix), ObjectKey(newer))
	require.Empty(t, shows(t, s))
}

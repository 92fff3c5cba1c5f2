package loroindex

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/loroindex/loro"
)

// redoAfter has an index of blobs make updates again, and returns it with what that gave imported.
func redoAfter(t testing.TB, o Options, blobs, updates [][]byte) (*Index, Redone, Changes) {
	t.Helper()
	x, err := Open(o, blobs...)
	require.NoError(t, err)
	before := x.Version()
	redone, err := x.Redo(updates...)
	require.NoError(t, err)
	require.Equal(t, before, x.Version())
	var again [][]byte
	for _, op := range redone.Ops {
		require.NoError(t, CheckUpdate(op.Span, op.Update))
		again = append(again, op.Update)
	}
	changes, _, err := x.ImportAll(again...)
	require.NoError(t, err)
	require.Empty(t, changes.Pending)
	require.NoError(t, x.missing())
	checkView(t, x)
	// Whoever gets it has the same.
	y, err := Open(Options{}, append(slices.Clone(blobs), again...)...)
	require.NoError(t, err)
	require.Equal(t, tree(t, x), tree(t, y))
	return x, redone, changes
}

// redoSteps makes files in the ways that programs do. It returns what each step recorded.
func redoSteps(t testing.TB, x *Index) (steps [][]byte, names []string) {
	step := func(name string, fn func(tx *Tx) error) {
		steps = append(steps, do(t, x, fn).Update)
		names = append(names, name)
	}
	create := func(path string, info Info) {
		step("create "+path, func(tx *Tx) error {
			parent, name := Root, path
			if i := strings.LastIndexByte(path, '/'); i >= 0 {
				parent, name = find2(tx, path[:i]), path[i+1:]
			}
			_, err := tx.Create(parent, name, info, Content{})
			return err
		})
	}
	write := func(path, text string) {
		step("write "+path, func(tx *Tx) error { return tx.SetContent(find2(tx, path), content(text)) })
	}
	rename := func(path, dir, name string) {
		step("rename "+path, func(tx *Tx) error {
			d := Root
			if dir != "" {
				d = find2(tx, dir)
			}
			_, err := tx.Rename(find2(tx, path), d, name, true)
			return err
		})
	}
	create("d", dirInfo)
	create("d/f", fileInfo)
	write("d/f", "one")
	create("d/tmp", fileInfo)
	write("d/tmp", "two")
	rename("d/tmp", "d", "f")
	create("e", dirInfo)
	create("e/g", fileInfo)
	write("e/g", "three")
	rename("e", "", "h")
	create("d/x", fileInfo)
	write("d/x", "four")
	rename("d/x", "h", "x")
	create("gone", fileInfo)
	write("gone", "five")
	step("remove gone", func(tx *Tx) error { return tx.Remove(find2(tx, "gone")) })
	return steps, names
}

// redoShown returns what is in an index with the contents that redoSteps gives, without what tells apart what is called
// recovered-...
func redoShown(t testing.TB, x *Index) []string {
	texts := map[Content]string{{}: ""}
	for _, text := range []string{"one", "two", "three", "four", "five"} {
		c := content(text)
		texts[Content{Object: c.Object}] = text
	}
	var shown []string
	for _, path := range paths(t, x) {
		parts := strings.Split(path, "/")
		for i, part := range parts {
			if label, rest, ok := strings.Cut(part, "-"); ok && label == "recovered" {
				parts[i] = "recovered" + rest[8:]
			}
		}
		line := strings.Join(parts, "/")
		if !strings.HasSuffix(path, "/") {
			e, err := x.Stat(find(t, x, path))
			require.NoError(t, err)
			line += "=" + texts[Content{Object: e.Object}]
		}
		shown = append(shown, line)
	}
	return shown
}

// Whatever change is lost, those after it are not.
func TestWhatFollowsALostChangeIsMadeAgain(t *testing.T) {
	want := map[string]string{
		"create d":     "h/ h/g=three h/x=four recovered/ recovered/f=two",
		"create d/f":   "d/ d/f=two h/ h/g=three h/x=four",
		"write d/f":    "d/ d/f=two h/ h/g=three h/x=four",
		"create d/tmp": "d/ d/f=two h/ h/g=three h/x=four",
		"write d/tmp":  "d/ d/f= h/ h/g=three h/x=four",
		"rename d/tmp": "d/ d/f=one d/tmp=two h/ h/g=three h/x=four",
		"create e":     "d/ d/f=two h/ h/g=three h/x=four",
		"create e/g":   "d/ d/f=two h/ h/x=four recovered=three",
		"write e/g":    "d/ d/f=two h/ h/g= h/x=four",
		"rename e":     "d/ d/f=two e/ e/g=three e/x=four",
		"create d/x":   "d/ d/f=two h/ h/g=three h/recovered=four",
		"write d/x":    "d/ d/f=two h/ h/g=three h/x=",
		"rename d/x":   "d/ d/f=two d/x=four h/ h/g=three",
		"create gone":  "d/ d/f=two h/ h/g=three h/x=four",
		"write gone":   "d/ d/f=two h/ h/g=three h/x=four",
		"remove gone":  "d/ d/f=two gone=five h/ h/g=three h/x=four",
	}
	for _, founded := range []bool{false, true} {
		x := testIndex(t, "anna")
		var before [][]byte
		if founded {
			op := do(t, x, func(tx *Tx) error { return tx.SetModTime(Root, 5) })
			before = append(before, op.Update)
		}
		steps, names := redoSteps(t, x)
		for i, name := range names {
			blobs := append(slices.Clone(before), steps[:i]...)
			y, redone, _ := redoAfter(t, Options{}, blobs, steps[i+1:])
			require.Equal(t, strings.Fields(want[name]), redoShown(t, y), "without %s", name)
			if i < len(names)-1 {
				require.Positive(t, redone.Missing)
			}
			require.Len(t, redone.Unplaced, strings.Count(want[name], "recovered")-strings.Count(want[name], "recovered/f"))
		}
	}
}

// Any part of the history may be lost, and many parts: what is left is made again, in any pieces.
func TestRandomHistoriesWithHolesAreMadeAgain(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		x := testIndex(t, "anna")
		a := &actor{Index: x, rng: r}
		var updates [][]byte
		for n := range 60 {
			if n%20 == 19 { // a new session
				x = testIndex(t, "anna", updates...)
				a.Index = x
			}
			op, err := try(x, a.act)
			if err == nil && op != nil {
				updates = append(updates, op.Update)
			}
		}
		kept := r.IntN(len(updates))
		var rest [][]byte
		for _, u := range updates[kept:] {
			if r.IntN(5) > 0 {
				rest = append(rest, u)
			}
		}
		y, redone, _ := redoAfter(t, Options{}, updates[:kept], rest)
		for _, op := range redone.Ops {
			require.Equal(t, redone.Ops[0].Peer, op.Peer)
			require.NotContains(t, x.Version(), loro.PeerID(op.Peer))
		}
		// It goes on from there.
		mk(t, y, "more")
		checkView(t, y)
	}
}

// What another device wrote meanwhile competes with what is made again, as it did with what that was.
func TestWhatIsMadeAgainDoesNotKnowMore(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "shared") }, "anna", "berta")
	anna, berta := xs[0], xs[1]
	start, err := anna.doc.ExportSnapshot()
	require.NoError(t, err)
	shared := anna.Version()[1]
	mk(t, anna, "lost")
	mine := do(t, anna, func(tx *Tx) error { return tx.SetContent(find2(tx, "shared"), content("anna's")) })
	theirs := do(t, berta, func(tx *Tx) error { return tx.SetContent(find2(tx, "shared"), content("berta's")) })

	o := Options{Device: "anna", Own: []uint64{1}, Now: clock(1_700_000_000)}
	x, redone, _ := redoAfter(t, o, [][]byte{start, theirs.Update}, [][]byte{mine.Update})
	require.Len(t, redone.Ops, 1)
	require.EqualValues(t, mine.Start-shared, redone.Missing)

	o.Own = append(o.Own, redone.Ops[0].Peer)
	again, err := Open(o, start, theirs.Update)
	require.NoError(t, err)
	onAnna, err := again.Import(redone.Ops[0].Update)
	require.NoError(t, err)
	onBerta, err := berta.Import(redone.Ops[0].Update)
	require.NoError(t, err)
	require.Len(t, append(onAnna.Lost, onBerta.Lost...), 1)
	require.Equal(t, tree(t, x), tree(t, berta))
}

// The beginning of a session, which says what it knew of, is lost: what was there before must not prevail.
func TestWhatIsMadeAgainOfASessionWithoutItsBeginning(t *testing.T) {
	first := testIndex(t, "anna")
	mk(t, first, "f")
	for range 50 {
		do(t, first, func(tx *Tx) error { return tx.SetContent(find2(tx, "f"), content(fmt.Sprint(rand.Uint64()))) })
	}
	start, err := first.doc.ExportSnapshot()
	require.NoError(t, err)
	second := testIndex(t, "anna", start)
	mk(t, second, "lost")
	last := do(t, second, func(tx *Tx) error { return tx.SetContent(find2(tx, "f"), content("last")) })
	x, _, changes := redoAfter(t, Options{Device: "anna"}, [][]byte{start}, [][]byte{last.Update})
	e, err := x.Stat(find(t, x, "f"))
	require.NoError(t, err)
	require.Equal(t, content("last"), e.Content)
	require.Empty(t, changes.Lost)
}

// Whatever the bytes are, nothing is made of them that cannot be imported.
func TestRedoOfHostileUpdates(t *testing.T) {
	x := testIndex(t, "anna")
	steps, _ := redoSteps(t, x)
	r := rand.New(rand.NewPCG(4, 4))
	used := 0
	for range 3000 {
		i := r.IntN(len(steps) - 1)
		var rest [][]byte
		for _, update := range steps[i+1:] {
			b := slices.Clone(update)
			for range r.IntN(3) {
				b[22+r.IntN(len(b)-22)] ^= byte(1 << r.IntN(8))
			}
			binary.LittleEndian.PutUint32(b[16:], xxh32(b[20:], 0x4f524f4c))
			rest = append(rest, b)
		}
		y, err := Open(Options{}, steps[:i]...)
		require.NoError(t, err)
		redone, err := y.Redo(rest...)
		if err != nil {
			require.ErrorIs(t, err, ErrUpdate)
			continue
		}
		for _, op := range redone.Ops {
			_, err := y.Import(op.Update)
			if err != nil {
				require.ErrorIs(t, err, ErrUpdate)
				continue
			}
			used++
		}
	}
	require.Greater(t, used, 1000)
}

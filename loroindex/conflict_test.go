package loroindex

import (
	"strings"
	"testing"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

// devices returns indexes that share what setup does on the first.
func devices(t testing.TB, setup func(x *Index), names ...string) []*Index {
	t.Helper()
	xs := make([]*Index, len(names))
	for i, name := range names {
		x, err := Open(Options{Device: name, Peer: uint64(i + 1), Now: clock(1_700_000_000)})
		require.NoError(t, err)
		xs[i] = x
	}
	setup(xs[0])
	for _, x := range xs[1:] {
		pass(t, xs[0], x)
	}
	return xs
}

func nothing(*Index) {}

func equalTrees(t testing.TB, xs ...*Index) {
	t.Helper()
	for _, x := range xs {
		checkView(t, x)
		require.Equal(t, tree(t, xs[0]), tree(t, x))
	}
}

func TestFilesOfOneNameAreBothShown(t *testing.T) {
	xs := devices(t, nothing, "anna", "berta", "carl")
	for _, x := range xs {
		mk(t, x, "notes.txt")
		mk(t, x, ".rc")
	}
	syncAll(t, xs...)
	equalTrees(t, xs...)
	require.Equal(t, []string{
		".rc", ".rc (conflict berta 2023-11-14 22.13.20)", ".rc (conflict carl 2023-11-14 22.13.20)",
		"notes (conflict berta 2023-11-14 22.13.20).txt", "notes (conflict carl 2023-11-14 22.13.20).txt", "notes.txt",
	}, paths(t, xs[0]))

	// The name passes on when the one that has it goes.
	x := xs[1]
	do(t, x, func(tx *Tx) error { return tx.Remove(find2(tx, "notes.txt")) })
	require.Contains(t, paths(t, x), "notes.txt")
	require.NotContains(t, paths(t, x), "notes (conflict berta 2023-11-14 22.13.20).txt")

	// And a conflict name is as good as any other.
	do(t, x, func(tx *Tx) error {
		if _, err := tx.Rename(find2(tx, ".rc (conflict carl 2023-11-14 22.13.20)"), Root, "carl's", false); err != nil {
			return err
		}
		return tx.Remove(find2(tx, ".rc (conflict berta 2023-11-14 22.13.20)"))
	})
	syncAll(t, xs...)
	equalTrees(t, xs...)
	require.Equal(t, []string{".rc", "carl's", "notes (conflict carl 2023-11-14 22.13.20).txt", "notes.txt"}, paths(t, xs[2]))
}

func TestAConflictNameGivesWayToAFileOfThatName(t *testing.T) {
	const alias = "f (conflict berta 2023-11-14 22.13.20)"
	xs := devices(t, nothing, "anna", "berta")
	mk(t, xs[0], "f")
	mk(t, xs[0], alias)
	mk(t, xs[1], "f")
	syncAll(t, xs...)
	equalTrees(t, xs...)
	second := strings.Replace(alias, ")", " 2)", 1)
	require.Equal(t, []string{"f", second, alias}, paths(t, xs[0]))
	do(t, xs[0], func(tx *Tx) error { _, err := tx.Rename(find2(tx, alias), Root, "x", false); return err })
	require.Equal(t, []string{"f", alias, "x"}, paths(t, xs[0]))
	syncAll(t, xs...)
	equalTrees(t, xs...)
}

func TestDirectoriesOfOneNameAreShownMerged(t *testing.T) {
	xs := devices(t, nothing, "anna", "berta")
	a, b := xs[0], xs[1]
	for _, p := range []string{"d/", "d/sub/", "d/sub/1", "d/same"} {
		mk(t, a, p)
	}
	for _, p := range []string{"d/", "d/sub/", "d/sub/2", "d/same", "d/own/"} {
		mk(t, b, p)
	}
	held := find(t, b, "d") // is merged into anna's
	heldIno, err := b.Stat(held)
	require.NoError(t, err)
	syncAll(t, a, b)
	equalTrees(t, a, b)
	merged := []string{"d/", "d/own/", "d/same", "d/same (conflict berta 2023-11-14 22.13.20)", "d/sub/", "d/sub/1", "d/sub/2"}
	require.Equal(t, merged, paths(t, a))

	e, err := b.Stat(held)
	require.NoError(t, err)
	require.NotEqual(t, heldIno.Ino, e.Ino, "the first one stands for both")
	require.Equal(t, 4, e.Children)
	p, err := b.Path(held)
	require.NoError(t, err)
	require.Equal(t, "d", p)
	mustCreate(t, b, held, "through an old handle")
	require.Equal(t, 2, b.Stats().Dirs-1)
	checkView(t, b)

	_, err = try(b, func(tx *Tx) error { return tx.Remove(held) })
	require.ErrorIs(t, err, ErrNotEmpty)
	_, err = try(b, func(tx *Tx) error { _, err := tx.Rename(held, find2(tx, "d/sub"), "x", true); return err })
	require.ErrorIs(t, err, ErrInvalid)

	// Moving one moves all of it.
	do(t, b, func(tx *Tx) error {
		to, err := tx.Create(Root, "to", dirInfo, Content{})
		if err != nil {
			return err
		}
		_, err = tx.Rename(held, to, "e", true)
		return err
	})
	syncAll(t, a, b)
	equalTrees(t, a, b)
	require.Equal(t, "to/ to/e/ to/e/own/ to/e/same to/e/same (conflict berta 2023-11-14 22.13.20) to/e/sub/ to/e/sub/1 to/e/sub/2 to/e/through an old handle",
		strings.Join(paths(t, a), " "))

	// Removing it, once empty, removes all of it.
	do(t, a, func(tx *Tx) error {
		for _, p := range []string{"sub/1", "sub/2", "sub", "own", "same", "same", "through an old handle", ""} {
			if err := tx.Remove(find2(tx, strings.TrimSuffix("to/e/"+p, "/"))); err != nil {
				return err
			}
		}
		return nil
	})
	syncAll(t, a, b)
	equalTrees(t, a, b)
	require.Equal(t, []string{"to/"}, paths(t, b))
}

func mustCreate(t testing.TB, x *Index, dir Node, name string) {
	t.Helper()
	do(t, x, func(tx *Tx) error { _, err := tx.Create(dir, name, fileInfo, content(name)); return err })
}

func TestAFileAndADirectoryOfOneName(t *testing.T) {
	xs := devices(t, nothing, "anna", "berta", "carl")
	mk(t, xs[0], "n")
	mk(t, xs[1], "n/")
	mk(t, xs[1], "n/1")
	mk(t, xs[2], "n/")
	mk(t, xs[2], "n/2")
	syncAll(t, xs...)
	equalTrees(t, xs...)
	const dir = "n (conflict berta 2023-11-14 22.13.20)/"
	require.Equal(t, []string{"n", dir, dir + "1", dir + "2"}, paths(t, xs[2]))
}

func TestMovesIntoEachOtherLeaveOneOfThem(t *testing.T) {
	xs := devices(t, func(x *Index) {
		for _, p := range []string{"a/", "a/1", "b/", "b/2"} {
			mk(t, x, p)
		}
	}, "anna", "berta")
	do(t, xs[0], func(tx *Tx) error { _, err := tx.Rename(find2(tx, "a"), find2(tx, "b"), "a", false); return err })
	do(t, xs[1], func(tx *Tx) error { _, err := tx.Rename(find2(tx, "b"), find2(tx, "a"), "b", false); return err })
	syncAll(t, xs...)
	equalTrees(t, xs...)
	require.Len(t, paths(t, xs[0]), 4)
}

func TestChangesOfAnImportAreReported(t *testing.T) {
	xs := devices(t, func(x *Index) {
		for _, p := range []string{"d/", "d/body", "d/facts", "d/moved", "d/gone", "unseen/", "unseen/f"} {
			mk(t, x, p)
		}
	}, "anna", "berta")
	a, b := xs[0], xs[1]
	d := find(t, b, "d")
	byName := map[string]Node{}
	for _, n := range []string{"body", "facts", "moved", "gone"} {
		byName[n] = find(t, b, "d/"+n)
	}
	do(t, a, func(tx *Tx) error {
		must := func(err error) { require.NoError(t, err) }
		must(tx.SetContent(find2(tx, "d/body"), content("new")))
		e, err := tx.Stat(find2(tx, "d/facts"))
		must(err)
		e.Info.Mode = 0
		must(tx.SetInfo(e.Node, e.Info))
		_, err = tx.Rename(find2(tx, "d/moved"), Root, "m", false)
		must(err)
		must(tx.Remove(find2(tx, "d/gone")))
		_, err = tx.Create(find2(tx, "d"), "added", fileInfo, content("added"))
		must(err)
		must(tx.SetContent(find2(tx, "unseen/f"), content("new")))
		return nil
	})
	got := map[Node]Change{}
	for _, c := range pass(t, a, b).Nodes {
		got[c.Node] = c
	}
	added := find(t, b, "d/added")
	require.Equal(t, map[Node]Change{
		Root:            {Node: Root, Kind: Dir, What: Listing},
		d:               {Node: d, Kind: Dir, What: Listing | Altered, OldParent: Root, OldName: "d"},
		byName["body"]:  {Node: byName["body"], What: Altered, OldParent: d, OldName: "body"},
		byName["facts"]: {Node: byName["facts"], What: Altered, OldParent: d, OldName: "facts"},
		byName["moved"]: {Node: byName["moved"], What: Moved | Altered, OldParent: d, OldName: "moved"},
		byName["gone"]:  {Node: byName["gone"], What: Gone, OldParent: d, OldName: "gone"},
		added:           {Node: added, What: Added},
	}, got)
	require.Empty(t, pass(t, a, b).Nodes)
}

func TestAnImportThatTakesANameAwayReportsIt(t *testing.T) {
	xs := devices(t, nothing, "anna", "berta")
	mk(t, xs[0], "f")
	f := mk(t, xs[1], "f")
	c := pass(t, xs[0], xs[1])
	require.Contains(t, c.Nodes, Change{Node: f, What: Moved, OldParent: Root, OldName: "f"})
	require.Equal(t, "f (conflict berta 2023-11-14 22.13.20)", nameOf(t, xs[1], f))
}

func nameOf(t testing.TB, x *Index, n Node) string {
	t.Helper()
	e, err := x.Stat(n)
	require.NoError(t, err)
	return e.Name
}

func setContent(t testing.TB, x *Index, path, body string) {
	t.Helper()
	do(t, x, func(tx *Tx) error { return tx.SetContent(find2(tx, path), content(body)) })
}

func TestTheDeviceWhoseContentLostIsTold(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "f") }, "anna", "berta")
	a, b := xs[0], xs[1]
	setContent(t, a, "f", "anna 1")
	setContent(t, a, "f", "anna 2")
	setContent(t, b, "f", "berta 1")
	setContent(t, b, "f", "berta 2")
	setContent(t, b, "f", "berta 3")
	ca, cb := pass(t, b, a), pass(t, a, b)
	require.Equal(t, content("berta 3"), stat(t, a, "f").Content, "the longer history wins")
	equalTrees(t, a, b)
	require.Empty(t, cb.Lost)
	require.Equal(t, []Lost{{
		Node: find(t, a, "f"), Content: content("anna 2"), Peer: 1, Time: 1_700_000_000, Winner: "berta",
	}}, ca.Lost)
	require.Empty(t, pass(t, b, a).Lost)
}

func stat(t testing.TB, x *Index, path string) Entry {
	t.Helper()
	e, err := x.Resolve(path)
	require.NoError(t, err)
	return e
}

func TestContentReplacedKnowinglyIsNotLost(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "f"); mk(t, x, "g") }, "anna", "berta")
	a, b := xs[0], xs[1]
	setContent(t, a, "f", "anna")
	require.Empty(t, pass(t, a, b).Lost)
	setContent(t, b, "f", "berta")
	require.Empty(t, pass(t, b, a).Lost)
	// At once, but to other files; or the same content.
	setContent(t, a, "f", "one")
	setContent(t, b, "g", "two")
	require.Empty(t, pass(t, b, a).Lost)
	require.Empty(t, pass(t, a, b).Lost)
	setContent(t, a, "f", "same")
	setContent(t, b, "f", "same")
	require.Empty(t, pass(t, b, a).Lost)
	require.Empty(t, pass(t, a, b).Lost)
}

func TestALossIsSeenWhenAThirdDeviceMergedIt(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "f") }, "anna", "berta", "carl")
	a, b, c := xs[0], xs[1], xs[2]
	setContent(t, a, "f", "anna")
	setContent(t, b, "f", "x")
	setContent(t, b, "f", "berta")
	pass(t, a, c)
	require.Empty(t, pass(t, b, c).Lost, "carl wrote neither")
	setContent(t, c, "f", "carl")
	lost := pass(t, c, a).Lost // both at once
	require.Len(t, lost, 1)
	require.Equal(t, content("anna"), lost[0].Content)
	require.Equal(t, "berta", lost[0].Winner)
	require.Empty(t, pass(t, c, b).Lost)
	equalTrees(t, a, b, c)
}

func TestALossIsSeenWhenTheJournalIsReplayedLate(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "f") }, "anna", "berta")
	a, b := xs[0], xs[1]
	base, err := b.Export(Span{1, 0, a.next})
	require.NoError(t, err)
	op := do(t, a, func(tx *Tx) error { return tx.SetContent(find2(tx, "f"), content("anna")) })
	setContent(t, b, "f", "x")
	setContent(t, b, "f", "berta")
	theirs, err := b.Export(Span{2, 0, b.next})
	require.NoError(t, err)

	again := testIndex(t, "anna", base, theirs) // a new session, which pulled first
	c, err := again.Import(op.Update)
	require.NoError(t, err)
	require.Equal(t, content("berta"), stat(t, again, "f").Content)
	require.Len(t, c.Lost, 1)
	require.Equal(t, content("anna"), c.Lost[0].Content)
	require.Equal(t, "berta", c.Lost[0].Winner)
}

// What a journal holds is imported at once, with the same outcome.
func TestSeveralImportsAtOnceReportWhatEachWould(t *testing.T) {
	xs := devices(t, func(x *Index) { mk(t, x, "f"); mk(t, x, "g") }, "anna", "berta")
	a, b := xs[0], xs[1]
	base, err := b.Export(Span{1, 0, a.next})
	require.NoError(t, err)
	var updates [][]byte
	for _, text := range []string{"one", "two", "three"} {
		op := do(t, a, func(tx *Tx) error { return tx.SetContent(find2(tx, "f"), content(text)) })
		updates = append(updates, op.Update)
	}
	setContent(t, b, "f", "x")
	for range 4 {
		setContent(t, b, "f", "berta")
		setContent(t, b, "f", "berta again")
	}
	theirs, err := b.Export(Span{2, 0, b.next})
	require.NoError(t, err)
	again := testIndex(t, "anna", base, theirs)
	c, done, err := again.ImportAll(updates...)
	require.NoError(t, err)
	require.Equal(t, 3, done)
	require.Len(t, c.Lost, 1)
	require.Equal(t, content("three"), c.Lost[0].Content)
	require.Equal(t, a.Version()[1], again.Version()[1])

	// What comes before a damaged one is there, and reported.
	again = testIndex(t, "anna", base, theirs)
	c, done, err = again.ImportAll(updates[0], updates[1][:10], updates[2])
	require.ErrorIs(t, err, ErrUpdate)
	require.Equal(t, 1, done)
	require.Len(t, c.Lost, 1)
	require.Equal(t, content("one"), c.Lost[0].Content)
}

func TestOrphansAreFoundAndRescued(t *testing.T) {
	for name, c := range map[string]struct {
		mine   func(t *testing.T, x *Index) // what this device does
		theirs func(tx *Tx) error           // what the other deletes meanwhile
		node   string                       // the orphan's path as this device knew it
		want   []string                     // after the rescue
	}{
		"created in a deleted directory": {
			mine:   func(t *testing.T, x *Index) { mk(t, x, "d/new") },
			theirs: func(tx *Tx) error { return tx.Remove(find2(tx, "d")) },
			node:   "d/new", want: []string{"e/", "e/f", "new"},
		},
		"created deep in a deleted tree": {
			mine: func(t *testing.T, x *Index) { mk(t, x, "e/sub/"); mk(t, x, "e/sub/new") },
			theirs: func(tx *Tx) error {
				if err := tx.Remove(find2(tx, "e/f")); err != nil {
					return err
				}
				return tx.Remove(find2(tx, "e"))
			},
			node: "e/sub", want: []string{"d/", "sub/", "sub/new"},
		},
		"content of a deleted file": {
			mine:   func(t *testing.T, x *Index) { setContent(t, x, "e/f", "edited") },
			theirs: func(tx *Tx) error { return tx.Remove(find2(tx, "e/f")) },
			node:   "e/f", want: []string{"d/", "e/", "e/f"},
		},
		"content of a file renamed and deleted": {
			mine: func(t *testing.T, x *Index) { setContent(t, x, "e/f", "edited") },
			theirs: func(tx *Tx) error {
				f := find2(tx, "e/f")
				if _, err := tx.Rename(f, find2(tx, "e"), "g", false); err != nil {
					return err
				}
				return tx.Remove(f)
			},
			node: "e/f", want: []string{"d/", "e/", "e/g"},
		},
		"content of a file deleted with its directory": {
			mine: func(t *testing.T, x *Index) { setContent(t, x, "e/f", "edited") },
			theirs: func(tx *Tx) error {
				if err := tx.Remove(find2(tx, "e/f")); err != nil {
					return err
				}
				return tx.Remove(find2(tx, "e"))
			},
			node: "e/f", want: []string{"d/", "f"},
		},
		"moved into a deleted directory": {
			mine: func(t *testing.T, x *Index) {
				do(t, x, func(tx *Tx) error { _, err := tx.Rename(find2(tx, "e/f"), find2(tx, "d"), "f", false); return err })
			},
			theirs: func(tx *Tx) error { return tx.Remove(find2(tx, "d")) },
			node:   "d/f", want: []string{"e/", "f"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			xs := devices(t, func(x *Index) {
				for _, p := range []string{"d/", "e/", "e/f"} {
					mk(t, x, p)
				}
			}, "anna", "berta")
			a, b := xs[0], xs[1]
			c.mine(t, a)
			n := find(t, a, c.node)
			// Deletions win: a delete is later than what it does not know.
			for range 9 {
				do(t, b, func(tx *Tx) error { return tx.SetModTime(Root, 1_800_000_000_000_000+int64(b.next)) })
			}
			do(t, b, c.theirs)

			require.Empty(t, pass(t, a, b).Orphans, "not berta's to rescue")
			got := pass(t, b, a).Orphans
			require.Equal(t, []Orphan{{Node: n, Peer: 1}}, got)
			e, err := a.Stat(n)
			require.NoError(t, err)
			require.True(t, e.Removed)
			all, err := a.Orphans()
			require.NoError(t, err)
			require.Equal(t, got, all)

			// A new session of the device finds it as well.
			snap, err := a.doc.ExportUpdates(nil)
			require.NoError(t, err)
			later := testIndex(t, "anna", snap)
			found, err := later.Orphans()
			require.NoError(t, err)
			require.Len(t, found, 1)
			do(t, later, func(tx *Tx) error { return tx.Rescue(found[0].Node) })
			require.Equal(t, c.want, paths(t, later))
			checkView(t, later)

			do(t, a, func(tx *Tx) error { return tx.Rescue(n) })
			require.Equal(t, c.want, paths(t, a))
			checkView(t, a)
			all, err = a.Orphans()
			require.NoError(t, err)
			require.Empty(t, all)
			syncAll(t, a, b, later)
			equalTrees(t, a, b, later)
			require.Equal(t, c.want, paths(t, b))
		})
	}
}

func TestAKnowingDeletionLeavesNoOrphan(t *testing.T) {
	xs := devices(t, func(x *Index) {
		for _, p := range []string{"d/", "d/f"} {
			mk(t, x, p)
		}
	}, "anna", "berta")
	a, b := xs[0], xs[1]
	setContent(t, a, "d/f", "new")
	pass(t, a, b)
	mk(t, a, "other") // something berta does not know
	do(t, b, func(tx *Tx) error {
		if err := tx.Remove(find2(tx, "d/f")); err != nil {
			return err
		}
		return tx.Remove(find2(tx, "d"))
	})
	require.Empty(t, pass(t, b, a).Orphans)
	all, err := a.Orphans()
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestOutOfOrderUpdatesWaitForThoseBefore(t *testing.T) {
	a := testIndex(t, "anna")
	ops := []*Op{}
	for _, name := range []string{"1", "2", "3"} {
		ops = append(ops, do(t, a, func(tx *Tx) error { _, err := tx.Create(Root, name, fileInfo, content(name)); return err }))
	}
	b := testIndex(t, "berta")
	c, err := b.Import(ops[2].Update)
	require.NoError(t, err)
	require.Equal(t, []Span{ops[2].Span}, c.Pending)
	require.Empty(t, paths(t, b))
	_, err = b.Import(ops[0].Update)
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, paths(t, b))
	c, err = b.Import(ops[1].Update)
	require.NoError(t, err)
	require.Empty(t, c.Pending)
	require.Equal(t, []string{"1", "2", "3"}, paths(t, b))

	_, err = Open(Options{}, ops[0].Update, ops[2].Update)
	require.ErrorIs(t, err, ErrMissing)
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, []Span{ops[2].Span}, missing.Waiting)
	require.ErrorContains(t, err, (Span{a.Peer(), ops[1].Start, ops[1].End}).String())
}

func TestADamagedUpdateChangesNothing(t *testing.T) {
	a, b := testIndex(t, "anna"), testIndex(t, "berta")
	op := do(t, a, func(tx *Tx) error { _, err := tx.Create(Root, "f", fileInfo, content("f")); return err })
	for i := range op.Update {
		if i >= 4 && i < 16 {
			continue // no Loro looks at these bytes of the envelope
		}
		bad := append([]byte(nil), op.Update...)
		bad[i] ^= 0x40
		_, err := b.Import(bad)
		require.ErrorIs(t, err, ErrUpdate)
	}
	require.Empty(t, b.Version())
	require.Empty(t, b.doc.Pending())
	require.Equal(t, loro.VersionVector{}, b.Version())
	_, err := b.Import(op.Update)
	require.NoError(t, err)
	require.Equal(t, tree(t, a), tree(t, b))
}

package loroindex

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

// TestViewFollowsAForeignWriter has somebody write whatever Loro permits into
// the document of an index: nodes below files, odd names, facts of any type,
// deleted nodes brought back. The view shows what the document says, step by
// step and when opened at the end.
func TestViewFollowsAForeignWriter(t *testing.T) {
	for seed := range 20 {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		x := testIndex(t, "anna")
		mk(t, x, "a")
		doc := loro.NewDoc(loro.PeerID(seed + 1))
		doc.SetCommitInfo("stranger", nil)
		files := doc.Tree(treeName)
		nodes := []loro.TreeID{loro.TreeRoot}
		for range 60 {
			own, err := x.Export(Span{x.Peer(), 0, x.next})
			require.NoError(t, err)
			_, err = doc.Import(own)
			require.NoError(t, err)
			for range 1 + rng.IntN(4) {
				scribble(doc, files, &nodes, rng)
			}
			doc.Commit()
			up, err := doc.ExportUpdates(x.Version())
			require.NoError(t, err)
			_, err = x.Import(up)
			require.NoError(t, err)
			checkView(t, x)
			a := &actor{Index: x, rng: rng}
			a.edit(t)
			checkView(t, x)
		}
		blob, err := x.doc.ExportSnapshot()
		require.NoError(t, err)
		require.Equal(t, tree(t, x), tree(t, testIndex(t, "berta", blob)))
	}
}

// scribble does one random thing to a document. What Loro refuses is not done.
func scribble(doc *loro.Doc, files loro.Tree, nodes *[]loro.TreeID, rng *rand.Rand) {
	any := func() loro.TreeID { return (*nodes)[rng.IntN(len(*nodes))] }
	values := []loro.Value{
		loro.Null(), loro.Bool(true), loro.Int(-5), loro.Int(1 << 62), loro.Float(2.5), loro.String(""), loro.String("a"), loro.String("b"),
		loro.String("a/b"), loro.String(".."), loro.String("dir"), loro.Binary([]byte("x\xff")), loro.List(loro.Int(1)),
		loro.MapValue(), loro.MapValue(loro.Entry{Key: infoKind, Value: loro.String("dir")}),
		loro.MapValue(loro.Entry{Key: infoKind, Value: loro.String("link")}, loro.Entry{Key: infoTarget, Value: loro.String("t")}),
		loro.MapValue(loro.Entry{Key: infoKind, Value: loro.Int(1)}, loro.Entry{Key: infoMode, Value: loro.Int(-1)}),
		loro.MapValue(loro.Entry{Key: contentSize, Value: loro.Int(-9)}, loro.Entry{Key: contentObject, Value: loro.Binary(make([]byte, 31))}),
		loro.MapValue(loro.Entry{Key: contentSize, Value: loro.Int(7)}, loro.Entry{Key: contentModTime, Value: loro.Float(1)}),
	}
	switch rng.IntN(8) {
	case 0, 1:
		if id, err := files.Create(any()); err == nil {
			*nodes = append(*nodes, id)
			// What a node is, it stays, so it is known from the start.
			_ = files.Meta(id).Set(keyInfo, values[14+rng.IntN(2)])
			if rng.IntN(2) == 0 {
				_ = files.Meta(id).Set(keyName, loro.String(fmt.Sprint("n", rng.IntN(5))))
			}
		}
	case 2, 3:
		_ = files.Move(any(), any())
	case 4:
		_ = files.Delete(any())
	case 5:
		_ = files.Meta(any()).Set(keyName, values[rng.IntN(len(values))])
	case 6:
		_ = files.Meta(any()).Set(keyContent, values[rng.IntN(len(values))])
	case 7:
		_ = doc.Map(rootMap).Set([]string{keyInfo, keyContent, "other"}[rng.IntN(3)], values[rng.IntN(len(values))])
	}
}

func TestADocumentOfSomethingElseIsRefused(t *testing.T) {
	for what, fill := range map[string]func(doc *loro.Doc) error{
		"no root of an index":         func(doc *loro.Doc) error { return doc.Map("settings").Set("theme", loro.String("dark")) },
		"entries that are no files":   func(doc *loro.Doc) error { return doc.Map(firstMap).Set("monday", loro.String("shopping")) },
		"a tree where entries belong": func(doc *loro.Doc) error { _, err := doc.Tree(firstMap).Create(loro.TreeRoot); return err },
	} {
		doc := loro.NewDoc(4001)
		require.NoError(t, fill(doc))
		doc.Commit()
		body, err := doc.ExportSnapshot()
		require.NoError(t, err)
		b := shedOf(t, body)
		before := b.clone()
		_, err = Load(t.Context(), b, nil, Options{Device: "anna"})
		require.ErrorIs(t, err, ErrForeign, what)
		found, err := Verify(t.Context(), b, nil)
		require.NoError(t, err)
		require.NotEmpty(t, found.Faults, what)
		require.ErrorIs(t, found.Faults[0].What, ErrForeign, what)
		_, err = Compact(t.Context(), b, CompactOptions{})
		require.Error(t, err, what)
		require.Equal(t, before.objects, b.objects)
	}
}

func TestADocumentInWhichNothingWasDoneIsAnEmptyIndex(t *testing.T) {
	body, err := loro.NewDoc(4001).ExportSnapshot()
	require.NoError(t, err)
	b := shedOf(t, body)
	before := b.clone()
	require.True(t, load(t, b, nil, "anna").Fresh)
	found, err := Verify(t.Context(), b, nil)
	require.NoError(t, err)
	require.Empty(t, found.Faults)
	require.Equal(t, Stats{Complete: true}, func() Stats { require.NoError(t, found.Index.LoadAll(t.Context())); return found.Index.Stats() }())
	_, err = Compact(t.Context(), b, CompactOptions{})
	require.ErrorIs(t, err, ErrNoIndex)
	require.Equal(t, before.objects, b.objects)
}

// shedOf is a bucket with one snapshot and the head.
func shedOf(t *testing.T, snapshot []byte) *shed {
	t.Helper()
	s := newShed()
	id := objectid.Of(snapshot)
	require.NoError(t, s.Put(t.Context(), ObjectKey(id), snapshot))
	require.NoError(t, s.Put(t.Context(), HeadKey, []byte(id.String())))
	return s
}

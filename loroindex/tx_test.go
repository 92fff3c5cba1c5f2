package loroindex

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

func TestRenameFollowsPOSIX(t *testing.T) {
	base := []string{"d/", "d/f", "e/", "full/", "full/x", "f", "g"}
	for _, c := range []struct {
		from, toDir, toName string
		keep                bool // no replacing
		err                 error
		replaced            string
		want                string // what is there afterwards, "" for as before
	}{
		{from: "f", toName: "h", want: "d/ d/f e/ full/ full/x g h"},
		{from: "f", toDir: "d", toName: "h", want: "d/ d/f d/h e/ full/ full/x g"},
		{from: "d/f", toName: "h", want: "d/ e/ f full/ full/x g h"},
		{from: "d", toDir: "e", toName: "d", want: "e/ e/d/ e/d/f f full/ full/x g"},
		{from: "f", toName: "F", want: "F d/ d/f e/ full/ full/x g"},
		{from: "f", toName: "f"},
		{from: "f", toName: "f", keep: true},
		{from: "d", toName: "d"},
		{from: "f", toName: "g", replaced: "g", want: "d/ d/f e/ full/ full/x g"},
		{from: "f", toDir: "d", toName: "f", replaced: "d/f", want: "d/ d/f e/ full/ full/x g"},
		{from: "d", toName: "e", replaced: "e", want: "e/ e/f f full/ full/x g"},
		{from: "f", toName: "g", keep: true, err: ErrExist},
		{from: "d", toName: "e", keep: true, err: ErrExist},
		{from: "d", toName: "full", err: ErrNotEmpty},
		{from: "f", toName: "e", err: ErrIsDir},
		{from: "f", toName: "full", err: ErrIsDir},
		{from: "d", toName: "f", err: ErrNotDir},
		{from: "d", toDir: "d", toName: "x", err: ErrInvalid},
		{from: "f", toDir: "g", toName: "x", err: ErrNotDir},
		{from: "f", toName: "", err: ErrName},
		{from: "f", toName: "..", err: ErrName},
		{from: "f", toName: "a/b", err: ErrName},
		{from: "f", toName: strings.Repeat("n", 256), err: ErrNameLong},
	} {
		t.Run(fmt.Sprintf("%s to %s/%.10s", c.from, c.toDir, c.toName), func(t *testing.T) {
			x := testIndex(t, "anna")
			for _, p := range base {
				mk(t, x, p)
			}
			before := paths(t, x)
			n, dir := find(t, x, c.from), find(t, x, c.toDir)
			want := NoNode
			if c.replaced != "" {
				want = find(t, x, c.replaced)
			}
			moved, err := x.Stat(n)
			require.NoError(t, err)

			var replaced Node
			op, err := try(x, func(tx *Tx) (err error) {
				replaced, err = tx.Rename(n, dir, c.toName, !c.keep)
				return err
			})
			require.ErrorIs(t, err, c.err)
			require.Equal(t, want, replaced)
			if c.want == "" {
				require.Nil(t, op)
				require.Equal(t, before, paths(t, x))
				return
			}
			require.Equal(t, strings.Fields(c.want), paths(t, x))
			after, err := x.Stat(n)
			require.NoError(t, err)
			require.Equal(t, moved.Ino, after.Ino)
			require.Equal(t, moved.Content, after.Content)
			require.Greater(t, after.Changed, moved.Changed)
			if replaced != NoNode {
				e, err := x.Stat(replaced)
				require.NoError(t, err)
				require.True(t, e.Removed)
			}
			checkView(t, x)
		})
	}
}

func TestRootStaysWhereItIs(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "d/")
	d := find(t, x, "d")
	for _, fn := range []func(tx *Tx) error{
		func(tx *Tx) error { _, err := tx.Rename(Root, d, "r", true); return err },
		func(tx *Tx) error { return tx.Remove(Root) },
		func(tx *Tx) error { return tx.Exchange(Root, d) },
		func(tx *Tx) error { return tx.Exchange(d, Root) },
		func(tx *Tx) error { return tx.Rescue(Root) },
	} {
		_, err := try(x, fn)
		require.ErrorIs(t, err, ErrInvalid)
	}
}

func TestRenamingALargeDirectoryIsOneSmallOperation(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "from/")
	mk(t, x, "to/")
	do(t, x, func(tx *Tx) error {
		for i := range 1000 {
			if _, err := tx.Create(find2(tx, "from"), fmt.Sprint(i), fileInfo, content("x")); err != nil {
				return err
			}
		}
		return nil
	})
	op := do(t, x, func(tx *Tx) error {
		_, err := tx.Rename(find2(tx, "from"), find2(tx, "to"), "new", false)
		return err
	})
	require.Equal(t, int32(4), op.End-op.Start, "a name, a move and when both directories changed")
	require.Less(t, len(op.Update), 350)
	e, err := x.Resolve("to/new/999")
	require.NoError(t, err)
	p, err := x.Path(e.Node)
	require.NoError(t, err)
	require.Equal(t, "to/new/999", p)
}

func find2(tx *Tx, path string) Node {
	n, _, err := resolveTx(tx, path)
	if err != nil {
		panic(err)
	}
	return n
}

func TestExchangeSwapsPlacesAndNames(t *testing.T) {
	x := testIndex(t, "anna")
	for _, p := range []string{"d/", "d/a", "e/", "b"} {
		mk(t, x, p)
	}
	da, b, d, e := find(t, x, "d/a"), find(t, x, "b"), find(t, x, "d"), find(t, x, "e")
	do(t, x, func(tx *Tx) error { return tx.Exchange(da, b) })
	require.Equal(t, da, find(t, x, "b"))
	require.Equal(t, b, find(t, x, "d/a"))
	do(t, x, func(tx *Tx) error { return tx.Exchange(d, e) })
	require.Equal(t, []string{"b", "d/", "e/", "e/a"}, paths(t, x))
	do(t, x, func(tx *Tx) error { return tx.Exchange(b, e) })
	require.Equal(t, da, find(t, x, "b"))
	_, err := try(x, func(tx *Tx) error { return tx.Exchange(d, find2(tx, "d")) })
	require.NoError(t, err)
	_, err = try(x, func(tx *Tx) error {
		if _, err := tx.Rename(b, d, "in", true); err != nil {
			return err
		}
		return tx.Exchange(d, b)
	})
	require.ErrorIs(t, err, ErrInvalid)
	checkView(t, x)
}

func TestCreateRefusesWhatCannotBe(t *testing.T) {
	x := testIndex(t, "anna")
	f := mk(t, x, "f")
	gone := mk(t, x, "gone/")
	do(t, x, func(tx *Tx) error { return tx.Remove(gone) })
	link := Info{Kind: Symlink, Mode: 0o777, Target: "\xff", UID: -1, GID: -1}
	for _, c := range []struct {
		parent Node
		name   string
		info   Info
		c      Content
		err    error
	}{
		{Root, "f", fileInfo, Content{}, ErrExist},
		{Root, "..", fileInfo, Content{}, ErrName},
		{f, "x", fileInfo, Content{}, ErrNotDir},
		{gone, "x", fileInfo, Content{}, ErrRemoved},
		{9999, "x", fileInfo, Content{}, ErrNotExist},
		{NoNode, "x", fileInfo, Content{}, ErrNotExist},
		{Root, "x", Info{Kind: 99}, Content{}, ErrInvalid},
		{Root, "x", Info{Mode: 0o10000}, Content{}, ErrInvalid},
		{Root, "x", fileInfo, Content{Size: -1}, ErrInvalid},
		{Root, "x", link, Content{}, ErrInvalid},
	} {
		op, err := try(x, func(tx *Tx) error { _, err := tx.Create(c.parent, c.name, c.info, c.c); return err })
		require.ErrorIs(t, err, c.err, "%+v", c)
		require.Nil(t, op)
	}
	require.Equal(t, []string{"f"}, paths(t, x))
}

func TestEveryKindKeepsItsFacts(t *testing.T) {
	x := testIndex(t, "anna")
	infos := map[string]Info{
		"file":   {Kind: File, Mode: 0o4755, Attributes: 0x8021, Created: -7, UID: 1000, GID: 0},
		"dir":    {Kind: Dir, Mode: 0o1777, Attributes: 0x12, Created: 1, UID: -1, GID: -1},
		"link":   {Kind: Symlink, Mode: 0o777, Created: 2, Target: "../ü", UID: -1, GID: 5},
		"fifo":   {Kind: FIFO, Mode: 0o600, Created: 3, UID: -1, GID: -1},
		"socket": {Kind: Socket, Mode: 0o600, Created: 4, UID: -1, GID: -1},
		"char":   {Kind: CharDevice, Mode: 0o600, Created: 5, Rdev: 1<<40 | 7, UID: -1, GID: -1},
		"block":  {Kind: BlockDevice, Mode: 0o600, Created: 6, Rdev: 9, UID: -1, GID: -1},
	}
	body := Content{Size: 1 << 50, ModTime: 123_456_789, Object: objectid.Of([]byte("m")), Manifest: true}
	do(t, x, func(tx *Tx) error {
		for name, info := range infos {
			if _, err := tx.Create(Root, name, info, body); err != nil {
				return err
			}
		}
		return nil
	})
	blob, err := x.Export(Span{x.Peer(), 0, x.Version()[loro.PeerID(x.Peer())]})
	require.NoError(t, err)
	y := testIndex(t, "berta", blob)
	for name, info := range infos {
		want := Content{ModTime: body.ModTime}
		switch info.Kind {
		case File:
			want = body
		case Symlink:
			want.Size = int64(len(info.Target))
		}
		for _, i := range []*Index{x, y} {
			e, err := i.Lookup(Root, name)
			require.NoError(t, err)
			require.NotZero(t, e.Changed)
			info.Changed = e.Changed
			require.Equal(t, info, e.Info)
			require.Equal(t, want, e.Content)
		}
	}
}

func TestRemovedNodeCanBeNamedButNotChanged(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "d/")
	f := mk(t, x, "d/f")
	before, err := x.Stat(f)
	require.NoError(t, err)
	do(t, x, func(tx *Tx) error { return tx.Remove(f) })

	e, err := x.Stat(f)
	require.NoError(t, err)
	require.True(t, e.Removed)
	require.Equal(t, NoNode, e.Parent)
	require.Equal(t, before.Content, e.Content)
	require.Equal(t, before.Ino, e.Ino)
	_, err = x.Path(f)
	require.ErrorIs(t, err, ErrRemoved)
	for _, fn := range []func(tx *Tx) error{
		func(tx *Tx) error { return tx.SetContent(f, content("new")) },
		func(tx *Tx) error { return tx.SetModTime(f, 1) },
		func(tx *Tx) error { return tx.SetInfo(f, fileInfo) },
		func(tx *Tx) error { return tx.Remove(f) },
		func(tx *Tx) error { _, err := tx.Rename(f, Root, "f", true); return err },
	} {
		op, err := try(x, fn)
		require.ErrorIs(t, err, ErrRemoved)
		require.Nil(t, op)
	}
	require.Equal(t, Stats{Dirs: 1, Complete: true, Peers: 1, Ops: x.Stats().Ops}, x.Stats())
	require.NotEqual(t, f, mk(t, x, "d/f"), "node numbers are not reused")
}

func TestUpdateWithoutChangeIsNotRecorded(t *testing.T) {
	x := testIndex(t, "anna")
	op := do(t, x, func(tx *Tx) error { return nil })
	require.Nil(t, op)
	require.Empty(t, x.Version())
	f := mk(t, x, "f")
	e, err := x.Stat(f)
	require.NoError(t, err)
	v := x.Version()
	for _, fn := range []func(tx *Tx) error{
		func(tx *Tx) error { return nil },
		func(tx *Tx) error { return tx.SetContent(f, e.Content) },
		func(tx *Tx) error { return tx.SetModTime(f, e.ModTime) },
		func(tx *Tx) error { return tx.SetInfo(f, e.Info) },
		func(tx *Tx) error { return tx.Exchange(f, f) },
	} {
		require.Nil(t, do(t, x, fn))
	}
	require.Equal(t, v, x.Version())
}

func TestFailedUpdateLeavesNothing(t *testing.T) {
	x := testIndex(t, "anna")
	for _, p := range []string{"d/", "d/a", "b", "e/"} {
		mk(t, x, p)
	}
	before, v := tree(t, x), x.Version()
	d, a, b := find(t, x, "d"), find(t, x, "d/a"), find(t, x, "b")
	stop := errors.New("stop")
	all := func(tx *Tx) error {
		n, err := tx.Create(d, "new", dirInfo, Content{})
		require.NoError(t, err)
		_, err = tx.Create(n, "newer", fileInfo, content("x"))
		require.NoError(t, err)
		_, err = tx.Rename(a, n, "moved", true)
		require.NoError(t, err)
		require.NoError(t, tx.SetContent(a, content("other")))
		require.NoError(t, tx.Remove(b))
		_, err = tx.Rename(d, find2(tx, "e"), "d2", true)
		require.NoError(t, err)
		e, err := tx.Lookup(n, "moved")
		require.NoError(t, err)
		require.Equal(t, content("other"), e.Content)
		require.NoError(t, tx.SetInfo(find2(tx, "e"), Info{Kind: Dir, Mode: 0, UID: 7, GID: -1}))
		return stop
	}
	_, err := try(x, all)
	require.ErrorIs(t, err, stop)
	require.Equal(t, before, tree(t, x))
	require.Equal(t, v, x.Version())
	checkView(t, x)

	require.PanicsWithValue(t, "boom", func() {
		_ = x.Update(func(tx *Tx) error { _ = all(tx); panic("boom") }, nil)
	})
	require.Equal(t, before, tree(t, x))
	mk(t, x, "still works")
	checkView(t, x)
}

func TestOperationsAreHandedOutInCommitOrderWithoutGaps(t *testing.T) {
	x := testIndex(t, "anna")
	var ops []Op // appended under the index's lock
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				err := x.Update(func(tx *Tx) error {
					_, err := tx.Create(Root, fmt.Sprint(g, "-", i), fileInfo, content("x"))
					return err
				}, func(op Op) { ops = append(ops, op) })
				if err != nil {
					t.Error(err)
				}
				_, _ = x.Lookup(Root, fmt.Sprint(g, "-", i))
				_, _ = x.ReadDir(Root, nil)
				x.Stats()
			}
		})
	}
	wg.Wait()
	end := int32(0)
	y := testIndex(t, "berta")
	for _, op := range ops {
		require.Equal(t, x.Peer(), op.Peer)
		require.Equal(t, end, op.Start)
		end = op.End
		_, err := y.Import(op.Update)
		require.NoError(t, err)
	}
	require.Len(t, ops, 400)
	require.Equal(t, tree(t, x), tree(t, y))
}

func TestDirectoryTimesFollowItsEntries(t *testing.T) {
	x := testIndex(t, "anna")
	d := mk(t, x, "d/")
	step := func(fn func(tx *Tx) error) {
		t.Helper()
		before, err := x.Stat(d)
		require.NoError(t, err)
		do(t, x, fn)
		after, err := x.Stat(d)
		require.NoError(t, err)
		require.Greater(t, after.ModTime, before.ModTime)
		require.Greater(t, after.Changed, before.Changed)
	}
	var f Node
	step(func(tx *Tx) (err error) { f, err = tx.Create(d, "f", fileInfo, Content{}); return err })
	step(func(tx *Tx) error { _, err := tx.Rename(f, d, "g", true); return err })
	step(func(tx *Tx) error { _, err := tx.Rename(f, Root, "g", true); return err })
	step(func(tx *Tx) error { _, err := tx.Rename(f, d, "g", true); return err })
	step(func(tx *Tx) error { return tx.Remove(f) })

	do(t, x, func(tx *Tx) error { return tx.SetModTime(d, 77) })
	e, err := x.Stat(d)
	require.NoError(t, err)
	require.Equal(t, int64(77), e.ModTime)
	require.Greater(t, e.Changed, int64(77))

	blob, err := x.Export(Span{x.Peer(), 0, x.Version()[loro.PeerID(x.Peer())]})
	require.NoError(t, err)
	y := testIndex(t, "berta", blob)
	e2, err := y.Resolve("d")
	require.NoError(t, err)
	require.Equal(t, int64(77), e2.ModTime)
}

func TestRootFactsAreKept(t *testing.T) {
	x := testIndex(t, "anna")
	do(t, x, func(tx *Tx) error {
		if err := tx.SetInfo(Root, Info{Kind: Dir, Mode: 0o700, Attributes: 0x16, UID: 4, GID: 5, Created: 99}); err != nil {
			return err
		}
		return tx.SetModTime(Root, 1_800_000_000_000_000)
	})
	want, err := x.Stat(Root)
	require.NoError(t, err)
	blob, err := x.Export(Span{x.Peer(), 0, x.Version()[loro.PeerID(x.Peer())]})
	require.NoError(t, err)
	got, err := testIndex(t, "berta", blob).Stat(Root)
	require.NoError(t, err)
	require.Equal(t, want.ModTime, got.ModTime)
	want.Changed, got.Changed = 0, 0
	require.Equal(t, want.Info, got.Info)
	require.Equal(t, uint64(1), got.Ino)
}

func TestUnknownKeysSurviveAChange(t *testing.T) {
	x := testIndex(t, "anna")
	n := mk(t, x, "f")
	id := x.id(n)
	other := loro.NewDoc(77)
	blob, err := x.Export(Span{x.Peer(), 0, x.next})
	require.NoError(t, err)
	_, err = other.Import(blob)
	require.NoError(t, err)
	meta := other.Tree(treeName).Meta(id)
	with := func(key, more string) {
		v, ok := meta.Get(key)
		require.True(t, ok)
		es := []loro.Entry{{Key: more, Value: loro.String("kept")}}
		for k, val := range v.Entries() {
			if k == infoKind {
				val = loro.String("hologram")
			}
			es = append(es, loro.Entry{Key: k, Value: val})
		}
		require.NoError(t, meta.Set(key, loro.MapValue(es...)))
	}
	with(keyInfo, "xattr")
	with(keyContent, "cipher")
	require.NoError(t, meta.Set("tags", loro.String("red")))
	other.Commit()
	up, err := other.ExportUpdates(x.Version())
	require.NoError(t, err)
	_, err = x.Import(up)
	require.NoError(t, err)

	e, err := x.Stat(n)
	require.NoError(t, err)
	require.Equal(t, File, e.Kind, "an unknown kind is shown as a file")
	do(t, x, func(tx *Tx) error {
		e.Info.Mode = 0o600
		if err := tx.SetInfo(n, e.Info); err != nil {
			return err
		}
		return tx.SetContent(n, content("new"))
	})
	mine := x.tree.Meta(id)
	info, _ := mine.Get(keyInfo)
	body, _ := mine.Get(keyContent)
	tags, _ := mine.Get("tags")
	xattr, _ := info.Get("xattr")
	cipher, _ := body.Get("cipher")
	kind, _ := info.Get(infoKind)
	mode, _ := info.Get(infoMode)
	require.True(t, tags.Equal(loro.String("red")))
	require.True(t, xattr.Equal(loro.String("kept")))
	require.True(t, cipher.Equal(loro.String("kept")))
	require.True(t, kind.Equal(loro.String("hologram")))
	require.True(t, mode.Equal(loro.Int(0o600)))
}

func TestNodesOfAForeignWriterAreNeverHidden(t *testing.T) {
	doc := loro.NewDoc(5)
	files := doc.Tree(treeName)
	require.NoError(t, doc.Map(rootMap).Set(keySchema, loro.Int(schemaVersion)))
	node := func(parent loro.TreeID, name loro.Value, info loro.Value) loro.TreeID {
		id, err := files.Create(parent)
		require.NoError(t, err)
		if !name.IsNull() {
			require.NoError(t, files.Meta(id).Set(keyName, name))
		}
		if !info.IsNull() {
			require.NoError(t, files.Meta(id).Set(keyInfo, info))
		}
		return id
	}
	dirKind := loro.MapValue(loro.Entry{Key: infoKind, Value: loro.String("dir")})
	node(loro.TreeRoot, loro.Null(), loro.Null())
	node(loro.TreeRoot, loro.Int(5), loro.Int(7))
	node(loro.TreeRoot, loro.String("a/b"), loro.Null())
	node(loro.TreeRoot, loro.String(strings.Repeat("long", 100)), dirKind)
	d := node(loro.TreeRoot, loro.String(".."), loro.Null())
	node(d, loro.String("inner"), loro.Null())
	doc.Commit()
	blob, err := doc.ExportUpdates(nil)
	require.NoError(t, err)
	x := testIndex(t, "anna", blob)
	checkView(t, x)
	require.Len(t, paths(t, x), 6)
	// They can be handled like any other.
	entries, err := x.ReadDir(Root, nil)
	require.NoError(t, err)
	for i, e := range entries {
		do(t, x, func(tx *Tx) error { _, err := tx.Rename(e.Node, Root, fmt.Sprint("ok", i), false); return err })
	}
	checkView(t, x)
	require.Equal(t, []string{"ok0", "ok1", "ok2", "ok3/", "ok4/", "ok4/inner"}, paths(t, x))
}

func TestDocumentsThatAreNoIndexAreRefused(t *testing.T) {
	doc := func(edit func(d *loro.Doc)) []byte {
		d := loro.NewDoc(5)
		edit(d)
		d.Commit()
		b, err := d.ExportUpdates(nil)
		require.NoError(t, err)
		return b
	}
	schema := func(v loro.Value) func(d *loro.Doc) {
		return func(d *loro.Doc) { require.NoError(t, d.Map(rootMap).Set(keySchema, v)) }
	}
	for name, c := range map[string]struct {
		blob []byte
		err  error
	}{
		"newer":         {doc(schema(loro.Int(3))), ErrNewerSchema},
		"older":         {doc(schema(loro.Int(1))), ErrForeign},
		"not a number":  {doc(schema(loro.String("2"))), ErrForeign},
		"other content": {doc(func(d *loro.Doc) { require.NoError(t, d.Map("notes").Set("a", loro.Int(1))) }), ErrForeign},
		"another kind":  {doc(func(d *loro.Doc) { require.NoError(t, d.Map(treeName).Set("a", loro.Int(1))) }), ErrForeign},
		"garbage":       {[]byte("loro"), ErrUpdate},
		"nothing":       {nil, ErrUpdate},
	} {
		_, err := Open(Options{}, c.blob)
		require.ErrorIs(t, err, c.err, name)
	}
}

func TestANewerSchemaStopsChangesButNotReading(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "f")
	d := loro.NewDoc(5)
	blob, err := x.Export(Span{x.Peer(), 0, x.next})
	require.NoError(t, err)
	_, err = d.Import(blob)
	require.NoError(t, err)
	require.NoError(t, d.Map(rootMap).Set(keySchema, loro.Int(3)))
	id, err := d.Tree(treeName).Create(loro.TreeRoot)
	require.NoError(t, err)
	require.NoError(t, d.Tree(treeName).Meta(id).Set(keyName, loro.String("theirs")))
	d.Commit()
	up, err := d.ExportUpdates(x.Version())
	require.NoError(t, err)

	_, err = x.Import(up)
	require.ErrorIs(t, err, ErrNewerSchema)
	require.Equal(t, []string{"f", "theirs"}, paths(t, x))
	op, err := try(x, func(tx *Tx) error { return tx.Remove(find2(tx, "f")) })
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorIs(t, err, ErrNewerSchema)
	require.Nil(t, op)
}

func TestListingOrderIsStableAcrossChanges(t *testing.T) {
	x := testIndex(t, "anna")
	for i := range 50 {
		mk(t, x, fmt.Sprint("f", i))
	}
	list := func() (names []string) {
		es, err := x.ReadDir(Root, nil)
		require.NoError(t, err)
		for _, e := range es {
			names = append(names, e.Name)
		}
		return names
	}
	before := list()
	gone := map[string]bool{}
	for i := 0; i < 50; i += 3 {
		gone[fmt.Sprint("f", i)] = true
		do(t, x, func(tx *Tx) error { return tx.Remove(find2(tx, fmt.Sprint("f", i))) })
	}
	mk(t, x, "new")
	var want []string
	for _, n := range before {
		if !gone[n] {
			want = append(want, n)
		}
	}
	require.Equal(t, append(want, "new"), list())
}

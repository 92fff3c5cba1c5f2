package loroindex

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/stretchr/testify/require"
)

// shownTree lists what an index has to show, from its document alone and by the
// most direct way: the rules of the package comment, written a second time.
func shownTree(x *Index) []string {
	var lines []string
	type item struct {
		id    loro.TreeID
		given string
		info  decodedInfo
	}
	var list func(dirs []loro.TreeID, prefix string)
	list = func(dirs []loro.TreeID, prefix string) {
		var items []item
		given := make(map[string]bool)
		for _, d := range dirs {
			for id := range x.tree.Children(d) {
				name, _ := x.tree.Meta(id).Get(keyName)
				s, _ := name.AsString()
				info, _ := x.tree.Meta(id).Raw(keyInfo)
				d := decodeInfo(info)
				if !d.kindKnown && x.tree.ChildCount(id) > 0 {
					d.Kind, d.Mode = Dir, defaultMode(Dir)
				}
				items = append(items, item{id, safeName(s, inoOf(id.Peer, id.Counter)), d})
				given[items[len(items)-1].given] = true
			}
		}
		sort.SliceStable(items, func(i, j int) bool {
			a, b := items[i].id, items[j].id
			if c := bytes.Compare(x.tree.Position(a), x.tree.Position(b)); c != 0 {
				return c < 0
			}
			ma, _ := x.tree.LastMove(a)
			mb, _ := x.tree.LastMove(b)
			return ma.Compare(mb) < 0
		})
		first := make(map[string]bool)
		dirOf := make(map[string]int) // given name to index in shown
		type entry struct {
			name string
			ids  []loro.TreeID
			item item
		}
		var shown []entry
		for _, it := range items {
			if i, ok := dirOf[it.given]; ok && it.info.Kind == Dir {
				shown[i].ids = append(shown[i].ids, it.id)
				continue
			}
			name := it.given
			if first[it.given] {
				c, err := x.doc.ChangeOf(loro.ID(it.id))
				if err != nil {
					panic(err)
				}
				for n := 1; ; n++ {
					name = conflictName(it.given, c.Message, c.Timestamp, n)
					if !given[name] && !slices.ContainsFunc(shown, func(e entry) bool { return e.name == name }) {
						break
					}
				}
			}
			first[it.given] = true
			if it.info.Kind == Dir {
				dirOf[it.given] = len(shown)
			}
			shown = append(shown, entry{name, []loro.TreeID{it.id}, it})
		}
		for _, e := range shown {
			path := prefix + e.name
			entry := Entry{Info: Info{Kind: e.item.info.Kind, Mode: e.item.info.Mode}}
			if e.item.info.Kind != Dir {
				val, _ := x.tree.Meta(e.item.id).Raw(keyContent)
				entry.Content = decodeContent(val).of(e.item.info.Info, true)
			}
			lines = append(lines, line(path, entry))
			if e.item.info.Kind == Dir {
				list(e.ids, path+"/")
			}
		}
	}
	list([]loro.TreeID{loro.TreeRoot}, "")
	sort.Strings(lines)
	return lines
}

// checkView compares an index with its document and its counts with its tree.
func checkView(t testing.TB, x *Index) {
	t.Helper()
	lines := tree(t, x)
	require.Equal(t, shownTree(x), lines)
	s := x.Stats()
	require.True(t, s.Complete)
	require.Equal(t, len(lines), s.Files+s.Dirs)
	require.Empty(t, x.dirty)
	linked, bytes := 0, int64(0)
	for n := Root; int(n) < x.count; n++ {
		nd := x.at(n)
		require.Zero(t, nd.flags&fInTx)
		if nd.flags&fDead != 0 {
			continue
		}
		if nd.flags&fLinked != 0 {
			linked++
		}
		if nd.flags&fVisible != 0 {
			bytes += nd.size
			require.True(t, n == Root || x.placedIn(n), "node %d", n)
		}
		if n != Root && nd.flags&fPlaced == 0 {
			require.Zero(t, nd.flags&(fVisible|fLinked|fMerged|fGroup|fAlias), "node %d", n)
		}
		if n != Root {
			require.Equal(t, n, x.find(x.id(n)))
		}
	}
	require.Equal(t, linked, x.byName.live)
	if x.folding {
		require.Equal(t, linked, x.byFold.live)
		for n := Root + 1; int(n) < x.count; n++ {
			if nd := x.at(n); nd.flags&fLinked != 0 && nd.flags&fVisible != 0 {
				path, err := x.Folded().Path(n)
				require.NoError(t, err)
				e, err := x.Folded().Resolve(strings.ToUpper(path))
				require.NoError(t, err, path)
				require.Equal(t, n, e.Node, path)
			}
		}
	}
	require.Equal(t, bytes, s.Bytes)
	for n := Root; int(n) < x.count; n++ {
		if x.at(n).kind != Dir {
			continue
		}
		d, subdirs := &x.dirs[x.at(n).dir], 0
		for c := d.first; c != NoNode; c = x.at(c).next {
			if x.at(c).kind == Dir {
				subdirs++
			}
		}
		require.Equal(t, subdirs, int(d.subdirs), "node %d", n)
	}
	for key, g := range x.groups {
		require.Greater(t, len(g), 1, key)
	}
}

// actor is a device of a random session.
type actor struct {
	*Index
	rng *rand.Rand
	ops []Op // what it did, as journaled
}

var randomNames = []string{"a", "A", "b", "c.txt", "C.TXT", "d", "e (conflict dev0 2023-11-14 22.13.20)"}

func (a *actor) pickDir() Node {
	dirs := []Node{Root}
	for n := Root + 1; int(n) < a.count; n++ {
		if nd := a.at(n); nd.kind == Dir && nd.flags&(fVisible|fDead) == fVisible {
			dirs = append(dirs, n)
		}
	}
	return dirs[a.rng.IntN(len(dirs))]
}

func (a *actor) pick() Node {
	var nodes []Node
	for n := Root + 1; int(n) < a.count; n++ {
		if nd := a.at(n); nd.flags&(fVisible|fDead) == fVisible {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		return Root
	}
	return nodes[a.rng.IntN(len(nodes))]
}

// act does one random thing; errors of the tree's rules are part of it.
func (a *actor) act(tx *Tx) error {
	name := randomNames[a.rng.IntN(len(randomNames))]
	var err error
	switch a.rng.IntN(12) {
	case 0, 1, 2:
		_, err = tx.Create(a.pickDir(), name, fileInfo, content(fmt.Sprint(a.rng.Int())))
	case 3, 4:
		_, err = tx.Create(a.pickDir(), name, dirInfo, Content{})
	case 5, 6:
		err = tx.Remove(a.pick())
	case 7, 8, 9:
		_, err = tx.Rename(a.pick(), a.pickDir(), name, a.rng.IntN(2) == 0)
	case 10:
		err = tx.Exchange(a.pick(), a.pick())
	case 11:
		n := a.pick()
		if err = tx.SetContent(n, content(fmt.Sprint(a.rng.Int()))); err == nil {
			e, _ := tx.Stat(n)
			e.Info.Mode = uint32(a.rng.IntN(0o1000))
			err = tx.SetInfo(n, e.Info)
		}
	}
	return err
}

func (a *actor) edit(t testing.TB) {
	n := 1 + a.rng.IntN(3)
	fail := a.rng.IntN(6) == 0
	before := tree(t, a.Index)
	stop := errors.New("stop")
	version := a.Version()
	err := a.Update(func(tx *Tx) error {
		for range n {
			if err := a.act(tx); err != nil && a.rng.IntN(2) == 0 {
				return err
			}
		}
		if fail {
			return stop
		}
		return nil
	}, func(op Op) { a.ops = append(a.ops, op) })
	require.NotErrorIs(t, err, ErrBroken)
	if fail {
		require.Error(t, err)
	}
	if err != nil {
		require.Equal(t, version, a.Version())
		require.Equal(t, before, tree(t, a.Index))
	}
}

// checkCausality compares who knew of what with all of the history below each
// change.
func checkCausality(t testing.TB, x *Index) {
	c := newCausality(x.doc)
	for ch, err := range x.doc.Changes() {
		require.NoError(t, err)
		past := make(loro.VersionVector)
		todo := []loro.ID{ch.ID}
		for len(todo) > 0 {
			id := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for ctr := id.Counter; ctr >= past[id.Peer]; ctr-- {
				at, err := x.doc.ChangeOf(loro.ID{Peer: id.Peer, Counter: ctr})
				require.NoError(t, err)
				if at.ID.Counter == ctr {
					todo = append(todo, at.Deps...)
				}
			}
			past[id.Peer] = max(past[id.Peer], id.Counter+1)
		}
		for p, end := range x.doc.Version() {
			for ctr := range end {
				id := loro.ID{Peer: p, Counter: ctr}
				if p != ch.ID.Peer {
					require.Equal(t, past.Includes(id), c.knows(ch.ID, id), "%v of %v", ch.ID, id)
				}
			}
		}
		at, ok := c.idOf(loro.IDLP{Lamport: ch.Lamport, Peer: ch.ID.Peer})
		require.True(t, ok)
		require.Equal(t, ch.ID, at)
	}
}

var (
	sessions     = flag.Int("sessions", 16, "random sessions of TestDevicesConverge")
	firstSession = flag.Int("first", 0, "the seed of the first of them")
)

// TestDevicesConverge has devices edit at once and exchange what they did in
// any order and grouping. Every view follows its document at every step, and in
// the end all trees are equal.
func TestDevicesConverge(t *testing.T) {
	for seed := *firstSession; seed < *firstSession+*sessions; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			actors := make([]*actor, 2+rng.IntN(3))
			for i := range actors {
				x, err := Open(Options{Device: fmt.Sprintf("dev%d", i), Peer: uint64(100*seed + i + 1), Now: clock(1_700_000_000)})
				require.NoError(t, err)
				actors[i] = &actor{Index: x, rng: rng}
				if rng.IntN(4) == 0 {
					x.foldNames()
				}
			}
			for range 120 {
				a := actors[rng.IntN(len(actors))]
				switch rng.IntN(8) {
				case 0: // everything another one knows
					pass(t, actors[rng.IntN(len(actors))].Index, a.Index)
				case 1: // some operation of another, perhaps before those it needs
					if from := actors[rng.IntN(len(actors))]; len(from.ops) > 0 {
						some := make([][]byte, 1+rng.IntN(3))
						for i := range some {
							some[i] = from.ops[rng.IntN(len(from.ops))].Update
						}
						_, _, err := a.ImportAll(some...)
						require.NoError(t, err)
					}
				default:
					a.edit(t)
				}
				checkView(t, a.Index)
			}
			xs := make([]*Index, len(actors))
			for i, a := range actors {
				xs[i] = a.Index
			}
			rng.Shuffle(len(xs), func(i, j int) { xs[i], xs[j] = xs[j], xs[i] })
			syncAll(t, xs...)
			want := tree(t, xs[0])
			for _, x := range xs {
				checkView(t, x)
				require.Equal(t, want, tree(t, x))
			}
			checkCausality(t, xs[0])

			// From the operations as journaled, in any order.
			var blobs [][]byte
			for _, a := range actors {
				for _, op := range a.ops {
					blobs = append(blobs, op.Update)
				}
			}
			rng.Shuffle(len(blobs), func(i, j int) { blobs[i], blobs[j] = blobs[j], blobs[i] })
			require.Equal(t, want, tree(t, testIndex(t, "late", blobs...)))
		})
	}
}

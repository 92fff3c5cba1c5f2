package loro

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// randomSession lets n replicas edit at random for some rounds, exchanging
// updates now and then, and brings them together in the end.
func randomSession(t testing.TB, r *rand.Rand, n, rounds int) []*Doc {
	docs := make([]*Doc, n)
	for i := range docs {
		docs[i] = NewDoc(PeerID(r.Uint64()))
		sec := int64(1700000000)
		docs[i].SetCommitInfo([]string{"", "", "hello"}[r.IntN(3)], func() time.Time { sec += r.Int64N(1500); return time.Unix(sec, 0) })
	}
	for range rounds {
		for _, d := range docs {
			for range 1 + r.IntN(5) {
				editRandomly(t, r, d)
			}
			d.Commit()
		}
		if a, b := r.IntN(n), r.IntN(n); a != b {
			up, err := docs[a].ExportUpdates(docs[b].Version())
			require.NoError(t, err)
			_, err = docs[b].Import(up)
			require.NoError(t, err)
		}
	}
	for range 2 {
		for _, a := range docs {
			for _, b := range docs {
				up, err := a.ExportUpdates(b.Version())
				require.NoError(t, err)
				_, err = b.Import(up)
				require.NoError(t, err)
			}
		}
	}
	for _, d := range docs[1:] {
		require.Equal(t, deep(docs[0]), deep(d))
		require.NoError(t, d.Verify())
	}
	return docs
}

// editRandomly makes one edit of a kind an index makes.
func editRandomly(t testing.TB, r *rand.Rand, d *Doc) {
	tr := d.Tree("files")
	var nodes []TreeID
	for n := range tr.Nodes() {
		nodes = append(nodes, n)
	}
	pick := func() TreeID { return nodes[r.IntN(len(nodes))] }
	switch k := r.IntN(12); {
	case k < 4 || len(nodes) < 3:
		p := TreeRoot
		if len(nodes) > 0 && r.IntN(4) > 0 {
			p = pick()
		}
		n, err := tr.Create(p)
		require.NoError(t, err)
		require.NoError(t, tr.Meta(n).Set("name", String(fmt.Sprint("n", r.IntN(20)))))
	case k < 7:
		p := TreeRoot
		if r.IntN(4) > 0 {
			p = pick()
		}
		if err := tr.Move(pick(), p); err != nil {
			require.ErrorIs(t, err, ErrCycle)
		}
	case k < 8:
		require.NoError(t, tr.Delete(pick()))
	case k < 10:
		require.NoError(t, tr.Meta(pick()).Set([]string{"info", "content", "x"}[r.IntN(3)], MapValue(Entry{"size", Int(r.Int64N(1 << 40))}, Entry{"m", Binary([]byte{1, 2, 3})}, Entry{"f", Float(r.Float64())}, Entry{"l", List(Int(-5), Null(), Bool(true))})))
	case k < 11:
		m := d.Map("root")
		if r.IntN(2) == 0 {
			require.NoError(t, m.Delete(fmt.Sprint("k", r.IntN(10))))
		} else {
			require.NoError(t, m.Set(fmt.Sprint("k", r.IntN(10)), String("vé")))
		}
	default:
		c, err := d.Map("root").SetMap(fmt.Sprint("k", r.IntN(10)))
		require.NoError(t, err)
		require.NoError(t, c.Set("in", Int(r.Int64N(5))))
	}
}

// deliveries cuts the history of a document into blobs at random places, inside
// of changes, too.
func deliveries(t testing.TB, r *rand.Rand, d *Doc) [][]byte {
	var out [][]byte
	for _, p := range slices.Sorted(maps.Keys(d.Version())) {
		end := d.Version()[p]
		for at := int32(0); at < end; {
			to := min(end, at+1+r.Int32N(12))
			b, err := d.ExportRange(IDSpan{p, at, to})
			require.NoError(t, err)
			out = append(out, b)
			at = to
		}
	}
	return out
}

func TestReplicasConvergeWhateverTheOrderOfDelivery(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			d := randomSession(t, r, 2+int(seed%4), 15)[0]
			blobs := deliveries(t, r, d)
			for range 3 {
				e := NewDoc(1)
				r.Shuffle(len(blobs), func(i, j int) { blobs[i], blobs[j] = blobs[j], blobs[i] })
				for i, b := range blobs {
					_, err := e.Import(b)
					require.NoError(t, err)
					if i%7 == 0 {
						_, err := e.Import(blobs[r.IntN(i+1)]) // once more
						require.NoError(t, err)
					}
				}
				require.Empty(t, e.Pending())
				same(t, d, e)
			}
		})
	}
}

func TestLateChangesMergeIntoAReopenedDocument(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 8))
			docs := randomSession(t, r, 3, 8)
			// Two go on for themselves, the third is closed and opened again
			// with everything of the first, then hears of the second.
			for range 40 {
				editRandomly(t, r, docs[0])
				editRandomly(t, r, docs[1])
			}
			v := docs[2].Version()
			snap, err := docs[0].ExportSnapshot()
			require.NoError(t, err)
			late, err := docs[1].ExportUpdates(v)
			require.NoError(t, err)
			e := load(t, snap)
			view := viewOf(e)
			status, err := e.Import(late)
			require.NoError(t, err)
			view.follow(e, status.Touched)
			require.Equal(t, viewOf(e), view)
			_, err = docs[0].Import(late)
			require.NoError(t, err)
			same(t, docs[0], e)
		})
	}
}

// view is what an index keeps of a document; it must be possible to keep it up
// to date from what Import says it touched.
type view struct {
	Nodes map[TreeID]string
	Maps  map[string]string
}

func viewOf(d *Doc) *view {
	v := &view{map[TreeID]string{}, map[string]string{}}
	tree := d.Tree("files")
	for e := range d.s.nodes.n {
		if n := d.s.nodes.at(e); n.tree != 0 {
			v.node(tree, d.s.nodeID(e))
		}
	}
	for _, id := range d.Roots() {
		if id.Type == TypeMap {
			v.root(d, id.Name)
		}
	}
	return v
}

func (v *view) node(t Tree, id TreeID) {
	e, ok := t.find(id)
	if !ok || t.d.s.nodes.at(e).parent == nowhere {
		delete(v.Nodes, id)
		return
	}
	lp, _ := t.LastMove(id)
	parent := "trash"
	if p, place := t.Parent(id); place != Trashed {
		parent = p.String()
	}
	v.Nodes[id] = fmt.Sprint(parent, lp, resolver{t.d.s, map[ContainerID]bool{}}.deepMap(e, 0))
}

func (v *view) root(d *Doc, name string) {
	e, _ := d.Map(name).ent()
	v.Maps[name] = resolver{d.s, map[ContainerID]bool{}}.deepMap(e, 0).String()
}

func (v *view) follow(d *Doc, t Touched) {
	if t.All {
		*v = *viewOf(d)
		return
	}
	for _, n := range t.Nodes["files"] {
		v.node(d.Tree("files"), n.Node)
	}
	for _, name := range t.Maps {
		v.root(d, name)
	}
}

func TestTouchedIsAllAnIndexNeedsToLookAt(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 9))
			d := randomSession(t, r, 4, 12)[0]
			blobs := deliveries(t, r, d)
			// Mostly in order, so that most imports change something.
			for range len(blobs) / 4 {
				i, j := r.IntN(len(blobs)), r.IntN(len(blobs))
				blobs[i], blobs[j] = blobs[j], blobs[i]
			}
			e := NewDoc(1)
			v := viewOf(e)
			for _, b := range blobs {
				status, err := e.Import(b)
				require.NoError(t, err)
				v.follow(e, status.Touched)
				require.Equal(t, viewOf(e), v)
			}
		})
	}
}

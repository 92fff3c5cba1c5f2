package loro

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A large snapshot is loaded by several goroutines, which leave what is not usual to one:
// keys that are seen for the first time, maps in maps, maps of many keys, deleted keys, a
// peer that did nothing but write one value.
func TestLoadingByManyIsLoadingByOne(t *testing.T) {
	for _, odd := range []int{1000, 40, 1} { // one node in so many is unusual
		t.Run(fmt.Sprint("one in ", odd), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(odd), 1))
			doc := NewDoc(5)
			must := func(err error) { t.Helper(); require.NoError(t, err) }
			fill := func(d *Doc, n int) {
				tree := d.Tree("files")
				for i := range n {
					id, err := tree.Create(TreeRoot)
					must(err)
					m := tree.Meta(id)
					must(m.Set("name", String(fmt.Sprint("a file of no importance ", i))))
					must(m.Set("info", MapValue(Entry{"mode", Int(int64(i))}, Entry{"kind", String("file")})))
					if i%odd != 0 {
						continue
					}
					switch rng.IntN(6) {
					case 0:
						must(m.Set(fmt.Sprint("key ", i), Int(1)))
					case 1:
						inner, err := m.SetMap("inner")
						must(err)
						must(inner.Set("x", Int(int64(i))))
					case 2:
						for k := range 40 {
							must(m.Set(fmt.Sprint("many ", k), Int(int64(k))))
						}
					case 3:
						must(m.Set("gone", Int(1)))
						must(m.Delete("gone"))
					case 4:
						must(m.Set("long", String(strings.Repeat("x", 5000))))
					case 5:
						must(tree.Delete(id))
					}
				}
				d.Commit()
			}
			n := 4000
			if odd == 1 {
				n = 1500
			}
			fill(doc, n)
			for p := range 5 {
				other := NewDoc(PeerID(100 + p))
				body, err := doc.ExportUpdates(nil)
				must(err)
				_, err = other.Import(body)
				must(err)
				fill(other, 40)
				body, err = other.ExportUpdates(nil)
				must(err)
				_, err = doc.Import(body)
				must(err)
			}
			body, err := doc.ExportSnapshot()
			must(err)

			load := func(processors int) *Doc {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
				d := NewDoc(9)
				_, err := d.Import(body)
				must(err)
				return d
			}
			one, many := load(1), load(8)
			must(many.Verify())
			a, err := one.ExportSnapshot()
			must(err)
			b, err := many.ExportSnapshot()
			must(err)
			require.Equal(t, a, b)
			// It can be written to: records grow where they are, and new ones are made.
			for _, d := range []*Doc{one, many} {
				for i, id := range childrenOf(d.Tree("files")) {
					must(d.Tree("files").Meta(id).Set("name", String(strings.Repeat("renamed ", i%9))))
				}
				d.Commit()
				must(d.Verify())
			}
			require.Equal(t, one.DeepValue().String(), many.DeepValue().String())
		})
	}
}

func childrenOf(t Tree) []TreeID {
	var ids []TreeID
	for id := range t.Children(TreeRoot) {
		ids = append(ids, id)
	}
	return ids
}

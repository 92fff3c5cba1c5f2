package loro

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// stateEntries are the entries of the state section of a snapshot, by key.
func stateEntries(t testing.TB, snap []byte) map[string]string {
	t.Helper()
	_, body, err := openEnvelope(snap)
	require.NoError(t, err)
	sec, err := splitSnapshot(body)
	require.NoError(t, err)
	table, err := openSSTable(sec.state)
	require.NoError(t, err)
	entries := make(map[string]string)
	last := ""
	require.NoError(t, table.scan(0, len(table.blocks), nil, func(key, val []byte) error {
		require.Less(t, last, string(key))
		last = string(key)
		entries[last] = string(val)
		return nil
	}))
	return entries
}

// exportAnew is ExportSnapshot with nothing kept.
func exportAnew(t testing.TB, d *Doc) []byte {
	t.Helper()
	kept := d.s.kept.Swap(nil)
	snap, err := d.ExportSnapshot()
	require.NoError(t, err)
	d.s.kept.Store(kept)
	return snap
}

// copiedBlocks counts the blocks of the state that an export copies.
func copiedBlocks(t testing.TB, d *Doc) (copied, all int) {
	t.Helper()
	k := d.s.kept.Load()
	require.NotNil(t, k)
	out, err := openSSTable(stateSection(t, must(d.ExportSnapshot())))
	require.NoError(t, err)
	stored := make(map[string]bool)
	for _, b := range out.blocks {
		stored[string(out.b[b.off:b.end])] = true
	}
	for _, b := range k.t.blocks {
		if b.first[0] == byte(TypeMap) {
			all++
			if stored[string(k.t.b[b.off:b.end])] {
				copied++
			}
		}
	}
	return copied, all
}

func TestSnapshotsAreWrittenAnewOnlyWhereTheyChanged(t *testing.T) {
	d := load(t, filesSnapshot(t, 20_000))
	copied, all := copiedBlocks(t, d)
	require.Equal(t, all, copied)
	require.Greater(t, all, 300)

	files := d.Tree("files")
	var nodes []TreeID
	for n := range files.Nodes() {
		nodes = append(nodes, n)
	}
	require.NoError(t, files.Meta(nodes[9000]).Set("name", String("another")))
	for range 2 { // nothing is lost by exporting twice
		copied, all = copiedBlocks(t, d)
		require.GreaterOrEqual(t, copied, all-1)
		require.Equal(t, stateEntries(t, exportAnew(t, d)), stateEntries(t, must(d.ExportSnapshot())))
	}
	n, err := files.Create(nodes[100])
	require.NoError(t, err)
	require.NoError(t, files.Meta(n).Set("name", String("new")))
	require.NoError(t, files.Move(nodes[50], TreeRoot))
	copied, _ = copiedBlocks(t, d)
	require.GreaterOrEqual(t, copied, all-2) // the new one goes to the last block
	snap := must(d.ExportSnapshot())
	require.Equal(t, stateEntries(t, exportAnew(t, d)), stateEntries(t, snap))
	same(t, d, load(t, snap))

	// A document that was never loaded keeps what it wrote.
	e := NewDoc(3)
	_, err = e.Import(must(d.ExportUpdates(nil)))
	require.NoError(t, err)
	require.Nil(t, e.s.kept.Load())
	must(e.ExportSnapshot())
	require.NoError(t, e.Tree("files").Meta(nodes[1]).Set("name", String("e")))
	copied, all = copiedBlocks(t, e)
	require.GreaterOrEqual(t, copied, all-1)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whatever is done to a document after it was read or written, what it copies is
// what it would write: edits, late changes of others, deletions, moves that turn out
// to have no effect, child maps that are overwritten.
func TestWhatIsCopiedIsWhatWouldBeWritten(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 12))
			docs := randomSession(t, r, 3, 20)
			v := docs[0].Version()
			d := load(t, must(docs[0].ExportSnapshot()))
			for range 12 {
				for range r.IntN(4) {
					editRandomly(t, r, docs[1])
					editRandomly(t, r, docs[2])
				}
				switch r.IntN(3) {
				case 0:
					_, err := d.Import(must(docs[1+r.IntN(2)].ExportUpdates(v)))
					require.NoError(t, err)
				case 1:
					for range r.IntN(6) {
						editRandomly(t, r, d)
					}
				}
				snap := must(d.ExportSnapshot())
				require.Equal(t, stateEntries(t, exportAnew(t, d)), stateEntries(t, snap))
				e := load(t, snap)
				require.Equal(t, deep(d), deep(e))
				require.NoError(t, e.Verify())
				switch r.IntN(3) {
				case 0:
					d = NewDoc(PeerID(r.Uint64()))
					_, err := d.Import(snap)
					require.NoError(t, err)
				case 1: // keep what would be kept of a larger document
					require.NoError(t, d.s.keep(stateSection(t, snap)))
				}
			}
		})
	}
}

func stateSection(t testing.TB, snap []byte) []byte {
	t.Helper()
	_, body, err := openEnvelope(snap)
	require.NoError(t, err)
	sec, err := splitSnapshot(body)
	require.NoError(t, err)
	return sec.state
}

// What others wrote otherwise than this package would is written anew: maps that have
// no entry, and entries that name another parent or depth.
func TestOddEntriesAreNotCopied(t *testing.T) {
	for _, processors := range []int{1, 4} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		d := filesDoc(t, 1, 6000)
		snap := must(d.ExportSnapshot())
		want := stateEntries(t, snap)
		w := newSSTWriter(nil)
		table, err := openSSTable(stateSection(t, snap))
		require.NoError(t, err)
		i := 0
		require.NoError(t, table.scan(0, len(table.blocks), nil, func(key, val []byte) error {
			if i++; key[0] == byte(TypeMap) {
				switch i % 10 {
				case 3:
					val = append([]byte{val[0], 7}, val[2:]...) // the depth
				case 5:
					_, rest := scanned(t, val)
					val = append(appendWrapper(nil, TypeMap, rootDepth, ContainerID{}, false), rest...)
				}
			}
			w.add(key, val)
			return nil
		}))
		_, body, err := openEnvelope(snap)
		require.NoError(t, err)
		sec, err := splitSnapshot(body)
		require.NoError(t, err)
		out := newEnvelope(ModeSnapshot, 0)
		for _, b := range [][]byte{sec.oplog, w.finish(), nil} {
			out, err = section(out, bytesOf(b))
			require.NoError(t, err)
		}
		e := load(t, sealEnvelope(out))
		require.Equal(t, want, stateEntries(t, must(e.ExportSnapshot())))
		require.NoError(t, e.Verify())
	}
}

// scanned splits the entry of a map behind its wrapper.
func scanned(t testing.TB, val []byte) (head, rest []byte) {
	t.Helper()
	c := cursor{b: val}
	c.byte()
	c.uvarint()
	require.EqualValues(t, 1, c.byte())
	scanPostcardCID(&c)
	require.NoError(t, c.err)
	return val[:len(val)-len(c.b)], c.b
}

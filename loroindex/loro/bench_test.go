package loro

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// filesDoc makes a document as Pocket's index is: a tree of n files, eight or so
// to a directory of which some are wide, each with name, info and content.
func filesDoc(t testing.TB, peer PeerID, n int) *Doc {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	d := NewDoc(peer)
	files := d.Tree("files")
	dirs := []TreeID{TreeRoot}
	for i := range n {
		parent := dirs[r.IntN(len(dirs))]
		if i%3 == 0 {
			parent = dirs[len(dirs)-1-r.IntN(min(len(dirs), 8))]
		}
		id, err := files.Create(parent)
		require.NoError(t, err)
		if i%10 == 0 {
			dirs = append(dirs, id)
		}
		fillFile(t, r, files.Meta(id), i)
		if i%50 == 49 {
			d.Commit()
		}
	}
	d.Commit()
	return d
}

func fillFile(t testing.TB, r *rand.Rand, m Map, i int) {
	var object [32]byte
	for j := 0; j < 32; j += 8 {
		binary.LittleEndian.PutUint64(object[j:], r.Uint64())
	}
	now := int64(1700000000000000) + int64(i)*1000000
	require.NoError(t, m.Set("name", String(fmt.Sprintf("file-%d.txt", i))))
	require.NoError(t, m.Set("info", MapValue(
		Entry{"kind", Int(int64(i % 3))}, Entry{"mode", Int(0o644)}, Entry{"attr", Int(32)}, Entry{"created", Int(now)})))
	require.NoError(t, m.Set("content", MapValue(
		Entry{"size", Int(r.Int64N(1 << 24))}, Entry{"mtime", Int(now)}, Entry{"object", Binary(object[:])}, Entry{"manifest", Bool(false)})))
}

var (
	snapMu    sync.Mutex
	snapshots = map[int][]byte{}
)

func filesSnapshot(t testing.TB, n int) []byte {
	snapMu.Lock()
	defer snapMu.Unlock()
	if snapshots[n] == nil {
		b, err := filesDoc(t, 1, n).ExportSnapshot()
		require.NoError(t, err)
		snapshots[n] = b
	}
	return snapshots[n]
}

// walkAll reads every node's keys, as building an index does.
func walkAll(d *Doc) (nodes int) {
	files := d.Tree("files")
	for id := range files.Nodes() {
		m := files.Meta(id)
		m.Get("name")
		m.Get("info")
		m.Get("content")
		nodes++
	}
	return nodes
}

func benchmarkOpen(b *testing.B, n int) {
	snap := filesSnapshot(b, n)
	b.SetBytes(int64(len(snap)))
	b.ReportAllocs()
	for b.Loop() {
		d := NewDoc(2)
		_, err := d.Import(snap)
		require.NoError(b, err)
		k := 0
		for id := range d.Tree("files").Children(TreeRoot) {
			d.Tree("files").Meta(id).Get("name")
			k++
		}
		require.NotZero(b, k)
	}
}

func BenchmarkOpenSnapshotToFirstListing100k(b *testing.B) { benchmarkOpen(b, 100_000) }

// BenchmarkMillionNodes opens a snapshot of a million nodes and reports the
// memory of the process. It takes long, so it must be asked for with
// LORO_BENCH_MILLION=1.
func BenchmarkMillionNodes(b *testing.B) {
	if os.Getenv("LORO_BENCH_MILLION") == "" {
		b.Skip("set LORO_BENCH_MILLION=1")
	}
	benchmarkOpen(b, 1_000_000)
}

func BenchmarkWalk100k(b *testing.B) {
	d := load(b, filesSnapshot(b, 100_000))
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, 100_000, walkAll(d))
	}
}

func BenchmarkImportUpdates(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			d := load(b, filesSnapshot(b, n/4))
			up, err := d.ExportUpdates(nil)
			require.NoError(b, err)
			b.SetBytes(int64(len(up)))
			b.ReportAllocs()
			for b.Loop() {
				_, err := NewDoc(3).Import(up)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkImportManySmallUpdates imports 10,000 blobs of one commit each.
func BenchmarkImportManySmallUpdates(b *testing.B) {
	d := filesDoc(b, 1, 2500)
	var blobs [][]byte
	for c := range int32(10_000) {
		up, err := d.ExportRange(IDSpan{1, c, c + 1})
		require.NoError(b, err)
		blobs = append(blobs, up)
	}
	b.ReportAllocs()
	for b.Loop() {
		e := NewDoc(3)
		for _, up := range blobs {
			_, err := e.Import(up)
			require.NoError(b, err)
		}
	}
}

// BenchmarkMergeConcurrentMoves merges 10,000 moves into a document that made
// 10,000 others meanwhile.
func BenchmarkMergeConcurrentMoves(b *testing.B) {
	snap := filesSnapshot(b, 100_000)
	moves := func(peer PeerID) *Doc {
		r := rand.New(rand.NewPCG(uint64(peer), 9))
		d := NewDoc(peer)
		_, err := d.Import(snap)
		require.NoError(b, err)
		files := d.Tree("files")
		var all []TreeID
		for id := range files.Nodes() {
			all = append(all, id)
		}
		for i := 0; i < 10_000; i++ {
			files.Move(all[r.IntN(len(all))], all[r.IntN(len(all))])
		}
		d.Commit()
		return d
	}
	base := load(b, snap).Version()
	up, err := moves(11).ExportUpdates(base)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		d := moves(12)
		b.StartTimer()
		_, err := d.Import(up)
		require.NoError(b, err)
	}
}

// BenchmarkMergeIntoReopened merges changes older than the snapshot the
// document was just opened from, which takes a replay of the tree's history.
func BenchmarkMergeIntoReopened(b *testing.B) {
	snap := filesSnapshot(b, 100_000)
	old := NewDoc(5)
	require.NoError(b, old.Map("x").Set("k", Int(1)))
	n, err := old.Tree("files").Create(TreeRoot)
	require.NoError(b, err)
	require.NoError(b, old.Tree("files").Meta(n).Set("name", String("x")))
	old.Commit()
	up, err := old.ExportUpdates(nil)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		d := load(b, snap)
		b.StartTimer()
		_, err := d.Import(up)
		require.NoError(b, err)
	}
}

func BenchmarkExportAfterOneEdit(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			d := load(b, filesSnapshot(b, n))
			file := TreeRoot
			for id := range d.Tree("files").Nodes() {
				file = id
			}
			v := d.Version()
			i := int64(0)
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				i++
				require.NoError(b, d.Tree("files").Meta(file).Set("content", MapValue(Entry{"size", Int(i)})))
				d.Commit()
				up, err := d.ExportUpdates(v)
				require.NoError(b, err)
				v[d.Peer()] = d.h.end(d.self)
				size = len(up)
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

func BenchmarkCommit(b *testing.B) {
	d := load(b, filesSnapshot(b, 10_000))
	files := d.Tree("files")
	r := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		id, err := files.Create(TreeRoot)
		require.NoError(b, err)
		fillFile(b, r, files.Meta(id), i)
		d.Commit()
		i++
	}
}

// BenchmarkExportSnapshot100k exports snapshots after one edit each: of a name, which
// leaves the tree as it is, and by a new file; and one with everything written anew.
func BenchmarkExportSnapshot100k(b *testing.B) {
	run := func(name string, edit func(d *Doc, i int64)) {
		b.Run(name, func(b *testing.B) {
			d := load(b, filesSnapshot(b, 100_000))
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				edit(d, i)
				_, err := d.ExportSnapshot()
				require.NoError(b, err)
			}
		})
	}
	run("name", func(d *Doc, i int64) {
		_, file := d.find("files", 500)
		require.NoError(b, d.Tree("files").Meta(file).Set("name", Int(i)))
	})
	run("create", func(d *Doc, i int64) {
		file, err := d.Tree("files").Create(TreeRoot)
		require.NoError(b, err)
		require.NoError(b, d.Tree("files").Meta(file).Set("name", Int(i)))
	})
	run("anew", func(d *Doc, i int64) { d.s.kept.Store(nil) })
}

// residentMiB is the resident memory of the process, where the system tells.
func residentMiB() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	pages, _ := strconv.ParseFloat(f[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

var keep any

// TestMillionNodesFitInMemory measures a process that opens a snapshot file of a
// million nodes and walks all of it. LORO_MILLION names the file, which is made
// when it does not exist; making and measuring are two runs.
func TestMillionNodesFitInMemory(t *testing.T) {
	name := os.Getenv("LORO_MILLION")
	if name == "" {
		t.Skip("set LORO_MILLION to a file name")
	}
	blob, err := os.ReadFile(name)
	if err != nil {
		require.NoError(t, os.WriteFile(name, filesSnapshot(t, 1_000_000), 0o666))
		t.Skip("written; run again to measure")
	}
	d := NewDoc(2)
	_, err = d.Import(blob)
	require.NoError(t, err)
	t.Logf("after import: %.0f MiB resident, blob %d MiB", residentMiB(), len(blob)>>20)
	blob = nil
	require.Equal(t, 1_000_000, walkAll(d))
	t.Logf("after walk: %.0f MiB resident", residentMiB())
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	t.Logf("heap in use %d MiB, %d objects, arena live %d MiB garbage %d", ms.HeapInuse>>20, ms.HeapObjects, d.s.arena.live>>20, d.s.arena.garbage)
	keep = d
}

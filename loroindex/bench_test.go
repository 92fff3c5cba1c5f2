package loroindex

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

// perDir is how many files a directory of the benchmarks' trees has.
const perDir = 100

// bench is a tree of n files: names in directories of perDir, in directories of
// perDir.
type bench struct {
	x     *Index
	files []Node
	dirs  []Node
	names []string // of files[i] in dirs[i/perDir]
}

var benches = map[int]*bench{}

func benchTree(b testing.TB, n int) *bench {
	if t := benches[n]; t != nil {
		return t
	}
	x, err := New(Options{Device: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	t := &bench{x: x}
	top := Root
	for d := range n / perDir {
		err := x.Update(func(tx *Tx) error {
			if d%perDir == 0 {
				if top, err = tx.Create(Root, fmt.Sprint("top", d), dirInfo, Content{}); err != nil {
					return err
				}
			}
			dir, err := tx.Create(top, fmt.Sprint("directory ", d), dirInfo, Content{})
			if err != nil {
				return err
			}
			t.dirs = append(t.dirs, dir)
			for f := range perDir {
				name := fmt.Sprintf("file-%d-%d.txt", d, f)
				c := content(name)
				c.ModTime = 1_700_000_000_000_000
				file, err := tx.Create(dir, name, fileInfo, c)
				if err != nil {
					return err
				}
				t.files = append(t.files, file)
				t.names = append(t.names, name)
			}
			return nil
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
	}
	clear(benches) // one at a time fits
	benches[n] = t
	runtime.GC()
	return t
}

func sizes(b *testing.B, fn func(b *testing.B, t *bench)) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t := benchTree(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			fn(b, t)
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			i := rng.IntN(len(t.files))
			if e, err := t.x.Lookup(t.dirs[i/perDir], t.names[i]); err != nil || e.Node != t.files[i] {
				b.Fatal(e, err)
			}
		}
	})
}

func BenchmarkStat(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			if _, err := t.x.Stat(t.files[rng.IntN(len(t.files))]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		paths := make([]string, 1000)
		for i := range paths {
			paths[i], _ = t.x.Path(t.files[rng.IntN(len(t.files))])
		}
		b.ResetTimer()
		for i := 0; b.Loop(); i++ {
			if _, err := t.x.Resolve(paths[i%len(paths)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadDir(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		var buf []DirEntry
		for b.Loop() {
			var err error
			if buf, err = t.x.ReadDir(t.dirs[rng.IntN(len(t.dirs))], buf[:0]); err != nil || len(buf) < perDir {
				b.Fatal(len(buf), err)
			}
		}
	})
}

func BenchmarkCreate(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		bytes := 0
		i := 0
		stamp := time.Now().UnixNano()
		for b.Loop() {
			name := strconv.FormatInt(stamp, 36) + strconv.Itoa(i)
			i++
			dir := t.dirs[rng.IntN(len(t.dirs))]
			err := t.x.Update(func(tx *Tx) error {
				_, err := tx.Create(dir, name, fileInfo, Content{})
				return err
			}, func(op Op) { bytes += len(op.Update) })
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(bytes)/float64(i), "op-B")
	})
}

func BenchmarkSetContent(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		c := content("bench")
		for b.Loop() {
			c.Size++
			n := t.files[rng.IntN(len(t.files))]
			if err := t.x.Update(func(tx *Tx) error { return tx.SetContent(n, c) }, func(Op) {}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRename(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		rng := rand.New(rand.NewPCG(1, 2))
		i := 0
		stamp := strconv.FormatInt(time.Now().UnixNano(), 36)
		for b.Loop() {
			n, d := t.files[rng.IntN(len(t.files))], t.dirs[rng.IntN(len(t.dirs))]
			i++
			err := t.x.Update(func(tx *Tx) error {
				_, err := tx.Rename(n, d, stamp+strconv.Itoa(i), true)
				return err
			}, func(Op) {})
			if err != nil {
				b.Fatal(err)
			}
		}
		delete(benches, len(t.files)) // its names are not where they were
	})
}

// BenchmarkOpen opens a snapshot and lists the root directory.
func BenchmarkOpen(b *testing.B) {
	sizes(b, func(b *testing.B, t *bench) {
		snap, _, err := t.x.ExportSnapshot()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(snap))/float64(len(t.files)), "snap-B/file")
		b.ResetTimer()
		for b.Loop() {
			x, err := Open(Options{}, snap)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := x.ReadDir(Root, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestMemoryOfALargeTree reports what an index of a snapshot named by
// POCKET_SNAPSHOT takes; it makes one of a million files there if it is absent.
// It is skipped without.
func TestMemoryOfALargeTree(t *testing.T) {
	path := os.Getenv("POCKET_SNAPSHOT")
	if path == "" {
		t.Skip("POCKET_SNAPSHOT names no file")
	}
	snap, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		snap, _, err = benchTree(t, 1_000_000).x.ExportSnapshot()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, snap, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Skip("made; run again")
	}
	if err != nil {
		t.Fatal(err)
	}
	local := fileLocal{ObjectKey(objectid.Of(snap)): path}
	size := len(snap)
	snap = nil
	debug.FreeOSMemory()
	start := time.Now()
	l, err := Load(t.Context(), nil, local, Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := l.Index
	if _, err := x.ReadDir(Root, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("snapshot %d MB, first listing after %v, %s", size>>20, time.Since(start), memory())
	start = time.Now()
	if err := x.LoadAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("all read after another %v: %+v, %s", time.Since(start), x.Stats(), memory())
	start = time.Now()
	out, _, err := x.ExportSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("snapshot of %d MB made in %v, %s", len(out)>>20, time.Since(start), memory())
	runtime.KeepAlive(x)
}

// fileLocal keeps copies in files: key to path.
type fileLocal map[string]string

func (l fileLocal) List(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for k := range l {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (l fileLocal) Get(_ context.Context, key string) ([]byte, error) { return os.ReadFile(l[key]) }

func (l fileLocal) Put(context.Context, string, []byte) error { return nil }

func memory() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, _ := os.ReadFile("/proc/self/status")
	rss := ""
	for l := range strings.SplitSeq(string(status), "\n") {
		if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "VmHWM") {
			rss += ", " + strings.Join(strings.Fields(l), " ")
		}
	}
	return fmt.Sprintf("heap %d MB%s", m.HeapAlloc>>20, rss)
}

// BenchmarkPull brings in an update of each of 1,000 sessions, as after a holiday.
func BenchmarkPull(b *testing.B) {
	const sessions = 1000
	bucket := newBucket()
	for s := range sessions {
		x, err := New(Options{Device: "other"})
		if err != nil {
			b.Fatal(err)
		}
		publish(b, x, bucket, fmt.Sprint("file ", s))
	}
	b.ReportAllocs()
	for b.Loop() {
		x, err := New(Options{Device: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := x.Pull(b.Context(), bucket, nil); err != nil {
			b.Fatal(err)
		}
	}
}

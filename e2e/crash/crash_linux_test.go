// Linux only: the disk whose power goes is a FUSE file system (disk_linux_test.go).

package crash

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
)

var (
	traces  = flag.Int("crash.traces", 10, "workloads to record")
	perEach = flag.Int("crash.cuts", 100, "crashes to try of each workload")
	oneSeed = flag.Uint64("crash.seed", 0, "the seed of the first workload; 0: a random one")
)

const asChild = "POCKET_CRASH_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// memoryDir returns an empty directory in memory, if there is such a place: opening a
// journal syncs, which takes long on a disk.
func memoryDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if unix.Access(parent, unix.W_OK) != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "pocket-crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// cut is one crash.
type cut struct {
	at    int
	keeps keeps
	seed  uint64
}

// bootAfter returns the id of the machine's boot after a crash.
func (tr *trace) bootAfter(c cut) string {
	if c.keeps == killed {
		return tr.orders.Boot
	}
	return tr.orders.Boot + " and on"
}

// openState opens the file system on a state directory, in the machine's boot of the id boot. What it logs is
// returned with it.
func openState(dir, boot string, store *memstore.Store) (*fsimpl.FS, *statedir.Dir, *bytes.Buffer, error) {
	state, err := statedir.Open(dir, stateName)
	if err != nil {
		return nil, nil, nil, err
	}
	log := &bytes.Buffer{}
	fs, err := fsimpl.Open(context.Background(), options(store, state, boot, slog.New(slog.NewTextHandler(&locked{w: log}, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err != nil {
		state.Close()
		return nil, nil, log, err
	}
	return fs, state, log, nil
}

type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// leave closes as at the end of a process that has no time.
func leave(fs *fsimpl.FS, state *statedir.Dir) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fs.Close(ctx, nil) // what is left is told by an error
	state.Close()
}

// check opens what a crash left and returns what is wrong with it, and the trees found.
func (tr *trace) check(dir string, c cut, store *memstore.Store) (trees []tree, err error) {
	powerLoss := c.keeps != killed
	matches := func(trees []tree, bounds func(writer int) (int, int)) error {
		if c.at <= tr.made {
			return nil
		}
		for w, got := range trees {
			least, most := bounds(w)
			if got == nil {
				if tr.orders.Fresh && least == 0 && powerLoss {
					continue
				}
				return fmt.Errorf("writer %d: its directory is missing; promised are %d steps", w, least)
			}
			found := false
			for n := least; n <= most && !found; n++ {
				found = differ(tr.plans[w].trees[n], got) == ""
			}
			if !found {
				err := fmt.Errorf("writer %d: promised are %d steps, begun %d; after the former: %s", w, least, most, differ(tr.plans[w].trees[least], got))
				for n := range tr.plans[w].trees {
					if differ(tr.plans[w].trees[n], got) == "" {
						return fmt.Errorf("%w (it is as after %d steps)", err, n)
					}
				}
				for n := least; n < most; n++ {
					err = fmt.Errorf("%w\n   then %s", err, tr.plans[w].steps[n])
				}
				return err
			}
		}
		return nil
	}
	inStore := func(store *memstore.Store, want []tree) error {
		fresh, err := os.MkdirTemp(filepath.Dir(dir), "fresh-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(fresh)
		fs, state, _, err := openState(fresh, tr.orders.Boot, store)
		if err != nil {
			return err
		}
		defer leave(fs, state)
		trees, err := treesOf(fs, len(tr.plans))
		if err != nil {
			return err
		}
		if want == nil {
			return matches(trees, func(w int) (int, int) { return tr.stored(w, c.at), before(tr.begins[w], c.at) })
		}
		for w := range want {
			if d := differ(want[w], trees[w]); d != "" {
				return fmt.Errorf("writer %d: %s", w, d)
			}
		}
		return nil
	}
	if tr.stored(0, c.at) > 0 {
		if err := inStore(store, nil); err != nil {
			return nil, fmt.Errorf("another machine: %w", err)
		}
	}

	fs, state, log, err := openState(dir, tr.bootAfter(c), store)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer leave(fs, state)
	for _, notice := range fs.Notices() {
		if strings.Contains(notice, "damaged") || tr.orders.Fresh && !powerLoss {
			return nil, fmt.Errorf("it says: %s", notice)
		}
	}
	if trees, err = treesOf(fs, len(tr.plans)); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	if err := matches(trees, func(w int) (int, int) { return tr.bounds(w, c.at, powerLoss) }); err != nil {
		return trees, fmt.Errorf("%w\n%s", err, log)
	}
	if c.seed%3 == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := fs.Drain(ctx, nil); err != nil {
			return trees, fmt.Errorf("upload what is left: %w\n%s", err, log)
		}
		again, err := treesOf(fs, len(tr.plans))
		if err != nil {
			return trees, fmt.Errorf("after the upload: %w\n%s", err, log)
		}
		for w := range trees {
			if d := differ(trees[w], again[w]); d != "" {
				return trees, fmt.Errorf("writer %d changed with the upload: %s", w, d)
			}
		}
		if err := inStore(store, trees); err != nil {
			return trees, fmt.Errorf("another machine, after the upload: %w\n%s", err, log)
		}
	}
	return trees, nil
}

// crashes chooses some.
func (tr *trace) crashes(random *rand.Rand, n int) (cuts []cut) {
	for range n {
		c := cut{at: tr.began + random.IntN(len(tr.events)-tr.began+1), seed: random.Uint64()}
		switch random.IntN(6) {
		case 0, 1:
			c.keeps = killed
		case 2:
			c.keeps = bare
		case 3:
			c.keeps = namesOnly
		default:
			c.keeps = anyKeeps(random)
		}
		cuts = append(cuts, c)
	}
	slices.SortFunc(cuts, func(a, b cut) int { return a.at - b.at })
	return cuts
}

// each makes the crashes and calls check with what each leaves, several at once.
func (tr *trace) each(t *testing.T, cuts []cut, keep func(cut) keeps, check func(dir string, c cut, store *memstore.Store) error) {
	t.Helper()
	parent := memoryDir(t)
	m, err := tr.start()
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, 2)
		mu    sync.Mutex
		fails int // guarded by mu
	)
	objects := map[string][]byte{}
	done := 0
	for i, c := range cuts {
		for ; done < c.at; done++ {
			e := tr.events[done]
			m.apply(e)
			if e.verb == put {
				objects[e.name] = e.data
			}
		}
		c.keeps = keep(c)
		left := filepath.Join(parent, fmt.Sprint(i))
		if err := m.leave(left, "data", c.keeps, rand.New(rand.NewPCG(c.seed, 5))); err != nil {
			t.Fatal(err)
		}
		store := memstore.New()
		for key, body := range objects {
			if err := store.Put(context.Background(), key, body); err != nil {
				t.Fatal(err)
			}
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			err := check(left, c, store)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				if fails++; fails <= 3 {
					t.Errorf("seed %d, before event %d of %d (%s), %s: %v", tr.seed, c.at, len(tr.events), tr.eventAt(c.at), c.keeps, err)
				}
			}
			os.RemoveAll(left)
		})
	}
	wg.Wait()
	if fails > 3 {
		t.Errorf("seed %d: %d of %d went wrong", tr.seed, fails, len(cuts))
	}
}

func (tr *trace) eventAt(at int) string {
	if at == len(tr.events) {
		return "the end"
	}
	return tr.events[at].String()
}

// anyOrders are what a workload is told, by its seed.
func anyOrders(seed uint64) orders {
	random := rand.New(rand.NewPCG(seed, 7))
	o := orders{Seed: seed, Fresh: true, Boot: "on", Steps: 20 + random.IntN(40), Rounds: 1 + random.IntN(3), Drain: random.IntN(2) == 0, Sync: random.IntN(4) == 0, CacheSize: roomy}
	if o.Sync && random.IntN(2) == 0 {
		// What was uploaded is evicted all the time, and read back to be patched. What
		// waits for its upload must fit.
		o.CacheSize = 2 << 20
		o.Starts = []map[string][]byte{{}}
		return o
	}
	for range 1 + random.IntN(3) {
		o.Starts = append(o.Starts, asBytes(tree{}))
	}
	return o
}

// roomy is the size of a cache that nothing is evicted from.
const roomy = 64 << 20

func TestWhatWasPromisedSurvivesAnyCrash(t *testing.T) {
	first := *oneSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	for n := range *traces {
		seed := first + uint64(n)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 11))
			tr := record(t, seed, anyOrders(seed), "", nil)
			cuts := tr.crashes(random, *perEach)
			// The next start goes on from one of them, and is stopped as well.
			next := cuts[random.IntN(len(cuts))]
			var base string
			var found []tree
			var objects map[string][]byte
			tr.each(t, cuts, func(c cut) keeps { return c.keeps }, func(dir string, c cut, store *memstore.Store) error {
				if c == next && c.at > tr.made {
					base = filepath.Join(memoryDir(t), "base")
					if err := os.CopyFS(base, os.DirFS(dir)); err != nil {
						return err
					}
					objects = contents(t, store)
				}
				trees, err := tr.check(dir, c, store)
				if c == next {
					found = trees
				}
				return err
			})
			if base == "" || t.Failed() || slices.ContainsFunc(found, func(f tree) bool { return f == nil }) {
				return
			}
			o := anyOrders(seed)
			o.Fresh, o.Seed, o.Starts, o.Boot = false, seed+1, nil, tr.bootAfter(next)
			for _, f := range found {
				o.Starts = append(o.Starts, asBytes(f))
			}
			tr = record(t, seed, o, base, objects)
			tr.each(t, tr.crashes(random, *perEach/2), func(c cut) keeps { return c.keeps }, func(dir string, c cut, store *memstore.Store) error {
				_, err := tr.check(dir, c, store)
				return err
			})
		})
	}
}

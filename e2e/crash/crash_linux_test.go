package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
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

// trace is a workload as it was recorded.
type trace struct {
	seed   uint64
	orders orders
	plans  []plan
	start  func() (*image, error)
	events []event

	begins, acks [][]int // of each writer's steps, as places in events
	began        int     // before here the store got what it had at the start
	made         int     // from here on the writers' directories are there
	drains       []int   // everything acknowledged before was in the store
	walSyncs     []int   // syncs of the journal's log
}

// contents returns the objects of a store.
func contents(t *testing.T, store *memstore.Store) map[string][]byte {
	t.Helper()
	objects := map[string][]byte{}
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body, err := store.Get(t.Context(), info.Key, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		objects[info.Key] = body
	}
	return objects
}

// record runs a workload on a disk that starts as the directory base, or empty, with a
// store that has objects.
func record(t *testing.T, seed uint64, o orders, base string, objects map[string][]byte) *trace {
	t.Helper()
	srv, err := s3test.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	tr := &trace{seed: seed, orders: o, start: func() (*image, error) {
		m := newImage()
		if base == "" {
			return m, nil
		}
		_, err := m.load(base, "data", rootNode+1)
		return m, err
	}}
	for i, start := range o.Starts {
		tr.plans = append(tr.plans, planned(o.Seed, uint64(i), asTree(start), o.Steps))
	}
	m := newImage()
	next := uint64(rootNode + 1)
	if base != "" {
		if next, err = m.load(base, "data", next); err != nil {
			t.Fatal(err)
		}
	}
	d := newDisk(m, next)
	for key, body := range objects {
		if err := srv.SetObject(key, body); err != nil {
			t.Fatal(err)
		}
		d.note(event{verb: put, name: key, data: body})
	}
	behave := storeBehaviour(seed, o)
	srv.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		behave(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kind, key := s3test.KindOf(r), s3test.KeyOf(r)
			next.ServeHTTP(w, r)
			// Before the answer is sent.
			if kind == s3test.PutObject {
				if body, ok := srv.Object(key); ok {
					d.note(event{verb: put, name: key, data: body})
				}
			}
		}))
	})

	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no FUSE here:", err)
	}
	device := os.NewFile(uintptr(fd), "/dev/fuse")
	defer device.Close()
	dir := memoryDir(t)
	o.Dir, o.Endpoint, o.Bucket, o.KeyID, o.Secret = dir, srv.Endpoint, srv.Bucket, srv.AccessKeyID, srv.SecretAccessKey
	told, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"=1")
	cmd.Stdin = bytes.NewReader(told)
	var fails bytes.Buffer
	cmd.Stderr = &fails
	cmd.ExtraFiles = []*os.File{device}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no mount namespaces here:", err)
	}
	deadline := time.AfterFunc(2*time.Minute, func() { cmd.Process.Signal(syscall.SIGQUIT) })
	defer deadline.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "mounted\n" {
		cmd.Wait()
		t.Fatalf("the workload does not start: %s", fails.String())
	}
	server, err := d.serve(device)
	if err != nil {
		cmd.Process.Kill()
		t.Fatal(err)
	}
	device.Close()
	err = cmd.Wait()
	server.Wait() // the mount went with the process
	if err != nil {
		t.Fatalf("seed %d: the workload fails: %v\n%s", seed, err, fails.String())
	}
	srv.Stop() // what is still on its way does not arrive
	tr.events, tr.began = d.events, len(objects)
	tr.understand(t)
	return tr
}

// storeBehaviour is how the store does during a workload.
func storeBehaviour(seed uint64, o orders) s3test.Fault {
	random := rand.New(rand.NewPCG(seed, 99))
	pass := func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }
	var n atomic.Uint64
	fails := s3test.When(func(*http.Request) bool { return rand.New(rand.NewPCG(seed, n.Add(1))).IntN(3) == 0 }, s3test.Answer(503, "SlowDown"))
	k := random.IntN(5)
	switch {
	case o.CacheSize < roomy:
	case k == 0 && !o.Drain && !o.Sync:
		return s3test.On(s3test.PutObject, s3test.Answer(503, "SlowDown"))
	case k == 1:
		return fails
	case k == 2:
		return s3test.On(s3test.PutObject, s3test.Delay(20*time.Millisecond))
	}
	return pass
}

// understand finds the places that matter.
func (tr *trace) understand(t *testing.T) {
	t.Helper()
	for _, p := range tr.plans {
		n := len(p.steps)
		tr.begins, tr.acks = append(tr.begins, make([]int, 0, n)), append(tr.acks, make([]int, 0, n))
	}
	m, err := tr.start()
	if err != nil {
		t.Fatal(err)
	}
	wal := map[uint64]bool{}
	var find func(n *node)
	find = func(n *node) {
		for name, id := range n.names {
			if wal[id] = name == "journal.db-wal"; m.nodes[id].dir {
				find(m.nodes[id])
			}
		}
	}
	find(m.nodes[rootNode])
	tr.made = -1
	for at, e := range tr.events {
		switch {
		case e.verb == create && e.name == "journal.db-wal":
			wal[e.node] = true
		case e.verb == fsync && wal[e.node]:
			tr.walSyncs = append(tr.walSyncs, at)
		case e.verb != mark:
		case e.name == "m":
			if tr.made < 0 {
				tr.made = at
			}
		case e.name == "d":
			tr.drains = append(tr.drains, at)
		default:
			var what string
			var writer, step int
			if _, err := fmt.Sscanf(e.name, "%s %d %d", &what, &writer, &step); err != nil {
				t.Fatalf("mark %q: %v", e.name, err)
			}
			list := &tr.begins[writer]
			if what == "a" {
				list = &tr.acks[writer]
			}
			if len(*list) != step {
				t.Fatalf("mark %q comes as number %d", e.name, len(*list))
			}
			*list = append(*list, at)
		}
	}
	if len(tr.walSyncs) == 0 || tr.made < 0 {
		t.Fatalf("seed %d: the trace of %d events has no sync of the journal or no workload", tr.seed, len(tr.events))
	}
}

// before returns how many of ascending places are before at.
func before(places []int, at int) int {
	n, _ := slices.BinarySearch(places, at)
	return n
}

// bounds returns between which of a writer's trees the one found after a crash
// before event at must be: all that was promised by then, and nothing that was not begun.
func (tr *trace) bounds(writer, at int, powerLoss bool) (least, most int) {
	acked := before(tr.acks[writer], at)
	most = before(tr.begins[writer], at)
	if !powerLoss {
		return acked, most
	}
	least = tr.settled(writer, at)
	for w, p := range tr.plans {
		for n := before(tr.acks[w], at) - 1; n >= 0; n-- {
			if !p.steps[n].sync {
				continue
			}
			if w == writer {
				least = max(least, n+1)
			}
			least = max(least, before(tr.acks[writer], tr.begins[w][n]))
			break
		}
	}
	return least, most
}

// settled returns how many of a writer's steps the background has made to survive a power
// loss before event at.
func (tr *trace) settled(writer, at int) int {
	for n := before(tr.acks[writer], at); n > 0; n-- {
		// The sync under way at the acknowledgement may have begun too early, and a
		// checkpoint may sync the log once more: the third sync is of a round that
		// began afterwards.
		if before(tr.walSyncs, at)-before(tr.walSyncs, tr.acks[writer][n-1]) >= 3 {
			return n
		}
	}
	return 0
}

// stored returns how many of a writer's steps must be in the store before event at.
func (tr *trace) stored(writer, at int) (least int) {
	if n := before(tr.drains, at); n > 0 {
		least = before(tr.acks[writer], tr.drains[n-1])
	}
	if tr.orders.Sync {
		for n := before(tr.acks[writer], at) - 1; n >= 0; n-- {
			if tr.plans[writer].steps[n].op == "commit" {
				least = max(least, n+1)
				break
			}
		}
	}
	return least
}

// cut is one crash.
type cut struct {
	at    int
	keeps keeps
	seed  uint64
}

// openState opens the file system on a state directory. What it logs is returned with it.
func openState(dir string, store *memstore.Store) (*fsimpl.FS, *statedir.Dir, *bytes.Buffer, error) {
	state, err := statedir.Open(dir, stateName)
	if err != nil {
		return nil, nil, nil, err
	}
	log := &bytes.Buffer{}
	fs, err := fsimpl.Open(context.Background(), options(store, state, slog.New(slog.NewTextHandler(&locked{w: log}, &slog.HandlerOptions{Level: slog.LevelWarn}))))
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
		fs, state, _, err := openState(fresh, store)
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

	fs, state, log, err := openState(dir, store)
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
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
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
	o := orders{Seed: seed, Fresh: true, Steps: 20 + random.IntN(40), Rounds: 1 + random.IntN(3), Drain: random.IntN(2) == 0, Sync: random.IntN(4) == 0, CacheSize: roomy}
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
			o.Fresh, o.Seed, o.Starts = false, seed+1, nil
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

// Linux only: its child process has the disk of disk_linux_test.go.

package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/objstore/memstore"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

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
	deadline := time.AfterFunc(5*time.Minute, func() { cmd.Process.Signal(syscall.SIGQUIT) })
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

//go:build linux || windows

package e2e

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamflx/pocket/objstore/storetest/faultproxy"
)

var (
	soakFor  = flag.Duration("soak", 20*time.Second, "how long TestSoak goes on")
	soakSeed = flag.Uint64("soak.seed", 0, "its seed; 0: a random one")
)

// passing are faults that pass: what meets them is tried again.
var passing = []string{
	"503@0.3", "503=1s@0.3:PutObject", "429=1s@0.3", "500@0.3", "500@0.8:PutObject:data/", "503@0.5:PutObject:index/",
	"delay=30ms", "slow=300000@0.5", "reset@0.1", "lost-answer@0.3:PutObject", "reset-upload=20000@0.3:PutObject",
	"reset-body=1000@0.3:GetObject", "cut-body=700@0.3:GetObject", "cut-body=200@0.3:ListObjectsV2", "stall-body=100@0.03:GetObject",
	"page=200@0.2", "page=404@0.2", "page=302@0.2", "hang@0.03", "skew=20m", "skew=-40m", "ignore-conditions", "refuse-conditions",
}

// lying are faults after which a mount cannot be expected to start; one that runs goes
// on.
var lying = []string{"flip=777@0.2:GetObject:data/", "flip=30@0.2:GetObject:index/"}

// refusing are answers that only a person can end. Mounts try again every 15 s: they are
// for longer runs.
var refusing = []string{"403@0.5", "no-bucket@0.5"}

// soaker is a machine of TestSoak with its writers.
type soaker struct {
	m       *machine
	p       *process
	records []*record
}

// TestSoak lets writers on two machines change files under faults of all kinds, with
// kill -9, restarts, and the store away now and then, while a model keeps what must be
// there. In the end everything is on both machines, in the bucket, and on a third.
func TestSoak(t *testing.T) {
	needMounts(t)
	t.Parallel()
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: go test ./e2e -run TestSoak -soak %v -soak.seed %d", seed, *soakFor, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBucket(t)
	proxy, err := faultproxy.Start(b.Endpoint, faultproxy.Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d; faults that were met: %v", seed, proxy.Hits())
		}
	})
	config := []string{s3Storage("store", proxy.Endpoint, b.Bucket, b.AccessKeyID, b.SecretAccessKey), mountTable("files", "store")}
	var soakers []*soaker
	add := func() {
		s := &soaker{m: newMachine(t)}
		s.p = s.m.up(config...)
		for i := range 2 {
			dir := fmt.Sprintf("machine %d writer %d", len(soakers), i)
			s.records = append(s.records, &record{dir: s.p.at("files", dir), files: make(files)})
		}
		soakers = append(soakers, s)
	}
	add()
	watch := &watcher{seen: make(map[[32]byte]string), known: map[[32]byte]bool{sha256.Sum256(nil): true}}
	stopReading := func() {}
	end := time.Now().Add(*soakFor)
	for round := 0; time.Now().Before(end); round++ {
		if round == 2 {
			proxy.Set()
			add()
			stopReading = watch.start(t, soakers)
		}
		rules := chooseRules(random, time.Until(end) > time.Minute)
		cut := random.IntN(5) == 0
		lasts := time.Duration(1+random.IntN(3)) * time.Second
		who := soakers[random.IntN(len(soakers))]
		kill := random.IntN(2) == 0
		t.Logf("round %d, %v: %v, cut off: %v, killed: %v", round, lasts, rules, cut, kill)
		set(t, proxy, rules)
		if cut {
			proxy.Cut()
		}
		soakRound(t, soakers, watch, seed*1000+uint64(round)*10, lasts, func() {
			if kill {
				who.p.kill()
			}
		})
		if cut {
			if err := proxy.Join(); err != nil {
				t.Fatal(err)
			}
		}
		if kill {
			set(t, proxy, slices.DeleteFunc(rules, func(rule string) bool {
				return slices.Contains(lying, rule) || slices.Contains(refusing, rule)
			}))
			who.p = who.m.restart()
		}
		for _, s := range soakers {
			for _, r := range s.records {
				r.check(t)
				for body := range maps.Values(r.files) {
					watch.learn(body)
				}
			}
		}
		watch.judge(t)
	}

	proxy.Set()
	proxy.Cut() // what hangs is not waited for
	if err := proxy.Join(); err != nil {
		t.Fatal(err)
	}
	stopReading()
	watch.judge(t)
	for _, s := range soakers {
		s.p.stop()
	}
	pocketIndex, err := builtProgram("pocket-index")
	if err != nil {
		t.Fatal(err)
	}
	verify := programCommand(pocketIndex, "verify", "--read-data", "--mount", "files")
	verify.Env, verify.Dir = soakers[0].m.env, soakers[0].m.home()
	if said, err := verify.CombinedOutput(); err != nil {
		t.Errorf("pocket-index verify: %v\n%s", err, indent(string(said)))
	}
	places := []*machine{newMachine(t)}
	for _, s := range soakers {
		places = append(places, s.m)
	}
	for _, m := range places {
		p := m.up(config...)
		for _, s := range soakers {
			for _, r := range s.records {
				there := *r
				there.dir = p.at("files", filepath.Base(r.dir))
				there.check(t)
			}
		}
		p.stop()
	}
}

// set puts rules in the way.
func set(t *testing.T, proxy *faultproxy.Proxy, rules []string) {
	t.Helper()
	var parsed []faultproxy.Rule
	for _, text := range rules {
		rule, err := faultproxy.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, rule)
	}
	proxy.Set(parsed...)
}

func chooseRules(random *rand.Rand, long bool) (rules []string) {
	all := slices.Concat(passing, lying)
	if long {
		all = append(all, refusing...)
	}
	for range random.IntN(4) {
		rules = append(rules, all[random.IntN(len(all))])
	}
	return rules
}

// soakRound lets all writers work for a while. Then it calls end, and ends writers that
// still run wherever they are.
func soakRound(t *testing.T, soakers []*soaker, watch *watcher, seed uint64, lasts time.Duration, end func()) {
	t.Helper()
	var writers sync.WaitGroup
	stop := make(chan struct{})
	over := time.NewTimer(lasts)
	defer over.Stop()
	for n, s := range soakers {
		for i, r := range s.records {
			if err := os.Mkdir(r.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
			c := startChild(t, "writer", r.dir, fmt.Sprint(seed+uint64(4*n+i)))
			writers.Go(func() {
				for line := range c.lines {
					if failure, ok := strings.CutPrefix(line, "! "); ok {
						select {
						case <-stop: // as it must when its mount was killed
						default:
							t.Errorf("%s: %v: %s", r.dir, r.open, failure)
						}
						continue
					}
					open := r.open
					if r.follow(t, line) {
						watch.learn(r.files[open.name])
					}
				}
			})
			go func() {
				<-stop
				c.cmd.Process.Kill()
			}()
		}
	}
	<-over.C
	close(stop)
	end()
	writers.Wait()
}

// watcher collects what is read of files that others are changing. Each must be what
// somebody wrote.
type watcher struct {
	mu    sync.Mutex
	seen  map[[32]byte]string // where; not judged yet; guarded by mu
	known map[[32]byte]bool   // contents that were written; guarded by mu
}

// start has every machine read what the others write. A read may wait for a store that
// is away, so that it belongs to no round.
func (w *watcher) start(t *testing.T, soakers []*soaker) (stop func()) {
	stopped := make(chan struct{})
	var readers sync.WaitGroup
	for _, s := range soakers {
		for _, other := range soakers {
			for _, r := range other.records {
				if other == s {
					continue
				}
				dir := s.m.home("files", filepath.Base(r.dir))
				readers.Go(func() {
					tick := time.NewTicker(50 * time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-tick.C:
							w.read(dir)
						case <-stopped:
							return
						}
					}
				})
			}
		}
	}
	stop = sync.OnceFunc(func() {
		close(stopped)
		readers.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// read reads the files of a directory, as far as that is possible under faults.
func (w *watcher) read(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		w.mu.Lock()
		w.seen[sha256.Sum256(body)] = fmt.Sprintf("%s, %d bytes", filepath.Join(dir, e.Name()), len(body))
		w.mu.Unlock()
	}
}

// learn takes in what somebody wrote.
func (w *watcher) learn(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[sha256.Sum256(body)] = true
}

// judge tells of contents that nobody wrote.
func (w *watcher) judge(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for hash, where := range w.seen {
		if !w.known[hash] {
			t.Errorf("%s: nobody wrote that", where)
		}
	}
	clear(w.seen)
}

package fsimpl_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// ways are how programs save a file: they leave body at f in dir. They are called with the number of the save.
var ways = map[string]func(m *machine, dir string, n int, body []byte){
	"in place": func(m *machine, dir string, n int, body []byte) { m.put(dir+"/f", body) },
	"emptied, then written": func(m *machine, dir string, n int, body []byte) { // as a shell's > does through FUSE
		node, err := m.Resolve(dir + "/f")
		require.NoError(m.t, err)
		require.NoError(m.t, m.Truncate(node, 0))
		m.put(dir+"/f", body)
	},
	"renamed over it": func(m *machine, dir string, n int, body []byte) {
		m.put(dir+"/f.tmp", body)
		m.rename(dir+"/f.tmp", dir+"/f")
	},
	"from a name that never recurs": func(m *machine, dir string, n int, body []byte) { // sed -i, mkstemp
		m.put(fmt.Sprint(dir, "/sed", n), body)
		m.rename(fmt.Sprint(dir, "/sed", n), dir+"/f")
	},
	"from another directory": func(m *machine, dir string, n int, body []byte) {
		m.put(fmt.Sprint(dir, "-", n), body)
		m.rename(fmt.Sprint(dir, "-", n), dir+"/f")
	},
	"synced, then renamed": func(m *machine, dir string, n int, body []byte) {
		name := fmt.Sprint(".f.", n)
		f := m.create(m.node(dir), name)
		_, err := f.WriteAt(body, 0)
		require.NoError(m.t, err)
		require.NoError(m.t, f.Sync())
		m.close(f)
		m.rename(dir+"/"+name, dir+"/f")
	},
	"slowly": func(m *machine, dir string, n int, body []byte) {
		f := m.create(m.node(dir), fmt.Sprint("new", n))
		for off := 0; off < len(body); off += len(body)/3 + 1 {
			_, err := f.WriteAt(body[off:min(len(body), off+len(body)/3+1)], int64(off))
			require.NoError(m.t, err)
			time.Sleep(20 * time.Millisecond)
		}
		m.close(f)
		m.rename(fmt.Sprint(dir, "/new", n), dir+"/f")
	},
	"swapped with a name that never recurs": func(m *machine, dir string, n int, body []byte) {
		m.put(fmt.Sprint(dir, "/", n), body)
		require.NoError(m.t, m.Rename(m.node(dir), fmt.Sprint(n), m.node(dir), "f", fsimpl.RenameExchange))
		m.remove(fmt.Sprint(dir, "/", n))
	},
	"swapped with it": func(m *machine, dir string, n int, body []byte) {
		m.put(dir+"/f.new", body)
		require.NoError(m.t, m.Rename(m.node(dir), "f.new", m.node(dir), "f", fsimpl.RenameExchange))
		m.remove(dir + "/f.new")
	},
	"with a backup that stays": func(m *machine, dir string, n int, body []byte) {
		m.put(dir+"/f.tmp", body)
		m.rename(dir+"/f", dir+"/f~")
		m.rename(dir+"/f.tmp", dir+"/f")
	},
	"with a backup that goes": func(m *machine, dir string, n int, body []byte) { // vim
		m.put(dir+"/4913", nil)
		m.remove(dir + "/4913")
		m.rename(dir+"/f", dir+"/f~")
		m.put(dir+"/f", body)
		m.remove(dir + "/f~")
	},
	"with backups of other names": func(m *machine, dir string, n int, body []byte) { // Office
		m.put(fmt.Sprintf("%s/~WRD%04d.tmp", dir, n), body)
		m.rename(dir+"/f", fmt.Sprintf("%s/~WRL%04d.tmp", dir, n))
		m.rename(fmt.Sprintf("%s/~WRD%04d.tmp", dir, n), dir+"/f")
		m.remove(fmt.Sprintf("%s/~WRL%04d.tmp", dir, n))
	},
	"removed and made again": func(m *machine, dir string, n int, body []byte) {
		m.remove(dir + "/f")
		m.put(dir+"/f", body)
	},
	"with a rollback journal": func(m *machine, dir string, n int, body []byte) { // SQLite
		f := m.create(m.node(dir), "f-journal")
		_, err := f.WriteAt(append([]byte("what was"), body[:min(len(body), 4096)]...), 0)
		require.NoError(m.t, err)
		require.NoError(m.t, f.Sync())
		m.put(dir+"/f", body)
		m.close(f)
		m.remove(dir + "/f-journal")
	},
}

func (m *machine) node(path string) fsimpl.Node {
	n, err := m.Resolve(path)
	require.NoError(m.t, err)
	return n
}

func (m *machine) split(path string) (dir fsimpl.Node, name string) {
	i := strings.LastIndexByte(path, '/')
	if i == 0 {
		return root, path[1:]
	}
	return m.node(path[:i]), path[i+1:]
}

func (m *machine) rename(from, to string) {
	time.Sleep(2 * time.Millisecond) // so long programs take
	fromDir, fromName := m.split(from)
	toDir, toName := m.split(to)
	require.NoError(m.t, m.Rename(fromDir, fromName, toDir, toName, 0))
}

func (m *machine) remove(path string) {
	time.Sleep(2 * time.Millisecond)
	dir, name := m.split(path)
	_, err := m.Unlink(dir, name)
	require.NoError(m.t, err)
}

// savesRig is a machine whose store takes 20 ms for everything, and one that looks at the bucket after
// every update of the index.
type savesRig struct {
	*machine
	mu    sync.Mutex
	data  int                    // how many objects were put into data/; guarded by mu
	seen  map[string]objectid.ID // what the bucket has by paths; guarded by mu
	look  chan struct{}          // an update was put
	ended chan struct{}          // nobody looks any more
	worst time.Duration          // how long /dir/f was missing from the bucket; who looks has this alone
}

func newSavesRig(t *testing.T, chunk int64) *savesRig {
	r := &savesRig{look: make(chan struct{}, 1000), ended: make(chan struct{})}
	store := newFaultStore()
	r.machine = &machine{t: t, store: store, data: t.TempDir(), chunk: chunk}
	t.Cleanup(func() {
		close(r.look)
		<-r.ended
	})
	r.startForTest()
	go r.watch()
	_, err := r.Mkdir(root, "dir", 0o755, me)
	require.NoError(t, err)
	r.put("/dir/f", []byte("of before"))
	r.drain()
	time.Sleep(time.Minute)
	r.setLatency(20 * time.Millisecond)
	return r
}

// setLatency sets how long it takes to put something.
func (r *savesRig) setLatency(d time.Duration) {
	r.store.setSlow(d, func(key string) {
		switch {
		case strings.HasPrefix(key, "data/"):
			r.mu.Lock()
			r.data++
			r.mu.Unlock()
		case strings.HasPrefix(key, "index/updates/"):
			r.look <- struct{}{}
		}
	})
}

// watch looks at the bucket as another machine would: whatever the index names must be there.
func (r *savesRig) watch() {
	defer close(r.ended)
	var missing time.Time
	for range r.look {
		seen, err := r.inspect()
		if err != nil {
			r.t.Error(err)
			continue
		}
		r.mu.Lock()
		r.seen = seen
		r.mu.Unlock()
		_, there := seen["/dir/f"]
		switch {
		case !there && missing.IsZero():
			missing = time.Now()
		case there && !missing.IsZero():
			r.worst = max(r.worst, time.Since(missing))
			missing = time.Time{}
		}
	}
}

// inspect reads the index in the bucket and returns the files that it names, with their objects.
func (r *savesRig) inspect() (map[string]objectid.ID, error) {
	loaded, err := loroindex.Load(context.Background(), indexBucket{r.store.Store}, nil, loroindex.Options{Device: "who looks"})
	if err != nil {
		return nil, err
	}
	seen := make(map[string]objectid.ID)
	todo := []string{"/"}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		n, err := loaded.Index.Resolve(dir)
		if err != nil {
			return nil, err
		}
		entries, err := loaded.Index.ReadDir(n.Node, nil)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := strings.TrimSuffix(dir, "/") + "/" + e.Name
			if e.Kind == loroindex.Dir {
				todo = append(todo, path)
				continue
			}
			file, err := loaded.Index.Stat(e.Node)
			if err != nil {
				return nil, err
			}
			seen[path] = file.Object
			if file.Object.IsZero() {
				continue
			}
			if _, err := r.store.Store.Get(context.Background(), file.Object.Key(), 1<<30); err != nil {
				return nil, fmt.Errorf("%s is in the index: %w", path, err)
			}
		}
	}
	return seen, nil
}

// uploads returns how many objects were put since it was called last.
func (r *savesRig) uploads() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.data
	r.data = 0
	return n
}

func TestFileThatIsSavedTenTimesInASecondIsUploadedTwice(t *testing.T) {
	most := map[string]int{ // other than two contents
		"with a backup that stays":    3, // and the backup
		"with a rollback journal":     3, // and the first journal
		"with backups of other names": 3,
		"slowly":                      3, // in more than a second
	}
	for _, way := range slices.Sorted(maps.Keys(ways)) {
		for _, size := range []int{8 << 10, 300 << 10} {
			t.Run(fmt.Sprintf("%s, %d KiB", way, size>>10), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSavesRig(t, 1<<20)
					rng := rand.New(rand.NewPCG(1, 1))
					var body []byte
					for n := range 10 {
						body = randomBytes(rng, size)
						ways[way](r.machine, "/dir", n, body)
						time.Sleep(100 * time.Millisecond)
					}
					time.Sleep(time.Second)
					p := r.Progress()
					assert.True(t, p.Idle(), "a second after the last: %+v", p)
					n := r.uploads()
					t.Logf("%d objects, missing for %v", n, r.worst)
					assert.LessOrEqual(t, n, max(most[way], 2))
					r.stop()
					synctest.Wait()
					assert.Less(t, r.worst, 300*time.Millisecond, "the bucket was without the file")
					require.Equal(t, body, newMachine(t, r.store, 1<<20).get("/dir/f"))
				})
			})
		}
	}
}

// TestFileThatIsSavedForEverReachesTheStore guards against content that is given up each time for the next one, and against
// what everything else waits for behind it.
func TestFileThatIsSavedForEverReachesTheStore(t *testing.T) {
	for _, way := range slices.Sorted(maps.Keys(ways)) {
		for _, latency := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, %v", way, latency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newSavesRig(t, 1<<20)
					r.setLatency(latency)
					rng := rand.New(rand.NewPCG(1, 1))
					saved := make(map[objectid.ID]time.Time)
					others := make(map[string]time.Time)
					var oldest, longest time.Duration
					begun := time.Now()
					for n := range 100 {
						body := randomBytes(rng, 100)
						saved[objectid.Of(body)] = time.Now()
						ways[way](r.machine, "/dir", n, body)
						if n%7 == 0 {
							others[fmt.Sprint("/other", n)] = time.Now()
							r.put(fmt.Sprint("/other", n), body[:n%100])
						}
						time.Sleep(100 * time.Millisecond)
						r.mu.Lock()
						at, known := saved[r.seen["/dir/f"]]
						if !known {
							at = begun
						}
						oldest = max(oldest, time.Since(at))
						for path, at := range others {
							if _, there := r.seen[path]; there {
								delete(others, path)
							}
							longest = max(longest, time.Since(at))
						}
						r.mu.Unlock()
					}
					synctest.Wait()
					n := r.uploads()
					t.Logf("%d objects, the bucket was %v behind, others took %v, missing for %v", n, oldest, longest, r.worst)
					assert.LessOrEqual(t, n, 45)
					assert.Less(t, oldest, 3*time.Second)
					assert.Less(t, longest, 2*time.Second)
				})
			})
		}
	}
}

// TestFilesThatAreSavedForEverReachTheStore is the same for many files that are saved in different ways at different times.
func TestFilesThatAreSavedForEverReachTheStore(t *testing.T) {
	for _, latency := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond, 1500 * time.Millisecond} {
		t.Run(latency.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newSavesRig(t, 1<<20)
				r.setLatency(latency)
				for way := range ways {
					_, err := r.Mkdir(root, way, 0o755, me)
					require.NoError(t, err)
					r.put("/"+way+"/f", []byte(way))
				}
				r.drain()
				time.Sleep(time.Minute)
				var mu sync.Mutex
				saved := make(map[objectid.ID]time.Time) // guarded by mu
				begun := time.Now()
				end := begun.Add(30 * time.Second)
				var writers sync.WaitGroup
				count := 0
				for nth, way := range slices.Sorted(maps.Keys(ways)) {
					dir := "/" + way
					rng := rand.New(rand.NewPCG(uint64(nth), 1))
					writers.Go(func() {
						var oldest, longest time.Duration
						there := begun
						for n := 0; time.Now().Before(end); n++ {
							body := randomBytes(rng, 100)
							mu.Lock()
							count++
							saved[objectid.Of(body)] = time.Now()
							mu.Unlock()
							ways[way](r.machine, dir, n, body)
							time.Sleep(50*time.Millisecond + time.Duration(rng.IntN(100))*time.Millisecond)
							r.mu.Lock()
							seen := r.seen[dir+"/f"]
							r.mu.Unlock()
							mu.Lock()
							at, known := saved[seen]
							mu.Unlock()
							switch {
							case seen == objectid.ID{}: // it is not there, or is empty
								longest = max(longest, time.Since(there))
								continue
							case !known:
								at = begun
							}
							there = time.Now()
							oldest = max(oldest, time.Since(at))
						}
						t.Logf("%s: the bucket was %v behind, and without it for %v", way, oldest, longest)
						assert.Less(t, oldest, 2500*time.Millisecond+4*latency, way)
					})
				}
				writers.Wait()
				t.Logf("%d saves, %d objects", count, r.uploads())
			})
		})
	}
}

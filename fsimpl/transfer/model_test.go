package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

// model knows what a queue was given, and what must be in the store whenever it publishes.
type model struct {
	*rig
	rng   *rand.Rand
	names map[string]*modelFile // what there is
	files uint64

	mu    sync.Mutex
	steps []modelStep // by operation; guarded by mu
}

type modelFile struct {
	node    uint64
	maker   int32
	content []objectid.ID
}

// modelStep is what an operation does to a file: makes it, writes it, or removes it.
type modelStep struct {
	node           uint64
	made, gone     bool
	written        bool
	content        []objectid.ID
	alsoGone       uint64 // by a rename
	alsoGoneExists bool
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{rig: newRig(t), rng: rand.New(rand.NewPCG(seed, 1)), names: make(map[string]*modelFile)}
	m.rig.present = m.check
	return m
}

// check is called when the operations before end are about to be published: whatever a file consists of that others see
// then, or that they knew before and may bring back, must be in the store.
func (m *model) check(end int32) {
	known := m.end()
	m.mu.Lock()
	steps := m.steps[:end]
	m.mu.Unlock()
	type file struct {
		made    int32
		gone    int32 // -1: it is not
		content []objectid.ID
		by      int
	}
	files := make(map[uint64]*file)
	for n, s := range steps {
		if s.made {
			files[s.node] = &file{made: int32(n), gone: -1}
		}
		if s.written {
			files[s.node].content, files[s.node].by = s.content, n
		}
		if s.gone {
			files[s.node].gone = int32(n)
		}
		if s.alsoGoneExists {
			files[s.alsoGone].gone = int32(n)
		}
	}
	for node, f := range files {
		if f.gone >= 0 && (f.made >= known || f.gone < known) {
			continue // nobody ever sees it, or somebody did for the last time before
		}
		for _, id := range f.content {
			if !m.stored(id) {
				m.t.Errorf("operations %d to %d are published without an object of file %d, made by %d, written by %d, removed by %d",
					known, end, node, f.made, f.by, f.gone)
			}
		}
	}
}

func (m *model) add(s modelStep, c Change) {
	m.mu.Lock()
	n := int32(len(m.steps))
	m.steps = append(m.steps, s)
	m.mu.Unlock()
	require.NoError(m.t, m.queue.Add(journal.Entry{Peer: 1, Start: n, End: n + 1, Update: []byte{1}}, c).Wait())
}

func (m *model) create(name string) *modelFile {
	m.files++
	f := &modelFile{node: m.files, maker: int32(len(m.steps))}
	m.names[name] = f
	m.add(modelStep{node: f.node, made: true}, Change{Node: f.node, Made: true, At: at(name)})
	return f
}

// write gives a file chunks, some of which it has and some of which others have.
func (m *model) write(name string) {
	f := m.names[name]
	var content []objectid.ID
	c := Change{Node: f.node, Replaces: true, At: at(name)}
	for range m.rng.IntN(4) {
		if len(f.content) > 0 && m.rng.IntN(3) == 0 {
			content = append(content, f.content[m.rng.IntN(len(f.content))])
			continue
		}
		body := []byte(fmt.Sprint("content ", m.rng.IntN(40)+40*(len(m.steps)/100)))
		id := objectid.Of(body)
		require.NoError(m.t, m.cache.Put(id, body, true))
		u := journal.Upload{Object: id, Size: int64(len(body)), Node: f.node}
		content = append(content, id)
		if m.rng.IntN(5) == 0 {
			require.NoError(m.t, m.queue.Offer(f.node, at(name), u))
			c.Offered = append(c.Offered, id)
			time.Sleep(time.Duration(m.rng.IntN(100)) * time.Millisecond)
		}
		c.Objects = append(c.Objects, u)
	}
	c.Names = func(id objectid.ID) bool { return slices.Contains(content, id) }
	f.content = content
	m.add(modelStep{node: f.node, written: true, content: content}, c)
}

func (m *model) remove(name string) {
	f := m.names[name]
	delete(m.names, name)
	m.add(modelStep{node: f.node, gone: true}, Change{Node: f.node, Replaces: true, Maker: &Maker{1, f.maker}, At: at(name)})
}

func (m *model) rename(from, to string) {
	f, over := m.names[from], m.names[to]
	delete(m.names, from)
	m.names[to] = f
	c := Change{Moved: f.node, From: at(from), At: at(to), Maker: &Maker{}}
	var s modelStep
	if over != nil {
		c.Node, c.Replaces, c.Maker = over.node, true, &Maker{1, over.maker}
		s.alsoGone, s.alsoGoneExists = over.node, true
	}
	m.add(s, c)
}

func (m *model) exchange(a, b string) {
	f := m.names[a]
	m.names[a], m.names[b] = m.names[b], f
	m.add(modelStep{}, Change{Moved: f.node, From: Place{Dir: 1}, At: at(b), Maker: &Maker{}})
}

// step does something.
func (m *model) step() {
	name := fmt.Sprint("f", m.rng.IntN(5))
	if m.rng.IntN(3) == 0 {
		name = fmt.Sprint("tmp", m.rng.IntN(1000))
		m.create(name)
		defer func() { // as programs do
			if m.names[name] == nil {
				return
			}
			if to := fmt.Sprint("f", m.rng.IntN(5)); m.rng.IntN(3) > 0 {
				m.rename(name, to)
			} else {
				m.remove(name)
			}
		}()
	}
	other := fmt.Sprint("f", m.rng.IntN(5))
	switch k := m.rng.IntN(12); {
	case m.names[name] == nil:
		m.create(name)
		if k > 2 {
			m.write(name)
		}
	case k == 0:
		m.remove(name)
	case k == 1 && name != other:
		m.rename(name, other)
	case k == 2 && name != other && m.names[other] != nil:
		m.exchange(name, other)
	case k == 3 && name != other:
		m.rename(name, other) // a backup
		m.create(name)
		m.write(name)
		m.remove(other)
	case k == 4:
		m.remove(name)
		m.create(name)
		m.write(name)
	default:
		m.write(name)
	}
}

// weather has the store fail in some way, or work, for a while.
func (m *model) weather() {
	fail := func(prefix string, kind error) func(string) error {
		return func(key string) error {
			if !strings.HasPrefix(key, prefix) {
				return nil
			}
			return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: kind, Err: errors.New("forced")}
		}
	}
	slow := func(key string) error { time.Sleep(300 * time.Millisecond); return nil }
	ways := []func(string) error{
		nil, nil, slow,
		fail("", objstore.ErrUnavailable), fail("data/", objstore.ErrUnavailable), fail("index/", objstore.ErrUnavailable),
		fail("tip", objstore.ErrUnavailable), fail("data/", objstore.ErrPermission), fail("data/1", objstore.ErrPermission),
	}
	m.store.setFail(ways[m.rng.IntN(len(ways))])
}

// TestWhatIsPublishedIsInTheStoreWhateverProgramsDo does random things, while the store works and fails and somebody
// waits for it, or nobody. Whenever something is published all that it names is in the store, and in the end all is
// published, though nobody waits for it, and nothing is remembered of it.
func TestWhatIsPublishedIsInTheStoreWhateverProgramsDo(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed)
				for range 400 {
					m.step()
					switch m.rng.IntN(20) {
					case 0:
						m.weather()
					case 1:
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(m.rng.IntN(1000))*time.Millisecond)
						go func() {
							defer cancel()
							_ = m.queue.Reach(ctx, nil)
						}()
					case 2:
						time.Sleep(time.Duration(m.rng.IntN(3000)) * time.Millisecond)
					default:
						time.Sleep(time.Duration(m.rng.IntN(100)) * time.Millisecond)
					}
				}
				m.store.setFail(nil)
				time.Sleep(40 * time.Second) // after a refusal it is not tried before
				synctest.Wait()
				p := m.queue.Progress()
				require.True(t, p.Idle(), "%+v", p)
				end := "0"
				for _, span := range m.published {
					from, to, _ := strings.Cut(strings.Fields(span)[1], "-")
					require.Equal(t, end, from)
					end = to
				}
				require.Equal(t, fmt.Sprint(len(m.steps)), end)
				for name, f := range m.names {
					for _, id := range f.content {
						require.True(t, m.stored(id), name)
					}
				}
				require.NoError(t, m.journal.Sync(t.Context()))
				require.Zero(t, m.cache.Stats().Pinned)
				count, _ := m.journal.Uploads()
				require.Zero(t, count)
				m.queue.mu.Lock()
				defer m.queue.mu.Unlock()
				require.Empty(t, m.queue.files)
				require.Empty(t, m.queue.empty)
				require.Empty(t, m.queue.delayed)
				require.Empty(t, m.queue.heldOps)
				require.Empty(t, m.queue.firm)
			})
		})
	}
}

// TestFilesThatAreRemovedSoonDoNotKeepTheRestFromTheStore guards against operations that are published only together
// with later ones, one after the other without an end.
func TestFilesThatAreRemovedSoonDoNotKeepTheRestFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSaver(t)
		s.store.setFail(func(key string) error { time.Sleep(300 * time.Millisecond); return nil })
		var id objectid.ID
		var named int32
		var old uint64
		for n := range 300 { // what each of them has is gone before it is in the store, and there is always one
			file, _ := s.put(fmt.Sprint("tmp", n), fmt.Sprint("content ", n))
			if n == 20 {
				_, id = s.put("f", "content")
				named = s.n
			}
			time.Sleep(50 * time.Millisecond)
			if old != 0 {
				s.remove(old, fmt.Sprint("tmp", n-1))
			}
			old = file
			if n == 90 {
				require.True(t, s.stored(id))
				require.GreaterOrEqual(t, s.end(), named, "after three seconds")
			}
		}
		s.drain()
		t.Log(len(s.store.putKeys()), "requests")
	})
}

// end returns which operations are published.
func (r *rig) end() (end int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.published); n > 0 {
		var peer uint64
		var start int32
		_, err := fmt.Sscanf(r.published[n-1], "%d %d-%d", &peer, &start, &end)
		require.NoError(r.t, err)
	}
	return end
}

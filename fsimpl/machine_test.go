package fsimpl_test

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
)

const (
	root      = fsimpl.Root
	readWrite = fsimpl.OpenRead | fsimpl.OpenWrite
)

var me = fsimpl.Owner{UID: 1000, GID: 1000}

// machine is one computer: a state directory and a mount on it.
type machine struct {
	t        testing.TB
	store    *faultStore
	data     string
	chunk    int64
	mode     fsimpl.Mode
	rules    fsimpl.Rules
	name     string        // of the device; "": machine
	poll     time.Duration // 0: never
	rootMode uint32        // 0: 0755
	openWait time.Duration // 0: long
	cache    int64         // bytes; 0: 1 GiB
	roomWait time.Duration // 0: the default
	log      *slog.Logger  // nil: none

	syncDelay time.Duration // 0: the default
	state     *statedir.Dir
	*fsimpl.FS
}

// faultStore is a memory store whose calls fail on demand and are counted.
type faultStore struct {
	objstore.Store
	mu    sync.Mutex
	fail  func(op, key string) error // guarded by mu
	bytes int64                      // put, guarded by mu
	puts  map[string]int             // by first folder of the key, guarded by mu
	slow  time.Duration              // how long every Put takes, guarded by mu
	after func(key string)           // told of every Put that succeeded, guarded by mu
}

func newFaultStore() *faultStore { return &faultStore{Store: memstore.New(), puts: map[string]int{}} }

func (s *faultStore) setFail(fail func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// setSlow has every Put take d, and tells after of those that succeeded.
func (s *faultStore) setSlow(d time.Duration, after func(key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow, s.after = d, after
}

func (s *faultStore) check(op, key string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(op, key); err != nil {
			return err
		}
	}
	if op == objstore.OpPut {
		s.bytes += int64(n)
		folder, _, _ := strings.Cut(key, "/")
		s.puts[folder]++
	}
	return nil
}

func (s *faultStore) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	if err := s.check(objstore.OpGet, key, 0); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, key, max)
}

func (s *faultStore) Put(ctx context.Context, key string, body []byte) error {
	if err := s.check(objstore.OpPut, key, len(body)); err != nil {
		return err
	}
	s.mu.Lock()
	slow, after := s.slow, s.after
	s.mu.Unlock()
	time.Sleep(slow)
	err := s.Store.Put(ctx, key, body)
	if err == nil && after != nil {
		after(key)
	}
	return err
}

func (s *faultStore) uploaded() (bytes int64, data, index int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.puts["data"], s.puts["index"]
}

func unavailable(op, key string) error {
	return &objstore.Error{Op: op, Key: key, Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
}

func newMachine(t testing.TB, store *faultStore, chunk int64) *machine {
	m := &machine{t: t, store: store, data: t.TempDir(), chunk: chunk}
	m.startForTest()
	return m
}

// startForTest starts a machine that is stopped at the end of the test if it still runs then.
func (m *machine) startForTest() {
	m.start()
	m.t.Cleanup(func() {
		if m.FS != nil {
			m.stop()
		}
	})
}

func (m *machine) start() {
	require.NoError(m.t, m.tryStart())
}

func (m *machine) tryStart() (err error) {
	m.state, err = statedir.Open(m.data, "test")
	require.NoError(m.t, err)
	m.FS, err = fsimpl.Open(context.Background(), fsimpl.Options{
		Name: "test", Store: m.store, State: m.state, Mode: m.mode, Rules: m.rules, ChunkSize: m.chunk, Behind: 2 * m.chunk, CacheSize: cmp.Or(m.cache, 1<<30), RoomWait: m.roomWait,
		Device: cmp.Or(m.name, "machine"), Poll: cmp.Or(m.poll, -1), UID: me.UID, GID: me.GID, RootMode: cmp.Or(m.rootMode, 0o755),
		OpenWait: cmp.Or(m.openWait, time.Minute), ReadWait: 50 * time.Millisecond, SyncDelay: m.syncDelay,
		Log: cmp.Or(m.log, slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		m.FS = nil
		require.NoError(m.t, m.state.Close())
	}
	return err
}

// stop ends the mount as a user would: everything is in the store afterwards.
func (m *machine) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.NoError(m.t, m.Close(ctx, nil))
	require.NoError(m.t, m.state.Close())
	m.FS = nil
}

// leave ends the mount at once, with what is not uploaded left in the journal.
func (m *machine) leave() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := m.Close(ctx, nil)
	require.NoError(m.t, m.state.Close())
	m.FS = nil
	return err
}

func (m *machine) restart() {
	m.stop()
	m.start()
}

func (m *machine) create(parent fsimpl.Node, name string) *fsimpl.File {
	f, _, err := m.Create(parent, name, 0o644, me, readWrite)
	require.NoError(m.t, err)
	return f
}

// put writes a whole file and closes it.
func (m *machine) put(path string, body []byte) {
	dir, name := root, path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		var err error
		dir, err = m.Resolve(path[:i])
		require.NoError(m.t, err)
		name = path[i+1:]
	}
	f, _, err := m.Create(dir, name, 0o644, me, readWrite)
	if fsimpl.KindOf(err) == fsimpl.Exist {
		var a fsimpl.Attr
		a, err = m.Lookup(dir, name)
		require.NoError(m.t, err)
		f, err = m.Open(a.Node, readWrite|fsimpl.OpenTruncate)
	}
	require.NoError(m.t, err)
	_, err = f.WriteAt(body, 0)
	require.NoError(m.t, err)
	m.close(f)
}

func (m *machine) close(f *fsimpl.File) {
	m.t.Helper()
	require.NoError(m.t, f.Flush())
	require.NoError(m.t, f.Release())
}

// get reads a whole file.
func (m *machine) get(path string) []byte {
	m.t.Helper()
	body, err := m.tryGet(path)
	require.NoError(m.t, err)
	return body
}

func (m *machine) tryGet(path string) ([]byte, error) {
	n, err := m.Resolve(path)
	if err != nil {
		return nil, err
	}
	f, err := m.Open(n, fsimpl.OpenRead)
	if err != nil {
		return nil, err
	}
	defer f.Release()
	return readAll(f)
}

func readAll(f *fsimpl.File) ([]byte, error) {
	var body []byte
	p := make([]byte, 128<<10)
	for {
		n, err := f.ReadAt(p, int64(len(body)))
		if err != nil || n == 0 {
			return body, err
		}
		body = append(body, p[:n]...)
	}
}

func (m *machine) names(path string) []string {
	n, err := m.Resolve(path)
	require.NoError(m.t, err)
	d, err := m.OpenDir(n)
	require.NoError(m.t, err)
	names := []string{}
	for _, e := range d.Entries() {
		names = append(names, e.Name)
	}
	return names
}

func (m *machine) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.NoError(m.t, m.Drain(ctx, nil))
}

func randomBytes(rng *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

// indexBucket is a store as the index sees it.
type indexBucket struct{ objstore.Store }

func (b indexBucket) NotExist(err error) bool { return errors.Is(err, objstore.ErrNotExist) }

func (b indexBucket) List(ctx context.Context, prefix, after string) iter.Seq2[loroindex.Object, error] {
	return func(yield func(loroindex.Object, error) bool) {
		for info, err := range b.Store.List(ctx, prefix, after) {
			if !yield(loroindex.Object(info), err) {
				return
			}
		}
	}
}

package session

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
)

// machine is where sessions of a test keep their things.
type machine struct {
	t       *testing.T
	root    string
	options Options
}

func newMachine(t *testing.T) *machine {
	root := t.TempDir()
	m := &machine{t: t, root: root}
	require.NoError(t, os.Mkdir(filepath.Join(root, "store"), 0o700))
	m.restart()
	return m
}

// restart forgets what a process knows.
func (m *machine) restart() {
	m.options = Options{
		Stores:  NewStores(filepath.Join(m.root, "credentials")),
		DataDir: filepath.Join(m.root, "data"),
		Log:     slog.New(slog.NewTextHandler(m.t.Output(), nil)),
	}
}

// mount is a mount of the store in a folder.
func (m *machine) mount(name, prefix string) config.Mount {
	return config.Mount{
		Name: name, Path: filepath.Join(m.root, "mnt", name), Prefix: prefix, Mode: config.ModeBuffered,
		ChunkSize: config.DefaultChunkSize, CacheSize: config.MinCacheSize,
		Storage: config.Storage{Name: "nas", Backend: config.BackendDir, Dir: config.Dir{Path: filepath.Join(m.root, "store")}},
	}
}

func (m *machine) start(c config.Mount) *Session {
	m.t.Helper()
	if err := fusehost.Check(); err != nil {
		m.t.Skip(err)
	}
	s, err := New(context.Background(), c, m.options)
	require.NoError(m.t, err)
	require.NoError(m.t, s.Start(context.Background()))
	m.t.Cleanup(func() { // where the test failed
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.mounted.Unmount(ctx)
	})
	return s
}

func (m *machine) stop(s *Session) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	require.NoError(m.t, s.Stop(ctx))
}

func (m *machine) write(s *Session, name, text string) {
	m.t.Helper()
	require.NoError(m.t, os.WriteFile(filepath.Join(s.Mount.Path, name), []byte(text), 0o600))
}

func (m *machine) read(s *Session, name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Mount.Path, name))
	require.NoError(m.t, err)
	return string(text)
}

func TestFilesAreThereAgain(t *testing.T) {
	m := newMachine(t)
	s := m.start(m.mount("a", ""))
	m.write(s, "file", "text")
	m.stop(s)
	require.True(t, s.Progress().Idle())
	m.restart()
	s = m.start(m.mount("a", ""))
	require.Equal(t, "text", m.read(s, "file"))
	m.stop(s)
	require.NoError(t, os.RemoveAll(m.options.DataDir), "as on another machine")
	m.restart()
	s = m.start(m.mount("a", ""))
	require.Equal(t, "text", m.read(s, "file"))
	m.stop(s)
}

func TestPrefixesAreApart(t *testing.T) {
	m := newMachine(t)
	a, b := m.start(m.mount("a", "one/")), m.start(m.mount("b", "two/"))
	m.write(a, "file", "a")
	m.write(b, "file", "b")
	require.Equal(t, "a", m.read(a, "file"))
	m.stop(a)
	m.stop(b)
}

func TestMountsOfOnePlaceHaveAStateEach(t *testing.T) {
	m := newMachine(t)
	one, err := New(t.Context(), m.mount("a", "ssh"), m.options)
	require.NoError(t, err)
	two, err := New(t.Context(), m.mount("b", "ssh/"), m.options) // the same prefix in other words
	require.NoError(t, err)
	three, err := New(t.Context(), m.mount("c", "other"), m.options)
	require.NoError(t, err)
	require.Equal(t, one.stateID+"-2", two.stateID)
	require.NotEqual(t, one.stateID, three.stateID)
	m.restart()
	again, err := New(t.Context(), m.mount("a", "ssh"), m.options)
	require.NoError(t, err)
	require.Equal(t, one.stateID, again.stateID, "the next start finds it")
}

func TestMountThatFailsLeavesNothing(t *testing.T) {
	m := newMachine(t)
	c := m.mount("a", "")
	c.Storage.Dir.Path = filepath.Join(m.root, "missing")
	s, err := New(t.Context(), c, m.options)
	require.NoError(t, err)
	err = s.Start(t.Context())
	require.ErrorContains(t, err, "missing")
	require.NoDirExists(t, filepath.Join(m.options.DataDir, "state"))
	require.NoDirExists(t, c.Path)
	require.NoDirExists(t, c.Storage.Dir.Path)
}

func TestMountThatFailsKeepsTheStateOfEarlierOnes(t *testing.T) {
	m := newMachine(t)
	c := m.mount("a", "")
	s := m.start(c)
	m.write(s, "file", "text")
	m.stop(s)
	require.NoError(t, os.WriteFile(filepath.Join(m.root, "store", "index", "head"), []byte("nonsense"), 0o600))
	objects := filepath.Join(m.root, "store", "index", "objects")
	entries, err := os.ReadDir(objects)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.WriteFile(filepath.Join(objects, e.Name()), []byte("nonsense"), 0o600))
	}
	journal := s.state.Journal()
	m.restart()
	s, err = New(t.Context(), c, m.options)
	require.NoError(t, err)
	if err := s.Start(t.Context()); err == nil {
		// What this machine knew was enough.
		require.Equal(t, "text", m.read(s, "file"))
		m.stop(s)
	}
	require.FileExists(t, journal)
}

func TestMountPointIsCheckedFirst(t *testing.T) {
	m := newMachine(t)
	c := m.mount("a", "")
	require.NoError(t, os.MkdirAll(filepath.Dir(c.Path), 0o700))
	require.NoError(t, os.WriteFile(c.Path, []byte("mine"), 0o600))
	_, err := New(t.Context(), c, m.options)
	require.ErrorContains(t, err, c.Path+" is a file")
	require.NoDirExists(t, m.options.DataDir)
}

func TestMemoryKeepsNothing(t *testing.T) {
	m := newMachine(t)
	c := m.mount("a", "")
	c.Storage = config.Storage{Name: "memory", Backend: config.BackendMemory}
	s := m.start(c)
	m.write(s, "file", "text")
	m.stop(s)
	entries, err := os.ReadDir(filepath.Join(m.options.DataDir, "temp"))
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoDirExists(t, filepath.Join(m.options.DataDir, "state"))
	s = m.start(c) // the store lives as long as the process
	require.Equal(t, "text", m.read(s, "file"))
	m.stop(s)
}

func TestStopGivesUpWhenToldTo(t *testing.T) {
	m := newMachine(t)
	s := m.start(m.mount("a", ""))
	store := filepath.Join(m.root, "store")
	require.NoError(t, os.Rename(store, store+" away"))
	m.write(s, "file", "text")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, s.Stop(ctx), "not uploaded")
	require.False(t, s.Progress().Idle())
	require.NoError(t, os.Rename(store+" away", store))
	m.restart()
	s = m.start(m.mount("a", ""))
	require.Equal(t, "text", m.read(s, "file"))
	m.stop(s)
	require.True(t, s.Progress().Idle())
}

func TestAMissingProfileIsToldWithItsStorage(t *testing.T) {
	_, err := NewStores(t.TempDir()).Open(t.Context(), config.Storage{Name: "s", Backend: config.BackendS3, S3: config.S3{Bucket: "b", Credentials: "gone"}})
	require.ErrorIs(t, err, creds.ErrNotExist)
	require.ErrorContains(t, err, "storage s: ")
}

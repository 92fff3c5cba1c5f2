package fsimpl_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

// machinesOn returns machines that share a store, each looking for the others' changes
// all the time.
func machinesOn(t *testing.T, store *faultStore, names ...string) []*machine {
	var all []*machine
	for _, name := range names {
		m := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, name: name, poll: 5 * time.Millisecond}
		m.startForTest()
		all = append(all, m)
	}
	return all
}

func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	require.Eventually(t, reached, 2*time.Minute, 5*time.Millisecond, what)
}

func TestOtherMachinesChangesArriveWhileMounted(t *testing.T) {
	all := machinesOn(t, newFaultStore(), "a", "b")
	a, b := all[0], all[1]
	a.put("from a", []byte("1"))
	b.put("from b", []byte("2"))
	eventually(t, "both files on both machines", func() bool {
		both := []string{"1", "2"} // a file may be there before its content
		return slices.Equal(a.contents(), both) && slices.Equal(b.contents(), both)
	})
	require.NoError(t, b.Rename(root, "from a", root, "renamed", 0))
	eventually(t, "the rename", func() bool { return slices.Contains(a.names("/"), "renamed") })
	require.Equal(t, "1", string(a.get("/renamed")))
}

// lines is a log of which a test asks how often something is in it.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) with(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func TestThatOtherMachinesChangesCannotBeReadIsInTheLogOnce(t *testing.T) {
	store := newFaultStore()
	log := &lines{}
	a := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, name: "a", poll: time.Millisecond, log: slog.New(slog.NewTextHandler(log, nil))}
	a.startForTest()
	b := machinesOn(t, store, "b")[0]
	var refused int // guarded by the store's mutex
	store.setFail(func(op, key string) error {
		if op == objstore.OpGet && strings.HasPrefix(key, "index/updates/") {
			refused++
			return &objstore.Error{Op: op, Key: key, Kind: objstore.ErrPermission, Err: errors.New("forced")}
		}
		return nil
	})
	b.put("from b", []byte("2"))
	b.drain()
	eventually(t, "several attempts", func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return refused > 3
	})
	require.Equal(t, 1, log.with("other machines' changes cannot be read"))
	store.setFail(nil)
	eventually(t, "the end of it", func() bool { return log.with("other machines' changes can be read again") == 1 })
	require.Equal(t, "2", string(a.get("/from b")))
}

func TestContentsWrittenWithoutKnowledgeOfEachOtherAreBothKept(t *testing.T) {
	store := newFaultStore()
	all := machinesOn(t, store, "a", "b")
	a, b := all[0], all[1]
	a.put("f.txt", []byte("first"))
	eventually(t, "the file on b", func() bool { return len(b.names("/")) == 1 })
	store.setFail(unavailable)
	a.put("f.txt", []byte("written by a"))
	b.put("f.txt", []byte("written by b"))
	store.setFail(nil)
	contents := func(m *machine) string {
		var all []string
		for _, name := range m.names("/") {
			body, err := m.tryGet("/" + name)
			if err != nil {
				return err.Error()
			}
			all = append(all, string(body))
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	for _, m := range all {
		eventually(t, "both contents on "+m.name, func() bool { return contents(m) == "written by a, written by b" })
	}
	require.ElementsMatch(t, a.names("/"), b.names("/"))
	require.True(t, slices.ContainsFunc(a.names("/"), func(name string) bool {
		return strings.HasPrefix(name, "f (conflict ") && strings.HasSuffix(name, ").txt")
	}), "%v", a.names("/"))
}

func TestFileWrittenInADirectoryDeletedElsewhereComesBack(t *testing.T) {
	store := newFaultStore()
	all := machinesOn(t, store, "a", "b")
	a, b := all[0], all[1]
	_, err := a.Mkdir(root, "dir", 0o755, me)
	require.NoError(t, err)
	eventually(t, "the directory on b", func() bool { return len(b.names("/")) == 1 })
	store.setFail(unavailable)
	a.put("dir/precious", []byte("kept"))
	require.NoError(t, b.Rmdir(root, "dir"))
	store.setFail(nil)
	for _, m := range all {
		eventually(t, "the file on "+m.name, func() bool {
			body, err := m.tryGet("/precious")
			return err == nil && string(body) == "kept"
		})
	}
}

package fsimpl_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

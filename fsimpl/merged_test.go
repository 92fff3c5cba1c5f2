package fsimpl_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
)

// told collects what a machine is told of.
type told struct {
	mu  sync.Mutex
	all []fsimpl.Merged // guarded by mu
}

func (o *told) add(n []fsimpl.Merged) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, n...)
}

func (o *told) has(n fsimpl.Merged) func() bool {
	return func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return slices.Contains(o.all, n)
	}
}

func TestWhatArrivesFromTheStoreIsTold(t *testing.T) {
	all := machinesOn(t, newFaultStore(), "a", "b")
	a, b := all[0], all[1]
	b.stop()
	b.rules = fsimpl.Windows
	b.start()
	var o told
	b.OnMerge(o.add)
	eventuallyTold := func(path string, what fsimpl.Noticed, dir bool) {
		t.Helper()
		eventually(t, path, o.has(fsimpl.Merged{Path: path, What: what, Dir: dir}))
	}
	b.names("/")
	_, err := a.Mkdir(root, "d", 0o755, me)
	require.NoError(t, err)
	eventuallyTold("/d", fsimpl.Appeared, true)
	b.names("/d")
	a.make("/d/CON")
	eventuallyTold("/d/\uf043ON", fsimpl.Appeared, false)
	a.put("d/CON", []byte("other"))
	eventuallyTold("/d/\uf043ON", fsimpl.Altered, false)
	require.NoError(t, a.Rename(a.at("/d"), "CON", root, "f", 0))
	eventuallyTold("/d/\uf043ON", fsimpl.Vanished, false)
	eventuallyTold("/f", fsimpl.Appeared, false)
	require.NoError(t, a.Rmdir(root, "d"))
	eventuallyTold("/d", fsimpl.Vanished, true)

	// What a merge has this machine do is told as well.
	store := b.store
	store.setFail(unavailable)
	a.put("f", []byte("written by a"))
	b.put("f", []byte("written by b"))
	store.setFail(nil)
	eventually(t, "the conflict copy on both", func() bool { return len(a.names("/")) == 2 && len(b.names("/")) == 2 })
	for _, name := range b.names("/") {
		if name != "f" { // whichever of the two made it
			eventuallyTold("/"+name, fsimpl.Appeared, false)
		}
	}
	b.OnMerge(nil)
}

// Of names that differ in case alone, the one that is left is shown by another name.
func TestWhatTheCaseOfNamesChangesIsTold(t *testing.T) {
	all := machinesOn(t, newFaultStore(), "a", "b")
	a, b := all[0], all[1]
	b.stop()
	b.rules = fsimpl.Windows
	b.start()
	var o told
	b.OnMerge(o.add)
	eventuallyTold := func(path string, what fsimpl.Noticed) {
		t.Helper()
		eventually(t, path, o.has(fsimpl.Merged{Path: path, What: what}))
	}
	twin := func(name string) string {
		t.Helper()
		for _, shown := range b.list("/") {
			if strings.HasPrefix(shown, name+" (case conflict ") {
				return "/" + shown
			}
		}
		t.Fatalf("no other %s in %q", name, b.list("/"))
		return ""
	}
	b.names("/")
	a.make("/name")
	eventuallyTold("/name", fsimpl.Appeared)
	a.make("/NAME")
	eventually(t, "the other", func() bool { return len(b.list("/")) == 2 })
	upper := twin("NAME")
	eventuallyTold(upper, fsimpl.Appeared)

	_, err := a.Unlink(root, "NAME")
	require.NoError(t, err)
	eventuallyTold(upper, fsimpl.Vanished)
	require.False(t, o.has(fsimpl.Merged{Path: "/NAME", What: fsimpl.Vanished})(), "the first is still there")
	require.False(t, o.has(fsimpl.Merged{Path: "/name", What: fsimpl.Vanished})())

	a.make("/Name")
	eventually(t, "another", func() bool { return len(b.list("/")) == 2 })
	capital := twin("Name")
	_, err = a.Unlink(root, "name")
	require.NoError(t, err)
	eventuallyTold(capital, fsimpl.Vanished)
	eventuallyTold("/Name", fsimpl.Appeared)
	_, err = a.Unlink(root, "Name")
	require.NoError(t, err)
	eventuallyTold("/Name", fsimpl.Vanished)
	b.OnMerge(nil)
}

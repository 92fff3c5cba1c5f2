package fsimpl_test

import (
	"slices"
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

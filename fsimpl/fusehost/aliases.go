package fusehost

import (
	"sync"
	"sync/atomic"

	"github.com/hamflx/pocket/fsimpl"
)

// aliases has names that open files are still called by although the index does
// not have them (any more):
//
//   - libfuse gives an open file that is unlinked a hidden name and goes on using it
//     for what comes without a handle, fstat above all;
//   - WinFsp goes on using the name a file was opened by after a rename or an unlink,
//     for times and attributes.
//
// A name the index has goes before an alias. The alias ends with the file's last handle.
type aliases struct {
	count atomic.Int64 // names there are: nearly always none, and then nothing else is looked at

	mu    sync.Mutex
	nodes map[aliasName]fsimpl.Node   // guarded by mu
	names map[fsimpl.Node][]aliasName // the reverse of nodes; guarded by mu
}

// aliasName is by the directory, not the path: directories are renamed too.
type aliasName struct {
	parent fsimpl.Node
	name   string
}

// add lets name in parent stand for n.
func (a *aliases) add(parent fsimpl.Node, name string, n fsimpl.Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes == nil {
		a.nodes = make(map[aliasName]fsimpl.Node)
		a.names = make(map[fsimpl.Node][]aliasName)
	}
	key := aliasName{parent, name}
	if _, ok := a.nodes[key]; ok {
		a.drop(key)
	}
	a.nodes[key] = n
	a.names[n] = append(a.names[n], key)
	a.count.Add(1)
}

// drop removes a name that is there. Called with mu held.
func (a *aliases) drop(key aliasName) {
	n := a.nodes[key]
	delete(a.nodes, key)
	others := a.names[n][:0]
	for _, other := range a.names[n] {
		if other != key {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		delete(a.names, n)
	} else {
		a.names[n] = others
	}
	a.count.Add(-1)
}

// find returns what name in parent stands for.
func (a *aliases) find(parent fsimpl.Node, name string) (fsimpl.Node, bool) {
	if a.count.Load() == 0 {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n, ok := a.nodes[aliasName{parent, name}]
	return n, ok
}

// remove ends one name and reports whether it was there.
func (a *aliases) remove(parent fsimpl.Node, name string) bool {
	if a.count.Load() == 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := aliasName{parent, name}
	_, ok := a.nodes[key]
	if ok {
		a.drop(key)
	}
	return ok
}

// forget ends all names of n.
func (a *aliases) forget(n fsimpl.Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.names[n]) > 0 {
		a.drop(a.names[n][0])
	}
}

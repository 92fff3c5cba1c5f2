package fsimpl

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/loroindex"
)

// arrivals tells when something that no program of this machine changed was shown for the first time: what a
// system keeps of it may be outdated.
type arrivals struct {
	epoch  time.Time    // set by Open
	newest atomic.Int64 // of all that follows; times are nanoseconds since epoch, 0 is never

	mu    sync.Mutex     // guards what follows; taken while the index is locked
	nodes map[Node]int64 // those of the last seconds
	all   int64          // when more came than can be told apart
}

const (
	// arrivalsKept is how long arrivals are kept at least.
	arrivalsKept = 10 * time.Second
	// arrivalsMost bounds how many are told apart.
	arrivalsMost = 1 << 12
)

// note is called before changes can be seen.
func (a *arrivals) note(changes []loroindex.Change) {
	if len(changes) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := int64(time.Since(a.epoch)) + 1
	if a.nodes == nil || now-a.newest.Load() > int64(arrivalsKept) {
		a.nodes = make(map[Node]int64)
	}
	for _, c := range changes {
		if len(a.nodes) == arrivalsMost || c.Kind == loroindex.Dir && c.What&(loroindex.Added|loroindex.Moved) != 0 {
			// All that is below a directory has other names now.
			clear(a.nodes)
			a.all = now
			break
		}
		if c.What&(loroindex.Added|loroindex.Moved|loroindex.Altered) != 0 {
			a.nodes[c.Node] = now
		}
	}
	a.newest.Store(now)
}

// ArrivedWithin returns a number for what was shown in the last d, up to 10 seconds, for the first time in n's
// place, which no program of this machine put there; 0 for nothing. What arrives for a file that is open is shown when it
// is opened again, or closed.
func (fs *FS) ArrivedWithin(n Node, d time.Duration) (arrival int64) {
	a := &fs.arrivals
	since := int64(time.Since(a.epoch) - d)
	if newest := a.newest.Load(); newest == 0 || newest < since {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := max(a.all, a.nodes[n]); at > 0 && at >= since {
		return at
	}
	return 0
}

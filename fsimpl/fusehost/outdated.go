package fusehost

import (
	"sync"
	"time"

	"github.com/hamflx/pocket/fsimpl"
)

// attrTimeout is how long the kernel keeps attributes and names without asking again.
const attrTimeout = time.Second

// outdated keeps a file that another machine changed from being opened before the kernel knows its size: what it
// reads would be cut to the size of before, or filled up to it with zeros. Such an open is refused with
// ESTALE. The kernel then looks the path up again, whatever it knows, and opens what is there, all in one open(2).
// That one is refused no more.
type outdated struct {
	mu      sync.Mutex
	refused map[opening]int64     // arrivals of what was refused and not opened again yet
	known   map[fsimpl.Node]int64 // arrivals that the kernel has looked up
}

// opening is an open(2) of a file by a thread.
type opening struct {
	node   fsimpl.Node
	thread int
}

// outdatedMost bounds each of those maps.
const outdatedMost = 1 << 13

// refuse reports whether to refuse the open by a thread of a file at which something arrived.
func (o *outdated) refuse(n fsimpl.Node, thread int, arrival int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refused == nil {
		o.refused, o.known = make(map[opening]int64), make(map[fsimpl.Node]int64)
	}
	if o.known[n] == arrival {
		return false
	}
	by := opening{n, thread}
	if before, again := o.refused[by]; again {
		delete(o.refused, by)
		if len(o.known) >= outdatedMost {
			clear(o.known)
		}
		if before == arrival { // else it was looked up before that arrived, maybe
			o.known[n] = arrival
		}
		return false
	}
	if len(o.refused) >= outdatedMost {
		for by, before := range o.refused {
			if arrival-before > int64(time.Minute) { // it is not opened again
				delete(o.refused, by)
			}
		}
		if len(o.refused) >= outdatedMost {
			return false
		}
	}
	o.refused[by] = arrival
	return true
}

// arrival returns a number for what arrived in n's place lately, so that the kernel may not know of it yet; 0
// for nothing.
func (h *host) arrival(n fsimpl.Node) int64 {
	return h.fs.ArrivedWithin(n, 2*attrTimeout) // once for what it keeps, once for what was on its way to it
}

// refuses reports whether the open on whose thread this runs is refused. One that empties the file needs no size.
func (h *host) refuses(n fsimpl.Node, flags fsimpl.OpenFlags) bool {
	arrival := h.arrival(n)
	if arrival == 0 || flags&fsimpl.OpenTruncate != 0 {
		return false
	}
	thread := opener()
	return thread != 0 && h.outdated.refuse(n, thread, arrival)
}

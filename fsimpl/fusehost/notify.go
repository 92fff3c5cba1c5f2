package fusehost

import (
	"sync"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/winfsp/cgofuse/fuse"
)

// notifier tells the system of changes that came from the store, so that programs that watch a
// directory see them, and nothing outdated is served from its caches. It does so on a
// goroutine of its own that holds no lock: the system may ask the mount about a path before it
// takes the notice.
type notifier struct {
	send func(path string, action uint32) bool
	over chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	changed sync.Cond         // of what follows
	pending map[string]uint32 // action by path; guarded by mu
	order   []string          // the keys of pending, as they came; guarded by mu
	stopped bool              // guarded by mu
}

// noticesMost bounds what is pending. Whoever has more to tell waits, and so does the search for
// further changes.
const noticesMost = 1 << 14

func startNotifier(send func(path string, action uint32) bool) *notifier {
	n := &notifier{send: send, over: make(chan struct{}), pending: make(map[string]uint32)}
	n.changed.L = &n.mu
	go n.run()
	return n
}

// What is told of one path: that it came or went, that it is another now.
const (
	cameBits    = fuse.NOTIFY_MKDIR | fuse.NOTIFY_CREATE
	wentBits    = fuse.NOTIFY_RMDIR | fuse.NOTIFY_UNLINK
	alteredBits = fuse.NOTIFY_TRUNCATE | fuse.NOTIFY_UTIME | fuse.NOTIFY_CHFLAGS
)

func actionOf(notice fsimpl.Merged) uint32 {
	switch {
	case notice.What == fsimpl.Altered:
		return alteredBits
	case notice.What == fsimpl.Appeared && notice.Dir:
		return fuse.NOTIFY_MKDIR
	case notice.What == fsimpl.Appeared:
		return fuse.NOTIFY_CREATE
	case notice.Dir:
		return fuse.NOTIFY_RMDIR
	}
	return fuse.NOTIFY_UNLINK
}

// combine returns what two things that happened to a path, one after the other, come to.
func combine(earlier, later uint32) uint32 {
	switch {
	case later&wentBits != 0:
		return later
	case later&cameBits != 0 && earlier != 0:
		return later | alteredBits // what had the name may still be in a cache
	case earlier&wentBits != 0:
		return later
	}
	return earlier | later
}

// add takes notices to be told. It waits while there are too many.
func (n *notifier) add(notices []fsimpl.Merged) {
	for _, notice := range notices {
		n.mu.Lock()
		for len(n.order) >= noticesMost && !n.stopped {
			n.changed.Wait()
		}
		n.mu.Unlock()
		n.put(notice)
	}
}

// put takes notices to be told and does not wait: callbacks have a few, and the system may wait for
// them before it takes what is pending.
func (n *notifier) put(notices ...fsimpl.Merged) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, notice := range notices {
		if n.stopped {
			return
		}
		earlier, known := n.pending[notice.Path]
		if !known {
			n.order = append(n.order, notice.Path)
		}
		n.pending[notice.Path] = combine(earlier, actionOf(notice))
	}
	n.changed.Broadcast()
}

func (n *notifier) run() {
	defer close(n.over)
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		for len(n.order) == 0 && !n.stopped {
			n.changed.Wait()
		}
		if n.stopped {
			return
		}
		order, pending := n.order, n.pending
		n.order, n.pending = nil, make(map[string]uint32)
		n.changed.Broadcast()
		for _, path := range order {
			if n.stopped {
				return
			}
			n.mu.Unlock()
			n.send(path, pending[path]) // one that fails is made up for by the time-out of what the system knows
			n.mu.Lock()
		}
	}
}

// stop ends it and returns when nothing is told any more. A nil notifier is ended.
func (n *notifier) stop() {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.stopped = true
	n.changed.Broadcast()
	n.mu.Unlock()
	<-n.over
}

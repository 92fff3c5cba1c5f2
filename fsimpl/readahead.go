package fsimpl

import (
	"context"
	"sync"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/fsimpl/staging"
	"github.com/hamflx/pocket/internal/objectid"
)

// readAhead notices that a handle reads sequentially and has what comes next
// fetched before it is asked for.
type readAhead struct {
	mu     sync.Mutex
	next   int64 // where a sequential reader goes on; guarded by mu
	window int64 // bytes to have on the way beyond next; guarded by mu
	done   int64 // everything below was asked for already; guarded by mu
	begun  bool  // a read was answered; guarded by mu
}

const (
	windowFirst = 1 << 20
	windowMost  = 32 << 20
)

// advance notes a read and fetches ahead. Called with the inode's mu held for
// reading; it does not wait.
func (a *readAhead) advance(f *File, r staging.Range) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// The kernel sends parts of a sequential read out of order.
	const slack = 1 << 20
	if r.From > a.next+slack || r.To < a.next-slack {
		a.next, a.window, a.done = r.To, 0, 0
		f.inode.scattered(r)
		return
	}
	a.next = max(a.next, r.To)
	if !a.begun {
		return // what comes next would share the link with what is waited for
	}
	a.window = min(max(2*a.window, windowFirst), windowMost)
	i := f.inode
	end := min(a.next+a.window, i.search.Size())
	for from := max(a.next, a.done); from < end; {
		n, start := i.search.Find(from)
		if n >= len(i.extents) {
			return
		}
		e := i.extents[n]
		if !e.IsHole() && !f.fs.fetch.Prefetch(e.Object, i.objectHint()) {
			return // enough is on the way
		}
		from = start + e.Length
		a.done = from
	}
}

// answered notes that a read has its bytes.
func (a *readAhead) answered() {
	a.mu.Lock()
	a.begun = true
	a.mu.Unlock()
}

const (
	// sweepShare: once a 16th of a file's extents was fetched for reads here and there,
	// and at least sweepLeast of them, each further one has some of the rest fetched ahead.
	sweepShare = 16
	sweepLeast = 4
	// sweepStep is how many objects that is: it bounds what a few reads waste. Not more than
	// sweepMost are owed to reads that came faster than objects do.
	sweepStep = 2
	sweepMost = 64
)

// sweep fetches, little by little, the whole of a file that is read here and there: each such read
// costs a round trip and a whole chunk, so that a reader of an appreciable part of the file is
// better off with all of it.
type sweep struct {
	mu      sync.Mutex
	missed  int  // reads that had to fetch; guarded by mu, as all below
	begun   bool // enough of them
	allowed int  // objects that may still be fetched ahead
	running bool
	ended   bool // everything was gone through, or it failed
	from    int  // the extent to go on with
	seen    map[objectid.ID]bool
	stop    context.CancelFunc
}

// scattered notes a read that does not follow another one. Called with the inode's mu
// held for reading; it does not wait.
func (i *inode) scattered(r staging.Range) {
	if i.extents.Size() > i.fs.opts.CacheSize/2 {
		return // one part would push the other out of the cache
	}
	s := &i.sweep
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	n, _ := i.search.Find(r.From)
	if n >= len(i.extents) {
		return
	}
	if !s.begun {
		if e := i.extents[n]; e.IsHole() || i.fs.cache.Has(e.Object) {
			return
		}
		if s.missed++; s.missed < max(sweepLeast, len(i.extents)/sweepShare) {
			return
		}
		s.begun, s.from = true, n
		s.seen = make(map[objectid.ID]bool)
	}
	s.allowed = min(s.allowed+sweepStep, sweepMost)
	if s.running {
		return
	}
	s.running = true
	ctx, stop := context.WithCancel(i.fs.ctx)
	s.stop = stop
	extents, hint := i.extents, i.objectHint() // a list is never changed, only replaced
	i.fs.work.Go(func() {
		defer stop()
		s.run(ctx, i.fs, extents, hint)
	})
}

// run fetches what is allowed, beginning where the first reader was.
func (s *sweep) run(ctx context.Context, fs *FS, extents manifest.List, hint int64) {
	for {
		s.mu.Lock()
		if s.allowed == 0 || s.ended || ctx.Err() != nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		var id objectid.ID
		for n := 0; ; n++ {
			if n == len(extents) {
				s.ended, s.running, s.seen = true, false, nil
				s.mu.Unlock()
				return
			}
			e := extents[s.from%len(extents)]
			s.from++
			if !e.IsHole() && !s.seen[e.Object] {
				id = e.Object
				break
			}
		}
		s.seen[id] = true
		s.mu.Unlock()
		there := fs.cache.Has(id)
		fetched := there || fs.fetch.PrefetchWait(ctx, id, hint)
		s.mu.Lock()
		if !there {
			s.allowed--
		}
		if !fetched { // the store does not answer: begin anew when it does
			s.allowed, s.begun, s.missed = 0, false, 0
		}
		s.mu.Unlock()
	}
}

// end stops fetching: nobody has the file open any more.
func (s *sweep) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		s.stop()
	}
}

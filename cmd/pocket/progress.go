package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/hamflx/pocket/cmd/pocket/internal/intake"
	"github.com/hamflx/pocket/cmd/pocket/internal/session"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/term"
)

const (
	// progressAfter is how long mounts may take to end before it is shown how far they
	// are: most have nothing left to upload.
	progressAfter = time.Second
	progressTick  = 250 * time.Millisecond
)

// taking shows how far the mounts that take files in are.
type taking struct {
	out *term.Progress

	mu  sync.Mutex
	now map[string]intake.Progress // by the mount's name; guarded by mu
}

// set notes how far one of them is; nothing at all means that it is at its end.
func (t *taking) set(m config.Mount, p intake.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now == nil {
		t.now = make(map[string]intake.Progress)
	}
	if t.now[m.Name] = p; p == (intake.Progress{}) {
		if delete(t.now, m.Name); len(t.now) == 0 {
			t.out.Finish("")
			return
		}
	}
	var sum intake.Progress
	for _, p := range t.now {
		sum.Files, sum.TotalFiles = sum.Files+p.Files, sum.TotalFiles+p.TotalFiles
		sum.Bytes, sum.TotalBytes = sum.Bytes+p.Bytes, sum.TotalBytes+p.TotalBytes
	}
	t.out.Set(term.State{
		Verb: "taking in", Unit: "files", Done: sum.Files, Total: sum.TotalFiles,
		DoneBytes: sum.Bytes, TotalBytes: sum.TotalBytes,
	})
}

// pending is what has been shown since mounts began to end.
type pending struct {
	since time.Time
	told  map[*session.Session]bool // that its store cannot be reached
}

// showProgress shows how far the mounts that end are with what is left to upload, until
// done is closed.
func (r *runner) showProgress(done <-chan struct{}) {
	tick := time.NewTicker(progressTick)
	defer tick.Stop()
	var p pending
	for {
		select {
		case <-done:
			r.out.Finish("")
			return
		case now := <-tick.C:
			r.mu.Lock()
			ending := make([]*session.Session, 0, len(r.ending))
			for s := range r.ending {
				ending = append(ending, s)
			}
			r.mu.Unlock()
			if len(ending) == 0 {
				p = pending{}
				continue
			}
			if p.since.IsZero() {
				p.since = now
			}
			if now.Sub(p.since) >= progressAfter {
				r.showPending(&p, ending)
			}
		}
	}
}

// showPending shows what all mounts together have left to upload.
func (r *runner) showPending(p *pending, ending []*session.Session) {
	for _, s := range ending {
		now := s.Progress()
		if !now.Failing.IsZero() && !p.told[s] {
			if p.told == nil {
				p.told = make(map[*session.Session]bool)
			}
			p.told[s] = true
			r.sayUnreachable(s, now)
		}
	}
	if state := stateOf("uploading", r.endProgress()); state.Total > 0 {
		r.out.Set(state)
	}
}

// sayUnreachable tells why a mount does not end and what the user may do.
func (r *runner) sayUnreachable(s *session.Session, p transfer.Progress) {
	left := fmt.Sprintf("changes (%d)", p.Changes)
	if p.Files > 0 {
		left = fmt.Sprintf("files (%d, %s)", p.Files, term.Size(p.Bytes))
	}
	r.say("%s: %s are left to upload, but the store cannot be reached: %v", s.Mount.Name, left, p.Err)
	r.say("%s: waiting for it; Ctrl-C again leaves them in the journal on this machine, the next start uploads them", s.Mount.Name)
}

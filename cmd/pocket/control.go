package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hamflx/pocket/cmd/pocket/internal/session"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
)

// view is what the commands are told of a mount. Its fields but config are guarded by
// runner.mu.
type view struct {
	config   config.Mount
	state    control.State
	err      string           // why it failed
	attempts int              // that have failed
	again    time.Time        // when it is tried again; zero unless it waits for that
	stranded bool             // it is not mounted, and its journal may hold changes
	session  *session.Session // nil while there is none
	most     control.Progress // the most there was to upload since it began to end
}

// set changes what is told of a mount.
func (r *runner) set(v *view, state control.State, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.state = state
	close(r.changed)
	r.changed = make(chan struct{})
	switch {
	case err != nil:
		v.err = oneLine(err)
	case state == control.Mounted:
		v.err, v.attempts, v.stranded = "", 0, false
	}
	if state != control.Failed {
		v.again = time.Time{}
	}
}

// Status implements control.Service.
func (r *runner) Status(files int) control.Status {
	r.mu.Lock()
	views := make([]view, len(r.views))
	for i, v := range r.views {
		views[i] = *v
	}
	r.mu.Unlock()
	s := control.Status{
		PID: os.Getpid(), Version: version(), Config: r.config, Started: r.started,
		Mounts: make([]control.Mount, len(views)),
	}
	select {
	case <-r.stop:
		s.Stopping = true
	default:
	}
	for i, v := range views {
		m := session.Describe(v.config)
		m.State, m.Error, m.Attempts = v.state, v.err, v.attempts
		if !v.again.IsZero() {
			m.Retry = &v.again
		}
		if v.session != nil {
			v.session.Status(&m, files)
		}
		s.Mounts[i] = m
	}
	return s
}

// Wait implements control.Service.
func (r *runner) Wait(ctx context.Context, mount string, report func(control.Progress)) error {
	report(control.Progress{})
	sessions, err := r.startedSessions(ctx, mount)
	if err != nil && (len(sessions) == 0 || ctx.Err() != nil) {
		return err
	}
	var mu sync.Mutex
	all := make([]control.Progress, len(sessions)) // guarded by mu
	errs := make([]error, len(sessions))
	var work sync.WaitGroup
	for i, s := range sessions {
		work.Go(func() {
			errs[i] = s.DrainPending(ctx, func(p control.Progress) {
				mu.Lock()
				defer mu.Unlock()
				all[i] = p
				report(sum(all))
			})
		})
	}
	work.Wait()
	return errors.Join(append(errs, err)...)
}

// startedSessions waits until no mount of that name, or none at all, is being started, and returns those that
// are mounted. The error tells of those that are not and may have left something in their journals, or
// is control.ErrNoMount when there is none of either, or the context's.
func (r *runner) startedSessions(ctx context.Context, mount string) ([]*session.Session, error) {
	for {
		var sessions []*session.Session
		var stranded []error
		found, starting := false, false
		r.mu.Lock()
		changed := r.changed
		for _, v := range r.views {
			if mount != "" && v.config.Name != mount {
				continue
			}
			found = true
			switch {
			case v.state == control.Starting && v.attempts == 0:
				starting = true
			case v.session != nil && (v.state == control.Mounted || v.state == control.Ending):
				sessions = append(sessions, v.session)
			case v.stranded:
				stranded = append(stranded, fmt.Errorf("%s is not mounted, and what is left in its journal is not uploaded%s", v.config.Name, because(v.err)))
			}
		}
		r.mu.Unlock()
		switch {
		case mount != "" && !found:
			return nil, fmt.Errorf("%q: %w", mount, control.ErrNoMount)
		case starting:
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case len(sessions)+len(stranded) == 0:
			return nil, fmt.Errorf("nothing is mounted: %w", control.ErrNoMount)
		}
		return sessions, errors.Join(stranded...)
	}
}

// because is the end of a sentence about a failure.
func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

func sum(all []control.Progress) (total control.Progress) {
	for _, p := range all {
		total = total.Add(p)
	}
	return total
}

// Stop implements control.Service.
func (r *runner) Stop(ctx context.Context, uploadFor time.Duration, report func(control.Progress)) error {
	select {
	case r.told <- uploadFor:
	case <-r.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(progressTick)
	defer tick.Stop()
	for {
		select {
		case <-r.over:
			report(r.endProgress())
			switch r.code {
			case exitClean:
				return nil
			case exitLeft:
				return fmt.Errorf("stopped, and %w: the next start uploads them", control.ErrLeft)
			}
			return errors.New("a mount failed or did not end cleanly: see the log")
		case <-tick.C:
			report(r.endProgress())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// endProgress returns how far the mounts that end are with uploading, also those that
// have ended.
func (r *runner) endProgress() (total control.Progress) {
	r.mu.Lock()
	views := slices.Clone(r.views)
	r.mu.Unlock()
	for _, v := range views {
		r.mu.Lock()
		s, ended := v.session, v.state == control.Ending || v.most != (control.Progress{})
		r.mu.Unlock()
		if s == nil || !ended {
			continue
		}
		p := s.Progress()
		r.mu.Lock()
		v.most = mostOf(v.most, p)
		total = total.Add(v.most)
		r.mu.Unlock()
	}
	return total
}

// mostOf returns how far an upload is, given how far it was before.
func mostOf(before control.Progress, now transfer.Progress) control.Progress {
	p := control.Progress{
		Files: now.Files, Changes: now.Changes, Bytes: now.Bytes,
		TotalFiles: max(before.TotalFiles, now.Files), TotalChanges: max(before.TotalChanges, now.Changes),
		TotalBytes: max(before.TotalBytes, now.Bytes),
	}
	if !now.Failing.IsZero() {
		p.Failing = &now.Failing
		p.Error = cmp.Or(fmt.Sprint(now.Err), "unknown")
	}
	return p
}

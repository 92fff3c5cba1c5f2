package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/objstore"
)

// health is what the answers to requests tell of a store.
type health struct {
	mu       sync.Mutex
	answered time.Time // when it last answered; guarded by mu
	since    time.Time // since when it has not; zero while it does; guarded by mu
	err      error     // the last failure since; guarded by mu
}

// watch returns a store whose every call is noted.
func (h *health) watch(s objstore.Store) objstore.Store {
	return objstore.WithRetry(s, objstore.RetryPolicy{Budget: 1, Observe: h.observe}) // one attempt
}

func (h *health) observe(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if err == nil {
		h.answered, h.since, h.err = now, time.Time{}, nil
		return
	}
	if h.since.IsZero() {
		h.since = now
	}
	h.err = err
}

// status says how the store does. failing and err are what uploads have met.
func (h *health) status(failing time.Time, err error) control.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := control.Store{State: control.Reachable, Answered: pointer(h.answered)}
	if err == nil || !h.since.IsZero() && h.since.Before(failing) {
		failing, err = h.since, h.err
	}
	switch {
	case err == nil && h.answered.IsZero():
		s.State = control.Unknown
	case err == nil:
	case objstore.Retryable(err):
		s.State = control.Unreachable
	default:
		s.State = control.Refused
	}
	if err != nil {
		s.Since, s.Error = pointer(failing), oneLine(err)
	}
	return s
}

// pointer returns a pointer to a time, nil when it is zero.
func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// place names for people where the content of a mount is.
func place(m config.Mount) string {
	prefix, err := objstore.NormalizePrefix(m.Prefix)
	if err != nil {
		prefix = m.Prefix
	}
	below := ""
	if prefix != "" {
		below = ", below " + prefix
	}
	switch m.Storage.Backend {
	case config.BackendS3:
		text := "s3://" + m.Storage.S3.Bucket + "/" + prefix
		if m.Storage.S3.Endpoint != "" {
			text += " at " + m.Storage.S3.Endpoint
		}
		return text
	case config.BackendDir:
		return m.Storage.Dir.Path + below
	}
	return string(m.Storage.Backend) + below
}

// Describe returns what is known of a mount from its configuration.
func Describe(m config.Mount) control.Mount {
	return control.Mount{
		Name: m.Name, Path: m.Path, Mode: string(m.Mode),
		Store: control.Store{Name: m.Storage.Name, Place: place(m), State: control.Unknown},
	}
}

// Status adds to m how the mount does, with up to files pending files (control.All: all of
// them). It may be called at any time, and does not wait for the store.
func (s *Session) Status(m *control.Mount, files int) {
	s.mu.Lock()
	if s.original != nil {
		m.Original = s.original.Aside()
	}
	if s.since.IsZero() {
		s.mu.Unlock()
		store := s.health.status(time.Time{}, nil)
		store.Name, store.Place = m.Store.Name, m.Store.Place
		m.Store = store
		return
	}
	if !s.closing {
		s.kept = s.fs.Status()
	} else {
		s.kept.Changes, s.kept.Failing, s.kept.Err = s.last.Changes, s.last.Failing, s.last.Err
		if s.last.Idle() {
			s.kept.Pending = nil
		}
	}
	now, since, told := s.kept, s.since, s.told
	s.mu.Unlock()

	store := s.health.status(now.Failing, now.Err)
	store.Name, store.Place = m.Store.Name, m.Store.Place
	m.Store = store
	m.Mounted, m.Path = pointer(since), s.Path()
	m.Pending = pending(now, files)
	m.Cache = control.Cache{Used: now.Cache.Bytes, Cap: now.Cache.Cap, Pinned: now.Cache.Pinned}
	if now.Cache.Err != nil {
		m.Cache.Error = oneLine(now.Cache.Err)
	}
	i := now.Index
	m.Index = control.Index{
		Files: i.Files, Directories: i.Dirs, Bytes: i.Bytes, Complete: i.Complete,
		Operations: i.Operations, Sessions: i.Sessions, Version: i.Version, Unpublished: now.Changes,
		Published: pointer(i.Published), Checked: pointer(i.Checked), Merged: pointer(i.Merged),
	}
	m.OpenFiles = now.OpenFiles
	m.Notices = append(m.Notices, told...)
	for _, n := range now.Notices {
		m.Notices = append(m.Notices, control.Notice{Time: n.Time, Text: n.Text})
	}
	slices.SortStableFunc(m.Notices, func(a, b control.Notice) int { return a.Time.Compare(b.Time) })
}

func pending(s fsimpl.Status, files int) control.Pending {
	p := control.Pending{Files: len(s.Pending), Changes: s.Changes, Oldest: pointer(s.Oldest), List: []control.PendingFile{}}
	for i, f := range s.Pending {
		p.Bytes += f.Bytes
		if files == control.All || i < files {
			p.List = append(p.List, control.PendingFile{Path: f.Path, Bytes: f.Bytes, Since: f.Since, Open: f.Open})
		}
	}
	return p
}

// DrainPending waits until all that is pending now is in the store. Errors:
// control.ErrNoMount when it is not mounted, or not any more; control.ErrRefused when the store
// refuses; fsimpl.ErrLost in words; the context's.
func (s *Session) DrainPending(ctx context.Context, report func(control.Progress)) error {
	s.mu.Lock()
	if s.since.IsZero() || s.closing {
		s.mu.Unlock()
		return fmt.Errorf("%s: %w", s.Mount.Name, errNotMounted)
	}
	s.waits.Add(1)
	s.mu.Unlock()
	defer s.waits.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.waiting, cancel)()
	var most control.Progress
	err := s.fs.DrainPending(ctx, func(l transfer.Left) {
		most.Files, most.Changes, most.Bytes = l.Files, l.Changes, l.Bytes
		most.TotalFiles, most.TotalChanges = max(most.TotalFiles, l.Files), max(most.TotalChanges, l.Changes)
		most.TotalBytes = max(most.TotalBytes, l.Bytes)
		most.Failing, most.Error = pointer(l.Failing), ""
		if l.Err != nil {
			most.Error = oneLine(l.Err)
		}
		report(most)
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled) && s.waiting.Err() != nil:
		return fmt.Errorf("%s was unmounted before all was in the store: %w", s.Mount.Name, control.ErrLeft)
	case ctx.Err() != nil:
		return ctx.Err()
	case most.Error != "" && most.Failing != nil && !errors.Is(err, fsimpl.ErrLost):
		return fmt.Errorf("%s: %w: %s", s.Mount.Name, control.ErrRefused, oneLine(err))
	}
	return fmt.Errorf("%s: %s", s.Mount.Name, oneLine(err))
}

var errNotMounted = fmt.Errorf("it is not mounted: %w", control.ErrNoMount)

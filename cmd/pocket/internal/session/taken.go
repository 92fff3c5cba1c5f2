package session

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hamflx/pocket/cmd/pocket/internal/intake"
	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/term"
)

// What is at a mount point is taken into the store before it is moved aside, so that
// programs see it there until they see the mount with everything in it.

// ErrInterrupted is in the error of Start when it was told to end while it took in what was
// at the mount point. What it has taken in is in the journal.
var ErrInterrupted = errors.New("not everything is taken in yet; the next start goes on")

// intakeLog is the log of package intake.
func (s *Session) intakeLog() string { return filepath.Join(s.state.Path(), "import.log") }

// beginIntake takes in what is at the mount point where that is asked for; nil when it is
// not. An error is that of ctx, or of what makes it impossible to tell.
func (s *Session) beginIntake(ctx context.Context) (*intake.Intake, error) {
	if !errors.Is(fusehost.CheckPath(s.Mount.Path), fusehost.ErrNotEmpty) {
		return nil, nil
	}
	path := fusehost.Real(s.Mount.Path)
	begun, ended, err := intake.State(s.intakeLog(), path)
	if err != nil {
		return nil, err
	}
	root, err := s.fs.OpenDir(fsimpl.Root)
	if err != nil {
		return nil, err
	}
	empty := len(root.Entries()) == 0
	switch {
	case begun && !ended:
		s.tell("taking in what is in %s, where an earlier start was interrupted", path)
	case s.options.Import, s.Mount.Import && empty:
		s.tell("taking in what is in %s", path)
	case s.Mount.Import && !begun:
		s.tell("what is in %s is not taken in, since the store has files already: pocket --import adds what is not there", path)
		return nil, nil
	default:
		return nil, nil
	}
	in, err := intake.Open(intake.Options{
		FS: s.fs, Log: s.intakeLog(), Owner: user(), Tell: s.notice,
		Report: func(p intake.Progress) {
			if s.options.Taking != nil {
				s.options.Taking(s.Mount, p)
			}
		},
	}, path, empty)
	if err != nil {
		return nil, err
	}
	return in, s.pass(ctx, in, path)
}

// pass takes in what is at path. What the file system cannot take now is left to the next
// start; an error is that of ctx.
func (s *Session) pass(ctx context.Context, in *intake.Intake, path string) error {
	if s.incomplete {
		return nil
	}
	err := in.Pass(ctx, path)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%w)", ErrInterrupted, ctx.Err())
	case err != nil:
		s.incomplete = true
		s.notice("not everything in %s is taken in: %v: the next start goes on", path, err)
	}
	return nil
}

// endIntake takes in what has changed since, when ok, and says what became of the files.
func (s *Session) endIntake(ctx context.Context, in *intake.Intake, ok bool) error {
	var err error
	if original := s.Original(); ok && original != "" {
		err = s.pass(ctx, in, original)
	}
	if s.options.Taking != nil {
		s.options.Taking(s.Mount, intake.Progress{})
	}
	if !ok || err != nil || s.incomplete {
		_, closed := in.Abandon()
		return errors.Join(err, closed)
	}
	o, err := in.Finish()
	if err != nil {
		return fmt.Errorf("take in what is in %s: %w", s.Mount.Path, err)
	}
	s.incomplete = o.Failed > 0
	files := "files"
	if o.Files == 1 {
		files = "file"
	}
	say := fmt.Sprintf("took in %d %s, %s", o.Files, files, term.Size(o.Bytes))
	if more := o.Summary(); more != "" {
		say += "; " + more
	}
	s.notice("%s", say)
	return nil
}

// Incomplete reports whether something that was to be taken in could not be. It may be called
// when Start has returned.
func (s *Session) Incomplete() bool { return s.incomplete }

// TookIn reports whether an intake of what is at the mount point has come to its end, now or
// at an earlier start. It may be called when Start has succeeded, before Stop.
func (s *Session) TookIn() bool {
	s.mu.Lock()
	original := s.original
	s.mu.Unlock()
	if original == nil {
		return false
	}
	_, ended, err := intake.State(s.intakeLog(), original.Path())
	return err == nil && ended
}

// noticesMost bounds what status shows.
const noticesMost = 50

// notice tells the user something that status goes on telling.
func (s *Session) notice(format string, args ...any) {
	s.tell(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told) < noticesMost {
		s.told = append(s.told, control.Notice{Time: time.Now(), Text: fmt.Sprintf(format, args...)})
	}
}

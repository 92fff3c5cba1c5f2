package session

import (
	"errors"
	"os"

	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/aside"
)

// What was at a mount point before: a directory with files in it is moved aside while the
// mount is there, and back at its end.

// AsideOptions returns what package aside needs to know.
func (o Options) AsideOptions() aside.Options {
	return aside.Options{
		DataDir: o.DataDir, Log: o.Log,
		Clear: func(path string) error { return fusehost.ClearDead(path, o.Log) },
	}
}

func (s *Session) asideOptions() aside.Options {
	return Options{DataDir: s.dataDir, Log: s.log}.AsideOptions()
}

// record returns the record of what an earlier process moved aside from the mount point; nil
// when there is none.
func (s *Session) record() (*aside.Record, error) {
	r, err := aside.Find(s.asideOptions(), s.Mount.Path)
	if r != nil {
		return r, nil
	}
	if real, again := aside.Find(s.asideOptions(), fusehost.Real(s.Mount.Path)); real != nil {
		return real, again
	}
	return nil, err
}

// checkPath reports why nothing can be mounted at the mount point. What an earlier process
// left there is Start's to bring in order.
func (s *Session) checkPath() error {
	if r, _ := s.record(); r != nil {
		return nil
	}
	err := fusehost.CheckPath(s.Mount.Path)
	if errors.Is(err, fusehost.ErrNotEmpty) {
		return aside.Check(s.asideOptions(), fusehost.Real(s.Mount.Path))
	}
	return err
}

// bringBack moves back what an earlier process left aside.
func (s *Session) bringBack() error {
	if err := fusehost.ClearDead(s.Mount.Path, s.log); err != nil {
		return err
	}
	r, err := s.record()
	if r == nil {
		if err != nil {
			s.log.Warn("a record of a directory that was moved aside cannot be read", "error", err) // the user is told once
		}
		path := fusehost.Real(s.Mount.Path)
		if _, err := os.Lstat(aside.Of(path)); err == nil {
			s.tell("%s is there, and there is no record of it: if it is what was at %s, pocket restore --mount %s brings it back", aside.Of(path), path, s.Mount.Path)
		}
		return nil
	}
	notes, err := aside.Restore(s.asideOptions(), *r)
	for _, note := range notes {
		s.tell("%s", note)
	}
	if errors.Is(err, aside.ErrGone) {
		s.tell("%v", err)
		return nil
	}
	return err
}

// setAside moves what is at the mount point aside, unless it is nothing or an empty
// directory that can stay. It returns where to mount.
func (s *Session) setAside() (path string, err error) {
	err = fusehost.CheckPath(s.Mount.Path)
	hasFiles := errors.Is(err, fusehost.ErrNotEmpty)
	path = fusehost.Real(s.Mount.Path)
	// Moved, an empty one keeps its access rights, and is there after a crash.
	moves := err == nil && fusehost.Displaces(path) && aside.Check(s.asideOptions(), path) == nil
	if !hasFiles && !moves {
		return s.Mount.Path, err
	}
	// A symbolic link leads nowhere from here on.
	original, err := aside.Move(s.asideOptions(), s.Mount.Name, s.Mount.Path, path)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.original, s.hadFiles = original, hasFiles
	s.mu.Unlock()
	return path, nil
}

// giveBack moves what was set aside back, when the mount has ended.
func (s *Session) giveBack() error {
	s.mu.Lock()
	original := s.original
	s.mu.Unlock()
	if original == nil {
		return nil
	}
	notes, err := original.Return()
	for _, note := range notes {
		s.tell("%s", note)
	}
	s.mu.Lock()
	s.original = nil
	s.mu.Unlock()
	return err
}

// Original returns where the files are that were at the mount point while they are moved
// aside, else nothing.
func (s *Session) Original() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.original == nil || !s.hadFiles {
		return ""
	}
	return s.original.Aside()
}

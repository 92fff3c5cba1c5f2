package autostart

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

const (
	newInfix = ".new-" // in the name of a program that is not in its place yet
	oldInfix = ".old-" // in the name of one that was in its place
)

// Change is the installation of programs that can be taken back.
type Change struct {
	dir   string
	files []changed
}

// changed is one program of a Change.
type changed struct {
	path   string // where it belongs
	staged string // the new one, until it is in its place
	kept   string // the old one, once it is out of its place; empty when there was none
	placed bool   // the new one is in its place
}

// madeOfPocket is a program that is a copy of pocket: on Windows of a subsystem, else as it is.
type madeOfPocket struct {
	name      string
	subsystem uint16
}

// names returns the names of all programs.
func names() (all []string) {
	for _, p := range itself {
		all = append(all, p.name)
	}
	return append(all, beside...)
}

// Plan returns the programs that an installation of self puts into their places, or has there already.
func (s *Site) Plan(self string) []string {
	var paths []string
	for _, p := range itself {
		paths = append(paths, filepath.Join(s.Dir, p.name))
	}
	for _, name := range beside {
		if _, err := os.Stat(filepath.Join(filepath.Dir(self), name)); err == nil {
			paths = append(paths, filepath.Join(s.Dir, name))
		}
	}
	return paths
}

// Stage copies self, and those of the other programs that lie beside it, into the site's
// directory, where Swap then puts them into their places. Nothing of what is installed
// changes. A program that is in its place already is not in the Change.
func (s *Site) Stage(self string) (c *Change, err error) {
	c = &Change{dir: s.Dir}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the programs: %w", err)
	}
	s.sweep()
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Undo())
		}
	}()
	for _, p := range itself {
		if err := c.stage(self, p); err != nil {
			return c, err
		}
	}
	for _, name := range beside {
		err := c.stage(filepath.Join(filepath.Dir(self), name), madeOfPocket{name: name})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return c, nil
}

// stage adds the copy of a program to the Change, unless it is in its place.
func (c *Change) stage(from string, p madeOfPocket) error {
	path := filepath.Join(c.dir, p.name)
	if there, err := os.Stat(from); err == nil {
		if installed, err := os.Stat(path); err == nil && os.SameFile(there, installed) {
			return nil
		}
	}
	staged, err := stage(from, path, p.subsystem)
	if err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, path, err)
	}
	c.files = append(c.files, changed{path: path, staged: staged})
	return nil
}

// near returns a name for a program beside its place.
func near(path, infix string) string { return path + infix + rand.Text()[:8] + exeSuffix }

// stage copies a program that belongs to path, durably and as one of a subsystem unless that is 0, and
// returns its temporary name.
func stage(from, path string, subsystem uint16) (name string, err error) {
	in, err := busyfile.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(near(path, newInfix), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, busyfile.Remove(out.Name()))
		}
	}()
	_, err = io.Copy(out, in)
	if err == nil && subsystem != 0 {
		err = setSubsystem(out, subsystem)
	}
	if err == nil {
		err = out.Chmod(0o755)
	}
	if err == nil {
		err = out.Sync()
	}
	return out.Name(), errors.Join(err, out.Close())
}

// Paths returns where the programs of the Change belong.
func (c *Change) Paths() []string {
	var paths []string
	for _, f := range c.files {
		paths = append(paths, f.path)
	}
	return paths
}

// Swap puts the staged programs into their places; at every moment there is an old one or a
// new one. After an error some are: Undo takes them back.
func (c *Change) Swap() error {
	for i := range c.files {
		if err := c.files[i].swap(); err != nil {
			return fmt.Errorf("put %s into its place: %w", c.files[i].path, err)
		}
	}
	if len(c.files) == 0 {
		return nil
	}
	return atomicfile.SyncDir(c.dir)
}

func (f *changed) swap() error {
	kept := near(f.path, oldInfix)
	linked := os.Link(f.path, kept)
	if linked == nil {
		f.kept = kept
	}
	if linked == nil || errors.Is(linked, fs.ErrNotExist) {
		if err := os.Rename(f.staged, f.path); err == nil || linked != nil {
			f.placed = err == nil
			return err
		}
		// Windows replaces no program that runs: it is not waited for. It renames one, though;
		// the link stays, for it cannot be removed either.
		kept = near(f.path, oldInfix)
	}
	if err := busyfile.Rename(f.path, kept); err != nil {
		return err
	}
	f.kept = kept
	err := busyfile.Rename(f.staged, f.path)
	f.placed = err == nil
	return err
}

// Undo puts back what was there before.
func (c *Change) Undo() error {
	var errs []error
	for i := range c.files {
		f := &c.files[i]
		if !f.placed {
			errs = append(errs, busyfile.Remove(f.staged))
		}
		switch {
		case f.kept != "":
			err := os.Rename(f.kept, f.path)
			if err != nil { // the new one is running
				_, err = setAside(f.path)
				if err == nil {
					err = busyfile.Rename(f.kept, f.path)
				}
			}
			errs = append(errs, err)
		case f.placed:
			errs = append(errs, busyfile.Remove(f.path))
		}
	}
	c.files = nil
	return errors.Join(errs...)
}

// Done removes what Undo would put back.
func (c *Change) Done() {
	for _, f := range c.files {
		if f.kept != "" {
			os.Remove(f.kept) // one that still runs is removed by the next installation
		}
	}
	c.files = nil
}

// sweep removes what earlier installations have left behind, also one that was killed. Others' files, which have
// names that near does not make, stay.
func (s *Site) sweep() {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if s.isLeftover(e.Name()) {
			os.Remove(filepath.Join(s.Dir, e.Name()))
		}
	}
}

func (s *Site) isLeftover(name string) bool {
	for _, program := range names() {
		for _, infix := range []string{oldInfix, newInfix} {
			random, ours := strings.CutPrefix(name, program+infix)
			random = strings.TrimSuffix(random, exeSuffix)
			if ours && len(random) == 8 && strings.Trim(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" {
				return true
			}
		}
	}
	return false
}

// Removed is a program that is not installed any more.
type Removed struct {
	Path  string // where it was
	Aside string // where it is, because it is running; empty: it is gone
}

// Programs returns the paths of the programs that are installed.
func (s *Site) Programs() []string {
	var paths []string
	for _, name := range names() {
		path := filepath.Join(s.Dir, name)
		if _, err := os.Lstat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// RemovePrograms removes the programs. One that runs, on Windows also the one that calls
// this, is moved aside.
func (s *Site) RemovePrograms() (removed []Removed, err error) {
	for _, path := range s.Programs() {
		r := Removed{Path: path}
		failed := os.Remove(path)
		if failed != nil {
			if r.Aside, failed = setAside(path); failed != nil {
				err = errors.Join(err, fmt.Errorf("remove %s: %w", path, failed))
				continue
			}
		}
		removed = append(removed, r)
	}
	s.sweep()
	removeEmpty(s.Dir)
	return removed, err
}

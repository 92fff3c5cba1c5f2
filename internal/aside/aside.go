// Package aside moves the directory that is at a mount path out of the way while
// something is mounted there, and back.
//
//	original, err := aside.Move(options, name, path, path) // path -> path.pocket-original
//	... mount, use, unmount ...
//	notes, err := original.Return()                        // and back
//
// It only renames, within one directory, and never over anything: what was there keeps
// its contents, owner, times and access rights. Before the first rename a record is written
// in the data directory and synced, so that whoever comes after a crash knows what was
// meant:
//
//	<data directory>/aside/<id>.json   the record, docs/state.md says what is in it
//	<data directory>/aside/<id>.lock   locked by the process that holds it
//
// Restore brings back what a process left that was killed. Whatever it finds at the
// mount path by then, it removes only an empty directory, or on Windows a junction to a
// volume that is gone; anything else gets another name and is told.
package aside

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/statedir"
)

// Suffix is what the name of a directory gets while it is aside.
const Suffix = ".pocket-original"

// conflictSuffix, with a time, is what a directory gets that somebody made at a mount path
// while its original was aside.
const conflictSuffix = ".pocket-conflict-"

// Of returns where the directory at path is while it is aside.
func Of(path string) string { return path + Suffix }

var (
	// ErrMounted is what errors.Is finds in an error when something is mounted at the path.
	ErrMounted = errors.New("something is mounted there")
	// ErrGone is what errors.Is finds in an error when the original is neither aside nor back.
	ErrGone = errors.New("the original is gone")
)

// Options of all calls.
type Options struct {
	DataDir string                  // of package statedir
	Clear   func(path string) error // unmounts a mount whose process is gone; nil: there can be none
	Log     *slog.Logger
}

// State is how far a record's directory is on its way.
type State string

// The states of a record.
const (
	Moving    State = "moving"    // is being moved aside, or was not moved yet
	Aside     State = "aside"     // is aside
	Returning State = "returning" // is being moved back, or is back
)

// Record is what is known of a directory that was moved aside.
type Record struct {
	Version int       `json:"version"` // 1
	State   State     `json:"state"`
	Name    string    `json:"name"`             // of the mount
	Mount   string    `json:"mount"`            // the mount path as it was configured
	Path    string    `json:"path"`             // the same without symbolic links
	Aside   string    `json:"aside"`            // where the directory is
	Inode   uint64    `json:"inode,omitempty"`  // its number in its file system; 0: unknown
	Hidden  bool      `json:"hidden,omitempty"` // it was hidden before (Windows)
	Since   time.Time `json:"since"`
}

const (
	version      = 1
	recordMost   = 64 << 10 // bytes
	recordSuffix = ".json"
	lockSuffix   = ".lock"
)

func (o Options) dir() string { return filepath.Join(o.DataDir, "aside") }

func (o Options) file(path, suffix string) string {
	return filepath.Join(o.dir(), statedir.ID("aside", path)+suffix)
}

// Records returns the records there are. One that cannot be read is an error beside the
// others.
func Records(o Options) ([]Record, error) {
	entries, err := os.ReadDir(o.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for directories that were moved aside: %w", err)
	}
	var records []Record
	var errs []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), recordSuffix) {
			continue
		}
		r, err := read(filepath.Join(o.dir(), e.Name()))
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, fs.ErrNotExist): // another process has returned it just now
			errs = append(errs, err)
		}
	}
	return records, errors.Join(errs...)
}

// Find returns the record of a mount path, which may be given as it is configured or
// without symbolic links; nil when there is none.
func Find(o Options, path string) (*Record, error) {
	records, err := Records(o)
	for _, r := range records {
		if r.At(path) {
			return &r, nil
		}
	}
	return nil, err
}

// At reports whether a record is that of a mount path, which may be given as it is configured or without symbolic
// links.
func (r Record) At(path string) bool {
	path = filepath.Clean(path)
	return samePath(r.Path, path) || samePath(r.Mount, path)
}

func read(file string) (r Record, err error) {
	f, err := busyfile.Open(file)
	if err != nil {
		return r, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, recordMost))
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(body, &r)
	switch {
	case err == nil && r.Version > version:
		return r, fmt.Errorf("%s was written by a newer pocket: update pocket", file)
	case err == nil && (!filepath.IsAbs(r.Path) || r.Aside != Of(r.Path)):
		err = errors.New("it names no directory")
	}
	if err != nil {
		return r, fmt.Errorf("%s, which says what was moved aside, is damaged (%w): rename NAME%s back to NAME by hand, then remove it", file, err, Suffix)
	}
	return r, nil
}

// Original is a directory that was moved aside, held by this process.
type Original struct {
	o     Options
	r     Record
	lock  *statedir.FileLock
	notes []string
}

// Aside returns where the directory is.
func (d *Original) Aside() string { return d.r.Aside }

// Path returns where it was, without symbolic links.
func (d *Original) Path() string { return d.r.Path }

// step is a part of moving a directory. After a crash between any two of them, Restore
// brings everything back.
type step struct {
	name string
	do   func(*Original) error
}

// The steps of Move and of Return, in their order.
var (
	moveSteps = []step{
		{"write the record", func(d *Original) error { return d.write(Moving) }},
		{"move aside", (*Original).moveAside},
		{"sync the name", (*Original).syncParent},
		{"hide", func(d *Original) error { return setHidden(d.r.Aside, true) }},
		{"note that it is aside", func(d *Original) error { return d.write(Aside) }},
	}
	returnSteps = []step{
		{"note that it returns", func(d *Original) error { return d.write(Returning) }},
		{"clear the path", (*Original).vacate},
		{"show", func(d *Original) error { return setHidden(d.r.Aside, d.r.Hidden) }},
		{"move back", (*Original).moveBack},
		{"sync the name", (*Original).syncParent},
		{"remove the record", (*Original).forget},
	}
)

// stepped is called after every step; tests end the process there.
var stepped = func(name string) {}

func (d *Original) run(steps []step) error {
	for _, s := range steps {
		if err := s.do(d); err != nil {
			return err
		}
		stepped(s.name)
	}
	return nil
}

// Check reports why the directory at path, which has no symbolic links in it, cannot be
// moved aside, in one line that tells the next step. It changes nothing.
func Check(o Options, path string) error {
	to := Of(path)
	if strings.HasSuffix(path, Suffix) {
		return fmt.Errorf("%s has files in it and a name by which pocket keeps what was at a mount path: choose another mount_path", path)
	}
	if within(path, o.DataDir) {
		return fmt.Errorf("%s holds pocket's own data (%s): choose another mount_path", path, o.DataDir)
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s has files in it, and %s, where they would be while it is mounted, is there already: if that is what belongs there, run pocket restore --mount %s; else rename it", path, to, path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot move what is in %s aside: %w", path, err)
	}
	if err := checkMovable(path); err != nil {
		return fmt.Errorf("%s has files in it and cannot be moved aside: %w", path, err)
	}
	return nil
}

// within reports whether path is dir or lies below it.
func within(dir, path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// Move moves the directory at path, which has no symbolic links in it, aside. name is the
// mount's, mount its path as it is configured. On return it survives a power loss, and path is
// free.
//
// Errors are one line; with one everything is as it was, or, where that failed too, as
// Restore will find it.
func Move(o Options, name, mount, path string) (*Original, error) {
	if err := Check(o, path); err != nil {
		return nil, err
	}
	inode, err := inodeOf(path)
	if err != nil {
		return nil, fmt.Errorf("cannot move what is in %s aside: %w", path, err)
	}
	hidden, err := isHidden(path)
	if err != nil {
		return nil, fmt.Errorf("cannot move what is in %s aside: %w", path, err)
	}
	d := &Original{o: o, r: Record{Version: version, Name: name, Mount: filepath.Clean(mount), Path: path, Aside: Of(path), Inode: inode, Hidden: hidden, Since: time.Now().UTC()}}
	if err := d.take(); err != nil {
		return nil, err
	}
	if err := d.run(moveSteps); err != nil {
		if _, back := d.Return(); back != nil {
			o.Log.Error("a directory that could not be moved aside could not be moved back", "path", path, "error", back)
		}
		return nil, err
	}
	o.Log.Info("moved aside", "path", path, "to", d.r.Aside)
	return d, nil
}

// take makes the directory of records and takes the lock.
func (d *Original) take() error {
	made := false
	if _, err := os.Lstat(d.o.dir()); errors.Is(err, fs.ErrNotExist) {
		made = true
	}
	if err := os.MkdirAll(d.o.dir(), 0o700); err != nil {
		return fmt.Errorf("cannot note that %s is moved aside: %w", d.r.Path, err)
	}
	// What is synced in it later must not vanish with it.
	for dir := filepath.Dir(d.o.dir()); made && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if atomicfile.SyncDir(dir) != nil {
			break // somebody else's, and older
		}
	}
	lock, err := statedir.LockFile(d.o.file(d.r.Path, lockSuffix), d.r.Path)
	d.lock = lock
	return err
}

func (d *Original) write(s State) error {
	d.r.State = s
	body, err := json.MarshalIndent(d.r, "", "  ")
	if err == nil {
		err = atomicfile.Write(d.o.file(d.r.Path, recordSuffix), append(body, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot note that %s is moved: %w", d.r.Path, err)
	}
	return nil
}

func (d *Original) moveAside() error {
	if err := renameNew(d.r.Path, d.r.Aside); err != nil {
		return fmt.Errorf("%s cannot be moved aside: %w", d.r.Path, explain(err))
	}
	return nil
}

func (d *Original) syncParent() error {
	if err := atomicfile.SyncDir(filepath.Dir(d.r.Path)); err != nil {
		return fmt.Errorf("cannot make sure that %s is moved: %w", d.r.Path, err)
	}
	return nil
}

// Return moves the directory back, as soon as nothing is mounted at its path any more, and
// gives it up, also with an error. On return without one it survives a power loss. notes are
// lines for the user: what else was at the path, and is where.
//
// Errors are one line: ErrMounted when something is still mounted there, ErrGone when
// the directory is not where it was moved. What is left to do is left to Restore.
func (d *Original) Return() (notes []string, err error) {
	back, err := d.isBack()
	switch {
	case err != nil:
	case back:
		err = errors.Join(setHidden(d.r.Path, d.r.Hidden), d.forget())
	default:
		err = d.run(returnSteps)
	}
	if err != nil {
		return d.notes, errors.Join(err, d.lock.Close())
	}
	d.o.Log.Info("moved back", "path", d.r.Path)
	return d.notes, d.lock.Remove()
}

// isBack reports whether the original is at its path: it never left, or is back.
func (d *Original) isBack() (bool, error) {
	there, err := os.Lstat(d.r.Aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot move %s back: %w", d.r.Aside, err)
	}
	here, inPlace := inodeOf(d.r.Path)
	switch {
	case there == nil && inPlace == nil && (d.r.State != Aside || d.r.Inode != 0 && here == d.r.Inode):
		return true, nil
	case there == nil && isAway(filepath.Dir(d.r.Path)):
		return false, fmt.Errorf("cannot move what was at %s back: %s is not there now: when it is, run pocket restore", d.r.Path, filepath.Dir(d.r.Path))
	case there == nil:
		return false, errors.Join(fmt.Errorf("%s, which pocket had moved to %s, is not there any more: %w", d.r.Path, d.r.Aside, ErrGone), d.forget())
	case inPlace == nil && d.r.Inode != 0 && here == d.r.Inode && !isMounted(d.r.Path):
		d.note("%s is not of pocket's making and stays as it is", d.r.Aside)
		return true, nil
	case !there.IsDir():
		return false, fmt.Errorf("cannot move %s back: %s is not a directory: look at both", d.r.Path, d.r.Aside)
	}
	return false, nil
}

// isAway reports whether a directory is not there, as on a disk that is not plugged in.
func isAway(dir string) bool {
	_, err := os.Stat(dir)
	return err != nil
}

func (d *Original) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// found is what is at a path.
type found int

const (
	nothing   found = iota
	emptyDir        // of a file system that is not mounted there
	deadMount       // whose process is gone
	mounted
	something // else
)

// vanishes is how long a mount that has ended may go on being seen.
const vanishes = 10 * time.Second

// vacate makes the path free. What it finds there is removed only if it is nothing.
func (d *Original) vacate() error {
	for end := time.Now().Add(vanishes); ; time.Sleep(20 * time.Millisecond) {
		found, err := look(d.r.Path)
		switch {
		case err != nil:
			return fmt.Errorf("cannot move what was at %s back: %w", d.r.Path, err)
		case found == nothing:
			return nil
		case found == deadMount && d.o.Clear != nil:
			if err := d.o.Clear(d.r.Path); err != nil {
				return fmt.Errorf("cannot move what was at %s back: %w", d.r.Path, err)
			}
		case found == deadMount, found == mounted && time.Now().After(end), found == mounted && !mountsVanish:
			return fmt.Errorf("cannot move what was at %s back from %s: %w: stop what uses it, then run pocket restore", d.r.Path, d.r.Aside, ErrMounted)
		case found == mounted:
		case found == emptyDir:
			if err := removeDir(d.r.Path); err != nil && !errors.Is(err, fs.ErrNotExist) && !notEmpty(err) {
				return fmt.Errorf("cannot move what was at %s back: %w", d.r.Path, explain(err))
			}
		default:
			if err := d.setApart(); err != nil {
				return err
			}
		}
	}
}

// setApart renames what somebody made at the path.
func (d *Original) setApart() error {
	base := d.r.Path + conflictSuffix + time.Now().Format("20060102-150405")
	for n := 1; ; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		err := renameNew(d.r.Path, name)
		switch {
		case errors.Is(err, fs.ErrExist) && n < 100:
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("something else was made at %s and cannot be renamed, so that what was there stays in %s: %w", d.r.Path, d.r.Aside, explain(err))
		case err == nil:
			d.note("something else was made at %s while its original was moved aside: it is kept as %s", d.r.Path, name)
			d.o.Log.Warn("kept what was made at a mount path", "path", d.r.Path, "as", name)
		}
		return nil
	}
}

func (d *Original) moveBack() error {
	for tries := 0; ; tries++ {
		err := renameNew(d.r.Aside, d.r.Path)
		switch {
		case err == nil:
			return nil
		case tries < 16 && (errors.Is(err, fs.ErrExist) || notEmpty(err)):
			// Somebody was faster.
			if err := d.vacate(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("cannot move %s back to %s: %w", d.r.Aside, d.r.Path, explain(err))
		}
	}
}

// forget removes the record.
func (d *Original) forget() error {
	err := busyfile.Remove(d.o.file(d.r.Path, recordSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = atomicfile.SyncDir(d.o.dir())
	}
	if err != nil {
		return fmt.Errorf("cannot remove the record of %s: %w", d.r.Path, err)
	}
	return nil
}

// Restore moves back what a process left aside that is gone. Errors are those of Return, and
// one that is statedir.ErrLocked when a process that runs has it.
func Restore(o Options, r Record) (notes []string, err error) {
	d := &Original{o: o, r: r}
	if err := d.take(); err != nil {
		return nil, err
	}
	// As it is now that nobody else changes it.
	now, err := read(o.file(r.Path, recordSuffix))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, d.lock.Remove()
	case err != nil:
		return nil, errors.Join(err, d.lock.Close())
	}
	d.r = now
	return d.Return()
}

// Adopt moves back a directory of which there is no record: because the user says so. It
// does so only where nothing is in the way, not even a file.
func Adopt(o Options, path string) error {
	d := &Original{o: o, r: Record{Version: version, State: Aside, Mount: path, Path: path, Aside: Of(path), Since: time.Now().UTC()}}
	found, err := look(path)
	switch {
	case err != nil:
		return err
	case found != nothing && found != emptyDir && found != deadMount:
		return fmt.Errorf("%s and %s are both there, and there is no record that says which is which: look at both, and rename or remove one of them", path, d.r.Aside)
	}
	if info, err := os.Lstat(d.r.Aside); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", d.r.Aside)
	}
	if err := d.take(); err != nil {
		return err
	}
	_, err = d.Return()
	return err
}

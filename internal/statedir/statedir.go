// Package statedir knows where Pocket keeps its data on this machine, and holds
// the one directory in which a mount keeps its local state.
//
// The data directory by platform:
//
//	Windows  %LOCALAPPDATA%\hamflx\pocket
//	macOS    ~/Library/Application Support/hamflx/pocket
//	others   $XDG_DATA_HOME/hamflx/pocket (~/.local/share/... where unset)
//
// Below it lie logs/pocket.log, state/<id>/, one directory per mount, and temp/,
// the directories of mounts that keep nothing. docs/state.md describes what is in
// them. Open takes a lock that ends with the process, however the process ends.
package statedir

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/oserror"
)

// ErrLocked is what errors.Is finds in the error of Open when another process
// uses the state directory; a LockedError tells which.
var ErrLocked = errors.New("state directory is in use")

// LockedError tells who holds a state directory.
type LockedError struct {
	Dir string // the state directory
	PID int    // process that holds it; 0 when that cannot be told
}

// Error implements error: one line with the next step.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is in use by another pocket: only one may use it, stop that one first", e.Dir)
	}
	return fmt.Sprintf("%s is in use by another pocket (process %d): only one may use it, stop that one first", e.Dir, e.PID)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// DataDir returns the directory of logs and state. It need not exist.
func DataDir() (string, error) {
	base, variable, err := dataBase()
	if err != nil {
		return "", fmt.Errorf("cannot tell where to keep data: set %s to an absolute path: %w", variable, err)
	}
	return filepath.Join(base, "hamflx", "pocket"), nil
}

// LogFile returns the path of the log file below a data directory.
func LogFile(dataDir string) string { return filepath.Join(dataDir, "logs", "pocket.log") }

// ID returns a name for a state directory that follows from parts alone, which
// together say what is mounted (the store's identity, the prefix ...). Different
// parts give different names.
func ID(parts ...string) string {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.LittleEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Dir is a state directory held by this process. Its methods may be called
// concurrently.
type Dir struct {
	path      string
	temporary bool

	mu   sync.Mutex
	lock *os.File // guarded by mu; nil once closed
}

// Open takes the state directory state/<id> below dataDir, makes it where it is
// missing (access for its owner only) with the directories in it, and locks it
// until Close or the end of the process. id is a single file name, as ID
// returns. Errors: one that is ErrLocked when another process (or an open Dir of
// this one) has it; one clear line when it cannot be written.
func Open(dataDir, id string) (*Dir, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, `/\:`) {
		return nil, fmt.Errorf("%q cannot name a state directory", id)
	}
	path := pathOf(dataDir, id)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, unwritable(path, err)
	}
	lock, err := takeLock(filepath.Join(path, lockName), path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	err = d.fill()
	if _, missing := os.Lstat(d.Journal()); err == nil && missing != nil {
		// The first time: what is synced in these directories later must not
		// vanish with them.
		for _, dir := range []string{path, filepath.Dir(path), dataDir} {
			err = errors.Join(err, atomicfile.SyncDir(dir))
		}
		// The data directory may be as new, and those it lies in. One that cannot be
		// opened is somebody else's, and older.
		for dir := filepath.Dir(dataDir); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if atomicfile.SyncDir(dir) != nil {
				break
			}
		}
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

// HasJournal reports whether the state directory state/<id> below dataDir holds a journal, and
// so may hold changes that are nowhere else. It takes and writes nothing. What cannot be looked
// at may be there.
func HasJournal(dataDir, id string) bool {
	_, err := os.Lstat(journalIn(pathOf(dataDir, id)))
	return !errors.Is(err, fs.ErrNotExist)
}

func pathOf(dataDir, id string) string { return filepath.Join(dataDir, "state", id) }

func journalIn(path string) string { return filepath.Join(path, "journal.db") }

const (
	lockName   = "lock"
	lockSuffix = ".lock"
)

// OpenTemp makes and takes a new state directory for a mount that keeps nothing:
// Close removes it. Those left behind by processes that are gone are removed
// first.
func OpenTemp(dataDir string) (*Dir, error) {
	parent := filepath.Join(dataDir, "temp")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, unwritable(parent, err)
	}
	if err := removeStale(parent); err != nil {
		return nil, err
	}
	for {
		path := filepath.Join(parent, rand.Text())
		lock, err := takeLock(path+lockSuffix, path)
		if errors.Is(err, ErrLocked) {
			continue // another process took it for stale before it was locked
		}
		if err != nil {
			return nil, err
		}
		d := &Dir{path: path, temporary: true, lock: lock}
		if err := d.fill(); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		return d, nil
	}
}

// removeStale removes the temporary directories whose process is gone. The lock
// lies beside its directory, so that it is held while the directory goes.
func removeStale(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("look for temporary state left behind: %w", err)
	}
	for _, entry := range entries {
		name, isLock := strings.CutSuffix(entry.Name(), lockSuffix)
		if !isLock {
			continue
		}
		path := filepath.Join(parent, name)
		lock, err := takeLock(path+lockSuffix, path)
		if errors.Is(err, ErrLocked) {
			continue
		}
		if err != nil {
			return err
		}
		if err := (&Dir{path: path, temporary: true, lock: lock}).Close(); err != nil {
			return fmt.Errorf("remove temporary state left behind: %w", err)
		}
	}
	return nil
}

// takeLock opens and locks the file at name, which stands for the directory dir.
func takeLock(name, dir string) (*os.File, error) {
	for {
		f, err := busyfile.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, unwritable(dir, err)
		}
		ok, err := tryLock(f)
		if err != nil || !ok {
			held := &LockedError{Dir: dir, PID: readPID(f)}
			f.Close()
			if err != nil {
				return nil, fmt.Errorf("lock %s: %w", name, err)
			}
			return nil, held
		}
		// Whoever held it may have removed the file between the two steps: then
		// this locks a file that nobody else will find.
		here, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if there, err := os.Lstat(name); err != nil || !os.SameFile(here, there) {
			f.Close()
			continue
		}
		if err := writePID(f); err != nil {
			f.Close()
			return nil, unwritable(dir, err)
		}
		return f, nil
	}
}

// writePID leaves the number of this process in the lock file, for the message
// of whoever finds it locked.
func writePID(f *os.File) error {
	text := fmt.Appendf(nil, "%d\n", os.Getpid())
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// readPID returns what writePID wrote, or 0.
func readPID(f *os.File) int {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	var pid int
	if _, err := fmt.Sscanf(string(b[:n]), "%d\n", &pid); err != nil || pid < 0 {
		return 0
	}
	return pid
}

// unwritable explains err, met while making the state directory at path.
func unwritable(path string, err error) error {
	cause := err
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		cause = pathErr.Err
		path = pathErr.Path
	}
	next := "make it writable"
	if oserror.DiskFull(err) {
		next = "free some space"
	}
	return fmt.Errorf("state cannot be kept: cannot write %s (%w): %s or set %s to another directory", path, cause, next, dataVariable)
}

// fill makes the directories inside of the state directory, and sees whether all can be written.
func (d *Dir) fill() error {
	for _, sub := range []string{d.path, d.Cache(), d.Staging(), d.Index()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return unwritable(sub, err)
		}
		// That a directory is there does not say that it can be written; better told
		// now than by the first program that writes.
		probe := filepath.Join(sub, "writable")
		err := os.WriteFile(probe, nil, 0o600)
		if err == nil {
			err = busyfile.Remove(probe)
		}
		if err != nil {
			return unwritable(sub, err)
		}
	}
	return nil
}

// Path returns the state directory.
func (d *Dir) Path() string { return d.path }

// Journal returns the path of the journal's database.
func (d *Dir) Journal() string { return journalIn(d.path) }

// Reserve returns the path of the file that keeps some of the disk for changes that make
// room.
func (d *Dir) Reserve() string { return filepath.Join(d.path, "reserve") }

// Cache returns the directory of the chunk cache.
func (d *Dir) Cache() string { return filepath.Join(d.path, "cache") }

// Staging returns the directory of files being written. It is on the same file
// system as Cache.
func (d *Dir) Staging() string { return filepath.Join(d.path, "staging") }

// Index returns the directory of the index snapshots known on this machine.
func (d *Dir) Index() string { return filepath.Join(d.path, "index") }

// Discard removes the directory and all that is in it, and gives it up. The one above goes
// too when nothing else is in it. A process that takes the directory meanwhile keeps what it
// makes.
func (d *Dir) Discard() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil || d.temporary {
		return nil
	}
	entries, err := os.ReadDir(d.path)
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, busyfile.RemoveAll(filepath.Join(d.path, e.Name())))
		}
	}
	lock := d.lock
	d.lock = nil
	if err = errors.Join(err, removeLocked(lock)); err != nil {
		return err
	}
	// Each fails when something is left in it, as it should.
	if os.Remove(d.path) == nil {
		os.Remove(filepath.Dir(d.path))
	}
	return nil
}

// Close gives the directory up, and removes it when it came from OpenTemp. Close
// twice is harmless.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil
	}
	lock := d.lock
	d.lock = nil
	if !d.temporary {
		return lock.Close()
	}
	err := busyfile.RemoveAll(d.path)
	if err != nil {
		lock.Close()
		return err // the lock file stays: the next OpenTemp tries again
	}
	return removeLocked(lock)
}

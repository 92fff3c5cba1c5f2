// Package session runs one configured mount: from its storage, its state directory and
// its file system to its mount point, and back.
//
//	stores := session.NewStores(credentialsDir)
//	s, err := session.New(ctx, mount, session.Options{Stores: stores, ...})
//	err = s.Start(ctx)
//	<-s.Ended() // somebody unmounted it
//	err = s.Stop(ctx, report)
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hamflx/pocket/cmd/pocket/internal/intake"
	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/aside"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore"
)

// Options are what the sessions of a process have in common.
type Options struct {
	Stores  *Stores
	DataDir string // of package statedir
	Log     *slog.Logger

	// Tell, if not nil, is called with lines for the user about a mount.
	Tell func(m config.Mount, line string)
	// Drives are those of the configuration, which no other mount may choose.
	Drives []string
	// Import takes in what is at a mount point, also when the store is not empty.
	Import bool
	// Taking, if not nil, is told how far that is.
	Taking func(m config.Mount, p intake.Progress)
}

// Session is a mount. Start is called first, and once; when it succeeded, Stop is called,
// once. The others may be called in between, concurrently.
type Session struct {
	Mount config.Mount

	log     *slog.Logger
	dataDir string
	store   objstore.Store
	stateID string // empty: the state is temporary
	state   *statedir.Dir
	fs      *fsimpl.FS
	local   local
	mounted *fusehost.Mounted
	health  health
	tell    func(format string, args ...any)
	options Options

	incomplete bool // not all that was at the mount point could be taken in; written by Start
	stranded   bool // see Stranded; written by New and Start

	mu       sync.Mutex
	told     []control.Notice  // what status shows besides; guarded by mu
	original *aside.Original   // what was at the mount point, moved aside; guarded by mu
	hadFiles bool              // original has files in it; guarded by mu
	since    time.Time         // when it was mounted; zero before; guarded by mu
	closing  bool              // fs must not be asked any more; guarded by mu
	last     transfer.Progress // what it said last; guarded by mu
	kept     fsimpl.Status     // the same; guarded by mu

	waits     sync.WaitGroup  // calls of DrainPending; added to with mu held while not closing
	waiting   context.Context // of these
	stopWaits context.CancelFunc
}

// rootMode is the mode of a root directory that nobody has set: that of the directory it
// is mounted over, as the user made it, or else what a new directory would get. A mount of
// root's is open to others as far as modes allow; any other is its owner's alone anyway, and
// programs that check (gpg) want to see so.
func rootMode(path string) uint32 {
	if there, err := os.Stat(path); err == nil && there.IsDir() {
		return uint32(there.Mode().Perm())
	}
	if os.Geteuid() == 0 {
		return 0o755
	}
	return 0o700
}

// openFilesWait is how long programs have at the end to close what they have open.
const openFilesWait = 3 * time.Second

// New checks what can be checked of m without the network and without writing
// anything. Errors are one line.
//
// Which state directory a mount gets depends, when several show the same place, on the order
// in which New was first called for them. A mount that could not be started is tried again by
// another New, with the same Stores.
func New(ctx context.Context, m config.Mount, o Options) (*Session, error) {
	s := &Session{Mount: m, log: o.Log.With("mount", m.Name), dataDir: o.DataDir, options: o}
	s.tell = func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		s.log.Info("told the user", "line", line)
		if o.Tell != nil {
			o.Tell(m, line)
		}
	}
	store, err := o.Stores.Open(ctx, m.Storage)
	if err != nil {
		return nil, err
	}
	if m.Storage.Backend != config.BackendMemory {
		if s.stateID, err = o.Stores.stateID(store, m.Name, m.Prefix); err != nil {
			return nil, err
		}
	}
	s.stranded = s.stateID != "" && statedir.HasJournal(o.DataDir, s.stateID)
	s.store = s.health.watch(objstore.WithPrefix(store, m.Prefix))
	s.waiting, s.stopWaits = context.WithCancel(context.Background())
	return s, s.checkPath()
}

// Start mounts and returns when programs can use the mount. With an error, which is one
// line, nothing is mounted, and a state directory that was made for the mount is gone.
func (s *Session) Start(ctx context.Context) (err error) {
	if s.stateID == "" {
		s.state, err = statedir.OpenTemp(s.dataDir)
	} else {
		s.state, err = statedir.Open(s.dataDir, s.stateID)
	}
	if err != nil {
		if errors.Is(err, statedir.ErrLocked) {
			s.stranded = false // whoever has it uploads it
		}
		return err
	}
	unused := isUnused(s.state)
	s.log.Debug("mounting", "path", s.Mount.Path, "storage", s.Mount.Storage.Name, "prefix", s.Mount.Prefix,
		"mode", s.Mount.Mode, "state", s.state.Path(), "new", unused)
	defer func() {
		if err == nil {
			return
		}
		if unused {
			// A mount that never was has acknowledged nothing.
			if failed := s.state.Discard(); failed != nil {
				s.log.Warn("cannot remove the state of a mount that failed", "error", failed)
			}
		}
		err = errors.Join(err, s.state.Close())
	}()

	if err := s.bringBack(); err != nil {
		return err
	}
	m, owner := s.Mount, user()
	s.fs, err = fsimpl.Open(ctx, fsimpl.Options{
		Name: m.Name, Store: s.store, State: s.state, Mode: mode(m.Mode), Rules: fsimpl.PlatformRules(),
		ChunkSize: m.ChunkSize, CacheSize: m.CacheSize, Uploads: m.Uploads, ReadWait: m.Storage.ReadWait, Device: device(),
		UID: owner.UID, GID: owner.GID, RootMode: rootMode(m.Path), Log: s.log,
	})
	if err != nil {
		return err
	}
	left := s.fs.Progress()
	s.log.Debug("index is read", "changes left", left.Changes, "files left", left.Files, "bytes left", left.Bytes)
	in, err := s.beginIntake(ctx)
	if in != nil {
		unused = false // what was taken in is in the state directory alone
	}
	var path string
	if err == nil {
		path, err = s.setAside()
	}
	if in != nil {
		err = errors.Join(err, s.endIntake(ctx, in, err == nil))
	}
	if err == nil {
		s.mounted, err = fusehost.Mount(s.fs, fusehost.Options{
			Path: path, Name: m.Name, Owner: owner, Log: s.log,
			WinFsp: fusehost.WinFsp{InfoTimeout: m.Windows.InfoTimeout, Threads: m.Windows.Threads, Links: m.Windows.Links, Spared: s.options.Drives},
			Local:  s.localOptions(owner),
		})
	}
	if err != nil {
		err = errors.Join(err, s.giveBack())
	}
	if err == nil {
		s.mu.Lock()
		s.since = time.Now()
		s.mu.Unlock()
		s.log.Info("mounted", "path", s.mounted.Path(), "state", s.state.Path())
		return nil
	}
	// What the journal holds of an earlier run waits for the next start.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var kept *fsimpl.LeftError
	err = errors.Join(err, s.closeLocal(ended))
	closed := s.fs.Close(ended, nil)
	s.stranded = closed != nil
	if closed != nil && !errors.As(closed, &kept) {
		err = errors.Join(err, closed)
	}
	return err
}

// Stranded reports whether, after New or Start failed, there is or may be something of an
// earlier run in the journal that only the next start uploads.
func (s *Session) Stranded() bool { return s.stranded }

// isUnused reports whether a state directory holds nothing but what opening it makes.
func isUnused(d *statedir.Dir) bool {
	made := []string{d.Cache(), d.Staging(), d.Index()}
	for _, dir := range append(made, d.Path()) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return false
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if dir != d.Path() || !slices.Contains(made, path) && e.Name() != "lock" {
				return false
			}
		}
	}
	return true
}

// user returns who owns what records no owner. On Windows users have no such numbers.
func user() fsimpl.Owner {
	return fsimpl.Owner{UID: uint32(max(os.Getuid(), 0)), GID: uint32(max(os.Getgid(), 0))}
}

func mode(m config.Mode) fsimpl.Mode {
	if m == config.ModeSync {
		return fsimpl.Sync
	}
	return fsimpl.Buffered
}

// device names this machine where its changes are shown to people.
func device() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return runtime.GOOS
}

// Path returns where it is mounted: where the configuration says, or the drive that was
// chosen.
func (s *Session) Path() string {
	if s.Mount.Path == config.AnyDrive {
		return s.mounted.Path()
	}
	return s.Mount.Path
}

// Notices returns lines for the user about how the mount was opened.
func (s *Session) Notices() []string { return s.fs.Notices() }

// Ended is closed when the mount was ended from outside. Stop is called all the same.
func (s *Session) Ended() <-chan struct{} { return s.mounted.Done() }

// Progress returns what is not in the store yet. It may be called at any time after
// Start, also during and after Stop.
func (s *Session) Progress() transfer.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.last = s.fs.Progress()
	}
	return s.last
}

// Stop uploads what is pending, however long that takes, then unmounts and closes.
// When ctx ends first, what is left stays in the journal, which a *fsimpl.LeftError
// tells.
//
// Other errors: fusehost.ErrBusy when programs had files open to the end; whatever made
// the mount end by itself, or keeps what was at the mount point from being moved back.
func (s *Session) Stop(ctx context.Context) error {
	var returned error
	select {
	case <-s.mounted.Done(): // ended from outside
		returned = s.giveBack()
	default:
	}
	// While it is still mounted, so that programs can finish; what goes wrong here
	// goes wrong in Close again.
	if err := s.fs.Drain(ctx, nil); err != nil {
		s.log.Warn("not everything was uploaded before the unmount", "error", err)
	}
	wait, cancel := context.WithTimeout(ctx, openFilesWait)
	defer cancel()
	unmounted := s.mounted.Unmount(wait)
	// Before the uploads that are left, which may take long.
	returned = errors.Join(returned, s.giveBack())
	if errors.Is(unmounted, fusehost.ErrRunning) {
		// An operation is still using the file system. It is left as a crash would
		// leave it: all that was acknowledged is in the journal.
		return errors.Join(unmounted, returned)
	}
	s.mu.Lock()
	s.kept = s.fs.Status()
	s.closing = true
	s.mu.Unlock()
	s.stopWaits()
	s.waits.Wait()
	closed := s.fs.Close(ctx, func(p transfer.Progress) {
		s.mu.Lock()
		s.last = p
		s.mu.Unlock()
	})
	err := errors.Join(unmounted, returned, closed, s.closeLocal(ctx), s.state.Close())
	if err != nil {
		s.log.Warn("ended", "error", err)
	} else {
		s.log.Info("ended")
	}
	return err
}

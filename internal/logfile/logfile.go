// Package logfile writes Pocket's log: text lines of log/slog in a file that is rotated by
// size.
//
// The log tells what happened; it is not where anything is kept. So nothing here stops a
// mount: [Open] always returns a usable [Log], with a warning when its lines go nowhere,
// and a disk that fills up later costs lines, not writes of users.
//
// The file and its directory are for their owner alone, since file names stand in it.
// Several processes may write one log: each appends whole lines, and whoever finds the file
// too large rotates it.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hamflx/pocket/internal/oserror"
)

// What rotation keeps unless Options say otherwise.
const (
	DefaultMaxSize = 10 << 20 // bytes of one file
	DefaultKeep    = 5        // old files: pocket.log.1 is the newest of them
)

// Options of a log. The zero value is what Pocket uses.
type Options struct {
	Level   slog.Leveler // lines below it are left out; nil means slog.LevelInfo
	MaxSize int64        // bytes a file may reach; 0 means DefaultMaxSize
	Keep    int          // old files to keep; 0 means DefaultKeep
}

// EnvLevel is the variable that sets the level: debug, info, warn or error.
const EnvLevel = "POCKET_LOG"

// Level returns the level to log at: info, or what env, the value of POCKET_LOG, says, and
// debug in any case when verbose. A value that is not a level is a warning, with the level
// that holds then.
func Level(env string, verbose bool) (slog.Level, error) {
	level, err := slog.LevelInfo, error(nil)
	switch strings.ToLower(strings.TrimSpace(env)) {
	case "", "info":
	case "debug":
		level = slog.LevelDebug
	case "warn", "warning":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		err = fmt.Errorf("%s=%q is not a level: set it to debug, info, warn or error", EnvLevel, env)
	}
	if verbose {
		level = slog.LevelDebug
	}
	return level, err
}

// Log is an open log. Its logger may be used concurrently.
type Log struct {
	*slog.Logger
	file *rotated
}

// Open opens or creates the log at a path, with its directory. The Log is never nil: with
// an error, which is a warning to show, its lines go nowhere.
func Open(path string, o Options) (*Log, error) {
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	f := &rotated{path: path, max: o.MaxSize, keep: o.Keep}
	err := f.open()
	if err != nil {
		err = fmt.Errorf("log %s cannot be written: %w: nothing is logged until Pocket is started again", path, oserror.Reason(err))
		return &Log{Logger: slog.New(slog.DiscardHandler), file: f}, err
	}
	return &Log{Logger: slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: o.Level})), file: f}, nil
}

// Path is where the log is, or would be.
func (l *Log) Path() string { return l.file.path }

// Err returns why the last line was lost or the last rotation did not happen; nil when all
// is well.
func (l *Log) Err() error {
	l.file.mu.Lock()
	defer l.file.mu.Unlock()
	return errors.Join(l.file.writeErr, l.file.rotateErr)
}

// Close closes the file. Lines that come later are lost.
func (l *Log) Close() error {
	l.file.mu.Lock()
	defer l.file.mu.Unlock()
	return l.file.close()
}

// rotated is a file that moves out of the way when it has grown to max bytes.
type rotated struct {
	path string
	max  int64
	keep int

	mu        sync.Mutex // guards all below; held while the file is written and renamed
	f         *os.File   // nil when closed
	size      int64      // of f, as far as this process knows
	retryAt   int64      // size at which a rotation that failed is tried again
	writeErr  error      // of the last Write
	rotateErr error      // of the last rotation
}

// open opens the file for appending. mu is held or nobody else knows r yet.
func (r *rotated) open() error {
	if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err != nil {
		f.Close()
		return err
	}
	if info.Mode().Perm() != 0o600 {
		restrict(f)
	}
	r.f, r.size, r.retryAt = f, info.Size(), 0
	return nil
}

func (r *rotated) close() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}

// Write appends one line. It is the handler's only way in.
func (r *rotated) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f != nil && r.size > 0 && r.size+int64(len(line)) > max(r.max, r.retryAt) {
		r.rotateErr = r.rotate()
	}
	if r.f == nil {
		r.writeErr = errors.Join(fs.ErrClosed, r.rotateErr)
		return 0, r.writeErr
	}
	n, err := r.f.Write(line)
	r.size += int64(n)
	r.writeErr = err
	return n, err
}

// rotate renames the file to .1, the former .1 to .2 and so on, and begins a new one.
// When that fails, because on Windows another process has the file open or the directory
// cannot be written, the file goes on growing for a tenth of its size before it is tried
// again.
func (r *rotated) rotate() error {
	// Another process may have rotated it already: then its new file is the one to go on with.
	mine, err := r.f.Stat()
	if err != nil {
		return err
	}
	current, err := os.Stat(r.path)
	moved := errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, current)
	if !moved && mine.Size() < r.size {
		r.size = mine.Size() // truncated by hand
		return nil
	}
	// Windows renames no file that is open.
	if err := r.close(); err != nil {
		return errors.Join(err, r.open())
	}
	if !moved {
		err = r.shift()
	}
	if err2 := r.open(); err2 != nil {
		return errors.Join(err, err2)
	}
	if err != nil && !moved {
		r.retryAt = r.size + r.max/10
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

// shift renames the files.
func (r *rotated) shift() error {
	old := func(i int) string { return fmt.Sprintf("%s.%d", r.path, i) }
	if err := os.Remove(old(r.keep)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for i := r.keep - 1; i >= 1; i-- {
		if err := os.Rename(old(i), old(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// When it is gone, another process was quicker.
	if err := os.Rename(r.path, old(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

package fusehost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/winfsp/cgofuse/fuse"
	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/busyfile"
)

// mountPoint is a drive, or a directory that WinFsp makes and removes.
type mountPoint struct {
	path    string
	removed bool // an empty directory was there
	chosen  bool // by chooseDrive
	server  *fuse.FileSystemHost
}

// CheckPath reports why path cannot be mounted on, in one line that tells the next
// step, and changes nothing.
func CheckPath(path string) error {
	_, err := examine(path)
	return err
}

// Displaces reports whether there is an empty directory at path that mounting would remove,
// to make another one there at the end.
func Displaces(path string) bool {
	empty, err := examine(path)
	return err == nil && empty
}

// Real returns path clean; a link is no mount point here.
func Real(path string) string { return filepath.Clean(path) }

// ClearDead has nothing to do: a mount ends with its process.
func ClearDead(string, *slog.Logger) error { return nil }

// examine reports whether there is an empty directory at path.
func examine(path string) (empty bool, err error) {
	if path == AnyDrive {
		return false, nil
	}
	if isDrive(path) {
		used, err := isUsed(driveLetter(path))
		if used {
			err = fmt.Errorf("drive %s is in use: choose another letter for mount_path", path)
		}
		return false, err
	}
	// The target of a dangling junction is missing; the junction is not.
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(path)
		if info, err := os.Stat(parent); err == nil && !info.IsDir() {
			return false, fmt.Errorf("%s is a file: mount_path must be in a directory", parent)
		}
		return false, nil
	case err != nil:
		return false, fmt.Errorf("mount point: %w", err)
	case info.Mode().IsRegular():
		return false, fmt.Errorf("%s is a file: mount_path must be a directory, or nothing", path)
	case !info.IsDir():
		return false, fmt.Errorf("%s is a link%s: mount_path must be a directory, or nothing", path, leadsTo(path))
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return false, fmt.Errorf("mount point: %w", err)
	}
	if len(entries) > 0 {
		return false, fmt.Errorf("%s %w: move its files away, or choose another mount_path", path, ErrNotEmpty)
	}
	return true, nil
}

// leadsTo says where a link leads, as far as that is known.
func leadsTo(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return " to " + target
}

// prepare makes the path ready to be mounted on: WinFsp refuses a directory that exists,
// and one whose parent does not.
func prepare(o Options) (*mountPoint, error) {
	path := o.Path
	empty, err := examine(path)
	if err != nil {
		return nil, err
	}
	if path == AnyDrive {
		drive, err := chooseDrive(o.WinFsp.Spared)
		return &mountPoint{path: drive, chosen: true}, err
	}
	p := &mountPoint{path: path}
	if isDrive(path) {
		return p, nil
	}
	if empty {
		if err := busyfile.Remove(path); err != nil {
			return nil, fmt.Errorf("mount point: %w: close the programs that use it", err)
		}
		p.removed = true
		return p, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the mount point: %w", err)
	}
	return p, nil
}

// vanishes is how long WinFsp may take to remove its directory at the end.
const vanishes = 10 * time.Second

// restore makes the empty directory again that was there, as soon as WinFsp's is gone, and gives
// back a drive that was chosen.
func (p *mountPoint) restore() error {
	if p.chosen {
		giveDrive(p.path)
	}
	if !p.removed {
		return nil
	}
	end := time.Now().Add(vanishes)
	for {
		err := os.Mkdir(p.path, 0o700)
		// While who else has WinFsp's open keeps it from going: "access denied".
		there := errors.Is(err, fs.ErrExist) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !there || time.Now().After(end) {
			if err != nil {
				return fmt.Errorf("cannot make the directory again that was mounted on: %w", err)
			}
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// attach returns the options of WinFsp.
func (m *Mounted) attach(o Options) (path string, args []string, err error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "", nil, fmt.Errorf("cannot tell the current user: %w", err)
	}
	return m.point.path, winFspArgs(user.User.Sid.String(), o), nil
}

func (m *Mounted) configure(server *fuse.FileSystemHost) {
	server.SetCapCaseInsensitive(m.host.rules.foldsCase)
	m.point.server = server
}

// appears is how long WinFsp may take from Init until the mount is visible.
const appears = 10 * time.Second

// ready waits until the mount can be seen: Init comes before that.
func (m *Mounted) ready() error {
	path := m.point.path
	if isDrive(path) {
		path += `\`
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(appears)
	for {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.done:
			if m.err != nil {
				return m.err
			}
			return fmt.Errorf("mount %s: it ended at once", m.point.path)
		case <-late:
			return fmt.Errorf("mount %s: it does not appear: %w", m.point.path, err)
		}
	}
}

func (m *Mounted) detached() {}

// Unmount ends the mount: it asks WinFsp for it and waits until all callbacks have
// returned, at most until ctx ends; then no further ones are let in, and the error is
// ErrBusy. Either way the file system may be closed, unless the error is ErrRunning.
func (m *Mounted) Unmount(ctx context.Context) error {
	m.unmountMu.Lock()
	defer m.unmountMu.Unlock()
	if m.shutDown {
		return m.shut()
	}
	select {
	case <-m.done:
		return m.err
	default:
	}
	m.notifier.stop()
	m.point.server.Unmount()
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("unmount %s: %w", m.point.path, ErrBusy), m.shut())
}

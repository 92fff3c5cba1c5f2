//go:build !windows

package fusehost

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// mountPoint is a directory that is mounted on.
type mountPoint struct {
	path    string   // without symbolic links
	created []string // directories that were made for it, outermost first
	mountIDs
}

// CheckPath reports why path cannot be mounted on, in one line that tells the next
// step, and changes nothing. That a dead mount of pocket's is there, or nothing, is no
// hindrance.
func CheckPath(path string) error {
	_, err := examine(path)
	return err
}

// what examine found at a path.
type finding struct {
	path    string // without symbolic links, where that can be told
	missing bool
	dead    bool // a mount of pocket's whose process is gone
}

func examine(path string) (finding, error) {
	f := finding{path: resolved(path)}
	mounts, err := mountsAt(f.path)
	if err != nil {
		return f, fmt.Errorf("cannot tell what is mounted at %s: %w", path, err)
	}
	if len(mounts) > 0 && mounts[0].pocket {
		if mounts[0].dead() {
			f.dead = true
			return f, nil
		}
		return f, fmt.Errorf("%s is mounted already (%s): stop the pocket that did, or unmount it: fusermount -u %s", path, mounts[0].source, f.path)
	}
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.missing = true
		return f, nil
	case errors.Is(err, syscall.ENOTCONN):
		return f, fmt.Errorf("%s is a dead mount of another program: unmount it: fusermount -u %s", path, f.path)
	case err != nil:
		return f, fmt.Errorf("mount point: %w", err)
	case !info.IsDir():
		return f, fmt.Errorf("%s is a file: mount_path must be a directory, or nothing", path)
	}
	dir, err := os.Open(f.path)
	if errors.Is(err, fs.ErrPermission) {
		return f, fmt.Errorf("mount point: %w: let this user read it, or choose another mount_path", err)
	}
	if err != nil {
		return f, fmt.Errorf("mount point: %w", err)
	}
	defer dir.Close()
	if _, err := dir.Readdirnames(1); err == nil {
		return f, fmt.Errorf("%s %w: move its files away, or choose another mount_path", path, ErrNotEmpty)
	} else if !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("mount point: %w", err)
	}
	return f, nil
}

// Real returns path without symbolic links: where it is mounted. Its last elements may be
// missing.
func Real(path string) string { return resolved(path) }

// Displaces reports whether there is an empty directory at path that mounting would remove:
// never, it is mounted over.
func Displaces(string) bool { return false }

// ClearDead unmounts what earlier pockets mounted at path that are gone. Where there is
// nothing of that kind it does nothing.
func ClearDead(path string, log *slog.Logger) error {
	_, err := clearDead(path, log)
	if errors.Is(err, errDead) {
		return err
	}
	return nil
}

// errDead is in the errors of clearDead that are about dead mounts.
var errDead = errors.New("unmount it by hand")

// clearDead unmounts dead mounts of pocket's, and returns what is at the path then.
func clearDead(path string, log *slog.Logger) (finding, error) {
	f, err := examine(path)
	for tries := 0; err == nil && f.dead; tries++ {
		if tries == 16 {
			return f, fmt.Errorf("%s has dead mounts on top of each other: %w: fusermount -u %s", path, errDead, f.path)
		}
		log.Warn("clearing away the dead mount of an earlier pocket", "path", f.path)
		if err := unmount(f.path, true); err != nil {
			return f, fmt.Errorf("%s is the dead mount of an earlier pocket and cannot be unmounted (%w): %w: fusermount -u %s", path, err, errDead, f.path)
		}
		f, err = examine(path)
	}
	return f, err
}

// resolved returns path without symbolic links. Its last elements may be missing or
// a dead mount, about which nothing can be asked.
func resolved(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir, name := filepath.Split(path)
	if dir = filepath.Clean(dir); dir == path {
		return path
	}
	return filepath.Join(resolved(dir), name)
}

// prepare makes path ready to be mounted on.
func prepare(o Options) (*mountPoint, error) {
	path, log := o.Path, o.Log
	f, err := clearDead(path, log)
	if err != nil {
		return nil, err
	}
	p := &mountPoint{path: f.path}
	if f.missing {
		if err := p.create(f.path); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot make the mount point: %w", err), p.restore())
		}
	}
	return p, nil
}

// create makes a directory and what is missing above it, and notes what it made.
func (p *mountPoint) create(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := p.create(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o755)
	}
	if err == nil {
		p.created = append(p.created, path)
	}
	return err
}

// restore removes what create made, as far as it is empty.
func (p *mountPoint) restore() error {
	for i := len(p.created) - 1; i >= 0; i-- {
		err := os.Remove(p.created[i])
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EBUSY) {
			break // somebody uses it
		}
		if err != nil {
			return fmt.Errorf("cannot remove the mount point that was made: %w", err)
		}
	}
	return nil
}

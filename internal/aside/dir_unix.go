//go:build unix

package aside

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountsVanish says whether a mount that has ended is still seen for a while.
const mountsVanish = false

func look(path string) (found, error) {
	// Of a dead mount the kernel goes on answering a stat for a while.
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); errors.Is(err, unix.ENOTCONN) {
		return deadMount, nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing, nil
	case err != nil:
		return something, err
	case !info.IsDir():
		return something, nil
	case isMounted(path):
		return mounted, nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return something, nil // it is there, which is enough to keep it
	}
	defer dir.Close()
	if _, err := dir.Readdirnames(1); errors.Is(err, io.EOF) {
		return emptyDir, nil
	}
	return something, nil
}

// isMounted reports whether another file system begins at a directory.
func isMounted(path string) bool {
	var here, above unix.Stat_t
	if unix.Stat(path, &here) != nil || unix.Stat(filepath.Dir(path), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

// checkMovable reports why a directory cannot be renamed.
func checkMovable(path string) error {
	if isMounted(path) {
		return errors.New("it is a disk or another file system that is mounted there: unmount it, or choose another mount_path")
	}
	if inner := mountBelow(path); inner != "" {
		return fmt.Errorf("%s is mounted in it: unmount that first, or choose another mount_path", inner)
	}
	parent := filepath.Dir(path)
	if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w: make it writable, or choose another mount_path", parent, err)
	}
	var dir, in unix.Stat_t
	if err := errors.Join(unix.Lstat(path, &dir), unix.Stat(parent, &in)); err != nil {
		return err
	}
	if me := os.Geteuid(); in.Mode&unix.S_ISVTX != 0 && me != 0 && int(dir.Uid) != me && int(in.Uid) != me {
		return fmt.Errorf("it is another user's, and in %s, as in /tmp, only owners rename: choose another mount_path", parent)
	}
	return nil
}

func inodeOf(path string) (uint64, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, nil
	}
	return uint64(st.Ino), nil
}

// removeDir removes an empty directory and nothing else.
func removeDir(path string) error {
	if err := unix.Rmdir(path); err != nil {
		return &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

func notEmpty(err error) bool {
	return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTDIR)
}

// explain adds to an error of a rename what to do.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%w: something is mounted there: unmount it, or choose another mount_path", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: make the directory it is in writable, or choose another mount_path", err)
	}
	return err
}

// samePath reports whether two clean paths are one.
func samePath(a, b string) bool { return a == b }

func isHidden(string) (bool, error) { return false, nil }

// setHidden does nothing: only a name hides a file here.
func setHidden(string, bool) error { return nil }

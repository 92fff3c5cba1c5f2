package fusehost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"unsafe"

	"github.com/winfsp/cgofuse/fuse"
	"golang.org/x/sys/unix"
)

// Check reports, in one line that tells what to install, why nothing can be mounted
// on this machine. It changes nothing.
func Check() error {
	if !libraryLoads() {
		return errors.New("macFUSE is not installed: brew install --cask macfuse (https://macfuse.github.io)")
	}
	return nil
}

// mountIDs tell a mount from others.
type mountIDs struct{ server *fuse.FileSystemHost }

// mountEntry is something mounted.
type mountEntry struct {
	source string
	pocket bool
}

func (mountEntry) dead() bool { return true }

// mountsAt returns a dead mount where one is: a directory about which nothing can be
// asked.
func mountsAt(path string) ([]mountEntry, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTCONN) {
		return []mountEntry{{pocket: true}}, nil
	}
	return nil, nil
}

// attach returns the options of macFUSE.
func (m *Mounted) attach(o Options) (path string, args []string, err error) {
	return m.point.path, []string{
		fmt.Sprintf("-ouse_ino,attr_timeout=%[1]v,entry_timeout=%[1]v,negative_timeout=0,auto_cache,default_permissions", attrTimeout.Seconds()),
		"-ofsname=pocket:" + label(o.Name) + ",volname=" + label(o.Name),
	}, nil
}

// configure keeps cgofuse from unmounting on SIGINT and SIGTERM by itself: Init runs
// right after it asked for them, and signal.Stop on its channel leaves those of the
// program alone, so that there is no moment in which a signal kills the process. The channel
// is a private field; where a newer cgofuse has none of that name, nothing is done.
func (m *Mounted) configure(server *fuse.FileSystemHost) {
	m.point.server = server
	m.host.onInit = func() {
		field := reflect.ValueOf(server).Elem().FieldByName("sigc")
		if field.IsValid() && field.Type() == reflect.TypeFor[chan os.Signal]() {
			signal.Stop(*(*chan os.Signal)(unsafe.Pointer(field.UnsafeAddr())))
		}
	}
}

// ready waits until the mount answers.
func (m *Mounted) ready() error {
	var st unix.Stat_t
	if err := unix.Stat(m.point.path, &st); err != nil {
		return fmt.Errorf("mount %s: it does not answer: %w", m.point.path, err)
	}
	return nil
}

func (m *Mounted) detached() {}

// unmount unmounts what is mounted at path.
func unmount(path string, _ bool) error { return unix.Unmount(path, unix.MNT_FORCE) }

// Unmount ends the mount and waits until all callbacks have returned, at most until
// ctx ends; then no further ones are let in, and the error is ErrBusy. Either way the
// file system may be closed, unless the error is ErrRunning.
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
	m.point.server.Unmount()
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("unmount %s: %w", m.point.path, ErrBusy), m.shut())
}

//go:build unix

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	socketSuffix = ".sock"
	// tempPrefix begins the name of a directory made for a socket whose path below the data
	// directory would be too long.
	tempPrefix = "pocket-"
)

// pathMost is how long the path of a socket may be: 107 bytes on Linux, 103 on macOS.
const pathMost = len(syscall.RawSockaddrUnix{}.Path) - 1

// makePrivate makes a directory that nobody but this user can enter.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of this user: remove it", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// listen makes a socket in dir, or elsewhere when its path would be too long there.
func listen(dir, name string) (net.Listener, string, error) {
	path := filepath.Join(dir, name+socketSuffix)
	if len(path) <= pathMost {
		l, err := listenAt(path)
		return l, path, err
	}
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		if !filepath.IsAbs(base) || len(base)+len("/"+tempPrefix+"/"+name+socketSuffix)+10 > pathMost {
			continue
		}
		temp, err := os.MkdirTemp(base, tempPrefix) // mode 0700
		if err != nil {
			continue
		}
		path := filepath.Join(temp, name+socketSuffix)
		l, err := listenAt(path)
		if err != nil {
			os.Remove(temp)
			return nil, "", err
		}
		return &tempListener{Listener: l, dir: temp}, path, nil
	}
	return nil, "", fmt.Errorf("%s is too long for a socket, and there is no temporary directory for it: set XDG_RUNTIME_DIR or TMPDIR", path)
}

func listenAt(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// The directory keeps others out already.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// tempListener is a listener that removes its socket's directory.
type tempListener struct {
	net.Listener
	dir string
}

func (l *tempListener) Close() error {
	closed := l.Listener.Close()
	err := os.Remove(l.dir)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(closed, err)
}

// isThere reports whether a socket has still its name.
func isThere(address string) bool {
	info, err := os.Lstat(address)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// removeSocket removes the socket of a process that is gone.
func removeSocket(address string) {
	if !strings.HasSuffix(address, socketSuffix) {
		return
	}
	os.Remove(address) // usually it is there; who fails leaves an empty file
	if dir := filepath.Dir(address); strings.HasPrefix(filepath.Base(dir), tempPrefix) {
		os.Remove(dir) // fails when anything is in it
	}
}

// dial connects to a socket of this user.
func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: silence}
	c, err := d.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	if err := checkPeer(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// isGone reports whether an error of dial means that nobody listens.
func isGone(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

// checkPeer returns an error unless the other side is a process of this user.
func checkPeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a connection over %s", c.LocalAddr().Network())
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var uid int
	var failed error
	if err := raw.Control(func(fd uintptr) { uid, failed = peerUser(int(fd)) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("tell whose process is at the other end: %w", failed)
	}
	if uid != os.Geteuid() {
		return fmt.Errorf("the process at the other end is of user %d", uid)
	}
	return nil
}

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// pipePrefix begins the name of every pipe on this machine.
const pipePrefix = `\\.\pipe\`

// socketSuffix is of sockets in the file system, of which there are none.
const socketSuffix = ".sock"

// makePrivate makes a directory; below %LOCALAPPDATA% it is for this user, the system
// and administrators.
func makePrivate(dir string) error { return os.MkdirAll(dir, 0o700) }

// me returns the user that this process belongs to.
func me() (*windows.SID, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("tell whose process this is: %w", err)
	}
	return user.User.Sid, nil
}

// listen makes a named pipe that this user alone may open, and from this machine alone.
func listen(_, name string) (net.Listener, string, error) {
	sid, err := me()
	if err != nil {
		return nil, "", err
	}
	path := pipePrefix + "hamflx-pocket-" + name
	l, err := winio.ListenPipe(path, &winio.PipeConfig{
		// Owned by the user also when the process is elevated; nobody else is on the list.
		SecurityDescriptor: fmt.Sprintf("O:%[1]sD:P(A;;GA;;;%[1]s)", sid),
		InputBufferSize:    16 << 10, OutputBufferSize: 64 << 10,
	})
	return l, path, err
}

// dial opens a pipe of this user.
func dial(ctx context.Context, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, pipePrefix) {
		return nil, fmt.Errorf("%q is no pipe of this machine", address)
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	c, err := winio.DialPipeContext(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := checkOwner(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// checkOwner returns an error unless a pipe was made by a process of this user: anybody
// may make one of a name that is free again.
func checkOwner(c net.Conn) error {
	pipe, ok := c.(interface{ Fd() uintptr })
	if !ok {
		return errors.New("no handle of the pipe")
	}
	sd, err := windows.GetSecurityInfo(windows.Handle(pipe.Fd()), windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("tell whose pipe it is: %w", err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("tell whose pipe it is: %w", err)
	}
	sid, err := me()
	if err != nil {
		return err
	}
	if owner == nil || !owner.Equals(sid) {
		return fmt.Errorf("the pipe is of user %v", owner)
	}
	return nil
}

// checkPeer has nothing to check: the pipe's access list lets in nobody else.
func checkPeer(net.Conn) error { return nil }

// isGone reports whether an error of dial means that nobody listens.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, windows.ERROR_BROKEN_PIPE)
}

// isThere has nothing to look at: a pipe has its name as long as its process listens.
func isThere(string) bool { return true }

// removeSocket has nothing to remove: a pipe ends with its process.
func removeSocket(string) {}

// watch returns a function that waits for the end of a process, as long as its context
// allows.
func watch(pid int) func(ctx context.Context) {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return func(context.Context) {} // it has ended
	}
	return func(ctx context.Context) {
		defer windows.CloseHandle(h)
		for ctx.Err() == nil {
			if event, err := windows.WaitForSingleObject(h, 100); err != nil || event == windows.WAIT_OBJECT_0 {
				return
			}
		}
	}
}

package control

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// watch returns a function that waits for the end of a process, as long as its context
// allows. It does not take a later process of the same number for it.
func watch(pid int) func(ctx context.Context) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 5.3, or not allowed in a container
		return func(ctx context.Context) {
			for ctx.Err() == nil && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	if err != nil {
		return func(context.Context) {} // it has ended
	}
	return func(ctx context.Context) {
		defer unix.Close(fd)
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 100)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}
}

//go:build unix && !linux

package control

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// watch returns a function that waits for the end of a process, as long as its context
// allows.
func watch(pid int) func(ctx context.Context) {
	return func(ctx context.Context) {
		for ctx.Err() == nil && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

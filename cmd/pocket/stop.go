package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
)

const usageStop = `pocket stop ends what is running as Ctrl-C does: it uploads, unmounts and ends.

Usage:
    pocket stop [options]

Options:
    --timeout TIME   upload for at most that (30s, 5m) and leave the rest in the journal
                     on this machine; the next start uploads it
    --config FILE    only the process with this configuration
    --pid NUMBER     only this process
    -h, --help       print this text

It returns when the processes have ended. Ctrl-C ends the waiting; they go on.

Example:
    $ pocket stop --timeout 1m
    uploading 12 of 12 files, 3.2 of 3.2 MiB
    pocket: stopped; all is in the store

Exit codes:
    0  stopped, and all is in the store
    1  a mount failed or did not end cleanly, or a process does not answer
    2  wrong usage
    3  nothing is running
    4  stopped, with changes left in the journal
`

// stop is the command of that name.
func stop(args []string, _ io.Reader, stdout, stderr io.Writer, env config.Env) int {
	a := newAsker("stop", stdout, stderr, env)
	timeout := a.flags.Duration("timeout", 0, "")
	pid := a.flags.Int("pid", 0, "")
	if code := a.parse(args, usageStop); code >= 0 {
		return code
	}
	if a.flags.Changed("timeout") && *timeout <= 0 {
		return a.wrong("--timeout must be more than nothing")
	}
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	unasked := a.find(ctx)
	if unasked != nil {
		a.sayEach(unasked)
	}
	if a.flags.Changed("pid") {
		a.running = slices.DeleteFunc(a.running, func(p *control.Process) bool { return p.PID != *pid })
	}
	if len(a.running) == 0 {
		if unasked != nil {
			return exitFailed
		}
		return a.nothing()
	}
	w := a.newWork("uploading")
	err := w.run(ctx, func(ctx context.Context, p *control.Process, report func(control.Progress)) error {
		return p.Stop(ctx, *timeout, report)
	})
	code, say := exitClean, "stopped; all is in the store"
	switch {
	case ctx.Err() != nil:
		code, say = exitFailed, "interrupted: pocket goes on stopping"
	case errors.Is(err, control.ErrLeft):
		code, say = exitLate, ""
	case err != nil:
		code, say = exitFailed, ""
	case unasked != nil:
		code = exitFailed
	}
	w.end(code, say, err)
	return code
}

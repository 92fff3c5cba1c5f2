package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/term"
)

const usageWait = `pocket wait ends when all that is pending now is in the store.

Usage:
    pocket wait [options]

Options:
    --timeout TIME   give up after that: 30s, 5m, 1h30m
    --mount NAME     wait for this mount alone
    --config FILE    wait for the mounts of this configuration alone
    --json           tell how far it is on standard output, a line of JSON each time
    -h, --help       print this text

What programs have written counts, also to files that they have open. What is changed
after the call is not waited for. Without the network it waits until it is back.

Example: switch off only when the other machines can have everything
    $ pocket wait --timeout 10m && systemctl poweroff

Exit codes:
    0  all that was pending is in the store
    1  failed: a file cannot be committed, something was damaged on this machine before
       it was uploaded, a mount is not there and its journal may hold changes, a process
       has ended before, interrupted
    2  wrong usage
    3  nothing is running, or not that mount
    4  the time is over; what is left goes on being uploaded
    5  the store refuses (access denied, no such bucket)
`

// wait is the command of that name.
func wait(args []string, _ io.Reader, stdout, stderr io.Writer, env config.Env) int {
	a := newAsker("wait", stdout, stderr, env)
	a.flags.StringVar(&a.mount, "mount", "", "")
	a.flags.BoolVar(&a.json, "json", false, "")
	timeout := a.flags.Duration("timeout", 0, "")
	if code := a.parse(args, usageWait); code >= 0 {
		return code
	}
	if a.flags.Changed("timeout") && *timeout <= 0 {
		return a.wrong("--timeout must be more than nothing")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	statuses, err := a.gather(ctx, 0)
	if err != nil && ctx.Err() == nil {
		// Whoever cannot be asked may have something pending.
		a.sayEach(err)
		return exitFailed
	}
	if len(statuses) == 0 && ctx.Err() == nil {
		return a.nothing()
	}
	w := a.newWork("uploading")
	err = w.run(ctx, func(ctx context.Context, p *control.Process, report func(control.Progress)) error {
		return p.Wait(ctx, a.mount, report)
	})
	code, say := exitClean, ""
	switch {
	case err == nil:
	case errors.Is(err, control.ErrRefused):
		code = exitRefused
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		code, say = exitLate, "the time is over: "+left(w.sum())+" not in the store yet; pocket goes on"
	case ctx.Err() != nil:
		code, say = exitFailed, "interrupted: pocket goes on uploading"
	case errors.Is(err, control.ErrNoMount):
		code = exitNothing
	default:
		code = exitFailed
	}
	w.end(code, say, err)
	return code
}

// left says how much is left.
func left(p control.Progress) string {
	switch {
	case p.Files > 0:
		return fmt.Sprintf("%s (%s)", count(p.Files, "file"), term.Size(p.Bytes))
	case p.Changes > 0:
		return count(p.Changes, "change") + " of the index"
	}
	return "something"
}

// work is what is asked of several processes at once, and how far it is.
type work struct {
	a        *asker
	verb     string
	progress *term.Progress

	mu    sync.Mutex
	all   []control.Progress // by process; guarded by mu
	told  bool               // that the store cannot be reached; guarded by mu
	lines *json.Encoder      // used with mu held
}

func (a *asker) newWork(verb string) *work {
	return &work{
		a: a, verb: verb, all: make([]control.Progress, len(a.running)), lines: json.NewEncoder(a.stdout),
		progress: term.NewProgress(a.stderr, term.ProgressOptions{
			Terminal: term.IsTerminal(a.stderr), Width: func() int { return term.Width(a.stderr) },
		}),
	}
}

func (w *work) sum() control.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sum(w.all)
}

// run asks every process.
func (w *work) run(ctx context.Context, ask func(context.Context, *control.Process, func(control.Progress)) error) error {
	errs := make([]error, len(w.a.running))
	var asked sync.WaitGroup
	for i, p := range w.a.running {
		asked.Go(func() {
			errs[i] = ask(ctx, p, func(now control.Progress) { w.report(i, now) })
		})
	}
	asked.Wait()
	return errors.Join(errs...)
}

// workJSON is a line of wait --json.
type workJSON struct {
	control.Progress
	Done  bool   `json:"done"`
	Code  *int   `json:"code,omitempty"` // the exit code, once it is done
	Error string `json:"error,omitempty"`
}

func (w *work) report(i int, now control.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[i] = now
	all := sum(w.all)
	if w.a.json {
		w.lines.Encode(workJSON{Progress: all, Error: all.Error})
		return
	}
	if all.Failing != nil && !w.told {
		w.progress.Print("pocket: " + term.Printable(fmt.Sprintf("uploads have failed since %s: %s",
			all.Failing.Local().Format(time.DateTime), all.Error)))
	}
	w.told = all.Failing != nil
	if s := stateOf(w.verb, all); s.Total > 0 {
		w.progress.Set(s)
	}
}

// end tells how it ended: say, or else err, or else that all is in the store.
func (w *work) end(code int, say string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := sum(w.all)
	if w.a.json {
		line := workJSON{Progress: all, Done: true, Code: &code, Error: say}
		if say == "" && err != nil {
			line.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		w.lines.Encode(line)
		return
	}
	w.progress.Finish("")
	switch {
	case say != "":
		w.a.say("%s", say)
	case err != nil:
		w.a.sayEach(err)
	case all.TotalFiles > 0:
		w.a.say("all is in the store: %s, %s", count(all.TotalFiles, "file"), term.Size(all.TotalBytes))
	default:
		w.a.say("all is in the store")
	}
}

// stateOf returns what a progress bar shows: files, or changes when there are no files.
func stateOf(verb string, p control.Progress) term.State {
	s := term.State{
		Verb: verb, Unit: "files", Done: p.TotalFiles - p.Files, Total: p.TotalFiles,
		DoneBytes: p.TotalBytes - p.Bytes, TotalBytes: p.TotalBytes,
	}
	if p.TotalFiles == 0 {
		s.Unit, s.Done, s.Total = "changes", p.TotalChanges-p.Changes, p.TotalChanges
	}
	return s
}

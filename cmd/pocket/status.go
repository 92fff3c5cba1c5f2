package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/term"
)

const usageStatus = `pocket status tells how the running mounts do.

Usage:
    pocket status [options]

Options:
    --mount NAME     only this mount
    --config FILE    only the mounts of this configuration
    --watch          go on until q or Ctrl-C: in place on a terminal, else in blocks
    --json           for programs, with everything that is pending; with --watch one
                     line each time
    -h, --help       print this text

It says for each mount whether its store can be reached, what is not uploaded yet and for
how long, and what it uses of the cache. The store is not asked: what the mounts met
last is told. Directories that a crash left moved aside are named. NO_COLOR in the
environment means no colours.

Example:
    $ pocket status
    notes  mounted at /home/me/notes
      store    /mnt/nas/pocket: reachable, answered 2 s ago
      pending  nothing
      index    31 files in 4 directories, 112 operations, version 5f0a91c2; published 3 min ago
      cache    1.4 MiB of 10.0 GiB
      open     nothing
      since    2026-11-25 15:20:11 (3 h 2 min), buffered, process 4711

Exit codes:
    0  told, and no mount has failed
    1  a mount has failed, or a process does not answer
    2  wrong usage
    3  nothing is running, or not that mount
`

const (
	watchTerminal = time.Second     // between two looks on a terminal
	watchElse     = 2 * time.Second // elsewhere
	filesShown    = 10              // pending files shown of a mount
)

// statusJSON is what status --json prints.
type statusJSON struct {
	Running []control.Status `json:"running"`          // processes; those that started first, first
	Errors  []string         `json:"errors,omitempty"` // see look
}

// status is the command of that name.
func status(args []string, stdin io.Reader, stdout, stderr io.Writer, env config.Env) int {
	a := newAsker("status", stdout, stderr, env)
	a.flags.StringVar(&a.mount, "mount", "", "")
	a.flags.BoolVar(&a.json, "json", false, "")
	watch := a.flags.Bool("watch", false, "")
	if code := a.parse(args, usageStatus); code >= 0 {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !*watch {
		code := a.status(ctx, stdout)
		if code == exitNothing {
			a.nothing()
		}
		return code
	}
	if term.IsTerminal(stdout) && !a.json {
		return a.watchScreen(ctx, stdin)
	}
	return a.watchLines(ctx)
}

// look asks once. code says what it means. errs are lines about what has not answered, or is left of what was killed.
func (a *asker) look(ctx context.Context, files int) (running []control.Status, errs []string, code int) {
	running, err := a.gather(ctx, files)
	slices.SortFunc(running, func(x, y control.Status) int { return x.Started.Compare(y.Started) })
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			errs = append(errs, strings.TrimSuffix(line, "\n"))
		}
		code = exitFailed
	} else if len(running) == 0 {
		code = exitNothing
	}
	if a.config == "" && a.mount == "" && err == nil { // else a process that is not in the answer may have it
		errs = stranded(running)
	}
	for _, s := range running {
		for _, m := range s.Mounts {
			if m.State == control.Failed {
				code = exitFailed
			}
		}
	}
	return running, errs, code
}

// status writes how the mounts do to w.
func (a *asker) status(ctx context.Context, w io.Writer) int {
	files := filesShown
	if a.json {
		files = control.All
	}
	running, errs, code := a.look(ctx, files)
	if a.json {
		if running == nil {
			running = []control.Status{}
		}
		body, err := json.MarshalIndent(statusJSON{running, errs}, "", "  ")
		if err == nil {
			_, err = w.Write(append(body, '\n'))
		}
		if err != nil {
			a.say("write the output: %v", err)
			return exitFailed
		}
		return code
	}
	for _, line := range errs {
		a.say("%s", line)
	}
	o := textOptions{now: time.Now(), files: filesShown}
	if term.IsTerminal(w) {
		o.width, o.colour = term.Width(w), a.colour()
	}
	if _, err := io.WriteString(w, strings.Join(statusText(running, o), "")); err != nil {
		a.say("write the output: %v", err)
		return exitFailed
	}
	return code
}

// colour reports whether a terminal is to get colours: https://no-color.org
func (a *asker) colour() bool {
	no, _ := a.env.LookupEnv("NO_COLOR")
	kind, _ := a.env.LookupEnv("TERM")
	return no == "" && kind != "dumb"
}

// watchLines writes how the mounts do again and again, until ctx ends or nobody reads.
func (a *asker) watchLines(ctx context.Context) int {
	tick := time.NewTicker(watchElse)
	defer tick.Stop()
	for {
		var b bytes.Buffer
		code := a.status(ctx, &b)
		if ctx.Err() != nil {
			return exitClean
		}
		if a.json {
			var line bytes.Buffer
			if json.Compact(&line, b.Bytes()) == nil {
				b = line
			}
		} else {
			b2 := time.Now().Format(time.DateTime) + "\n"
			if code == exitNothing {
				b2 += "nothing is mounted\n"
			}
			b = *bytes.NewBufferString(b2 + b.String())
		}
		b.WriteByte('\n')
		if _, err := a.stdout.Write(b.Bytes()); err != nil {
			return exitFailed
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return exitClean
		}
	}
}

// watchScreen shows how the mounts do on the whole terminal, until q or Ctrl-C.
func (a *asker) watchScreen(ctx context.Context, stdin io.Reader) int {
	screen, err := term.OpenScreen(a.stdout, stdin)
	if err != nil {
		a.say("%v", err)
		return exitFailed
	}
	defer screen.Close()
	tick := time.NewTicker(watchTerminal)
	defer tick.Stop()
	for {
		_, height := screen.Size()
		running, errs, code := a.look(ctx, max(height, filesShown))
		show := func() {
			width, _ := screen.Size()
			o := textOptions{now: time.Now(), files: filesShown, width: width, colour: a.colour()}
			lines := []string{time.Now().Format(time.DateTime) + "  q ends this\n", "\n"}
			for _, e := range errs {
				lines = append(lines, "pocket: "+term.Printable(e)+"\n")
			}
			if code == exitNothing {
				lines = append(lines, "nothing is mounted\n")
			}
			screen.Show(append(lines, statusText(running, o)...))
		}
		show()
	waiting:
		for {
			select {
			case <-tick.C:
				break waiting
			case <-screen.Resized():
				show()
			case key, ok := <-screen.Keys():
				if !ok || key == 'q' || key == 'Q' || key == 3 {
					return exitClean
				}
			case <-ctx.Done():
				return exitClean
			}
		}
	}
}

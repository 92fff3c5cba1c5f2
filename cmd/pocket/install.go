package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/autostart"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/internal/term"
)

const usageInstall = `pocket install copies pocket to its place, starts it now, and with every login.

Usage:
    pocket install [options]

Options:
    --config FILE    what it is to mount; by default the configuration pocket reads
    --no-start       do not start it now
    --timeout TIME   what runs already, and is replaced, may upload for at most that
                     (default 1m); the rest is left in the journal and uploaded later
    --dry-run        say what would be done, and do nothing
    -h, --help       print this text

           programs                            started by
Windows    %LOCALAPPDATA%\hamflx\pocket\bin    HKCU\...\CurrentVersion\Run, value Pocket
Linux      ~/.local/bin                        systemd, ~/.config/systemd/user/pocket.service
macOS      ~/.local/bin                        launchd, ~/Library/LaunchAgents

pocket-creds and pocket-index are copied too when they lie beside pocket; on Windows there is
pocketw.exe as well, which starts pocket.exe without a window. What is started has no window,
writes to its log only, and tries mounts that fail again (pocket --retry).
Installing again, or a newer version, replaces what is there: a pocket that is installed, or
runs with the same configuration, is stopped as by pocket stop. When a step fails, or nothing
can be mounted, what was there before is put back and started again.

Example:
    $ pocket install
    installed  /home/me/.local/bin/pocket
    autostart  /home/me/.config/systemd/user/pocket.service
    started    pid 4711
    mounted    notes at /home/me/notes

Exit codes:
    0  done, and all is mounted that was started
    1  failed; what was there before is as it was
    2  wrong usage or configuration; nothing was changed
    3  installed and started, but a mount has failed, or is not there yet
`

// Exit codes of install; usageInstall documents them.
const exitNotAll = 3

const (
	// uploadWait is how long what is replaced may upload unless --timeout says otherwise.
	uploadWait = time.Minute
	// endGrace is how long a process may take beyond that to unmount and end.
	endGrace = 30 * time.Second
	// mountWait is how long install waits for the mounts of what it has started.
	mountWait = 30 * time.Second
	// lookAgain is how often it looks.
	lookAgain = 100 * time.Millisecond
)

// installer is pocket install or pocket uninstall.
type installer struct {
	*asker
	site    *autostart.Site
	dataDir string
	timeout time.Duration
	dryRun  bool
	left    bool               // changes are left in a journal
	killed  []*control.Process // that did not end when they were asked
}

func newInstaller(name string, stdout, stderr io.Writer, env config.Env) *installer {
	i := &installer{asker: newAsker(name, stdout, stderr, env)}
	i.flags.DurationVar(&i.timeout, "timeout", uploadWait, "")
	i.flags.BoolVar(&i.dryRun, "dry-run", false, "")
	return i
}

// open finds out where things are.
func (i *installer) open() (err error) {
	if i.site, err = autostart.Open(); err == nil {
		i.dataDir, err = statedir.DataDir()
	}
	return err
}

// did writes a line about what was done, or would be.
func (i *installer) did(what, format string, args ...any) {
	if i.dryRun {
		what = "would be " + what
		fmt.Fprintf(i.stdout, "%-19s  %s\n", what, term.Printable(fmt.Sprintf(format, args...)))
		return
	}
	fmt.Fprintf(i.stdout, "%-9s  %s\n", what, term.Printable(fmt.Sprintf(format, args...)))
}

// install is the command of that name.
func install(args []string, _ io.Reader, stdout, stderr io.Writer, env config.Env) int {
	i := newInstaller("install", stdout, stderr, env)
	noStart := i.flags.Bool("no-start", false, "")
	if code := i.parse(args, usageInstall); code >= 0 {
		return code
	}
	if i.timeout <= 0 {
		return i.wrong("--timeout must be more than nothing")
	}
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	file, named, err := i.configuration()
	if errors.Is(err, config.ErrNoFile) && *noStart && i.config == "" {
		i.say("there is no configuration yet: pocket config-s3 writes one")
		err = nil
	}
	if err != nil {
		i.sayEach(err)
		i.say("nothing was installed")
		return exitUsage
	}
	if err := i.open(); err != nil {
		i.say("%v: nothing was installed", err)
		return exitFailed
	}
	if err := fusehost.Check(); err != nil && !*noStart {
		i.say("%v: nothing was installed", err)
		return exitFailed
	}
	self, err := os.Executable()
	if err != nil {
		i.say("%v: nothing was installed", err)
		return exitFailed
	}
	// Nobody is there to start it again when the network is late.
	return i.install(ctx, self, file, append([]string{"--retry"}, named...), !*noStart)
}

// configuration returns the configuration that is to be mounted, and the arguments by which
// pocket finds it wherever it is started.
func (i *installer) configuration() (file string, args []string, err error) {
	cfg, err := config.Load(i.config, i.env)
	if err != nil {
		return "", nil, err
	}
	for _, w := range cfg.Warnings {
		i.say("warning: %s", w)
	}
	elsewhere := i.env
	elsewhere.Dir = ""
	if i.config == "" && slices.Contains(config.Candidates(elsewhere), cfg.File) {
		return cfg.File, nil, nil
	}
	return cfg.File, []string{"--config", cfg.File}, nil
}

// install does it, and takes back what it has done when a step fails.
func (i *installer) install(ctx context.Context, self, file string, args []string, startNow bool) int {
	program, starter, entry := i.site.Program(), i.site.Starter(), i.site.Entry
	text, err := entry.Text(starter, args)
	if err != nil {
		i.say("%v: nothing was installed", err)
		return exitUsage
	}
	before, hadEntry, err := entry.Load()
	if err != nil {
		i.say("%v: nothing was installed", err)
		return exitFailed
	}
	if err := i.findReplaced(ctx, file); err != nil {
		i.sayEach(err)
	}
	unasked := i.unasked()
	if i.dryRun {
		for _, path := range i.site.Plan(self) {
			i.did("installed", "%s", path)
		}
		i.sayEntry(args)
		for _, p := range i.running {
			i.did("stopped", "pid %d", p.PID)
		}
		return exitClean
	}
	change, err := i.site.Stage(self)
	if err != nil {
		i.say("%v: nothing was installed", err)
		return exitFailed
	}
	replaced := i.running // what is to run again when this fails
	if err := i.stopRunning(ctx); err != nil {
		i.sayEach(errors.Join(err, change.Undo()))
		i.say("nothing was installed: stop it (pocket stop), then run this again")
		return exitFailed
	}
	paths := change.Paths()
	err = change.Swap()
	if err == nil {
		err = entry.Save(ctx, text)
	}
	var started autostart.Started
	if err == nil {
		if !slices.Contains(paths, program) {
			paths = append([]string{program}, paths...) // it has installed itself
		}
		for _, path := range paths {
			i.did("installed", "%s", path)
		}
		i.sayEntry(args)
		if startNow {
			started, err = i.start(ctx, starter, args)
		}
	}
	if err != nil {
		i.sayEach(err)
		i.takeBack(change, before, hadEntry, replaced)
		i.sayUnasked(unasked)
		return exitFailed
	}
	change.Done()
	if !startNow {
		return exitClean
	}
	code := i.sayMounts(ctx, started)
	if code != exitClean {
		i.sayUnasked(unasked)
	}
	return code
}

// unasked returns the processes that run what is installed and are not in running: they cannot be asked to stop.
func (i *installer) unasked() []int {
	return slices.DeleteFunc(i.site.Running(), func(pid int) bool {
		return slices.ContainsFunc(i.running, func(p *control.Process) bool { return p.PID == pid })
	})
}

// sayUnasked tells of processes that may be what is in the way of a mount.
func (i *installer) sayUnasked(pids []int) {
	for _, pid := range pids {
		i.say("process %d runs %s and cannot be asked to stop, as that of the first Pocket cannot: "+
			"if it has mounted something there, end it, then run this again", pid, i.site.Program())
	}
}

// sayEntry tells what starts pocket.
func (i *installer) sayEntry(args []string) {
	if why := autostart.Why(i.site.Entry); why != "" {
		i.say("it does not start by itself: %s: let what starts programs here run %s %s", why, i.site.Starter(), strings.Join(args, " "))
		return
	}
	i.did("autostart", "%v", i.site.Entry)
}

// findReplaced finds the processes that a new one takes the place of: those of the installed
// program, and those that mount the same configuration.
func (i *installer) findReplaced(ctx context.Context, file string) error {
	i.config = ""
	err := i.find(ctx)
	pids := i.site.Running()
	i.running = slices.DeleteFunc(i.running, func(p *control.Process) bool {
		return !slices.Contains(pids, p.PID) && (file == "" || !sameFile(p.Config, file))
	})
	return err
}

// stopRunning stops the processes in running as pocket stop does. One that does not end, or does
// not answer, is killed: all that it has acknowledged is in its journal.
func (i *installer) stopRunning(ctx context.Context) error {
	if len(i.running) == 0 {
		return i.site.Entry.Halt(ctx)
	}
	w := i.newWork("uploading")
	var mu sync.Mutex // guards i.killed
	err := w.run(ctx, func(ctx context.Context, p *control.Process, report func(control.Progress)) error {
		patient, cancel := context.WithTimeout(ctx, i.timeout+endGrace)
		defer cancel()
		err := p.Stop(patient, i.timeout, report)
		var why string
		switch {
		case ctx.Err() != nil:
			return err
		case patient.Err() != nil:
			why = fmt.Sprintf("has not ended after %v", i.timeout+endGrace)
		case errors.Is(err, control.ErrSilent):
			why = control.ErrSilent.Error()
		default:
			return err
		}
		w.progress.Print(fmt.Sprintf("pocket: process %d %s: it is ended now, and what is not uploaded stays in the journal", p.PID, why))
		if err := p.Kill(ctx); err != nil {
			return err
		}
		mu.Lock()
		i.killed = append(i.killed, p)
		mu.Unlock()
		return fmt.Errorf("process %d was ended: %w", p.PID, control.ErrLeft)
	})
	w.progress.Finish("")
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: pocket goes on stopping: %w", ctx.Err())
	case errors.Is(err, control.ErrLeft):
		i.left = true
		i.say("changes are left in the journal on this machine: the next start uploads them")
	case err != nil:
		// A mount that did not end cleanly has ended all the same, if its process has.
		if still := i.stillRunning(ctx); still {
			return err
		}
		i.sayEach(err)
	}
	for _, p := range i.running {
		i.did("stopped", "pid %d", p.PID)
	}
	return i.site.Entry.Halt(ctx)
}

// stillRunning reports whether a process that was to end can still be asked.
func (i *installer) stillRunning(ctx context.Context) bool {
	found, err := control.Find(ctx, i.dataDir)
	return err != nil || slices.ContainsFunc(found, func(p *control.Process) bool {
		return slices.ContainsFunc(i.running, func(q *control.Process) bool { return p.PID == q.PID })
	})
}

// start starts what is installed, by its starter, and waits until its mounts are there or have failed.
func (i *installer) start(ctx context.Context, starter string, args []string) (autostart.Started, error) {
	log := statedir.LogFile(i.dataDir)
	seen := size(log)
	started, err := i.site.Entry.Start(ctx, starter, args)
	if err != nil {
		return started, err
	}
	deadline := time.NewTimer(mountWait)
	defer deadline.Stop()
	for {
		if s, ok := i.statusOf(ctx, started.PID); ok {
			tried := !slices.ContainsFunc(s.Mounts, func(m control.Mount) bool { return m.Error == "" && m.State == control.Starting })
			if tried && slices.ContainsFunc(s.Mounts, func(m control.Mount) bool { return m.State == control.Mounted }) {
				return started, nil
			}
			if tried && len(s.Mounts) > 0 {
				return started, nothingMounted(s.Mounts)
			}
		}
		if !started.Alive() {
			return started, fmt.Errorf("pocket has ended at once: %s", problems(log, seen))
		}
		select {
		case <-ctx.Done():
			return started, fmt.Errorf("interrupted: %w", ctx.Err())
		case <-deadline.C:
			return started, nil // it may wait for the network
		case <-time.After(lookAgain):
		}
	}
}

// nothingMounted is the error of a process that could mount nothing. It would go on trying.
func nothingMounted(mounts []control.Mount) error {
	errs := make([]error, len(mounts))
	for i, m := range mounts {
		errs[i] = fmt.Errorf("%s: %s", m.Name, m.Error)
	}
	return errors.Join(errs...)
}

// statusOf asks a process how it does; false when it cannot be asked.
func (i *installer) statusOf(ctx context.Context, pid int) (control.Status, bool) {
	found, _ := control.Find(ctx, i.dataDir) // others may have left what is damaged
	for _, p := range found {
		if p.PID == pid {
			s, err := p.Status(ctx, 0)
			return s, err == nil
		}
	}
	return control.Status{}, false
}

// sayMounts tells how the mounts of what was started do.
func (i *installer) sayMounts(ctx context.Context, started autostart.Started) int {
	i.did("started", "pid %d", started.PID)
	s, ok := i.statusOf(ctx, started.PID)
	if !ok {
		i.say("process %d does not answer yet: see pocket status", started.PID)
		return exitNotAll
	}
	code := exitClean
	for _, m := range s.Mounts {
		switch {
		case m.State == control.Mounted:
			i.did("mounted", "%s at %s", m.Name, m.Path)
		case m.Retry != nil:
			i.say("%s: %s: it is tried again, see pocket status", m.Name, m.Error)
			code = exitNotAll
		case m.Error != "":
			i.say("%s: %s", m.Name, m.Error)
			code = exitNotAll
		default:
			i.say("%s is %s: see pocket status", m.Name, m.State)
			code = exitNotAll
		}
	}
	return code
}

// takeBack puts back what was there before, and starts it again if it ran. What started it
// is what was installed; a pocket that ran from elsewhere is the user's to start.
func (i *installer) takeBack(change *autostart.Change, before string, hadEntry bool, replaced []*control.Process) {
	// The user may have pressed Ctrl-C: this is done all the same.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	entry := i.site.Entry
	err := i.findReplaced(ctx, "")
	i.timeout = endGrace
	if len(i.running) > 0 {
		err = errors.Join(err, i.stopRunning(ctx))
	} else {
		err = errors.Join(err, entry.Halt(ctx))
	}
	err = errors.Join(err, change.Undo())
	if hadEntry {
		err = errors.Join(err, entry.Save(ctx, before))
	} else {
		err = errors.Join(err, entry.Remove(ctx))
	}
	if err != nil {
		i.sayEach(err)
		i.say("what was there before could not be put back")
		return
	}
	i.say("nothing was installed: what was there before is as it was")
	starter := i.site.Starter()
	if _, err := os.Stat(starter); errors.Is(err, os.ErrNotExist) {
		starter = i.site.Program() // an earlier version has no other
	}
	for _, p := range replaced {
		if _, err := os.Stat(starter); err == nil && p.Config != "" {
			args := []string{"--retry", "--config", p.Config}
			var again autostart.Started
			if again, err = entry.Start(ctx, starter, args); err == nil {
				i.say("started again: pid %d", again.PID)
				continue
			}
			i.sayEach(err)
		}
		i.say("process %d was stopped: start it again with: pocket --config %s", p.PID, p.Config)
	}
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// problems returns what was logged beyond offset about why it ended.
func problems(path string, offset int64) string {
	none := "see " + path
	f, err := os.Open(path)
	if err != nil {
		return none
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < offset {
		return none
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return none
	}
	var said []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if _, line, ok := strings.Cut(lines.Text(), `msg="says: `); ok {
			said = append(said, strings.TrimSuffix(line, `"`))
		}
	}
	if len(said) == 0 {
		return none
	}
	return strings.Join(said[max(0, len(said)-3):], "; ") + " (" + path + ")"
}

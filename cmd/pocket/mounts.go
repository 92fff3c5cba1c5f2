package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hamflx/pocket/cmd/pocket/internal/session"
	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/fusehost"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/logfile"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/internal/term"
)

// mountOptions are those of the command without a name.
type mountOptions struct {
	config                  string
	verbose, imports, retry bool
}

// mountAll is the command without a name: it mounts what the configuration says and
// holds it until it is told to stop or nothing is mounted any more.
func mountAll(o mountOptions, stdin io.Reader, stderr io.Writer, env config.Env) int {
	// Before anything is mounted: from here on no signal just ends the process.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, stopSignals()...)
	defer signal.Stop(signals)

	r := newRunner(stderr)
	r.retry = o.retry
	gone := make(chan struct{})
	defer close(gone)
	defer func() {
		if r.closeLog != nil {
			r.closeLog()
		}
	}()
	if term.Unseen(stderr) {
		// The log is all that anybody sees, also of mistakes in the configuration.
		if dataDir, err := statedir.DataDir(); err == nil {
			r.openLog(dataDir, o.verbose)
			r.out = term.NewProgress(logLines{r.log}, term.ProgressOptions{})
		}
	}
	cfg, err := config.Load(o.config, env)
	if err != nil {
		r.sayMistakes(err)
		return exitUsage
	}
	for _, w := range cfg.Warnings {
		r.say("warning: %s", w)
	}
	if err := fusehost.Check(); err != nil && !r.retry {
		r.say("%v", err)
		return exitFailed
	}
	dataDir, err := statedir.DataDir()
	if err != nil {
		r.say("%v", err)
		return exitFailed
	}
	limitMemory()
	if r.closeLog == nil {
		r.openLog(dataDir, o.verbose)
	}
	r.config = cfg.File
	r.log.Info("started", "version", version(), "config", cfg.File, "pid", os.Getpid())
	for _, m := range cfg.Mounts {
		r.views = append(r.views, &view{config: m, state: control.Starting})
	}
	server, err := control.Listen(dataDir, control.About{PID: os.Getpid(), Version: version(), Config: cfg.File}, r, r.log)
	if err != nil {
		r.say("warning: %v", err)
		r.log.Warn("no local socket yet", "error", err)
	}
	stores := session.NewStores(config.CredentialsDir(cfg.File, env))
	defer r.watchHost(signals, gone, stores)()
	r.tell = func(state string) { r.tellSupervisor(env, state) }
	options := session.Options{
		Stores: stores, DataDir: dataDir, Log: r.log,
		Tell:   func(m config.Mount, line string) { r.say("%s: %s", m.Name, line) },
		Import: o.imports, Taking: (&taking{out: r.out}).set,
	}
	for _, m := range cfg.Mounts {
		if len(m.Path) == len("X:") { // only a drive is that short
			options.Drives = append(options.Drives, m.Path)
		}
	}
	r.restoreOthers(options.AsideOptions(), cfg.Mounts)
	code := r.run(options, signals, stdin)
	// Those who asked for the end are told of it.
	r.code = code
	close(r.over)
	patient, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := server.Close(patient); err != nil {
		r.log.Warn("the local socket was not closed cleanly", "error", err)
	}
	r.log.Info("ended", "code", code)
	return code
}

// openLog opens the log; closeLog closes it.
func (r *runner) openLog(dataDir string, verbose bool) {
	level, err := logfile.Level(os.Getenv(logfile.EnvLevel), verbose)
	if err != nil {
		r.say("warning: %v", err)
	}
	log, err := logfile.Open(statedir.LogFile(dataDir), logfile.Options{Level: level})
	if err != nil {
		r.say("warning: %v", err)
	}
	r.log = log.Logger
	r.closeLog = func() error { return log.Close() }
}

// pressed returns a channel that is closed when ENTER is pressed in a terminal. The end
// of the input is no ENTER.
func pressed(stdin io.Reader) <-chan struct{} {
	enter := make(chan struct{})
	if term.IsTerminal(stdin) {
		go func() {
			if _, err := bufio.NewReader(stdin).ReadString('\n'); err == nil {
				close(enter)
			}
		}()
	}
	return enter
}

// runner holds the mounts of a process.
type runner struct {
	out      *term.Progress // stderr; nothing else writes there
	log      *slog.Logger
	closeLog func() error       // nil until it is opened
	config   string             // path of the configuration
	retry    bool               // what cannot be mounted is tried again
	tell     func(state string) // tells a supervisor, in the words of sd_notify
	started  time.Time

	ctx    context.Context // ends when what is not uploaded is to be left in the journal
	giveUp context.CancelFunc
	stop   chan struct{}      // closed when all mounts are to end
	told   chan time.Duration // somebody asks for the end, and how long to upload; 0: as long as it takes
	over   chan struct{}      // closed when all mounts have ended, after code was set
	code   int                // the exit code

	starting sync.WaitGroup // mounts that are neither mounted nor have failed yet
	mounted  atomic.Int64   // mounts that were mounted
	alive    atomic.Int64   // mounts that are starting, tried again or mounted

	mu      sync.Mutex
	ending  map[*session.Session]bool // sessions that upload what is left; guarded by mu
	views   []*view                   // one for each mount, in their order; not changed after run begins
	changed chan struct{}             // closed, and made anew, when the state of a mount changes; guarded by mu
}

func newRunner(stderr io.Writer) *runner {
	r := &runner{
		out: term.NewProgress(stderr, term.ProgressOptions{
			Terminal: term.IsTerminal(stderr), Width: func() int { return term.Width(stderr) },
		}),
		log:     slog.New(slog.DiscardHandler),
		tell:    func(string) {},
		started: time.Now(),
		stop:    make(chan struct{}),
		told:    make(chan time.Duration),
		over:    make(chan struct{}),
		ending:  make(map[*session.Session]bool),
		changed: make(chan struct{}),
	}
	r.ctx, r.giveUp = context.WithCancel(context.Background())
	return r
}

// say writes a line for the user.
func (r *runner) say(format string, args ...any) {
	r.out.Print("pocket: " + term.Printable(fmt.Sprintf(format, args...)))
}

// sayMistakes writes an error that holds one mistake a line.
func (r *runner) sayMistakes(err error) {
	for line := range strings.Lines(err.Error()) {
		r.say("%s", strings.TrimSuffix(line, "\n"))
	}
}

// sayOf writes the error of a mount, which is one line even when it has several causes.
func (r *runner) sayOf(m config.Mount, err error) {
	r.say("%s: %s", m.Name, oneLine(err))
}

// outcome is how a mount ended.
type outcome struct {
	failed bool // it was not mounted, or did not end cleanly
	left   bool // changes are left in its journal
}

// clash returns why a mount cannot be at its path whatever is there: symbolic links lead to the
// path of an earlier one. Both would move the same directory aside.
func (r *runner) clash(v *view) error {
	if v.config.Path == config.AnyDrive {
		return nil
	}
	path := fusehost.Real(v.config.Path)
	for _, earlier := range r.views {
		switch {
		case earlier == v:
			return nil
		case fusehost.Real(earlier.config.Path) == path:
			return fmt.Errorf("%s leads to %s, and mount %s is there already: choose another mount_path", v.config.Path, path, earlier.config.Name)
		}
	}
	return nil
}

// run mounts, holds the mounts until they have ended, and returns the exit code. The
// first signal, or ENTER, ends them; the second one leaves what is not uploaded in the
// journal; the third does not wait for anything.
func (r *runner) run(o session.Options, signals <-chan os.Signal, stdin io.Reader) int {
	defer r.giveUp()
	r.starting.Add(len(r.views))
	r.alive.Store(int64(len(r.views)))
	go func() {
		r.starting.Wait()
		n := r.mounted.Load()
		if n > 0 || r.retry {
			r.tell("READY=1\n" + r.mountedStatus())
		}
		if n > 0 && term.IsTerminal(stdin) {
			r.say("press ENTER to unmount")
		}
	}()
	enter := pressed(stdin)
	outcomes := make(chan outcome, len(r.views))
	for _, v := range r.views {
		s, err := r.newSession(v, o) // in their order: see there
		go func() { outcomes <- r.keep(v, s, err, o) }()
	}
	ended := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() { r.showProgress(ended) })
	defer showing.Wait()
	defer close(ended)

	var all outcome
	told := 0
	tell := func(hurry time.Duration) {
		switch told++; told {
		case 1:
			r.tell("STOPPING=1")
			close(r.stop)
			if hurry > 0 {
				time.AfterFunc(hurry, r.giveUp)
			}
		case 2:
			r.giveUp()
		}
	}
	for over := 0; over < len(r.views); {
		select {
		case one := <-outcomes:
			over++
			all.failed = all.failed || one.failed
			all.left = all.left || one.left
		case s := <-signals:
			r.log.Info("told to stop", "signal", s.String())
			if told == 0 && s == os.Interrupt && r.alive.Load() == 0 {
				// All were unmounted from outside, or by WinFsp, which takes the first Ctrl-C:
				// the user was told what one more does.
				told++
			}
			if tell(hurry(s)); told > 2 {
				r.say("ended at once: what is not uploaded is in the journal, the next start uploads it")
				return exitLeft
			}
		case uploadFor := <-r.told:
			// It may be asked for several times, and hurries only those who say so.
			switch {
			case told == 0:
				r.say("told to stop by pocket stop")
				tell(uploadFor)
			case uploadFor > 0:
				time.AfterFunc(uploadFor, r.giveUp)
			}
		case <-enter:
			r.log.Info("told to stop by ENTER")
			enter = nil
			tell(0)
		}
	}
	switch {
	case all.failed:
		return exitFailed
	case all.left:
		return exitLeft
	}
	return exitClean
}

// newSession checks what can be checked of a mount before it is started.
func (r *runner) newSession(v *view, o session.Options) (*session.Session, error) {
	s, err := session.New(r.ctx, v.config, o)
	if clash := r.clash(v); clash != nil {
		err = clash
	}
	return s, err
}

// Between two attempts to mount what could not be mounted.
const (
	retryFirst = 2 * time.Second // doubled each time
	retryMost  = time.Minute
)

// keep starts the session of a mount, holds it, and ends it. With retry, one that cannot be
// started is tried again until the mounts are to end.
func (r *runner) keep(v *view, s *session.Session, err error, o session.Options) outcome {
	tried := sync.OnceFunc(r.starting.Done)
	defer tried()
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		if err == nil && r.retry {
			err = fusehost.Check() // before what is at the mount point is moved
		}
		if err == nil {
			err = r.start(v, s)
		}
		if err == nil {
			r.announce(v, s)
			tried()
			if pause > retryFirst {
				r.tell(r.mountedStatus())
			}
			return r.hold(v, s)
		}
		r.setStranded(v, s == nil || s.Stranded())
		if r.stopping() {
			return r.unstarted(v, err)
		}
		if !r.retry {
			return r.failed(v, err)
		}
		again := time.NewTimer(pause)
		r.setRetry(v, err, pause)
		tried()
		select {
		case <-again.C:
		case <-r.stop:
			again.Stop()
			return r.unstarted(v, err)
		}
		r.set(v, control.Starting, nil)
		s, err = r.newSession(v, o)
	}
}

// setStranded notes of a mount that is not there whether its journal may hold changes.
func (r *runner) setStranded(v *view, stranded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.stranded = stranded
}

// stopping reports whether the mounts are to end.
func (r *runner) stopping() bool {
	select {
	case <-r.stop:
		return true
	default:
		return r.ctx.Err() != nil
	}
}

// start mounts.
func (r *runner) start(v *view, s *session.Session) error {
	r.mu.Lock()
	v.session = s
	r.mu.Unlock()
	starting, cancel := context.WithCancel(r.ctx)
	defer cancel()
	go func() {
		select {
		case <-r.stop:
			cancel()
		case <-starting.Done():
		}
	}()
	return s.Start(starting)
}

// unstarted is how a mount ends that was told to before it was there.
func (r *runner) unstarted(v *view, err error) outcome {
	r.alive.Add(-1)
	r.log.Info("stopped before it was mounted", "mount", v.config.Name, "error", err)
	r.set(v, control.Ended, nil)
	if !errors.Is(err, session.ErrInterrupted) {
		return outcome{}
	}
	r.say("%s: %v", v.config.Name, session.ErrInterrupted)
	return outcome{left: true}
}

// announce tells everybody that a mount is there.
func (r *runner) announce(v *view, s *session.Session) {
	for _, notice := range s.Notices() {
		r.say("%s: %s", s.Mount.Name, notice)
	}
	r.say("mounted %s at %s", s.Mount.Name, s.Path())
	if original := s.Original(); original != "" {
		hint := ""
		if !s.TookIn() {
			hint = "; its files come into the mount by pocket --import"
		}
		r.say("%s: what was at %s is kept as %s and comes back when it is unmounted%s", s.Mount.Name, s.Mount.Path, original, hint)
	}
	r.set(v, control.Mounted, nil)
	r.mounted.Add(1)
}

// mountedStatus says how many mounts there are, for a supervisor.
func (r *runner) mountedStatus() string {
	return fmt.Sprintf("STATUS=%d of %d mounts are mounted", r.mounted.Load(), len(r.views))
}

// hold waits until a mount is to end or has ended, and ends it.
func (r *runner) hold(v *view, s *session.Session) outcome {
	select {
	case <-r.stop:
	case <-s.Ended():
		r.say("%s was unmounted", s.Mount.Name)
	}
	r.alive.Add(-1)
	r.set(v, control.Ending, nil)
	r.setEnding(s, true)
	err := s.Stop(r.ctx)
	r.setEnding(s, false)
	if err == nil {
		r.set(v, control.Ended, nil)
		return outcome{failed: s.Incomplete()}
	}
	r.setStranded(v, true)
	r.sayOf(s.Mount, err)
	var left *fsimpl.LeftError
	isLeft := errors.As(err, &left)
	if isLeft {
		r.set(v, control.Ended, err)
	} else {
		r.set(v, control.Failed, err)
	}
	return outcome{failed: !isLeft || s.Incomplete(), left: isLeft}
}

// failed reports a mount that could not be mounted.
func (r *runner) failed(v *view, err error) outcome {
	r.alive.Add(-1)
	r.set(v, control.Failed, err)
	r.sayOf(v.config, err)
	r.log.Error("cannot mount", "mount", v.config.Name, "error", err)
	return outcome{failed: true}
}

// setRetry tells of a mount that could not be mounted and is tried again after a pause.
func (r *runner) setRetry(v *view, err error, pause time.Duration) {
	r.mu.Lock()
	before := v.err
	v.attempts++
	v.again = time.Now().Add(pause)
	attempts := v.attempts
	r.mu.Unlock()
	r.set(v, control.Failed, err)
	if oneLine(err) != before { // one line for a cause, not one for each attempt
		r.say("%s: %s: it is tried again until it is there", v.config.Name, oneLine(err))
	}
	r.log.Warn("cannot mount yet", "mount", v.config.Name, "error", err, "attempts", attempts, "again in", pause)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (r *runner) setEnding(s *session.Session, ending bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ending {
		r.ending[s] = true
	} else {
		delete(r.ending, s)
	}
}

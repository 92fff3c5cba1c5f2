package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/internal/term"
)

// Exit codes of the commands that ask running processes; their usages document them.
const (
	exitNothing = 3 // nothing to ask is running
	exitLate    = 4 // not all is in the store, and the time is over
	exitRefused = 5 // the store refuses
)

// asker is a command that asks running processes.
type asker struct {
	name           string // of the command
	stdout, stderr io.Writer
	env            config.Env

	flags    *pflag.FlagSet
	config   string // of the processes that are meant; empty: all
	noConfig string // why there can be none, where that is so
	mount    string // that is meant; empty: all
	json     bool
	running  []*control.Process
}

func newAsker(name string, stdout, stderr io.Writer, env config.Env) *asker {
	a := &asker{name: name, stdout: stdout, stderr: stderr, env: env, flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	a.flags.SetOutput(io.Discard)
	a.flags.Usage = func() {}
	a.flags.StringVar(&a.config, "config", "", "")
	return a
}

// parse reads the command line. With a code that is not -1 there is nothing else to do.
func (a *asker) parse(args []string, usage string) int {
	switch err := a.flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		io.WriteString(a.stdout, usage)
		return exitClean
	case err != nil:
		return a.wrong("%s", term.Printable(err.Error()))
	case a.flags.NArg() > 0:
		return a.wrong("%q is one argument too many", a.flags.Arg(0))
	}
	if a.noConfig != "" && a.flags.Changed("config") {
		return a.wrong("it takes no --config: %s", a.noConfig)
	}
	for _, name := range []string{"config", "mount"} {
		if a.flags.Changed(name) && a.flags.Lookup(name).Value.String() == "" {
			return a.wrong("--%s needs a value", name)
		}
	}
	if a.config != "" {
		file, err := config.Locate(a.config, a.env)
		if err != nil {
			a.say("%v", err)
			return exitUsage
		}
		a.config = file
	}
	return -1
}

// wrong reports wrong usage.
func (a *asker) wrong(format string, args ...any) int {
	fmt.Fprintf(a.stderr, "pocket: "+format+": see pocket %s --help\n", append(args, a.name)...)
	return exitUsage
}

// say writes a line for the user.
func (a *asker) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, "pocket: %s\n", term.Printable(fmt.Sprintf(format, args...)))
}

// sayEach writes the lines of an error.
func (a *asker) sayEach(err error) {
	for line := range strings.Lines(err.Error()) {
		a.say("%s", strings.TrimSuffix(line, "\n"))
	}
}

// find looks for the processes that are meant. An error does not mean that there is none.
func (a *asker) find(ctx context.Context) error {
	dataDir, err := statedir.DataDir()
	if err != nil {
		return err
	}
	a.running, err = control.Find(ctx, dataDir)
	if a.config != "" {
		a.running = slices.DeleteFunc(a.running, func(p *control.Process) bool { return !sameFile(p.Config, a.config) })
	}
	return err
}

func sameFile(one, other string) bool {
	if filepath.Clean(one) == filepath.Clean(other) {
		return true
	}
	a, err := os.Stat(one)
	if err != nil {
		return false
	}
	b, err := os.Stat(other)
	return err == nil && os.SameFile(a, b)
}

// gather asks the processes how they do, with up to files pending files of each mount. It
// leaves those whose mounts are not meant out of the answer and of running. What one of them cannot
// say is an error beside the others' answers.
func (a *asker) gather(ctx context.Context, files int) ([]control.Status, error) {
	failed := a.find(ctx)
	answers := make([]control.Status, len(a.running))
	errs := make([]error, len(a.running))
	var work sync.WaitGroup
	for i, p := range a.running {
		work.Go(func() { answers[i], errs[i] = p.Status(ctx, files) })
	}
	work.Wait()
	var statuses []control.Status
	var processes []*control.Process
	for i, s := range answers {
		if errs[i] != nil {
			continue
		}
		if a.mount != "" {
			s.Mounts = slices.DeleteFunc(s.Mounts, func(m control.Mount) bool { return !strings.EqualFold(m.Name, a.mount) })
			if len(s.Mounts) == 0 {
				continue
			}
		}
		statuses, processes = append(statuses, s), append(processes, a.running[i])
	}
	a.running = processes
	return statuses, errors.Join(append(errs, failed)...)
}

// nothing says that nothing is running that is meant, and how to start it.
func (a *asker) nothing() int {
	command := "pocket"
	if a.config != "" {
		command += " --config " + a.config
	}
	switch {
	case a.mount != "":
		a.say("no mount named %q is running: pocket status lists those that are, and this starts it: %s", a.mount, command)
	case a.config != "":
		a.say("nothing is mounted from %s: start it with: %s", a.config, command)
	default:
		a.say("nothing is mounted: start it with: %s", command)
	}
	return exitNothing
}

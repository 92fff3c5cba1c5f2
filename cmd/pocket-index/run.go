package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/loroindex"
)

const usage = `pocket-index looks at the index of a mount: the tree of its files, and its history.

Usage:
    pocket-index dump    [options] [TARGET]    print the files, the history, or figures
    pocket-index verify  [options] [TARGET]    check the index and what it refers to
    pocket-index compact [options] [TARGET]    make one snapshot of all updates and
                                               snapshots, delete what that replaces

TARGET is one of
    --mount NAME             a mount of the configuration; the only one if left out
    --url s3://BUCKET/PREFIX a place in a bucket
    DIR                      a folder that holds a bucket's objects, or a prefix in it
    FILE                     a single object of an index (dump only)

Options:
    --config FILE      the configuration; by default the one pocket reads
    --endpoint URL     of the S3 service, with --url
    --region NAME      of the bucket, with --url
    --profile NAME     the access key to use with --url, as kept by pocket-creds; by
                       default what other AWS programs use
    --json             one JSON object a line, for scripts
    -h, --help         print this text

dump reads only. It prints a table of path, kind, size, time of the last change (UTC),
mode, Windows attributes, and the object that holds the content, or
    --ops              the history: when, on which machine, what
    --stats            figures: snapshots, updates, sessions, history, files

verify reads only. It prints one line for each fault: the key, and what is wrong.
    --read-data        read every object that is referred to, and check its SHA-256

compact may run while mounts are running, also on several machines. What is replaced is
deleted a day later, by a compact that runs then.
    --dry-run          write nothing; tell what would be done
    --history KEEP     let the snapshot that mounts begin with hold only so much history:
                       "all" (as without the option), or an age such as 90d, 26w, 2y. The
                       whole history stays in the bucket
    --unmounted        no mount of this index is running on any machine, and none was left
                       with changes to upload: delete at once, and allow any KEEP

Examples:
    $ pocket-index dump --mount ssh
    $ pocket-index verify --read-data --url s3://your-bucket/ssh --profile default
    $ pocket-index compact --dry-run /mnt/nas/pocket/ssh

Exit codes:
    0  done; verify: all is well
    1  failed; nothing is half done
    2  wrong usage or configuration
    3  verify found faults
`

// Exit codes; usage documents them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFaults = 3
)

// options are what the command line says.
type options struct {
	config, mount, url         string
	endpoint, region, profile  string
	json, ops, stats, readData bool
	dryRun, unmounted          bool
	history                    string
	path                       string // DIR or FILE
}

// command is one run of the program.
type command struct {
	options
	ctx    context.Context
	out    *bufio.Writer // data, for whoever reads it
	stderr io.Writer
	bar    *term.Progress // nil unless a person watches
	mixed  bool           // the person sees the data between the lines of the progress
	env    config.Env
}

// errFaults ends a verify that found some: they have been told.
var errFaults = errors.New("the index is not sound")

// usageError is a mistake in the command line or the configuration.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func wrong(format string, a ...any) error {
	return &usageError{fmt.Sprintf(format, a...) + ": see pocket-index --help"}
}

// run is the command without the process around it.
func run(args []string, stdout, stderr io.Writer, env config.Env) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &command{ctx: ctx, out: bufio.NewWriterSize(stdout, 1<<16), stderr: stderr, env: env}
	if term.IsTerminal(stderr) {
		c.mixed = term.IsTerminal(stdout)
		c.bar = term.NewProgress(stderr, term.ProgressOptions{Terminal: true, Width: func() int { return term.Width(stderr) }})
	}
	// The bytes of a bucket may be anybody's. What they make go wrong here is told
	// like everything else.
	defer func() {
		if p := recover(); p != nil {
			code = c.fail(fmt.Errorf("this should not have happened, please report it: %v", p))
		}
	}()
	err := c.main(args)
	if flushed := c.out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write the output: %w", flushed)
	}
	if ctx.Err() != nil && err != nil {
		err = errors.New("interrupted; the index is sound, and running this again is safe")
	}
	return c.fail(err)
}

// fail tells what went wrong, in one line, and returns the exit code.
func (c *command) fail(err error) int {
	if c.bar != nil {
		c.bar.Finish("")
	}
	var u *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFaults):
		return exitFaults
	case errors.As(err, &u):
		c.tell(u.text)
		return exitUsage
	}
	c.tell(err.Error())
	return exitFailed
}

// tell writes a line for people. A text of several lines, as of several errors
// at once, becomes one.
func (c *command) tell(text string) {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	line := "pocket-index: " + term.Printable(strings.Join(lines, "; "))
	if c.bar != nil {
		c.bar.Print(line)
	} else {
		fmt.Fprintln(c.stderr, line)
	}
}

// line prints a line of data while a work is under way.
func (c *command) line(text string) error {
	if c.mixed {
		c.bar.Print(text)
		return nil
	}
	_, err := c.out.WriteString(text + "\n")
	return err
}

func (c *command) main(args []string) error {
	flags := pflag.NewFlagSet("pocket-index", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&c.config, "config", "", "")
	flags.StringVar(&c.mount, "mount", "", "")
	flags.StringVar(&c.url, "url", "", "")
	flags.StringVar(&c.endpoint, "endpoint", "", "")
	flags.StringVar(&c.region, "region", "", "")
	flags.StringVar(&c.profile, "profile", "", "")
	flags.BoolVar(&c.json, "json", false, "")
	flags.BoolVar(&c.ops, "ops", false, "")
	flags.BoolVar(&c.stats, "stats", false, "")
	flags.BoolVar(&c.readData, "read-data", false, "")
	flags.BoolVar(&c.dryRun, "dry-run", false, "")
	flags.BoolVar(&c.unmounted, "unmounted", false, "")
	flags.StringVar(&c.history, "history", "all", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		c.out.WriteString(usage)
		return nil
	case err != nil:
		return wrong("%v", err)
	case flags.NArg() == 0:
		return wrong("say what to do: dump, verify or compact")
	case flags.NArg() > 2:
		return wrong("%q is one argument too many", flags.Arg(2))
	}
	commands := map[string]struct {
		run  func() error
		only string // flags that no other command has
	}{
		"dump":    {c.dump, "ops stats"},
		"verify":  {c.verify, "read-data"},
		"compact": {c.compact, "dry-run history unmounted"},
	}
	name := flags.Arg(0)
	if name == "help" {
		c.out.WriteString(usage)
		return nil
	}
	this, ok := commands[name]
	if !ok {
		return wrong("%q is not a command", name)
	}
	for other, o := range commands {
		for flag := range strings.FieldsSeq(o.only) {
			if other != name && flags.Changed(flag) {
				return wrong("--%s belongs to %s, not to %s", flag, other, name)
			}
		}
	}
	c.path = flags.Arg(1)
	for _, f := range []string{"config", "mount", "url", "endpoint", "region", "profile", "history"} {
		if flags.Changed(f) && flags.Lookup(f).Value.String() == "" {
			return wrong("--%s needs a value", f)
		}
	}
	if flags.NArg() == 2 && c.path == "" {
		return wrong("the name of a folder or file is empty")
	}
	return this.run()
}

// step shows how far a work has come.
func (c *command) step(s loroindex.Step) {
	if c.bar != nil && s.Total > 0 {
		c.bar.Set(term.State(s))
	}
}

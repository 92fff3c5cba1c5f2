package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"

	"github.com/hamflx/pocket/internal/autostart"
	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/internal/term"
)

const usage = `pocket mounts directories whose content is kept in a bucket.

Usage:
    pocket [options]                      mount all [[mounts]] of the configuration
    pocket config-s3 --bucket BUCKET      write a storage in a bucket into the
                                          configuration and keep its access key
    pocket install                        start pocket now, without a window, and with
                                          every login
    pocket uninstall                      undo that
    pocket status [--watch] [--json]      tell how the running mounts do
    pocket wait [--timeout TIME]          wait until all that is pending is in the store
    pocket stop [--timeout TIME]          upload, unmount and end what is running
    pocket restore [--mount NAME|PATH]    move back what a crash left moved aside
    pocket version                        print the version

Options:
    --config FILE    the configuration; by default config.toml in
                     $XDG_CONFIG_HOME/hamflx/pocket (~/.config/...), on Windows
                     %APPDATA%\hamflx\pocket, else in the current directory
    --import         take the files that are in the mounts' directories into the stores,
                     as far as they are not there; the directories stay as they are
    --retry          try mounts that fail again, after 2 s and then at longer intervals
                     of up to a minute, until pocket is stopped; pocket status tells
    -v, --verbose    log more (as POCKET_LOG=debug does); the log is pocket.log in
                     $XDG_DATA_HOME/hamflx/pocket/logs (~/.local/share/...), on Windows
                     %LOCALAPPDATA%\hamflx\pocket\logs
    -h, --help       print this text

pocket stays in the foreground until ENTER is pressed (in a terminal), Ctrl-C, or
SIGTERM. Then it uploads what is pending, unmounts and ends. Ctrl-C again leaves
what is not uploaded in the journal on this machine; the next start uploads it.
A mount ends as well when it is unmounted from outside (fusermount -u PATH).

Example: a directory kept in the folder /mnt/nas/pocket
    $ cat > config.toml <<EOF
    [storages.nas]
    backend = "dir"
    [storages.nas.dir]
    path = "/mnt/nas/pocket"

    [[mounts]]
    name = "notes"
    mount_path = "~/notes"
    storage = "nas"
    EOF
    $ mkdir -p /mnt/nas/pocket
    $ pocket --config config.toml
    pocket: mounted notes at /home/me/notes

Exit codes:
    0  all mounts ended cleanly
    1  a mount failed, could not end cleanly, or could not take all files in
    2  wrong usage or configuration; nothing was mounted
    3  stopped with changes left in the journal
The other commands have their own: see pocket COMMAND --help.
`

// Exit codes; usage documents them.
const (
	exitClean  = 0
	exitFailed = 1
	exitUsage  = 2
	exitLeft   = 3
)

// commands are those with options of their own.
var commands = map[string]func(args []string, stdin io.Reader, stdout, stderr io.Writer, env config.Env) int{
	"config-s3": configS3,
	"install":   install,
	"restore":   restore,
	"status":    status,
	"stop":      stop,
	"uninstall": uninstall,
	"wait":      wait,
}

// run is the command without the process around it.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env config.Env) int {
	if len(args) > 0 {
		if command, ok := commands[args[0]]; ok {
			return command(args[1:], stdin, stdout, stderr, env)
		}
	}
	flags := pflag.NewFlagSet("pocket", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	var o mountOptions
	flags.StringVar(&o.config, "config", "", "")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "")
	flags.BoolVar(&o.imports, "import", false, "")
	flags.BoolVar(&o.retry, "retry", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		io.WriteString(stdout, usage)
		return exitClean
	case err != nil:
		return wrong(stderr, "%s", term.Printable(err.Error()))
	case flags.Changed("config") && o.config == "":
		return wrong(stderr, "--config needs the name of a file")
	}
	switch command := flags.Arg(0); {
	case commands[command] != nil:
		return wrong(stderr, "write options after the command: pocket %s --config FILE", command)
	case flags.NArg() > 1:
		return wrong(stderr, "%q is one argument too many", flags.Arg(1))
	case command == "":
		if autostart.HandOver(args) {
			return exitClean
		}
		return mountAll(o, stdin, stderr, env)
	case command == "version":
		fmt.Fprintln(stdout, version())
		return exitClean
	case command == "help":
		io.WriteString(stdout, usage)
		return exitClean
	default:
		return wrong(stderr, "%q is not a command", command)
	}
}

// wrong reports wrong usage, in the log when nobody sees what is on stderr.
func wrong(stderr io.Writer, format string, args ...any) int {
	if dataDir, err := statedir.DataDir(); err == nil && term.Unseen(stderr) {
		r := newRunner(stderr)
		r.openLog(dataDir, false)
		defer r.closeLog()
		stderr = logLines{r.log}
	}
	fmt.Fprintf(stderr, "pocket: "+format+": see pocket --help\n", args...)
	return exitUsage
}

// version describes this program as it was built.
func version() string {
	v, revision := "(unknown)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && !strings.Contains(v, s.Value[:min(12, len(s.Value))]) {
				revision = " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("pocket %s%s %s %s/%s", v, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/internal/term"
)

const usage = `pocket-creds keeps access keys for pocket in profiles that config.toml names.

Usage:
    pocket-creds set NAME       ask for an access key and keep it as profile NAME
    pocket-creds list           print the names of all profiles, one a line
    pocket-creds test NAME      check that profile NAME is there and can be read
    pocket-creds delete NAME    remove profile NAME

Options:
    --config FILE    the configuration the profiles belong to; by default the one
                     pocket reads. They lie in the directory credentials beside it.
    -h, --help       print this text

On Windows a profile is encrypted for the user who made it; elsewhere it is a file
that only its owner may read. set asks on the terminal and does not show the secret;
from a pipe it reads the id and the secret as two lines. There is no flag for them:
flags end up in the shell's history and in lists of processes.

Example:
    $ pocket-creds set default
    Access key id: AKIAIOSFODNN7EXAMPLE
    Secret access key:
    $ pocket-creds test default
    default: access key AKIA... (secret not shown)

and in config.toml:
    [storages.default.s3]
    credentials = "default"

Exit codes: 0 done, 1 failed, 2 wrong usage.
`

// Exit codes; usage documents them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run is the command without the process around it.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	wrong := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "pocket-creds: "+format+": see pocket-creds --help\n", a...)
		return exitUsage
	}
	flags := pflag.NewFlagSet("pocket-creds", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	file := flags.String("config", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		io.WriteString(stdout, usage)
		return exitDone
	case err != nil:
		return wrong("%s", term.Printable(err.Error()))
	}
	if flags.NArg() == 0 {
		io.WriteString(stderr, usage)
		return exitUsage
	}
	command, names := flags.Arg(0), flags.Args()[1:]
	commands := map[string]struct {
		names int
		run   func(s session, name string) error
	}{"set": {1, session.set}, "list": {0, session.list}, "test": {1, session.test}, "delete": {1, session.delete}}
	c, ok := commands[command]
	switch {
	case !ok:
		return wrong("%q is not a command", command)
	case len(names) < c.names:
		return wrong("%s needs the name of a profile", command)
	case len(names) > c.names:
		return wrong("%s does not take %q", command, names[c.names])
	}
	dir, err := directory(*file)
	if err == nil {
		s := session{store: creds.Open(dir), in: term.NewInput(stdin, stderr), stdout: stdout, stderr: stderr}
		err = c.run(s, flags.Arg(1))
	}
	if err != nil {
		fmt.Fprintf(stderr, "pocket-creds: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// directory returns where the profiles are that belong to a configuration. There need not
// be one yet: its place is known.
// A configuration that is named must exist: after a slip of the finger the key would lie
// anywhere.
func directory(explicit string) (string, error) {
	env := config.OSEnv()
	file, err := config.Locate(explicit, env)
	if err != nil && (explicit != "" || file == "") {
		return "", err
	}
	return config.CredentialsDir(file, env), nil
}

// session is one run of a command.
type session struct {
	store          creds.Store
	in             *term.Input
	stdout, stderr io.Writer
}

func (s session) set(name string) error {
	// Nobody should type a secret for a name that is refused then.
	if err := creds.CheckName(name); err != nil {
		return err
	}
	var c creds.Credentials
	var err error
	if c.AccessKeyID, err = s.in.Line("Access key id: "); err == nil {
		c.SecretAccessKey, err = s.in.Secret("Secret access key: ")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("set needs the access key id and the secret access key, each on a line of its own: nothing was changed")
	}
	if err != nil {
		return fmt.Errorf("read the access key: %w", err)
	}
	if err := s.store.Set(name, c); err != nil {
		return err
	}
	// What was written is what counts, not what was meant.
	kept, err := s.store.Get(name)
	if err != nil {
		return err
	}
	if kept != c {
		return fmt.Errorf("profile %q does not read back as it was written: check the disk and set it again", name)
	}
	fmt.Fprintf(s.stderr, "pocket-creds: kept %v: use it with credentials = %q in config.toml\n", kept, name)
	return nil
}

func (s session) list(string) error {
	names, err := s.store.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(s.stdout, name)
	}
	return nil
}

func (s session) test(name string) error {
	c, err := s.store.Get(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "%s: %v\n", name, c)
	return nil
}

func (s session) delete(name string) error { return s.store.Delete(name) }

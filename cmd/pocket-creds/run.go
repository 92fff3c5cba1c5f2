package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/internal/openstore"
	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/objstore"
)

const usage = `pocket-creds keeps access keys for pocket in profiles that config.toml names.

Usage:
    pocket-creds set NAME       ask for an access key and keep it as profile NAME
    pocket-creds list           print the names of all profiles and when they were set
    pocket-creds test NAME      check that profile NAME is there and can be read
    pocket-creds move NAME      move its key from its file into the keyring, or back
    pocket-creds delete NAME    remove profile NAME

Options:
    --access-key-id ID           set: the id, which is then not asked for
    --secret-access-key-stdin    set: the first line of standard input is the secret
    --keep-in keyring|file       set, move: where the key is kept; by default the keyring
    --storage NAME               test: sign a request to the bucket of this storage too
    --json                       list: an object a line: name, changed, place
    --config FILE                the configuration the profiles belong to; by default the
                                 one pocket reads. They lie in the directory credentials
                                 beside it.
    -h, --help                   print this text

On Windows a profile is encrypted for the user who made it. Elsewhere its key is in the
user's keyring (Secret Service, keychain), or, without one or with POCKET_KEYRING=off, in a
file that only its owner may read; set says where. list asks no keyring. set asks on the
terminal and does not show the secret; from a pipe it reads the id and the secret as two
lines. There is no flag for the secret: flags end up in the shell's history and in lists
of processes.

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
	var s session
	flags.StringVar(&s.config, "config", "", "")
	flags.StringVar(&s.id, "access-key-id", "", "")
	keepIn := flags.String("keep-in", "", "")
	secretStdin := flags.Bool("secret-access-key-stdin", false, "")
	flags.StringVar(&s.storage, "storage", "", "")
	flags.BoolVar(&s.json, "json", false, "")
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
		flags string
	}{
		"set":    {1, session.set, "access-key-id secret-access-key-stdin keep-in"},
		"list":   {0, session.list, "json"},
		"test":   {1, session.test, "storage"},
		"move":   {1, session.move, "keep-in"},
		"delete": {1, session.delete, ""},
	}
	c, ok := commands[command]
	switch {
	case !ok:
		return wrong("%q is not a command", command)
	case len(names) < c.names:
		return wrong("%s needs the name of a profile", command)
	case len(names) > c.names:
		return wrong("%s does not take %q", command, names[c.names])
	}
	foreign := ""
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "config" && !strings.Contains(" "+c.flags+" ", " "+f.Name+" ") {
			foreign = f.Name
		}
	})
	switch {
	case foreign != "":
		return wrong("%s does not take --%s", command, foreign)
	case *secretStdin && s.id == "":
		return wrong("--secret-access-key-stdin needs --access-key-id")
	case flags.Changed("keep-in") && *keepIn != string(creds.InKeyring) && *keepIn != string(creds.InFile):
		return wrong("--keep-in is %q: it can be keyring or file", *keepIn)
	}
	if s.keepIn = creds.Place(*keepIn); command == "move" && s.keepIn == creds.Anywhere {
		s.keepIn = creds.InKeyring
	}
	dir, err := directory(s.config)
	if err == nil {
		s.store, s.in, s.stdout, s.stderr = creds.OpenIn(dir, s.keepIn), term.NewInput(stdin, stderr), stdout, stderr
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
	config         string // as given
	id             string // the access key id, if it was given
	keepIn         creds.Place
	storage        string // to test against
	json           bool
}

func (s session) set(name string) error {
	// Nobody should type a secret for a name that is refused then.
	if err := creds.CheckName(name); err != nil {
		return err
	}
	c, err := creds.Ask(s.in, creds.Credentials{AccessKeyID: s.id})
	if err != nil {
		return err
	}
	where, err := creds.Keep(s.store, name, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stderr, "pocket-creds: kept %v: use it with credentials = %q in config.toml\n", c, name)
	fmt.Fprintf(s.stderr, "pocket-creds: %s\n", where)
	return nil
}

func (s session) move(name string) error {
	c, err := s.store.Get(name)
	if err != nil {
		return err
	}
	where, err := creds.Keep(s.store, name, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stderr, "pocket-creds: kept %v: %s\n", c, where)
	return nil
}

func (s session) list(string) error {
	profiles, err := s.store.List()
	if err != nil {
		return err
	}
	if s.json {
		out := json.NewEncoder(s.stdout)
		for _, p := range profiles {
			if err := out.Encode(p); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, p := range profiles {
		rows = append(rows, []string{p.Name, p.Changed.Format("2006-01-02 15:04"), string(p.Place)})
	}
	_, err = io.WriteString(s.stdout, term.Table(rows))
	return err
}

func (s session) test(name string) error {
	c, err := s.store.Get(name)
	if err != nil {
		return err
	}
	if s.storage == "" {
		fmt.Fprintf(s.stdout, "%s: %v\n", name, c)
		return nil
	}
	bucket, err := s.ask(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "%s: %v: %s answers\n", name, c, bucket)
	return nil
}

// patience is how long a bucket may take to answer.
const patience = 20 * time.Second

// ask lists a little of the storage's bucket, which is the least that pocket must be
// allowed to do there, and returns the bucket's name.
func (s session) ask(profile string) (string, error) {
	cfg, err := config.LoadStorages(s.config, config.OSEnv())
	if err != nil {
		return "", err
	}
	storage, ok := cfg.Storages[s.storage]
	switch {
	case !ok:
		return "", fmt.Errorf("%s has no storage %q: see [storages.NAME] there", cfg.File, s.storage)
	case storage.Backend != config.BackendS3:
		return "", fmt.Errorf("storage %q is no bucket, its backend is %q", s.storage, storage.Backend)
	}
	storage.S3.Credentials = profile
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store, err := openstore.Open(ctx, storage, s.store)
	if err != nil {
		return "", err
	}
	for _, err := range objstore.WithRetry(store, objstore.RetryPolicy{Budget: patience}).List(ctx, "index/", "") {
		if err != nil {
			return "", fmt.Errorf("bucket %s with profile %q: %w", storage.S3.Bucket, profile, err)
		}
		break
	}
	return "bucket " + storage.S3.Bucket, nil
}

func (s session) delete(name string) error { return s.store.Delete(name) }

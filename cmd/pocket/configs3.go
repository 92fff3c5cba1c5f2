package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/hamflx/pocket/internal/config"
	"github.com/hamflx/pocket/internal/creds"
	"github.com/hamflx/pocket/internal/term"
)

const usageConfigS3 = `pocket config-s3 keeps an access key and writes a storage in a bucket into config.toml.

Usage:
    pocket config-s3 --bucket BUCKET [options]

Options:
    --bucket BUCKET              the bucket; it must exist
    --region REGION              as the service calls it; "" removes it
    --endpoint URL               of a service other than AWS; "" removes it
    --storage NAME               the storage to make or change (default "default")
    --mode buffered|sync         what close and fsync wait for: this machine, or the bucket
    --credentials NAME           the profile that keeps the key (default "default")
    --access-key-id ID           asked for when it is not given; no answer keeps the key of
                                 a profile that is there
    --secret-access-key SECRET   asked for, and not shown, when it is not given; a flag is
                                 seen in lists of processes and in the shell's history
    --secret-access-key-stdin    read the secret from the first line of standard input
    --mount PATH                 mount this directory from the storage; on Windows also a
                                 free drive, X:, or * for whatever drive is free
    --name NAME                  of the mount; by default the last part of PATH
    --prefix PREFIX              of the mount's keys in the bucket, such as ssh/
    --config FILE                the configuration; by default the one pocket reads
    -h, --help                   print this text

Everything else in the configuration stays as it is, comments too. What is not named
keeps its value. On Windows the key is encrypted for the user who runs this; elsewhere it
is in the keyring, or, without one, in a file that only its owner may read.

Example:
    $ pocket config-s3 --bucket my-pocket --region eu-central-1 --mount ~/.ssh --prefix ssh/
    Access key id: AKIAIOSFODNN7EXAMPLE
    Secret access key:
    pocket: kept access key AKIA... (secret not shown) as profile "default"; it is in this user's keyring
    pocket: wrote storage "default" and mount "ssh" into /home/me/.config/hamflx/pocket/config.toml

Exit codes: 0 done, 1 failed, 2 wrong usage.
`

// configS3 is the command of that name. Nothing is written before all that it is to write
// has been checked.
func configS3(args []string, stdin io.Reader, stdout, stderr io.Writer, env config.Env) int {
	wrong := func(format string, a ...any) int {
		fmt.Fprintf(stderr, "pocket: "+format+": see pocket config-s3 --help\n", a...)
		return exitUsage
	}
	change := config.S3Change{}
	var mode string
	var key creds.Credentials
	flags := pflag.NewFlagSet("config-s3", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&change.Bucket, "bucket", "", "")
	region := flags.String("region", "", "")
	endpoint := flags.String("endpoint", "", "")
	flags.StringVar(&change.Storage, "storage", "default", "")
	flags.StringVar(&mode, "mode", "", "")
	flags.StringVar(&change.Credentials, "credentials", "default", "")
	flags.StringVar(&key.AccessKeyID, "access-key-id", "", "")
	flags.StringVar(&key.SecretAccessKey, "secret-access-key", "", "")
	fromStdin := flags.Bool("secret-access-key-stdin", false, "")
	mount := flags.String("mount", "", "")
	name := flags.String("name", "", "")
	prefix := flags.String("prefix", "", "")
	file := flags.String("config", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		io.WriteString(stdout, usageConfigS3)
		return exitClean
	case err != nil:
		return wrong("%s", term.Printable(err.Error()))
	case flags.NArg() > 0:
		return wrong("%q is one argument too many", flags.Arg(0))
	case change.Bucket == "":
		return wrong("--bucket is missing")
	case mode != "" && mode != string(config.ModeBuffered) && mode != string(config.ModeSync):
		return wrong("--mode is %q: it can be buffered or sync", mode)
	case *fromStdin && flags.Changed("secret-access-key"):
		return wrong("--secret-access-key and --secret-access-key-stdin exclude each other")
	case *fromStdin && key.AccessKeyID == "":
		return wrong("--secret-access-key-stdin needs --access-key-id")
	case change.Storage == "":
		return wrong("--storage needs a name")
	case *mount == config.AnyDrive && *name == "":
		return wrong("--mount %s, whatever drive is free, needs --name", config.AnyDrive)
	case *mount == "" && *name != "":
		return wrong("--name is of a mount: add --mount PATH")
	}
	change.Mode = config.Mode(mode)
	if flags.Changed("region") {
		change.Region = region
	}
	if flags.Changed("endpoint") {
		change.Endpoint = endpoint
	}
	if *mount != "" {
		change.Mount = &config.NewMount{Name: *name, Path: env.Absolute(*mount)}
		if *name == "" {
			change.Mount.Name = nameOf(change.Mount.Path)
		}
		if change.Mount.Name == "" {
			return wrong("--mount %s gives the mount no name: add --name", *mount)
		}
		if flags.Changed("prefix") {
			change.Mount.Prefix = prefix
		}
	}
	say := func(format string, a ...any) {
		fmt.Fprintf(stderr, "pocket: %s\n", term.Printable(fmt.Sprintf(format, a...)))
	}
	if err := makeS3(change, key, *prefix, *file, term.NewInput(stdin, stderr), say, env); err != nil {
		for line := range strings.Lines(err.Error()) {
			say("%s", strings.TrimSuffix(line, "\n"))
		}
		return exitFailed
	}
	return exitClean
}

// nameOf returns the name of a mount at path: its last part, or the drive's letter.
func nameOf(path string) string {
	if drive := filepath.VolumeName(path); drive == path && drive != "" {
		return strings.TrimSuffix(drive, ":")
	}
	return strings.TrimLeft(filepath.Base(path), ".")
}

// makeS3 keeps the key and changes the configuration. prefix is what was given as one, also without a mount.
func makeS3(change config.S3Change, key creds.Credentials, prefix, explicit string, in creds.Prompter, say func(string, ...any), env config.Env) error {
	file, err := config.Locate(explicit, env)
	if err != nil && (file == "" || !errors.Is(err, config.ErrNoFile)) {
		return err
	}
	if _, noDir := os.Stat(filepath.Dir(file)); noDir != nil && explicit != "" {
		return err // a slip of the finger would put the key anywhere
	}
	if err := creds.CheckName(change.Credentials); err != nil {
		return err
	}
	// Nobody should type a secret for what is refused then.
	if err := config.CheckChange(file, change, env); err != nil {
		return err
	}
	if err := keepKey(creds.Open(config.CredentialsDir(file, env)), change.Credentials, key, in, say); err != nil {
		return err
	}
	cfg, err := config.Change(file, change, env)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("storage %q", change.Storage)
	if change.Mount != nil {
		what += fmt.Sprintf(" and mount %q", change.Mount.Name)
	}
	say("wrote %s into %s", what, file)
	for _, w := range cfg.Warnings {
		say("warning: %s", w)
	}
	if change.Mount == nil {
		sayUnmounted(cfg, change.Storage, prefix, say)
	}
	return nil
}

// sayUnmounted tells what a storage that was written without a mount, and the prefix that was given, still need.
func sayUnmounted(cfg *config.Config, storage, prefix string, say func(string, ...any)) {
	mounts := slices.DeleteFunc(slices.Clone(cfg.Mounts), func(m config.Mount) bool { return m.Storage.Name != storage })
	has := func(m config.Mount) bool { return strings.TrimSuffix(m.Prefix, "/") == strings.TrimSuffix(prefix, "/") }
	switch {
	case prefix != "" && !slices.ContainsFunc(mounts, has):
		say("the prefix %q was not used, it belongs to a mount: add --mount PATH, or prefix = %q to a [[mounts]] table", prefix, prefix)
	case len(mounts) == 0:
		say("nothing is mounted from storage %q yet: add --mount PATH, or a [[mounts]] table", storage)
	}
}

// keepKey asks for what is missing of the key and keeps it, unless the one that is there stays.
func keepKey(profiles creds.Store, name string, key creds.Credentials, in creds.Prompter, say func(string, ...any)) error {
	kept, err := profiles.Get(name)
	if err == nil && key == (creds.Credentials{}) {
		if key, err = creds.AskOver(in, name, kept); err == nil && key == kept {
			say("profile %q stays as it is: %v", name, kept)
			return nil
		}
	} else {
		key, err = creds.Ask(in, key)
	}
	if err != nil {
		return err
	}
	where, err := creds.Keep(profiles, name, key)
	if err == nil {
		say("kept %v as profile %q; %s", key, name, where)
	}
	return err
}

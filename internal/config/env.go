package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"unicode"

	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/oserror"
)

// Env is what a configuration depends on besides its text. Tests make one up, so that
// the rules of every system can be checked on any.
type Env struct {
	GOOS      string                           // as runtime.GOOS: decides directories and path syntax
	LookupEnv func(name string) (string, bool) // as os.LookupEnv
	Home      string                           // used when HOME and USERPROFILE are not set; may be empty
	Dir       string                           // working directory; may be empty when it is unknown
}

// OSEnv returns the environment of this process.
func OSEnv() Env {
	env := Env{GOOS: runtime.GOOS, LookupEnv: os.LookupEnv}
	// Both may fail (no HOME in a service, a removed working directory). That matters
	// only to a path that needs them, and is reported there.
	env.Home, _ = os.UserHomeDir()
	env.Dir, _ = os.Getwd()
	return env
}

func (e Env) get(name string) string {
	if e.LookupEnv == nil {
		return ""
	}
	v, _ := e.LookupEnv(name)
	return v
}

// home is the user's home directory or "". HOME goes before USERPROFILE, on Windows
// too; but shells there may export a HOME that means nothing to Windows ("/home/me"),
// which is passed over.
func (e Env) home() string {
	for _, h := range []string{e.get("HOME"), e.get("USERPROFILE"), e.Home} {
		if h != "" && e.paths().isAbs(h) {
			return h
		}
	}
	return ""
}

func (e Env) windows() bool { return e.GOOS == "windows" }

func (e Env) paths() pathStyle {
	switch e.GOOS {
	case "windows":
		return windowsPaths
	case "darwin", "ios":
		return darwinPaths
	}
	return unixPaths
}

// Candidates lists the absolute paths of the files Load looks for when none is named,
// in order: the platform's directory first, then config.toml in the working directory.
//
// On Windows the directory "config" below the platform's is between them: the Rust
// program of the same name kept its file there, whatever its documentation said.
func Candidates(env Env) []string {
	p := env.paths()
	var base string
	switch env.GOOS {
	case "windows":
		base = env.get("APPDATA")
		if !p.isAbs(base) {
			base = p.join(env.home(), "AppData", "Roaming")
		}
	case "darwin", "ios":
		base = p.join(env.home(), "Library", "Application Support")
	default:
		// The XDG base directory specification has relative values ignored.
		base = env.get("XDG_CONFIG_HOME")
		if !p.isAbs(base) {
			base = p.join(env.home(), ".config")
		}
	}
	var files []string
	if p.isAbs(base) {
		files = append(files, p.join(base, "hamflx", "pocket", "config.toml"))
		if env.windows() {
			files = append(files, p.join(base, "hamflx", "pocket", "config", "config.toml"))
		}
	}
	if p.isAbs(env.Dir) {
		files = append(files, p.join(env.Dir, "config.toml"))
	}
	return files
}

// ErrNoFile is what Load and Locate wrap when no configuration file exists.
var ErrNoFile = errors.New("no configuration file")

// Locate returns the absolute path of the file Load would read: explicit when it is
// not empty, else the first of Candidates that exists. When none exists it returns the
// first candidate, where a new file belongs, and an error that wraps ErrNoFile.
func Locate(explicit string, env Env) (string, error) {
	if explicit != "" {
		file, err := env.paths().abs(explicit, env.Dir)
		if err != nil {
			return "", fmt.Errorf("configuration file %s: %w", quote(explicit), err)
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return file, fmt.Errorf("%w %s: check the path, or name no file to use the default one", ErrNoFile, show(file))
		}
		return file, nil
	}
	candidates := Candidates(env)
	if len(candidates) == 0 {
		return "", fmt.Errorf("%w: neither the home nor the working directory is known: set HOME or name the file", ErrNoFile)
	}
	for _, file := range candidates {
		// Anything but "does not exist" means that it is the one: falling through to
		// another file because this one cannot be read would mount something else.
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return file, nil
		}
	}
	shown := make([]string, len(candidates))
	for i, file := range candidates {
		shown[i] = show(file)
	}
	return candidates[0], fmt.Errorf("%w: looked for %s: run pocket config-s3, or write the first with a [[mounts]] table, %s",
		ErrNoFile, strings.Join(shown, ", then "), exampleMount(builtinMemory))
}

// exampleMount tells of the shortest mount that works.
func exampleMount(storage string) string {
	return fmt.Sprintf("for example with the two lines mount_path = \"~/pocket-try\" and storage = %s below it", literal(storage))
}

// CredentialsDir returns the directory of the credential profiles that belong to a
// configuration file: credentials beside it. File is as Locate or Config.File gives it.
func CredentialsDir(file string, env Env) string {
	p := env.paths()
	return p.join(p.dir(file), "credentials")
}

// maxFileSize bounds what is read as a configuration. A real one is a few kilobytes.
const maxFileSize = 1 << 20

// Load finds the configuration (see Locate), reads, checks and resolves it. The error
// may hold many mistakes, joined, each one line. Nothing is written.
func Load(explicit string, env Env) (*Config, error) { return load(explicit, env, parse) }

// LoadStorages is Load for those who mount nothing: there need not be any mount yet.
func LoadStorages(explicit string, env Env) (*Config, error) {
	return load(explicit, env, parseStorages)
}

func load(explicit string, env Env, parse func(string, []byte, fs.FileMode, Env) (*Config, error)) (*Config, error) {
	file, err := Locate(explicit, env)
	if err != nil {
		return nil, err
	}
	text, perm, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return parse(file, text, perm, env)
}

// readFile returns the whole file and its permission bits.
func readFile(file string) ([]byte, fs.FileMode, error) {
	f, err := busyfile.Open(file)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: cannot be read: %w: give this user the right to read it", show(file), oserror.Reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: cannot be read: %w: check the file", show(file), oserror.Reason(err))
	}
	if info.IsDir() {
		return nil, 0, fmt.Errorf("%s: is a directory: name the file in it, or remove the directory", show(file))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: cannot be read: %w: check the file and its disk", show(file), oserror.Reason(err))
	}
	if len(text) > maxFileSize {
		return nil, 0, fmt.Errorf("%s: larger than 1 MiB: this is not a configuration, check the path", show(file))
	}
	return text, info.Mode().Perm(), nil
}

// show makes a text fit to stand in one line: unchanged unless it holds control characters.
func show(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, text)
}

// quote puts a path between quotes as it is: %q would double the backslashes.
func quote(path string) string { return `"` + show(path) + `"` }

package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
)

// here is an environment of the system the test runs on, below a fresh directory.
func here(t *testing.T) (env Env, platform, local string) {
	t.Helper()
	root := t.TempDir()
	home, wd := filepath.Join(root, "home"), filepath.Join(root, "work")
	require.NoError(t, os.MkdirAll(wd, 0o700))
	env = Env{GOOS: runtime.GOOS, Dir: wd, LookupEnv: vars{"HOME": home, "APPDATA": filepath.Join(home, "AppData")}.lookup}
	platform = Candidates(env)[0]
	require.NoError(t, os.MkdirAll(filepath.Dir(platform), 0o700))
	return env, platform, filepath.Join(wd, "config.toml")
}

func write(t *testing.T, file, mount string) {
	t.Helper()
	text := fmt.Sprintf("[[mounts]]\nmount_path = \"~/%s\"\nstorage = \"memory\"\n", mount)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}

func TestCandidatesByPlatform(t *testing.T) {
	with := func(env Env, more vars) Env {
		lookup := env.LookupEnv
		env.LookupEnv = func(name string) (string, bool) {
			if v, ok := more[name]; ok {
				return v, v != "-"
			}
			return lookup(name)
		}
		return env
	}
	for _, tc := range []struct {
		name string
		env  Env
		want []string
	}{
		{"linux", linuxEnv, []string{"/home/me/.config/hamflx/pocket/config.toml", "/home/me/project/config.toml"}},
		{"linux with XDG", with(linuxEnv, vars{"XDG_CONFIG_HOME": "/cfg"}), []string{"/cfg/hamflx/pocket/config.toml", "/home/me/project/config.toml"}},
		{"linux with relative XDG", with(linuxEnv, vars{"XDG_CONFIG_HOME": "cfg"}), []string{"/home/me/.config/hamflx/pocket/config.toml", "/home/me/project/config.toml"}},
		{"linux without home", with(linuxEnv, vars{"HOME": "-"}), []string{"/home/me/project/config.toml"}},
		{"macOS", darwinEnv, []string{"/Users/me/Library/Application Support/hamflx/pocket/config.toml", "/Users/me/project/config.toml"}},
		{"windows", windowsEnv, []string{`C:\Users\me\AppData\Roaming\hamflx\pocket\config.toml`,
			`C:\Users\me\AppData\Roaming\hamflx\pocket\config\config.toml`, `D:\project\config.toml`}},
		{"windows without APPDATA", with(windowsEnv, vars{"APPDATA": "-"}), []string{`C:\Users\me\AppData\Roaming\hamflx\pocket\config.toml`,
			`C:\Users\me\AppData\Roaming\hamflx\pocket\config\config.toml`, `D:\project\config.toml`}},
		{"nothing known", Env{GOOS: "linux"}, nil},
	} {
		require.Equal(t, tc.want, Candidates(tc.env), tc.name)
	}
}

func TestPlatformFileGoesBeforeTheWorkingDirectory(t *testing.T) {
	env, platform, local := here(t)
	write(t, local, "local")
	cfg, err := Load("", env)
	require.NoError(t, err)
	require.Equal(t, local, cfg.File)
	require.Equal(t, "local", cfg.Mounts[0].Name)

	write(t, platform, "platform")
	cfg, err = Load("", env)
	require.NoError(t, err)
	require.Equal(t, platform, cfg.File)
	require.Equal(t, "platform", cfg.Mounts[0].Name)
	require.Equal(t, filepath.Join(filepath.Dir(platform), "credentials"), CredentialsDir(cfg.File, env))

	cfg, err = Load("config.toml", env)
	require.NoError(t, err)
	require.Equal(t, local, cfg.File, "an explicit file is relative to the working directory")
}

func TestUnreadablePlatformFileIsNotPassedOver(t *testing.T) {
	env, platform, local := here(t)
	write(t, local, "local")
	require.NoError(t, os.Mkdir(platform, 0o700))
	_, err := Load("", env)
	require.EqualError(t, err, platform+": is a directory: name the file in it, or remove the directory")
}

func TestMissingConfigurationNamesThePlaces(t *testing.T) {
	env, platform, local := here(t)
	_, err := Load("", env)
	require.ErrorIs(t, err, ErrNoFile)
	require.Contains(t, err.Error(), platform)
	require.Contains(t, err.Error(), local)
	require.Contains(t, err.Error(), "[[mounts]]")
	require.NotContains(t, err.Error(), "\n")
	file, err := Locate("", env)
	require.ErrorIs(t, err, ErrNoFile)
	require.Equal(t, platform, file, "a new file belongs there")

	_, err = Load("other.toml", env)
	require.ErrorIs(t, err, ErrNoFile)
	require.Contains(t, err.Error(), filepath.Join(env.Dir, "other.toml"))

	_, err = Load("", Env{GOOS: "linux"})
	require.ErrorIs(t, err, ErrNoFile)
	require.Contains(t, err.Error(), "set HOME")
	_, err = Load("x.toml", Env{GOOS: "linux"})
	require.ErrorContains(t, err, "working directory is unknown")
}

func TestHugeFileIsRefused(t *testing.T) {
	env, _, local := here(t)
	require.NoError(t, os.WriteFile(local, []byte(strings.Repeat("# filler\n", maxFileSize/9+1)), 0o600))
	_, err := Load("", env)
	require.ErrorContains(t, err, "larger than 1 MiB")
}

func TestWorldReadableFileWithASecretIsAWarning(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	env, _, local := here(t)
	text := "[storages.a]\nbackend = \"s3\"\ns3 = {bucket = \"b\", access_key_id = \"id\", secret_access_key = \"TOPSECRET\"}\n"
	write(t, local, "x")
	mounts, err := os.ReadFile(local)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(local, append([]byte(text), mounts...), 0o600))
	cfg, err := Load("", env)
	require.NoError(t, err)
	require.Empty(t, cfg.Warnings)
	require.NoError(t, os.Chmod(local, 0o644))
	cfg, err = Load("", env)
	require.NoError(t, err)
	require.Len(t, cfg.Warnings, 1)
	require.Contains(t, cfg.Warnings[0], local+":3: storages.a.s3.secret_access_key: every user")
}

func TestByteOrderMarks(t *testing.T) {
	text := "[[mounts]]\nmount_path = \"~/x\"\nstorage = \"nope\"\n"
	_, err := parse("/c.toml", []byte("\ufeff"+text), 0o600, linuxEnv)
	require.EqualError(t, err, `/c.toml:3: mounts.storage: "nope" is not defined: there is only "memory", or add [storages.nope]`)
	utf16 := "\xff\xfe" + strings.Join(strings.Split(text, ""), "\x00") + "\x00"
	_, err = parse("/c.toml", []byte(utf16), 0o600, linuxEnv)
	require.EqualError(t, err, "/c.toml:1: the file is UTF-16: save it as UTF-8")
}

func TestCarriageReturnsDoNotDisturbLines(t *testing.T) {
	text := "# one\r\n[[mounts]]\r\nmount_path = \"~/x\"\r\nstorage = \"\"\"no\r\npe\"\"\"\r\nmode = \"x\"\r\n"
	_, err := parse("/c.toml", []byte(text), 0o600, linuxEnv)
	require.ErrorContains(t, err, "/c.toml:4: mounts.storage: ")
	require.ErrorContains(t, err, "/c.toml:6: mounts.mode: ")
}

func TestHomeIsNeededForTildeAlone(t *testing.T) {
	text := "[[mounts]]\nmount_path = \"~/x\"\nstorage = \"memory\"\n"
	_, err := parse("/c.toml", []byte(text), 0o600, Env{GOOS: "linux", Dir: "/"})
	require.EqualError(t, err, `/c.toml:2: mounts.mount_path: "~/x" needs the home directory, which is unknown: set HOME or write the path out`)
	cfg, err := parse("/c.toml", []byte(text), 0o600, Env{GOOS: "linux", Dir: "/", Home: "/root"})
	require.NoError(t, err)
	require.Equal(t, "/root/x", cfg.Mounts[0].Path)
}

func TestExpansion(t *testing.T) {
	windows := windowsEnv
	linux := linuxEnv
	for _, tc := range []struct {
		env                  Env
		given, want, leaving string
	}{
		{linux, "~", "/home/me", ""},
		{linux, "~/a", "/home/me/a", ""},
		{linux, "a/~", "a/~", ""},
		{linux, "~me", "~me", "~me"},
		{linux, `~\a`, `~\a`, `~\a`},
		{windows, `~\a`, `C:\Users\me\a`, ""},
		{windows, "~/a", `C:\Users\me/a`, ""},
		{linux, "$PROJECT", "/srv/project", ""},
		{linux, "$PROJECTS", "$PROJECTS", "$PROJECTS"},
		{linux, "${PROJECT}S", "/srv/projectS", ""},
		{linux, "$PROJECT$PROJECT", "/srv/project/srv/project", ""},
		{linux, "a$EMPTY", "a", ""},
		{linux, "$", "$", ""},
		{linux, "$$", "$$", ""},
		{linux, "$1", "$1", ""},
		{linux, "$ü", "$ü", ""},
		{linux, "${}", "${}", ""},
		{linux, "${PROJECT", "${PROJECT", ""},
		{linux, "${NOPE}$PROJECT", "${NOPE}/srv/project", "${NOPE}"},
		{linux, "$MONEY", "/srv/$PROJECT", ""},
		{windows, "${ProgramFiles(x86)}", `C:\Program Files (x86)`, ""},
		{windows, `%APPDATA%\x`, `%APPDATA%\x`, "%APPDATA%"},
		{windows, `C:\100%\50%`, `C:\100%\50%`, ""},
		{linux, "%HOME%", "%HOME%", ""},
	} {
		got, left, next := tc.env.expand(tc.given)
		require.Equal(t, tc.want, got, tc.given)
		require.Equal(t, tc.leaving, left, tc.given)
		require.Equal(t, left == "", next == "", tc.given)
	}
}

func TestWindowsPathsAreMadeAbsolute(t *testing.T) {
	for given, want := range map[string]string{
		`C:\a`:              `C:\a`,
		`c:/a//b/./c/../d/`: `c:\a\b\d`,
		`C:\`:               `C:\`,
		`C:\..\..`:          `C:\`,
		`X:`:                `X:`,
		`a\b`:               `D:\project\a\b`,
		`..\..\..\b`:        `D:\b`,
		`\a`:                `D:\a`,
		`\\srv\share`:       `\\srv\share`,
		`//srv/share/a/..`:  `\\srv\share\`,
		`\\srv\share\..\b`:  `\\srv\share\b`,
		`\\?\C:\a`:          `C:\a`,
		`.`:                 `D:\project`,
	} {
		got, err := windowsPaths.abs(given, `D:\project`)
		require.NoError(t, err, given)
		require.Equal(t, want, got, given)
		if runtime.GOOS == "windows" && filepath.IsAbs(given) && !strings.HasPrefix(given, `\\?`) {
			require.Equal(t, filepath.Clean(given), got)
		}
	}
	for _, given := range []string{"C:a", "c:..", "a\x00b"} {
		_, err := windowsPaths.abs(given, `D:\project`)
		require.Error(t, err, given)
	}
	for _, given := range []string{`a`, `\a`} {
		_, err := windowsPaths.abs(given, "")
		require.Error(t, err, given)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "65536": 65536, "1_000": 1000, "4MiB": 4 << 20, "4 mib": 4 << 20, "10GB": 10e9, "7b": 7, "3TiB": 3 << 40, "64KiB": 64 << 10,
	} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "4M", "4k", "1.5GiB", "0x10", "4MiBs", "9223372036854775808", "9999999TiB", "_", "4 M iB"} {
		_, err := parseSize(text)
		require.Error(t, err, text)
	}
	for n, want := range map[int64]string{0: "0", 1: "1", 1024: "1KiB", 1536: "1536", 4 << 20: "4MiB", 3 << 30: "3GiB", 1 << 62: "4096PiB"} {
		require.Equal(t, want, formatSize(n))
		got, err := parseSize(want)
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"mount_paht": "mount_path", "mountpath": "mount_path", "MOUNT_PATH": "mount_path", "mode": "mode", "mod": "mode", "path": "", "x": "",
		strings.Repeat("mount_path", 100): "",
	} {
		require.Equal(t, want, nearest(word, mountKeys), word)
	}
}

func TestSecretsOfTheFileDoNotShowThemselves(t *testing.T) {
	text := `storages.a = {backend = "s3", s3 = {bucket = "b", access_key_id = "id", secret_access_key = "TOPSECRET"}}
mounts = [{mount_path = "~/x", storage = "a"}]`
	cfg, err := parse("/c.toml", []byte(text), 0o600, linuxEnv)
	require.NoError(t, err)
	require.Equal(t, "TOPSECRET", string(cfg.Storages["a"].S3.SecretAccessKey))
	require.Equal(t, "TOPSECRET", string(cfg.Mounts[0].Storage.S3.SecretAccessKey))
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+verb+verb, cfg, cfg.Mounts, cfg.Storages)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(h).Info("use", "config", cfg, "secret", cfg.Storages["a"].S3.SecretAccessKey)
	}
	b, err := json.Marshal(cfg)
	require.NoError(t, err)
	shown.Write(b)
	require.NotContains(t, shown.String(), "TOPSECRET")
	require.Equal(t, "", Secret("").String())
}

// goldenTexts adds every configuration of the golden files to a fuzz corpus.
func goldenTexts(f *testing.F) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, config, _ := strings.Cut(string(text), "-- config.toml --\n")
		config, _, _ = strings.Cut(config, "-- outcome --\n")
		f.Add(config)
	}
}

// Whatever the text, there is a usable configuration or lines that name the file.
func FuzzParse(f *testing.F) {
	goldenTexts(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, env := range []Env{linuxEnv, windowsEnv} {
			cfg, err := parse("/etc/pocket.toml", []byte(text), 0o644, env)
			if err != nil {
				for _, line := range strings.Split(err.Error(), "\n") {
					if !strings.HasPrefix(line, "/etc/pocket.toml:") || strings.ContainsAny(line, "\r\x00\x1b") {
						t.Fatalf("not a line for a person: %q", line)
					}
				}
				continue
			}
			if len(cfg.Mounts) == 0 {
				t.Fatal("no mounts and no error")
			}
			for i, m := range cfg.Mounts {
				problem, _ := nameProblem(m.Name)
				if m.Name == "" || problem != "" || m.CacheSize != 0 && m.CacheSize < minChunks*m.ChunkSize || !env.paths().isAbs(m.Path) && len(m.Path) != 2 && m.Path != AnyDrive || m.Line < 1 ||
					m.ChunkSize < MinChunkSize || m.ChunkSize > MaxChunkSize || m.CacheSize != 0 && m.CacheSize < MinCacheSize ||
					m.Mode != ModeBuffered && m.Mode != ModeSync || m.Storage.Backend == "" {
					t.Fatalf("mount %d is not resolved: %+v", i, m)
				}
				for _, e := range cfg.Mounts[:i] {
					anyDrive := m.Path == AnyDrive
					if !anyDrive && (env.paths().holds(e.Path, m.Path) || env.paths().holds(m.Path, e.Path)) || strings.EqualFold(e.Name, m.Name) {
						t.Fatalf("mounts get in each other's way: %+v and %+v", e, m)
					}
				}
			}
		}
	})
}

// The places have the shape of the document the library reads, whichever way tables are
// written, and lie in the text.
func FuzzPlacesMatchTheDocument(f *testing.F) {
	goldenTexts(f)
	f.Add("a.b.c = 1\na.b.d.e = {f.g = [1, {h = 2}, [3]], 'i' = {}}\n[[a.x]]\ny.z = 1\n[a.x.q]\nw = 1\n[[a.x]]\n[[a.x.n]]\nm = 1\n[[a.x.n]]\n")
	f.Add("'' = 1\n\"\\u00e9\\t\\\"\" = 2\n\"a.b\".'c d' = '''\n''''' # x\nd = 1979-05-27 07:32:00\n")
	f.Add("a = [ # c\n 1, # ]\n 2,\n]\nb = {\n c = 1, # }\n d = \"\"\"x\\\"\"\"\"\"\",\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		var vals map[string]any
		if _, err := toml.Decode(text, &vals); err != nil || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			return
		}
		root, err := findPlaces(text)
		if err != nil {
			t.Fatalf("accepted by the library, not understood here: %q", text)
		}
		lines := 1 + strings.Count(text, "\n")
		var walk func(path string, v any, at *place)
		walk = func(path string, v any, at *place) {
			if at == nil {
				t.Fatalf("%s has no place in %q", path, text)
			}
			if at.line < 1 || at.line > lines {
				t.Fatalf("%s is said to stand in line %d of %q", path, at.line, text)
			}
			switch v := v.(type) {
			case map[string]any:
				if len(v) != len(at.keys) {
					t.Fatalf("%s has %d keys and %d places in %q", path, len(v), len(at.keys), text)
				}
				for k, e := range v {
					walk(path+"."+k, e, at.keys[k])
				}
			case []map[string]any:
				if len(v) != len(at.items) {
					t.Fatalf("%s has %d tables and %d places in %q", path, len(v), len(at.items), text)
				}
				for i, e := range v {
					walk(fmt.Sprintf("%s[%d]", path, i), e, at.items[i])
				}
			case []any:
				if len(v) != len(at.items) {
					t.Fatalf("%s has %d elements and %d places in %q", path, len(v), len(at.items), text)
				}
				for i, e := range v {
					walk(fmt.Sprintf("%s[%d]", path, i), e, at.items[i])
				}
			}
		}
		walk("", vals, root)
	})
}

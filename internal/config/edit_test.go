package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

func ptr(s string) *string { return &s }

// What the files of testdata/edit are changed by.
var changes = map[string]S3Change{
	"bucket": {Storage: "default", Bucket: "b", Credentials: "default"},
	"all": {Storage: "default", Bucket: "b", Credentials: "work", Region: ptr("eu-central-1"), Endpoint: ptr("https://s3.example.com"),
		Mode: ModeSync, Mount: &NewMount{Name: "ssh", Path: "~/.ssh", Prefix: ptr("ssh/")}},
	"without": {Storage: "default", Bucket: "b", Credentials: "default", Region: ptr(""), Endpoint: ptr("")},
	"windows": {Storage: "my store", Bucket: "b", Credentials: "default", Mount: &NewMount{Name: "keys", Path: `C:\Users\me\.ssh`}},
}

// Each file of testdata/edit is named by the change and what it guards. It holds the
// configuration before, and what it is afterwards or the error. After a change run the
// test with -update and read the difference.
func TestChangeKeepsWhatItDoesNotTouch(t *testing.T) {
	files, err := filepath.Glob("testdata/edit/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			which, _, _ := strings.Cut(name, "-")
			change, ok := changes[which]
			require.True(t, ok)
			env := linuxEnv
			if which == "windows" {
				env = windowsEnv
			}
			before := string(archive.Files[0].Data)
			after, err := change.edit("/home/me/config.toml", before)
			if err != nil {
				after = err.Error() + "\n"
			} else {
				again, err := change.edit("/home/me/config.toml", after)
				require.NoError(t, err)
				require.Equal(t, after, again, "a second time nothing is left to change")
				_, err = parseStorages("config.toml", []byte(after), 0o600, env)
				require.NoError(t, err)
			}
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "after", Data: []byte(after)})
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
				return
			}
			require.Equal(t, string(archive.Files[1].Data), after)
		})
	}
}

func TestChangeKeepsLineEndsAndByteOrderMark(t *testing.T) {
	before := "\ufeff# mine\r\n[storages.default]\r\nbackend = \"s3\"\r\n[storages.default.s3]\r\nbucket = \"a\""
	after, err := changes["bucket"].edit("config.toml", before)
	require.NoError(t, err)
	require.Equal(t, "\ufeff# mine\r\n[storages.default]\r\nbackend = \"s3\"\r\n[storages.default.s3]\r\nbucket = \"b\"\r\ncredentials = \"default\"\r\n", after)
}

func TestChangeWritesNothingWhenThereIsAMistake(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	env := Env{GOOS: runtime.GOOS, Dir: dir, LookupEnv: vars{}.lookup}
	bad := "[storages.default.s3]\nbucket = \"b\"\nmode = \"synk\"\n"
	require.NoError(t, os.WriteFile(file, []byte(bad), 0o640))
	_, err := Change(file, changes["bucket"], env)
	require.ErrorContains(t, err, "config.toml:3: storages.default.s3.mode")
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, bad, string(body))

	wrong := changes["bucket"]
	wrong.Endpoint = ptr("s3.example.com")
	require.NoError(t, os.Remove(file))
	_, err = Change(file, wrong, env)
	require.ErrorContains(t, err, `"s3.example.com" has no scheme`)
	require.NoFileExists(t, file)
}

func TestChangeKeepsWhatNobodyKnows(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	env := Env{GOOS: runtime.GOOS, Dir: dir, LookupEnv: vars{"HOME": dir, "USERPROFILE": dir}.lookup}
	before := "later = { a = 1 } # of another version\n\n[[mounts]]\nname = \"a\"\nmount_path = \"~/a\"\nstorage = \"default\"\ncolour = \"red\"\n\n[storages.default]\nbackend = \"s3\"\n\n[storages.default.s3]\nbucket = \"old\"\nturbo = true\n"
	require.NoError(t, os.WriteFile(file, []byte(before), 0o600))
	cfg, err := Change(file, changes["bucket"], env)
	require.NoError(t, err)
	require.Len(t, cfg.Warnings, 3)
	require.Contains(t, cfg.Warnings[0], "config.toml:1: later: unknown key, which stays")
	require.Contains(t, cfg.Warnings[1], "config.toml:7: mounts.colour: ")
	require.Contains(t, cfg.Warnings[2], "turbo: ")
	body, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(before, `"old"`, `"b"`, 1)+"credentials = \"default\"\n", string(body))
	_, err = Load(file, env)
	require.ErrorContains(t, err, "unknown key")
}

func TestChangeDoesNotReplaceWhatIsNotToBeChanged(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	env := Env{GOOS: runtime.GOOS, Dir: dir, LookupEnv: vars{}.lookup}
	require.NoError(t, os.WriteFile(file, []byte("# mine\n"), 0o644))
	require.NoError(t, os.Chmod(file, 0o444))
	require.ErrorContains(t, CheckChange(file, changes["bucket"], env), "config.toml: is read-only: make it writable")
	_, err := Change(file, changes["bucket"], env)
	require.ErrorContains(t, err, "config.toml: is read-only: make it writable")
	require.NoError(t, os.Chmod(file, 0o644))
	require.NoError(t, os.Remove(file))

	err = os.Symlink(filepath.Join("elsewhere", "pocket.toml"), file)
	if _, there := os.Lstat(file); there != nil && runtime.GOOS == "windows" {
		t.Skip("no symbolic links: administrators may make them, and Wine only says that it has: ", err)
	}
	_, err = Change(file, changes["bucket"], env)
	require.ErrorContains(t, err, "config.toml: is a symbolic link to "+filepath.Join("elsewhere", "pocket.toml")+", which is not there")
	_, err = os.Readlink(file)
	require.NoError(t, err)
}

func TestAbsoluteKeepsWhatDoesNotDependOnTheDirectory(t *testing.T) {
	linux := Env{GOOS: "linux", Dir: "/home/me", LookupEnv: vars{"X": "/x"}.lookup}
	for given, want := range map[string]string{
		"notes": "/home/me/notes", "..": "/home", "./a b": "/home/me/a b", "/srv": "/srv", "~/notes": "~/notes", "$X/y": "$X/y", "$NO/y": "$NO/y",
	} {
		require.Equal(t, want, linux.Absolute(given), given)
	}
	windows := Env{GOOS: "windows", Dir: `C:\Users\me`, LookupEnv: vars{"X": `D:\x`}.lookup}
	for given, want := range map[string]string{
		"notes": `C:\Users\me\notes`, `..\you`: `C:\Users\you`, `\srv`: `C:\srv`, `D:\a`: `D:\a`, "D:/a": "D:/a", "X:": "X:", "*": "*",
		`~\a`: `~\a`, `${X}\y`: `${X}\y`, `%X%\y`: `%X%\y`, "D:a": "D:a", `\\server\share\a`: `\\server\share\a`,
	} {
		require.Equal(t, want, windows.Absolute(given), given)
	}
}

func TestChangeMakesAFileForItsOwner(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "new", "config.toml")
	env := Env{GOOS: runtime.GOOS, Dir: dir, LookupEnv: vars{"HOME": dir, "USERPROFILE": dir}.lookup}
	cfg, err := Change(file, changes["all"], env)
	require.NoError(t, err)
	require.Empty(t, cfg.Warnings)
	cfg, err = Load(file, env)
	require.NoError(t, err)
	require.Equal(t, "ssh", cfg.Mounts[0].Name)
	require.Equal(t, "b", cfg.Mounts[0].Storage.S3.Bucket)
	require.Equal(t, ModeSync, cfg.Mounts[0].Mode)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestChangeWritesThroughASymbolicLink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "dotfiles.toml"), filepath.Join(dir, "config.toml")
	require.NoError(t, os.WriteFile(real, []byte("# kept\n"), 0o644))
	if err := os.Symlink(real, link); err != nil {
		t.Skip("this system lets this user make no symbolic links")
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Skip("Wine's symbolic links do not look like any")
	}
	_, err := Change(link, changes["bucket"], Env{GOOS: runtime.GOOS, Dir: dir, LookupEnv: vars{}.lookup})
	require.NoError(t, err)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	body, err := os.ReadFile(real)
	require.NoError(t, err)
	require.Contains(t, string(body), "# kept\n")
	require.Contains(t, string(body), `bucket = "b"`)
}

func FuzzChange(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	require.NoError(f, err)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(f, err)
		f.Add(string(archive.Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, before string) {
		want, err := decode(before)
		if err != nil {
			return
		}
		after, err := changes["all"].edit("config.toml", before)
		if err != nil {
			return
		}
		got, err := decode(after)
		require.NoError(t, err)
		for key, value := range want {
			if key != "storages" && key != "mounts" {
				require.Equal(t, value, got[key])
			}
		}
	})
}

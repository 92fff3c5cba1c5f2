package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/config"
)

// command runs pocket in an empty home and returns what it said.
func command(t *testing.T, home string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
	t.Setenv("LOCALAPPDATA", filepath.Join(home, "data"))
	env := config.Env{GOOS: runtime.GOOS, Home: home, Dir: home, LookupEnv: func(string) (string, bool) { return "", false }}
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs, env)
	return code, out.String(), errs.String()
}

func TestHelpAndVersionAreOnStdout(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		code, stdout, stderr := command(t, t.TempDir(), args...)
		require.Equal(t, exitClean, code)
		require.Equal(t, usage, stdout)
		require.Empty(t, stderr)
	}
	code, stdout, stderr := command(t, t.TempDir(), "version")
	require.Equal(t, exitClean, code)
	require.Regexp(t, `^pocket \S+.* go1\S+ \w+/\w+\n$`, stdout)
	require.Empty(t, stderr)
}

func TestWrongUsageIsOneLine(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"muont", `"muont" is not a command`},
		{"version now", `"now" is one argument too many`},
		{"--verbos", "--verbos"},
		{"--config", "--config"},
		{"--config=", "--config needs the name of a file"},
	} {
		code, stdout, stderr := command(t, t.TempDir(), strings.Fields(c.args)...)
		require.Equal(t, exitUsage, code, c.args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, c.says)
		require.Regexp(t, `^pocket: [^\n]*: see pocket --help\n$`, stderr)
	}
}

func TestEveryMistakeOfTheConfigurationIsALineAndNothingIsWritten(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "config.toml")
	require.NoError(t, os.WriteFile(file, []byte("[[mounts]]\nnmae = \"x\"\nmount_path = \"~/x\"\nstorage = \"none\"\n"), 0o600))
	code, _, stderr := command(t, home)
	require.Equal(t, exitUsage, code)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], file+":2: ")
	require.Contains(t, lines[1], file+":4: ")
	for _, line := range lines {
		require.True(t, strings.HasPrefix(line, "pocket: "), line)
	}
	entries, err := os.ReadDir(home)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing but the configuration")
}

func TestUsageFitsATerminal(t *testing.T) {
	for line := range strings.Lines(usage) {
		require.LessOrEqual(t, len(line), 90, line)
	}
}

package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pocket-creds": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			// One place for the platform's directory on every system.
			for _, name := range []string{"HOME", "USERPROFILE", "APPDATA", "XDG_CONFIG_HOME"} {
				e.Setenv(name, e.WorkDir)
			}
			return nil
		},
	})
}

func TestExampleInUsageIsWhatHappens(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("APPDATA", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var out, errs bytes.Buffer
	code := run([]string{"set", "default"}, strings.NewReader("AKIAIOSFODNN7EXAMPLE\nsecret\n"), &out, &errs)
	require.Equal(t, exitDone, code, errs.String())
	require.Empty(t, out.String())
	code = run([]string{"test", "default"}, nil, &out, &errs)
	require.Equal(t, exitDone, code, errs.String())
	require.Contains(t, usage, "$ pocket-creds test default\n    "+out.String())
}

func TestInputThatFailsChangesNothing(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("APPDATA", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var out, errs bytes.Buffer
	broken := io.MultiReader(strings.NewReader("id\nsec"), errReader{})
	require.Equal(t, exitFailed, run([]string{"set", "default"}, broken, &out, &errs))
	require.Equal(t, "pocket-creds: read the access key: cable pulled\n", errs.String())
	require.Equal(t, exitDone, run([]string{"list"}, nil, &out, &errs))
	require.Empty(t, out.String())
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("cable pulled") }

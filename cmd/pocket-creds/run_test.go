package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

func TestMain(m *testing.M) {
	os.Setenv("POCKET_KEYRING", "off")
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
			e.Setenv("POCKET_KEYRING", "off") // whoever runs the tests keeps theirs as it is
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// s3 starts an S3 service and writes config.toml for it.
			"s3": func(ts *testscript.TestScript, neg bool, args []string) {
				srv, err := s3test.Start()
				ts.Check(err)
				ts.Defer(srv.Close)
				text := fmt.Sprintf("[storages.cloud]\nbackend = 's3'\n[storages.cloud.s3]\nbucket = '%s'\nendpoint = '%s'\nregion = 'us-east-1'\n"+
					"[storages.gone]\nbackend = 's3'\n[storages.gone.s3]\nbucket = 'no-such-bucket'\nendpoint = '%[2]s'\n[storages.nas]\nbackend = 'dir'\ndir.path = '/nas'\n", srv.Bucket, srv.Endpoint)
				ts.Check(os.WriteFile(ts.MkAbs("config.toml"), []byte(text), 0o600))
				ts.Check(os.WriteFile(ts.MkAbs("key"), []byte(srv.AccessKeyID+"\n"+srv.SecretAccessKey+"\n"), 0o600))
			},
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

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hamflx/pocket/internal/autostart"
	"github.com/hamflx/pocket/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pocket": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(cond string) (bool, error) {
			if cond != "installed" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			// Windows has one place for this, whatever the environment.
			site, err := autostart.Open()
			if err != nil {
				return false, err
			}
			_, ok, err := site.Entry.Load()
			return ok, err
		},
		Setup: func(e *testscript.Env) error {
			// One place for the platform's directories on every system.
			for _, name := range []string{"HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_DATA_HOME"} {
				e.Setenv(name, e.WorkDir)
			}
			e.Setenv("POCKET_KEYRING", "off") // whoever runs the tests keeps theirs as it is
			env := config.Env{GOOS: runtime.GOOS, Home: e.WorkDir, Dir: e.WorkDir, LookupEnv: func(name string) (string, bool) {
				return e.WorkDir, name == "APPDATA" || name == "XDG_CONFIG_HOME"
			}}
			dir := filepath.Dir(config.Candidates(env)[0])
			e.Setenv("CONFIG", dir)
			return os.MkdirAll(filepath.Dir(dir), 0o700)
		},
	})
}

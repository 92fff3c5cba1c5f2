package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hamflx/pocket/e2e/standin"
)

// wine runs programs for Windows. Where it is given, the tests drive pocket.exe, whose
// mounts are served as Linux mounts (e2e/standin).
var wine = os.Getenv("POCKET_E2E_WINE")

var underWine = wine != ""

var exeSuffix = map[bool]string{true: ".exe"}[underWine]

// standInEnv is the variable by which pocket.exe finds the stand-in of this process.
var standInEnv string

// volumes are pocket.exe's file systems by their Linux directories.
var volumes sync.Map

// startStandIn takes what pocket.exe wants mounted. It is mounted by mounted.
func startStandIn() error {
	if !underWine {
		return nil
	}
	l, err := standin.Listen()
	if err != nil {
		return err
	}
	standInEnv = l.Env()
	go func() {
		for {
			v, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			if dir, err := v.Directory(); err != nil {
				fmt.Fprintln(os.Stderr, "e2e: stand-in:", err)
			} else {
				volumes.Store(dir, v)
			}
			go v.Serve(context.Background()) // a failure is pocket's to tell
		}
	}()
	return nil
}

// mounted makes a mount that pocket says is there one of this system, and returns where.
func mounted(t *testing.T, path string) string {
	t.Helper()
	if !underWine {
		return path
	}
	dir := strings.ReplaceAll(strings.TrimPrefix(path, "Z:"), `\`, "/")
	v, ok := volumes.Load(dir)
	if !ok {
		t.Fatalf("pocket.exe has mounted nothing at %s", dir)
	}
	must(t, v.(*standin.Volume).Mount())
	return dir
}

// programCommand is a command of a built program.
func programCommand(program string, args ...string) *exec.Cmd {
	if underWine {
		return exec.Command(wine, append([]string{program}, args...)...)
	}
	return exec.Command(program, args...)
}

// buildEnvironment is that of go build.
func buildEnvironment() []string {
	if underWine {
		return append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	}
	return os.Environ()
}

// native is a path as the built programs know it.
func native(path string) string {
	if underWine {
		return `Z:` + strings.ReplaceAll(path, "/", `\`)
	}
	return path
}

// wineEnvironment is what pocket.exe gets. The prefix must not set the directories of the
// user itself, as scripts/test-windows.sh takes care of.
func wineEnvironment(root string) []string {
	env := []string{
		"LC_ALL=C.UTF-8", "WINEDEBUG=-all", // without the locale, names beyond ASCII do not exist
		"USERPROFILE=" + native(filepath.Join(root, "home")),
		"APPDATA=" + native(configHome(root)), "LOCALAPPDATA=" + native(dataHome(root)),
		"AWS_EC2_METADATA_DISABLED=true", standInEnv,
	}
	// By these Wine finds its server.
	for _, name := range []string{"WINEPREFIX", "TMPDIR", "HOME", "PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// wineProgram is the program that a process of Wine was started with, or empty.
func wineProgram(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	for arg := range bytes.SplitSeq(line, []byte{0}) {
		if strings.HasSuffix(string(arg), ".exe") {
			return string(arg)
		}
	}
	return ""
}

// needWine skips a test of pocket.exe where it is not to be had.
func needWine(t *testing.T) {
	t.Helper()
	if !underWine {
		t.Skip("POCKET_E2E_WINE names no Wine: see scripts/test-windows.sh")
	}
}

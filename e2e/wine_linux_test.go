// Linux only: Wine.

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hamflx/pocket/e2e/standin"
)

// wine runs programs for Windows. Where it is given, the tests drive pocket.exe, whose
// mounts are served as Linux mounts (e2e/standin).
var wine = os.Getenv("POCKET_E2E_WINE")

var underWine = wine != ""

// onWindows says whether the pocket that is tested is the one for Windows.
var onWindows = underWine

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
func mounted(path string) (dir string, err error) {
	if !underWine {
		return path, nil
	}
	dir = unixPath(path)
	v, ok := volumes.Load(dir)
	if !ok {
		return "", fmt.Errorf("pocket.exe has mounted nothing at %s", dir)
	}
	return dir, v.(*standin.Volume).Mount()
}

// waitVanished waits until a mount is gone whose pocket.exe is.
func waitVanished(dir string) {
	if v, ok := volumes.Load(dir); ok {
		v.(*standin.Volume).Abandon()
		v.(*standin.Volume).Wait()
	}
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

// native is a path, or the end of one, as the built programs write it.
func native(path string) string {
	if !underWine {
		return path
	}
	if filepath.IsAbs(path) {
		path = "Z:" + path
	}
	return strings.ReplaceAll(path, "/", `\`)
}

// fewer is how many files a test makes of many: through Wine's one server each takes longer.
func fewer(n int) int {
	if underWine {
		return n / 5
	}
	return n
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

// copyPrefix makes the second Wine, which shares the files of the first.
var copyPrefix = sync.OnceValues(func() (prefix string, err error) {
	prefix = filepath.Join(scratch, "second wine")
	said, err := exec.Command("sh", "-c", `cp -al "$WINEPREFIX" "$0" && rm "$0"/*.reg && cp "$WINEPREFIX"/*.reg "$0"`, prefix).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("a second Wine: %w: %s", err, said)
	}
	return prefix, err
})

// beside returns this machine for a program that looks at what another one has mounted: under
// Wine it has a server of its own, since the mount's answers take the first one.
func (m *machine) beside() *machine {
	m.t.Helper()
	if !underWine {
		return m
	}
	beside := *m
	beside.env = append(slices.Clone(m.env), besideWine(m.t, m.env))
	return &beside
}

// besideWine starts the second Wine, with the directories of an environment, and returns the variable that chooses it.
func besideWine(t *testing.T, env []string) string {
	t.Helper()
	prefix, err := copyPrefix()
	must(t, err)
	chosen := "WINEPREFIX=" + prefix
	run := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(slices.Clone(env), chosen)
		cmd.Run() // the server may run, and the value may be gone already
	}
	run(filepath.Join(filepath.Dir(wine), "wineserver64"), "-p30") // seconds without a program
	for _, name := range []string{"APPDATA", "LOCALAPPDATA", "USERPROFILE"} {
		run(wine, "reg", "delete", `HKCU\Volatile Environment`, "/v", name, "/f") // Wine's own, since an earlier program
	}
	run(wine, "reg", "add", `HKCU\Environment`, "/v", "TMP", "/d", native(scratch), "/f") // the environment's does not count
	return chosen
}

// wineProgram is the program that a process of Wine was started with, from Linux or by another
// one, or empty.
func wineProgram(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	for arg := range bytes.SplitSeq(line, []byte{0}) {
		if strings.HasSuffix(string(arg), ".exe") {
			return unixPath(string(arg))
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

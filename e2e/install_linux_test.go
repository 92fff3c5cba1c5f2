// Linux only: systemd, and the other half of what is Windows' in sys_windows_test.go.

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// needNoSystemd skips a test that would change what a systemd starts.
func (i *installing) needNoSystemd() {
	i.t.Helper()
	cmd := exec.Command("systemctl", "--user", "show-environment")
	cmd.Env = i.env
	if cmd.Run() == nil {
		i.t.Skip("a systemd answers here: the test would change what it starts")
	}
}

// checkDetached checks that a process outlives the session of who has installed it.
func checkDetached(t *testing.T, pid int) {
	t.Helper()
	if underWine {
		return // its number is Wine's
	}
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("it belongs to the session of who installed it: %d, %v", session, err)
	}
}

// checkKept checks what a file of pocket-creds keeps.
func checkKept(i *installing, file, key string) {
	i.t.Helper()
	if !onWindows {
		info, err := os.Stat(file)
		must(i.t, err)
		if info.Mode().Perm() != 0o600 {
			i.t.Errorf("%s has mode %v", file, info.Mode())
		}
		return
	}
	i.stdin = readFile(i.t, file)
	if strings.Contains(i.stdin, strings.Split(key, "\n")[1]) {
		i.t.Error("the secret key can be read")
	}
	i.run(0, filepath.Join(filepath.Dir(os.Getenv("POCKET_E2E_BINARY")), "unprotect.exe"))
	i.stdin = ""
	if i.out != key {
		i.t.Errorf("kept is %q, not %q", i.out, key)
	}
}

// logon is the user's logon to Windows.
func logon(i *installing) { wineLogon(i) }

// There is no systemd here. The program that stands for systemctl notes its calls, and starts
// and stops what the unit says.
const systemctl = `#!/bin/sh
dir=$(dirname "$0")
shift
echo "$@" >>"$dir/calls"
case $1 in
start)
	[ ! -e "$dir/fail" ] || { rm "$dir/fail"; echo "Job for pocket.service failed." >&2; exit 1; }
	eval "setsid $(sed -n 's/^ExecStart=//p' "$dir/../config/systemd/user/pocket.service") </dev/null >/dev/null 2>&1 &"
	echo $! >"$dir/pid" ;;
show) cat "$dir/pid" 2>/dev/null || echo 0 ;;
esac
`

// On Linux systemd is told what to start.
func TestInstallWithSystemd(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "systemd's, where Windows has a value in the registry")
	t.Parallel()
	m := newMachine(t)
	t.Cleanup(func() { killBelow(m.root) })
	i := &installing{machine: m, pocket: program}
	stubs := i.path("stubs")
	must(t, os.Mkdir(stubs, 0o755))
	must(t, writeProgram(filepath.Join(stubs, "systemctl"), []byte(systemctl)))
	for n, pair := range i.env {
		if strings.HasPrefix(pair, "PATH=") {
			i.env[n] = "PATH=" + stubs + ":" + os.Getenv("PATH")
		}
	}
	calls := func() (calls []string) {
		path := filepath.Join(stubs, "calls")
		for call := range strings.Lines(readFile(t, path)) {
			calls = append(calls, strings.TrimSpace(call))
		}
		os.Remove(path)
		return slices.Compact(calls)
	}
	i.configure(mountTable("files", "memory"))
	unit := filepath.Join(configHome(i.root), "systemd", "user", "pocket.service")

	i.run(0, i.pocket, "install")
	i.says("autostart  "+unit, "mounted    files at "+i.home("files"))
	first := i.pid()
	text := readFile(t, unit)
	for _, line := range []string{`ExecStart="` + i.program() + `" "--retry"`, `Environment="XDG_DATA_HOME=` + dataHome(i.root) + `"`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		if got := calls(); !slices.Equal(got, want) {
			t.Fatalf("systemctl was called\n%q, not\n%q", got, want)
		}
	}
	show := "show --property=MainPID --value pocket.service"
	expect("show-environment", "daemon-reload", "enable pocket.service", "reset-failed pocket.service", "start --no-block pocket.service", show)

	// The upgrade fails in its last step: the old unit, the old program, and it runs again.
	writeFile(t, filepath.Join(stubs, "fail"), "")
	said := i.run(1, i.newer("2"), "install", "--config", i.configFile())
	for _, part := range []string{"Job for pocket.service failed.", "what was there before is as it was", "started again: pid "} {
		if !strings.Contains(said, part) {
			t.Errorf("no %q in\n%s", part, said)
		}
	}
	i.waitGone(first)
	sameContent(t, i.program(), program)
	if got := readFile(t, unit); got != text {
		t.Errorf("the unit is\n%s", got)
	}
	calls()
	i.waitAnswers()

	i.run(0, i.program(), "uninstall")
	i.says("removed    "+unit, "removed    "+i.program())
	expect("show-environment", "stop pocket.service", "disable pocket.service", "daemon-reload")
	if _, err := os.Stat(unit); !os.IsNotExist(err) {
		t.Errorf("the unit: %v", err)
	}
}

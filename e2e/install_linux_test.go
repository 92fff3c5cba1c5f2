package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// installing is a machine on which pocket is installed.
type installing struct {
	*machine
	stdin string // what commands get
	out   string // what the last command said on stdout
}

func newInstalling(t *testing.T) *installing {
	t.Helper()
	m := newMachine(t)
	i := &installing{machine: m}
	t.Cleanup(func() { killBelow(m.root) })
	return i
}

// newInstallingOnLinux is newInstalling for what Windows does in another way.
func newInstallingOnLinux(t *testing.T) *installing {
	t.Helper()
	skipOnWindows(t, "systemd's, where Windows has a value in the registry")
	return newInstalling(t)
}

// program is where pocket is installed.
func (i *installing) program() string { return i.home(".local", "bin", "pocket") }

// run runs a pocket, or another program, and expects a code. It returns what the command said on stderr.
func (i *installing) run(code int, program string, args ...string) string {
	i.t.Helper()
	cmd := programCommand(program, args...)
	cmd.Env, cmd.Dir = i.env, i.home()
	// Files: under Wine what install starts has its pipes, and one would wait for its end.
	out, errs := i.output("stdout"), i.output("stderr")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(i.stdin), out, errs
	err := cmd.Run()
	i.out = readFile(i.t, out.Name())
	said := readFile(i.t, errs.Name())
	if got := cmd.ProcessState.ExitCode(); got != code {
		i.t.Fatalf("%s %s: code %d, not %d: %v\n%s%s\nlog:\n%s", filepath.Base(program), strings.Join(args, " "), got, code, err, i.out, said, tail(i.log(), 20))
	}
	return said
}

// output makes a file that a command writes to, until the end of the test.
func (i *installing) output(name string) *os.File {
	i.t.Helper()
	f, err := os.Create(i.path(name))
	must(i.t, err)
	i.t.Cleanup(func() { f.Close() })
	return f
}

var startedLine = regexp.MustCompile(`(?m)^started    pid (\d+)$`)

// pid returns the process that the last install has started.
func (i *installing) pid() int {
	i.t.Helper()
	found := startedLine.FindStringSubmatch(i.out)
	if found == nil {
		i.t.Fatalf("nothing was started:\n%s", i.out)
	}
	pid, err := strconv.Atoi(found[1])
	if err != nil {
		i.t.Fatal(err)
	}
	return pid
}

func (i *installing) says(lines ...string) {
	i.t.Helper()
	for _, line := range lines {
		if !slices.Contains(strings.Split(i.out, "\n"), line) {
			i.t.Fatalf("no line %q in\n%s", line, i.out)
		}
	}
}

// waitGone waits for the end of a process, which may stay as a zombie where nobody waits
// for orphans.
func (i *installing) waitGone(pid int) {
	i.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("process %d has not ended", pid)
		}
	}
}

// newer returns another version of pocket: the same program with something behind its end.
func newer(t *testing.T, version string) string {
	t.Helper()
	body, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "newer")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pocket")
	if err := os.WriteFile(path, append(body, version...), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func sameContent(t *testing.T, one, other string) {
	t.Helper()
	a, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("%s and %s differ", one, other)
	}
}

// Without systemd, as in a container: it runs, and is upgraded, and goes.
func TestInstallUpgradeUninstall(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstallingWithoutSystemd(t)
	i.configure(dirStorage("store", newFolder(t)), mountTable("files", "store"))

	said := i.run(0, program, "install")
	i.says("installed  "+i.program(), "mounted    files at "+i.home("files"))
	if !strings.Contains(said, "pocket: it does not start by itself: ") || !strings.Contains(said, ": let what starts programs here run "+i.program()) {
		t.Errorf("said %q", said)
	}
	first := i.pid()
	if session, err := unix.Getsid(first); err != nil || session != first {
		t.Errorf("it belongs to the session of who installed it: %d, %v", session, err)
	}
	writeFile(t, i.home("files", "file"), "written before the upgrade")

	// Twice is fine, and starts it anew.
	i.run(0, program, "install")
	i.says("stopped    pid "+strconv.Itoa(first), "installed  "+i.program())
	second := i.pid()
	i.waitGone(first)
	if got := readFile(t, i.home("files", "file")); got != "written before the upgrade" {
		t.Errorf("the file is %q", got)
	}

	// A newer version, from the old one's own directory of programs no less.
	upgrade := newer(t, "2")
	i.run(0, upgrade, "install")
	i.says("stopped    pid " + strconv.Itoa(second))
	third := i.pid()
	sameContent(t, i.program(), upgrade)
	i.run(0, i.program(), "install")
	i.says("stopped    pid "+strconv.Itoa(third), "installed  "+i.program())
	fourth := i.pid()
	entries, err := os.ReadDir(filepath.Dir(i.program()))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the program: %v, %v", entries, err)
	}

	i.run(0, i.program(), "uninstall", "--dry-run")
	i.says("would be stopped     pid "+strconv.Itoa(fourth), "would be removed     "+i.program())
	if got := readFile(t, i.home("files", "file")); got != "written before the upgrade" {
		t.Errorf("the file is %q", got)
	}
	i.run(0, i.program(), "uninstall")
	i.says("stopped    pid "+strconv.Itoa(fourth), "removed    "+i.program(), "kept       "+filepath.Dir(i.configFile()), "kept       "+i.data())
	i.waitGone(fourth)
	if left := mountsBelow(i.home()); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	if said := i.run(0, program, "uninstall"); said != "pocket: nothing is installed\n" || i.out != "" {
		t.Errorf("said %q, %q", i.out, said)
	}
}

// newInstallingWithoutSystemd is newInstallingOnLinux for what would change what a systemd starts.
func newInstallingWithoutSystemd(t *testing.T) *installing {
	t.Helper()
	i := newInstallingOnLinux(t)
	cmd := exec.Command("systemctl", "--user", "show-environment")
	cmd.Env = i.env
	if cmd.Run() == nil {
		t.Skip("a systemd answers here: the test would change what it starts")
	}
	return i
}

// A pocket in a terminal with the same configuration makes room; one with another does not.
func TestInstallTakesTheMountsOver(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstallingWithoutSystemd(t)
	other := i.path("other.toml")
	writeFile(t, other, strings.ReplaceAll(mountTable("other", "memory"), "~/", i.home()+"/"))
	stays := i.start("--config", other)
	stays.waitMounted("other")
	p := i.up(mountTable("files", "memory"))
	i.run(0, program, "install")
	i.says("stopped    pid " + strconv.Itoa(p.cmd.Process.Pid))
	p.waitSaid("told to stop by pocket stop")
	if code := p.wait(); code != exitOK {
		t.Errorf("code %d", code)
	}
	i.run(0, i.program(), "uninstall")
	if stays.hasEnded() {
		t.Error("a pocket with another configuration was stopped")
	}
	stays.stop()
}

// What the store did not take yet is left in the journal, and said.
func TestUninstallWithoutTheStore(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstallingWithoutSystemd(t)
	folder := newFolder(t)
	i.configure(dirStorage("store", folder), mountTable("files", "store"))
	i.run(0, program, "install")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, i.home("files", "file"), "not uploaded")
	said := i.run(4, i.program(), "uninstall", "--timeout", "1s")
	if !strings.Contains(said, "changes are left in the journal on this machine: the next start uploads them") {
		t.Errorf("said %q", said)
	}
	if _, err := os.Stat(i.program()); !os.IsNotExist(err) {
		t.Errorf("the program: %v", err)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	p := i.restart()
	if got := readFile(t, i.home("files", "file")); got != "not uploaded" {
		t.Errorf("the file is %q", got)
	}
	p.stop()
}

// What cannot work is not installed.
func TestInstallRefusesAConfigurationWithMistakes(t *testing.T) {
	i := newInstallingOnLinux(t)
	said := i.run(2, program, "install")
	if !strings.Contains(said, "no configuration file") || !strings.HasSuffix(said, "pocket: nothing was installed\n") {
		t.Errorf("said %q", said)
	}
	i.configure(`[[mounts]]`, `mount_path = "~/x"`, `storage = "nowhere"`)
	said = i.run(2, program, "install")
	if !strings.Contains(said, ":3: mounts.storage: ") || !strings.HasSuffix(said, "pocket: nothing was installed\n") {
		t.Errorf("said %q", said)
	}
	if _, err := os.Stat(i.home(".local")); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

// A new one that does not run gives way to the old one.
func TestInstallThatFailsPutsBackWhatWasThere(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstallingWithoutSystemd(t)
	i.configure(mountTable("files", "memory"))
	i.run(0, program, "install")
	before := i.pid()
	bad := i.path("bad.toml")
	writeFile(t, i.home("file"), "in the way")
	writeFile(t, bad, strings.ReplaceAll(mountTable("file", "memory"), "~/", i.home()+"/"))
	upgrade := newer(t, "2")
	said := i.run(1, upgrade, "install", "--config", bad)
	for _, part := range []string{": file: " + i.home("file") + " is a file: ", "nothing was installed: what was there before is as it was", "started again: pid "} {
		if !strings.Contains(said, part) {
			t.Errorf("no %q in\n%s", part, said)
		}
	}
	sameContent(t, i.program(), program)
	i.waitGone(before)
	i.waitAnswers()
	i.run(0, program, "uninstall")
}

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

func TestInstallWithSystemd(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstallingOnLinux(t)
	stubs := i.path("stubs")
	writeFile(t, filepath.Join(stubs, "systemctl"), systemctl)
	if err := os.Chmod(filepath.Join(stubs, "systemctl"), 0o755); err != nil {
		t.Fatal(err)
	}
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

	i.run(0, program, "install")
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
	said := i.run(1, newer(t, "2"), "install", "--config", i.configFile())
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

// waitAnswers waits until a pocket answers and is mounted.
func (i *installing) waitAnswers() {
	i.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(program, "status")
		cmd.Env, cmd.Dir = i.env, i.home()
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("%v: %s", err, out)
		}
	}
}

// A process that does not answer is ended, and what it had mounted goes with it.
func TestUninstallOfProcessThatDoesNotAnswer(t *testing.T) {
	needMounts(t)
	t.Parallel()
	i := newInstallingWithoutSystemd(t)
	i.configure(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	writeFile(t, i.home("files", "before"), "what was there")
	i.run(0, program, "install")
	pid := i.pid()
	writeFile(t, i.home("files", "file"), "written before")
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	said := i.run(4, program, "uninstall")
	if want := "pocket: process " + strconv.Itoa(pid) + " does not answer: it is ended now, and what is not uploaded stays in the journal\n"; !strings.Contains(said, want) {
		t.Errorf("said %q", said)
	}
	i.says("stopped    pid "+strconv.Itoa(pid), "removed    "+i.program())
	i.waitGone(pid)
	if left := mountsBelow(i.home()); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	if got := readFile(t, i.home("files", "before")); got != "what was there" {
		t.Errorf("what was there is %q", got)
	}
	p := i.restart()
	if got := readFile(t, i.home("files", "file")); got != "written before" {
		t.Errorf("the file is %q", got)
	}
	p.stop()
}

// begin starts a command of pocket and waits until it says a line with a part.
func (i *installing) begin(part, program string, args ...string) *process {
	i.t.Helper()
	cmd := programCommand(program, args...)
	cmd.Env, cmd.Dir = i.env, i.home()
	p := i.startCommand(cmd)
	p.waitSaid(part)
	return p
}

// Ctrl-C while the old one uploads: it goes on, and all is installed as it was.
func TestInterruptedWhileTheOldOneUploads(t *testing.T) {
	needMounts(t)
	t.Parallel()
	for _, c := range []struct{ command, said string }{
		{"install", "pocket: nothing was installed: "},
		{"uninstall", "pocket: it is still installed\n"},
	} {
		t.Run(c.command, func(t *testing.T) {
			t.Parallel()
			i := newInstallingWithoutSystemd(t)
			folder := newFolder(t)
			i.configure(dirStorage("store", folder), mountTable("files", "store"))
			i.run(0, program, "install")
			pid := i.pid()
			must(t, os.Rename(folder, folder+".away"))
			writeFile(t, i.home("files", "file"), "not uploaded")
			p := i.begin("uploads have failed since ", newer(t, "2"), c.command)
			p.interrupt()
			if code := p.wait(); code != exitError {
				t.Errorf("code %d", code)
			}
			for _, part := range []string{"pocket: interrupted: pocket goes on stopping", c.said} {
				if said := p.stderr.text(); !strings.Contains(said, part) {
					t.Errorf("no %q in\n%s", part, said)
				}
			}
			sameContent(t, i.program(), program)
			must(t, os.Rename(folder+".away", folder))
			i.waitGone(pid)
			i.run(0, program, "uninstall")
			if got := readFile(t, filepath.Join(folder, dataKey("", "not uploaded"))); got != "not uploaded" {
				t.Errorf("the folder has %q", got)
			}
		})
	}
}

// Ctrl-C while the new one waits for its store: what was there is put back, also when that is
// nothing.
func TestInterruptedWhileTheNewOneStarts(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	asked, release := make(chan struct{}, 1), make(chan struct{})
	hang := s3test.Hang(release)
	b.SetFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case asked <- struct{}{}:
		default:
		}
		hang(w, r, next)
	})
	defer close(release)
	i := newInstallingWithoutSystemd(t)
	i.configure(b.storage("store"), mountTable("files", "store"))
	interrupted := func() string {
		t.Helper()
		p := i.begin("it does not start by itself", newer(t, "2"), "install")
		<-asked
		p.interrupt()
		if code := p.wait(); code != exitError {
			t.Errorf("code %d", code)
		}
		said := p.stderr.text()
		if !strings.Contains(said, "pocket: interrupted: ") || !strings.Contains(said, "pocket: nothing was installed: what was there before is as it was\n") {
			t.Errorf("said %q", said)
		}
		return said
	}
	interrupted()
	if left, err := os.ReadDir(filepath.Dir(i.program())); err != nil || len(left) > 0 {
		t.Errorf("installed is %v, %v", left, err)
	}
	if running := i.status(); len(running) > 0 {
		t.Errorf("it runs: %+v", running)
	}

	other := i.path("other.toml")
	writeFile(t, other, strings.ReplaceAll(mountTable("other", "memory"), "~/", i.home()+"/"))
	i.run(0, program, "install", "--config", other)
	before := i.pid()
	if said := interrupted(); !strings.Contains(said, "pocket: started again: pid ") {
		t.Errorf("said %q", said)
	}
	sameContent(t, i.program(), program)
	i.waitGone(before)
	i.waitAnswers()
	i.run(0, program, "uninstall")
}

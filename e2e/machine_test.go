//go:build linux || windows

package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It only matters when
// something is wrong.
const patience = 2 * time.Minute

// The exit codes of pocket.
const (
	exitOK    = 0
	exitError = 1 // at least one mount failed
	exitUsage = 2 // the configuration or the command line is wrong
	exitLeft  = 3 // changes are left in the local journal
)

// machine is a computer in the eyes of pocket: a home, a configuration, a data
// directory. Several machines have nothing but the store in common.
type machine struct {
	t    *testing.T
	root string // everything of this machine
	env  []string
}

var machines atomic.Int64

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: filepath.Join(scratch, fmt.Sprintf("m%d", machines.Add(1)))}
	if err := os.MkdirAll(m.path("home"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.env = environment(m.root)
	t.Cleanup(func() {
		if log := m.log(); t.Failed() && log != "" {
			t.Logf("log of %s:\n%s", m.root, indent(tail(log, 25)))
		}
		if err := unmountBelow(m.root); err != nil {
			t.Error(err)
		}
		if os.Getenv("POCKET_E2E_KEEP") != "" {
			t.Log("kept", m.root)
			return
		}
		if err := removeTree(m.root); err != nil {
			t.Log(err)
		}
	})
	return m
}

// path returns a path of this machine.
func (m *machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.root}, elem...)...)
}

// home returns a path in the home directory.
func (m *machine) home(elem ...string) string {
	return m.path(append([]string{"home"}, elem...)...)
}

// configFile is where pocket looks first.
func (m *machine) configFile() string {
	return filepath.Join(configHome(m.root), "hamflx", "pocket", "config.toml")
}

// data returns a path in pocket's data directory.
func (m *machine) data(elem ...string) string {
	return filepath.Join(append([]string{dataHome(m.root), "hamflx", "pocket"}, elem...)...)
}

// log returns what pocket has logged on this machine.
func (m *machine) log() string {
	text, err := os.ReadFile(m.data("logs", "pocket.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		m.t.Fatal(err)
	}
	return string(text)
}

// configure writes config.toml.
func (m *machine) configure(parts ...string) {
	m.t.Helper()
	writeFile(m.t, m.configFile(), strings.Join(parts, "\n"))
}

// writeFile writes a file and the directories it lies in, for the owner alone.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readFile returns the content of a file.
func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// dirStorage is the table of a storage in a folder.
func dirStorage(name, path string, more ...string) string {
	return fmt.Sprintf("[storages.%[1]s]\nbackend = \"dir\"\n%[3]s\n[storages.%[1]s.dir]\npath = '%[2]s'\n", name, native(path), strings.Join(more, "\n"))
}

// mountTable is the table of a mount in the home directory, at ~/NAME.
func mountTable(name, storage string, more ...string) string {
	return fmt.Sprintf("[[mounts]]\nname = %q\nmount_path = \"~/%s\"\nstorage = %q\n%s\n", name, name, storage, strings.Join(more, "\n"))
}

// process is a running pocket.
type process struct {
	m      *machine
	cmd    *exec.Cmd
	stdout transcript
	stderr transcript
	mounts []string      // where what the test has waited for is mounted
	ended  chan struct{} // closed when the process has ended and all it wrote is here
}

// command returns the command that starts pocket on this machine.
func (m *machine) command(args ...string) *exec.Cmd {
	cmd := programCommand(program, args...)
	cmd.Env = m.env
	cmd.Dir = m.path("home")
	return cmd
}

// start starts pocket. At the end of the test it is killed if it still runs.
func (m *machine) start(args ...string) *process {
	m.t.Helper()
	return m.startCommand(m.command(args...))
}

// startCommand starts pocket by a command of its own.
func (m *machine) startCommand(cmd *exec.Cmd) *process {
	m.t.Helper()
	p := &process{m: m, cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.stderr
	}
	cmd.WaitDelay = 10 * time.Second
	group(cmd)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		p.stdout.close()
		p.stderr.close()
		close(p.ended)
	}()
	m.t.Cleanup(func() {
		if !p.hasEnded() {
			p.kill()
		}
		if m.t.Failed() {
			m.t.Logf("%s\n%s", strings.Join(cmd.Args, " "), indent(p.said()))
		}
		checkOutput(m.t, p)
	})
	return p
}

// up writes the configuration, starts pocket and waits until all mounts are there.
func (m *machine) up(config ...string) *process {
	m.t.Helper()
	m.configure(config...)
	return m.restart()
}

// restart starts pocket with the configuration that is there and waits until all
// mounts are there.
func (m *machine) restart(args ...string) *process {
	m.t.Helper()
	p := m.start(args...)
	p.waitMounts()
	return p
}

// waitMounts waits until all mounts of the configuration are there.
func (p *process) waitMounts() {
	p.m.t.Helper()
	for _, name := range p.m.mountNames() {
		p.waitMounted(name)
	}
}

// mountNames returns the names in the configuration's mounts.
func (m *machine) mountNames() (names []string) {
	text, err := os.ReadFile(m.configFile())
	if err != nil {
		m.t.Fatal(err)
	}
	inMount := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inMount = line == "[[mounts]]"
		}
		if name, ok := strings.CutPrefix(line, "name = "); ok && inMount {
			names = append(names, strings.Trim(name, `"`))
		}
	}
	return names
}

// waitMounted waits until pocket says that a mount can be used, and returns where.
func (p *process) waitMounted(name string) string {
	p.m.t.Helper()
	prefix := fmt.Sprintf("pocket: mounted %s at ", name)
	line := p.waitLine(prefix, func(line string) bool { return strings.HasPrefix(line, prefix) })
	path, err := mounted(strings.TrimPrefix(line, prefix))
	must(p.m.t, err)
	p.mounts = append(p.mounts, path)
	return path
}

// waitSaid waits for a line on stderr that contains all the parts.
func (p *process) waitSaid(parts ...string) string {
	p.m.t.Helper()
	return p.waitLine(strings.Join(parts, " ... "), func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	})
}

func (p *process) waitLine(what string, match func(string) bool) string {
	p.m.t.Helper()
	line, ok := p.stderr.wait(patience, match)
	if !ok {
		p.hangs(fmt.Sprintf("no line %q", what))
	}
	return line
}

// stackArguments is what a stack tells beside names and lines.
var stackArguments = regexp.MustCompile(`\(0x[^\n]*\)| \+0x[^\n]*| gp=0x[^\n]*`)

// hangs ends the test because the process does not do what it must, with its
// stacks when it still runs.
func (p *process) hangs(what string) {
	p.m.t.Helper()
	if p.hasEnded() {
		p.m.t.Fatalf("%s: pocket has ended with code %d:\n%s", what, p.cmd.ProcessState.ExitCode(), indent(p.said()))
	}
	dump(p.cmd.Process)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
	}
	_, stacks, _ := strings.Cut(p.stderr.text(), "SIGQUIT")
	var ours []string
	for _, stack := range strings.Split(stacks, "\n\n") {
		if strings.Contains(stack, "hamflx/pocket") {
			ours = append(ours, stackArguments.ReplaceAllString(stack, ""))
		}
	}
	p.m.t.Fatalf("%s after %v; what it does:\n%s", what, patience, indent(strings.Join(ours, "\n\n")))
}

// said is what it wrote on both outputs, without the stacks that hangs asked for.
func (p *process) said() string {
	said, _, _ := strings.Cut(p.stdout.text()+p.stderr.text(), "SIGQUIT")
	return said
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait waits until the process has ended and returns its exit code.
func (p *process) wait() int {
	p.m.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.hangs("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends pocket as Ctrl-C does, and expects that all is well.
func (p *process) stop() {
	p.m.t.Helper()
	p.interrupt()
	p.expectEnd(exitOK)
}

// expectEnd waits for the end and compares the exit code. Nothing may be left
// mounted.
func (p *process) expectEnd(code int) {
	p.m.t.Helper()
	if got := p.wait(); got != code {
		p.m.t.Fatalf("pocket ended with code %d, not %d:\n%s", got, code, indent(p.said()))
	}
	if left := mountsBelow(p.m.home()); len(left) > 0 {
		p.m.t.Fatalf("pocket has ended and left mounted: %v", left)
	}
}

// interrupt asks pocket to stop, as Ctrl-C does.
func (p *process) interrupt() {
	p.m.t.Helper()
	if err := interrupt(p.cmd.Process); err != nil {
		p.m.t.Fatal(err)
	}
}

// kill ends pocket without a warning, as kill -9 does. Its mounts stay, but for those of
// Windows.
func (p *process) kill() {
	kill(p.cmd.Process)
	<-p.ended
	for _, path := range p.mounts {
		waitVanished(path)
	}
}

// at returns a path in a mount.
func (p *process) at(name string, elem ...string) string {
	return p.m.home(append([]string{name}, elem...)...)
}

// checkOutput finds what no process may ever write.
func checkOutput(t *testing.T, p *process) {
	t.Helper()
	for _, text := range []string{p.said(), p.m.log()} {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "panic:") || strings.Contains(line, "goroutine 1 [") || strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic in") {
				t.Errorf("pocket wrote: %s", strings.TrimSpace(line))
				return
			}
		}
	}
}

func indent(text string) string {
	return "\t" + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n\t")
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// freshFile returns a file's content without what the system keeps of it from
// earlier reads, as far as the system allows to say so.
func freshFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dropCache(f)
	return io.ReadAll(f)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

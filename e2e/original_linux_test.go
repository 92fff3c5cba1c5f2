package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// originalEndsHere are those of this system.
var originalEndsHere = []originalEnd{
	{"SIGTERM", "it has no signals, and Wine's processes die of them", func(t *testing.T, p *process) { terminate(p.cmd.Process) }},
	{"unmounted from outside", "", func(t *testing.T, p *process) { unmount(t, p.at("files")) }},
	{"a program's working directory is in it", "", func(t *testing.T, p *process) {
		c := exec.Command("sleep", "600")
		c.Dir = p.at("files")
		must(t, c.Start())
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		p.interrupt()
	}},
}

func TestRestoreWhileItRuns(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m, want := withOriginal(t)
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	writeFile(t, p.at("files", "file"), "x")
	beside := m.beside()
	for _, args := range [][]string{{"restore"}, {"restore", "--mount", "files"}, {"restore", "--mount", native(m.home("files"))}} {
		code, stdout, said := beside.ask(args...)
		if code != exitError || stdout != "" || strings.Count(said, "\n") != 1 || !strings.Contains(said, "is mounted by a pocket that runs") {
			t.Errorf("pocket %v: code %d: %s", args, code, said)
		}
	}
	// Nor does another pocket with another store take it away.
	writeFile(t, m.home("second.toml"), mountTable("files", "memory"))
	q := beside.start("--config", native(m.home("second.toml")))
	q.expectMounted(exitError)
	if got := readFile(t, p.at("files", "file")); got != "x" {
		t.Errorf("the mount's file is %q", got)
	}
	p.stop()
	m.isBack(want)
}

// expectMounted is expectEnd while another pocket goes on.
func (p *process) expectMounted(code int) {
	p.m.t.Helper()
	if got := p.wait(); got != code {
		p.m.t.Fatalf("pocket ended with code %d, not %d:\n%s", got, code, indent(p.said()))
	}
}

// A mount that fails leaves the directory where it is.
func TestOriginalWhenTheMountFails(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m, _ := withOriginal(t)
	m.configure(dirStorage("store", m.home("not", "there")), mountTable("files", "store"))
	before := m.snapshot()
	p := m.start()
	p.expectEnd(exitError)
	p.oneLine()
	m.unchanged(before)

	// One that was killed before, too: it is back although the store is gone.
	folder := newFolder(t)
	m.configure(dirStorage("store", folder), mountTable("files", "store"))
	want := readTree(t, m.home("files"))
	p = m.restart()
	p.kill()
	must(t, os.RemoveAll(m.data("state")))
	must(t, os.RemoveAll(folder))
	p = m.start()
	p.expectEnd(exitError)
	m.isBack(want)
}

// What cannot be moved aside is one line, and nothing changes.
func TestOriginalThatCannotBeMoved(t *testing.T) {
	needMounts(t)
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, m *machine) (path string, undo func())
		say     string
	}{
		{"the other name is taken", func(t *testing.T, m *machine) (string, func()) {
			writeFile(t, m.home("files"+originalSuffix, "mine"), "precious")
			return "~/files", func() {}
		}, "is there already"},
		{"the data directory is in it", func(t *testing.T, m *machine) (string, func()) {
			return native(dataHome(m.root)), func() {}
		}, "holds pocket's own data"},
		{"a disk is mounted there", func(t *testing.T, m *machine) (string, func()) {
			needRoot(t)
			skipOnWindows(t, "a disk that has no letter is a junction there, and no mount path")
			mountTmpfs(t, m.home("disk"), 1<<20)
			writeFile(t, m.home("disk", "mine"), "precious")
			return "~/disk", func() { unix.Unmount(m.home("disk"), unix.MNT_DETACH) }
		}, "mounted there"},
		{"a disk is mounted in it", func(t *testing.T, m *machine) (string, func()) {
			needRoot(t)
			skipOnWindows(t, "a disk that has no letter is a junction there, which moves with its directory")
			mountTmpfs(t, m.home("files", "disk"), 1<<20)
			return "~/files", func() { unix.Unmount(m.home("files", "disk"), unix.MNT_DETACH) }
		}, "is mounted in it"},
		{"the directory it is in cannot be written", func(t *testing.T, m *machine) (string, func()) {
			writeFile(t, m.path("fixed", "files", "mine"), "precious")
			return native(m.path("fixed", "files")), protect(t, m.path("fixed"))
		}, map[bool]string{false: "make it writable", true: "cannot be moved aside"}[onWindows]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, want := withOriginal(t)
			must(t, os.MkdirAll(m.data("logs"), 0o700))
			path, undo := c.prepare(t, m)
			m.configure(dirStorage("store", newFolder(t)), "[[mounts]]\nname = \"files\"\nmount_path = '"+path+"'\nstorage = \"store\"\n")
			p := m.start()
			code := p.wait()
			undo()
			if line := p.oneLine(); code != exitError || !strings.Contains(line, c.say) {
				t.Errorf("code %d: %s", code, line)
			}
			os.Remove(m.home("files", "disk"))
			got := readTree(t, m.home("files"))
			sameTree(t, want, got)
		})
	}
}

// A mount path that is a symbolic link: what it leads to is moved aside, the link stays.
func TestOriginalBehindASymlink(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "a mount path that is a link is refused there")
	t.Parallel()
	m, want := withOriginal(t)
	must(t, os.Symlink("files", m.home("link")))
	p := m.up(dirStorage("store", newFolder(t)), mountTable("link", "store"))
	p.waitSaid(m.home("files" + originalSuffix))
	writeFile(t, m.home("files", "file"), "x")
	p.kill()
	p = m.restart()
	if got := readFile(t, p.at("link", "file")); got != "x" {
		t.Errorf("the mount's file is %q", got)
	}
	p.stop()
	m.isBack(want)
	if to, err := os.Readlink(m.home("link")); err != nil || to != "files" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

// Two mounts whose paths are one directory by different names: the second one fails, and
// the directory is not moved twice.
func TestOriginalOfTwoMounts(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "a mount path that is a link is refused there")
	t.Parallel()
	m, want := withOriginal(t)
	must(t, os.Symlink("files", m.home("link")))
	m.configure(dirStorage("store", newFolder(t)), mountTable("files", "store", `prefix = "1/"`), mountTable("link", "store", `prefix = "2/"`))
	p := m.start()
	p.waitSaid("pocket: mounted ")
	p.waitLine("that the other one is there", func(line string) bool {
		return strings.Contains(line, "is mounted already") || strings.Contains(line, "is in use by another pocket") || strings.Contains(line, "is there already")
	})
	p.interrupt()
	if code := p.wait(); code != exitError {
		t.Errorf("code %d:\n%s", code, p.said())
	}
	m.isBack(want)
}

// There is no record of what was moved aside: it is told, not guessed.
func TestOriginalWithoutARecord(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m, want := withOriginal(t)
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	p.kill()
	must(t, os.RemoveAll(m.data("aside")))
	p = m.restart()
	p.waitSaid("no record of it", "pocket restore --mount "+native(m.home("files")))
	p.stop()
	sameTree(t, want, readTree(t, m.home("files"+originalSuffix)))
	code, _, said := m.ask("restore")
	if code != exitError || !strings.Contains(said, "no record of it") || !strings.Contains(said, "pocket restore --mount files") {
		t.Errorf("pocket restore: code %d: %s", code, said)
	}
	code, _, said = m.ask("restore", "--mount", "files")
	if code != exitOK || !strings.Contains(said, "pocket: moved ") {
		t.Errorf("pocket restore --mount files: code %d: %s", code, said)
	}
	m.isBack(want)
}

// Programs that have a file of the original open go on with it.
func TestOriginalInUse(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	writeFile(t, m.home("files", "log"), "before\n")
	f, err := os.OpenFile(m.home("files", "log"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	if _, err := f.WriteString("while it is mounted\n"); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if got := readFile(t, m.home("files", "log")); got != "before\nwhile it is mounted\n" {
		t.Errorf("the file is %q", got)
	}
}

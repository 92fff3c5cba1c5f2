//go:build linux || windows

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const originalSuffix = ".pocket-original"

// withOriginal returns a machine with a tree at its mount path ~/files.
func withOriginal(t *testing.T) (m *machine, want map[string]entry) {
	t.Helper()
	m = newMachine(t)
	must(t, os.Mkdir(m.home("files"), 0o700))
	writeTree(t, m.home("files"), 7, 40)
	return m, readTree(t, m.home("files"))
}

// isBack checks that the original is at the mount path and that nothing is left of having
// been elsewhere.
func (m *machine) isBack(want map[string]entry) {
	m.t.Helper()
	if left := mountsBelow(m.home()); len(left) > 0 {
		m.t.Fatalf("left mounted: %v", left)
	}
	sameTree(m.t, want, readTree(m.t, m.home("files")))
	if _, err := os.Lstat(m.home("files" + originalSuffix)); !os.IsNotExist(err) {
		m.t.Errorf("%s is left", originalSuffix)
	}
	if left, _ := filepath.Glob(m.data("aside", "*")); len(left) > 0 {
		m.t.Errorf("left: %v", left)
	}
}

// conflicts returns what was kept of what others made at the mount path.
func (m *machine) conflicts() []string {
	m.t.Helper()
	found, err := filepath.Glob(m.home("files.pocket-conflict-*"))
	must(m.t, err)
	return found
}

// originalEnd is a way in which a mount ends over a directory that was there.
type originalEnd struct {
	name         string
	notOnWindows string // why, if so
	end          func(t *testing.T, p *process)
}

var originalEnds = []originalEnd{
	{"Ctrl-C", "", func(t *testing.T, p *process) { p.interrupt() }},
	{"pocket stop", "", func(t *testing.T, p *process) {
		if code, _, said := p.m.ask("stop"); code != exitOK {
			t.Errorf("pocket stop: code %d: %s", code, said)
		}
	}},
	{"a program's working directory is in it", "", func(t *testing.T, p *process) {
		c := startChild(t, "stay", p.at("files"))
		<-c.lines
		p.interrupt()
	}},
}

func init() {
	children["stay"] = func(args []string) error { // in a directory, until it is killed
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
		fmt.Println("there")
		time.Sleep(time.Hour)
		return nil
	}
}

// A directory with files in it at the mount path is aside while it is mounted, and back
// however the mount ends.
func TestOriginalComesBack(t *testing.T) {
	needMounts(t)
	for _, way := range slices.Concat(originalEnds, originalEndsHere) {
		t.Run(way.name, func(t *testing.T) {
			if way.notOnWindows != "" {
				skipOnWindows(t, way.notOnWindows)
			}
			t.Parallel()
			m, want := withOriginal(t)
			folder := newFolder(t)
			p := m.up(dirStorage("store", folder), mountTable("files", "store"))
			p.waitSaid("pocket: files: what was at ", native(m.home("files"+originalSuffix)), "comes back")
			if entries, err := os.ReadDir(p.at("files")); err != nil || len(entries) > 0 {
				t.Errorf("the mount has %v, %v", entries, err)
			}
			writeFile(t, p.at("files", "in the store"), "x")
			sameTree(t, want, readTree(t, m.home("files"+originalSuffix)))
			if s := m.status()[0].Mounts[0]; s.Original != native(m.home("files"+originalSuffix)) {
				t.Errorf("status says that the original is %q", s.Original)
			}
			way.end(t, p)
			p.expectEnd(exitOK)
			m.isBack(want)

			// And again: the store has what was written, the directory what it had.
			p = m.restart()
			if got := readFile(t, p.at("files", "in the store")); got != "x" {
				t.Errorf("the mount's file is %q", got)
			}
			p.stop()
			m.isBack(want)
		})
	}
}

// After kill -9 the next start brings it back and moves it aside again; so does pocket
// restore, without the mount.
func TestOriginalAfterKill(t *testing.T) {
	needMounts(t)
	m, want := withOriginal(t)
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	writeFile(t, p.at("files", "in the store"), "x")
	p.kill()
	p = m.restart()
	if got := readFile(t, p.at("files", "in the store")); got != "x" {
		t.Errorf("the mount's file is %q", got)
	}
	p.waitSaid("comes back when it is unmounted")
	p.stop()
	m.isBack(want)

	p = m.restart()
	p.kill()
	code, _, said := m.ask("status")
	if code != exitNothing || !strings.Contains(said, "pocket: what was at "+native(m.home("files"))+" is still called "+native(m.home("files"+originalSuffix))+": pocket restore moves it back") {
		t.Errorf("pocket status: code %d: %s", code, said)
	}
	code, _, said = m.ask("restore")
	if code != exitOK || !strings.Contains(said, "pocket: moved "+native(m.home("files"+originalSuffix))+" back to "+native(m.home("files"))) {
		t.Errorf("pocket restore: code %d: %s", code, said)
	}
	m.isBack(want)
	if _, _, said := m.ask("status"); strings.Contains(said, "restore") {
		t.Errorf("pocket status, when it is back: %s", said)
	}
	if code, _, said := m.ask("restore"); code != exitNothing || !strings.Contains(said, "nothing is moved aside") {
		t.Errorf("nothing to restore: code %d: %s", code, said)
	}

	// ssh has made its directory anew, with something in it.
	p = m.restart()
	p.kill()
	must(t, unmountBelow(m.root))
	writeFile(t, m.home("files", "known_hosts"), "new")
	p = m.restart()
	p.waitSaid("something else was made at ", "kept as ")
	p.stop()
	m.isBack(want)
	kept := m.conflicts()
	if len(kept) != 1 || readFile(t, filepath.Join(kept[0], "known_hosts")) != "new" {
		t.Errorf("what was made meanwhile: %v", kept)
	}

	// The mount is not in the configuration any more.
	p = m.restart()
	p.kill()
	m.configure(mountTable("other", "memory"))
	p = m.restart()
	p.waitSaid("pocket: files: moved ", "back to "+native(m.home("files")))
	p.stop()
	m.isBack(want)
}

func TestRestoreWhileItRuns(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m, want := withOriginal(t)
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	writeFile(t, p.at("files", "file"), "x")
	if _, _, said := m.ask("status"); said != "" {
		t.Errorf("pocket status: %s", said)
	}
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

// notMovable is a reason why a directory cannot be moved aside.
type notMovable struct {
	name    string
	prepare func(t *testing.T, m *machine) (path string, undo func())
	say     string
}

// What cannot be moved aside is one line, and nothing changes.
func TestOriginalThatCannotBeMoved(t *testing.T) {
	needMounts(t)
	for _, c := range slices.Concat(notMovableHere, []notMovable{
		{"the other name is taken", func(t *testing.T, m *machine) (string, func()) {
			writeFile(t, m.home("files"+originalSuffix, "mine"), "precious")
			return "~/files", func() {}
		}, "is there already"},
		{"the data directory is in it", func(t *testing.T, m *machine) (string, func()) {
			return native(dataHome(m.root)), func() {}
		}, "holds pocket's own data"},
		{"the directory it is in cannot be written", func(t *testing.T, m *machine) (string, func()) {
			writeFile(t, m.path("fixed", "files", "mine"), "precious")
			return native(m.path("fixed", "files")), protect(t, m.path("fixed"))
		}, map[bool]string{false: "make it writable", true: "cannot be moved aside"}[onWindows]},
	}) {
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

// Programs that have a file of the original open go on with it; Windows moves no directory that has such
// files, which is said.
func TestOriginalInUse(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	writeFile(t, m.home("files", "log"), "before\n")
	f, err := os.OpenFile(m.home("files", "log"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	m.configure(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	if openFilesStay {
		want := readTree(t, m.home("files"))
		p := m.start()
		p.expectEnd(exitError)
		if line := p.oneLine(); !strings.Contains(line, "close the programs that have files in it open") {
			t.Errorf("it says: %s", line)
		}
		m.isBack(want)
		return
	}
	p := m.restart()
	if _, err := f.WriteString("while it is mounted\n"); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if got := readFile(t, m.home("files", "log")); got != "before\nwhile it is mounted\n" {
		t.Errorf("the file is %q", got)
	}
}

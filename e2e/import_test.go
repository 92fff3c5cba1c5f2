//go:build linux || windows

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An empty store takes in what is at the mount path when the configuration says so: all of
// it is in the mount when that can be used, with modes, times, links and owners; the original
// stays, and comes back.
func TestImport(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	must(t, os.Mkdir(m.home("files"), 0o700))
	writeTree(t, m.home("files"), 11, fewer(1000))
	must(t, os.Mkdir(m.home("files", "empty"), 0o750))
	if symlinks {
		must(t, os.Symlink("nowhere/at all", m.home("files", "dangling")))
	} else {
		writeFile(t, m.home("files", "dangling"), "no link")
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(m.home("files", "empty"), 12, 34))
	}
	want := readTree(t, m.home("files"))
	folder := newFolder(t)
	config := []string{dirStorage("store", folder), mountTable("files", "store", "import = true")}
	p := m.up(config...)
	p.waitSaid("pocket: files: took in ", " files, ")
	p.waitSaid("is kept as " + native(m.home("files"+originalSuffix)))
	sameTree(t, want, readTree(t, p.at("files")))
	sameTree(t, want, readTree(t, m.home("files"+originalSuffix)))
	info, err := os.Stat(p.at("files"))
	must(t, err)
	if !onWindows && info.Mode().Perm() != 0o700 {
		t.Errorf("the root has mode %v", info.Mode())
	}
	must(t, os.Remove(p.at("files", "dangling")))
	p.stop()
	m.isBack(want)

	// Not a second time, whatever the store has by then.
	p = m.restart()
	if strings.Contains(p.said(), "taking in") || strings.Contains(p.said(), "not taken in") {
		t.Errorf("it says:\n%s", indent(p.said()))
	}
	had := want["dangling"]
	delete(want, "dangling")
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
	want["dangling"] = had
	m.isBack(want)
	delete(want, "dangling")

	// On another machine all is there; what that one has at the path is not taken in.
	other := newMachine(t)
	writeFile(t, other.home("files", "mine"), "another machine's")
	p = other.up(config...)
	p.waitSaid("is not taken in, since the store has files already", "pocket --import")
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
	if got := readFile(t, other.home("files", "mine")); got != "another machine's" {
		t.Errorf("the other machine's file is %q", got)
	}
}

// importLog waits until an import has begun with a number of files.
func (m *machine) importLog(files int) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		logs, err := filepath.Glob(m.data("state", "*", "import.log"))
		must(m.t, err)
		if len(logs) == 1 {
			body, err := os.ReadFile(logs[0])
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				m.t.Fatal(err)
			}
			if strings.Count(string(body), "\n+ ") >= files {
				return
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatal("no import has begun")
		}
	}
}

// An import that is killed, or told to stop, leaves the directory where it is, and the
// next start goes on without doing anything twice.
func TestImportIsInterrupted(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	must(t, os.Mkdir(m.home("files"), 0o700))
	writeTree(t, m.home("files"), 12, fewer(1500))
	want := readTree(t, m.home("files"))
	config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
	m.configure(config...)
	p := m.start("--import")
	m.importLog(fewer(100))
	p.kill()
	m.isBack(want)

	p = m.start() // also without the flag
	p.waitSaid("where an earlier start was interrupted")
	m.importLog(fewer(600))
	p.interrupt()
	p.expectEnd(exitLeft)
	p.waitSaid("the next start goes on")
	m.isBack(want)

	p = m.restart()
	p.waitSaid("took in ")
	if strings.Contains(p.said(), "is not taken in") {
		t.Errorf("it says:\n%s", indent(p.said()))
	}
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
	m.isBack(want)
	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
}

// --import into a store with files adds what is not there; what differs stays as the store
// has it and is told.
func TestImportIntoAStoreWithFiles(t *testing.T) {
	needMounts(t)
	t.Parallel()
	folder := newFolder(t)
	config := []string{dirStorage("store", folder), mountTable("files", "store")}
	first := newMachine(t).up(config...)
	writeFile(t, first.at("files", "same"), "same")
	writeFile(t, first.at("files", "config"), "the store's")
	writeFile(t, first.at("files", "dir", "theirs"), "theirs")
	first.stop()

	m := newMachine(t)
	writeFile(t, m.home("files", "same"), "same")
	writeFile(t, m.home("files", "config"), "mine, another one")
	writeFile(t, m.home("files", "dir", "mine"), "mine")
	want := readTree(t, m.home("files"))
	m.configure(config...)
	p := m.restart("--import")
	p.waitSaid(native("files/config")+" is not taken in", "another /config in the store already")
	p.waitSaid("took in 1 file, ", "1 were left as the store has them")
	for name, text := range map[string]string{"same": "same", "config": "the store's", "dir/theirs": "theirs", "dir/mine": "mine"} {
		if got := readFile(t, p.at("files", filepath.FromSlash(name))); got != text {
			t.Errorf("%s is %q", name, got)
		}
	}
	p.stop()
	m.isBack(want)
}

// On a terminal it is shown how far an import is.
func TestImportShowsProgress(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	must(t, os.Mkdir(m.home("files"), 0o700))
	writeTree(t, m.home("files"), 13, 300)
	m.configure(dirStorage("store", newFolder(t)), mountTable("files", "store", "import = true"))
	p := m.restart()
	p.waitSaid("taking in ", " of ", " files, ")
	p.stop()
}

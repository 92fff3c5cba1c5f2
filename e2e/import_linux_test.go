package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
	"golang.org/x/sys/unix"
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

// What cannot be taken in is a line each, and the exit code and status say so.
func TestImportOfWhatCannotBe(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "Windows has no FIFOs, no sockets with names, and no names that are not Unicode")
	t.Parallel()
	m := newMachine(t)
	writeFile(t, m.home("files", "good"), "good")
	writeFile(t, m.home("files", "bad \xff name"), "not UTF-8")
	must(t, unix.Mkfifo(m.home("files", "fifo"), 0o600))
	must(t, unix.Mknod(m.home("files", "S.gpg-agent"), unix.S_IFSOCK|0o600, 0))
	m.configure(dirStorage("store", newFolder(t)), mountTable("files", "store", "import = true"))
	p := m.restart()
	p.waitSaid(`bad \xff name is not taken in`)
	p.waitSaid("/fifo is not taken in: it is neither a file")
	p.waitSaid("/S.gpg-agent is not taken in")
	p.waitSaid("took in 1 file, ", "1 could not be taken in", "2 that are neither")
	if got := dirNames(t, p.at("files")); len(got) != 1 || got[0] != "good" {
		t.Errorf("the mount has %v", got)
	}
	if code, text, _ := m.ask("status"); code != exitOK || !strings.Contains(text, "1 could not be taken in") || !strings.Contains(text, "original what was there is in ") {
		t.Errorf("status: code %d:\n%s", code, text)
	}
	p.interrupt()
	p.expectEnd(exitError)
	if got := dirNames(t, m.home("files")); len(got) != 4 {
		t.Errorf("the original has %v", got)
	}
}

// What does not fit on this machine ends the import in one line, and the exit code says so; the original
// stays as it is, and the next start goes on.
func TestImportThatDoesNotFit(t *testing.T) {
	needMounts(t)
	needRoot(t)
	for _, c := range []struct {
		name  string
		disk  int64 // bytes
		files int   // of a megabyte
		say   string
	}{
		{"on the disk", 48 << 20, 40, map[bool]string{false: "no space left on", true: "Disk full"}[onWindows]},
		{"into the cache", 256 << 20, 70, "cache is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, b := newMachine(t), newBucket(t)
			mountTmpfs(t, dataHome(m.root), c.disk)
			ballast := filepath.Join(dataHome(m.root), "ballast")
			must(t, os.WriteFile(ballast, make([]byte, c.disk/3), 0o600))
			for i := range c.files {
				writeFile(t, m.home("files", fmt.Sprint("file ", i)), string(payload(uint64(i), 1<<20)))
			}
			want := readTree(t, m.home("files"))
			m.configure(b.storage("store", `cache_size = "64MiB"`), mountTable("files", "store", "import = true"))
			b.SetFault(s3test.OnKey("data/", s3test.Answer(503, "SlowDown")))
			for range 2 { // the second time goes no further
				p := m.restart()
				p.waitSaid("not everything in "+native(m.home("files"))+" is taken in: ", c.say, ": the next start goes on")
				if n := strings.Count(p.said(), "taken in"); n != 1 {
					t.Errorf("it says that %d times:\n%s", n, indent(p.said()))
				}
				for _, name := range dirNames(t, p.at("files")) {
					if got := readFile(t, p.at("files", name)); got != readFile(t, m.home("files"+originalSuffix, name)) {
						t.Errorf("of %s there are %d bytes", name, len(got))
					}
				}
				p.interrupt()
				p.waitSaid("left to upload")
				p.interrupt()
				if code := p.wait(); code != exitError && code != exitLeft {
					t.Errorf("it ends with code %d", code)
				}
				m.isBack(want)
			}

			must(t, os.Remove(ballast))
			b.SetFault(nil)
			p := m.restart()
			p.waitSaid("took in ")
			sameTree(t, want, readTree(t, p.at("files")))
			p.stop()
			m.isBack(want)
			p = newMachine(t).up(b.storage("store"), mountTable("files", "store"))
			sameTree(t, want, readTree(t, p.at("files")))
			p.stop()
		})
	}
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

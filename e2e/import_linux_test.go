// Linux only: FIFOs, sockets with names, names that are not Unicode, and a small disk.

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// What cannot be taken in, which Windows has nothing of, is a line each, and the exit code and status say so.
func TestImportOfWhatCannotBe(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "it has no FIFOs, no sockets with names, and no names that are not Unicode")
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
// stays as it is, and the next start goes on. On Windows a test can make no small disk.
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

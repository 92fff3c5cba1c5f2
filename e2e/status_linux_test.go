// Linux only: a small disk, and a terminal whose other end the test has.

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/testdisk"
)

// A pocket that starts while the disk is full is mounted, and can be asked, as soon as there is room.
func TestStatusOfProcessThatStartedOnAFullDisk(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	disk := testdisk.Small(t, "24m")
	must(t, os.Symlink(disk, dataHome(m.root)))
	m.up(dirStorage("store", newFolder(t)), mountTable("files", "store")).stop()
	ballast := filepath.Join(disk, "ballast")
	testdisk.Fill(t, ballast)
	p := m.start("--retry")
	p.waitSaid("warning: pocket status cannot reach this process yet: ")
	p.waitSaid("it is tried again until it is there")
	if code, _, said := m.ask("status"); code != exitNothing {
		t.Errorf("pocket status: code %d: %s", code, said)
	}
	must(t, os.Remove(ballast))
	m.waitStatus("it is there", func(m control.Mount) bool { return m.State == control.Mounted })
	if code, _, said := m.ask("stop"); code != exitOK {
		t.Errorf("pocket stop: code %d: %s", code, said)
	}
	p.expectEnd(exitOK)
}

// On a terminal --watch takes the screen, follows its size, and gives it back at q. Windows' terminals
// are tested by none: a test would have to be one.
func TestWatchOnTerminal(t *testing.T) {
	needMounts(t)
	if underWine {
		t.Skip("Wine 8's console takes escape sequences for text, and breaks its lines in them")
	}
	t.Parallel()
	m := newMachine(t)
	p := m.up(mountTable("files", "memory"))
	for _, key := range []string{"q", "\x03"} {
		master, slave := openTerminal(t)
		cmd := m.command("status", "--watch")
		cmd.Env = append(cmd.Env, "TERM=xterm")
		ownTerminal(cmd, slave)
		cmd.Stdout = slave
		w := m.startCommand(cmd)
		slave.Close()
		var shown transcript
		go func() {
			buffer := make([]byte, 4096)
			for {
				n, err := master.Read(buffer)
				shown.Write(buffer[:n])
				if err != nil {
					shown.close()
					return
				}
			}
		}()
		for range 2 { // two pictures
			if _, ok := shown.wait(patience, func(line string) bool { return strings.Contains(line, "mounted at ") }); !ok {
				t.Fatalf("nothing is shown: %q", shown.text())
			}
		}
		write(t, master, key)
		if code := w.wait(); code != exitOK {
			t.Errorf("it ended with %d", code)
		}
		if _, ok := shown.wait(patience, func(line string) bool { return false }); ok {
			t.Fatal("the terminal is not closed")
		}
		text := shown.text()
		if !strings.HasPrefix(text, "\x1b[?1049h") || !strings.Contains(text, "\x1b[?25h\x1b[?1049l") {
			t.Errorf("the screen is not given back: %q", text)
		}
	}
	p.stop()
}

// Linux only: see windows_linux_test.go.

package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// endSession is what Windows tells a process at the end of the user's session
// (e2e/standin/endsession), and what the process answers.
func endSession(t *testing.T, p *process, how string) string {
	t.Helper()
	found := regexp.MustCompile(`started.* pid=(\d+)`).FindStringSubmatch(p.m.log())
	if found == nil {
		t.Fatalf("the log does not tell the process's number:\n%s", p.m.log())
	}
	cmd := programCommand(filepath.Join(filepath.Dir(os.Getenv("POCKET_E2E_BINARY")), "endsession.exe"), found[1], how)
	cmd.Env = p.m.env
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, said)
	}
	return strings.ReplaceAll(string(said), "\r", "")
}

// Whatever ends it, what was written is in the store, also by programs that have the file
// still open.
func TestWaysToStopOnWindows(t *testing.T) {
	for _, way := range []struct {
		name    string
		prepare func(t *testing.T, cmd *exec.Cmd) (terminal *os.File)
		stop    func(t *testing.T, p *process, terminal *os.File)
	}{
		{"ENTER", func(t *testing.T, cmd *exec.Cmd) *os.File {
			terminal, slave := openTerminal(t)
			ownTerminal(cmd, slave)
			go io.Copy(io.Discard, terminal) // Wine's console draws on it
			return terminal
		}, func(t *testing.T, p *process, terminal *os.File) {
			p.waitSaid("pocket: press ENTER to unmount")
			write(t, terminal, "\r")
		}},
		{"shutdown", func(*testing.T, *exec.Cmd) *os.File { return nil }, func(t *testing.T, p *process, _ *os.File) {
			if said := endSession(t, p, "shutdown"); said != "agreed\ntold\n" {
				t.Errorf("it answers %q", said)
			}
		}},
		{"logoff without a console", func(t *testing.T, cmd *exec.Cmd) *os.File {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			must(t, err)
			t.Cleanup(func() { null.Close() })
			cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
			detach(cmd)
			return nil
		}, func(t *testing.T, p *process, _ *os.File) {
			if said := endSession(t, p, "logoff"); said != "agreed\ntold\n" {
				t.Errorf("it answers %q", said)
			}
			log := p.m.log()
			for _, want := range []string{`msg="says: mounted files at `, `msg="told to stop" signal="the user logs off"`, "msg=ended code=0"} {
				if !strings.Contains(log, want) {
					t.Errorf("the log has no %s:\n%s", want, log)
				}
			}
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			b := newBothSystems(t)
			var terminal *os.File
			p, v := b.machine().startVolume(func(cmd *exec.Cmd) { terminal = way.prepare(t, cmd) })
			must(t, newVolumeFile(t, v, "/closed", "written before the stop").Close())
			newVolumeFile(t, v, "/open", "written, not closed")
			way.stop(t, p, terminal)
			p.expectEnd(exitOK)

			l := b.linux()
			for name, want := range map[string]string{"closed": "written before the stop", "open": "written, not closed"} {
				if got := readFile(t, l.at("files", name)); got != want {
					t.Errorf("%s holds %q", name, got)
				}
			}
			l.stop()
		})
	}
}

// Windows does not wait for a store that is away. What is not uploaded is in the journal.
func TestLogoffWhileTheStoreIsAwayOnWindows(t *testing.T) {
	t.Parallel()
	needWine(t)
	b := newBucket(t)
	m := newMachine(t)
	m.configure(b.storage("store"), mountTable("files", "store"))
	p, v := m.startVolume()
	b.Stop()
	must(t, newVolumeFile(t, v, "/file", "kept").Close())
	if said := endSession(t, p, "logoff"); said != "agreed\ntold\n" {
		t.Errorf("it answers %q", said)
	}
	if log := p.m.log(); !strings.Contains(log, "msg=ended code=3") {
		t.Errorf("Windows would have ended it before it was ready:\n%s", log)
	}
	p.expectEnd(exitLeft)

	must(t, b.Restart())
	before := b.answered()
	p, v = m.startVolume()
	volumeHolds(t, v, "/file", "kept")
	b.waitPut(before, "data/")
	p.stop()
}

// Linux only: signals, terminals whose other end the test has, and fusermount -u; Windows' ways are in windowsstop_linux_test.go.

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A file that is written right before pocket is stopped is in the store, whatever
// stops it.
func TestWaysToStop(t *testing.T) {
	needMounts(t)
	for _, way := range []struct {
		name string
		stop func(t *testing.T, p *process, terminal *os.File)
	}{
		{"Ctrl-C", func(t *testing.T, p *process, terminal *os.File) { write(t, terminal, "\x03") }},
		{"ENTER", func(t *testing.T, p *process, terminal *os.File) { write(t, terminal, "\r") }},
		{"terminal closed", func(t *testing.T, p *process, terminal *os.File) { terminal.Close() }},
		{"SIGINT", func(t *testing.T, p *process, _ *os.File) { p.interrupt() }},
		{"SIGTERM", func(t *testing.T, p *process, _ *os.File) { terminate(p.cmd.Process) }},
		{"unmounted from outside", func(t *testing.T, p *process, _ *os.File) { unmount(t, p.at("files")) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			if way.name == "SIGTERM" || way.name == "terminal closed" {
				skipOnWindows(t, "it has no signals, and Wine's processes die of them")
			}
			t.Parallel()
			m := newMachine(t)
			config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
			m.configure(config...)
			master, slave := openTerminal(t)
			cmd := m.command()
			ownTerminal(cmd, slave)
			p := m.startCommand(cmd)
			slave.Close()
			p.waitMounts()
			writeFile(t, p.at("files", "file"), "written before the stop")
			way.stop(t, p, master)
			p.expectEnd(exitOK)

			p = newMachine(t).up(config...)
			if got := readFile(t, p.at("files", "file")); got != "written before the stop" {
				t.Errorf("after the restart the file is %q", got)
			}
			p.stop()
		})
	}
}

func write(t *testing.T, terminal *os.File, text string) {
	t.Helper()
	if _, err := terminal.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// unmount unmounts path as a user would, who tries again while it is busy: a process that
// another test is starting has this one's files, until its program has begun.
func unmount(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		said, err := exec.Command(fusermount(), "-u", path).CombinedOutput()
		if err == nil {
			return
		}
		if !strings.Contains(string(said), "busy") || time.Now().After(deadline) {
			t.Fatalf("fusermount -u %s: %v: %s", path, err, said)
		}
	}
}

// Unmounting one mount from outside ends that one, with all it has in the store, and
// no other.
func TestUnmountFromOutsideEndsOneMount(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	first, second := mountTable("first", "store", `prefix = "1/"`), mountTable("second", "store", `prefix = "2/"`)
	m := newMachine(t)
	p := m.up(b.storage("store"), first, second)
	writeTree(t, p.at("first"), 1, 40)
	writeTree(t, p.at("second"), 2, 40)
	want := readTree(t, p.at("first"))
	before := b.answered()
	unmount(t, p.at("first"))
	b.waitPut(before, "1/index/head") // the last that it writes

	other := newMachine(t)
	q := other.up(b.storage("store"), first)
	sameTree(t, want, readTree(t, q.at("first")))
	q.stop()

	writeFile(t, p.at("second", "later"), "goes on")
	p.stop()
	p = newMachine(t).up(b.storage("store"), second)
	if got := readFile(t, p.at("second", "later")); got != "goes on" {
		t.Errorf("the other mount's file is %q", got)
	}
	p.stop()
}

// What is left of a mount that was unmounted while the store is away waits for it, until
// Ctrl-C: the line says what it does.
func TestUnmountFromOutsideWhileStoreIsAway(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	p := m.up(b.storage("store"), mountTable("files", "store"))
	b.Stop()
	writeFile(t, p.at("files", "file"), "text")
	unmount(t, p.at("files"))
	p.waitSaid("Ctrl-C again leaves them in the journal")
	p.interrupt()
	p.expectEnd(exitLeft)
	must(t, b.Restart())
	p = m.restart()
	if got := readFile(t, p.at("files", "file")); got != "text" {
		t.Errorf("after the restart the file is %q", got)
	}
	p.stop()
}

// A process that was started with signals ignored, as nohup and shells do, stops all
// the same.
func TestStopsThoughSignalWasIgnored(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	m.configure(mountTable("files", "memory"))
	cmd := m.command()
	cmd.Path = "/bin/sh"
	cmd.Args = append([]string{"sh", "-c", `trap "" INT; exec "$@"`, "sh"}, cmd.Args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := m.startCommand(cmd)
	p.waitMounts()
	p.stop()
}

//go:build linux || windows

package e2e

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// Input that ends, or was never there, stops nothing: services have none.
func TestInputThatEndsDoesNotStop(t *testing.T) {
	needMounts(t)
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, cmd *exec.Cmd)
	}{
		{"dev null", func(t *testing.T, cmd *exec.Cmd) { cmd.Stdin = nil }},
		{"closed", func(t *testing.T, cmd *exec.Cmd) {
			if runtime.GOOS == "windows" {
				t.Skip("a program there has no input when nobody gives it one, as in the first case")
			}
			cmd.Path = "/bin/sh"
			cmd.Args = append([]string{"sh", "-c", `exec "$@" <&-`, "sh"}, cmd.Args...)
		}},
		{"pipe that ends", func(t *testing.T, cmd *exec.Cmd) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close() })
			cmd.Stdin = r
			w.Close()
		}},
		{"pipe with lines", func(t *testing.T, cmd *exec.Cmd) { cmd.Stdin = strings.NewReader("\n\n\n") }},
		{"file", func(t *testing.T, cmd *exec.Cmd) {
			f, err := os.Open("stop_test.go")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			cmd.Stdin = f
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.configure(mountTable("files", "memory"))
			cmd := m.command()
			c.prepare(t, cmd)
			p := m.startCommand(cmd)
			p.waitMounts()
			writeTree(t, p.at("files"), 1, 60)
			sameTree(t, readTree(t, p.at("files")), readTree(t, p.at("files")))
			if p.hasEnded() {
				t.Fatal("it has stopped")
			}
			p.stop()
		})
	}
}

// Files that programs have open do not keep pocket from stopping, and what was
// written to them is kept.
func TestStopWithOpenFiles(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
	p := m.up(config...)
	f, err := os.Create(p.at("files", "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "written, not closed"); err != nil {
		t.Fatal(err)
	}
	p.interrupt()
	p.wait()
	if left := mountsBelow(m.home()); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
	if _, err := f.WriteString("more"); err == nil {
		t.Error("writing goes on after the end")
	}
	p = newMachine(t).up(config...)
	if got := readFile(t, p.at("files", "open")); got != "written, not closed" {
		t.Errorf("after the restart the file is %q", got)
	}
	p.stop()
}

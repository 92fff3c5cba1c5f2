//go:build linux || windows

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hamflx/pocket/internal/control"
)

// startHidden starts pocket as something that logs in starts it: no terminal, and
// nobody who reads what it says.
func (m *machine) startHidden(env string, args ...string) *process {
	m.t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer null.Close()
	cmd := m.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, null
	if env != "" {
		cmd.Env = append(cmd.Env, env)
	}
	detach(cmd)
	return m.startCommand(cmd)
}

// With nobody there it mounts, answers and stops like any other, and its log has what nobody saw.
func TestHiddenPocket(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	folder := newFolder(t)
	m.configure(dirStorage("store", folder), mountTable("files", "store"))
	p := m.startHidden("")
	_, err := mounted(m.waitStatus("it is there", func(m control.Mount) bool { return m.State == control.Mounted }).Path)
	must(t, err)
	writeFile(t, p.at("files", "file"), "written while nobody was there")
	if code, _, said := m.ask("stop"); code != exitOK {
		t.Errorf("pocket stop: code %d: %s", code, said)
	}
	p.expectEnd(exitOK)
	if got := readFile(t, filepath.Join(folder, dataKey("", "written while nobody was there"))); got != "written while nobody was there" {
		t.Errorf("the folder has %q", got)
	}
	if log := m.log(); !strings.Contains(log, "says: mounted files at ") || strings.Contains(log, "press ENTER") || !strings.Contains(log, "msg=ended code=0") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestMistakesThatNobodySeesAreLogged(t *testing.T) {
	m := newMachine(t)
	m.configure(`[[mounts]]`, `mount_path = "~/x"`, `storage = "nowhere"`)
	for _, c := range []struct {
		args []string
		log  string
	}{
		{nil, "config.toml:3: mounts.storage: "},
		{[]string{"--bogus"}, `msg="says: unknown flag: --bogus: see pocket --help"`},
		{[]string{"mount"}, `is not a command: see pocket --help"`},
	} {
		p := m.startHidden("", c.args...)
		if code := p.wait(); code != exitUsage {
			t.Errorf("code %d", code)
		}
		if log := m.log(); !strings.Contains(log, c.log) {
			t.Errorf("no %s in the log:\n%s", c.log, log)
		}
	}
}

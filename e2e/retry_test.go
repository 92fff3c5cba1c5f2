//go:build linux || windows

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/control"
)

// As what install starts does it: nobody is there to start it again.
func TestMountsThatFailAreTriedAgain(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	folder := m.path("late")
	m.configure(dirStorage("late", folder), mountTable("one", "late"), mountTable("two", "late"), mountTable("there", "memory"), mountTable("file", "memory"))
	writeFile(t, m.home("file"), "in the way")
	p := m.start("--retry")
	p.waitMounted("there")
	for _, name := range []string{"one", "two", "file"} {
		p.waitSaid("pocket: "+name+": ", ": it is tried again until it is there")
	}
	// While one is being tried it has no next time; the pauses grow.
	for deadline := time.Now().Add(patience); ; {
		code, text, _ := m.ask("status")
		if code == exitError && strings.Count(text, "\n  retry    in ") == 3 {
			break
		}
		if code != exitError || time.Now().After(deadline) {
			t.Fatalf("code %d, status says\n%s", code, text)
		}
	}
	for _, s := range m.status()[0].Mounts {
		if s.Name == "there" {
			continue
		}
		if s.State != control.Failed && s.State != control.Starting || s.Error == "" || s.Attempts == 0 {
			t.Errorf("%+v", s)
		}
		if s.Retry != nil && time.Until(*s.Retry) > time.Minute {
			t.Errorf("%s is tried again at %v", s.Name, s.Retry)
		}
	}

	must(t, os.Mkdir(folder, 0o755))
	p.waitMounted("one")
	p.waitMounted("two")
	writeFile(t, p.at("one", "file"), "x")
	if code, _, said := m.ask("wait"); code != exitOK {
		t.Errorf("wait: code %d: %s", code, said)
	}
	for _, s := range m.status()[0].Mounts[:2] {
		if s.State != control.Mounted || s.Error != "" || s.Attempts != 0 || s.Retry != nil {
			t.Errorf("%+v", s)
		}
	}
	// However often they were tried, each has its one state directory; the failing one has none.
	states, err := os.ReadDir(m.data("state"))
	must(t, err)
	var names []string
	for _, s := range states {
		if !strings.HasPrefix(s.Name(), "tmp") {
			names = append(names, s.Name())
		}
	}
	if len(names) != 2 || names[1] != names[0]+"-2" {
		t.Errorf("state directories: %v", names)
	}
	if !strings.Contains(m.log(), `"cannot mount yet" mount=file`) {
		t.Error("the log does not say so")
	}
	must(t, os.Remove(m.home("file")))
	p.waitMounted("file")
	p.stop()
}

// It waits for its end as for the next attempt.
func TestStopWhileNothingCanBeMounted(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	writeFile(t, m.home("file"), "in the way")
	m.configure(mountTable("file", "memory"))
	p := m.start("--retry")
	p.waitSaid("pocket: file: ", "it is tried again")
	if code, _, said := m.ask("wait"); code != exitNothing {
		t.Errorf("wait: code %d: %s", code, said)
	}
	if code, _, said := m.ask("stop"); code != exitOK {
		t.Errorf("stop: code %d: %s", code, said)
	}
	p.expectEnd(exitOK)
}

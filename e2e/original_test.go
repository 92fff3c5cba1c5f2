//go:build linux || windows

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
	code, _, said := m.ask("restore")
	if code != exitOK || !strings.Contains(said, "pocket: moved "+native(m.home("files"+originalSuffix))+" back to "+native(m.home("files"))) {
		t.Errorf("pocket restore: code %d: %s", code, said)
	}
	m.isBack(want)
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

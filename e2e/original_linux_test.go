// Linux only: mount paths that are links, which Windows refuses.

package e2e

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// originalEndsHere are those of this system.
var originalEndsHere = []originalEnd{
	{"SIGTERM", "it has no signals, and Wine's processes die of them", func(t *testing.T, p *process) { terminate(p.cmd.Process) }},
	{"unmounted from outside", "", func(t *testing.T, p *process) { unmount(t, p.at("files")) }},
}

// notMovableHere is what Windows has not: disks in directories.
var notMovableHere = []notMovable{
	{"a disk is mounted there", func(t *testing.T, m *machine) (string, func()) {
		needRoot(t)
		skipOnWindows(t, "a disk that has no letter is a junction there, and no mount path")
		mountTmpfs(t, m.home("disk"), 1<<20)
		writeFile(t, m.home("disk", "mine"), "precious")
		return "~/disk", func() { unix.Unmount(m.home("disk"), unix.MNT_DETACH) }
	}, "mounted there"},
	{"a disk is mounted in it", func(t *testing.T, m *machine) (string, func()) {
		needRoot(t)
		skipOnWindows(t, "a disk that has no letter is a junction there, which moves with its directory")
		mountTmpfs(t, m.home("files", "disk"), 1<<20)
		return "~/files", func() { unix.Unmount(m.home("files", "disk"), unix.MNT_DETACH) }
	}, "is mounted in it"},
}

// A mount path that is a symbolic link, which Windows refuses: what it leads to is moved aside, the link stays.
func TestOriginalBehindASymlink(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "a mount path that is a link is refused there")
	t.Parallel()
	m, want := withOriginal(t)
	must(t, os.Symlink("files", m.home("link")))
	p := m.up(dirStorage("store", newFolder(t)), mountTable("link", "store"))
	p.waitSaid(m.home("files" + originalSuffix))
	writeFile(t, m.home("files", "file"), "x")
	p.kill()
	p = m.restart()
	if got := readFile(t, p.at("link", "file")); got != "x" {
		t.Errorf("the mount's file is %q", got)
	}
	p.stop()
	m.isBack(want)
	if to, err := os.Readlink(m.home("link")); err != nil || to != "files" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

// Two mounts whose paths are one directory by different names, by a link: the second one fails, and
// the directory is not moved twice.
func TestOriginalOfTwoMounts(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "a mount path that is a link is refused there")
	t.Parallel()
	m, want := withOriginal(t)
	must(t, os.Symlink("files", m.home("link")))
	m.configure(dirStorage("store", newFolder(t)), mountTable("files", "store", `prefix = "1/"`), mountTable("link", "store", `prefix = "2/"`))
	p := m.start()
	p.waitSaid("pocket: mounted ")
	p.waitLine("that the other one is there", func(line string) bool {
		return strings.Contains(line, "is mounted already") || strings.Contains(line, "is in use by another pocket") || strings.Contains(line, "is there already")
	})
	p.interrupt()
	if code := p.wait(); code != exitError {
		t.Errorf("code %d:\n%s", code, p.said())
	}
	m.isBack(want)
}

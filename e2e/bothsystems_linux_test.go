// Linux only: a pocket of this system runs beside pocket.exe, which is in Wine.

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hamflx/pocket/e2e/standin"
)

// bothSystems is a store that machines with Windows and with Linux share.
type bothSystems struct {
	t      *testing.T
	folder string
}

func newBothSystems(t *testing.T) bothSystems {
	t.Helper()
	needWine(t)
	needMounts(t)
	return bothSystems{t, newFolder(t)}
}

// linuxPocket is pocket for this system, where the one that is tested is pocket.exe.
var linuxPocket = sync.OnceValues(func() (string, error) {
	return buildIn(filepath.Join(scratch, "linux"), "pocket", "./cmd/pocket", os.Environ())
})

// linux starts pocket on a new machine with Linux, with one mount, ~/files.
func (b bothSystems) linux() *process {
	b.t.Helper()
	program, err := linuxPocket()
	must(b.t, err)
	m := newMachine(b.t)
	m.configure(fmt.Sprintf("[storages.store]\nbackend = \"dir\"\ndir.path = '%s'\n", b.folder), mountTable("files", "store"))
	cmd := exec.Command(program)
	cmd.Env = linuxEnvironment(m.root)
	cmd.Dir = m.home()
	p := m.startCommand(cmd)
	p.waitSaid("pocket: mounted files at ")
	return p
}

// machine is a new machine with Windows, with one mount.
func (b bothSystems) machine() *machine {
	m := newMachine(b.t)
	m.configure(dirStorage("store", b.folder), mountTable("files", "store"))
	return m
}

// windows starts pocket.exe on a new machine.
func (b bothSystems) windows() (*process, *standin.Volume) {
	b.t.Helper()
	return b.machine().startVolume()
}

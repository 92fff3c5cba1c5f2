// Linux only: sd_notify.

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// supervise is the end of systemd that a service tells how it does. told returns what it says next.
func (m *machine) supervise() (env string, told func() string) {
	m.t.Helper()
	skipOnWindows(m.t, "nothing there speaks sd_notify")
	socket := filepath.Join(m.root, "notify")
	supervisor, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	must(m.t, err)
	m.t.Cleanup(func() { supervisor.Close() })
	supervisor.SetReadDeadline(time.Now().Add(patience))
	return "NOTIFY_SOCKET=" + socket, func() string {
		m.t.Helper()
		b := make([]byte, 1000)
		n, err := supervisor.Read(b)
		if err != nil {
			m.t.Fatalf("%v\n%s", err, m.log())
		}
		return string(b[:n])
	}
}

// A service of type notify is ready when its mounts can be used, says when it stops, and
// its log has what nobody was there to see.
func TestServiceWithoutTerminal(t *testing.T) {
	needMounts(t)
	m := newMachine(t)
	m.configure(mountTable("files", "memory"))
	env, told := m.supervise()
	p := m.startHidden(env)
	if got := told(); got != "READY=1\nSTATUS=1 of 1 mounts are mounted" {
		t.Fatalf("told %q", got)
	}
	writeFile(t, m.home("files", "file"), "x")
	terminate(p.cmd.Process)
	if got := told(); got != "STOPPING=1" {
		t.Fatalf("told %q", got)
	}
	p.expectEnd(exitOK)
	if log := m.log(); !strings.Contains(log, "says: mounted files at ") || strings.Contains(log, "press ENTER") {
		t.Errorf("the log is\n%s", log)
	}
}

// A service that tries again is not starting for ever.
func TestServiceIsReadyThoughNothingIsMounted(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	m.configure(mountTable("files", "memory"))
	writeFile(t, m.home("files"), "in the way")
	env, told := m.supervise()
	p := m.startHidden(env, "--retry")
	if got := told(); got != "READY=1\nSTATUS=0 of 1 mounts are mounted" {
		t.Fatalf("told %q", got)
	}
	must(t, os.Remove(m.home("files")))
	if got := told(); got != "STATUS=1 of 1 mounts are mounted" {
		t.Fatalf("told %q", got)
	}
	terminate(p.cmd.Process)
	p.expectEnd(exitOK)
}

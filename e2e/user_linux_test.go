// Linux only: it takes another user's rights, as root may.

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is an ordinary user.
const nobody = 65534

// give makes a directory and all that is in it nobody's.
func give(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}))
}

// startAsNobody starts pocket as an ordinary user. It gets a mount namespace and a /dev/fuse of its own: not every
// machine lets everybody use the other one.
func (m *machine) startAsNobody(args ...string) *process {
	t := m.t
	t.Helper()
	skipOnWindows(t, "rights are in access lists there, and Wine's prefix has one user")
	needRoot(t)
	for _, name := range []string{"unshare", "setpriv", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("no other user can be taken: ", err)
		}
	}
	must(t, os.Chmod(scratch, 0o711)) // others may pass
	device := m.path("fuse")
	if err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil && !os.IsExist(err) {
		t.Skip("no device can be made for another user: ", err)
	}
	must(t, os.Chmod(device, 0o666))
	cmd := m.command(args...)
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$1" /dev/fuse && shift && exec "$@"`, "sh", device,
		"setpriv", fmt.Sprint("--reuid=", nobody), fmt.Sprint("--regid=", nobody), "--clear-groups", "--"}, cmd.Args...)
	var err error
	cmd.Path, err = exec.LookPath("unshare")
	must(t, err)
	return m.startCommand(cmd)
}

// asNobody runs a program where a process of startAsNobody has its mounts, and returns what it writes.
func (p *process) asNobody(args ...string) string {
	p.m.t.Helper()
	user := fmt.Sprint(nobody)
	enter := []string{"--mount", "--target", fmt.Sprint(p.cmd.Process.Pid), "--setuid", user, "--setgid", user, "--"}
	said, err := exec.Command("nsenter", append(enter, args...)...).CombinedOutput()
	if err != nil {
		p.m.t.Fatalf("%q: %v: %s", args, err, said)
	}
	return string(said)
}

// An ordinary user's directory is taken in, moved aside and comes back.
func TestOrdinaryUser(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m, _ := withOriginal(t)
	writeFile(t, m.home("files", "key"), "secret")
	folder := newFolder(t)
	m.configure(dirStorage("store", folder), mountTable("files", "store", "import = true"))
	give(t, m.root)
	give(t, folder)
	want := readTree(t, m.home("files"))
	p := m.startAsNobody()
	p.waitSaid("took in ", " files, ")
	p.waitMounted("files")
	p.waitSaid("is kept as " + m.home("files"+originalSuffix))
	if got := p.asNobody("cat", m.home("files", "key")); got != "secret" {
		t.Errorf("the mount has %q", got)
	}
	p.asNobody("rm", m.home("files", "key"))
	sameTree(t, want, readTree(t, m.home("files"+originalSuffix)))
	p.interrupt()
	p.expectEnd(exitOK)
	m.isBack(want)
}

// What an ordinary user may not read or rename is one line, and stays as it is.
func TestOriginalThatTheUserMayNotMove(t *testing.T) {
	needMounts(t)
	needRoot(t)
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, m *machine, path string)
		more    string // of the mount
		say     string
	}{
		{"the directory it is in cannot be written", func(t *testing.T, m *machine, path string) {
			must(t, os.Chown(filepath.Dir(path), 0, 0))
		}, "", "make it writable, or choose another mount_path"},
		{"the same with import", func(t *testing.T, m *machine, path string) {
			must(t, os.Chown(filepath.Dir(path), 0, 0))
		}, "import = true", "make it writable, or choose another mount_path"},
		{"it is another user's, in a directory of all", func(t *testing.T, m *machine, path string) {
			for _, p := range []string{filepath.Dir(path), path, filepath.Join(path, "precious")} {
				must(t, os.Chown(p, 0, 0))
			}
			must(t, os.Chmod(path, 0o755))
			must(t, os.Chmod(filepath.Dir(path), 0o777|os.ModeSticky))
		}, "", "only owners rename: choose another mount_path"},
		{"it cannot be read", func(t *testing.T, m *machine, path string) {
			must(t, os.Chown(path, 0, 0))
		}, "", "let this user read it, or choose another mount_path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			path := m.home("in", "files")
			writeFile(t, filepath.Join(path, "precious"), "precious")
			must(t, os.Chmod(m.home("in"), 0o755))
			folder := newFolder(t)
			m.configure(dirStorage("store", folder), "[[mounts]]\nname = \"files\"\nmount_path = '"+path+"'\nstorage = \"store\"\n"+c.more+"\n")
			give(t, m.root)
			give(t, folder)
			c.prepare(t, m, path)
			want := readTree(t, m.home())
			for range 2 {
				p := m.startAsNobody()
				if code := p.wait(); code != exitError {
					t.Errorf("it ends with code %d", code)
				}
				if line := p.oneLine(); !strings.Contains(line, path) || !strings.Contains(line, c.say) {
					t.Errorf("it says: %s", line)
				}
				sameTree(t, want, readTree(t, m.home()))
			}
			if left, _ := filepath.Glob(m.data("aside", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

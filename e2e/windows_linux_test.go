// Linux only: it asks pocket.exe, in Wine, as WinFsp would, by the stand-in. So do the other windows*_linux_test.go.

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hamflx/pocket/e2e/standin"
)

// openVolume starts pocket.exe with one mount that the test asks as WinFsp would.
func openVolume(t *testing.T, config ...string) (*process, *standin.Volume) {
	t.Helper()
	needWine(t)
	m := newMachine(t)
	m.configure(config...)
	return m.startVolume()
}

// startVolume is openVolume on a machine with its configuration. The command can be
// prepared. When nobody sees what it says, the mount has begun on return, and nothing more.
func (m *machine) startVolume(prepare ...func(*exec.Cmd)) (*process, *standin.Volume) {
	m.t.Helper()
	l, err := standin.Listen()
	must(m.t, err)
	m.t.Cleanup(func() { l.Close() })
	cmd := m.command()
	cmd.Env = append(slices.Clip(cmd.Env), l.Env())
	for _, fn := range prepare {
		fn(cmd)
	}
	p := m.startCommand(cmd)
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	v, err := l.Accept(ctx)
	must(m.t, err)
	must(m.t, v.Begin(ctx))
	hide, err := v.Show(m.path("drive"))
	must(m.t, err)
	go func() {
		<-v.Wanted()
		hide()
		v.End()
	}()
	if cmd.Stderr == &p.stderr {
		p.waitSaid("pocket: mounted ")
	}
	return p, v
}

// Without WinFsp pocket says what to install and changes nothing.
func TestWithoutWinFspOnWindows(t *testing.T) {
	t.Parallel()
	needWine(t)
	m := newMachine(t)
	alone := m.path("alone", "pocket.exe") // the stand-in's library is not beside it
	must(t, os.Mkdir(m.path("alone"), 0o755))
	must(t, copyProgram(program, alone))
	m.configure(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	before := m.snapshot()
	cmd := programCommand(alone)
	cmd.Env = m.env
	p := m.startCommand(cmd)
	p.expectEnd(exitError)
	if line := p.oneLine(); !strings.Contains(line, "winget install WinFsp.WinFsp") {
		t.Errorf("%q does not say what to install", line)
	}
	m.unchanged(before)
}

// volumeHolds compares the bytes of a file.
func volumeHolds(t *testing.T, v *standin.Volume, path, want string) {
	t.Helper()
	f, err := v.Open(path)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	defer f.Close()
	got, err := f.Read(standin.DataMost, 0)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v, not %q", path, got, err, want)
	}
}

func newVolumeFile(t *testing.T, v *standin.Volume, path, body string) *standin.File {
	t.Helper()
	f, err := v.Create(path)
	must(t, err)
	must(t, f.Write([]byte(body), 0))
	return f
}

// What WinFsp is told of the mount.
func TestVolumeOnWindows(t *testing.T) {
	t.Parallel()
	p, v := openVolume(t, mountTable("files", "memory"))
	for _, option := range []string{"uid=-1", "gid=-1", "volname=files", "FileSystemName=pocket", "FileSecurity=O:S-1-5-"} {
		if !strings.Contains(","+v.Options, ","+option) {
			t.Errorf("the options are %q, without %s", v.Options, option)
		}
	}
	const caseInsensitive, statEx = 1 << 29, 1 << 23
	if want := uint32(caseInsensitive | statEx); v.Capabilities&want != want {
		t.Errorf("the capabilities are %#x, without %#x", v.Capabilities, want)
	}
	// Anything but ENOSYS would cost a look at each element of each path.
	for _, q := range []standin.Request{{Op: standin.Readlink, Path: "/"}, {Op: standin.Getxattr, Path: "/", Second: "user.x", Size: 100}} {
		if _, err := v.Call(q); !errors.Is(err, standin.ENOSYS) {
			t.Errorf("%v gives %v, not ENOSYS", q.Op, err)
		}
	}
	// A refusal of these would be shown to programs.
	for _, q := range []standin.Request{{Op: standin.Chmod, Path: "/", Mode: 0o700}, {Op: standin.Chown, Path: "/", UID: 1, GID: 1}} {
		if _, err := v.Call(q); err != nil {
			t.Errorf("%v gives %v", q.Op, err)
		}
	}
	p.stop()
}

// WinFsp goes on with the path that a file was opened by, after a rename as well.
func TestHandlesKeepTheirOldPath(t *testing.T) {
	t.Parallel()
	config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
	p, v := openVolume(t, config...)
	must(t, v.Mkdir("/dir"))
	f := newVolumeFile(t, v, "/old", "before")
	other, err := v.Open("/old")
	must(t, err)
	must(t, other.Rename("/dir/new", false))
	must(t, f.Write([]byte(" and after"), -1))
	flags, written, created := uint32(standin.Hidden|standin.Archive), standin.Time{Sec: 1e9}, standin.Time{Sec: 9e8}
	must(t, f.SetBasic(standin.Basic{Flags: &flags, Written: &written, Created: &created}))
	must(t, f.Flush())
	must(t, f.Close())
	must(t, other.Close())
	if _, err := v.Stat("/old"); !errors.Is(err, standin.ENOENT) {
		t.Errorf("the old name is still there once it is closed: %v", err)
	}
	check := func() {
		t.Helper()
		volumeHolds(t, v, "/dir/new", "before and after")
		s, err := v.Stat("/dir/new")
		must(t, err)
		if s.Flags != flags || s.Mtime != written || s.Btime != created || s.Ino == 0 {
			t.Errorf("it is %+v, not of the flags and times that were set", s)
		}
	}
	check()
	p.stop()
	p, v = openVolume(t, config...)
	check()
	p.stop()
}

// A deleted file is gone at once, and its handles go on.
func TestDeletedFilesGoOnForTheirHandles(t *testing.T) {
	t.Parallel()
	p, v := openVolume(t, mountTable("files", "memory"))
	f := newVolumeFile(t, v, "/file", "before")
	deleting, err := v.Open("/file")
	must(t, err)
	deleting.DeleteOnClose()
	must(t, deleting.Close())
	must(t, f.Write([]byte(" and after"), -1))
	if got, err := f.Read(100, 0); err != nil || string(got) != "before and after" {
		t.Errorf("after the deletion it reads %q, %v", got, err)
	}
	must(t, f.SetFlags(standin.Archive))
	must(t, f.Close())
	if _, err := v.Stat("/file"); !errors.Is(err, standin.ENOENT) {
		t.Errorf("it is still there: %v", err)
	}
	// A temporary file, as Windows programs make them.
	f = newVolumeFile(t, v, "/temporary", "x")
	f.DeleteOnClose()
	must(t, f.Close())
	root, err := v.Open("/")
	must(t, err)
	entries, err := root.List()
	must(t, err)
	must(t, root.Close())
	if len(entries) > 0 {
		t.Errorf("left: %+v", entries)
	}
	p.stop()
}

// As editors save: a new file over one that somebody has open.
func TestReplaceOpenFileOnWindows(t *testing.T) {
	t.Parallel()
	p, v := openVolume(t, mountTable("files", "memory"))
	must(t, newVolumeFile(t, v, "/document", "first version").Close())
	reader, err := v.Open("/document")
	must(t, err)
	f := newVolumeFile(t, v, "/document.tmp", "second")
	if err := f.Rename("/document", false); !errors.Is(err, standin.EEXIST) {
		t.Errorf("a rename that must not replace gives %v", err)
	}
	must(t, f.Rename("/document", true))
	must(t, f.Close())
	if got, err := reader.Read(100, 0); err != nil || string(got) != "first version" {
		t.Errorf("who had it open reads %q, %v", got, err)
	}
	must(t, reader.Close())
	volumeHolds(t, v, "/document", "second")
	f, err = v.Overwrite("/document", standin.Archive)
	must(t, err)
	must(t, f.Write([]byte("3rd"), 0))
	must(t, f.Close())
	volumeHolds(t, v, "/document", "3rd")
	p.stop()
}

// Whoever asks over the local socket is answered; pocket stop keeps what was written.
func TestStopOverTheSocketOnWindows(t *testing.T) {
	t.Parallel()
	config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
	p, v := openVolume(t, config...)
	must(t, newVolumeFile(t, v, "/file", "kept").Close())
	status := p.m.start("status")
	if code := status.wait(); code != exitOK || !strings.Contains(status.stdout.text(), "files  mounted at Z:") {
		t.Errorf("pocket status ends with %d: %s", code, status.said())
	}
	if code := p.m.start("wait").wait(); code != exitOK {
		t.Errorf("pocket wait ends with %d", code)
	}
	if code := p.m.start("stop").wait(); code != exitOK {
		t.Errorf("pocket stop ends with %d", code)
	}
	p.expectEnd(exitOK)
	p, v = openVolume(t, config...)
	volumeHolds(t, v, "/file", "kept")
	p.stop()
}

// Linux only: see windows_linux_test.go.

package e2e

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hamflx/pocket/e2e/standin"
)

// A drive, and what can be chosen of WinFsp.
func TestDriveOnWindows(t *testing.T) {
	t.Parallel()
	table := "[[mounts]]\nname = \"My, Files\"\nmount_path = \"Q:\"\nstorage = \"memory\"\n"
	p, v := openVolume(t, table, "[mounts.windows]\ninfo_timeout = \"2500ms\"\nthreads = 3")
	p.waitSaid("pocket: mounted My, Files at Q:")
	if v.Path != "Q:" {
		t.Errorf("it is mounted at %q", v.Path)
	}
	options := strings.Split(v.Options, ",")
	for _, option := range []string{"volname=My_ Files", "FileSystemName=pocket", "FileInfoTimeout=2500", "ThreadCount=3"} {
		if !slices.Contains(options, option) {
			t.Errorf("the options are %q, without %s", options, option)
		}
	}
	// One descriptor for all files, which OpenSSH accepts for keys.
	sid := regexp.MustCompile(`FileSecurity=O:(S-1-5-[0-9-]+)G:`).FindStringSubmatch(v.Options)
	if sid == nil {
		t.Fatalf("the options are %q", options)
	}
	if want := strings.ReplaceAll("FileSecurity=O:SIDG:SIDD:P(A;;FA;;;SID)(A;;FA;;;SY)(A;;FA;;;BA)", "SID", sid[1]); !slices.Contains(options, want) {
		t.Errorf("the options are %q, without %s", options, want)
	}
	must(t, newVolumeFile(t, v, "/file", "on a drive").Close())
	volumeHolds(t, v, "/FILE", "on a drive")

	other := newMachine(t)
	other.configure(table)
	q := other.start()
	if code := q.wait(); code != exitError || !strings.Contains(q.said(), "drive Q: is in use: choose another letter for mount_path") {
		t.Errorf("a second mount on the drive ends with %d: %s", code, q.said())
	}
	p.stop()
}

// A drive that pocket chooses: none that is there, none that another mount of the configuration is to
// have.
func TestFreeDriveOnWindows(t *testing.T) {
	t.Parallel()
	spared := "[[mounts]]\nname = \"spared\"\nmount_path = \"y:\"\nstorage = \"missing\"\n" +
		"[storages.missing]\nbackend = \"dir\"\n[storages.missing.dir]\npath = 'Z:\\not there'\n"
	p, v := openVolume(t, "[[mounts]]\nname = \"files\"\nmount_path = \"*\"\nstorage = \"memory\"\n", spared)
	p.waitSaid("pocket: mounted files at " + v.Path)
	if len(v.Path) != 2 || v.Path[1] != ':' || v.Path >= "Y:" || v.Path < "D:" { // Z: is there
		t.Errorf("it is mounted at %q", v.Path)
	}
	if s := p.m.status(); len(s) != 1 || s[0].Mounts[0].Path != v.Path {
		t.Errorf("status has %+v", s)
	}
	must(t, newVolumeFile(t, v, "/file", "on a drive").Close())
	volumeHolds(t, v, "/FILE", "on a drive")
	p.interrupt()
	p.expectEnd(exitError) // for the other one
}

// Windows programs work through handles: what they opened is meant, not what has its path by
// now.
func TestOpenFilesAndDirectoriesOnWindows(t *testing.T) {
	t.Parallel()
	p, v := openVolume(t, mountTable("files", "memory"))
	old := newVolumeFile(t, v, "/a", "old")
	must(t, volumeRename(v, "/a", "/b", false))
	must(t, newVolumeFile(t, v, "/a", "new").Close())
	must(t, old.Rename("/c", false))
	volumeHolds(t, v, "/a", "new")
	volumeHolds(t, v, "/c", "old")
	if _, err := v.Stat("/b"); !errors.Is(err, standin.ENOENT) {
		t.Errorf("what was renamed has its old name: %v", err)
	}
	must(t, old.Delete())
	volumeHolds(t, v, "/a", "new")
	if _, err := v.Stat("/c"); !errors.Is(err, standin.ENOENT) {
		t.Errorf("what was deleted is there: %v", err)
	}
	if got, err := old.Read(100, 0); err != nil || string(got) != "old" {
		t.Errorf("the deleted file reads %q, %v", got, err)
	}
	must(t, old.SetEnd(1))
	must(t, old.Close())
	volumeHolds(t, v, "/a", "new")

	must(t, v.Mkdir("/dir"))
	must(t, newVolumeFile(t, v, "/dir/file", "x").Close())
	dir, err := v.Open("/dir")
	must(t, err)
	must(t, dir.Rename("/folder", false))
	// By the path it was opened by. A look by that path finds nothing, and WinFsp gives no other of
	// a directory: SetFlags would report that.
	_, err = v.Call(standin.Request{Op: standin.Chflags, Path: "/dir", Handle: standin.NoHandle, Flags: standin.Hidden})
	must(t, err)
	entries, err := dir.List()
	must(t, err)
	if len(entries) != 1 || entries[0].Name != "file" {
		t.Errorf("the renamed directory has %+v", entries)
	}
	must(t, dir.Close())
	if s, err := v.Stat("/folder"); err != nil || s.Flags != standin.Hidden {
		t.Errorf("its flags are %#x, %v", s.Flags, err)
	}
	// Deleted through the handle that renamed it, as by way of a bin.
	must(t, v.Mkdir("/dir"))
	dir, err = v.Open("/dir")
	must(t, err)
	must(t, dir.Rename("/bin", false))
	must(t, v.Mkdir("/dir"))
	must(t, dir.Delete())
	must(t, dir.Close())
	if names := volumeNames(t, v, "/"); !slices.Equal(names, []string{"a", "folder", "dir"}) {
		t.Errorf("left: %q", names)
	}
	must(t, volumeDelete(v, "/dir"))

	f, err := v.Open("/folder")
	must(t, err)
	if err := f.Delete(); !errors.Is(err, standin.ENOTEMPTY) {
		t.Errorf("deleting a directory with a file in it gives %v", err)
	}
	must(t, f.Close())
	must(t, volumeDelete(v, "/Folder/FILE"))
	must(t, volumeDelete(v, "/FOLDER"))
	if names := volumeNames(t, v, "/"); !slices.Equal(names, []string{"a"}) {
		t.Errorf("left: %q", names)
	}
	p.stop()
}

// Linux only: see windows_linux_test.go.

package e2e

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hamflx/pocket/e2e/standin"
)

// What Windows knows of files that Linux does not: it is in the store, and the time of a change of content
// is the same for both.
func TestAttributesAndTimesOnWindows(t *testing.T) {
	t.Parallel()
	b := newBothSystems(t)
	p, v := b.windows()
	const all = standin.ReadOnly | standin.Hidden | standin.System | standin.Archive
	flags := uint32(all)
	created, written, changed := standin.Time{Sec: -2e9, Nsec: 5000}, standin.Time{Sec: 1e9, Nsec: 123456000}, standin.Time{Sec: 1.1e9}
	f := newVolumeFile(t, v, "/file", "x")
	if s, err := f.Stat(); err != nil || s.Flags != standin.Archive {
		t.Errorf("a new file has the flags %#x, %v", s.Flags, err)
	}
	must(t, f.SetBasic(standin.Basic{Flags: &flags, Created: &created, Written: &written}))
	must(t, f.Write([]byte("y"), -1)) // that time stays which was set while it was open
	must(t, f.SetBasic(standin.Basic{Changed: &changed}))
	must(t, f.Close())
	must(t, v.Mkdir("/dir"))
	d, err := v.Open("/dir")
	must(t, err)
	dirFlags := uint32(standin.Hidden | standin.System)
	must(t, d.SetBasic(standin.Basic{Flags: &dirFlags, Created: &created, Written: &written}))
	must(t, d.Close())
	each := map[string]uint32{"read-only": standin.ReadOnly, "hidden": standin.Hidden, "system": standin.System, "none": 0}
	for name, flag := range each {
		f := newVolumeFile(t, v, "/"+name, "x")
		must(t, f.SetFlags(flag))
		must(t, f.Close())
	}
	check := func() {
		t.Helper()
		root, err := v.Open("/")
		must(t, err)
		entries, err := root.List()
		must(t, err)
		must(t, root.Close())
		found := make(map[string]standin.Stat)
		for _, e := range entries {
			if e.Stat == nil {
				t.Fatalf("the listing has no attributes of %s", e.Name)
			}
			s, err := v.Stat("/" + e.Name)
			must(t, err)
			if s != *e.Stat {
				t.Errorf("%s is %+v, and in the listing %+v", e.Name, s, *e.Stat)
			}
			found[e.Name] = s
		}
		if s := found["file"]; s.Flags != all || s.Btime != created || s.Mtime != written || s.Size != 2 {
			t.Errorf("the file is %+v", s)
		}
		if s := found["dir"]; s.Flags != dirFlags || s.Btime != created || s.Mtime != written {
			t.Errorf("the directory is %+v", s)
		}
		for name, flag := range each {
			if s := found[name]; s.Flags != flag {
				t.Errorf("the flags of %s are %#x", name, s.Flags)
			}
		}
		if _, err := v.OpenWrite("/file"); !errors.Is(err, standin.EPERM) {
			t.Errorf("a file that is read-only can be written: %v", err)
		}
	}
	check()
	if s, err := v.Stat("/file"); err != nil || s.Ctime != changed { // until the end of the mount
		t.Errorf("the time of its last change is %v, %v", s.Ctime, err)
	}
	p.stop()
	l := b.linux()
	info, err := os.Stat(l.at("files", "file"))
	must(t, err)
	if want := time.Unix(written.Sec, written.Nsec); !info.ModTime().Equal(want) {
		t.Errorf("Linux sees %v, not %v", info.ModTime(), want)
	}
	l.stop()

	p, v = b.windows()
	check()
	// The attribute goes before the file can be written; both are told at once.
	f, err = v.Open("/file")
	must(t, err)
	must(t, f.SetFlags(0))
	must(t, f.Close())
	f, err = v.Overwrite("/file", standin.Archive|standin.Hidden)
	must(t, err)
	s, err := f.Stat()
	must(t, err)
	if s.Flags != standin.Archive|standin.Hidden || s.Size != 0 || s.Btime != created || s.Mtime == written {
		t.Errorf("overwritten it is %+v", s)
	}
	must(t, f.Close())
	p.stop()
}

// What Windows and its Explorer make for themselves is there after a restart, and on no other
// machine.
func TestSystemFilesOnWindows(t *testing.T) {
	t.Parallel()
	b := newBothSystems(t)
	m := b.machine()
	p, v := m.startVolume()
	must(t, v.Mkdir("/dir"))
	must(t, v.Mkdir("/$Recycle.Bin"))
	must(t, v.Mkdir("/$Recycle.Bin/S-1-5-21"))
	must(t, v.Mkdir("/System Volume Information"))
	local := map[string]string{"/Desktop.ini": "a", "/dir/desktop.ini": "b", "/dir/Thumbs.db": "c", "/$RECYCLE.BIN/S-1-5-21/$R1.txt": "d"}
	for path, body := range local {
		f := newVolumeFile(t, v, path, body)
		must(t, f.SetFlags(standin.Hidden|standin.System))
		must(t, f.Close())
	}
	must(t, newVolumeFile(t, v, "/dir/desktop.ini.txt", "everywhere").Close())
	must(t, newVolumeFile(t, v, "/deleted.txt", "e").Close())
	must(t, volumeRename(v, "/deleted.txt", "/$RECYCLE.BIN/S-1-5-21/$R2.txt", false))
	local["/$RECYCLE.BIN/S-1-5-21/$R2.txt"] = "e"
	p.stop()

	l := b.linux()
	if names := directoryNames(t, l.at("files")); !slices.Equal(names, []string{"dir"}) {
		t.Errorf("Linux sees %q", names)
	}
	if names := directoryNames(t, l.at("files", "dir")); !slices.Equal(names, []string{"desktop.ini.txt"}) {
		t.Errorf("Linux sees %q", names)
	}
	l.stop()

	p, v = m.startVolume()
	names := volumeNames(t, v, "/")
	slices.Sort(names)
	if !slices.Equal(names, []string{"$Recycle.Bin", "Desktop.ini", "System Volume Information", "dir"}) {
		t.Errorf("after the restart there are %q", names)
	}
	for path, body := range local {
		volumeHolds(t, v, path, body)
	}
	if s, err := v.Stat("/dir/THUMBS.DB"); err != nil || s.Flags != standin.Hidden|standin.System {
		t.Errorf("its flags are %#x, %v", s.Flags, err)
	}
	must(t, volumeRename(v, "/$RECYCLE.BIN/S-1-5-21/$R2.txt", "/back.txt", false))
	p.stop()
	l = b.linux()
	if got := readFile(t, l.at("files", "back.txt")); got != "e" {
		t.Errorf("what came back from the bin holds %q", got)
	}
	l.stop()
}

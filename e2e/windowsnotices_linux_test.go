// Linux only: see windows_linux_test.go.

package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/e2e/standin"
)

// Action bits of notices, as cgofuse passes them to WinFsp.
const (
	noticeMkdir    = 0x001
	noticeRmdir    = 0x002
	noticeCreate   = 0x004
	noticeUnlink   = 0x008
	noticeUtime    = 0x040
	noticeChflags  = 0x080
	noticeTruncate = 0x100
	noticeAltered  = noticeUtime | noticeChflags | noticeTruncate
)

// waitNotices takes notices until each path of want was told with its actions, and returns all there
// were.
func waitNotices(t *testing.T, v *standin.Volume, want map[string]uint32) map[string]uint32 {
	t.Helper()
	told := make(map[string]uint32)
	late := time.After(patience)
	for {
		missing := ""
		for path, actions := range want {
			if told[path]&actions != actions {
				missing = path
			}
		}
		if missing == "" {
			return told
		}
		select {
		case n := <-v.Notices:
			told[n.Path] |= n.Action
		case <-late:
			t.Fatalf("%s was not told, but %#x", missing, told)
		}
	}
}

// What another machine does is told to Windows, by the names that it shows.
func TestNoticesOnWindows(t *testing.T) {
	t.Parallel()
	b := newBothSystems(t)
	l := b.linux()
	for _, name := range []string{"written", "renamed", "removed", "replaced", "dir/in it", "gone/x", "con", "Same", "SAME"} {
		writeFile(t, l.at("files", name), "before")
	}
	must(t, os.Remove(l.at("files", "gone", "x")))
	l.stop()

	p, v := b.windows()
	names := volumeNames(t, v, "/") // only where somebody has looked, Windows knows of anything
	volumeNames(t, v, "/dir")
	twin := ""
	for _, name := range names {
		if len(name) > len("SAME") && name[:4] == "SAME" {
			twin = "/" + name
		}
	}

	l = b.linux()
	at := func(name string) string { return l.at("files", name) }
	writeFile(t, at("new"), "after")
	writeFile(t, at("written"), "after")
	writeFile(t, at("temporary"), "after")
	must(t, os.Rename(at("temporary"), at("replaced")))
	must(t, os.Rename(at("renamed"), at("dir/moved")))
	must(t, os.Remove(at("removed")))
	must(t, os.Mkdir(at("made"), 0o700))
	must(t, os.Remove(at("gone")))
	must(t, os.Remove(at("con")))
	must(t, os.Remove(at("SAME")))
	must(t, os.Symlink("dir/moved", at("link")))
	l.stop()

	want := map[string]uint32{
		"/new": noticeCreate, "/written": noticeAltered, "/replaced": noticeCreate | noticeAltered, "/renamed": noticeUnlink,
		"/dir/moved": noticeCreate, "/removed": noticeUnlink, "/made": noticeMkdir, "/gone": noticeRmdir,
		"/\uf063on": noticeUnlink, twin: noticeUnlink, "/link": noticeCreate,
	}
	for path, actions := range waitNotices(t, v, want) {
		expected, ok := want[path]
		switch path {
		case "/", "/dir", "/temporary", "/Same":
			continue // their times, what may have come and gone, and who alone has its name now
		case "/new", "/dir/moved", "/link", "/made":
			expected |= noticeAltered // by a second look
		case "/replaced":
			expected |= noticeUnlink
		}
		if !ok || actions&^expected != 0 {
			t.Errorf("%s was told with %#x, not %#x", path, actions, expected)
		}
	}
	for _, path := range []string{"/new", "/written", "/replaced"} {
		volumeHolds(t, v, path, "after")
	}
	volumeHolds(t, v, "/dir/moved", "before")
	volumeHolds(t, v, "/same", "before")
	for _, path := range []string{"/renamed", "/removed", "/gone", "/\uf063on", twin} {
		if _, err := v.Stat(path); !errors.Is(err, standin.ENOENT) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}

	// WinFsp was told that there are no links: one that came is a file, which can be read, renamed
	// and deleted.
	volumeHolds(t, v, "/link", "dir/moved")
	if _, err := v.OpenWrite("/link"); !errors.Is(err, standin.EPERM) {
		t.Errorf("opened to be written: %v", err)
	}
	must(t, volumeRename(v, "/link", "/dir/link", false))
	p.stop()
	l = b.linux()
	if target, err := os.Readlink(at("dir/link")); err != nil || target != "dir/moved" {
		t.Errorf("on Linux the link leads to %q, %v", target, err)
	}
	l.stop()
}

// Where Windows itself takes the first of several files away that differ in case alone, the next one
// is shown by its own name, which Windows is told.
func TestNoticesOfTwinsOnWindows(t *testing.T) {
	t.Parallel()
	b := newBothSystems(t)
	l := b.linux()
	for _, name := range []string{"Deleted", "DELETED", "Moved", "MOVED", "Saved", "SAVED", "Dir/in it"} {
		writeFile(t, l.at("files", name), name)
	}
	must(t, os.Mkdir(l.at("files", "Gone"), 0o700))
	must(t, os.Mkdir(l.at("files", "GONE"), 0o700))
	l.stop()

	p, v := b.windows()
	shown := make(map[string]string) // by the name that is the second's own
	for _, name := range volumeNames(t, v, "/") {
		if own, _, ok := strings.Cut(name, " (case conflict "); ok {
			shown[own] = "/" + name
		}
	}
	must(t, newVolumeFile(t, v, "/temporary", "new").Close())
	must(t, volumeRename(v, "/temporary", "/Saved", true))
	must(t, volumeDelete(v, "/Deleted"))
	must(t, volumeDelete(v, "/Gone"))
	must(t, volumeRename(v, "/Moved", "/Dir/Moved", false))
	told := waitNotices(t, v, map[string]uint32{
		shown["DELETED"]: noticeUnlink, "/DELETED": noticeCreate | noticeAltered,
		shown["GONE"]: noticeRmdir, "/GONE": noticeMkdir | noticeAltered,
		shown["MOVED"]: noticeUnlink, "/MOVED": noticeCreate | noticeAltered,
	})
	if len(told) != 6 {
		t.Errorf("told: %#x", told)
	}
	for path, text := range map[string]string{
		"/deleted": "DELETED", "/moved": "MOVED", "/dir/moved": "Moved", "/saved": "new", shown["SAVED"]: "SAVED",
	} {
		volumeHolds(t, v, path, text)
	}
	p.stop()
}

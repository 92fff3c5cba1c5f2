//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// When the disk of the local state is full, writers get ENOSPC, what was closed before
// stays, and all goes on when there is room again.
func TestFullDiskOfLocalState(t *testing.T) {
	needMounts(t)
	needRoot(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	// The cache may have more than there is: it is the disk that ends.
	config := []string{b.storage("store", `cache_size = "64MiB"`), mountTable("files", "store")}
	mountTmpfs(t, dataHome(m.root), 48<<20)
	ballast := filepath.Join(dataHome(m.root), "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p := m.up(config...)
	before := b.answered()
	writeFile(t, p.at("files", "first"), "first")
	b.waitPut(before, "index/updates/")
	b.Stop() // from here on nothing can leave

	want := make(files)
	fill := func(upTo int) error {
		t.Helper()
		for i := range upTo {
			name, body := fmt.Sprint("file ", len(want)), payload(uint64(len(want)), 700_000)
			if err := pieces(p.at("files", name), os.O_CREATE|os.O_EXCL, 0, body); err != nil {
				if i == 0 && upTo > 100 {
					t.Fatalf("the first write fails: %v", err)
				}
				return err
			}
			want[name] = body
		}
		return nil
	}
	check := func() {
		t.Helper()
		for name, body := range want {
			got, err := freshFile(p.at("files", name))
			if err != nil || string(got) != string(body) {
				t.Fatalf("%s was closed before the disk was full: %d of %d bytes, %v", name, len(got), len(body), err)
			}
		}
	}
	// remove removes the file that did not fit, for which there is always room.
	remove := func() {
		t.Helper()
		if err := os.Remove(p.at("files", fmt.Sprint("file ", len(want)))); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := fill(1000); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing to a full disk gives %v, not ENOSPC", err)
	}
	if len(want) < 10 {
		t.Errorf("only %d files fit", len(want))
	}
	check()
	// Now there is not a byte left, and names can be changed and removed all the same.
	fillUp(t, filepath.Join(dataHome(m.root), "rest"))
	remove()
	for range 5 {
		last := fmt.Sprint("file ", len(want)-1)
		if err := os.Rename(p.at("files", last), p.at("files", "renamed")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(p.at("files", "renamed")); err != nil {
			t.Fatal(err)
		}
		delete(want, last)
	}
	check()
	for _, path := range []string{ballast, filepath.Join(dataHome(m.root), "rest")} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	// The file that did not fit may be there, empty or in part; it can be written now.
	remove()
	if err := fill(5); err != nil {
		t.Fatalf("there is room again, but: %v", err)
	}
	if err := fill(1000); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing to a full disk gives %v, not ENOSPC", err)
	}
	check()
	remove()

	// A process that dies with a full disk: the next one has it all.
	p.kill()
	p = m.restart()
	check()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p = newMachine(t).up(config...)
	check()
	for _, name := range dirNames(t, p.at("files")) {
		if _, ok := want[name]; !ok && name != "first" {
			t.Errorf("%s was removed", name)
		}
	}
	p.stop()
}

// fillUp makes a file that takes what is left of a disk.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// What is in the store already makes room on a disk that is full.
func TestCacheGivesRoomOnFullDisk(t *testing.T) {
	needMounts(t)
	needRoot(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	mountTmpfs(t, dataHome(m.root), 32<<20)
	p := m.up(b.storage("store"), mountTable("files", "store", `mode = "sync"`))
	const files = 100 // twice what the disk holds
	for i := range files {
		if err := pieces(p.at("files", fmt.Sprint("file ", i)), os.O_CREATE|os.O_EXCL, 0, payload(uint64(i), 700_000)); err != nil {
			t.Fatalf("file %d, with all before it in the store: %v", i, err)
		}
	}
	for i := range files {
		if got, err := freshFile(p.at("files", fmt.Sprint("file ", i))); err != nil || string(got) != string(payload(uint64(i), 700_000)) {
			t.Fatalf("file %d reads %d bytes, %v", i, len(got), err)
		}
	}
	p.stop()
}

// A start with a full disk is one line, and nothing is written.
func TestStartWithFullDisk(t *testing.T) {
	needMounts(t)
	needRoot(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	m.configure(b.storage("store"), mountTable("bad", "store"))
	mountTmpfs(t, dataHome(m.root), 64<<10)
	fillUp(t, filepath.Join(dataHome(m.root), "ballast"))
	p := m.start()
	if code := p.wait(); code != exitError {
		t.Errorf("it ends with code %d, not %d", code, exitError)
	}
	lines := p.stderr.lines()
	if len(lines) == 0 || len(lines) > 2 { // the log has a line of its own
		t.Fatalf("not one line:\n%s", indent(p.said()))
	}
	last := lines[len(lines)-1]
	for _, part := range []string{"pocket: ", "bad", "free some space", native(dataHome(m.root))} {
		if !strings.Contains(last, part) {
			t.Errorf("%q does not say %q", last, part)
		}
	}
	if objects := b.contents(); len(objects) > 0 {
		t.Errorf("written into the bucket: %d objects", len(objects))
	}
	if err := unix.Unmount(dataHome(m.root), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
}

// Without FUSE pocket says what to do and changes nothing.
func TestWithoutFUSE(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "TestWithoutWinFspOnWindows is Windows' own")
	needRoot(t)
	t.Parallel()
	m := newMachine(t)
	b := newBucket(t)
	m.configure(b.storage("store"), mountTable("files", "store"))
	before := m.snapshot()
	cmd := childCommand("without", program)
	cmd.Env = append([]string{asChild + "=without"}, m.env...)
	p := m.startCommand(cmd)
	p.expectEnd(exitError)
	line := p.oneLine()
	if !strings.Contains(line, "/dev/fuse") || !strings.Contains(line, "modprobe") {
		t.Errorf("%q does not say what is missing and what to do", line)
	}
	m.unchanged(before)
	if requests := b.answered(); requests > 0 {
		t.Errorf("it made %d requests", requests)
	}
}

//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	children["append"] = appender
	children["map"] = mapper
}

// The rules of POSIX, through a real mount. What the cases leave behind must be the
// same after a restart and on another machine.
func TestPOSIX(t *testing.T) {
	needMounts(t)
	t.Parallel()
	config := []string{dirStorage("store", newFolder(t)), mountTable("files", "store")}
	m := newMachine(t)
	p := m.up(config...)
	t.Run("cases", func(t *testing.T) { posix(t, p.at("files"), false) })
	left := readTree(t, p.at("files"))
	p.stop()
	if t.Failed() {
		return
	}
	p = m.restart()
	sameTree(t, left, readTree(t, p.at("files")))
	p.stop()
	p = newMachine(t).up(config...)
	sameTree(t, left, readTree(t, p.at("files")))
	p.stop()
}

// The cases are right about POSIX when this system's own file system passes them.
func TestPOSIXCasesAgainstPlainDirectory(t *testing.T) {
	skipOnWindows(t, "the plain directory is Linux'")
	t.Parallel()
	posix(t, newFolder(t), true)
}

// posix runs the cases, each in a directory of its own.
func posix(t *testing.T, root string, plain bool) {
	for _, c := range []struct {
		name  string
		run   func(t *testing.T, dir string)
		posix string // why it is a case of POSIX alone
	}{
		{"unlink of open file", unlinkOpen, ""},
		{"rename over open file", renameOverOpen, ""},
		{"rename", renames, ""},
		{"rename of directory with open files", renameOpenDir, ""},
		{"append from two processes", appendTwice, ""},
		{"truncate", truncates, ""},
		{"sparse", sparse, ""},
		{"write at any offset", anyOffset, ""},
		{"mmap", mapShared, ""},
		{"symlink", symlinkCases, "a mount without symbolic links has none to be made"},
		{"mode and owner", modes, "Windows has one bit for who may write"},
		{"times", times, ""},
		{"readdir while names change", readdirChanging, ""},
		{"names", namesOfAllSorts, "Windows' rules for names are others"},
		{"directories", directories, ""},
		{"special files", special, "Windows has none"},
		{"open flags", openFlags, ""},
		{"errors", errorCases, ""},
		{"fsync", fsyncs, ""},
		{"exchange and no replace", renameFlags, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.posix != "" {
				skipOnWindows(t, c.posix)
			}
			dir := filepath.Join(root, c.name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			c.run(t, dir)
		})
	}
	if plain {
		return
	}
	t.Run("hard link", func(t *testing.T) {
		skipOnWindows(t, "WinFsp asks no file system for them")
		writeFile(t, filepath.Join(root, "a"), "a")
		fails(t, os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")), syscall.EPERM)
	})
	t.Run("statfs", func(t *testing.T) {
		var st unix.Statfs_t
		must(t, unix.Statfs(root, &st))
		if st.Namelen != 255 || st.Bavail == 0 || st.Blocks < st.Bavail {
			t.Errorf("statfs says %+v", st)
		}
	})
}

func fails(t *testing.T, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("gives %v, not %v", err, want)
	}
}

func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", path, err)
	}
}

// holds compares a file's bytes and size.
func holds(t *testing.T, path, want string) {
	t.Helper()
	if got := readFile(t, path); got != want {
		t.Errorf("%s holds %d bytes %.60q, not %d bytes %.60q; the first %d are right", filepath.Base(path), len(got), got, len(want), want, common([]byte(got), []byte(want)))
	}
	if info, err := os.Stat(path); err != nil || info.Size() != int64(len(want)) {
		t.Errorf("%s: stat says %v, %v", filepath.Base(path), info, err)
	}
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o644)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// at reads all of an open file.
func allOf(t *testing.T, f *os.File) string {
	t.Helper()
	body, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	must(t, err)
	return string(body)
}

func unlinkOpen(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	writeFile(t, path, "before")
	f := open(t, path, os.O_RDWR)
	second := open(t, path, os.O_RDONLY)
	must(t, os.Remove(path))
	gone(t, path)
	if names := dirNames(t, dir); len(names) > 0 {
		t.Errorf("the directory shows %q", names)
	}
	if got := allOf(t, f); got != "before" {
		t.Errorf("reading after the unlink gives %q", got)
	}
	_, err := f.WriteAt([]byte(" and after"), 6)
	must(t, err)
	if got := allOf(t, second); got != "before and after" {
		t.Errorf("another handle reads %q", got)
	}
	must(t, f.Truncate(3))
	info, err := f.Stat()
	must(t, err)
	if info.Size() != 3 {
		t.Errorf("after the truncate the size is %d", info.Size())
	}
	if n := info.Sys().(*syscall.Stat_t).Nlink; n != 0 && n != 1 {
		t.Errorf("it has %d links", n)
	}
	must(t, f.Chmod(0o600))
	must(t, f.Sync())
	// The name is free, and what is made there is another file.
	writeFile(t, path, "new")
	if got := allOf(t, f); got != "bef" {
		t.Errorf("the old file reads %q", got)
	}
	must(t, f.Close())
	must(t, second.Close())
	holds(t, path, "new")
	// The directory of an unlinked open file can go.
	sub := filepath.Join(dir, "sub")
	must(t, os.Mkdir(sub, 0o755))
	g := open(t, filepath.Join(sub, "file"), os.O_RDWR|os.O_CREATE)
	must(t, os.Remove(filepath.Join(sub, "file")))
	must(t, os.Remove(sub))
	_, err = g.Write([]byte("still"))
	must(t, err)
	if got := allOf(t, g); got != "still" {
		t.Errorf("a file whose directory is gone reads %q", got)
	}
}

func renameOverOpen(t *testing.T, dir string) {
	target, source := filepath.Join(dir, "target"), filepath.Join(dir, "source")
	writeFile(t, target, "old")
	writeFile(t, source, "new")
	f := open(t, target, os.O_RDWR)
	g := open(t, source, os.O_RDWR)
	must(t, os.Rename(source, target))
	gone(t, source)
	holds(t, target, "new")
	_, err := f.WriteAt([]byte("er and older"), 3)
	must(t, err)
	if got := allOf(t, f); got != "older and older" {
		t.Errorf("the file that was replaced reads %q", got)
	}
	_, err = g.WriteAt([]byte("er"), 3)
	must(t, err)
	must(t, g.Close())
	must(t, f.Close())
	holds(t, target, "newer")
	// As editors save.
	for i := range 5 {
		writeFile(t, target+".tmp", fmt.Sprint("version ", i))
		must(t, os.Rename(target+".tmp", target))
	}
	holds(t, target, "version 4")
}

// appender appends numbered lines to a file, opened anew for some of them.
func appender(args []string) error {
	who, lines := args[1], args[2]
	n, err := strconv.Atoi(lines)
	if err != nil {
		return err
	}
	var f *os.File
	for i := range n {
		if i%50 == 0 {
			if f != nil {
				if err := f.Close(); err != nil {
					return err
				}
			}
			if f, err = os.OpenFile(args[0], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(f, "%s %06d %s\n", who, i, strings.Repeat(who, i%90)); err != nil {
			return err
		}
	}
	return f.Close()
}

func appendTwice(t *testing.T, dir string) {
	path := filepath.Join(dir, "log")
	const lines = 400
	one, two := startChild(t, "append", path, "a", fmt.Sprint(lines)), startChild(t, "append", path, "b", fmt.Sprint(lines))
	one.finish()
	two.finish()
	next := map[string]int{}
	for line := range strings.Lines(readFile(t, path)) {
		who, _, _ := strings.Cut(line, " ")
		i := next[who]
		if want := fmt.Sprintf("%s %06d %s\n", who, i, strings.Repeat(who, i%90)); line != want {
			t.Fatalf("line %d of %s is %q", i, who, line)
		}
		next[who]++
	}
	if next["a"] != lines || next["b"] != lines {
		t.Errorf("lines are %v, not %d each", next, lines)
	}
}

func truncates(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	body := string(payload(1, 9<<20)) // more than two chunks
	writeFile(t, path, body)
	for _, size := range []int64{9<<20 - 1, 8 << 20, 5<<20 + 17, 4 << 20, 4096, 100, 0} {
		must(t, os.Truncate(path, size))
		holds(t, path, body[:size])
	}
	writeFile(t, path, body[:1000])
	must(t, os.Truncate(path, 5<<20))
	holds(t, path, body[:1000]+string(make([]byte, 5<<20-1000)))
	must(t, os.Truncate(path, 500))
	must(t, os.Truncate(path, 2000)) // what was cut off does not come back
	holds(t, path, body[:500]+string(make([]byte, 1500)))

	f := open(t, path, os.O_RDWR)
	_, err := f.WriteAt([]byte("open"), 1998)
	must(t, err)
	must(t, f.Truncate(2001))
	must(t, os.Truncate(path, 2000))
	must(t, f.Truncate(2002))
	if got := allOf(t, f); got != body[:500]+string(make([]byte, 1498))+"op\x00\x00" {
		t.Errorf("an open file that was truncated from both sides holds %d bytes, at the end %q", len(got), got[len(got)-8:])
	}
	fails(t, syscall.Truncate(path, -1), syscall.EINVAL)
	fails(t, os.Truncate(dir, 0), syscall.EISDIR)
	fails(t, os.Truncate(path+"x", 0), syscall.ENOENT)
}

func sparse(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	f := open(t, path, os.O_RDWR|os.O_CREATE)
	const far = 10<<30 + 12345
	_, err := f.WriteAt([]byte("far"), far)
	must(t, err)
	_, err = f.WriteAt([]byte("near"), 100)
	must(t, err)
	check := func() {
		t.Helper()
		info, err := f.Stat()
		must(t, err)
		if info.Size() != far+3 {
			t.Errorf("the size is %d", info.Size())
		}
		if blocks := info.Sys().(*syscall.Stat_t).Blocks; blocks == 0 {
			t.Error("no blocks: tar takes such a file for one big hole")
		}
		buf := make([]byte, 200)
		_, err = f.ReadAt(buf, 50)
		must(t, err)
		if want := append(append(make([]byte, 50), "near"...), make([]byte, 146)...); !bytes.Equal(buf, want) {
			t.Errorf("at 50 it reads %q", buf)
		}
		for _, off := range []int64{1 << 20, 5 << 30, far - 200} {
			_, err = f.ReadAt(buf, off)
			must(t, err)
			if !bytes.Equal(buf, make([]byte, 200)) {
				t.Errorf("the hole at %d reads %q", off, buf)
			}
		}
		n, err := f.ReadAt(buf, far)
		if n != 3 || err != io.EOF || string(buf[:3]) != "far" {
			t.Errorf("at the end it reads %d bytes, %v, %q", n, err, buf[:n])
		}
	}
	check()
	must(t, f.Close())
	f = open(t, path, os.O_RDONLY)
	check()
	must(t, os.Truncate(path, 5000)) // or comparing takes long
}

func anyOffset(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	f := open(t, path, os.O_RDWR|os.O_CREATE)
	var model []byte
	const chunk = 4 << 20
	for i, at := range []struct{ off, n int }{{0, 10}, {chunk - 5, 10}, {chunk, 4096}, {2*chunk - 1, 2}, {100, 70_000}, {chunk / 2, chunk}, {3, 1}, {2 * chunk, 0}, {2*chunk + 777, 300_001}, {0, 4096}} {
		body := payload(uint64(i), at.n)
		n, err := f.WriteAt(body, int64(at.off))
		if n != at.n || err != nil {
			t.Fatalf("write of %d at %d: %d, %v", at.n, at.off, n, err)
		}
		if end := at.off + at.n; at.n > 0 && end > len(model) {
			model = append(model, make([]byte, end-len(model))...)
		}
		copy(model[min(at.off, len(model)):], body)
		if i == 5 {
			must(t, f.Sync())
		}
		if got := allOf(t, f); got != string(model) {
			t.Fatalf("after write %d: %d bytes, %d are right, should be %d", i, len(got), common([]byte(got), model), len(model))
		}
	}
	must(t, f.Close())
	holds(t, path, string(model))
	g := open(t, path, os.O_RDWR) // again, on committed chunks
	copy(model[chunk-2:], "over the border")
	_, err := g.WriteAt([]byte("over the border"), chunk-2)
	must(t, err)
	must(t, g.Close())
	holds(t, path, string(model))
}

// mapper maps a file, changes its bytes through the mapping and tells what it sees.
func mapper(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := 0; i < len(mem); i += 5000 {
		mem[i] ^= 0xff
	}
	if err := unix.Msync(mem, unix.MS_SYNC); err != nil {
		return err
	}
	for i := 1; i < len(mem); i += 5000 { // these are written back by munmap and close
		mem[i] ^= 0xff
	}
	return errors.Join(unix.Munmap(mem), f.Close())
}

func mapShared(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	body := payload(4, 5<<20)
	writeFile(t, path, string(body))
	startChild(t, "map", path).finish()
	for i := 0; i < len(body); i += 5000 {
		body[i] ^= 0xff
	}
	for i := 1; i < len(body); i += 5000 {
		body[i] ^= 0xff
	}
	holds(t, path, string(body))
	// Two mappings of two files opened twice see each other.
	f, g := open(t, path, os.O_RDWR), open(t, path, os.O_RDWR)
	one, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	two, err := unix.Mmap(int(g.Fd()), 0, 8192, unix.PROT_READ, unix.MAP_SHARED)
	must(t, err)
	copy(one[4090:], "across a page")
	if got := string(two[4090:4103]); got != "across a page" {
		t.Errorf("the other mapping shows %q", got)
	}
	must(t, unix.Munmap(one))
	must(t, unix.Munmap(two))
	must(t, f.Close())
	must(t, g.Close())
	copy(body[4090:], "across a page")
	holds(t, path, string(body))
}

func openFlags(t *testing.T, dir string) {
	path := filepath.Join(dir, "file")
	_, err := os.OpenFile(path, os.O_RDWR, 0)
	fails(t, err, syscall.ENOENT)
	f := open(t, path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	_, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
	fails(t, err, syscall.EEXIST)
	_, err = f.WriteString("some content")
	must(t, err)
	g := open(t, path, os.O_TRUNC|os.O_WRONLY)
	if got := allOf(t, f); got != "" {
		t.Errorf("after O_TRUNC the other handle reads %q", got)
	}
	_, err = g.WriteString("new")
	must(t, err)
	must(t, g.Close())
	must(t, f.Close())
	holds(t, path, "new")
	// O_TRUNC alone is a change.
	open(t, path, os.O_TRUNC|os.O_RDWR).Close()
	holds(t, path, "")
	a := open(t, path, os.O_APPEND|os.O_RDWR)
	b := open(t, path, os.O_RDWR)
	for i := range 3 {
		_, err = a.WriteString("a")
		must(t, err)
		info, err := b.Stat()
		must(t, err)
		_, err = b.WriteAt([]byte("b"), info.Size())
		must(t, err)
		if got := allOf(t, a); got != strings.Repeat("ab", i+1) {
			t.Errorf("appending and writing in turn gives %q", got)
		}
	}
	r := open(t, path, os.O_RDONLY)
	_, err = r.WriteString("x")
	fails(t, err, syscall.EBADF)
	_, err = open(t, path, os.O_WRONLY).Read(make([]byte, 1))
	fails(t, err, syscall.EBADF)
	_, err = os.OpenFile(dir, os.O_WRONLY, 0)
	fails(t, err, syscall.EISDIR)
	_, err = os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	fails(t, err, syscall.ENOTDIR)
}

func fsyncs(t *testing.T, dir string) {
	f := open(t, filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE)
	for i := range 10 {
		_, err := f.WriteString(strings.Repeat("x", i*1000))
		must(t, err)
		must(t, f.Sync())
		must(t, unix.Fdatasync(int(f.Fd())))
	}
	d := open(t, dir, os.O_RDONLY)
	must(t, d.Sync())
	must(t, f.Close())
	holds(t, filepath.Join(dir, "file"), strings.Repeat("x", 45_000))
}

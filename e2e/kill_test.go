//go:build linux || windows

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// change is one operation of a writer on a file of its directory. It is done when
// the writer's close, rename, unlink or mkdir has returned.
type change struct {
	op   string // write, append, patch, rename, unlink, mkdir, rmdir
	name string
	to   string // of rename
	off  int    // of patch
	size int    // of what is written
	seed uint64 // of what is written
}

func (c change) String() string {
	return fmt.Sprintf("%s %s %s %d %d %d", c.op, c.name, orDash(c.to), c.off, c.size, c.seed)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func parseChange(line string) (c change, err error) {
	_, err = fmt.Sscanf(line, "%s %s %s %d %d %d", &c.op, &c.name, &c.to, &c.off, &c.size, &c.seed)
	return c, err
}

// do makes the change in a directory.
func (c change) do(dir string) error {
	path := filepath.Join(dir, c.name)
	body := payload(c.seed, c.size)
	switch c.op {
	case "write":
		return pieces(path, os.O_CREATE|os.O_TRUNC, 0, body)
	case "append":
		return pieces(path, os.O_APPEND, 0, body)
	case "patch":
		return pieces(path, 0, int64(c.off), body)
	case "rename":
		return os.Rename(path, filepath.Join(dir, c.to))
	case "mkdir":
		return os.Mkdir(path, 0o755)
	default:
		return os.Remove(path)
	}
}

// pieces opens a file, writes body in several calls and closes it.
func pieces(path string, flags int, off int64, body []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	for len(body) > 0 {
		n := min(len(body), 60_000)
		if flags&os.O_APPEND != 0 {
			_, err = f.Write(body[:n])
		} else {
			_, err = f.WriteAt(body[:n], off)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
		off, body = off+int64(n), body[n:]
	}
	return f.Close()
}

// files is what a writer's directory holds: nil for a directory in it.
type files map[string][]byte

// apply makes the change in the model.
func (c change) apply(f files) {
	body := payload(c.seed, c.size)
	switch c.op {
	case "write":
		f[c.name] = body
	case "append":
		f[c.name] = slices.Concat(f[c.name], body)
	case "patch":
		old := f[c.name]
		merged := make([]byte, max(len(old), c.off+len(body)))
		copy(merged, old)
		copy(merged[c.off:], body)
		f[c.name] = merged
	case "rename":
		f[c.to] = f[c.name]
		delete(f, c.name)
	case "mkdir":
		f[c.name] = nil
	default:
		delete(f, c.name)
	}
}

// writer makes changes in a directory until one fails, and says before each what it
// will do ("> CHANGE") and afterwards that it is done ("<").
func writer(args []string) error {
	dir := args[0]
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 2))
	have := make(map[string]bool) // files; directories are d0 to d2
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	dirs := make(map[string]bool)
	for _, e := range entries {
		if e.IsDir() {
			dirs[e.Name()] = true
		} else {
			have[e.Name()] = true
		}
	}
	out := bufio.NewWriter(os.Stdout)
	for {
		c := change{op: "write", name: fmt.Sprintf("f%d", random.IntN(12)), size: random.IntN(40_000), seed: random.Uint64()}
		if random.IntN(40) == 0 {
			c.size = 3<<20 + random.IntN(4<<20) // one to two chunks
		}
		old := sortedKeys(have)
		switch pick := random.IntN(10); {
		case pick < 4 || len(old) < 3:
		case pick < 5:
			c.op, c.name = "append", old[random.IntN(len(old))]
		case pick < 6:
			c.op, c.name, c.off = "patch", old[random.IntN(len(old))], random.IntN(50_000)
		case pick < 8:
			c.op, c.to = "rename", c.name
			if c.name = old[random.IntN(len(old))]; c.name == c.to {
				continue
			}
		case pick < 9:
			c.op, c.name = "unlink", old[random.IntN(len(old))]
		default:
			c.op, c.name = "mkdir", fmt.Sprintf("d%d", random.IntN(3))
			if dirs[c.name] {
				c.op = "rmdir"
			}
		}
		fmt.Fprintln(out, ">", c)
		out.Flush()
		if err := c.do(dir); err != nil {
			fmt.Fprintln(out, "!", err)
			out.Flush()
			return nil
		}
		fmt.Fprintln(out, "<")
		out.Flush()
		switch c.op {
		case "write":
			have[c.name] = true
		case "rename":
			delete(have, c.name)
			have[c.to] = true
		case "unlink":
			delete(have, c.name)
		case "mkdir":
			dirs[c.name] = true
		case "rmdir":
			delete(dirs, c.name)
		}
	}
}

func sortedKeys(m map[string]bool) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// record is what a writer did, as the test knows it.
type record struct {
	dir   string
	files files   // after all that is done
	open  *change // begun and perhaps done
}

// follow takes in what a writer says until it ends.
func (r *record) follow(t *testing.T, line string) (done bool) {
	switch {
	case line == "<":
		r.open.apply(r.files)
		r.open = nil
		return true
	case strings.HasPrefix(line, "> "):
		c, err := parseChange(line[2:])
		if err != nil {
			t.Fatalf("a writer says %q: %v", line, err)
		}
		r.open = &c
	}
	return false
}

// check compares the directory with what must be there, and takes over what became
// of the change that was under way.
func (r *record) check(t *testing.T) {
	t.Helper()
	got := readFiles(t, r.dir)
	want := r.files
	if r.open != nil {
		c := *r.open
		after := make(files)
		for name, body := range want {
			after[name] = body
		}
		c.apply(after)
		switch c.op {
		case "write", "append", "patch":
			// The file was open: old, new, or something in between.
			if body, ok := got[c.name]; ok {
				after[c.name] = body
			} else {
				delete(after, c.name)
				if _, ok := want[c.name]; ok {
					t.Errorf("%s: %s was being written and is gone", r.dir, c.name)
				}
			}
			want = after
		default:
			if differ(after, got) == "" {
				want = after
			}
		}
	}
	if difference := differ(want, got); difference != "" {
		t.Fatalf("%s: %s (under way: %v)", r.dir, difference, r.open)
	}
	r.files, r.open = want, nil
}

// differ tells the first difference between two directories.
func differ(want, got files) string {
	for _, name := range sortedNames(want, got) {
		w, inWant := want[name]
		g, inGot := got[name]
		switch {
		case inWant && !inGot:
			return fmt.Sprintf("%s with %d bytes is missing", name, len(w))
		case !inWant:
			return fmt.Sprintf("%s with %d bytes should not be there", name, len(g))
		case (w == nil) != (g == nil):
			return fmt.Sprintf("%s is of the wrong kind", name)
		case !bytes.Equal(w, g):
			return fmt.Sprintf("%s has wrong content: %d bytes, not %d; the first %d are right", name, len(g), len(w), common(w, g))
		}
	}
	return ""
}

func common(a, b []byte) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func sortedNames(a, b files) (names []string) {
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func readFiles(t *testing.T, dir string) files {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(files)
	for _, e := range entries {
		if e.IsDir() {
			all[e.Name()] = nil
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = append([]byte{}, body...)
	}
	return all
}

// runWriters lets writers work in their directories until all together have done
// enough changes, then calls kill and waits for them to end. Before that no change may
// fail.
func runWriters(t *testing.T, records []*record, seed uint64, enough int, kill func()) {
	t.Helper()
	type said struct {
		who  int
		line string
	}
	lines := make(chan said, 1024)
	for i, r := range records {
		if err := os.Mkdir(r.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		c := startChild(t, "writer", r.dir, fmt.Sprint(seed*100+uint64(i)))
		go func() {
			for line := range c.lines {
				lines <- said{i, line}
			}
			lines <- said{i, ""}
		}()
	}
	var failed []string
	for done, running := 0, len(records); running > 0; {
		s := <-lines
		switch {
		case s.line == "":
			running--
		case strings.HasPrefix(s.line, "! "):
			if done < enough {
				failed = append(failed, s.line)
				if len(failed) == 1 {
					kill() // or the others would never end
					done = enough
				}
			}
		case records[s.who].follow(t, s.line):
			if done++; done == enough {
				kill()
			}
		}
	}
	if len(failed) > 0 {
		t.Fatalf("before pocket was killed: %s", failed[0])
	}
}

// After kill -9 at a random moment, everything that was done is there: with the store
// in reach, without it, and later in the bucket.
func TestKillLosesNothing(t *testing.T) {
	needMounts(t)
	t.Parallel()
	seed := rand.Uint64N(1 << 32)
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBucket(t)
	m := newMachine(t)
	config := []string{b.storage("store"), mountTable("files", "store")}
	p := m.up(config...)
	records := make([]*record, 4)
	for i := range records {
		records[i] = &record{dir: p.at("files", fmt.Sprintf("writer %d", i)), files: make(files)}
	}
	for round, away := range []bool{false, false, true, false, true, false, false} {
		enough := 1 + random.IntN(300)
		if away {
			b.Stop()
		}
		runWriters(t, records, seed+uint64(round), enough, p.kill)
		if _, err := os.ReadDir(p.at("files")); err == nil {
			t.Fatal("the mount answers although its process was killed")
		}
		p = m.restart() // clears the dead mount away
		for _, r := range records {
			r.check(t)
		}
		if away {
			if err := b.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.stop()

	p = newMachine(t).up(config...)
	for _, r := range records {
		r.dir = p.at("files", filepath.Base(r.dir))
		r.check(t)
	}
	p.stop()
}

// A fsynced file that is still open has survived kill -9, too.
func TestFsyncSurvivesKill(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	f, err := os.Create(p.at("files", "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want []byte
	for i := range 20 {
		line := payload(uint64(i), 1000+i*30_000)
		want = append(want, line...)
		if _, err := f.Write(line); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	p.kill()
	p = m.restart()
	if got := readFile(t, p.at("files", "log")); got != string(want) {
		t.Errorf("%d bytes were fsynced, %d are there, the first %d are right", len(want), len(got), common(want, []byte(got)))
	}
	p.stop()
}

// What the writers do and what the test makes of it agree on a plain directory.
func TestWritersAgainstPlainDirectory(t *testing.T) {
	t.Parallel()
	root := newFolder(t)
	before, after := filepath.Join(root, "before"), filepath.Join(root, "after")
	if err := os.Mkdir(before, 0o755); err != nil {
		t.Fatal(err)
	}
	records := []*record{{dir: filepath.Join(before, "0"), files: make(files)}, {dir: filepath.Join(before, "1"), files: make(files)}}
	runWriters(t, records, rand.Uint64(), 1500, func() {
		if err := os.Rename(before, after); err != nil {
			t.Error(err)
		}
	})
	for _, r := range records {
		r.dir = filepath.Join(after, filepath.Base(r.dir))
		if len(r.files) < 3 {
			t.Errorf("%d files are left only", len(r.files))
		}
		r.check(t)
	}
}

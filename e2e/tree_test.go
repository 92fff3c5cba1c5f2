//go:build linux || windows

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry is what a file is to those who compare trees.
type entry struct {
	mode    fs.FileMode
	size    int64
	content string // hash of a file's bytes, target of a symbolic link
	mtime   int64  // microseconds since 1970, what Pocket keeps
	owner   string
}

func (e entry) String() string {
	return fmt.Sprintf("%v %s %d bytes, changed %s, content %.16s", e.mode, e.owner, e.size, time.UnixMicro(e.mtime).UTC().Format("2006-01-02 15:04:05.000000"), e.content)
}

// readTree returns all that lies below dir, by path.
func readTree(t *testing.T, dir string) map[string]entry {
	t.Helper()
	tree := make(map[string]entry)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{mode: shownMode(info.Mode()), mtime: info.ModTime().UnixMicro(), owner: owner(info)}
		switch {
		case info.IsDir(): // of a second, the document may have the end
			e.mtime -= e.mtime % 1e6
		case info.Mode().IsRegular():
			e.size = info.Size()
			if e.content, err = hashFile(path); err != nil {
				return err
			}
		case info.Mode()&fs.ModeSymlink != 0:
			if e.content, err = os.Readlink(path); err != nil {
				return err
			}
			if e.mode&fs.ModePerm != 0 { // a link's own rights mean nothing
				e.mode |= fs.ModePerm
			}
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		tree[filepath.ToSlash(rel)] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err != nil {
		return "", err
	}
	// A file whose size and bytes disagree is not what it seems.
	info, err := f.Stat()
	if err == nil && info.Size() != n {
		err = fmt.Errorf("%s: size is %d but %d bytes can be read", path, info.Size(), n)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// sameTree compares two trees and tells the first differences.
func sameTree(t *testing.T, want, got map[string]entry) {
	t.Helper()
	var differences []string
	for _, path := range slices.Sorted(maps.Keys(want)) {
		w := want[path]
		g, ok := got[path]
		switch {
		case !ok:
			differences = append(differences, fmt.Sprintf("%s is missing (%v)", path, w))
		case g != w:
			differences = append(differences, fmt.Sprintf("%s\n\t\tis     %v\n\t\tnot    %v", path, g, w))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok {
			differences = append(differences, fmt.Sprintf("%s should not be there (%v)", path, got[path]))
		}
	}
	if n := len(differences); n > 0 {
		t.Fatalf("%d of %d files differ:\n\t%s", n, len(want), strings.Join(differences[:min(n, 12)], "\n\t"))
	}
}

// payload returns n bytes that follow from the seed and do not compress.
func payload(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

// writeTree makes a tree of files of all sorts that follows from the seed, with about
// n files: empty ones, small ones, a few of several chunks, executables, links, names
// with spaces and of many alphabets, and times of the past.
func writeTree(t *testing.T, dir string, seed uint64, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	dirs := []string{dir}
	for range n / 20 {
		d := filepath.Join(dirs[random.IntN(len(dirs))], "dir "+name(random))
		if err := os.Mkdir(d, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		dirs = append(dirs, d)
	}
	sizes := []int{0, 1, 100, 1000, 4096, 10_000, 70_000}
	for i := range n {
		path := filepath.Join(dirs[random.IntN(len(dirs))], fmt.Sprintf("%s.%d", name(random), i))
		size := sizes[random.IntN(len(sizes))]
		if i%500 == 250 {
			size = 5<<20 + random.IntN(9<<20)
		}
		mode := []fs.FileMode{0o644, 0o600, 0o755, 0o444}[random.IntN(4)]
		if err := os.WriteFile(path, payload(seed+uint64(i)<<20, size), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(int64(random.IntN(1_700_000_000)), int64(random.IntN(1_000_000))*1000)
		if err := os.Chtimes(path, when, when); err != nil { // before it is read-only: Wine would refuse
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if i%25 == 0 && symlinks {
			if err := os.Symlink(filepath.Base(path), path+".link"); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The last first, so that no time changes afterwards.
	slices.Sort(dirs)
	for _, d := range slices.Backward(dirs[1:]) {
		when := time.Unix(int64(random.IntN(1_700_000_000)), 123_456_000)
		if err := os.Chtimes(d, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func name(random *rand.Rand) string {
	names := []string{"notes", "Makefile", "a b", "-dash", "über", "данные", "資料", "🎒", "e\u0301", "q'uo\"te", "UPPER", "very.long." + strings.Repeat("x", 120)}
	if !symlinks { // Windows allows no quotation marks
		names[9] = "quote"
	}
	return names[random.IntN(len(names))]
}

//go:build linux || windows

package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// maxRSS is how much memory pocket may use, whatever the size of a file.
const maxRSS = 200 << 20

// stream yields bytes that follow from a seed.
func stream(seed uint64, n int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// writeLarge writes a file as cp does and returns the hash of its content.
func writeLarge(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, struct{ io.Reader }{stream(uint64(size), size)}, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// testLarge writes a large file and reads it warm on its machine and cold on another
// one, and measures the memory of all three processes.
func testLarge(t *testing.T, storage string, size int64) {
	config := []string{storage, mountTable("large", "store")}
	m := newMachine(t)
	p := m.up(config...)
	peak := p.watchRSS()
	want := writeLarge(t, p.at("large", "file"), size)
	read := func(p *process) {
		t.Helper()
		got, err := hashFile(p.at("large", "file"))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("%d bytes written are not those read", size)
		}
	}
	inBounds := func(peak <-chan int64, did string) {
		t.Helper()
		rss := <-peak
		t.Logf("%s %d MiB: peak RSS %d MiB", did, size>>20, rss>>20)
		if rss > maxRSS {
			t.Errorf("%s %d MiB: peak RSS is %d MiB, more than %d MiB", did, size>>20, rss>>20, maxRSS>>20)
		}
	}
	p.stop() // what was written is uploaded while it runs to its end
	inBounds(peak, "write")

	p = m.restart()
	peak = p.watchRSS()
	read(p)
	p.stop()
	inBounds(peak, "read warm")

	p = newMachine(t).up(config...)
	peak = p.watchRSS()
	read(p)
	p.stop()
	inBounds(peak, "read cold")
}

func TestOneGiBFile(t *testing.T) {
	needMounts(t)
	if testing.Short() {
		t.Skip("a file of 1 GiB takes its time")
	}
	t.Parallel()
	b := newBucket(t)
	testLarge(t, b.storage("store"), 1<<30)
	for key, body := range b.contents() {
		if strings.HasPrefix(key, "data/") && len(body) > 4<<20 {
			t.Errorf("%s has %d bytes, more than a chunk", key, len(body))
		}
	}
}

func TestFourGiBFile(t *testing.T) {
	needMounts(t)
	if os.Getenv("POCKET_E2E_4GIB") == "" {
		t.Skip("set POCKET_E2E_4GIB=1 to write and read a file of 4 GiB")
	}
	testLarge(t, dirStorage("store", newFolder(t)), 4<<30)
}

// A source tree is unpacked by tar and is the same on another machine: bytes, modes,
// times, links.
func TestSourceTree(t *testing.T) {
	needMounts(t)
	needProgram(t, "tar")
	t.Parallel()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "src")
	archive := filepath.Join(newFolder(t), "source.tar")
	tar := func(args ...string) {
		t.Helper()
		if said, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
			t.Fatalf("tar %v: %v\n%s", args, err, said)
		}
	}
	parts, least := []string{"net", "crypto", "encoding", "go", "os", "cmd/go"}, 3000
	if underWine {
		parts, least = []string{"os", "cmd/vet"}, 200
	}
	tar(append([]string{"-C", source, "--format=posix", "-cf", archive}, parts...)...)

	b := newBucket(t)
	config := []string{b.storage("store"), mountTable("src", "store")}
	p := newMachine(t).up(config...)
	tar("-C", p.at("src"), "-xpf", archive)
	unpacked := newFolder(t)
	tar("-C", unpacked, "-xpf", archive)
	// The archive has "cmd/go" without "cmd".
	when := time.Unix(1_234_567_890, 0)
	for _, dir := range []string{p.at("src"), unpacked} {
		must(t, os.Chtimes(filepath.Join(dir, "cmd"), when, when))
	}
	want := readTree(t, unpacked)
	if len(want) < least {
		t.Fatalf("the source tree has %d files only", len(want))
	}
	sameTree(t, want, readTree(t, p.at("src")))
	p.stop()

	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("src")))
	p.stop()
}

// Renaming a directory costs one index operation, however many files it has.
func TestRenameOfDirectoryIsOneOperation(t *testing.T) {
	needMounts(t)
	t.Parallel()
	files := fewer(2000)
	b := newBucket(t)
	config := []string{b.storage("store"), mountTable("files", "store")}
	m := newMachine(t)
	p := m.up(config...)
	old, renamed := p.at("files", "old"), p.at("files", "new")
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(old, name(rand.New(rand.NewPCG(uint64(i), 0)))+string(rune('a'+i%26))+hex.EncodeToString([]byte{byte(i >> 8), byte(i)})), payload(uint64(i), 64), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := readTree(t, old)
	if len(want) != files {
		t.Fatalf("%d files are there, not %d", len(want), files)
	}
	p.stop()

	p = m.restart()
	before := b.answered()
	if err := os.Rename(old, renamed); err != nil {
		t.Fatal(err)
	}
	b.waitPut(before, "index/updates/")
	sameTree(t, want, readTree(t, renamed))
	p.stop()
	updates := b.since(before, s3test.PutObject, "index/updates/")
	if len(updates) != 1 || updates[0].size >= 1<<10 {
		t.Errorf("the index updates are %v, not one of less than 1 KiB", updates)
	}
	if data := b.since(before, s3test.PutObject, "data/"); len(data) > 0 {
		t.Errorf("%d objects of data were uploaded", len(data))
	}

	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("files", "new")))
	if _, err := os.Lstat(p.at("files", "old")); !os.IsNotExist(err) {
		t.Errorf("the old directory is still there: %v", err)
	}
	p.stop()
}

//go:build linux || windows

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// cold puts files into a bucket and returns a machine that has none of their content.
func cold(t *testing.T, b *bucket, n int) (m *machine, config []string) {
	t.Helper()
	config = []string{b.storage("store"), mountTable("files", "store")}
	p := newMachine(t).up(config...)
	for i := range n {
		if err := os.WriteFile(p.at("files", fmt.Sprint("old ", i)), old(i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
	return newMachine(t), config
}

// old is the content of the files of cold.
func old(i int) []byte { return payload(uint64(i)+1000, 50_000) }

// While the store is away, all goes on but reading what is not here: that is an I/O
// error, never an empty file. When it is back, everything is uploaded.
func TestStoreGoesAwayAndComesBack(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m, config := cold(t, b, 20)
	p := m.up(config...)
	if got := readFile(t, p.at("files", "old 0")); got != string(old(0)) {
		t.Error("wrong content while all is well")
	}
	b.Stop()

	// Many at once: each of them waits for the store a while. The kernel would ask
	// several times for a read through its cache, and each would wait.
	var wg sync.WaitGroup
	for i := 10; i < 15; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			n, err := readOnce(p.at("files", fmt.Sprint("old ", i)))
			if !errors.Is(err, inputOutputError) {
				t.Errorf("reading what cannot be had gives %d bytes and %v, not an I/O error", n, err)
			}
		}()
	}
	if got, err := freshFile(p.at("files", "old 0")); err != nil || string(got) != string(old(0)) {
		t.Errorf("a file read before cannot be read any more: %v", err)
	}
	dir := p.at("files", "made while away")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeTree(t, dir, 5, 60)
	if err := os.Rename(p.at("files", "old 1"), filepath.Join(dir, "renamed")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.at("files", "old 2")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.at("files", "old 3"), []byte("written over"), 0o644); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	before := b.answered()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	b.waitPut(before, dataKey("", "written over"))
	b.waitPut(before, "index/updates/")
	// What writes meet says nothing of reads.
	m.waitStatus("the store can be read", func(s control.Mount) bool { return s.Store.State == control.Reachable })
	want := readTree(t, p.at("files"))
	if got := want["made while away/renamed"].size; got != int64(len(old(1))) {
		t.Errorf("the renamed file has %d bytes", got)
	}
	p.stop()
	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
}

// Stopping while the store is away says what is left; a second Ctrl-C leaves it on this
// machine, and the next start, without the store as well, has it and uploads it.
func TestStopWhileStoreIsAway(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m, config := cold(t, b, 2)
	p := m.up(config...)
	b.Stop()
	writeTree(t, p.at("files"), 9, 40)
	if err := os.Rename(p.at("files", "old 1"), p.at("files", "renamed")); err != nil {
		t.Fatal(err)
	}
	want := readLocal(t, p)
	p.interrupt()
	p.waitSaid("pocket: files: ", "left to upload", "cannot be reached")
	if p.hasEnded() {
		t.Fatal("it did not wait for the store")
	}
	p.interrupt()
	p.expectEnd(exitLeft)

	p = m.restart() // still away
	sameTree(t, want, readLocal(t, p))
	p.interrupt()
	p.waitSaid("pocket: files: ", "left to upload", "cannot be reached")
	p.interrupt()
	p.expectEnd(exitLeft)

	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	p = m.restart()
	sameTree(t, want, readLocal(t, p))
	p.stop()

	p = newMachine(t).up(config...)
	sameTree(t, want, readLocal(t, p))
	if got := readFile(t, p.at("files", "renamed")); got != string(old(1)) {
		t.Error("the renamed file has other content")
	}
	p.stop()
}

// readLocal is readTree without the files of cold, whose content is elsewhere.
func readLocal(t *testing.T, p *process) map[string]entry {
	t.Helper()
	tree := make(map[string]entry)
	for _, name := range dirNames(t, p.at("files")) {
		if name == "old 0" || name == "renamed" {
			info, err := os.Lstat(p.at("files", name))
			if err != nil {
				t.Fatal(err)
			}
			tree[name] = entry{mode: info.Mode(), size: info.Size(), mtime: info.ModTime().UnixMicro()}
			continue
		}
		info, err := os.Lstat(p.at("files", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			for path, e := range readTree(t, p.at("files", name)) {
				tree[name+"/"+path] = e
			}
		} else if info.Mode().IsRegular() {
			hash, err := hashFile(p.at("files", name))
			if err != nil {
				t.Fatal(err)
			}
			tree[name] = entry{mode: info.Mode(), size: info.Size(), mtime: info.ModTime().UnixMicro(), content: hash}
		}
	}
	return tree
}

func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A machine that saw the bucket once, while it was still empty, has what it wrote since
// after kill -9 and a start without the store.
func TestStoreGoesAwayBeforeFirstUpload(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	config := []string{b.storage("store"), mountTable("files", "store")}
	p := m.up(config...)
	b.Stop()
	writeTree(t, p.at("files"), 17, 30)
	want := readTree(t, p.at("files"))
	p.kill()
	p = m.restart()
	sameTree(t, want, readTree(t, p.at("files")))
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
}

// Uploads go on after a stop that waits for the store.
func TestStopWaitsForStore(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	config := []string{b.storage("store"), mountTable("files", "store")}
	p := m.up(config...)
	b.Stop()
	writeTree(t, p.at("files"), 11, 30)
	want := readTree(t, p.at("files"))
	p.interrupt()
	p.waitSaid("pocket: files: ", "left to upload", "cannot be reached")
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	p.expectEnd(exitOK)

	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
}

// A store that answers with errors for a while loses nothing.
func TestStoreThatFailsNowAndThen(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	var mu sync.Mutex
	turn := 0
	faults := []s3test.Fault{s3test.Answer(503, "SlowDown"), s3test.Reset(), s3test.LoseAnswer(), s3test.Answer(500, "InternalError"), s3test.ResetBody(10)}
	b.SetFault(faulty(func() s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		if turn++; turn%4 != 0 {
			return nil
		}
		return faults[turn/4%len(faults)]
	}))
	config := []string{b.storage("store"), mountTable("files", "store")}
	p := newMachine(t).up(config...)
	writeTree(t, p.at("files"), 13, 100)
	want := readTree(t, p.at("files"))
	p.stop()
	p = newMachine(t).up(config...)
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
}

// Content that was damaged in the store is an I/O error, not content.
func TestDamagedObjectIsAnError(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m, config := cold(t, b, 2)
	damaged := old(0)
	damaged[777] ^= 1
	if err := b.SetObject(dataKey("", string(old(0))), damaged); err != nil {
		t.Fatal(err)
	}
	p := m.up(config...)
	if _, err := os.ReadFile(p.at("files", "old 0")); !errors.Is(err, inputOutputError) {
		t.Errorf("reading damaged content gives %v, not an I/O error", err)
	}
	if got := readFile(t, p.at("files", "old 1")); got != string(old(1)) {
		t.Error("its neighbour is wrong as well")
	}
	p.stop()
}

//go:build linux || windows

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// stores are the storages that keep files. Each function returns the table of a
// storage named "store", the same place for every machine that uses it.
var stores = map[string]func(t *testing.T) string{
	"s3":  func(t *testing.T) string { return newBucket(t).storage("store") },
	"dir": func(t *testing.T) string { return dirStorage("store", newFolder(t)) },
}

// newFolder returns an empty folder that belongs to no machine.
func newFolder(t *testing.T) string {
	t.Helper()
	return newMachine(t).home()
}

func TestFilesAreThereAfterRestart(t *testing.T) {
	needMounts(t)
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := []string{store(t), mountTable("files", "store")}
			m := newMachine(t)
			p := m.up(config...)
			writeTree(t, p.at("files"), 7, 120)
			written := readTree(t, p.at("files"))
			p.stop()
			if _, err := os.Lstat(p.at("files")); !os.IsNotExist(err) {
				t.Errorf("the mount point that pocket made is still there: %v", err)
			}

			p = m.restart()
			sameTree(t, written, readTree(t, p.at("files")))
			p.stop()

			elsewhere := newMachine(t)
			p = elsewhere.up(config...)
			sameTree(t, written, readTree(t, p.at("files")))
			p.stop()
		})
	}
}

// A directory that is mounted over is there as before when pocket has ended.
func TestMountPointThatExists(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	if err := os.Mkdir(m.home("files"), 0o750); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(m.home("files"))
	must(t, err)
	p := m.up(mountTable("files", "memory"))
	writeTree(t, p.at("files"), 1, 20)
	p.stop()
	if after, err := os.Stat(m.home("files")); err != nil || after.Mode() != before.Mode() || owner(after) != owner(before) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the directory is %v of %s, was %v of %s: %v", after, owner(after), before, owner(before), err)
	}
	if names := dirNames(t, m.home("files")); len(names) > 0 {
		t.Errorf("below the mount there is %q", names)
	}
}

// In mode sync a file whose close has returned is in the bucket.
func TestSyncModeClosesIntoBucket(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	p := m.up(b.storage("store"), mountTable("files", "store", `mode = "sync"`))
	for i, size := range []int{1, 4096, 100_000} {
		before := b.answered()
		content := payload(uint64(i), size)
		if err := os.WriteFile(p.at("files", "file"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := b.Object(dataKey("", string(content))); !ok || string(got) != string(content) {
			t.Errorf("%d bytes: closed, but the object is not in the bucket", size)
		}
		if len(b.since(before, s3test.PutObject, "index/updates/")) == 0 {
			t.Errorf("%d bytes: closed, but no index update is in the bucket", size)
		}
	}
	p.kill()

	elsewhere := newMachine(t)
	p = elsewhere.up(b.storage("store"), mountTable("files", "store"))
	if got := readFile(t, p.at("files", "file")); got != string(payload(2, 100_000)) {
		t.Errorf("another machine reads %d other bytes", len(got))
	}
	p.stop()
}

func TestMemoryStoreForgets(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	p := m.up(mountTable("scratch", "memory"))
	writeTree(t, p.at("scratch"), 3, 60)
	first := readTree(t, p.at("scratch"))
	sameTree(t, first, readTree(t, p.at("scratch")))
	p.stop()

	p = m.restart()
	sameTree(t, nil, readTree(t, p.at("scratch")))
	p.stop()
	left, err := filepath.Glob(m.data("temp", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("state of the memory store is left: %v %v", left, err)
	}
}

// The index that one machine wrote and the next one extended has both.
func TestMachinesInTurn(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	config := []string{b.storage("store"), mountTable("files", "store")}
	machines := []*machine{newMachine(t), newMachine(t), newMachine(t)}
	var want map[string]entry
	for round := range 6 {
		p := machines[round%3].up(config...)
		if round > 0 {
			sameTree(t, want, readTree(t, p.at("files")))
		}
		dir := p.at("files", strings.Repeat("d", round+1))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeTree(t, dir, uint64(round), 20)
		if round > 1 {
			if err := os.RemoveAll(p.at("files", strings.Repeat("d", round-1))); err != nil {
				t.Fatal(err)
			}
		}
		want = readTree(t, p.at("files"))
		p.stop()
	}
}

// Two mounts of one bucket under two prefixes know nothing of each other.
func TestPrefixesAreIsolated(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	config := []string{b.storage("store"), mountTable("one", "store", `prefix = "one/"`), mountTable("two", "store", `prefix = "two/deep/"`)}
	m := newMachine(t)
	p := m.up(config...)
	for i, mount := range []string{"one", "two"} {
		writeTree(t, p.at(mount), uint64(i), 40)
		writeFile(t, p.at(mount, "same name"), "content of "+mount)
		writeFile(t, p.at(mount, "same content"), "content of both")
	}
	one, two := readTree(t, p.at("one")), readTree(t, p.at("two"))
	if one["same name"].content == two["same name"].content {
		t.Error("both mounts show one file")
	}
	p.stop()
	for key := range b.contents() {
		if !strings.HasPrefix(key, "one/") && !strings.HasPrefix(key, "two/deep/") {
			t.Errorf("object outside of both prefixes: %s", key)
		}
	}
	for _, prefix := range []string{"one/", "two/deep/"} {
		if _, ok := b.Object(dataKey(prefix, "content of both")); !ok {
			t.Errorf("%s lacks content that the other prefix has as well", prefix)
		}
	}

	m = newMachine(t)
	p = m.up(b.storage("store"), mountTable("two", "store", `prefix = "two/deep/"`), mountTable("one", "store", `prefix = "one/"`))
	sameTree(t, one, readTree(t, p.at("one")))
	sameTree(t, two, readTree(t, p.at("two")))
	p.stop()
}

func TestGitRepositoryInMount(t *testing.T) {
	needMounts(t)
	needProgram(t, "git")
	t.Parallel()
	origin := newFolder(t)
	git := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=3",
			"GIT_CONFIG_KEY_0=user.name", "GIT_CONFIG_VALUE_0=Somebody", "GIT_CONFIG_KEY_1=user.email", "GIT_CONFIG_VALUE_1=somebody@example.com",
			"GIT_CONFIG_KEY_2=core.longpaths", "GIT_CONFIG_VALUE_2=true")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git(origin, "init", "-q", "-b", "main")
	for i := range 5 {
		dir := filepath.Join(origin, "part", strings.Repeat("x", i+1))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeTree(t, dir, uint64(i), 60)
		git(origin, "add", "-A")
		git(origin, "commit", "-q", "-m", "part")
	}

	b := newBucket(t)
	config := []string{b.storage("store"), mountTable("projects", "store")}
	m := newMachine(t)
	p := m.up(config...)
	// From a path git would link the objects; from a URL it writes a pack.
	git(p.at("projects"), "clone", "-q", "file:///"+strings.TrimPrefix(filepath.ToSlash(origin), "/"), "clone")
	clone := p.at("projects", "clone")
	git(clone, "checkout", "-q", "-b", "work")
	if err := os.RemoveAll(filepath.Join(clone, "part", "xx")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(clone, "new file"), "new\n")
	git(clone, "mv", "part/x", "moved")
	git(clone, "add", "-A")
	git(clone, "commit", "-q", "-m", "change")
	git(clone, "checkout", "-q", "main")
	git(clone, "merge", "-q", "--no-ff", "-m", "merge", "work")
	git(clone, "gc", "-q")
	git(clone, "fsck", "--full", "--strict")
	if status := git(clone, "status", "--porcelain"); status != "" {
		t.Errorf("git sees changes that nobody made:\n%s", status)
	}
	git(p.at("projects"), "init", "-q", "-b", "main", "fresh")
	fresh := p.at("projects", "fresh")
	writeFile(t, filepath.Join(fresh, "a"), "a\n")
	git(fresh, "add", "-A")
	git(fresh, "commit", "-q", "-m", "first")
	head := git(clone, "rev-parse", "HEAD", "HEAD^{tree}")
	p.stop()

	m = newMachine(t)
	p = m.up(config...)
	clone = p.at("projects", "clone")
	for _, dir := range []string{clone, p.at("projects", "fresh")} {
		git(dir, "fsck", "--full", "--strict")
		if status := git(dir, "status", "--porcelain"); status != "" {
			t.Errorf("on another machine git sees changes that nobody made:\n%s", status)
		}
	}
	if got := git(clone, "rev-parse", "HEAD", "HEAD^{tree}"); got != head {
		t.Errorf("HEAD and its tree are %s, not %s", got, head)
	}
	git(origin, "pull", "-q", clone, "main")
	git(origin, "fsck", "--full", "--strict")
	p.stop()
}

//go:build linux || windows

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// snapshot returns all that is on a machine but the log.
func (m *machine) snapshot() map[string]entry {
	m.t.Helper()
	all := readTree(m.t, m.root)
	for path := range all {
		if strings.HasSuffix(path, "pocket/logs") || strings.Contains(path, "pocket/logs/") {
			delete(all, path)
		}
	}
	return all
}

// unchanged compares snapshots. Times and directories that the log needs do not count.
func (m *machine) unchanged(before map[string]entry) {
	m.t.Helper()
	after := m.snapshot()
	for _, tree := range []map[string]entry{before, after} {
		for path, e := range tree {
			e.mtime = 0
			tree[path] = e
		}
	}
	for _, dir := range []string{"data", "data/hamflx", "data/hamflx/pocket"} {
		if _, was := before[dir]; !was {
			delete(after, dir)
		}
	}
	sameTree(m.t, before, after)
}

// oneLine returns what pocket said, which must be one line of its.
func (p *process) oneLine() string {
	p.m.t.Helper()
	lines := p.stderr.lines()
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "pocket: ") || p.stdout.text() != "" {
		p.m.t.Fatalf("not one line on stderr:\n%s", indent(p.said()))
	}
	return lines[0]
}

// A mistake is one line that says where and what to do, pocket ends with an error,
// and nothing is written anywhere.
func TestMistakesInConfiguration(t *testing.T) {
	const memory = "[[mounts]]\nname = \"m\"\nmount_path = \"~/m\"\nstorage = \"memory\"\n"
	for _, c := range []struct {
		name   string
		config string
		say    []string
	}{
		{"unknown key", "[[mounts]]\nnmae = \"m\"\nmount_path = \"~/m\"\nstorage = \"memory\"\n", []string{"CONFIG:2:", "nmae", "name"}},
		{"unknown table", "[strages.x]\n" + memory, []string{"CONFIG:1:", "strages", "storages"}},
		{"unknown storage", "[[mounts]]\nmount_path = \"~/m\"\nstorage = \"nas\"\n", []string{"CONFIG:3:", `"nas"`, "[storages.nas]"}},
		{"no storage", "[[mounts]]\nmount_path = \"~/m\"\n", []string{"CONFIG:1:", "storage"}},
		{"no path", "[[mounts]]\nstorage = \"memory\"\n", []string{"CONFIG:1:", "mount_path"}},
		{"one path twice", memory + "[[mounts]]\nname = \"n\"\nmount_path = \"~/x/../m\"\nstorage = \"memory\"\n", []string{"CONFIG:7:", native("home/m"), "line 1"}},
		{"one path inside another", memory + "[[mounts]]\nname = \"n\"\nmount_path = \"~/m/n\"\nstorage = \"memory\"\n", []string{"CONFIG:7:", native("home/m"), "line 1"}},
		{"one name twice", memory + "[[mounts]]\nname = \"m\"\nmount_path = \"~/n\"\nstorage = \"memory\"\n", []string{"CONFIG:6:", `"m"`}},
		{"wrong type", "[[mounts]]\nmount_path = 5\nstorage = \"memory\"\n", []string{"CONFIG:2:", "mount_path", "string"}},
		{"no TOML", "[[mounts]]\nmount_path =\n", []string{"CONFIG:2:"}},
		{"unknown backend", "[storages.s]\nbackend = \"S4\"\n" + memory, []string{"CONFIG:2:", "S4", "s3"}},
		{"a cache smaller than a chunk", "[storages.s]\nbackend = \"dir\"\nchunk_size = \"16MiB\"\ncache_size = \"64MiB\"\n[storages.s.dir]\npath = \"/x\"\n" + memory, []string{"CONFIG:4:", "cache_size", "64MiB", "128MiB"}},
		{"a cache of nothing", "[storages.s]\nbackend = \"dir\"\ncache_size = \"1MiB\"\n[storages.s.dir]\npath = \"/x\"\n" + memory, []string{"CONFIG:3:", "cache_size", "64MiB"}},
		{"unknown mode", memory + "mode = \"synk\"\n", []string{"CONFIG:5:", "synk", "sync"}},
		{"no mounts", "[storages.s]\nbackend = \"dir\"\n[storages.s.dir]\npath = \"/x\"\n", []string{"CONFIG", "mounts"}},
		{"half a key", "[storages.s]\nbackend = \"s3\"\n[storages.s.s3]\nbucket = \"b\"\naccess_key_id = \"AKID\"\n" + memory, []string{"CONFIG:", "secret_access_key"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.configure(c.config)
			before := m.snapshot()
			p := m.start()
			p.expectEnd(exitUsage)
			line := p.oneLine()
			for _, part := range c.say {
				if part = strings.ReplaceAll(part, "CONFIG", native(m.configFile())); !strings.Contains(line, part) {
					t.Errorf("%q does not say %q", line, part)
				}
			}
			m.unchanged(before)
			if _, err := os.Stat(m.data()); !os.IsNotExist(err) {
				t.Error("the data directory was made")
			}
		})
	}
}

func TestMistakesOnCommandLine(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		say  []string
	}{
		{"no configuration", nil, []string{"config.toml"}},
		{"no such configuration", []string{"--config", "nowhere.toml"}, []string{"nowhere.toml"}},
		{"a directory as configuration", []string{"--config", "."}, []string{"directory"}},
		{"unknown flag", []string{"--verbos"}, []string{"--verbos", "--help"}},
		{"unknown command", []string{"muont"}, []string{"muont", "--help"}},
		{"no value", []string{"--config"}, []string{"--config"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			before := m.snapshot()
			p := m.start(c.args...)
			p.expectEnd(exitUsage)
			line := p.oneLine()
			for _, part := range c.say {
				if !strings.Contains(line, part) {
					t.Errorf("%q does not say %q", line, part)
				}
			}
			m.unchanged(before)
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, args := range [][]string{{"--help"}, {"version"}, {"-h"}} {
		p := m.start(args...)
		p.expectEnd(exitOK)
		if p.stdout.text() == "" || p.stderr.text() != "" {
			t.Errorf("pocket %v: what was asked for belongs on stdout:\n%s", args, p.said())
		}
	}
	help, _ := m.command("--help").Output()
	for _, part := range []string{"--config", "--verbose", "version", "POCKET_LOG", "Exit"} {
		if !strings.Contains(strings.ToLower(string(help)), strings.ToLower(part)) {
			t.Errorf("--help does not mention %s", part)
		}
	}
}

// The configuration is found where it is documented, --config first, then the
// platform's directory, then the current one; variables expand, unknown ones stay.
func TestConfigurationIsFound(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	m.env = append(m.env, "PROJECT="+m.home("project"))
	mount := func(path string) string {
		return "[[mounts]]\nname = \"m\"\nmount_path = '" + path + "'\nstorage = \"memory\"\n"
	}
	at := func(want string, args ...string) {
		t.Helper()
		p := m.start(args...)
		if got := p.waitMounted("m"); got != want {
			t.Errorf("mounted at %s, not %s", got, want)
		}
		writeFile(t, filepath.Join(want, "file"), "x")
		p.stop()
	}
	writeFile(t, m.home("config.toml"), mount("${PROJECT}/$NOBODY/here"))
	at(m.home("project", "$NOBODY", "here"))
	m.configure(mount("~/platform"))
	at(m.home("platform"))
	writeFile(t, m.home("other.toml"), mount("$PROJECT"))
	at(m.home("project"), "--config", "other.toml")
}

// A mount that cannot be is one line, changes nothing, and the others run; in the
// end the exit code tells.
func TestMountsThatFail(t *testing.T) {
	needMounts(t)
	type setting struct {
		m *machine
		b *bucket
	}
	bad := func(storage string, more ...string) string {
		return mountTable("bad", storage, more...)
	}
	for _, c := range []struct {
		name   string
		config func(s setting) []string
		say    []string
	}{
		{"missing bucket", func(s setting) []string {
			return []string{s3Storage("store", s.b.Endpoint, "no-such-bucket", s.b.AccessKeyID, s.b.SecretAccessKey), bad("store")}
		}, []string{"no-such-bucket"}},
		{"wrong secret", func(s setting) []string {
			return []string{s3Storage("store", s.b.Endpoint, s.b.Bucket, s.b.AccessKeyID, "wrong"), bad("store")}
		}, []string{"credentials"}},
		{"wrong key id", func(s setting) []string {
			return []string{s3Storage("store", s.b.Endpoint, s.b.Bucket, "AKIDWRONG", s.b.SecretAccessKey), bad("store")}
		}, []string{"credentials"}},
		{"missing profile", func(s setting) []string {
			return []string{strings.Split(s3Storage("store", s.b.Endpoint, s.b.Bucket, "x", "x"), "access_key_id")[0] + "credentials = \"nobody\"\n", bad("store")}
		}, []string{"nobody"}},
		{"no credentials at all", func(s setting) []string {
			return []string{strings.Split(s3Storage("store", s.b.Endpoint, s.b.Bucket, "x", "x"), "access_key_id")[0], bad("store")}
		}, []string{"credentials"}},
		{"no server", func(s setting) []string {
			s.b.Stop()
			return []string{s.b.storage("store"), bad("store")}
		}, []string{"refused"}},
		{"missing folder", func(s setting) []string {
			return []string{dirStorage("store", s.m.home("not", "there")), bad("store")}
		}, []string{native("home/not/there"), "bad: reading the index: get index/head from folder", ": no such bucket or folder: is its drive attached"}},
		{"mount point is a file", func(s setting) []string {
			writeFile(s.m.t, s.m.home("bad"), "precious")
			return []string{s.b.storage("store"), bad("store")}
		}, []string{native("home/bad"), "file"}},
		{"mount point below a file", func(s setting) []string {
			writeFile(s.m.t, s.m.home("file"), "precious")
			return []string{s.b.storage("store"), "[[mounts]]\nname = \"bad\"\nmount_path = \"~/file/bad\"\nstorage = \"store\"\n"}
		}, []string{native("home/file")}},
		{"mount point has files that cannot be moved aside", func(s setting) []string {
			writeFile(s.m.t, s.m.home("bad", "precious"), "precious")
			writeFile(s.m.t, s.m.home("bad.pocket-original", "precious"), "precious")
			return []string{s.b.storage("store"), bad("store")}
		}, []string{native("home/bad.pocket-original"), "is there already"}},
		{"damaged head", func(s setting) []string {
			seed(s.m.t, s.b)
			for _, key := range keys(s.m.t, s.b, "index/") {
				if err := s.b.SetObject(key, []byte("nonsense")); err != nil {
					s.m.t.Fatal(err)
				}
			}
			return []string{s.b.storage("store"), bad("store")}
		}, []string{"index/"}},
		{"index not readable", func(s setting) []string {
			seed(s.m.t, s.b)
			s.b.SetFault(s3test.OnKey("index/objects/", s3test.Answer(403, "AccessDenied")))
			return []string{s.b.storage("store"), bad("store")}
		}, []string{"index/objects/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := setting{newMachine(t), newBucket(t)}
			config := c.config(s)
			s.m.configure(config...)
			before, objects := s.m.snapshot(), s.b.contents()
			p := s.m.start()
			p.expectEnd(exitError)
			line := p.oneLine()
			for _, part := range append(c.say, "bad") {
				if !strings.Contains(line, part) {
					t.Errorf("%q does not say %q", line, part)
				}
			}
			s.m.unchanged(before)
			sameContents(t, objects, s.b.contents())

			// Beside a good one, which runs.
			s.m.configure(append(config, mountTable("good", "memory"))...)
			p = s.m.start()
			p.waitMounted("good")
			p.waitSaid("pocket: ", "bad")
			writeTree(t, p.at("good"), 1, 20)
			p.interrupt()
			p.expectEnd(exitError)
			sameContents(t, objects, s.b.contents())
		})
	}
}

// seed puts a tree into a bucket.
func seed(t *testing.T, b *bucket) {
	t.Helper()
	p := newMachine(t).up(b.storage("store"), mountTable("files", "store"))
	writeTree(t, p.at("files"), 1, 30)
	p.stop()
}

func keys(t *testing.T, b *bucket, prefix string) []string {
	t.Helper()
	keys, err := b.Keys(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sameContents(t *testing.T, want, got map[string]string) {
	t.Helper()
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("written into the bucket: %s", key)
		}
	}
	for key, body := range want {
		if g, ok := got[key]; !ok || g != body {
			t.Errorf("changed in the bucket: %s", key)
		}
	}
}

// A second pocket with the same mount is refused, and the first goes on.
func TestSecondPocketIsRefused(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	p := m.up(dirStorage("store", newFolder(t)), mountTable("files", "store"))
	second := m.beside()
	for _, path := range []string{"files", "elsewhere"} {
		writeFile(t, m.home("second.toml"), strings.ReplaceAll(readFile(t, m.configFile()), "~/files", "~/"+path))
		q := second.start("--config", native(m.home("second.toml")))
		if code := q.wait(); code != exitError {
			t.Errorf("the second one ends with code %d, not %d", code, exitError)
		}
		if line := q.oneLine(); !strings.Contains(line, "files") {
			t.Errorf("%q does not tell which mount", line)
		}
	}
	writeTree(t, p.at("files"), 1, 20)
	if _, err := os.Stat(m.home("elsewhere")); !os.IsNotExist(err) {
		t.Error("the second one's mount point is left")
	}
	p.stop()
}

// A data directory that cannot be written stops the mount.
func TestDataDirectoryIsAFile(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	m.configure(dirStorage("store", newFolder(t)), mountTable("bad", "store"))
	writeFile(t, dataHome(m.root), "precious")
	before := m.snapshot()
	p := m.start()
	p.expectEnd(exitError)
	if lines := p.stderr.lines(); !strings.Contains(lines[len(lines)-1], native(dataHome(m.root))) {
		t.Errorf("it does not name the directory:\n%s", indent(p.said()))
	}
	m.unchanged(before)
}

// A configuration that others can read and that holds a key is warned of, and works.
func TestConfigurationOthersCanRead(t *testing.T) {
	needMounts(t)
	skipOnWindows(t, "modes say nothing there of who can read a file")
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	m.configure(b.storage("store"), mountTable("files", "store"))
	if err := os.Chmod(m.configFile(), fs.FileMode(0o644)); err != nil {
		t.Fatal(err)
	}
	p := m.restart()
	p.waitSaid("pocket: ", m.configFile(), "chmod 600")
	p.stop()
}

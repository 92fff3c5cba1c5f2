//go:build linux || windows

package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The secret key is nowhere but in the configuration: not in logs of any level, not in
// messages of any failure, not in the local state.
func TestSecretsStayInConfiguration(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	m.configure(b.storage("store"), mountTable("files", "store"), mountTable("wrong", "other"),
		s3Storage("other", b.Endpoint, b.Bucket, b.AccessKeyID, "not/the+secret"))
	p := m.start("--verbose")
	p.waitMounted("files")
	writeTree(t, p.at("files"), 1, 30)
	b.Stop()
	writeFile(t, p.at("files", "while away"), "x")
	p.interrupt()
	p.waitSaid("pocket: files: ", "left to upload", "cannot be reached")
	p.interrupt()
	p.wait()

	for _, secret := range []string{b.SecretAccessKey, "not/the+secret"} {
		if strings.Contains(p.said(), secret) {
			t.Error("the secret key is in the output")
		}
		err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || path == m.configFile() {
				return err
			}
			body, err := os.ReadFile(path)
			if strings.Contains(string(body), secret) {
				t.Errorf("the secret key is in %s", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The log file says what happened, more of it when asked, and is for its owner alone.
func TestLogFile(t *testing.T) {
	needMounts(t)
	t.Parallel()
	lines := func(m *machine, args ...string) int {
		t.Helper()
		m.configure(mountTable("files", "memory"))
		p := m.restart(args...)
		writeTree(t, p.at("files"), 1, 20)
		p.stop()
		info, err := os.Stat(m.data("logs", "pocket.log"))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got&0o077 != 0 && exeSuffix == "" {
			t.Errorf("the log file has mode %v", got)
		}
		return strings.Count(m.log(), "\n")
	}
	normal := lines(newMachine(t))
	if normal == 0 {
		t.Error("nothing is logged")
	}
	if verbose := lines(newMachine(t), "--verbose"); verbose <= normal {
		t.Errorf("--verbose logs %d lines, without it there are %d", verbose, normal)
	}
	m := newMachine(t)
	m.env = append(m.env, "POCKET_LOG=debug")
	if debug := lines(m); debug <= normal {
		t.Errorf("POCKET_LOG=debug logs %d lines, without it there are %d", debug, normal)
	}
}

// A log file that has grown is set aside and few are kept.
func TestLogIsRotated(t *testing.T) {
	needMounts(t)
	t.Parallel()
	m := newMachine(t)
	path := m.data("logs", "pocket.log")
	writeFile(t, path, strings.Repeat("an old line of the log\n", 3<<20))
	big, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	p := m.up(mountTable("files", "memory"))
	p.stop()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatal("there is no log file")
	}
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= big.Size() {
		t.Errorf("a log of %d bytes goes on growing", big.Size())
	}
}

//go:build linux || windows

package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stateDir returns the state directory of a machine's only mount.
func (m *machine) stateDir() string {
	m.t.Helper()
	dirs, err := filepath.Glob(m.data("state", "*"))
	if err != nil || len(dirs) != 1 {
		m.t.Fatalf("not one state directory: %v, %v", dirs, err)
	}
	return dirs[0]
}

// used returns a machine whose mount was used and ended while its store was away, so that
// changes are left.
func used(t *testing.T) (m *machine, b *bucket, want map[string]entry) {
	t.Helper()
	b = newBucket(t)
	m = newMachine(t)
	p := m.up(b.storage("store"), mountTable("files", "store"))
	b.Stop()
	writeTree(t, p.at("files"), 21, 30)
	want = readTree(t, p.at("files"))
	p.interrupt()
	p.waitSaid("pocket: files: ", "left to upload")
	p.interrupt()
	p.expectEnd(exitLeft)
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	return m, b, want
}

// A state directory that cannot be used is one line that says where and what to do, and
// nothing in it changes: once that is mended, everything is there.
func TestStateThatCannotBeUsed(t *testing.T) {
	needMounts(t)
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, state string) (mend func())
		say    []string
	}{
		{"cache directory not writable", func(t *testing.T, state string) func() {
			return protect(t, filepath.Join(state, "cache"))
		}, []string{"STATE/cache", "make it writable"}},
		{"a file in the place of the cache", func(t *testing.T, state string) func() {
			cache := filepath.Join(state, "cache")
			return swap(t, cache, cache+" away", func() error { return os.WriteFile(cache, []byte("precious"), 0o600) })
		}, []string{"STATE/cache", "make it writable"}},
		{"a journal of a newer version", func(t *testing.T, state string) func() {
			journal := filepath.Join(state, "journal.db")
			body := []byte(readFile(t, journal))
			newer := append([]byte(nil), body...)
			binary.BigEndian.PutUint32(newer[60:], 99) // user_version, https://www.sqlite.org/fileformat.html
			return swap(t, journal, journal+" away", func() error { return os.WriteFile(journal, newer, 0o600) })
		}, []string{"STATE/journal.db", "newer", "update pocket"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, _, want := used(t)
			mend := c.damage(t, m.stateDir())
			before := m.snapshot()
			p := m.start()
			p.expectEnd(exitError)
			line := p.oneLine()
			for _, part := range append(c.say, "files") {
				if part = strings.ReplaceAll(native(part), "STATE", native(m.stateDir())); !strings.Contains(line, part) {
					t.Errorf("%q does not say %q", line, part)
				}
			}
			m.unchangedButLock(before)
			mend()
			p = m.restart()
			sameTree(t, want, readTree(t, p.at("files")))
			p.stop()
		})
	}
}

// unchangedButLock is unchanged for a state directory that was locked: the lock names
// the process.
func (m *machine) unchangedButLock(before map[string]entry) {
	m.t.Helper()
	for path := range before {
		if strings.HasSuffix(path, "/lock") {
			info, err := os.Stat(m.path(filepath.FromSlash(path)))
			if err != nil {
				m.t.Fatal(err)
			}
			e := before[path]
			hash, err := hashFile(m.path(filepath.FromSlash(path)))
			if err != nil {
				m.t.Fatal(err)
			}
			e.content, e.size = hash, info.Size()
			before[path] = e
		}
	}
	m.unchanged(before)
}

// swap puts something else in the place of a file, until mend.
func swap(t *testing.T, path, away string, replace func() error) (mend func()) {
	t.Helper()
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
	}
}

// A journal that is damaged is set aside, the user is told where, and the mount has what
// is in the store.
func TestDamagedJournalIsSetAside(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	p := m.up(b.storage("store"), mountTable("files", "store"))
	writeTree(t, p.at("files"), 23, 30)
	want := readTree(t, p.at("files"))
	p.stop()
	journal := filepath.Join(m.stateDir(), "journal.db")
	damaged := strings.Repeat("this is no journal ", 500)
	writeFile(t, journal, damaged)
	p = m.restart()
	line := p.waitSaid("pocket: files: ", native(journal), "damaged", "kept as ")
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
	aside, err := filepath.Glob(journal + ".damaged-*Z")
	if err != nil || len(aside) != 1 || !strings.Contains(line, native(aside[0])) || readFile(t, aside[0]) != damaged {
		t.Errorf("%q does not name %v, or that is not what was there: %v", line, aside, err)
	}
}

// A byte of the journal's log changed behind what was synced last: what follows it was dropped like what a power loss
// leaves, without a word.
func TestDamagedLogAfterAKillIsToldAndUsed(t *testing.T) {
	needMounts(t)
	t.Parallel()
	b := newBucket(t)
	m := newMachine(t)
	p := m.up(b.storage("store"), mountTable("files", "store"))
	b.Stop()
	const count = 60
	for n := range count {
		writeFile(t, p.at("files", fmt.Sprint(n)), strings.Repeat(fmt.Sprint(n, " "), 300))
	}
	want := readTree(t, p.at("files"))
	p.kill()
	must(t, b.Restart())
	journal := filepath.Join(m.stateDir(), "journal.db")
	damaged := []byte(readFile(t, journal+"-wal"))
	damaged[len(damaged)/4&^7] ^= 0x10 // one for which the frame's checksum makes good
	writeFile(t, journal+"-wal", string(damaged))

	p = m.restart()
	aside, err := filepath.Glob(journal + ".damaged-*Z")
	if err != nil || len(aside) != 1 {
		t.Fatalf("not one copy: %v, %v", aside, err)
	}
	if kept := readFile(t, aside[0]+"-wal"); kept != string(damaged) {
		t.Errorf("the copy's log is not what it was")
	}
	p.waitSaid("pocket: files: ", native(journal), "damaged", native(aside[0]))
	if notices := m.status()[0].Mounts[0].Notices; len(notices) != 1 || !strings.Contains(notices[0].Text, native(aside[0])) {
		t.Errorf("status says: %v", notices)
	}
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
	p = newMachine(t).up(b.storage("store"), mountTable("files", "store"))
	sameTree(t, want, readTree(t, p.at("files")))
	p.stop()
}

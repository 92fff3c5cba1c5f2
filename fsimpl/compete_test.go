package fsimpl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/objstore"
)

// machinesApart are machines on one store, whose ways to it can be cut one by one.
func machinesApart(t *testing.T, names ...string) []*machine {
	store := newFaultStore()
	var all []*machine
	for _, name := range names {
		m := apart(t, store, name)
		m.poll = 5 * time.Millisecond
		m.startForTest()
		all = append(all, m)
	}
	return all
}

// apart is a machine with a way of its own to a store, to be started. It hears of others at its start alone.
func apart(t *testing.T, store *faultStore, name string) *machine {
	return &machine{t: t, store: &faultStore{Store: store.Store, puts: map[string]int{}}, data: t.TempDir(), chunk: 64 << 10, name: name}
}

// failing cuts off one kind of call, below a prefix of the keys.
func failing(op, prefix string) func(string, string) error {
	return func(called, key string) error {
		if called == op && strings.HasPrefix(key, prefix) {
			return unavailable(called, key)
		}
		return nil
	}
}

// contents returns what the files of the root directory hold, or errors, in order.
func (m *machine) contents() []string {
	var all []string
	for _, name := range m.names("/") {
		body, err := m.tryGet("/" + name)
		if fsimpl.KindOf(err) == fsimpl.NotExist {
			continue // it went away just now
		}
		switch {
		case err != nil:
			body = []byte(err.Error())
		case len(body) > 100:
			body = fmt.Appendf(nil, "%.20s and so on, %d bytes", body, len(body))
		}
		all = append(all, string(body))
	}
	slices.Sort(all)
	return all
}

// holdInTheEnd waits until all machines have files with these contents, and no others, with
// everything published and merged.
func holdInTheEnd(t *testing.T, all []*machine, want ...string) {
	t.Helper()
	slices.Sort(want)
	for _, m := range all {
		m.drain()
	}
	for _, m := range all {
		assert.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, want, m.contents(), m.name)
		}, 2*time.Minute, 20*time.Millisecond)
	}
}

// mark makes a file on one machine and waits until the others have it, and with it all that
// was published before. It is removed again.
func mark(t *testing.T, from *machine, all ...*machine) {
	t.Helper()
	from.put("mark", nil)
	for _, m := range all {
		eventually(t, "the mark on "+m.name, func() bool { return slices.Contains(m.names("/"), "mark") })
	}
	_, err := from.Unlink(root, "mark")
	require.NoError(t, err)
	for _, m := range all {
		eventually(t, "no mark on "+m.name, func() bool { return !slices.Contains(m.names("/"), "mark") })
	}
}

// A file that is written here while another machine's content arrives was not written with
// knowledge of that: it must not replace it.
func TestContentThatArrivesWhileAFileIsWrittenIsKept(t *testing.T) {
	all := machinesApart(t, "a", "b")
	a, b := all[0], all[1]
	a.put("f.txt", []byte("first"))
	mark(t, a, b)
	n, err := a.Resolve("/f.txt")
	require.NoError(t, err)
	f, err := a.Open(n, readWrite|fsimpl.OpenTruncate)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("written by a"), 0)
	require.NoError(t, err)
	b.put("f.txt", []byte("written by b"))
	mark(t, b, a)
	a.close(f)
	holdInTheEnd(t, all, "written by a", "written by b")
	require.Equal(t, "written by a", string(b.get("/f.txt")), "the name is the later one's")
	require.True(t, slices.ContainsFunc(a.names("/"), func(name string) bool {
		return strings.HasPrefix(name, "f (conflict b ")
	}), "%v", a.names("/"))
}

// The same when the file was open for long and only read.
func TestContentThatArrivesBeforeAnOpenFileIsWrittenIsKept(t *testing.T) {
	all := machinesApart(t, "a", "b")
	a, b := all[0], all[1]
	a.put("f.txt", []byte("first"))
	mark(t, a, b)
	n, err := a.Resolve("/f.txt")
	require.NoError(t, err)
	f, err := a.Open(n, readWrite)
	require.NoError(t, err)
	body, err := readAll(f)
	require.NoError(t, err)
	require.Equal(t, "first", string(body))
	b.put("f.txt", []byte("written by b"))
	mark(t, b, a)
	_, err = f.WriteAt([]byte("First"), 0)
	require.NoError(t, err)
	a.close(f)
	holdInTheEnd(t, all, "First", "written by b")
}

// What is written to a file that another machine deletes meanwhile comes back, as what was
// written before does.
func TestFileDeletedElsewhereWhileItIsWrittenComesBack(t *testing.T) {
	all := machinesApart(t, "a", "b")
	a, b := all[0], all[1]
	a.put("f.txt", []byte("first"))
	mark(t, a, b)
	n, err := a.Resolve("/f.txt")
	require.NoError(t, err)
	f, err := a.Open(n, readWrite|fsimpl.OpenTruncate)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("written by a"), 0)
	require.NoError(t, err)
	_, err = b.Unlink(root, "f.txt")
	require.NoError(t, err)
	mark(t, b, a)
	a.close(f)
	holdInTheEnd(t, all, "written by a")
	require.Equal(t, "written by a", string(b.get("/f.txt")))
}

// A file that was removed here stays removed, whatever its handles write.
func TestFileRemovedHereStaysRemovedWhateverItsHandlesWrite(t *testing.T) {
	all := machinesApart(t, "a", "b")
	a, b := all[0], all[1]
	a.put("f.txt", []byte("first"))
	mark(t, a, b)
	n, err := a.Resolve("/f.txt")
	require.NoError(t, err)
	f, err := a.Open(n, readWrite)
	require.NoError(t, err)
	_, err = a.Unlink(root, "f.txt")
	require.NoError(t, err)
	mark(t, a, b)
	mark(t, b, a)
	_, err = f.WriteAt([]byte("for the handle alone"), 0)
	require.NoError(t, err)
	a.close(f)
	mark(t, a, b)
	holdInTheEnd(t, all)
}

// A conflict copy needs its content in the store, also when the file beside it is written anew
// before that is uploaded.
func TestConflictCopyIsUploadedThoughTheFileIsWrittenAnew(t *testing.T) {
	all := machinesApart(t, "a", "b")
	a, b := all[0], all[1]
	a.put("f.txt", []byte("first"))
	mark(t, a, b)
	a.store.setFail(failing(objstore.OpPut, "data/"))
	long := strings.Repeat("written by a ", 10_000) // a manifest and chunks
	a.put("f.txt", []byte(long))
	for n := range 20 { // so that the last one wins
		b.put("f.txt", fmt.Appendf(nil, "written by b %d", n))
	}
	eventually(t, "the copy, and the last", func() bool {
		body, err := a.tryGet("/f.txt")
		return err == nil && string(body) == "written by b 19" && len(a.names("/")) == 2
	})
	a.put("f.txt", []byte("written by a, knowing it"))
	a.store.setFail(nil)
	holdInTheEnd(t, all, "written by a written and so on, 130000 bytes", "written by a, knowing it")
}

// The machine that deletes a file had not seen what another one wrote. That the deleter wrote
// it too, and later, does not matter: that is what it wanted to be rid of.
func TestContentSurvivesADeletionThatDidNotKnowItThoughTheDeletersWouldWin(t *testing.T) {
	for _, where := range []string{"", "dir/"} {
		t.Run("f.txt in /"+where, func(t *testing.T) {
			all := machinesApart(t, "a", "b")
			a, b := all[0], all[1]
			dir, depth := root, 1
			if where != "" {
				made, err := a.Mkdir(root, "dir", 0o755, me)
				require.NoError(t, err)
				dir, depth = made.Node, 2
			}
			a.put(where+"f.txt", []byte("first"))
			mark(t, a, b)
			b.store.setFail(unavailable)
			a.store.setFail(failing(objstore.OpPut, "data/"))
			b.put(where+"f.txt", []byte("written by b"))
			if where != "" { // b's doings with the file itself
				from, err := b.Resolve("/dir")
				require.NoError(t, err)
				require.NoError(t, b.Rename(from, "f.txt", from, "g.txt", 0))
			}
			for n := range 20 {
				a.put(where+"f.txt", fmt.Appendf(nil, "written by a %d", n))
			}
			_, err := a.Unlink(dir, "f.txt")
			require.NoError(t, err)
			if depth == 2 {
				require.NoError(t, a.Rmdir(root, "dir"))
			}
			a.store.setFail(nil)
			mark(t, a, a)
			b.store.setFail(nil)
			holdInTheEnd(t, all, "written by b")
		})
	}
}

// A file that another machine did something with stays though it was deleted, with what the deleter
// wrote before: that has to be in the store.
func TestFileThatStaysThoughItWasDeletedHasTheDeletersContent(t *testing.T) {
	for name, remove := range map[string]func(m *machine) error{
		"unlink":      func(m *machine) error { _, err := m.Unlink(root, "f.txt"); return err },
		"rename over": func(m *machine) error { m.put("new", []byte("new")); return m.Rename(root, "new", root, "f.txt", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			all := machinesApart(t, "a", "b")
			a, b := all[0], all[1]
			a.put("f.txt", []byte("first"))
			_, err := a.Mkdir(root, "dir", 0o755, me)
			require.NoError(t, err)
			mark(t, a, b)
			b.store.setFail(unavailable)
			a.store.setFail(failing(objstore.OpPut, "data/"))
			a.put("f.txt", []byte("written by a"))
			require.NoError(t, remove(a))
			n, err := b.Resolve("/f.txt")
			require.NoError(t, err)
			for bits := range uint32(20) { // so that its move is the later one
				require.NoError(t, b.Chmod(n, 0o600+bits))
			}
			dir, err := b.Resolve("/dir")
			require.NoError(t, err)
			require.NoError(t, b.Rename(root, "f.txt", dir, "g.txt", 0))
			a.store.setFail(nil)
			b.store.setFail(nil)
			for _, m := range all {
				m.drain()
			}
			for _, m := range all {
				eventually(t, "the file on "+m.name, func() bool {
					body, err := m.tryGet("/dir/g.txt")
					return err == nil && string(body) == "written by a"
				})
			}
		})
	}
}

// Two machines may have the same name, as those do that are made from one image.
func TestMachinesOfOneNameKeepTheirOwnContentsAlone(t *testing.T) {
	all := machinesApart(t, "pc", "pc", "pc")
	a, b, c := all[0], all[1], all[2]
	a.put("f.txt", []byte("first"))
	mark(t, a, b, c)
	for _, m := range all {
		m.store.setFail(unavailable)
	}
	a.put("f.txt", []byte("written by a"))
	b.put("f.txt", []byte("written by b"))
	_, err := c.Unlink(root, "f.txt")
	require.NoError(t, err)
	for _, m := range all {
		m.store.setFail(nil)
	}
	holdInTheEnd(t, all, "written by a", "written by b")
	mark(t, c, a, b)
	holdInTheEnd(t, all, "written by a", "written by b")
	// Also after a restart, to which what was written before is its own.
	for _, m := range all {
		m.restart()
	}
	holdInTheEnd(t, all, "written by a", "written by b")
}

// What another machine's snapshot brings in at the end of a mount counts like what an update does.
func TestContentSurvivesADeletionThatArrivesInASnapshot(t *testing.T) {
	store := newFaultStore()
	a, b := apart(t, store, "a"), apart(t, store, "b")
	b.startForTest()
	b.put("f.txt", []byte("first"))
	b.drain()
	a.startForTest()
	_, err := b.Unlink(root, "f.txt")
	require.NoError(t, err)
	b.stop()
	a.put("f.txt", []byte("written by a"))
	a.drain()
	a.stop()
	a.start()
	a.drain()
	require.Equal(t, "written by a", string(a.get("/f.txt")))
	b.start()
	require.Equal(t, "written by a", string(b.get("/f.txt")))
}

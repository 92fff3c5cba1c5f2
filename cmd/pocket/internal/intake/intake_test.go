package intake

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
	"github.com/hamflx/pocket/objstore/memstore"
)

var me = fsimpl.Owner{UID: 1000, GID: 1000}

// machine is a directory and a file system that takes it in.
type machine struct {
	t    *testing.T
	from string
	fs   *fsimpl.FS
	log  string
	told []string
	stop func(Progress) // called with every report
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, from: filepath.Join(t.TempDir(), "from"), stop: func(Progress) {}}
	state, err := statedir.Open(t.TempDir(), "state")
	require.NoError(t, err)
	m.log = filepath.Join(state.Path(), "import.log")
	m.fs, err = fsimpl.Open(t.Context(), fsimpl.Options{
		Name: "test", Store: memstore.New(), State: state, Device: "machine", UID: me.UID, GID: me.GID,
		RootMode: 0o755, Poll: -1, ChunkSize: 64 << 10, CacheSize: 64 << 20, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.fs.Close(context.Background(), nil))
		require.NoError(t, state.Close())
	})
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.from, filepath.FromSlash(name))
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(m.t, os.WriteFile(path, []byte(text), 0o600))
}

func (m *machine) open() *Intake {
	m.t.Helper()
	in, err := Open(Options{
		FS: m.fs, Log: m.log, Owner: me, Report: func(p Progress) { m.stop(p) },
		Tell: func(format string, args ...any) { m.told = append(m.told, fmt.Sprintf(format, args...)) },
	}, m.from, false)
	require.NoError(m.t, err)
	return in
}

// all takes everything in.
func (m *machine) all() Outcome {
	m.t.Helper()
	in := m.open()
	require.NoError(m.t, in.Pass(m.t.Context(), m.from))
	o, err := in.Finish()
	require.NoError(m.t, err)
	return o
}

// put writes a file of the store.
func (m *machine) put(name, text string) {
	m.t.Helper()
	n, err := m.fs.Resolve("/" + name)
	var f *fsimpl.File
	if err == nil {
		f, err = m.fs.Open(n, fsimpl.OpenWrite|fsimpl.OpenTruncate)
	} else {
		f, _, err = m.fs.Create(fsimpl.Root, name, 0o600, me, fsimpl.OpenWrite)
	}
	require.NoError(m.t, err)
	_, err = f.WriteAt([]byte(text), 0)
	require.NoError(m.t, err)
	require.NoError(m.t, f.Release())
}

// get returns the content of a file of the store; "-" when there is none.
func (m *machine) get(name string) string {
	m.t.Helper()
	n, err := m.fs.Resolve("/" + name)
	if err != nil {
		return "-"
	}
	f, err := m.fs.Open(n, fsimpl.OpenRead)
	require.NoError(m.t, err)
	defer f.Release()
	body := make([]byte, 8<<20)
	size, err := f.ReadAt(body, 0)
	require.NoError(m.t, err)
	return string(body[:size])
}

// names lists a directory of the store.
func (m *machine) names(dir string) (names []string) {
	m.t.Helper()
	n, err := m.fs.Resolve(dir)
	require.NoError(m.t, err)
	d, err := m.fs.OpenDir(n)
	require.NoError(m.t, err)
	for _, e := range d.Entries() {
		names = append(names, e.Name)
	}
	return names
}

// An intake that was interrupted goes on, and what was changed, renamed or deleted in the
// store since stays so.
func TestGoesOnWhereItStopped(t *testing.T) {
	m := newMachine(t)
	for i := range 20 {
		m.write(fmt.Sprintf("f%02d", i), fmt.Sprint("text ", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.stop = func(p Progress) {
		if p.Files == 10 {
			cancel()
		}
	}
	in := m.open()
	require.ErrorIs(t, in.Pass(ctx, m.from), context.Canceled)
	o, err := in.Abandon()
	require.NoError(t, err)
	require.Equal(t, 10, o.Files)
	begun, ended, err := State(m.log, m.from)
	require.NoError(t, err)
	require.True(t, begun)
	require.False(t, ended)

	_, err = m.fs.Unlink(fsimpl.Root, "f01")
	require.NoError(t, err)
	require.NoError(t, m.fs.Rename(fsimpl.Root, "f02", fsimpl.Root, "renamed", 0))
	m.put("f03", "changed")
	m.put("f15", "made by somebody else")
	m.stop = func(Progress) {}
	o = m.all()
	require.Equal(t, 9, o.Files)
	require.Equal(t, 2, o.Differ, "told of, and not touched")
	for name, text := range map[string]string{
		"f00": "text 0", "f01": "-", "f02": "-", "renamed": "text 2", "f03": "changed", "f14": "text 14", "f15": "made by somebody else", "f19": "text 19",
	} {
		require.Equal(t, text, m.get(name), name)
	}
	_, ended, err = State(m.log, m.from)
	require.NoError(t, err)
	require.True(t, ended)
}

// A process that is killed leaves a file that it had begun, in part.
func TestBegunFileIsCompleted(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"empty", "half", "whole", "other"} {
		m.write(name, "the text of "+name)
	}
	require.NoError(t, m.open().log.close())
	log, err := os.OpenFile(m.log, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = log.WriteString("+ \"empty\"\n+ \"half\"\n+ \"whole\"\n+ \"other\"\n+ \"to")
	require.NoError(t, err)
	require.NoError(t, log.Close())
	m.put("empty", "")
	m.put("half", "the te")
	m.put("whole", "the text of whole")
	m.put("other", "not its beginning")
	o := m.all()
	require.Equal(t, 1, o.Differ)
	require.Len(t, m.told, 1)
	for name, text := range map[string]string{"empty": "the text of empty", "half": "the text of half", "whole": "the text of whole", "other": "not its beginning"} {
		require.Equal(t, text, m.get(name), name)
		info, err := os.Stat(filepath.Join(m.from, name))
		require.NoError(t, err)
		n, err := m.fs.Resolve("/" + name)
		require.NoError(t, err)
		a, err := m.fs.Stat(n)
		require.NoError(t, err)
		require.Equal(t, name != "other", a.Mtime == info.ModTime().UnixMicro(), name)
	}
}

// The same of a link, which has no part but its time.
func TestBegunLinkIsCompleted(t *testing.T) {
	m := newMachine(t)
	m.write("file", "text")
	for _, name := range []string{"begun", "elsewhere"} {
		path := filepath.Join(m.from, name)
		if err := os.Symlink("file", path); err != nil {
			t.Skip("this user may make no links: ", err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Skip("this system does not show that links are links (Wine): ", err)
		}
	}
	in := m.open()
	require.NoError(t, in.log.begin("begun", m.fs))
	require.NoError(t, in.log.begin("elsewhere", m.fs))
	require.NoError(t, in.log.close())
	_, err := m.fs.Symlink(fsimpl.Root, "begun", "file", me)
	require.NoError(t, err)
	_, err = m.fs.Symlink(fsimpl.Root, "elsewhere", "another", me)
	require.NoError(t, err)
	require.Equal(t, 1, m.all().Differ)
	for name, completed := range map[string]bool{"begun": true, "elsewhere": false} {
		info, err := os.Lstat(filepath.Join(m.from, name))
		require.NoError(t, err)
		a, err := m.fs.Lookup(fsimpl.Root, name)
		require.NoError(t, err)
		require.Equal(t, completed, a.Mtime == info.ModTime().UnixMicro(), name)
	}
}

// The second pass finds what was changed while the first one ran.
func TestSecondPassFindsWhatHasChanged(t *testing.T) {
	m := newMachine(t)
	m.write("a/same", "same")
	m.write("a/changed", "before")
	in := m.open()
	require.NoError(t, in.Pass(t.Context(), m.from))
	m.write("a/changed", "afterwards")
	m.write("a/new", "new")
	m.write("b/new", "new")
	require.NoError(t, in.Pass(t.Context(), m.from))
	o, err := in.Finish()
	require.NoError(t, err)
	require.Zero(t, o.Differ+o.Failed+o.Special)
	require.Empty(t, m.told)
	for name, text := range map[string]string{"a/same": "same", "a/changed": "afterwards", "a/new": "new", "b/new": "new"} {
		require.Equal(t, text, m.get(name), name)
	}
}

// endingContext ends at the given call of Err.
type endingContext struct {
	context.Context
	calls int
}

func (c *endingContext) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever the second pass breaks off, a file that the first one copied is whole: as it was then, or as it is now.
func TestSecondPassThatBreaksOffLeavesWholeFiles(t *testing.T) {
	before, after := strings.Repeat("before ", 400_000), strings.Repeat("after ", 600_000)
	halted := 0
	for calls := 1; ; calls++ {
		m := newMachine(t)
		m.write("d/f", before)
		in := m.open()
		require.NoError(t, in.Pass(t.Context(), m.from))
		m.write("d/f", after)
		err := in.Pass(&endingContext{t.Context(), calls}, m.from)
		text := m.get("d/f")
		require.Equal(t, []string{"f"}, m.names("/d"))
		if err == nil {
			require.True(t, after == text)
			_, err = in.Finish()
			require.NoError(t, err)
			break
		}
		halted++
		require.ErrorIs(t, err, context.Canceled)
		require.True(t, before == text || after == text, "%d bytes", len(text))
		_, err = in.Abandon()
		require.NoError(t, err)
	}
	require.Greater(t, halted, 3)
}

// What a killed process left of a file that was to take another's place is removed by the next.
func TestCopyBesideIsSweptAfterAKill(t *testing.T) {
	for _, synced := range []string{"", "sync\n"} {
		m := newMachine(t)
		m.write("f", "text")
		require.NoError(t, m.open().log.close())
		log, err := os.OpenFile(m.log, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = log.WriteString("+ \"" + besidePrefix + "a\"\n+ \"" + besidePrefix + "b\"\n- \"" + besidePrefix + "b\"\n" + synced)
		require.NoError(t, err)
		require.NoError(t, log.Close())
		m.put(besidePrefix+"a", "half")
		m.put(besidePrefix+"b", "a stranger's")
		m.all()
		require.Equal(t, "-", m.get(besidePrefix+"a"))
		require.Equal(t, "a stranger's", m.get(besidePrefix+"b"))
		require.Equal(t, "text", m.get("f"))
	}
}

func TestFileInTheWayOfADirectory(t *testing.T) {
	m := newMachine(t)
	m.write("x/deep", "mine")
	m.write("y", "mine")
	m.put("x", "a file of the store")
	_, err := m.fs.Mkdir(fsimpl.Root, "y", 0o700, me)
	require.NoError(t, err)
	o := m.all()
	require.Equal(t, Outcome{Differ: 2}, o)
	require.Equal(t, "2 were left as the store has them", o.Summary())
	require.Equal(t, "a file of the store", m.get("x"))
	require.True(t, strings.HasPrefix(m.told[0], filepath.Join(m.from, "x")+" is not taken in"))
}

func TestLogOfAnotherVersion(t *testing.T) {
	m := newMachine(t)
	require.NoError(t, os.WriteFile(m.log, []byte("pocket import 9\n"), 0o600))
	_, _, err := State(m.log, m.from)
	require.ErrorContains(t, err, m.log)
}

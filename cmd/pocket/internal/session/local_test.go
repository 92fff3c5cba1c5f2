package session

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// inStore reports whether any object of the store holds a text.
func (m *machine) inStore(text string) (found bool) {
	m.t.Helper()
	require.NoError(m.t, filepath.WalkDir(filepath.Join(m.root, "store"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			body, err := os.ReadFile(path)
			require.NoError(m.t, err)
			found = found || bytes.Contains(body, []byte(text))
		}
		return err
	}))
	return found
}

func TestLocalNamesStayOnThisMachine(t *testing.T) {
	m := newMachine(t)
	c := m.mount("a", "")
	c.LocalNames = []string{"desktop.ini", "$RECYCLE.BIN", "._*"}
	s := m.start(c)
	at := func(name string) string { return filepath.Join(c.Path, filepath.FromSlash(name)) }
	require.NoError(t, os.MkdirAll(at("dir"), 0o700))
	m.write(s, "dir/Desktop.ini", "my icons")
	m.write(s, "dir/file", "for everybody")
	m.write(s, "._x", "my fork")
	require.NoError(t, os.MkdirAll(at("$Recycle.Bin/S-1-5-21"), 0o700))
	m.write(s, "doomed", "put away")
	require.NoError(t, os.Rename(at("doomed"), at("$Recycle.Bin/S-1-5-21/$R1")))
	require.Equal(t, "put away", m.read(s, "$Recycle.Bin/S-1-5-21/$R1"))
	require.NoFileExists(t, at("doomed"))
	require.Error(t, os.Remove(at("dir")), "it is not empty")
	m.stop(s)
	require.True(t, m.inStore("for everybody"))
	for _, text := range []string{"my icons", "my fork", "esktop.ini", "ecycle.Bin", "S-1-5-21"} {
		require.False(t, m.inStore(text), text)
	}

	// They are there again, and can be moved out.
	m.restart()
	s = m.start(c)
	require.Equal(t, "my icons", m.read(s, "dir/Desktop.ini"))
	require.NoError(t, os.Rename(at("dir"), at("moved")))
	require.Equal(t, "my icons", m.read(s, "moved/Desktop.ini"))
	require.NoError(t, os.Rename(at("$Recycle.Bin/S-1-5-21/$R1"), at("back")))
	require.Equal(t, "put away", m.read(s, "back"))
	m.write(s, "moved/Desktop.ini", "others")
	require.NoError(t, os.Remove(at("._x")))
	m.stop(s)

	// Another machine sees what is everybody's.
	require.NoError(t, os.Rename(m.options.DataDir, m.options.DataDir+".first"))
	m.restart()
	other := c
	other.LocalNames = []string{}
	s = m.start(other)
	require.Equal(t, "put away", m.read(s, "back"))
	entries, err := os.ReadDir(at("moved"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.NoDirExists(t, at("$Recycle.Bin"))
	m.write(s, "desktop.ini", "synced")
	m.stop(s)
	require.True(t, m.inStore("synced"))

	// And what that one put into the store is visible on the first.
	require.NoError(t, os.Rename(m.options.DataDir, m.options.DataDir+".second"))
	require.NoError(t, os.Rename(m.options.DataDir+".first", m.options.DataDir))
	m.restart()
	s = m.start(c)
	require.Equal(t, "synced", m.read(s, "desktop.ini"))
	require.Equal(t, "others", m.read(s, "moved/Desktop.ini"))
	m.stop(s)
	kept := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(s.local.dir, "store", "data"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			kept++
		}
		return err
	}))
	require.Equal(t, 1, kept, "what was replaced or removed is not kept for ever")
}

func TestLinuxHasNoLocalNamesByItself(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("of Linux")
	}
	m := newMachine(t)
	s := m.start(m.mount("a", ""))
	m.write(s, "desktop.ini", "ordinary")
	m.stop(s)
	require.True(t, m.inStore("ordinary"))
	require.NoDirExists(t, filepath.Join(s.state.Path(), "local"))
}

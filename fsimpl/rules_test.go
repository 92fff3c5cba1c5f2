package fsimpl_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/fsimpl/winname"
)

// newWindows is a machine by Windows' rules on a store.
func newWindows(t testing.TB, store *faultStore) *machine {
	m := &machine{t: t, store: store, data: t.TempDir(), chunk: 64 << 10, rules: fsimpl.Windows}
	m.startForTest()
	return m
}

func (m *machine) at(path string) fsimpl.Node {
	m.t.Helper()
	n, err := m.Resolve(path)
	require.NoError(m.t, err, path)
	return n
}

func (m *machine) list(path string) (names []string) {
	m.t.Helper()
	d, err := m.OpenDir(m.at(path))
	require.NoError(m.t, err)
	for _, e := range d.Entries() {
		names = append(names, e.Name)
	}
	return names
}

func (m *machine) make(path string) fsimpl.Node {
	m.t.Helper()
	dir, name := path[:strings.LastIndexByte(path, '/')], path[strings.LastIndexByte(path, '/')+1:]
	f, a, err := m.Create(m.at(dir), name, 0o644, me, readWrite)
	require.NoError(m.t, err)
	_, err = f.WriteAt([]byte(name), 0)
	require.NoError(m.t, err)
	require.NoError(m.t, f.Flush())
	require.NoError(m.t, f.Release())
	return a.Node
}

func (m *machine) text(path string) string {
	m.t.Helper()
	f, err := m.Open(m.at(path), fsimpl.OpenRead)
	require.NoError(m.t, err)
	p := make([]byte, 1000)
	n, err := f.ReadAt(p, 0)
	require.NoError(m.t, err)
	require.NoError(m.t, f.Release())
	return string(p[:n])
}

func TestCaseIsKeptAndDoesNotCountOnWindows(t *testing.T) {
	m := newWindows(t, newFaultStore())
	n := m.make("/Readme.TXT")
	require.Equal(t, n, m.at("/README.txt"))
	path, err := m.Path(n)
	require.NoError(t, err)
	require.Equal(t, "/Readme.TXT", path)
	_, _, err = m.Create(root, "readme.txt", 0o644, me, readWrite)
	require.Equal(t, fsimpl.Exist, fsimpl.KindOf(err))
	_, err = m.Mkdir(root, "README.TXT", 0o755, me)
	require.Equal(t, fsimpl.Exist, fsimpl.KindOf(err))
	_, err = m.Symlink(root, "README.TXT", "x", me)
	require.Equal(t, fsimpl.Exist, fsimpl.KindOf(err))

	// The case alone.
	require.NoError(t, m.Rename(root, "readme.TXT", root, "readMe.txt", 0))
	require.Equal(t, []string{"readMe.txt"}, m.list("/"))
	require.Equal(t, n, m.at("/readme.txt"))
	require.NoError(t, m.Rename(root, "README.txt", root, "Readme.txt", fsimpl.RenameNoReplace))
	require.Equal(t, []string{"Readme.txt"}, m.list("/"))

	// Over another one, which is called differently.
	other := m.make("/new")
	require.Equal(t, fsimpl.Exist, fsimpl.KindOf(m.Rename(root, "NEW", root, "README.txt", fsimpl.RenameNoReplace)))
	require.NoError(t, m.Rename(root, "NEW", root, "README.txt", 0))
	require.Equal(t, []string{"README.txt"}, m.list("/"))
	require.Equal(t, other, m.at("/readme.txt"))
	_, err = m.Unlink(root, "readme.TXT")
	require.NoError(t, err)
	require.Empty(t, m.list("/"))
}

// What Linux made is there on Windows, whatever it is called, and works.
func TestWindowsShowsEverythingThatLinuxMade(t *testing.T) {
	store := newFaultStore()
	linux := newMachine(t, store, 64<<10)
	_, err := linux.Mkdir(root, "Dir", 0o755, me)
	require.NoError(t, err)
	_, err = linux.Mkdir(root, "dir", 0o755, me)
	require.NoError(t, err)
	names := []string{"/a", "/A", "/CON", "/nul.txt", "/x.", "/x ", "/a:b", "/\uf03a", "/Dir/in", "/dir/in", "/dir/COM1 .x."}
	for _, p := range names {
		linux.make(p)
	}
	linux.stop()

	win := newWindows(t, store)
	shown := win.list("/")
	require.Len(t, shown, 10)
	require.Subset(t, shown, []string{"a", "Dir", "\uf043ON", "\uf06eul.txt", "x\uf02e", "x\uf020", "a:b", "\uf0fe\uf13a"})
	var upper, second string
	for _, name := range shown {
		switch {
		case strings.HasPrefix(name, "A (case conflict "):
			upper = name
		case strings.HasPrefix(name, "dir (case conflict "):
			second = name
		}
	}
	require.Equal(t, "A", win.text("/"+upper))
	require.Equal(t, "a", win.text("/A"))
	require.Equal(t, "a:b", win.text("/A\uf03aB"))
	require.Equal(t, "COM1 .x.", win.text("/"+strings.ToUpper(second)+"/com1 .x\uf02e"))
	for _, p := range []string{"/" + upper, "/" + second + "/\uf043OM1 .x\uf02e", "/x\uf020"} {
		path, err := win.Path(win.at(p))
		require.NoError(t, err)
		require.Equal(t, p, path)
	}

	// What is done to it is done to it.
	f, err := win.Open(win.at("/"+upper), readWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("more"), 1)
	require.NoError(t, err)
	require.NoError(t, f.Flush())
	require.NoError(t, f.Release())
	require.NoError(t, win.Rename(root, upper, root, strings.ToUpper(upper[:1])+upper[1:], 0), "to what it is shown as already")
	require.NoError(t, win.Rename(root, "x\uf02e", root, "y ", 0))
	require.NoError(t, win.Rename(win.at("/"+second), "in", root, "out", 0))
	_, err = win.Unlink(root, "\uf043ON")
	require.NoError(t, err)
	_, err = win.Mkdir(root, "aux\uf02e", 0o755, me)
	require.NoError(t, err)
	win.stop()

	linux.start()
	require.ElementsMatch(t, []string{"a", "A", "nul.txt", "x ", "y ", "a:b", "\uf03a", "Dir", "dir", "out", "aux."}, linux.list("/"))
	require.Equal(t, "Amore", linux.text("/A"))
	require.Equal(t, "a", linux.text("/a"))
	require.Equal(t, []string{"COM1 .x."}, linux.list("/dir"))

	win.start()
	require.NoError(t, win.Rename(root, upper, root, "B", 0))
	_, err = win.Unlink(root, "A")
	require.NoError(t, err)
	win.stop()
	linux.stop()
	linux.start()
	require.NotContains(t, linux.list("/"), "a")
	require.Equal(t, "Amore", linux.text("/B"))
}

// Editors write beside a file and rename over it. The file that they save keeps its name, and one
// that differs in case alone keeps the one it is shown by, here and everywhere.
func TestSavingOverOneOfTwinsKeepsTheirNames(t *testing.T) {
	store := newFaultStore()
	linux := newMachine(t, store, 64<<10)
	for _, p := range []string{"/Readme", "/README", "/readme"} {
		linux.make(p)
	}
	linux.stop()
	win := newWindows(t, store)
	shown := win.list("/")
	for _, name := range []string{"one", "two"} {
		win.make("/" + name)
		require.NoError(t, win.Rename(root, name, root, "Readme", 0))
		require.ElementsMatch(t, shown, win.list("/"))
		require.Equal(t, name, win.text("/readme"))
	}
	win.stop()
	win.start()
	require.ElementsMatch(t, shown, win.list("/"))
	require.Equal(t, "two", win.text("/Readme"))
	win.stop()
	other := newWindows(t, store)
	require.ElementsMatch(t, shown, other.list("/"))
	require.Equal(t, "two", other.text("/Readme"))
	other.stop()
	linux.start()
	require.Equal(t, []string{"README", "two", "readme"}, []string{linux.text("/README"), linux.text("/Readme"), linux.text("/readme")})
}

func TestNamesThatWindowsCannotHaveSurviveBothWays(t *testing.T) {
	store := newFaultStore()
	linux := newMachine(t, store, 64<<10)
	var names []string
	for _, s := range []string{"CON", "prn.a.b", "AUX ", "NUL.", "COM¹", "lpt0.txt", "a<b>", "q?*", "tab\there", "back\\slash", " lead", "trail. .", "\uf02e", "\uf0fe\uf102", "ß", "ẞẞ", strings.Repeat("文", 83) + "ab."} {
		names = append(names, s)
		linux.make("/" + s)
	}
	linux.stop()
	win := newWindows(t, store)
	for _, shown := range win.list("/") {
		require.Contains(t, names, winname.Stored(shown))
		require.NoError(t, win.Rename(root, shown, root, "moved", 0))
		require.NoError(t, win.Rename(root, "MOVED", root, shown, 0))
		require.Contains(t, win.list("/"), shown)
	}
	win.stop()
	linux.start()
	require.ElementsMatch(t, names, linux.list("/"))
}

func TestCaseCountsOnLinux(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	m.make("/a")
	m.make("/A")
	require.ElementsMatch(t, []string{"a", "A"}, m.list("/"))
	_, err := m.Lookup(root, "CON")
	require.Equal(t, fsimpl.NotExist, fsimpl.KindOf(err))
	m.make("/\uf043ON")
	require.Contains(t, m.list("/"), "\uf043ON")
}

func TestTimeThatWasSetOutlivesOpenHandlesOnWindows(t *testing.T) {
	for _, rules := range []fsimpl.Rules{fsimpl.Windows, fsimpl.POSIX} {
		m := &machine{t: t, store: newFaultStore(), data: t.TempDir(), chunk: 64 << 10, rules: rules}
		m.start()
		old, _, err := m.Create(root, "f", 0o644, me, readWrite)
		require.NoError(t, err)
		n := old.Node()
		write := func(f *fsimpl.File) {
			_, err := f.WriteAt([]byte("x"), 0)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(5))
		}
		mtime := func() int64 {
			a, err := m.Stat(n)
			require.NoError(t, err)
			return a.Mtime
		}
		write(old)
		set := int64(1_000_000_000_000_000)
		require.NoError(t, m.SetTimes(n, nil, &set))
		require.Equal(t, set, mtime())
		write(old)
		frozen := mtime() == set
		require.Equal(t, rules == fsimpl.Windows, frozen)
		require.NoError(t, old.Flush())
		require.Equal(t, frozen, mtime() == set)
		fresh, err := m.Open(n, readWrite)
		require.NoError(t, err)
		require.Equal(t, frozen, mtime() == set, "opening changes nothing")
		write(fresh)
		require.NotEqual(t, set, mtime())
		require.NoError(t, fresh.Release())
		require.NoError(t, old.Release())
		require.NotEqual(t, set, mtime())
		m.stop()
	}
}

func TestChangeTimeIsShownUntilTheNextChange(t *testing.T) {
	m := newWindows(t, newFaultStore())
	n := m.make("/f")
	for _, set := range []int64{5_000_000, 7_000_000} {
		require.NoError(t, m.SetChanged(n, set))
		a, err := m.Stat(n)
		require.NoError(t, err)
		require.Equal(t, set, a.Ctime)
	}
	require.NoError(t, m.SetAttributes(n, 2))
	a, err := m.Stat(n)
	require.NoError(t, err)
	require.Greater(t, a.Ctime, int64(7_000_000))
}

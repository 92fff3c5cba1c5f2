package loroindex

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/stretchr/testify/require"
)

// clock is a clock of a test: every reading is one microsecond later.
func clock(unix int64) func() time.Time {
	t := time.Unix(unix, 0)
	return func() time.Time {
		t = t.Add(time.Microsecond)
		return t
	}
}

func testIndex(t testing.TB, device string, blobs ...[]byte) *Index {
	t.Helper()
	x, err := Open(Options{Device: device, Now: clock(1_700_000_000)}, blobs...)
	require.NoError(t, err)
	return x
}

// do runs an Update and returns what it recorded.
func do(t testing.TB, x *Index, fn func(tx *Tx) error) *Op {
	t.Helper()
	op, err := try(x, fn)
	require.NoError(t, err)
	return op
}

func try(x *Index, fn func(tx *Tx) error) (*Op, error) {
	var got *Op
	err := x.Update(fn, func(op Op) { got = &op })
	return got, err
}

var (
	fileInfo = Info{Kind: File, Mode: 0o644, UID: -1, GID: -1}
	dirInfo  = Info{Kind: Dir, Mode: 0o755, UID: -1, GID: -1}
)

func content(s string) Content {
	return Content{Size: int64(len(s)), ModTime: 5, Object: objectid.Of([]byte(s))}
}

// mk makes what a path names: a directory if it ends in "/", else a file whose
// content is its path.
func mk(t testing.TB, x *Index, path string) Node {
	t.Helper()
	var n Node
	do(t, x, func(tx *Tx) error {
		dir, isDir := strings.CutSuffix(path, "/")
		parent, name := Root, dir
		if i := strings.LastIndexByte(dir, '/'); i >= 0 {
			e, _, err := resolveTx(tx, dir[:i])
			require.NoError(t, err)
			parent, name = e, dir[i+1:]
		}
		var err error
		if isDir {
			n, err = tx.Create(parent, name, dirInfo, Content{})
		} else {
			n, err = tx.Create(parent, name, fileInfo, content(path))
		}
		return err
	})
	return n
}

func resolveTx(tx *Tx, path string) (Node, Entry, error) {
	n, e := Root, Entry{}
	for name := range strings.SplitSeq(path, "/") {
		var err error
		if e, err = tx.Lookup(n, name); err != nil {
			return NoNode, Entry{}, err
		}
		n = e.Node
	}
	return n, e, nil
}

// tree lists an index: one line per path, in order of paths.
func tree(t testing.TB, x *Index) []string {
	t.Helper()
	var lines []string
	var walk func(dir Node, prefix string)
	walk = func(dir Node, prefix string) {
		entries, err := x.ReadDir(dir, nil)
		require.NoError(t, err)
		for _, de := range entries {
			e, err := x.Stat(de.Node)
			require.NoError(t, err)
			require.Equal(t, dir, e.Parent, "%s%s", prefix, de.Name)
			require.Equal(t, de.Name, e.Name)
			require.Equal(t, de.Ino, e.Ino)
			got, err := x.Lookup(dir, de.Name)
			require.NoError(t, err)
			require.Equal(t, e, got)
			path := prefix + de.Name
			p, err := x.Path(de.Node)
			require.NoError(t, err)
			require.Equal(t, path, p)
			lines = append(lines, line(path, e))
			if e.Kind == Dir {
				walk(de.Node, path+"/")
			}
		}
	}
	walk(Root, "")
	sort.Strings(lines)
	return lines
}

func line(path string, e Entry) string {
	if e.Kind == Dir {
		return fmt.Sprintf("%s/ %o", path, e.Mode)
	}
	return fmt.Sprintf("%s %v %o %d %.4x", path, e.Kind, e.Mode, e.Size, e.Object[:])
}

// paths lists an index by path alone.
func paths(t testing.TB, x *Index) []string {
	t.Helper()
	out := []string{}
	for _, l := range tree(t, x) {
		// Names of tests hold no " file " or "/ ".
		if i := strings.Index(l, " file "); i >= 0 {
			l = l[:i]
		} else if i := strings.Index(l, "/ "); i >= 0 {
			l = l[:i+1]
		}
		out = append(out, l)
	}
	sort.Strings(out)
	return out
}

func find(t testing.TB, x *Index, path string) Node {
	t.Helper()
	e, err := x.Resolve(path)
	require.NoError(t, err, path)
	return e.Node
}

// syncAll exchanges everything between indexes, until all know all.
func syncAll(t testing.TB, xs ...*Index) {
	t.Helper()
	for _, from := range xs {
		for _, to := range xs {
			if from != to {
				pass(t, from, to)
			}
		}
	}
	for _, x := range xs {
		for _, y := range xs {
			require.True(t, x.Version().Covers(y.Version()))
		}
	}
}

// pass gives to what from knows.
func pass(t testing.TB, from, to *Index) Changes {
	t.Helper()
	from.mu.RLock()
	blob, err := from.doc.ExportUpdates(to.Version())
	from.mu.RUnlock()
	require.NoError(t, err)
	c, err := to.Import(blob)
	require.NoError(t, err)
	return c
}

func TestCreatedTreeIsListedAndSurvivesReopening(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "docs/")
	mk(t, x, "docs/a.txt")
	mk(t, x, "docs/b.txt")
	mk(t, x, "readme")
	want := []string{"docs/", "docs/a.txt", "docs/b.txt", "readme"}
	require.Equal(t, want, paths(t, x))
	require.Equal(t, Stats{Files: 3, Dirs: 1, Bytes: 26, Complete: true, Peers: 1, Ops: 17}, x.Stats())

	snap, v, err := x.ExportSnapshot()
	require.NoError(t, err)
	require.Equal(t, x.Version(), v)
	y := testIndex(t, "berta", snap)
	require.False(t, y.Stats().Complete)
	require.Equal(t, tree(t, x), tree(t, y))
	s := y.Stats()
	require.True(t, s.Complete)
	require.Equal(t, int64(26), s.Bytes)
	require.Equal(t, 3, s.Files)
	require.Equal(t, 1, s.Dirs)
}

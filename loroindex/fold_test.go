package loroindex

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestNamesAreFoundInAnySpelling(t *testing.T) {
	x := testIndex(t, "anna")
	for _, p := range []string{"Readme.TXT", "ÄRGER", "a", "Kelvin", "d/", "d/Straße", "ⱥ"} {
		mk(t, x, p)
	}
	look := func(name, want string) {
		t.Helper()
		e, err := x.Folded().Lookup(Root, name)
		if want == "" {
			require.ErrorIs(t, err, ErrNotExist, name)
			return
		}
		require.NoError(t, err, name)
		require.Equal(t, want, e.Name)
	}
	for name, want := range map[string]string{
		"readme.txt": "Readme.TXT", "Readme.TXT": "Readme.TXT", "ärger": "ÄRGER", "a": "a", "A": "a",
		"\u212aELVIN": "Kelvin", "Ⱥ": "ⱥ", "readme": "", "": "", "straße": "",
	} {
		look(name, want)
	}
	e, err := x.Folded().Resolve("/D//STRAßE/")
	require.NoError(t, err)
	require.Equal(t, "Straße", e.Name)
	_, err = x.Folded().Lookup(find(t, x, "a"), "x")
	require.ErrorIs(t, err, ErrNotDir)
	_, err = x.Folded().Resolve("a/x")
	require.ErrorIs(t, err, ErrNotDir)
	_, err = x.Folded().Resolve("no/x")
	require.ErrorIs(t, err, ErrNotExist)

	// It follows what changes after the first look.
	mk(t, x, "NEW")
	look("new", "NEW")
	do(t, x, func(tx *Tx) error { _, err := tx.Rename(find2(tx, "NEW"), Root, "Newer", true); return err })
	look("new", "")
	look("NEWER", "Newer")
	do(t, x, func(tx *Tx) error { return tx.Remove(find2(tx, "Newer")) })
	look("newer", "")
}

// shownIn lists a directory as shown without regard to case; each name leads back to its
// node, in any spelling, and no two fold to one.
func shownIn(t *testing.T, x *Index, d Node) (names []string) {
	t.Helper()
	entries, err := x.Folded().ReadDir(d, nil)
	require.NoError(t, err)
	seen := make(map[string]bool)
	for _, e := range entries {
		names = append(names, e.Name)
		require.NoError(t, CheckName(e.Name))
		key := strings.ToUpper(strings.ToLower(e.Name))
		require.False(t, seen[key], e.Name)
		seen[key] = true
		path, err := x.Folded().Path(e.Node)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix("/"+path, "/"+e.Name))
		for _, spelling := range []string{e.Name, strings.ToUpper(e.Name)} {
			found, err := x.Folded().Lookup(d, spelling)
			require.NoError(t, err, spelling)
			require.Equal(t, e.Node, found.Node, spelling)
		}
	}
	return names
}

func TestNamesThatFoldToOneAreAllShown(t *testing.T) {
	x := testIndex(t, "anna")
	for _, p := range []string{"two.txt", "Two.txt", "TWO.txt", "other", "d/", "D/", "d/in", "D/in"} {
		mk(t, x, p)
	}
	mark := func(p string) string { return caseMark(x.ino(find(t, x, p)))[:8] }
	require.Equal(t, []string{
		"two.txt", "Two (case conflict " + mark("Two.txt") + ").txt", "TWO (case conflict " + mark("TWO.txt") + ").txt", "other",
		"d", "D (case conflict " + mark("D") + ")",
	}, shownIn(t, x, Root))
	path, err := x.Folded().Path(find(t, x, "D/in"))
	require.NoError(t, err)
	require.Equal(t, "D (case conflict "+mark("D")+")/in", path)
	e, err := x.Folded().Resolve(path)
	require.NoError(t, err)
	require.Equal(t, find(t, x, "D/in"), e.Node)

	// Another machine with the same document shows the same.
	blob, _, err := x.ExportSnapshot()
	require.NoError(t, err)
	y := testIndex(t, "bert", blob)
	require.Equal(t, shownIn(t, x, Root), shownIn(t, y, Root))

	// Whoever is left has its name.
	do(t, x, func(tx *Tx) error { return tx.Remove(find2(tx, "two.txt")) })
	require.Equal(t, "Two.txt", shownIn(t, x, Root)[0])
}

func TestNamesThatLookLikeCaseConflicts(t *testing.T) {
	x := testIndex(t, "anna")
	mk(t, x, "a")
	n := mk(t, x, "A")
	short := caseConflictName("A", x.ino(n), 1)
	// Somebody's file has the very name: it keeps it, and the other has a longer one.
	mk(t, x, short)
	require.Equal(t, []string{"a", caseConflictName("A", x.ino(n), 2), short}, shownIn(t, x, Root))
	mk(t, x, strings.ToUpper(caseConflictName("A", x.ino(n), 2)))
	require.Equal(t, caseConflictName("A", x.ino(n), 3), shownIn(t, x, Root)[1])
	for _, name := range []string{"A (case conflict 00000000)", "A (case conflict )", "A (case conflict", " (case conflict 12345678)", "A (case conflict 1234567g)", "\xff (case conflict 12345678)"} {
		_, err := x.Folded().Lookup(Root, name)
		require.ErrorIs(t, err, ErrNotExist, name)
	}
}

func TestLongNamesThatFoldToOne(t *testing.T) {
	x := testIndex(t, "anna")
	for _, p := range []string{
		strings.Repeat("x", 251) + ".txt", strings.Repeat("x", 251) + ".TXT", strings.Repeat("x", 250) + "X.txt",
		strings.Repeat("ö", 127), strings.Repeat("Ö", 127), strings.Repeat("文", 84) + "a", strings.Repeat("文", 84) + "A",
	} {
		mk(t, x, p)
	}
	require.Len(t, shownIn(t, x, Root), 7)
}

// What a system cannot show has the beginning of its name and its inode number, and is found by that.
func TestNamesThatCannotBeShown(t *testing.T) {
	x, err := New(Options{Device: "anna", Shows: func(name string) bool {
		return len(name)+strings.Count(name, "!") <= MaxName
	}})
	require.NoError(t, err)
	names := []string{strings.Repeat("!", 200) + ".txt", strings.Repeat("!", 199) + "?.txt", strings.Repeat("!", 200) + ".TXT",
		strings.Repeat("x", 250) + "!!!!", strings.Repeat("!", 90), strings.Repeat("ö", 100) + strings.Repeat("!", 55),
		"a (case conflict 12345678)" + strings.Repeat("!", 220)}
	for _, name := range names {
		mk(t, x, name)
	}
	first, err := x.Folded().Lookup(Root, names[0])
	require.NoError(t, err)
	mk(t, x, shortName(names[0], first.Ino, 1, x.shows)) // somebody's file has the very name
	shown := shownIn(t, x, Root)
	require.Len(t, shown, len(names)+1)
	for _, as := range shown {
		require.True(t, x.shows(as), as)
		for _, spelled := range []string{as, strings.ToUpper(as)} {
			e, err := x.Folded().Lookup(Root, spelled)
			require.NoError(t, err, spelled)
			path, err := x.Folded().Path(e.Node)
			require.NoError(t, err)
			require.Equal(t, as, path)
		}
	}
	require.Contains(t, shown, strings.Repeat("!", 90))
	as := shownAs(t, x, names[3])
	do(t, x, func(tx *Tx) error {
		e, err := tx.FoldLookup(Root, as)
		require.NoError(t, err)
		require.Equal(t, names[3], e.Name)
		return tx.Remove(e.Node)
	})
}

// shownAs returns what an entry of the root is shown as.
func shownAs(t *testing.T, x *Index, name string) string {
	t.Helper()
	e, err := x.Lookup(Root, name)
	require.NoError(t, err)
	path, err := x.Folded().Path(e.Node)
	require.NoError(t, err)
	return path
}

func FuzzParseCaseConflict(f *testing.F) {
	f.Add("a.b", uint64(1))
	f.Add(strings.Repeat("ö", 120), uint64(1)<<60)
	f.Add("x (case conflict 12345678).y", uint64(7))
	f.Fuzz(func(t *testing.T, name string, ino uint64) {
		parseCaseConflict(name)
		if CheckName(name) != nil {
			return
		}
		for nth := range 3 {
			shown := caseConflictName(name, ino, nth+1)
			if CheckName(shown) != nil {
				t.Fatalf("%q becomes %q", name, shown)
			}
			for _, s := range []string{shown, strings.Map(func(r rune) rune {
				if 'a' <= r && r <= 'z' {
					r -= 'a' - 'A'
				}
				return r
			}, shown)} {
				base, mark, cut, ok := parseCaseConflict(s)
				if !ok || !strings.HasPrefix(caseMark(ino), mark) || !cut && !strings.EqualFold(base, name) {
					t.Fatalf("%q becomes %q, which is read as %q, %s", name, s, base, mark)
				}
			}
		}
	})
}

func TestWhatFoldsTogetherHashesTogether(t *testing.T) {
	x := testIndex(t, "anna")
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if f := unicode.SimpleFold(r); f != r {
			require.Equal(t, x.hashFolded(Root, "a"+string(r)), x.hashFolded(Root, "A"+string(f)), "%U and %U", r, f)
		}
	}
}

package loroindex

import (
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

func TestFoldLookup(t *testing.T) {
	x := testIndex(t, "anna")
	for _, p := range []string{"Readme.TXT", "ÄRGER", "a", "A", "Kelvin", "d/", "d/Straße", "ⱥ"} {
		mk(t, x, p)
	}
	look := func(name, want string) {
		t.Helper()
		e, err := x.FoldLookup(Root, name)
		if want == "" {
			require.ErrorIs(t, err, ErrNotExist, name)
			return
		}
		require.NoError(t, err, name)
		require.Equal(t, want, e.Name)
	}
	for name, want := range map[string]string{
		"readme.txt": "Readme.TXT", "Readme.TXT": "Readme.TXT", "ärger": "ÄRGER", "a": "a", "A": "A",
		"\u212aELVIN": "Kelvin", "Ⱥ": "ⱥ", "readme": "", "": "", "straße": "",
	} {
		look(name, want)
	}
	e, err := x.FoldLookup(find(t, x, "d"), "STRAßE")
	require.NoError(t, err)
	require.Equal(t, "Straße", e.Name)
	_, err = x.FoldLookup(find(t, x, "a"), "x")
	require.ErrorIs(t, err, ErrNotDir)

	// It follows what changes after the first look.
	mk(t, x, "NEW")
	look("new", "NEW")
	do(t, x, func(tx *Tx) error { _, err := tx.Rename(find2(tx, "NEW"), Root, "Newer", true); return err })
	look("new", "")
	look("NEWER", "Newer")
	do(t, x, func(tx *Tx) error { return tx.Remove(find2(tx, "Newer")) })
	look("newer", "")
	mk(t, x, "two")
	mk(t, x, "TWO")
	mk(t, x, "Two")
	look("tWO", "TWO")
}

func TestWhatFoldsTogetherHashesTogether(t *testing.T) {
	x := testIndex(t, "anna")
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if f := unicode.SimpleFold(r); f != r {
			require.Equal(t, x.hashFolded(Root, "a"+string(r)), x.hashFolded(Root, "A"+string(f)), "%U and %U", r, f)
		}
	}
}

package winname

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestNamesAreShownAndTakenBack(t *testing.T) {
	for stored, shown := range map[string]string{
		"plain.txt": "plain.txt", "a b": "a b", ".x": ".x", "ä文": "ä文", "x.y z": "x.y z",
		strings.Repeat("x", 252) + ".": strings.Repeat("x", 252) + "\uf02e",
		"x.":                           "x\uf02e", "x ": "x\uf020", "...": "..\uf02e", " ": "\uf020", "x. .": "x. \uf02e",
		"CON": "\uf043ON", "con.txt": "\uf063on.txt", "Nul .x": "\uf04eul .x", "aux.": "\uf061ux\uf02e", "lpt9": "\uf06cpt9",
		"com¹.log": "\uf063om¹.log", "CONIN$": "\uf043ONIN$", "conout$.a": "\uf063onout$.a",
		"CONSOLE": "CONSOLE", "com": "com", "com10": "com10", "x.con": "x.con", "com:1": "com:1",
		"a:b":    "a:b", // WinFsp's
		"\uf03a": "\uf0fe\uf13a", "a\uf02e": "a\uf0fe\uf12e", "a\uf02eb": "a\uf02eb", "\uf043ON": "\uf0fe\uf143ON", "\uf043AT": "\uf043AT",
		"\uf0fe": "\uf0fe", "\uf0fe\uf13a": "\uf0fe\uf1fe\uf13a", "\uf0fe\uf0fe\uf13a": "\uf0fe\uf0fe\uf1fe\uf13a", "\uf100": "\uf100",
	} {
		require.Equal(t, shown, Show(stored), "%+q", stored)
		require.Equal(t, stored, Stored(shown), "%+q", shown)
	}
	require.Equal(t, "a:b?", Stored("a\uf03ab\uf03f"), "what WinFsp replaces comes back from elsewhere too")
	require.Equal(t, "CON", Stored("CON"), "programs that can name it mean it")
}

// winFsp is what WinFsp makes of a name and takes back.
func winFsp(name string) (shown, back string) {
	shown = strings.Map(func(r rune) rune {
		if Invalid(r) {
			return r + 0xf000
		}
		return r
	}, name)
	back = strings.Map(func(r rune) rune {
		if Invalid(r - 0xf000) {
			return r - 0xf000
		}
		return r
	}, shown)
	return shown, back
}

func check(t *testing.T, name string) {
	t.Helper()
	if name == "" || !utf8.ValidString(name) || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return
	}
	ours := Show(name)
	shown, back := winFsp(ours)
	if got := Stored(back); got != name {
		t.Fatalf("%+q is shown as %+q and comes back as %+q", name, shown, got)
	}
	if got := Stored(shown); got != name {
		t.Fatalf("%+q is shown as %+q and, without WinFsp, comes back as %+q", name, shown, got)
	}
	if fits := len(ours) <= most; Fits(name) != fits {
		t.Fatalf("%+q is shown as %+q; that it fits is %v", name, shown, !fits)
	}
	if strings.ContainsFunc(shown, Invalid) || strings.HasSuffix(shown, ".") || strings.HasSuffix(shown, " ") || reserved(shown) {
		t.Fatalf("%+q is shown as %+q, which Windows cannot have", name, shown)
	}
	units := 0
	for _, r := range shown {
		units += max(1, utf8.RuneLen(r)-2)
	}
	if units > 255 {
		t.Fatalf("%+q is shown in %d characters", name, units)
	}
}

// Names put together of what has a meaning here come back, whatever the order.
func TestEveryNameComesBack(t *testing.T) {
	parts := []string{"CON", "con", "nul", "COM", "1", "¹", ".", " ", ":", "?", "\\", "\x01", "x", "ö", "IN$",
		"\uf043", "\uf063", "\uf02e", "\uf020", "\uf03a", "\uf02f", "\uf000", "\uf0fe", "\uf100", "\uf12e", "\uf143", "\uf1fe", "\uf1ff", "\U0001f600"}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		var b strings.Builder
		for range 1 + rng.IntN(6) {
			b.WriteString(parts[rng.IntN(len(parts))])
		}
		check(t, b.String())
	}
	check(t, strings.Repeat("\uf03a", 85))
	check(t, strings.Repeat(":", 255))
}

func FuzzNamesComeBack(f *testing.F) {
	for _, s := range []string{"CON.txt", "x.", "\uf0fe\uf13a", "a:b ", "com¹"} {
		f.Add(s)
	}
	f.Fuzz(check)
}

func FuzzStored(f *testing.F) {
	f.Add("\uf043ON\uf02e")
	f.Fuzz(func(t *testing.T, name string) {
		if stored := Stored(name); utf8.ValidString(name) != utf8.ValidString(stored) {
			t.Fatalf("%+q becomes %+q", name, stored)
		}
	})
}

func BenchmarkShow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Show("quarterly-report-2026.xlsx")
	}
}

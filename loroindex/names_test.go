package loroindex

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"a", "a b", "...", ".x", "ä", "a\u0308", "文件", "CON", "a:b", `a\b`, strings.Repeat("x", 255)} {
		require.NoError(t, CheckName(ok), "%q", ok)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "/", "a\x00", "\xff", "a\xed\xa0\x80"} {
		require.ErrorIs(t, CheckName(bad), ErrName, "%q", bad)
	}
	require.ErrorIs(t, CheckName(strings.Repeat("x", 256)), ErrNameLong)
	require.ErrorIs(t, CheckName(strings.Repeat("文", 86)), ErrNameLong)
}

func TestConflictNames(t *testing.T) {
	const at = 1_795_356_309 // 2026-11-22 14:05:09 UTC
	for _, c := range []struct {
		given, device string
		unix          int64
		nth           int
		want          string
	}{
		{"a.txt", "anna", at, 1, "a (conflict anna 2026-11-22 14.05.09).txt"},
		{"a.txt", "anna", at, 2, "a (conflict anna 2026-11-22 14.05.09 2).txt"},
		{"a", "anna", at, 1, "a (conflict anna 2026-11-22 14.05.09)"},
		{".bashrc", "anna", at, 1, ".bashrc (conflict anna 2026-11-22 14.05.09)"},
		{"a.tar.gz", "anna", at, 1, "a.tar (conflict anna 2026-11-22 14.05.09).gz"},
		{"Mr. X", "anna", at, 1, "Mr. X (conflict anna 2026-11-22 14.05.09)"},
		{"a.txt", "", at, 1, "a (conflict 2026-11-22 14.05.09).txt"},
		{"a.txt", "", 0, 1, "a (conflict).txt"},
		{"a.txt", `A/B\C:"D"`, at, 1, "a (conflict A-B-C--D- 2026-11-22 14.05.09).txt"},
	} {
		require.Equal(t, c.want, conflictName(c.given, c.device, c.unix, c.nth))
	}
}

func TestLongConflictNamesStayDistinctAndFit(t *testing.T) {
	long := strings.Repeat("文", 84)
	seen := make(map[string]bool)
	for _, given := range []string{long + "a", long + "b", long[3:] + ".txt", long[3:] + ".doc", strings.Repeat("x", 255), strings.Repeat("y", 255)} {
		for nth := range 3 {
			name := conflictName(given, strings.Repeat("device", 20), 1_795_356_309, nth+1)
			require.NoError(t, CheckName(name))
			require.False(t, seen[name], name)
			seen[name] = true
		}
	}
}

func TestSafeNames(t *testing.T) {
	for name, want := range map[string]string{
		"ok.txt": "ok.txt",
		"":       "unnamed (name not usable 000000000000002a)",
		"..":     "unnamed (name not usable 000000000000002a)",
		"a/b.c":  "a_b (name not usable 000000000000002a).c",
		"a\x00":  "a_ (name not usable 000000000000002a)",
	} {
		require.Equal(t, want, safeName(name, 42))
	}
}

func FuzzSafeName(f *testing.F) {
	f.Add("a/b", uint64(1))
	f.Add(strings.Repeat("x.", 300), uint64(7))
	f.Fuzz(func(t *testing.T, name string, ino uint64) {
		safe := safeName(name, ino)
		if err := CheckName(safe); err != nil {
			t.Fatalf("%q becomes %q: %v", name, safe, err)
		}
		if safeName(safe, ino) != safe {
			t.Fatalf("%q is not final", safe)
		}
		device := cutName(name, 100)
		for nth := 1; nth < 3; nth++ {
			if c := conflictName(safe, device, 1_700_000_000, nth); CheckName(c) != nil || !utf8.ValidString(c) {
				t.Fatalf("%q in conflict becomes %q", safe, c)
			}
		}
	})
}

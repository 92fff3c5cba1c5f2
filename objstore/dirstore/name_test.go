package dirstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

func TestNamesAreOnesThatEverySystemKeeps(t *testing.T) {
	for key, want := range map[string]string{
		"index/head":     "index/head",
		"Ssh":            "%53sh",
		".git/x.":        "%2egit/x%2e",
		"...":            "%2e.%2e",
		"con/con.x/cons": "%63on/%63on.x/cons",
		"com0/com/com10": "%63om0/com/com10",
		"a b%~":          "a%20b%25%7e",
		"\u00e9":         "%c3%a9",
		`a\b:c`:          "a%5cb%3ac",
	} {
		got, err := pathOf(key)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", key)
	}
}

func FuzzNamesAreReversible(f *testing.F) {
	for _, seed := range []string{"index/head", "A/b", "%41", "con", "..", ".pocket-tmp", "a%2fb", "\u00e9", "x.", "%2e%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if objstore.CheckKey(s) == nil {
			if p, err := pathOf(s); err == nil {
				var back []string
				for name := range strings.SplitSeq(p, "/") {
					require.Equal(t, strings.ToLower(name), name, "no two names differ by case alone")
					segment, ok := segmentOf(name)
					require.True(t, ok, "%q", name)
					back = append(back, segment)
				}
				require.Equal(t, s, strings.Join(back, "/"))
			}
		}
		// s as a file name that somebody else may have given.
		if segment, ok := segmentOf(s); ok {
			require.NoError(t, objstore.CheckKey(segment))
			p, err := pathOf(segment)
			require.NoError(t, err)
			require.Equal(t, s, p)
		}
	})
}

package loroindex

import (
	"math"
	"strings"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/stretchr/testify/require"
)

func TestKeysRoundTrip(t *testing.T) {
	for _, s := range []Span{{1, 0, 1}, {math.MaxUint64, 5, math.MaxInt32}, {0xabc, 0x10, 0x11}} {
		got, err := ParseUpdateKey(UpdateKey(s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	require.Equal(t, "index/updates/0000000000000abc/00000010-00000011", UpdateKey(Span{0xabc, 0x10, 0x11}))

	id := objectid.Of([]byte("x"))
	got, err := ParseObjectKey(ObjectKey(id))
	require.NoError(t, err)
	require.Equal(t, id, got)
}

func TestForeignKeysAreRefused(t *testing.T) {
	good := UpdateKey(Span{0xabc, 0x10, 0x11})
	for _, bad := range []string{
		"", "index/updates/", good[1:], good + "0", strings.ToUpper(good), strings.Replace(good, "-", "_", 1),
		"index/updates/0000000000000abc/00000011-00000011", // empty
		"index/updates/0000000000000abc/00000012-00000011",
		"index/updates/0000000000000abc/00000010-80000000", // beyond 31 bits
		"index/updates/0000000000000abg/00000010-00000011",
		"index/updates/0000000000000abc+00000010-00000011",
	} {
		_, err := ParseUpdateKey(bad)
		require.Error(t, err, "%q", bad)
	}
	for _, bad := range []string{"", "index/objects/", "index/objects/ab", "data/" + strings.Repeat("a", 64), "index/objects/" + strings.Repeat("A", 64)} {
		_, err := ParseObjectKey(bad)
		require.Error(t, err, "%q", bad)
	}
}

func FuzzParseUpdateKey(f *testing.F) {
	f.Add(UpdateKey(Span{0xabc, 0x10, 0x11}))
	f.Fuzz(func(t *testing.T, key string) {
		if s, err := ParseUpdateKey(key); err == nil && (UpdateKey(s) != key || s.Start < 0 || s.Start >= s.End) {
			t.Fatalf("%q is read as %v, which is %q", key, s, UpdateKey(s))
		}
	})
}

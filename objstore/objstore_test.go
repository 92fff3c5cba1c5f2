package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/memstore"
)

func TestCheckKeyRefusesWhatSomeStoreCannotHold(t *testing.T) {
	for _, good := range []string{"a", "index/head", "a b+c#d%2F?e", "...", ".a", "a..", "\u30dd\u30b1\u30c3\u30c8/\u00e9", strings.Repeat("x", objstore.MaxKeyLen)} {
		require.NoError(t, objstore.CheckKey(good), "%q", good)
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "./a", "a\nb", "a\x00", "\x7f", "\xff", "\uffff",
		strings.Repeat("x", objstore.MaxKeyLen+1)} {
		require.ErrorIs(t, objstore.CheckKey(bad), objstore.ErrInvalidKey, "%q", bad)
	}
}

func TestNormalizePrefixJoinsAsTheFirstPocketDid(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/": "", " \t": "", "ssh": "ssh/", "ssh/": "ssh/", "/ssh": "ssh/", "  //ssh/x \n": "ssh/x/", "a b": "a b/",
	} {
		got, err := objstore.NormalizePrefix(in)
		require.NoError(t, err, "%q", in)
		require.Equal(t, want, got, "%q", in)
	}
	for _, bad := range []string{"..", "a//b", "ssh//", "./ssh", "a\x00"} {
		_, err := objstore.NormalizePrefix(bad)
		require.ErrorIs(t, err, objstore.ErrInvalidKey, "%q", bad)
	}
}

func TestErrorIsOneLineAndMatchesItsKindAlone(t *testing.T) {
	err := error(&objstore.Error{Op: objstore.OpGet, Key: "data/ab12", Store: `s3 bucket "x"`, Kind: objstore.ErrUnavailable,
		Err: fmt.Errorf("first\nsecond: %w: %w", fs.ErrNotExist, context.DeadlineExceeded)})
	require.Equal(t, `get data/ab12 from s3 bucket "x": store unavailable: first second: file does not exist: context deadline exceeded`, err.Error())
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.NotErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, objstore.Retryable(err))

	err = objstore.CheckKey(strings.Repeat("long ", 300))
	require.NotContains(t, err.Error(), "\n")
	require.Less(t, len(err.Error()), 400)
}

func TestPrefixedErrorsNameTheKeyOfTheStore(t *testing.T) {
	s := objstore.WithPrefix(memstore.New(), "ssh")
	_, err := s.Get(t.Context(), "index/head", 10)
	require.ErrorIs(t, err, objstore.ErrNotExist)
	require.ErrorContains(t, err, "ssh/index/head")
}

func TestPrefixSeesOnlyWhatIsBelowIt(t *testing.T) {
	ctx := t.Context()
	inner := memstore.New()
	for _, key := range []string{"a", "ssh", "ssh-2/x", "ssh/x", "ssh0"} {
		require.NoError(t, inner.Put(ctx, key, []byte(key)))
	}
	s := objstore.WithPrefix(inner, "ssh/")
	list := s.List(ctx, "", "")
	for range 2 { // a sequence can be run again
		var keys []string
		for info, err := range list {
			require.NoError(t, err)
			keys = append(keys, info.Key)
		}
		require.Equal(t, []string{"x"}, keys)
	}
	body, err := s.Get(ctx, "x", 100)
	require.NoError(t, err)
	require.Equal(t, "ssh/x", string(body))
	for _, bad := range []string{"", "../a", "/x"} {
		_, err := s.Get(ctx, bad, 100)
		require.ErrorIs(t, err, objstore.ErrInvalidKey, "%q", bad)
	}
}

func TestPrefixThatNoKeyCanHaveFailsEveryCall(t *testing.T) {
	ctx := t.Context()
	s := objstore.WithPrefix(memstore.New(), "a//b")
	require.ErrorIs(t, s.Put(ctx, "x", nil), objstore.ErrInvalidKey)
	require.ErrorIs(t, s.Delete(ctx, "x"), objstore.ErrInvalidKey)
	_, err := s.Get(ctx, "x", 1)
	require.ErrorIs(t, err, objstore.ErrInvalidKey)
	for _, err = range s.List(ctx, "", "") {
		require.ErrorIs(t, err, objstore.ErrInvalidKey)
	}
	require.Error(t, err)
}

// bare hides all but the four methods.
type bare struct{ objstore.Store }

func TestAsOffersOnlyWhatTheInnermostStoreHas(t *testing.T) {
	ctx := t.Context()
	inner := memstore.New()
	require.NoError(t, inner.Put(ctx, "p/q/k", []byte("v")))

	s := objstore.WithPrefix(objstore.WithPrefix(inner, "p"), "q")
	getter, ok := objstore.As[objstore.ConditionalGetter](s)
	require.True(t, ok)
	body, etag, err := getter.GetIfChanged(ctx, "k", "", 10)
	require.NoError(t, err)
	require.Equal(t, "v", string(body))
	_, _, err = getter.GetIfChanged(ctx, "k", etag, 10)
	require.ErrorIs(t, err, objstore.ErrNotModified)
	id, ok := objstore.As[objstore.Identifier](s)
	require.True(t, ok)
	require.Equal(t, `memory prefix "p/" prefix "q/"`, id.Identity())

	s = objstore.WithPrefix(objstore.WithPrefix(bare{inner}, "p"), "q")
	_, ok = objstore.As[objstore.ConditionalGetter](s)
	require.False(t, ok)
	_, ok = objstore.As[objstore.Stater](s)
	require.False(t, ok)
	_, ok = objstore.As[objstore.Identifier](bare{inner})
	require.False(t, ok)

	// Who does not ask gets an error, not a panic.
	_, err = s.(objstore.Stater).Stat(ctx, "k")
	require.True(t, errors.Is(err, objstore.ErrFailed), "%v", err)
}

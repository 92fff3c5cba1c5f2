// Package storetest tells whether an object store keeps the promises of
// package objstore, and makes stores fail on purpose.
//
// [Run] is the conformance suite: a new store passes it before anything else
// is built on it. [Faulty] is a store that fails as told, for the tests of
// those who use stores. An S3 server for tests is in package s3test below.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
)

// RunAll runs the suite against the stores that open returns, and again
// against them behind objstore.WithPrefix and objstore.WithRetry.
func RunAll(t *testing.T, open func(t *testing.T) objstore.Store) {
	t.Run("Plain", func(t *testing.T) { Run(t, open) })
	t.Run("Decorated", func(t *testing.T) {
		Run(t, func(t *testing.T) objstore.Store {
			inner := open(t)
			// What lies around the prefix must not be seen.
			putAll(t, inner, []string{"a", "box-/x", "box.", "box0", "boxes/x", "c"})
			return objstore.WithRetry(objstore.WithPrefix(inner, "box"), objstore.RetryPolicy{MinWait: time.Microsecond})
		})
	})
}

// Run runs the conformance suite. open is called for each part of it and
// returns an empty store, which it closes by t.Cleanup if there is a need.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s objstore.Store)
	}{
		{"GetReturnsWhatPutWrote", testRoundTrip},
		{"AllKeysThatCheckKeyAcceptsWork", testKeys},
		{"InvalidKeysAreRefused", testInvalidKeys},
		{"KeyBelowAnotherKeyIsKeptOrRefused", testNestedKey},
		{"PutReplacesTheWholeObject", testOverwrite},
		{"MissingObjectIsErrNotExist", testMissing},
		{"DeleteRemoves", testDelete},
		{"LargerThanMaxIsErrTooLarge", testMax},
		{"BodiesAreNotShared", testOwnership},
		{"EmptyStoreListsNothing", testListEmpty},
		{"ListSelectsByPrefixAndAfter", testListSelection},
		{"ListPastAThousandKeys", testListManyKeys},
		{"ListCanBeRunAgainAndStopped", testListTwice},
		{"ListDuringChangesMissesNothing", testListDuringChanges},
		{"InfoDescribesTheObject", testInfo},
		{"GetDuringPutSeesOneWholeObject", testConcurrentPutGet},
		{"ParallelPutsOfTheSameBytes", testParallelPuts},
		{"PutsBesideDeletesAreNotLost", testPutsBesideDeletes},
		{"EndedContextIsReportedAsItself", testContext},
		{"GetIfChangedNoticesEveryChange", testGetIfChanged},
		{"IdentityNamesThePlace", testIdentity},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// noLimit is a max that no object of the suite reaches.
const noLimit = 1 << 30

func put(t *testing.T, s objstore.Store, key string, body []byte) {
	t.Helper()
	require.NoError(t, s.Put(t.Context(), key, body), "put %q", key)
}

func get(t *testing.T, s objstore.Store, key string) []byte {
	t.Helper()
	body, err := s.Get(t.Context(), key, noLimit)
	require.NoError(t, err, "get %q", key)
	return body
}

func list(t *testing.T, s objstore.Store, prefix, after string) []objstore.Info {
	t.Helper()
	var infos []objstore.Info
	for info, err := range s.List(t.Context(), prefix, after) {
		require.NoError(t, err, "list %q after %q", prefix, after)
		infos = append(infos, info)
	}
	return infos
}

func listKeys(t *testing.T, s objstore.Store, prefix, after string) []string {
	t.Helper()
	keys := []string{}
	for _, info := range list(t, s, prefix, after) {
		keys = append(keys, info.Key)
	}
	return keys
}

// putAll puts the keys, each as its own body, some at a time.
func putAll(t *testing.T, s objstore.Store, keys []string) {
	t.Helper()
	parallel(t, 16, len(keys), func(i int) error { return s.Put(t.Context(), keys[i], []byte(keys[i])) })
}

// parallel calls f for 0 to n-1 from several goroutines and fails the test
// with the first error.
func parallel(t *testing.T, workers, n int, f func(i int) error) {
	t.Helper()
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
}

func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	body := make([]byte, n)
	rand.NewChaCha8(key).Read(body)
	return body
}

func testRoundTrip(t *testing.T, s objstore.Store) {
	for i, size := range []int{0, 1, 1000, 64 << 10, 1<<20 + 1, 9 << 20} {
		key := fmt.Sprintf("data/%d", size)
		want := randomBytes(uint64(i), size)
		put(t, s, key, want)
		got := get(t, s, key)
		require.Len(t, got, size)
		require.True(t, bytes.Equal(want, got), "the bytes of %s differ", key)
	}
	put(t, s, "nil", nil)
	require.Empty(t, get(t, s, "nil"))
}

func testKeys(t *testing.T, s objstore.Store) {
	keys := []string{
		"plain", "with space", " ", "  two", "trailing ", "trailing.", "...", ".hidden", "a+b", "a%2Fb", "a%2fb", "a%", "%00", "a#b", "a?b=c&d", "a;b", "a=b", "a&amp;b",
		"a'b", `a"b`, "a<b>c", "a|b", "a*b", `a\b`, "a:b", "C:", "~", "a~1", "$x", "!x", "(x)", "[x]", "{x}", "^x", "`x`", "@x", ",x",
		"case", "Case", "CASE", "con", "CON", "nul.txt", "aux", "com1", "lpt9.x", "clock$", "conin$",
		"\u00e9", "e\u0301", "\u00c9", "\u00df", "ss", "\u30dd\u30b1\u30c3\u30c8", "\uac00", "\u212a", "k", "K", "\U0001f5dd\ufe0f", "\u0085", "\u200b", "\ufeff", "\ufffd", "\u2028",
		"dir/x", "dir/x y/z", "dir-x", "dir.x", "dir0", "dir/Con/nul", "dir/.x/ /%/x", "Dir/x", "index/updates/00000000deadbeef/00000000-0000ffff",
		"long/" + strings.Repeat("n", 200),
		strings.Repeat(strings.Repeat("s", 99)+"/", 10) + "x",
		"x/" + strings.Repeat("\u30dd", 28),
	}
	putAll(t, s, keys)
	slices.Sort(keys)
	require.Equal(t, keys, listKeys(t, s, "", ""))
	for i, key := range keys {
		require.Equal(t, key, string(get(t, s, key)))
		require.Equal(t, keys[i+1:], listKeys(t, s, "", key), "after %q", key)
		require.Contains(t, listKeys(t, s, key, ""), key)
	}
	for _, key := range keys {
		require.NoError(t, s.Delete(t.Context(), key), "delete %q", key)
	}
	require.Empty(t, listKeys(t, s, "", ""))
}

func testInvalidKeys(t *testing.T, s objstore.Store) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "..", "a/../../b", ".", "a/./b", "a\x00b", "a\nb", "\xff\xfe", strings.Repeat("k", objstore.MaxKeyLen+1)} {
		_, err := s.Get(t.Context(), key, noLimit)
		require.ErrorIs(t, err, objstore.ErrInvalidKey, "get %q", key)
		require.ErrorIs(t, s.Put(t.Context(), key, []byte("x")), objstore.ErrInvalidKey, "put %q", key)
		require.ErrorIs(t, s.Delete(t.Context(), key), objstore.ErrInvalidKey, "delete %q", key)
		if s, ok := objstore.As[objstore.ConditionalGetter](s); ok {
			_, _, err := s.GetIfChanged(t.Context(), key, "", noLimit)
			require.ErrorIs(t, err, objstore.ErrInvalidKey, "get %q", key)
		}
		if s, ok := objstore.As[objstore.Stater](s); ok {
			_, err := s.Stat(t.Context(), key)
			require.ErrorIs(t, err, objstore.ErrInvalidKey, "stat %q", key)
		}
	}
	require.Empty(t, listKeys(t, s, "", ""))
}

func testNestedKey(t *testing.T, s objstore.Store) {
	for _, pair := range [][2]string{{"upper", "upper/below"}, {"second/below", "second"}} {
		put(t, s, pair[0], []byte("first"))
		if err := s.Put(t.Context(), pair[1], []byte("second")); err != nil {
			require.ErrorIs(t, err, objstore.ErrInvalidKey)
			_, err := s.Get(t.Context(), pair[1], noLimit)
			require.ErrorIs(t, err, objstore.ErrNotExist)
			require.NoError(t, s.Delete(t.Context(), pair[1]))
		} else {
			require.Equal(t, "second", string(get(t, s, pair[1])))
		}
		require.Equal(t, "first", string(get(t, s, pair[0])))
		// Once the first is gone, nothing stands in the second's way.
		require.NoError(t, s.Delete(t.Context(), pair[0]))
		put(t, s, pair[1], []byte("again"))
		require.Equal(t, "again", string(get(t, s, pair[1])))
	}
}

func testOverwrite(t *testing.T, s objstore.Store) {
	for _, size := range []int{100_000, 10, 0, 2_000_000} {
		want := randomBytes(uint64(size), size)
		put(t, s, "index/head", want)
		require.True(t, bytes.Equal(want, get(t, s, "index/head")), "after a put of %d bytes", size)
		infos := list(t, s, "", "")
		require.Len(t, infos, 1)
		require.EqualValues(t, size, infos[0].Size)
	}
}

func testMissing(t *testing.T, s objstore.Store) {
	put(t, s, "folder/object", []byte("x"))
	for _, key := range []string{"missing", "folder", "folder/missing", "missing/object", "folder/object/below", "folder/objec", "Folder/object", "folder/object "} {
		_, err := s.Get(t.Context(), key, noLimit)
		require.ErrorIs(t, err, objstore.ErrNotExist, "get %q", key)
		require.ErrorContains(t, err, key)
		require.False(t, objstore.Retryable(err))
		if s, ok := objstore.As[objstore.ConditionalGetter](s); ok {
			_, _, err := s.GetIfChanged(t.Context(), key, "", noLimit)
			require.ErrorIs(t, err, objstore.ErrNotExist, "get %q", key)
		}
		if s, ok := objstore.As[objstore.Stater](s); ok {
			_, err := s.Stat(t.Context(), key)
			require.ErrorIs(t, err, objstore.ErrNotExist, "stat %q", key)
		}
		require.NoError(t, s.Delete(t.Context(), key), "delete %q", key)
	}
	require.Equal(t, []string{"folder/object"}, listKeys(t, s, "", ""))
}

func testDelete(t *testing.T, s objstore.Store) {
	putAll(t, s, []string{"a/1", "a/2", "b"})
	require.NoError(t, s.Delete(t.Context(), "a/1"))
	require.NoError(t, s.Delete(t.Context(), "a/1"))
	_, err := s.Get(t.Context(), "a/1", noLimit)
	require.ErrorIs(t, err, objstore.ErrNotExist)
	require.Equal(t, []string{"a/2", "b"}, listKeys(t, s, "", ""))
	require.NoError(t, s.Delete(t.Context(), "a/2"))
	require.Equal(t, []string{"b"}, listKeys(t, s, "", ""))
	put(t, s, "a/1", []byte("again"))
	require.Equal(t, "again", string(get(t, s, "a/1")))
}

func testMax(t *testing.T, s objstore.Store) {
	put(t, s, "empty", nil)
	put(t, s, "object", make([]byte, 1000))
	for _, c := range []struct {
		key string
		max int64
		ok  bool
	}{{"empty", 0, true}, {"object", 1000, true}, {"object", 1 << 60, true}, {"object", 999, false}, {"object", 0, false}} {
		body, err := s.Get(t.Context(), c.key, c.max)
		if c.ok {
			require.NoError(t, err, "%s, max %d", c.key, c.max)
			continue
		}
		require.ErrorIs(t, err, objstore.ErrTooLarge, "%s, max %d", c.key, c.max)
		require.Empty(t, body)
		if s, ok := objstore.As[objstore.ConditionalGetter](s); ok {
			_, _, err := s.GetIfChanged(t.Context(), c.key, "", c.max)
			require.ErrorIs(t, err, objstore.ErrTooLarge, "%s, max %d", c.key, c.max)
		}
	}
}

func testOwnership(t *testing.T, s objstore.Store) {
	body := []byte("original")
	put(t, s, "k", body)
	clear(body)
	got := get(t, s, "k")
	require.Equal(t, "original", string(got))
	clear(got)
	require.Equal(t, "original", string(get(t, s, "k")))
	// What is appended to one result does not show in another.
	_ = append(get(t, s, "k")[:0], "XXXXXXXXXXXX"...)
	require.Equal(t, "original", string(get(t, s, "k")))
}

func testListEmpty(t *testing.T, s objstore.Store) {
	require.Empty(t, listKeys(t, s, "", ""))
	require.Empty(t, listKeys(t, s, "data/", ""))
	require.Empty(t, listKeys(t, s, "", "data/"))
}

func testListSelection(t *testing.T, s objstore.Store) {
	all := []string{"a", "b-/x", "b.", "b/1", "b/10", "b/1x/y", "b/2", "b0", "bb", "c/d/e/f", "c/d/g", "\u00e9/x"}
	putAll(t, s, all)
	for _, prefix := range []string{"", "a", "a/", "b", "b/", "b/1", "b/1/", "b/1x", "b/1x/", "b/1x/y", "b/1x/y/", "c/", "c/d", "c/d/e/", "d", "\u00e9", "zz", "b-", "b ", "B", "/", "//", "..", "b/../b"} {
		for _, after := range append([]string{"", "0", "b", "b-", "b/", "b/1/", "b/15", "b/1x/", "b/1x/z", "b/3", "bz", "c/d/e", "c/d/e/g", "zzz", "\u00e9/x/", "~", "b/1 ", "B/X", "..", "/"}, all...) {
			want := []string{}
			for _, key := range all {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			require.Equal(t, want, listKeys(t, s, prefix, after), "prefix %q, after %q", prefix, after)
		}
	}
}

func testListManyKeys(t *testing.T, s objstore.Store) {
	const n = 1020 // S3 lists a thousand at a time
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("many/%04d", i)
	}
	putAll(t, s, keys)
	putAll(t, s, []string{"before", "z-after"})
	require.Equal(t, keys, listKeys(t, s, "many/", ""))
	require.Len(t, listKeys(t, s, "", ""), n+2)
	for _, i := range []int{0, 5, 18, 19, 20, 998, 999, 1000, n - 1} {
		require.Equal(t, keys[i+1:], listKeys(t, s, "many/", keys[i]), "after %s", keys[i])
	}
	require.Equal(t, keys[500:], listKeys(t, s, "many/", keys[499]+"x"), "after a key that is none")
}

func testListTwice(t *testing.T, s objstore.Store) {
	putAll(t, s, []string{"p/a", "p/b", "p/c"})
	seq := s.List(t.Context(), "p/", "p/a")
	for range 2 {
		var keys []string
		for info, err := range seq {
			require.NoError(t, err)
			keys = append(keys, info.Key)
			break
		}
		require.Equal(t, []string{"p/b"}, keys)
	}
}

func testListDuringChanges(t *testing.T, s objstore.Store) {
	var stay []string
	for i := range 100 {
		stay = append(stay, fmt.Sprintf("d%d/stay%02d", i%3, i))
	}
	putAll(t, s, stay)
	slices.Sort(stay)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var changeErr error
	wg.Go(func() {
		for i := 0; ctx.Err() == nil && changeErr == nil; i++ {
			key := fmt.Sprintf("d%d/come-and-go/%02d", i%3, i%50)
			changeErr = errors.Join(s.Put(t.Context(), key, []byte("x")), s.Delete(t.Context(), key))
		}
	})
	for range 10 {
		var seen []string
		last := ""
		for _, key := range listKeys(t, s, "", "") {
			require.Less(t, last, key, "ascending, and each once")
			last = key
			if strings.Contains(key, "/stay") {
				seen = append(seen, key)
			}
		}
		require.Equal(t, stay, seen)
	}
	stop()
	wg.Wait()
	require.NoError(t, changeErr)
}

func testInfo(t *testing.T, s objstore.Store) {
	put(t, s, "a/empty", nil)
	put(t, s, "a/object", make([]byte, 4321))
	infos := list(t, s, "a/", "")
	require.Len(t, infos, 2)
	require.EqualValues(t, 0, infos[0].Size)
	require.EqualValues(t, 4321, infos[1].Size)
	for _, info := range infos {
		require.False(t, info.ModTime.IsZero())
		if s, ok := objstore.As[objstore.Stater](s); ok {
			stat, err := s.Stat(t.Context(), info.Key)
			require.NoError(t, err)
			require.Equal(t, info.Key, stat.Key)
			require.Equal(t, info.Size, stat.Size)
			// S3 tells whole seconds in one place and milliseconds in another.
			require.WithinDuration(t, info.ModTime, stat.ModTime, time.Second)
		}
	}
}

func testConcurrentPutGet(t *testing.T, s objstore.Store) {
	// Each body is one byte value over and over, its length given by the value.
	body := func(v byte) []byte { return bytes.Repeat([]byte{v}, 1+int(v)*1000) }
	whole := func(got []byte) error {
		if len(got) == 0 || !bytes.Equal(got, body(got[0])) {
			return fmt.Errorf("a mixture: %d bytes, the first is %v", len(got), got[:min(1, len(got))])
		}
		return nil
	}
	put(t, s, "index/tip", body(1))
	written := make(chan struct{})
	read := func() error { // as long as somebody writes
		for {
			got, err := s.Get(t.Context(), "index/tip", noLimit)
			if err == nil {
				err = whole(got)
			}
			if err != nil {
				return err
			}
			select {
			case <-written:
				return nil
			default:
			}
		}
	}
	var errs [2]error
	var readers sync.WaitGroup
	for r := range errs {
		readers.Go(func() { errs[r] = read() })
	}
	func() {
		defer close(written)
		parallel(t, 2, 100, func(i int) error { return s.Put(t.Context(), "index/tip", body(byte(2*i))) })
	}()
	readers.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	require.NoError(t, whole(get(t, s, "index/tip")))
}

func testParallelPuts(t *testing.T, s objstore.Store) {
	want := randomBytes(7, 300_000)
	parallel(t, 16, 32, func(int) error { return s.Put(t.Context(), "data/same", want) })
	require.True(t, bytes.Equal(want, get(t, s, "data/same")))
	require.Equal(t, []string{"data/same"}, listKeys(t, s, "", ""))
}

func testPutsBesideDeletes(t *testing.T, s objstore.Store) {
	// A folder that has become empty may go, but not from under a Put.
	parallel(t, 8, 160, func(i int) error {
		key := fmt.Sprintf("deep/er/%d", i%8)
		want := fmt.Sprint(i)
		if err := s.Put(t.Context(), key, []byte(want)); err != nil {
			return err
		}
		got, err := s.Get(t.Context(), key, noLimit)
		if err != nil {
			return err
		}
		if string(got) != want {
			return fmt.Errorf("%s is %q, want %q", key, got, want)
		}
		return s.Delete(t.Context(), key)
	})
	require.Empty(t, listKeys(t, s, "", ""))
}

func testContext(t *testing.T, s objstore.Store) {
	putAll(t, s, []string{"a", "b"})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for ctx, want := range map[context.Context]error{cancelled: context.Canceled, late: context.DeadlineExceeded} {
		_, err := s.Get(ctx, "a", noLimit)
		require.ErrorIs(t, err, want)
		require.False(t, objstore.Retryable(err))
		require.ErrorIs(t, s.Put(ctx, "new", []byte("x")), want)
		require.ErrorIs(t, s.Delete(ctx, "a"), want)
		for _, prefix := range []string{"", "no such key"} {
			err = nil
			for _, err = range s.List(ctx, prefix, "") {
				require.Error(t, err)
			}
			require.ErrorIs(t, err, want, "list %q", prefix)
		}
		if s, ok := objstore.As[objstore.ConditionalGetter](s); ok {
			_, _, err := s.GetIfChanged(ctx, "a", "", noLimit)
			require.ErrorIs(t, err, want)
		}
		if s, ok := objstore.As[objstore.Stater](s); ok {
			_, err := s.Stat(ctx, "a")
			require.ErrorIs(t, err, want)
		}
	}
	require.Equal(t, []string{"a", "b"}, listKeys(t, s, "", ""), "nothing was written or deleted")
}

func testGetIfChanged(t *testing.T, plain objstore.Store) {
	s, ok := objstore.As[objstore.ConditionalGetter](plain)
	if !ok {
		t.Skip("the store has no conditional get")
	}
	ctx := t.Context()
	put(t, plain, "index/tip", []byte("one"))
	body, first, err := s.GetIfChanged(ctx, "index/tip", "", noLimit)
	require.NoError(t, err)
	require.Equal(t, "one", string(body))
	require.NotEmpty(t, first)
	_, _, err = s.GetIfChanged(ctx, "index/tip", first, noLimit)
	require.ErrorIs(t, err, objstore.ErrNotModified)

	// The same size, as quickly after as can be.
	etag := first
	for i := range 50 {
		want := fmt.Sprintf("%03d", i)
		put(t, plain, "index/tip", []byte(want))
		body, next, err := s.GetIfChanged(ctx, "index/tip", etag, noLimit)
		require.NoError(t, err, "change %d went unnoticed", i)
		require.Equal(t, want, string(body))
		require.NotEqual(t, etag, next)
		etag = next
	}
	_, _, err = s.GetIfChanged(ctx, "index/tip", etag, noLimit)
	require.ErrorIs(t, err, objstore.ErrNotModified)
	require.NoError(t, plain.Delete(ctx, "index/tip"))
	_, _, err = s.GetIfChanged(ctx, "index/tip", etag, noLimit)
	require.ErrorIs(t, err, objstore.ErrNotExist)
}

func testIdentity(t *testing.T, s objstore.Store) {
	id, ok := objstore.As[objstore.Identifier](s)
	if !ok {
		t.Skip("the store has no identity")
	}
	require.NotEmpty(t, id.Identity())
	require.NotContains(t, id.Identity(), "\n")
}

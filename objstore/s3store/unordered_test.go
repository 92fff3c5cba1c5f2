package s3store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/s3store"
)

// byAge is a store in a service that lists keys in the order given, as rclone serve s3 does by their ages: a listing begins
// behind the key that is asked for, wherever that is.
func byAge(t *testing.T, keys []string) *s3store.Store {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		left := keys
		if token := r.URL.Query().Get("continuation-token"); token != "" {
			n, err := strconv.Atoi(token)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			left = keys[n:]
		} else if n := slices.Index(keys, r.URL.Query().Get("start-after")); n >= 0 {
			left = keys[n+1:]
		}
		at := len(keys) - len(left)
		page := left[:min(len(left), 1000)]
		fmt.Fprintf(w, "<ListBucketResult><Name>bucket</Name><IsTruncated>%t</IsTruncated><NextContinuationToken>%d</NextContinuationToken>",
			len(page) < len(left), at+len(page))
		for _, key := range page {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size></Contents>", key, len(key))
		}
		fmt.Fprint(w, "</ListBucketResult>")
	}))
	t.Cleanup(server.Close)
	return open(t, s3store.Config{Bucket: "bucket", Region: "us-east-1", Endpoint: server.URL,
		Credentials: func(context.Context) (string, string, string, error) { return "id", "secret", "", nil }})
}

func keysFrom(from, to int) (keys []string) {
	for n := from; n < to; n++ {
		keys = append(keys, fmt.Sprintf("k/%06d", n))
	}
	return keys
}

func TestServiceThatListsInNoOrder(t *testing.T) {
	keys := keysFrom(0, 2500)
	shuffled := slices.Clone(keys)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(keys), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	s := byAge(t, append(shuffled, shuffled[7])) // one twice
	for range 2 {
		listed, err := list(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, keys, listed)
	}
	var rest []string
	for info, err := range s.List(t.Context(), "k/", keys[1000]) {
		require.NoError(t, err)
		require.EqualValues(t, len(info.Key), info.Size)
		rest = append(rest, info.Key)
	}
	require.Equal(t, keys[1001:], rest)
	for range s.List(t.Context(), "", "") {
		break
	}
}

// The keys of one peer after those of another look like a listing in order for a while.
func TestServiceWhoseOrderEndsLate(t *testing.T) {
	s := byAge(t, append(keysFrom(3000, 9000), keysFrom(0, 3000)...))
	listed, err := list(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, keysFrom(0, 9000), listed)

	// Here it is too late, and what was listed first was not the first; the next time that is known.
	s = byAge(t, append(keysFrom(3000, 15000), keysFrom(0, 3000)...))
	listed, err = list(t.Context(), s)
	require.ErrorIs(t, err, objstore.ErrCorrupt)
	require.ErrorContains(t, err, "ascend")
	require.True(t, slices.IsSorted(listed))
	listed, err = list(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, keysFrom(0, 15000), listed)
}

// A listing without an end is not sorted.
func TestListingWithoutAnEndAndOrder(t *testing.T) {
	page := strings.Repeat("<Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents>", 500)
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		fmt.Fprintf(w, "<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>%s</ListBucketResult>", n, page)
	}))
	t.Cleanup(server.Close)
	s := open(t, s3store.Config{Bucket: "bucket", Region: "us-east-1", Endpoint: server.URL,
		Credentials: func(context.Context) (string, string, string, error) { return "id", "secret", "", nil }})
	listed, err := list(t.Context(), s)
	require.ErrorIs(t, err, objstore.ErrCorrupt)
	require.Empty(t, listed)
}

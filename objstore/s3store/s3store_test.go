package s3store_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore"
	"github.com/hamflx/pocket/objstore/s3store"
	"github.com/hamflx/pocket/objstore/storetest"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// configOf returns the configuration for a server's bucket.
func configOf(srv *s3test.Server) s3store.Config {
	return s3store.Config{
		Bucket: srv.Bucket, Region: srv.Region, Endpoint: srv.Endpoint,
		Credentials: func(context.Context) (id, secret, session string, err error) {
			return srv.AccessKeyID, srv.SecretAccessKey, "", nil
		},
	}
}

func open(t *testing.T, cfg s3store.Config) *s3store.Store {
	t.Helper()
	s, err := s3store.Open(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

func TestConformance(t *testing.T) {
	srv := s3test.New(t)
	var buckets atomic.Int64
	storetest.RunAll(t, func(t *testing.T) objstore.Store {
		cfg := configOf(srv)
		cfg.Bucket = fmt.Sprintf("bucket-%d", buckets.Add(1))
		require.NoError(t, srv.CreateBucket(cfg.Bucket))
		return open(t, cfg)
	})
}

func TestGetHashedUsesTheMemoryItIsGivenAndHashesWhatArrives(t *testing.T) {
	srv := s3test.New(t)
	retried := objstore.WithRetry(objstore.WithPrefix(open(t, configOf(srv)), "p"), objstore.RetryPolicy{MinWait: time.Microsecond})
	s, ok := objstore.As[objstore.HashedGetter](retried)
	require.True(t, ok)
	for _, size := range []int{0, 1, 100_000, 3<<20 + 7} {
		want := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(size)}).Read(want)
		require.NoError(t, srv.SetObject("p/k", want))
		cut := 0
		srv.SetFault(s3test.On(s3test.GetObject, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if cut++; cut == 1 && size > 1 {
				s3test.CutBody(size/2)(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}))
		memory, asked := make([]byte, size+10), 0
		body, sum, err := s.GetHashed(t.Context(), "k", noLimit, func(n int64) []byte {
			require.EqualValues(t, size, n)
			asked++
			return memory
		})
		require.NoError(t, err)
		require.Equal(t, want, body)
		require.Equal(t, sha256.Sum256(want), sum)
		require.Equal(t, cut, asked, "once for each attempt")
		if size > 0 {
			require.Same(t, &memory[0], &body[0])
		}
	}
	_, _, err := s.GetHashed(t.Context(), "k", 1<<20, func(int64) []byte { panic("too large to have room") })
	require.ErrorIs(t, err, objstore.ErrTooLarge)
}

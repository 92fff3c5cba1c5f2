package s3store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

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

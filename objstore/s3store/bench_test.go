package s3store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/objstore/s3store"
	"github.com/hamflx/pocket/objstore/storetest/s3test"
)

// The server, in the same process, takes the larger part of the time.
func BenchmarkStore(b *testing.B) {
	srv := s3test.New(b)
	s, err := s3store.Open(b.Context(), configOf(srv))
	require.NoError(b, err)
	for _, size := range []int{4 << 10, 4 << 20} {
		body := make([]byte, size)
		b.Run(fmt.Sprintf("Put/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Put(b.Context(), "k", body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("Get/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), "k", int64(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

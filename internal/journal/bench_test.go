package journal

import (
	"encoding/binary"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
)

// BenchmarkCommit is the cost of acknowledging a small file: one entry of the
// size of a Loro update, with one upload.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name    string
		writers int
	}{{"1", 1}, {"16", 16}} {
		b.Run(c.name, func(b *testing.B) {
			j, err := Open(filepath.Join(b.TempDir(), "journal.db"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			update := make([]byte, 250)
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism((c.writers + 1) / 2)
			write := func() {
				i := n.Add(1)
				var seed [8]byte
				binary.LittleEndian.PutUint64(seed[:], uint64(i))
				e := Entry{Peer: 1, Start: int32(i), End: int32(i) + 1, Update: update,
					Uploads: []Upload{{Object: objectid.Of(seed[:]), Size: 4096, Node: uint64(i)}}}
				if err := j.Enqueue(e).Wait(); err != nil {
					b.Error(err)
				}
			}
			if c.writers == 1 {
				for b.Loop() {
					write()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					write()
				}
			})
		})
	}
}

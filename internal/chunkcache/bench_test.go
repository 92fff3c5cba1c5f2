package chunkcache

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/pagebuf"
)

// BenchmarkPut compares chunks in packs with chunks in files of their own.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10, 64 << 10} {
		for _, packed := range []bool{true, false} {
			b.Run(fmt.Sprintf("%dKiB/packed=%v", size>>10, packed), func(b *testing.B) {
				c := open(b, b.TempDir(), 0)
				if packed {
					c = openPacked(b, b.TempDir(), 0)
				}
				body := make([]byte, size)
				var n uint64
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					n++
					binary.LittleEndian.PutUint64(body, n)
					if err := c.Put(objectid.Of(body), body, true); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkReadAt reads a chunk in pieces of 128 KiB, as a mount does.
func BenchmarkReadAt(b *testing.B) {
	for _, name := range []string{"file", "memory"} {
		b.Run(name, func(b *testing.B) {
			c := open(b, b.TempDir(), 0)
			id, body := chunk(1, 4<<20)
			put := func() error { return c.Put(id, body, false) }
			if name == "memory" {
				put = func() error { return c.PutFetched(id, pagebuf.Of(body), false) }
			}
			if err := put(); err != nil {
				b.Fatal(err)
			}
			p := make([]byte, 128<<10)
			off := int64(0)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.ReadAt(id, p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + int64(len(p))) % int64(len(body))
			}
		})
	}
}

func BenchmarkFirstReadOf4MiB(b *testing.B) {
	c := open(b, b.TempDir(), 0)
	id, body := chunk(1, 4<<20)
	if err := c.Put(id, body, false); err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		c.mu.Lock()
		i, _ := c.entries.find(id)
		c.entries.at[i].verified = false
		c.hot.drop(id)
		c.mu.Unlock()
		if _, err := c.ReadAt(id, p, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is the time until 100,000 chunks are known.
func BenchmarkOpen(b *testing.B) {
	const files = 100_000
	dir := b.TempDir()
	names := newNamer(dir)
	for i := range shardCount {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	for n := range files {
		id := objectid.Of(binary.LittleEndian.AppendUint64(nil, uint64(n)))
		if err := os.WriteFile(names.file(id), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		c, err := Open(dir, 0, nil)
		if err != nil {
			b.Fatal(err)
		}
		c.background.Wait()
		if n := c.Stats().Chunks; n != files {
			b.Fatal(n)
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

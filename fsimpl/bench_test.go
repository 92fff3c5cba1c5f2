package fsimpl_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
)

// BenchmarkCreateWriteClose is what unpacking an archive of small files costs.
func BenchmarkCreateWriteClose(b *testing.B) {
	m := newBenchMachine(b)
	body := make([]byte, 4096)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		body[0], body[1], body[2], body[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
		f, _, err := m.Create(root, fmt.Sprint(i), 0o644, me, readWrite)
		require.NoError(b, err)
		_, err = f.WriteAt(body, 0)
		require.NoError(b, err)
		require.NoError(b, f.Flush())
		require.NoError(b, f.Release())
	}
}

func BenchmarkStat(b *testing.B) {
	m := newBenchMachine(b)
	for i := range 10_000 {
		_, err := m.Mkdir(root, fmt.Sprint(i), 0o755, me)
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n, err := m.Resolve("/5000")
		require.NoError(b, err)
		_, err = m.Stat(n)
		require.NoError(b, err)
	}
}

// BenchmarkWriteSequential writes in the pieces that the kernel sends.
func BenchmarkWriteSequential(b *testing.B) {
	m := newBenchMachine(b)
	p := make([]byte, 128<<10)
	f, _, err := m.Create(root, "f", 0o644, me, readWrite)
	require.NoError(b, err)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p[0], p[1] = byte(i), byte(i>>8)
		_, err := f.WriteAt(p, int64(i)*int64(len(p))%(1<<30))
		require.NoError(b, err)
	}
	require.NoError(b, f.Flush())
	require.NoError(b, f.Release())
}

func BenchmarkReadSequentialCached(b *testing.B) {
	m := newBenchMachine(b)
	const size = 64 << 20
	f, _, err := m.Create(root, "f", 0o644, me, readWrite)
	require.NoError(b, err)
	p := make([]byte, 128<<10)
	for off := int64(0); off < size; off += int64(len(p)) {
		p[0]++
		_, err = f.WriteAt(p, off)
		require.NoError(b, err)
	}
	require.NoError(b, f.Flush())
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, err := f.ReadAt(p, int64(i)*int64(len(p))%size)
		require.NoError(b, err)
	}
	require.NoError(b, f.Release())
}

func newBenchMachine(b *testing.B) *machine {
	return newMachine(b, newFaultStore(), fsimpl.DefaultChunkSize)
}

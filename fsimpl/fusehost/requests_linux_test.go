package fusehost

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/pagebuf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Operations are served by as many threads as there are operations that wait, of whatever kind.
func TestOperationsThatWaitKeepNobodyWaiting(t *testing.T) {
	const many = 40
	fs := newFake()
	var held atomic.Bool
	arrived, release := make(chan string, many), make(chan struct{}, many)
	fs.before = func(op, _ string) error {
		if op == "open" && held.Load() {
			arrived <- op
			<-release
		}
		return nil
	}
	_, dir := mountFake(t, fs)
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	for i := range many {
		write(t, name(i), "content")
	}
	for round := range 3 { // threads that are not needed any more have ended in between
		held.Store(true)
		errs := make(chan error, many)
		for i := range many {
			go func() {
				_, err := os.ReadFile(name(i))
				errs <- err
			}()
		}
		for range many {
			<-arrived // all of them at once
		}
		write(t, name(many+round), "of another")
		held.Store(false)
		for range many {
			release <- struct{}{}
		}
		for range many {
			require.NoError(t, <-errs)
		}
		require.Equal(t, "content", read(t, name(0)))
	}
}

// A file that became longer on another machine is read whole at once, although the kernel has
// its old size and content.
func TestWhatArrivedJustNowIsReadWhole(t *testing.T) {
	fs := newFake()
	_, dir := mountFake(t, fs)
	path := filepath.Join(dir, "f")
	for nth, c := range []struct{ was, is string }{
		{"short", "what arrived is longer"},
		{"as long", "ditto.."},
		{"what was longer", "short"},
	} {
		write(t, path, c.was)
		require.Equal(t, c.was, read(t, path))
		n, err := fs.Resolve("/f")
		require.NoError(t, err)
		fs.mu.Lock()
		fs.nodes[n].data = nil
		fs.nodes[n].data = append(fs.nodes[n].data, c.is...)
		fs.mu.Unlock()
		fs.arrived.Store(int64(nth + 1))
		require.Equal(t, c.is, read(t, path))
		require.EqualValues(t, len(c.is), stat(t, path).Size)
		fs.arrived.Store(0)
	}
}

// What is in memory is answered from there, each reader with its bytes, up to the end of the file.
func TestReadsOfWhatIsInMemoryAreAnsweredFromThere(t *testing.T) {
	used := pagebuf.InUse()
	fs := newFake()
	fs.inMemory = true
	var copied atomic.Int32
	fs.before = func(op, _ string) error {
		if op == "read" {
			copied.Add(1)
		}
		return nil
	}
	t.Cleanup(func() { // after the unmount: a reader has its answer a moment before
		require.Equal(t, used, pagebuf.InUse(), "all was given back")
	})
	_, dir := mountFake(t, fs)
	body := make([]byte, 512<<10+77)
	rand.NewChaCha8([32]byte{1}).Read(body)
	path := filepath.Join(dir, "f")
	write(t, path, string(body))
	var readers sync.WaitGroup
	for reader := range 4 {
		f := open(t, path, os.O_RDONLY|unix.O_DIRECT) // past the page cache
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(reader), 0))
			p := make([]byte, 200<<10)
			for range 50 {
				off := r.Int64N(int64(len(body)))
				want := body[off:min(off+int64(len(p)), int64(len(body)))]
				n, err := f.ReadAt(p, off)
				if len(want) == len(p) {
					assert.NoError(t, err)
				} else {
					assert.True(t, errors.Is(err, io.EOF), "%v", err)
				}
				assert.True(t, string(want) == string(p[:n]), "%d bytes at %d", n, off)
			}
		})
	}
	readers.Wait()
	require.Zero(t, copied.Load())
}

// A read whose answer the kernel did not take is not left without one.
func TestReadWhoseAnswerIsNotTakenIsLibfuses(t *testing.T) {
	used := pagebuf.InUse()
	fs := newFake()
	fs.inMemory = true
	file, err := fs.create(fsimpl.Root, "f", 0o644, fsimpl.Owner{}, fsimpl.OpenRead|fsimpl.OpenWrite)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 512<<10), 0)
	require.NoError(t, err)
	h := newHost(fs, fsimpl.Owner{}, testLog(t))
	_, fh := h.opened(file, fsimpl.OpenRead)
	device, err := os.OpenFile(filepath.Join(t.TempDir(), "device"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	defer device.Close()
	require.True(t, h.answerRead(int(device.Fd()), 7, fh, 0, 4096))
	info, err := device.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 16+4096, info.Size())
	require.False(t, h.answerRead(-1, 7, fh, 0, 4096))
	require.Equal(t, used, pagebuf.InUse())
}

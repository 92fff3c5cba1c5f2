package fsimpl_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/testdisk"
)

// reserve returns how many bytes the machine's reserve has.
func (m *machine) reserve() int64 {
	info, err := os.Stat(m.state.Reserve())
	if err != nil {
		return 0
	}
	return info.Size()
}

func (m *machine) reserveIsWhole() bool { return m.reserve() == fsimpl.DefaultReserve }

// fillDisk leaves no byte of a machine's disk, nor room in its journal's log, and returns the file in dir that takes
// the place.
func (m *machine) fillDisk(dir string) (ballast string) {
	m.t.Helper()
	ballast = filepath.Join(dir, "ballast")
	testdisk.Fill(m.t, ballast)
	var err error
	for i := 0; err == nil; i++ {
		_, err = m.Mkdir(fsimpl.Root, fmt.Sprint("directory ", i), 0o755, me)
	}
	require.Equal(m.t, fsimpl.NoSpace, fsimpl.KindOf(err), err)
	return ballast
}

// A disk without a byte left, with a store that is away: names are removed and changed at the first
// try, what makes nothing free is refused, and the reserve is there again when there is room.
func TestNamesAreRemovedAndChangedOnAFullDisk(t *testing.T) {
	dir := testdisk.Small(t, "24m")
	store := newFaultStore()
	m := &machine{t: t, store: store, data: dir, chunk: 64 << 10}
	m.start()
	rng := rand.New(rand.NewPCG(3, 1))
	const files = 20
	for i := range files {
		m.put(fmt.Sprint("in the store ", i), randomBytes(rng, 1000))
	}
	m.drain()
	store.setFail(unavailable)
	for i := range files {
		m.put(fmt.Sprint("pending ", i), randomBytes(rng, 1000))
	}
	require.Eventually(t, m.reserveIsWhole, time.Minute, time.Millisecond)
	ballast := m.fillDisk(dir)

	for i := range files {
		for _, kind := range []string{"in the store ", "pending "} {
			name := fmt.Sprint(kind, i)
			require.NoError(t, m.Rename(fsimpl.Root, name, fsimpl.Root, "renamed", 0), name)
			_, err := m.Unlink(fsimpl.Root, "renamed")
			require.NoError(t, err, name)
			testdisk.Fill(t, ballast)
		}
	}
	require.Less(t, m.reserve(), int64(fsimpl.DefaultReserve))
	require.Positive(t, m.reserve())

	require.NoError(t, os.Remove(ballast))
	m.put("there is room", []byte("again"))
	require.NoError(t, m.Persist())
	require.Eventually(t, m.reserveIsWhole, time.Minute, time.Millisecond)
	store.setFail(nil)
	m.restart()
	require.NotContains(t, m.names("/"), "renamed")
	require.Contains(t, m.names("/"), "there is room")
	m.stop()
}

// Content is cut off on a full disk, too, and what was pending of it gives its room back.
func TestFilesAreCutOffOnAFullDisk(t *testing.T) {
	const chunk = 64 << 10
	dir := testdisk.Small(t, "24m")
	store := newFaultStore()
	m := &machine{t: t, store: store, data: dir, chunk: chunk}
	m.start()
	rng := rand.New(rand.NewPCG(3, 1))
	small, large := randomBytes(rng, 50_000), randomBytes(rng, 5*chunk+100)
	const files = 4
	for i := range files {
		m.put(fmt.Sprint("in the store ", i), small)
	}
	m.drain()
	store.setFail(unavailable)
	for i := range files {
		m.put(fmt.Sprint("pending ", i), small)
		m.put(fmt.Sprint("large ", i), large)
	}
	require.Eventually(t, m.reserveIsWhole, time.Minute, time.Millisecond)
	ballast := m.fillDisk(dir)

	cut := func(name string, size int64) {
		t.Helper()
		n, err := m.Resolve(name)
		require.NoError(t, err)
		f, err := m.Open(n, fsimpl.OpenWrite)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(size))
		require.NoError(t, f.Flush(), "%s to %d bytes", name, size)
		require.NoError(t, f.Release())
		testdisk.Fill(t, ballast)
	}
	for i := range files {
		for _, kind := range []string{"in the store ", "pending ", "large "} {
			name := fmt.Sprint(kind, i)
			if i%2 == 0 {
				cut(name, 1000)
			}
			n, err := m.Resolve(name)
			require.NoError(t, err)
			f, err := m.Open(n, fsimpl.OpenWrite|fsimpl.OpenTruncate)
			require.NoError(t, err)
			require.NoError(t, f.Flush(), name)
			require.NoError(t, f.Release())
			testdisk.Fill(t, ballast)
		}
	}
	require.Positive(t, m.reserve())

	store.setFail(nil)
	require.NoError(t, os.Remove(ballast))
	m.restart()
	for i := range files {
		for _, kind := range []string{"in the store ", "pending ", "large "} {
			require.Empty(t, m.get(fmt.Sprint(kind, i)))
		}
	}
	m.stop()
}

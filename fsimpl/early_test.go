package fsimpl_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/objstore"
)

// earlyRig is a machine with a file that is being written, in chunks of 64 KiB.
type earlyRig struct {
	*machine
	f    *fsimpl.File
	body []byte
	data chan string // what is put into the store but the index: keys
}

func newEarlyRig(t *testing.T, chunks int) *earlyRig {
	store := newFaultStore()
	r := &earlyRig{machine: newMachine(t, store, 64<<10), data: make(chan string, 1000)}
	store.setFail(func(op, key string) error {
		if op == objstore.OpPut && strings.HasPrefix(key, "data/") {
			r.data <- key
		}
		return nil
	})
	r.body = randomBytes(rand.New(rand.NewPCG(1, 2)), chunks<<16)
	r.f = r.create(root, "f")
	return r
}

// write writes the chunks from to to-1.
func (r *earlyRig) write(from, to int) {
	r.t.Helper()
	_, err := r.f.WriteAt(r.body[from<<16:to<<16], int64(from)<<16)
	require.NoError(r.t, err)
}

// finish closes the file and ends the mount, and returns how many objects were put.
func (r *earlyRig) finish() int {
	r.t.Helper()
	require.NoError(r.t, r.f.Release())
	r.restart()
	require.Equal(r.t, r.body, r.get("f"))
	return len(r.data)
}

func TestLargeFileIsUploadedWhileItIsWritten(t *testing.T) {
	r := newEarlyRig(t, 10)
	r.write(0, 10)
	for range 8 { // the last two may be written again
		<-r.data
	}
	require.Equal(t, 3, r.finish(), "two chunks and a manifest")
}

func TestFileThatIsRewrittenIsUploadedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in no time: it is committed every few seconds, too
		r := newEarlyRig(t, 10)
		for range 10 {
			r.body = append(r.body[1<<10:], r.body[:1<<10]...)
			r.write(0, 10)
		}
		require.LessOrEqual(t, r.finish(), 2*10+1)
	})
}

func TestSmallPartsOfALargeFileCostLittle(t *testing.T) {
	r := newEarlyRig(t, 10)
	r.write(0, 10)
	require.NoError(t, r.f.Flush())
	require.NoError(t, r.Drain(t.Context(), nil))
	require.Len(t, r.data, 11)
	for range 11 {
		<-r.data
	}
	copy(r.body[5<<16:], "changed")
	_, err := r.f.WriteAt([]byte("changed"), 5<<16)
	require.NoError(t, err)
	require.Equal(t, 2, r.finish(), "a range and a manifest")
}

// TestKillWhileAFileIsWritten guards what is uploaded without being named: it is in nobody's way.
func TestKillWhileAFileIsWritten(t *testing.T) {
	r := newEarlyRig(t, 10)
	r.write(0, 3)
	require.NoError(t, r.f.Sync())
	r.write(3, 10)
	for range 3 + 1 + 5 {
		<-r.data
	}
	after := r.afterKill()
	if got := after.get("f"); len(got) != len(r.body) { // it is committed every few seconds, too
		require.Equal(t, r.body[:3<<16], got)
	}
	after.stop()
	r.finish()
}

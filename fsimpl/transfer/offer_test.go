package transfer

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

// offer makes an object and offers it as a part of a file that is being written.
func (r *rig) offer(file uint64, body string) journal.Upload {
	id := objectid.Of([]byte(body))
	require.NoError(r.t, r.cache.Put(id, []byte(body), true))
	u := journal.Upload{Object: id, Size: int64(len(body)), Node: file}
	require.NoError(r.t, r.queue.Offer(file, Place{}, u))
	return u
}

// commit names objects that were offered as the content of a file.
func (r *rig) commit(n int32, file uint64, objects ...journal.Upload) {
	c := Change{Node: file, Replaces: true, Objects: objects}
	for _, u := range objects {
		c.Offered = append(c.Offered, u.Object)
	}
	require.NoError(r.t, r.queue.Add(journal.Entry{Peer: 1, Start: n, End: n + 1, Update: []byte{1}}, c).Wait())
}

func (r *rig) awaitStored(id objectid.ID) {
	require.NoError(r.t, r.queue.Await(r.t.Context(), func() bool { return r.queue.Stored(id) }))
}

func TestOfferedObjectIsInTheStoreBeforeItsFileIsCommitted(t *testing.T) {
	r := newRig(t)
	early := r.offer(7, "first")
	r.awaitStored(early.Object)
	require.True(t, r.stored(early.Object))

	r.store.hold = make(chan struct{})
	late := r.offer(7, "second") // under way when the file is committed
	r.commit(0, 7, early, late)
	count, bytes := r.journal.Uploads()
	require.Equal(t, 1, count)
	require.EqualValues(t, late.Size, bytes)
	close(r.store.hold)
	r.drain()
	require.True(t, r.stored(late.Object))
	require.Equal(t, []string{early.Object.Key(), late.Object.Key(), "index/0-1", "tip"}, r.store.putKeys(), "each once")
	count, _ = r.journal.Uploads()
	require.Zero(t, count)
	require.Zero(t, r.cache.Stats().Pinned)
}

func TestWithdrawnOfferIsNotUploaded(t *testing.T) {
	r := newRig(t)
	r.store.hold = make(chan struct{})
	for i := range int32(2 * DefaultWorkers) { // all places are busy
		r.write(i, uint64(1000+i), string(rune('a'+i)))
	}
	dropped, shared := r.offer(7, "not wanted after all"), r.offer(7, "wanted by another")
	require.NoError(t, r.queue.Offer(8, Place{}, shared))
	for _, u := range []journal.Upload{dropped, shared} {
		r.queue.Withdraw(u.Object)
		r.cache.Unpin(u.Object) // the writer's own
	}
	close(r.store.hold)
	r.drain()
	require.False(t, r.stored(dropped.Object))
	require.True(t, r.stored(shared.Object))
	require.NoError(t, r.journal.Sync(t.Context()))
	require.Zero(t, r.cache.Stats().Pinned)
}

// TestOfferOfContentThatIsSuperseded guards the journal's list: what an operation gave up and
// a file being written still wants is uploaded, and let go of when that does not want it either.
func TestOfferOfContentThatIsSuperseded(t *testing.T) {
	r := newRig(t)
	r.store.setFail(func(key string) error {
		return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
	})
	id := r.write(0, 6, "content")
	u := journal.Upload{Object: id, Size: 7, Node: 6}
	require.NoError(t, r.queue.Offer(7, Place{}, u))
	require.NoError(t, r.queue.Add(journal.Entry{Peer: 1, Start: 1, End: 2, Update: []byte{1}}, Change{Node: 6, Replaces: true}).Wait())
	r.queue.Withdraw(id)
	r.store.setFail(nil)
	r.drain()
	require.NoError(t, r.journal.Sync(t.Context()))
	count, _ := r.journal.Uploads()
	require.Zero(t, count)
	require.Zero(t, r.cache.Stats().Pinned)
}

package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

// said is what was logged for the user's eyes.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) log() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// times returns how often a text was logged.
func (s *said) times(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), text)
}

// turns returns a channel that has an element whenever the store stopped answering or answers again.
func turns(o *Outage) chan struct{} {
	var mu sync.Mutex
	turned, was := make(chan struct{}, 100), false
	o.notify(func() {
		mu.Lock()
		defer mu.Unlock()
		since, _ := o.Failing()
		if is := !since.IsZero(); is != was {
			was = is
			turned <- struct{}{}
		}
	})
	return turned
}

// contentAlone is a fault of data/ alone.
func contentAlone(kind error) func(string) error {
	return func(key string) error {
		if strings.HasPrefix(key, objectid.KeyPrefix) {
			return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: kind, Err: errors.New("forced")}
		}
		return nil
	}
}

// tried returns how often a key was written, or tried to be.
func (s *watchedStore) tried(key string) (n int) {
	for _, k := range s.putKeys() {
		if k == key {
			n++
		}
	}
	return n
}

// mkdir commits operation n of peer 1, which has no content.
func (r *rig) mkdir(n int32) {
	require.NoError(r.t, r.queue.Add(journal.Entry{Peer: 1, Start: n, End: n + 1, Update: []byte{1}}, Change{Node: 1}).Wait())
}

func (r *rig) eventually(what func() bool) {
	r.t.Helper()
	require.Eventually(r.t, what, 2*time.Minute, time.Millisecond)
}

// While content fails and the index is answered, as by a policy or a disk behind the service, there is one
// outage, whatever is asked of the index, and programs can read what is of the index.
func TestOutageOfContentAloneIsOne(t *testing.T) {
	r := newRig(t)
	r.store.setFail(contentAlone(objstore.ErrUnavailable))
	id := r.write(0, 1, "content")
	r.eventually(r.outage.content.failing)
	since, _ := r.outage.Failing()
	for n := 1; n < 5; n++ {
		done := r.outage.Ask(objstore.OpGet, probeKey) // as somebody who looks for changes of others
		_, err := r.store.Get(t.Context(), probeKey, 1)
		done(err)
		r.eventually(func() bool { return r.store.tried(id.Key()) > n })
		still, err := r.outage.Failing()
		require.Equal(t, since, still)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.False(t, r.queue.Progress().Failing.IsZero())
	}
	require.False(t, r.outage.index.failing())
	r.store.setFail(nil)
	r.drain()
	r.eventually(func() bool { since, _ := r.outage.Failing(); return since.IsZero() })
	require.Equal(t, 1, r.said.times("the store does not answer"), &r.said.text)
	require.Equal(t, 1, r.said.times("the store answers again"), &r.said.text)
	require.Equal(t, 1, r.said.times("the store fails"), &r.said.text)
	require.Equal(t, 1, r.said.times("the store works again"), &r.said.text)
}

// That writes are taken does not end an outage of reads, which does not slow them.
func TestOutageOfReadsAloneIsOne(t *testing.T) {
	r := newRig(t)
	f := NewFetcher(getsAlone{r.store}, r.cache, r.outage, slog.New(slog.DiscardHandler))
	defer f.Close()
	r.outage.store = getsAlone{r.store}
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error)
	go func() { read <- f.ReadAt(ctx, objectid.Of([]byte("a")), 1, make([]byte, 1), 0) }()
	r.eventually(r.outage.content.failing)
	for n := range int32(20) {
		r.write(n, uint64(n), fmt.Sprint("content ", n))
		r.drain()
	}
	require.True(t, r.outage.content.failing())
	require.False(t, r.outage.content.silent())
	require.True(t, r.queue.Progress().Failing.IsZero())
	require.Equal(t, 1, r.said.times("the store does not answer"), &r.said.text)
	require.Zero(t, r.said.times("the store answers again"), &r.said.text)
	cancel()
	require.ErrorIs(t, <-read, context.Canceled)
}

// getsAlone is a store of which no content can be read.
type getsAlone struct{ *watchedStore }

func (s getsAlone) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	if err := contentAlone(objstore.ErrUnavailable)(key); err != nil {
		return nil, err
	}
	return s.watchedStore.Get(ctx, key, max)
}

// An object that fails while others of its kind are answered is no outage, more than once.
func TestObjectThatFailsAloneIsNoOutageOfOthers(t *testing.T) {
	store := newGatedStore()
	bad, good := store.object(t, "bad"), store.object(t, "good")
	f, cache := newFetcher(t, store, time.Hour)
	close(cache.may)
	var log said
	f.content.log = log.log()
	asked := make(chan struct{}, 1000)
	store.setGate(func(ctx context.Context, key string) error {
		if key != bad.Key() {
			return nil
		}
		asked <- struct{}{}
		return away(ctx, key)
	})
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error)
	go func() { read <- f.ReadAt(ctx, bad, 3, make([]byte, 3), 0) }()
	require.Eventually(t, f.content.failing, 2*time.Minute, time.Millisecond)
	for range 5 {
		require.NoError(t, f.content.answer(t, good))
		<-asked
	}
	require.Equal(t, 1, log.times("the store does not answer"), &log.text)
	require.False(t, f.content.failing())
	cancel()
	require.ErrorIs(t, <-read, context.Canceled)
}

// answer is a read of an object that the cache does not have.
func (p *part) answer(t *testing.T, id objectid.ID) error {
	done := p.Ask(objstore.OpGet, id.Key())
	_, err := p.store.Get(t.Context(), id.Key(), 100)
	done(err)
	return err
}

func TestRefusalOfContentLastsUntilContentIsGiven(t *testing.T) {
	r := newRig(t)
	r.outage.refusals = time.Millisecond
	id := objectid.Of([]byte("content"))
	require.NoError(t, r.store.Store.Put(t.Context(), id.Key(), []byte("content")))
	r.store.setFail(contentAlone(objstore.ErrPermission))
	f := NewFetcher(r.store, r.cache, r.outage, slog.New(slog.DiscardHandler))
	defer f.Close()
	for range 3 {
		_, err := read(t, f, id, 7)
		require.ErrorIs(t, err, objstore.ErrPermission, "at once")
		r.outage.Ask(objstore.OpGet, probeKey)(nil)
		_, err = r.outage.Failing()
		require.ErrorIs(t, err, objstore.ErrPermission)
	}
	require.True(t, r.queue.Progress().Failing.IsZero(), "nothing keeps uploads from working")
	r.store.setFail(nil)
	r.eventually(func() bool { since, _ := r.outage.Failing(); return since.IsZero() })
	require.Equal(t, 1, r.said.times("the store refuses"), &r.said.text)
	require.Equal(t, 1, r.said.times("the store does not refuse"), &r.said.text)
}

func TestUploadsThatAreRefusedFailWhileTheIndexIsPublished(t *testing.T) {
	r := newRig(t)
	r.present = func(int32) {
		r.eventually(func() bool { return !r.queue.Progress().Failing.IsZero() })
	}
	r.store.setFail(contentAlone(objstore.ErrPermission))
	r.mkdir(0)
	r.write(1, 1, "content")
	r.eventually(func() bool { return r.queue.Progress().Changes == 1 })
	p := r.queue.Progress()
	require.ErrorIs(t, p.Err, objstore.ErrPermission, "uploads still fail")
	require.Zero(t, r.said.times("the store works again"))
	require.Equal(t, 1, r.said.times("the store fails"))
}

// An object that is not taken while others are waits alone, and the store fails until it is.
func TestObjectThatIsNotTakenHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		bad := objectid.Of([]byte("bad")).Key()
		r.store.setFail(func(key string) error {
			if key == bad {
				return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable, Err: errors.New("forced")}
			}
			return nil
		})
		begun := time.Now()
		r.write(0, 1, "bad")
		r.eventually(func() bool { return r.store.tried(bad) > 0 })
		for n := range int32(40) {
			id := r.write(n+1, uint64(n+2), fmt.Sprint("good ", n))
			r.eventually(func() bool { return r.stored(id) })
			require.ErrorIs(t, r.queue.Progress().Err, objstore.ErrUnavailable)
		}
		// Its pauses grow, however many others were taken meanwhile.
		require.LessOrEqual(t, r.store.tried(bad), 2+int(time.Since(begun)/(retryFirst/2)))
		require.Equal(t, 1, r.said.times("the store fails"), &r.said.text)
		r.store.setFail(nil)
		require.NoError(t, r.queue.Reach(t.Context(), nil), "it is tried at once")
		require.True(t, r.queue.Progress().Failing.IsZero())
		require.Equal(t, 1, r.said.times("the store works again"), &r.said.text)
	})
}

// Nor does one that cannot be read keep others from being read when the patience is used up.
func TestObjectThatCannotBeReadKeepsNoOtherFromIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGatedStore()
		bad, good := store.object(t, "bad"), store.object(t, "good")
		f, cache := newFetcher(t, store, 100*time.Millisecond)
		close(cache.may)
		store.setGate(func(ctx context.Context, key string) error {
			if key == bad.Key() {
				return away(ctx, key)
			}
			return nil
		})
		_, err := read(t, f, bad, 3)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.True(t, f.content.failing())
		got, err := read(t, f, good, 4)
		require.NoError(t, err)
		require.Equal(t, "good", got)
		require.False(t, f.content.failing())
	})
}

// While the one upload that is allowed during an outage is under way, nobody looks again and again whether
// there may be another.
func TestUploadUnderWayDuringAnOutageIsWaitedFor(t *testing.T) {
	r := newRig(t)
	r.store.setFail(contentAlone(objstore.ErrUnavailable))
	r.write(0, 1, "content")
	r.eventually(r.outage.content.failing)
	r.store.mu.Lock()
	r.store.hold = make(chan struct{})
	tried := len(r.store.puts)
	r.store.mu.Unlock()
	r.write(1, 2, "another, which shares its place")
	r.write(2, 3, "a third")
	r.eventually(func() bool { return len(r.store.putKeys()) == tried+2 })
	r.queue.mu.Lock()
	o, until := r.queue.turn(r.queue.uploads.resume.Add(time.Millisecond))
	r.queue.mu.Unlock()
	require.Nil(t, o)
	require.Zero(t, until)
	close(r.store.hold)
}

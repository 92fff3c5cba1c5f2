package transfer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

func TestPendingNamesFilesTheirBytesAndAge(t *testing.T) {
	r := newRig(t)
	away := &objstore.Error{Op: objstore.OpPut, Kind: objstore.ErrUnavailable}
	r.store.setFail(func(string) error { return away })
	begun := time.Now()
	r.write(0, 7, "seven")
	r.write(1, 8, "and eight")
	files, oldest := r.queue.Pending()
	require.Len(t, files, 2)
	bytes := make(map[uint64]int64)
	for _, f := range files {
		bytes[f.Node] = f.Bytes
		require.Equal(t, f.Node, f.Ino)
		require.False(t, f.Since.Before(begun) || f.Since.After(time.Now()))
		require.False(t, oldest.After(f.Since))
	}
	require.Equal(t, map[uint64]int64{7: 5, 8: 9}, bytes)

	r.stop()
	r.start()
	files, oldest = r.queue.Pending()
	require.Len(t, files, 2, "by their inode numbers, after a restart")
	for _, f := range files {
		require.Zero(t, f.Node)
		require.Equal(t, bytes[f.Ino], f.Bytes)
		require.False(t, f.Since.Before(begun.Truncate(time.Microsecond)) || f.Since.After(time.Now()), "their age is kept")
	}
	require.False(t, oldest.IsZero())
	r.store.setFail(nil)
	r.drain()
	files, oldest = r.queue.Pending()
	require.Empty(t, files)
	require.True(t, oldest.IsZero())
}

// What is uploaded and not named by a published index is pending still.
func TestPendingUntilItIsPublished(t *testing.T) {
	r := newRig(t)
	r.store.setFail(func(key string) error {
		if key == "index/0-1" {
			return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable}
		}
		return nil
	})
	id := r.write(0, 7, "seven")
	require.Eventually(t, func() bool {
		files, _ := r.queue.Pending()
		require.Len(t, files, 1)
		require.Equal(t, uint64(7), files[0].Node)
		return files[0].Bytes == 0 && r.stored(id)
	}, 2*time.Minute, time.Millisecond)
	r.store.setFail(nil)
	r.drain()
}

func TestReachWaitsForWhatWasPendingAndNoMore(t *testing.T) {
	r := newRig(t)
	hold := make(chan struct{})
	r.store.mu.Lock()
	r.store.hold = hold
	r.store.mu.Unlock()
	first := r.write(0, 7, "first")
	reports, done := make(chan Left, 1000), make(chan error, 1)
	go func() { done <- r.queue.Reach(t.Context(), func(l Left) { reports <- l }) }()
	require.Equal(t, Left{Files: 1, Changes: 1, Bytes: 5}, <-reports)
	// What comes later cannot be published.
	r.store.setFail(func(key string) error {
		if key == objectid.Of([]byte("later")).Key() {
			return &objstore.Error{Op: objstore.OpPut, Key: key, Kind: objstore.ErrUnavailable}
		}
		return nil
	})
	r.write(1, 8, "later")
	r.store.mu.Lock()
	r.store.hold = nil
	r.store.mu.Unlock()
	close(hold)
	require.NoError(t, <-done)
	require.True(t, r.stored(first))
	require.Contains(t, r.store.putKeys(), "index/0-1")
	r.store.setFail(nil)
	r.drain()
	close(reports)
	var last Left
	for last = range reports {
	}
	require.Zero(t, last.Files+last.Changes)
}

func TestReachEndsWhenTheStoreRefusesNowNotWhenItDidBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		refused := &objstore.Error{Op: objstore.OpPut, Kind: objstore.ErrPermission}
		r.store.setFail(func(string) error { return refused })
		r.write(0, 7, "text")
		require.ErrorIs(t, r.queue.Reach(t.Context(), nil), objstore.ErrPermission)
		require.False(t, r.queue.Progress().Idle(), "it stays queued")
		r.store.setFail(nil)
		begun := time.Now()
		require.NoError(t, r.queue.Reach(t.Context(), nil), "it was mended in between")
		require.Less(t, time.Since(begun), retryRefused/2, "the pause after a refusal is not waited for")
	})
}

func TestReachEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	r.store.setFail(func(string) error { return &objstore.Error{Op: objstore.OpPut, Kind: objstore.ErrUnavailable} })
	r.write(0, 7, "text")
	ctx, cancel := context.WithCancel(t.Context())
	err := r.queue.Reach(ctx, func(l Left) {
		if !l.Failing.IsZero() && errors.Is(l.Err, objstore.ErrUnavailable) {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	r.store.setFail(nil)
	r.drain()
}

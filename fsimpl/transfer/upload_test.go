package transfer

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/objectid"
)

// brokenCache does not give chunks while err is set.
type brokenCache struct {
	*chunkcache.Cache
	mu  sync.Mutex
	err error // guarded by mu
}

func (c *brokenCache) ReadAt(id objectid.ID, p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	return c.Cache.ReadAt(id, p, off)
}

// A file that cannot be opened just now is still there. It was given up as lost, and with it what had been acknowledged.
func TestChunkThatCannotBeReadJustNowIsNotLost(t *testing.T) {
	r := newRig(t)
	cache := &brokenCache{Cache: r.cache, err: fmt.Errorf("open: %w", syscall.EMFILE)}
	r.queue.opts.Cache = cache
	lost := false
	r.queue.opts.Lost = func(context.Context, objectid.ID) { lost = true }
	id := r.write(0, 1, "content")
	r.eventually(func() bool { return !r.queue.Progress().Failing.IsZero() })
	require.ErrorIs(t, r.queue.Progress().Err, syscall.EMFILE)
	cache.mu.Lock()
	cache.err = nil
	cache.mu.Unlock()
	require.NoError(t, r.queue.Reach(t.Context(), nil))
	require.True(t, r.stored(id))
	require.False(t, lost)
}

// A chunk that is gone is asked of the store. Who writes the same content meanwhile has put it again: it was given up as lost
// for both files.
func TestContentWrittenAgainWhileItIsLookedForIsNotLost(t *testing.T) {
	for name, again := range map[string]func(r *rig){
		"to another file":             func(r *rig) { r.write(1, 2, "content") },
		"to the same file":            func(r *rig) { r.write(1, 1, "content") },
		"to a file that is not whole": func(r *rig) { r.offer(2, "content") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			cache := &brokenCache{Cache: r.cache, err: chunkcache.ErrNotExist}
			r.queue.opts.Cache = cache
			lost := make(chan objectid.ID, 1)
			r.queue.opts.Lost = func(_ context.Context, id objectid.ID) { lost <- id }
			id := objectid.Of([]byte("content"))
			asked, answer := make(chan struct{}), make(chan struct{})
			look := sync.OnceFunc(func() { close(asked); <-answer })
			goOn := sync.OnceFunc(func() { close(answer) })
			t.Cleanup(goOn)
			r.store.setFail(func(key string) error {
				if key == id.Key() {
					look()
				}
				return nil
			})
			r.write(0, 1, "content")
			<-asked
			cache.mu.Lock()
			cache.err = nil
			cache.mu.Unlock()
			again(r)
			goOn()
			r.drain()
			require.True(t, r.stored(id))
			require.Empty(t, lost)
			require.True(t, r.queue.Progress().Failing.IsZero())
		})
	}
}

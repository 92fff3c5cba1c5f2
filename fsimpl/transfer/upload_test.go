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

package fsimpl_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/statedir"
)

// A mount that cannot be opened is tried again: nothing of the attempt stays open.
func TestMountThatCannotBeOpenedLeavesNothingOpen(t *testing.T) {
	m := newMachine(t, newFaultStore(), 64<<10)
	m.put("f", []byte("content"))
	m.stop()
	state, err := statedir.Open(m.data, "test")
	require.NoError(t, err)
	cache := state.Cache()
	require.NoError(t, os.Rename(cache, cache+"-away"))
	require.NoError(t, os.WriteFile(cache, nil, 0o600))
	_, err = fsimpl.Open(t.Context(), fsimpl.Options{Name: "test", Store: m.store, State: state, Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, cache)
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, link := range links {
		name, err := os.Readlink(link)
		require.False(t, err == nil && strings.HasPrefix(name, m.data) && !strings.HasSuffix(name, "/lock"), name)
	}
	require.NoError(t, state.Close())
	require.NoError(t, os.Remove(cache))
	require.NoError(t, os.Rename(cache+"-away", cache))
	m.start()
	require.Equal(t, "content", string(m.get("/f")))
}

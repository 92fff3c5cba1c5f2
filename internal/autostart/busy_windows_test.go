package autostart

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/testdisk"
)

// moment is how long another program has a file in these tests.
const moment = 50 * time.Millisecond

// A program that a scanner has open for a moment is copied, replaced, taken back and removed all the same.
func TestProgramsThatAreHeldForAMoment(t *testing.T) {
	s := &Site{Dir: t.TempDir()}
	hold := func(name string) { testdisk.HoldFor(t, moment, filepath.Join(s.Dir, name), 0) }
	self := release(t, "1", "pocket", "pocket-creds")
	testdisk.HoldFor(t, moment, self, 0)
	c, err := s.Stage(self)
	require.NoError(t, err)
	require.NoError(t, c.Swap())
	c.Done()
	first := programs("pocket 1", "pocket-creds 1")
	require.Equal(t, first, installed(t, s))

	c, err = s.Stage(release(t, "2", "pocket", "pocket-creds"))
	require.NoError(t, err)
	hold(pocketName)
	require.NoError(t, c.Swap())
	require.Equal(t, "pocket 2", installed(t, s)[pocketName])
	hold(pocketName)
	require.NoError(t, c.Undo())
	left := installed(t, s)
	for name, text := range first {
		require.Equal(t, text, left[name], "taken back")
	}

	hold(pocketName)
	_, err = s.RemovePrograms()
	require.NoError(t, err)
	require.Empty(t, s.Programs())
}

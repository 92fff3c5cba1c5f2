package aside

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/testdisk"
)

// An indexer has the directory open for a moment, before it is moved aside and before it comes back.
func TestDirectoryThatIsHeldForAMoment(t *testing.T) {
	m := newMachine(t)
	testdisk.HoldFor(t, 50*time.Millisecond, m.path, 0)
	d, err := Move(m.o, "keys", m.path, m.path)
	require.NoError(t, err)
	testdisk.HoldFor(t, 50*time.Millisecond, d.Aside(), 0)
	_, err = d.Return()
	require.NoError(t, err)
	m.isBack()
}

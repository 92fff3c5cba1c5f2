package fusehost

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDrivesAreChosenOnce(t *testing.T) {
	require.ErrorContains(t, CheckPath("c:"), "drive c: is in use")

	seen := make(map[string]bool)
	for {
		drive, err := chooseDrive([]string{"h:"})
		if err != nil {
			require.ErrorContains(t, err, "choose a directory")
			break
		}
		require.False(t, seen[drive], drive)
		require.NoError(t, CheckPath(drive))
		seen[drive] = true
	}
	require.NotEmpty(t, seen)
	require.NotContains(t, seen, "H:", "it is spared")
	giveDrive("H:") // of nobody
	for drive := range seen {
		giveDrive(drive)
		again, err := chooseDrive([]string{"h:"})
		require.NoError(t, err)
		require.Equal(t, drive, again)
		giveDrive(again)
		break
	}
	for drive := range seen {
		giveDrive(drive)
	}
}

package bootid

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

const childVariable = "POCKET_BOOTID_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Stdout.WriteString(Get())
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestProcessesOfOneBootHaveOneID(t *testing.T) {
	id := Get()
	switch runtime.GOOS {
	case "linux", "darwin", "windows":
		require.NotEmpty(t, id)
	}
	require.Equal(t, id, Get())
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	other, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, id, string(other))
}

package fusehost

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every request is answered, also those that wait for one another, and whatever becomes of
// the wakes between threads.
func TestServing(t *testing.T) {
	program := filepath.Join(t.TempDir(), "serve")
	said, err := exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-g", "-fsanitize=thread", "-pthread", "-Wl,--wrap=write",
		"-o", program, "testdata/serve.c", "serve_linux.c").CombinedOutput()
	require.NoError(t, err, "%s", said)
	for _, c := range []struct{ name, clients, rounds, lost string }{
		{"one client", "1", "5000", "0"},
		{"many clients", "32", "200", "0"},
		{"a third of the wakes lost", "32", "100", "33"},
		{"all wakes lost", "8", "50", "100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, c.clients, c.rounds, c.lost)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Run())
		})
	}
}

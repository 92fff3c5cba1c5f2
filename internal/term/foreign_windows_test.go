package term

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
)

// pipe returns the end for reading of a pipe with a name, in which a line waits.
func pipe(t *testing.T, name string) *os.File {
	t.Helper()
	path, err := windows.UTF16PtrFromString(`\\.\pipe\` + name)
	require.NoError(t, err)
	server, err := windows.CreateNamedPipe(path, windows.PIPE_ACCESS_OUTBOUND, 0, 1, 4096, 4096, 0, nil)
	require.NoError(t, err)
	w := os.NewFile(uintptr(server), name)
	t.Cleanup(func() { w.Close() })
	client, err := windows.CreateFile(path, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	require.NoError(t, err)
	r := os.NewFile(uintptr(client), name)
	t.Cleanup(func() { r.Close() })
	_, err = w.WriteString("line\n")
	require.NoError(t, err)
	return r
}

// In Git Bash nobody would see a question, and everybody the secret.
func TestTerminalOfCygwinIsAskedNothing(t *testing.T) {
	for name, foreign := range map[string]bool{
		"msys-1888ae32e00d56aa-pty0-from-master":      true,
		"cygwin-e022582115c10879-pty12-from-master":   true,
		"msys-1888ae32e00d56aa-pty0-from-master-nat":  true,
		"msys-1888ae32e00d56aa-6028-pipe-0x1":         false, // a | b
		"pocket-msys-1888ae32e00d56aa-pty0-to-master": false,
	} {
		in := NewInput(pipe(t, name), &bytes.Buffer{})
		if foreign {
			_, err := in.Line("Id: ")
			require.ErrorIs(t, err, errForeign, name)
			_, err = in.Secret("Secret: ")
			require.ErrorIs(t, err, errForeign, name)
			require.False(t, strings.Contains(err.Error(), "\n"))
			continue
		}
		line, err := in.Line("Id: ")
		require.NoError(t, err, name)
		require.Equal(t, "line", line, name)
	}
}

package term

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pty returns both ends of a new pseudo terminal.
func pty(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}

func TestTerminalTellsItsWidth(t *testing.T) {
	master, terminal := pty(t)
	require.True(t, IsTerminal(terminal))
	require.NoError(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 97}))
	require.Equal(t, 97, Width(terminal))
}

func TestSecretIsNotEchoed(t *testing.T) {
	master, terminal := pty(t)
	var prompts bytes.Buffer
	in := NewInput(terminal, &prompts)

	_, err := master.WriteString("AKIA\n")
	require.NoError(t, err)
	id, err := in.Line("Id: ")
	require.NoError(t, err)
	require.Equal(t, "AKIA", id)

	// The secret is typed once the terminal has stopped to echo.
	typed := make(chan error, 1)
	go func() {
		for {
			state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			if err != nil {
				typed <- err
				return
			}
			if state.Lflag&unix.ECHO == 0 {
				_, err := master.WriteString("TOPSECRET\n")
				typed <- err
				return
			}
		}
	}()
	secret, err := in.Secret("Secret: ")
	require.NoError(t, err)
	require.NoError(t, <-typed)
	require.Equal(t, "TOPSECRET", secret)
	require.Equal(t, "Id: Secret: \n", prompts.String())

	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	require.NoError(t, err)
	require.NotZero(t, state.Lflag&unix.ECHO, "echo is on again")
	_, err = terminal.WriteString("end\n")
	require.NoError(t, err)
	var echoed string
	for r := bufio.NewReader(master); echoed == "" || echoed[len(echoed)-5:] != "end\r\n"; {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		echoed += line
	}
	require.Contains(t, echoed, "AKIA")
	require.NotContains(t, echoed, "SECRET")
}

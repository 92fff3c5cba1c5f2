package autostart

import (
	"fmt"
	"os"
	"os/exec"
)

// start starts a command in the user's home directory, with the null device for its input
// and outputs.
func start(cmd *exec.Cmd) (Started, error) {
	if home, err := os.UserHomeDir(); err == nil {
		cmd.Dir = home // not where the user happens to be, which may be a stick
	}
	if err := cmd.Start(); err != nil {
		return Started{}, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	return Started{PID: cmd.Process.Pid, Alive: func() bool {
		select {
		case <-ended:
			return false
		default:
			return true
		}
	}}, nil
}

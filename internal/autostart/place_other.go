//go:build unix && !linux

package autostart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Open returns the site of this user.
func Open() (*Site, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("cannot tell where to install: set HOME: %w", err)
	}
	s := &Site{Dir: userPrograms(home)}
	if runtime.GOOS != "darwin" {
		s.Entry = none{why: "nothing that is known starts programs for a user on " + runtime.GOOS}
		return s, nil
	}
	s.Entry = launchd{
		file: filepath.Join(home, "Library", "LaunchAgents", agentLabel+".plist"), uid: os.Getuid(),
		env: given("POCKET_KEYRING", "POCKET_LOG"),
	}
	return s, nil
}

// Running returns the processes, but for this one, that run a program.
func Running(program string) []int {
	said, err := supervise(context.Background(), "ps", "-axo", "pid=,comm=")
	if err != nil {
		return nil
	}
	var pids []int
	for line := range strings.Lines(said) {
		number, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, err := strconv.Atoi(number)
		if err == nil && pid != os.Getpid() && strings.TrimSpace(command) == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

package autostart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Open returns the site of this user.
func Open() (*Site, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("cannot tell where to install: set HOME: %w", err)
	}
	config := os.Getenv("XDG_CONFIG_HOME")
	var env []string
	if filepath.IsAbs(config) {
		env = append(env, "XDG_CONFIG_HOME="+config)
	} else {
		config = filepath.Join(home, ".config")
	}
	// The service manager has an environment of its own; with another data directory
	// pocket status would not find what it has started.
	env = append(env, given("XDG_DATA_HOME", "POCKET_KEYRING", "POCKET_LOG")...)
	unit := systemd{file: filepath.Join(config, "systemd", "user", unitName), env: env}
	s := &Site{Dir: userPrograms(home), Entry: unit}
	if why := noUserManager(); why != "" {
		s.Entry = none{why: why}
		if _, ok, _ := unit.Load(); ok {
			return nil, fmt.Errorf("%s is there, but %s", unit.file, why)
		}
	}
	return s, nil
}

// noUserManager returns why no systemd starts programs for this user, or nothing.
func noUserManager() string {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return "there is no systemd here"
	}
	if said, err := supervise(context.Background(), "systemctl", "--user", "show-environment"); err != nil {
		if _, booted := os.Stat("/run/systemd/system"); booted != nil { // sd_booted(3)
			return "systemd does not run here"
		}
		return "systemd does not answer this user (" + firstLine(said) + "): log in as this user, not with su or sudo"
	}
	return ""
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Running returns the processes of this user, but for this one, that run a program, also one
// that was replaced or removed since.
func Running(program string) []int {
	if resolved, err := filepath.EvalSymlinks(program); err == nil {
		program = resolved
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && strings.TrimSuffix(exe, " (deleted)") == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

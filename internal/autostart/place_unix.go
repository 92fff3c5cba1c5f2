//go:build unix

package autostart

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	exeSuffix   = ""
	starterName = pocketName
)

// itself are the programs that are made of pocket.
var itself = []madeOfPocket{{name: pocketName}}

// userPrograms is the directory of a user's programs:
// https://specifications.freedesktop.org/basedir-spec/latest/
func userPrograms(home string) string { return filepath.Join(home, ".local", "bin") }

// Detach starts a program that goes on when this one and its terminal end.
func Detach(program string, args []string) (Started, error) {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return start(cmd)
}

// HandOver is Windows': see there.
func HandOver([]string) bool { return false }

// setAside renames a file and returns where it is now.
func setAside(path string) (string, error) {
	aside := path + oldInfix + rand.Text()[:8]
	return aside, os.Rename(path, aside)
}

// removeEmpty leaves the directory: others' programs belong there too.
func removeEmpty(string) {}

// supervise runs a command of the program that starts programs for the user, and returns
// what it says.
func supervise(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil {
		failed := fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
		if said != "" {
			failed = fmt.Errorf("%w: %s", failed, strings.Join(strings.Fields(said), " "))
		}
		return said, failed
	}
	return said, nil
}

// startWait is how long a supervisor may take to start a program.
const startWait = 20 * time.Second

// waitPID asks for the process of a program that was started until there is one.
func waitPID(ctx context.Context, ask func() (pid int, err error)) (Started, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		pid, err := ask()
		if err != nil {
			return Started{}, err
		}
		if pid > 0 {
			return Started{PID: pid, Alive: func() bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }}, nil
		}
		select {
		case <-ctx.Done():
			return Started{}, fmt.Errorf("no process after %v: %w", startWait, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// loadFile returns the text of a file, if there is one.
func loadFile(path string) (string, bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	return string(text), err == nil, err
}

// removeFile removes a file, if there is one.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// given returns those of the variables that are set here, as NAME=VALUE.
func given(names ...string) (env []string) {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

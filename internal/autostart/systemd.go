//go:build unix

package autostart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hamflx/pocket/internal/atomicfile"
)

// unitName is of the unit: systemctl --user status pocket.
const unitName = "pocket.service"

// systemd is a unit of the user's service manager.
type systemd struct {
	file string   // of the unit
	env  []string // NAME=value: what pocket needs of the environment it is installed from
}

func (s systemd) String() string { return s.file }

// Text returns a unit. Its end is told to pocket by pocket stop, which bounds the upload
// and then unmounts; a signal would upload until systemd loses its patience and kills it.
func (s systemd) Text(program string, args []string) (string, error) {
	command := quoteUnit(program)
	for _, arg := range args {
		// Variables are expanded in arguments, and nowhere else.
		command += " " + quoteUnit(strings.ReplaceAll(arg, "$", "$$"))
	}
	var env strings.Builder
	for _, pair := range s.env {
		fmt.Fprintf(&env, "Environment=%s\n", quoteUnit(pair))
	}
	return `# Written by pocket install; pocket uninstall removes it.
[Unit]
Description=Pocket: directories whose content is kept in a bucket
Documentation=https://github.com/hamflx/pocket

[Service]
Type=notify
NotifyAccess=main
ExecStart=` + command + `
ExecStop=-` + quoteUnit(program) + ` stop --pid $MAINPID --timeout 1m
KillMode=mixed
Restart=on-failure
RestartSec=10
# 2: a mistake in the configuration, which starting again does not mend.
RestartPreventExitStatus=2
# 3: stopped with changes left in the journal, which the next start uploads.
SuccessExitStatus=3
# Whoever reads an index for the first time may wait for the network.
TimeoutStartSec=infinity
TimeoutStopSec=3min
` + env.String() + `
[Install]
WantedBy=default.target
`, nil
}

// quoteUnit quotes a word in a unit:
// https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html#Command%20lines
func quoteUnit(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(word) + `"`
}

func (s systemd) Load() (string, bool, error) { return loadFile(s.file) }

func (s systemd) Save(ctx context.Context, text string) error {
	if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil {
		return fmt.Errorf("make the directory of units: %w", err)
	}
	if err := atomicfile.Write(s.file, []byte(text), 0o644); err != nil {
		return err
	}
	if err := s.run(ctx, "daemon-reload"); err != nil {
		return err
	}
	return s.run(ctx, "enable", unitName)
}

func (s systemd) Remove(ctx context.Context) error {
	if _, ok, err := s.Load(); !ok {
		return err
	}
	if err := s.run(ctx, "disable", unitName); err != nil {
		return err
	}
	if err := removeFile(s.file); err != nil {
		return err
	}
	return s.run(ctx, "daemon-reload")
}

func (s systemd) Start(ctx context.Context, _ string, _ []string) (Started, error) {
	// One that has failed too often is not started before that is forgotten; one that
	// has not is not known, which is an error.
	supervise(ctx, "systemctl", "--user", "reset-failed", unitName)
	if err := s.run(ctx, "start", "--no-block", unitName); err != nil {
		return Started{}, err
	}
	return waitPID(ctx, func() (int, error) {
		said, err := supervise(ctx, "systemctl", "--user", "show", "--property=MainPID", "--value", unitName)
		if err != nil {
			return 0, err
		}
		pid, err := strconv.Atoi(said)
		if err != nil {
			return 0, fmt.Errorf("systemctl says %q instead of a process: %w", said, err)
		}
		return pid, nil
	})
}

func (s systemd) Halt(ctx context.Context) error {
	if _, ok, err := s.Load(); !ok {
		return err
	}
	return s.run(ctx, "stop", unitName)
}

func (systemd) run(ctx context.Context, args ...string) error {
	_, err := supervise(ctx, "systemctl", append([]string{"--user"}, args...)...)
	return err
}

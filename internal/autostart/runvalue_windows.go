package autostart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf16"

	"golang.org/x/sys/windows/registry"
)

const (
	// runKey has what Explorer starts when the user logs on:
	// https://learn.microsoft.com/windows/win32/setupapi/run-and-runonce-registry-keys
	runKey = `Software\Microsoft\Windows\CurrentVersion\Run`
	// approvedKey has which of that the user has switched off in the Task Manager.
	approvedKey = `Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run`
	// runMost is how long a value may be, in UTF-16 units, for Explorer to start it.
	runMost = 260
)

// runValue is a value below HKEY_CURRENT_USER.
type runValue struct{ key, name string }

func (v runValue) String() string { return `HKCU\` + v.key + "  " + v.name }

// Text returns a command line: the path between quotes, as the first Pocket wrote it.
func (v runValue) Text(program string, args []string) (string, error) {
	text := `"` + program + `"`
	for _, arg := range args {
		text += " " + syscall.EscapeArg(arg)
	}
	if n := len(utf16.Encode([]rune(text))); n > runMost {
		return "", fmt.Errorf("the command line %s is longer than the %d characters that Windows starts: use a configuration with a shorter path, or the default one", text, runMost)
	}
	return text, nil
}

func (v runValue) Load() (string, bool, error) {
	key, err := registry.OpenKey(registry.CURRENT_USER, v.key, registry.QUERY_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %v: %w", v, err)
	}
	defer key.Close()
	text, _, err := key.GetStringValue(v.name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %v: %w", v, err)
	}
	return text, true, nil
}

func (v runValue) Save(_ context.Context, text string) error {
	key, _, err := registry.CreateKey(registry.CURRENT_USER, v.key, registry.SET_VALUE)
	if err == nil {
		err = errors.Join(key.SetStringValue(v.name, text), key.Close())
	}
	if err != nil {
		return fmt.Errorf("write %v: %w", v, err)
	}
	if strings.EqualFold(v.key, runKey) {
		// Installed anew, it is wanted.
		return removeValue(approvedKey, v.name)
	}
	return nil
}

func (v runValue) Remove(context.Context) error { return removeValue(v.key, v.name) }

// removeValue removes a value, if there is one.
func removeValue(path, name string) error {
	key, err := registry.OpenKey(registry.CURRENT_USER, path, registry.SET_VALUE)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = key.DeleteValue(name)
		key.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf(`remove HKCU\%s  %s: %w`, path, name, err)
	}
	return nil
}

func (runValue) Start(ctx context.Context, program string, args []string) (Started, error) {
	if !strings.EqualFold(filepath.Base(program), starterName) {
		return Detach(program, args) // what an earlier version has installed
	}
	return startStarter(ctx, program, args)
}

// Halt has nothing to do: Windows starts a program once.
func (runValue) Halt(context.Context) error { return nil }

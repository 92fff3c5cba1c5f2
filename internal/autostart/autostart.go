// Package autostart installs pocket for the user who runs it: its programs in a directory
// of the user's, and an entry by which the system starts it with the user's session.
//
//	          programs                          entry
//	Windows   %LOCALAPPDATA%\hamflx\pocket\bin  HKCU\...\CurrentVersion\Run, value Pocket: pocketw.exe
//	Linux     ~/.local/bin                      systemd: ~/.config/systemd/user/pocket.service
//	macOS     ~/.local/bin                      launchd: ~/Library/LaunchAgents/dev.hamflx.pocket.plist
//
// ~/.local/bin is where the XDG base directory specification has a user's programs; it is
// on PATH nearly everywhere. The places on Windows are those of the first Pocket. There pocket.exe is
// a program for consoles, and the system makes one with a window wherever it starts such a program by
// itself. So pocketw.exe is installed with it: the same program, for which it makes none, which starts
// pocket.exe without a window.
//
// Every step can be taken back: what was installed before stays usable until a new one runs.
// Nothing here touches the configuration, credentials or state.
package autostart

import (
	"context"
	"path/filepath"
)

// Site is where pocket is installed for this user, or would be.
type Site struct {
	Dir   string // of the programs
	Entry Entry
}

// Program returns the path of pocket itself.
func (s *Site) Program() string { return filepath.Join(s.Dir, pocketName) }

// Starter returns the path of what the entry starts: pocket itself, or on Windows what starts it without a
// window.
func (s *Site) Starter() string { return filepath.Join(s.Dir, starterName) }

// Running returns the processes, but for this one, that run pocket as it is installed.
func (s *Site) Running() []int {
	pids := Running(s.Program())
	if starterName != pocketName {
		pids = append(pids, Running(s.Starter())...)
	}
	return pids
}

// Entry is what starts pocket with the user's session.
type Entry interface {
	// String says where a person finds it.
	String() string
	// Text returns what is recorded to start a program with arguments.
	Text(program string, args []string) (string, error)
	// Load returns what is recorded; false when nothing is.
	Load() (string, bool, error)
	// Save records what Text returned, in the place of what was there.
	Save(ctx context.Context, text string) error
	// Remove removes it; that there is none is no error.
	Remove(ctx context.Context) error
	// Start starts the site's starter now, in the way it is started with the session. It does
	// not wait for its mounts.
	Start(ctx context.Context, program string, args []string) (Started, error)
	// Halt makes sure that a program that was told to end is not started again.
	Halt(ctx context.Context) error
}

// Started is a pocket that was started.
type Started struct {
	PID   int
	Alive func() bool // reports whether it still runs
}

const pocketName = "pocket" + exeSuffix

// beside are the names of the programs for pocket's user, which are installed when they lie beside it.
var beside = []string{"pocket-creds" + exeSuffix, "pocket-index" + exeSuffix}

// none is an Entry where nothing starts programs with a session.
type none struct{ why string }

func (n none) String() string { return "" }

// Why returns why an entry cannot be made, for those that cannot; else it is empty.
func Why(e Entry) string {
	if n, ok := e.(none); ok {
		return n.why
	}
	return ""
}

func (none) Text(string, []string) (string, error) { return "", nil }
func (none) Load() (string, bool, error)           { return "", false, nil }
func (none) Save(context.Context, string) error    { return nil }
func (none) Remove(context.Context) error          { return nil }
func (none) Halt(context.Context) error            { return nil }

func (none) Start(_ context.Context, program string, args []string) (Started, error) {
	return Detach(program, args)
}

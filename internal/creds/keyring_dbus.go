//go:build unix && !darwin

package creds

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// secretService is the name on D-Bus of what keeps secrets:
// https://specifications.freedesktop.org/secret-service-spec/latest/
const secretService = "org.freedesktop.secrets"

// noSystemKeyring returns why no Secret Service can be asked, or nil.
func noSystemKeyring() error {
	if !hasSessionBus() {
		return fmt.Errorf("%w: there is no D-Bus session", ErrNoKeyring)
	}
	bus, err := dbus.SessionBus()
	if err != nil {
		return fmt.Errorf("%w: D-Bus: %w", ErrNoKeyring, err)
	}
	var running, startable []string
	err = bus.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&running)
	if err == nil {
		err = bus.BusObject().Call("org.freedesktop.DBus.ListActivatableNames", 0).Store(&startable)
	}
	if err != nil {
		return fmt.Errorf("%w: D-Bus: %w", ErrNoKeyring, err)
	}
	if !slices.Contains(running, secretService) && !slices.Contains(startable, secretService) {
		return fmt.Errorf("%w: nothing on D-Bus is %s (gnome-keyring and KWallet are)", ErrNoKeyring, secretService)
	}
	return nil
}

// hasSessionBus reports whether a session bus is known. Without that the library would
// start one that nobody else knows of.
func hasSessionBus() bool {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address != "autolaunch:"
	}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), filepath.Join("/run/user", strconv.Itoa(os.Getuid()))} {
		if info, err := os.Stat(filepath.Join(dir, "bus")); dir != "" && err == nil && info.Mode().Type() == os.ModeSocket {
			return true
		}
	}
	return false
}

// isLocked reports whether the keyring was not unlocked: its password was not given, or it
// could not ask for it.
func isLocked(err error) bool {
	var failed dbus.Error
	return err != nil && (strings.Contains(err.Error(), "failed to unlock") ||
		errors.As(err, &failed) && failed.Name == "org.freedesktop.Secret.Error.IsLocked")
}

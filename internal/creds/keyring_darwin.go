package creds

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// securityTool is what the keychain is asked with.
const securityTool = "/usr/bin/security"

// noSystemKeyring returns why the keychain cannot be asked, or nil.
func noSystemKeyring() error {
	if _, err := os.Stat(securityTool); err != nil {
		return fmt.Errorf("%w: %w", ErrNoKeyring, err)
	}
	return nil
}

// isLocked reports whether the keychain was not unlocked: its password was not given, or it
// could not ask for it (in a session over ssh).
func isLocked(err error) bool {
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		return false
	}
	// The low byte of errSecInteractionNotAllowed, errSecAuthFailed and errSecUserCanceled:
	// https://developer.apple.com/documentation/security/security-framework-result-codes
	switch failed.ExitCode() {
	case 36, 51, 128:
		return true
	}
	return false
}

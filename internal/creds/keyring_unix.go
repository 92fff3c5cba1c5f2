//go:build !windows

package creds

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/zalando/go-keyring"
)

const (
	// keyringService names Pocket's entries in a keyring.
	keyringService = "pocket"
	// markerText ends it, for whoever opens the file.
	markerText = "The access key is in this user's keyring: service \"" + keyringService + "\", user as in the line above.\n"
)

// keyringWait is how long the keyring may take to answer. It may ask for its password first.
var keyringWait = time.Minute

// noKeyring returns why this process has no keyring, wrapping ErrNoKeyring, or nil. It does not
// unlock anything.
func noKeyring() error {
	if os.Getenv(keyringVariable) == "off" {
		return fmt.Errorf("%w: %s is off", ErrNoKeyring, keyringVariable)
	}
	return noSystemKeyring()
}

// marker returns the file of a profile whose key is in the keyring under account.
func marker(account string) []byte { return []byte(markerMagic + account + "\n" + markerText) }

// newAccount returns a name under which a profile's key can be put into the keyring. Each
// time it is another one: profiles of one name may belong to several configurations, and a
// key that is replaced stays until the new one is in its place.
func newAccount(name string) string { return name + " " + rand.Text()[:16] }

// accountOf returns the account that a marker names; ok is false when sealed is no marker.
func accountOf(sealed []byte) (account string, ok bool) {
	rest, ok := bytes.CutPrefix(sealed, []byte(markerMagic))
	if !ok {
		return "", false
	}
	line, _, _ := strings.Cut(string(rest), "\n")
	return line, true
}

// putKeyring puts a profile's key into the keyring and returns the marker for it.
func putKeyring(name string, plain []byte) ([]byte, error) {
	if err := noKeyring(); err != nil {
		return nil, err
	}
	account := newAccount(name)
	_, err := ask(func() (string, error) {
		return "", keyring.Set(keyringService, account, string(plain))
	})
	if err != nil {
		return nil, fmt.Errorf("put it into the keyring: %w", err)
	}
	return marker(account), nil
}

// getKeyring returns what the keyring has of a marker's profile.
func getKeyring(name, account string) ([]byte, error) {
	// The name goes before, as the description of what Windows encrypts: a file put in
	// another's place is noticed.
	if rest, ok := strings.CutPrefix(account, name+" "); !ok || rest == "" || strings.Contains(rest, " ") {
		return nil, fmt.Errorf("%w: it was made under another name", ErrDamaged)
	}
	if err := noKeyring(); err != nil {
		return nil, fmt.Errorf("its key is in a keyring: %w", err)
	}
	plain, err := ask(func() (string, error) { return keyring.Get(keyringService, account) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, fmt.Errorf("%w: this user's keyring has no entry for it", ErrForeign)
	}
	if err != nil {
		return nil, fmt.Errorf("read it from the keyring: %w", err)
	}
	return []byte(plain), nil
}

// dropKeyring removes an entry of the keyring. One that is gone is no error.
func dropKeyring(account string) error {
	if err := noKeyring(); err != nil {
		return err
	}
	_, err := ask(func() (string, error) { return "", keyring.Delete(keyringService, account) })
	if err != nil && !errors.Is(err, keyring.ErrNotFound) {
		return fmt.Errorf("remove %q of %q from the keyring: %w", account, keyringService, err)
	}
	return nil
}

// ask waits for the keyring, but not for ever: what it does when nobody answers the question
// for its password is to wait. The call that was given up goes on, and what it says is lost.
func ask(call func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := call()
		answers <- answer{text, err}
	}()
	patience := time.NewTimer(keyringWait)
	defer patience.Stop()
	select {
	case a := <-answers:
		if isLocked(a.err) {
			return "", fmt.Errorf("%w (%w)", ErrLocked, a.err)
		}
		return a.text, a.err
	case <-patience.C:
		return "", fmt.Errorf("%w, or does not answer: waited %v for it", ErrLocked, keyringWait)
	}
}

// Package creds keeps credentials of S3-compatible services in named profiles, one file
// each: <name>.bin in the directory credentials beside config.toml.
//
// On Windows a profile is encrypted by the Data Protection API for the user who made it;
// the file is what the Rust program of the same name wrote, and either reads the other's.
// Elsewhere the key is in the user's keyring (the Secret Service over D-Bus, the keychain of
// macOS), and the file, a marker, says under which name. Without a keyring, and where
// POCKET_KEYRING is off, the key is in the file, which only its owner may read, as
// ~/.aws/credentials is.
// [Open] gives the store of the system at hand; [FromStore] turns a profile of it into the
// [Provider] an S3 client asks.
//
// Secrets do not show themselves: formatting, logging and marshalling [Credentials] give
// a placeholder, and no error holds one.
package creds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Credentials are an access key of an S3-compatible service.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
}

// String returns the beginning of the key's id, enough to tell two apart, and never the secret.
func (c Credentials) String() string {
	id := c.AccessKeyID
	if len(id) > 4 {
		id = strings.ToValidUTF8(id[:4], "") + "..."
	}
	return "access key " + id + " (secret not shown)"
}

// GoString is String, for %#v.
func (c Credentials) GoString() string { return c.String() }

// Format is String for every verb: the ones for numbers would print the fields one by one.
func (c Credentials) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String, for slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String, for encoders.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// maxKey bounds both parts of a key. Services use 16 to 128 characters.
const maxKey = 1024

// Check reports why c cannot be credentials, without showing it.
func (c Credentials) Check() error {
	if err := c.checkID(); err != nil {
		return err
	}
	return checkPart("secret access key", c.SecretAccessKey)
}

func (c Credentials) checkID() error { return checkPart("access key id", c.AccessKeyID) }

// checkPart checks one part of a key. Characters that cannot be seen come with what is copied from a web page.
func checkPart(name, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("the %s is empty: enter it as the service shows it", name)
	case len(value) > maxKey:
		return fmt.Errorf("the %s is longer than %d characters: enter it as the service shows it", name, maxKey)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }):
		return fmt.Errorf("the %s holds spaces or characters that cannot be seen: enter it as the service shows it", name)
	}
	return nil
}

// Provider returns credentials when they are needed. It may be called concurrently and
// again at any time, so that a changed profile is seen without a restart.
type Provider func(ctx context.Context) (Credentials, error)

// Static provides the same credentials always.
func Static(c Credentials) Provider {
	return func(context.Context) (Credentials, error) { return c, c.Check() }
}

// FromStore provides a profile, read anew each time.
func FromStore(s Store, name string) Provider {
	return func(ctx context.Context) (Credentials, error) {
		if err := ctx.Err(); err != nil {
			return Credentials{}, err
		}
		return s.Get(name)
	}
}

// Store keeps profiles. Its methods may be called concurrently, by several processes too.
// A name that CheckName refuses is ErrInvalidName.
type Store interface {
	// Get returns a profile. ErrNotExist when there is none, ErrForeign when it is
	// someone else's, ErrDamaged when it cannot be understood, ErrExposed when others
	// may read it, ErrLocked or ErrNoKeyring when its key is in a keyring that does not give
	// it. It may wait a minute for the keyring, which may ask for its password.
	Get(name string) (Credentials, error)

	// Set creates or replaces a profile, whole or not at all; it is durable on return, as
	// far as the keyring is. ErrLocked and ErrNoKeyring as with Get.
	Set(name string, c Credentials) error

	// List returns all profiles by name, readable or not.
	List() ([]Profile, error)

	// Delete removes a profile; durable on return where the system can flush a directory,
	// which Windows cannot. ErrNotExist when there is none.
	Delete(name string) error
}

// Profile is what everybody may know of a profile.
type Profile struct {
	Name    string    `json:"name"`
	Changed time.Time `json:"changed"` // when it was set
	Place   Place     `json:"place"`   // where its key is
}

// Place is where a key is kept.
type Place string

// The places of keys.
const (
	Anywhere  Place = ""        // in the keyring, else in a file
	InKeyring Place = "keyring" // the user's, outside of Windows
	InFile    Place = "file"    // the profile's, which is encrypted on Windows
)

// keyringVariable is set to off where the keyring is not to be asked.
const keyringVariable = "POCKET_KEYRING"

// What can be wrong with a profile.
var (
	ErrInvalidName = errors.New("not a profile name")
	ErrNotExist    = errors.New("no such profile")
	ErrDamaged     = errors.New("damaged profile")
	ErrForeign     = errors.New("profile of another user or machine")
	ErrExposed     = errors.New("profile that others may read")
	ErrLocked      = errors.New("the keyring is locked")
	ErrNoKeyring   = errors.New("no keyring")
)

// CheckName reports, wrapping ErrInvalidName, why a name cannot be a profile's: it becomes
// a file name on every system, so it must not be a path nor anything a system treats
// differently.
func CheckName(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("%q is %w: %s: use letters, digits, - and _", name, ErrInvalidName, why)
	}
	switch {
	case name == "":
		return bad("it is empty")
	case len(name) > 100:
		return bad("it is longer than 100 bytes")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return bad("it holds characters that cannot be shown")
	case strings.ContainsAny(name, `/\`):
		return bad("it looks like a path")
	case strings.ContainsAny(name, `:*?"<>|`):
		return bad("it holds characters Windows refuses")
	case name[0] == '.' || name[0] == '-' || name[0] == ' ':
		return bad("it begins with a dot, a dash or a space")
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return bad("it ends in a dot or a space")
	case device(name):
		return bad("it is a device on Windows")
	}
	return nil
}

// device reports whether Windows takes a name for a device, with any extension:
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
func device(name string) bool {
	name, _, _ = strings.Cut(strings.ToUpper(name), ".")
	switch name = strings.TrimRight(name, " "); name {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	rest, ok := strings.CutPrefix(name, "COM")
	if !ok {
		rest, ok = strings.CutPrefix(name, "LPT")
	}
	return ok && utf8.RuneCountInString(rest) == 1 && strings.Contains("0123456789¹²³", rest)
}

// encode writes credentials as the first program of this name did: id, newline, secret.
func encode(c Credentials) []byte {
	return []byte(c.AccessKeyID + "\n" + c.SecretAccessKey)
}

// decode reads what encode wrote. A line end after the secret is accepted, and before it
// a carriage return: profiles that are not encrypted get edited by hand.
func decode(b []byte) (Credentials, error) {
	id, secret, ok := strings.Cut(string(b), "\n")
	if !ok {
		return Credentials{}, errors.New("it has no second line with the secret access key")
	}
	c := Credentials{
		AccessKeyID:     strings.TrimSuffix(id, "\r"),
		SecretAccessKey: strings.TrimRight(secret, "\r\n"),
	}
	return c, c.Check()
}

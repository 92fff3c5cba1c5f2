//go:build !windows

package creds

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
)

// sealIn returns the seal that keeps new profiles in a place.
func sealIn(p Place) seal { return unixSeal{in: p} }

// unixSeal keeps keys in the keyring, and a marker in the file, or plain text in the
// file, whose mode is what protects it. It reads both.
type unixSeal struct{ in Place }

func (s unixSeal) protect(name string, plain []byte) ([]byte, error) {
	if s.in == InFile {
		return plain, nil
	}
	sealed, err := putKeyring(name, plain)
	switch {
	case s.in == Anywhere && errors.Is(err, ErrNoKeyring):
		return plain, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, orFile(name))
	}
	return sealed, nil
}

// orFile says how to do without the keyring.
func orFile(name string) string {
	return "pocket-creds set --keep-in file " + name + " keeps it in a file instead"
}

func (unixSeal) unprotect(name string, sealed []byte) ([]byte, error) {
	if account, ok := accountOf(sealed); ok {
		plain, err := getKeyring(name, account)
		switch {
		case errors.Is(err, ErrNoKeyring):
			return nil, fmt.Errorf("%w: log in where there is one; %s", err, orFile(name))
		case errors.Is(err, ErrLocked):
			return nil, fmt.Errorf("%w: unlock it; %s", err, orFile(name))
		}
		return plain, err
	}
	if bytes.HasPrefix(sealed, dpapiMagic) {
		return nil, fmt.Errorf("%w: it was encrypted on Windows", ErrForeign)
	}
	return sealed, nil
}

func (unixSeal) release(sealed []byte) error {
	if account, ok := accountOf(sealed); ok {
		return dropKeyring(account)
	}
	return nil
}

func (unixSeal) place(head []byte) Place {
	if _, ok := accountOf(head); ok {
		return InKeyring
	}
	return InFile
}

// dpapiMagic begins every file the Data Protection API wrote: the version, 1, and the id
// of the provider, {DF9D8CD0-1501-11D1-8C7A-00C04FC297EB}.
var dpapiMagic = []byte("\x01\x00\x00\x00\xd0\x8c\x9d\xdf\x01\x15\xd1\x11\x8c\x7a\x00\xc0\x4f\xc2\x97\xeb")

// exposed reports whether anybody but the owner may read or write a profile.
func exposed(mode fs.FileMode) bool { return mode.Perm()&0o077 != 0 }

// describe says where a profile is that was just set.
func describe(p Place) string {
	if p == InKeyring {
		return "it is in this user's keyring"
	}
	text := "it is in a file that only this user may read"
	if err := noKeyring(); err != nil {
		text += " (" + err.Error() + ")"
	}
	return text
}

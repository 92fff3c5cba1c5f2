package creds

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// sealIn returns the seal that keeps new profiles in a place.
func sealIn(p Place) seal { return dpapiSeal{in: p} }

// dpapiSeal protects with the Data Protection API. The profile's name is the description
// of the blob, which the API authenticates: a file put in another's place is noticed. The
// Rust program left the description empty, which is accepted.
type dpapiSeal struct{ in Place }

// descriptionPrefix goes before the name in a blob's description.
const descriptionPrefix = "pocket credentials: "

func (s dpapiSeal) protect(name string, plain []byte) ([]byte, error) {
	if s.in == InKeyring {
		return nil, fmt.Errorf("%w: Windows encrypts profiles in files", ErrNoKeyring)
	}
	description, err := windows.UTF16PtrFromString(descriptionPrefix + name)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	in := blob(plain)
	var out windows.DataBlob
	err = windows.CryptProtectData(&in, description, nil, 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN, &out)
	if err != nil {
		return nil, fmt.Errorf("encrypt with the Data Protection API: %w: log on with a normal user profile and try again", err)
	}
	return taken(out), nil
}

func (dpapiSeal) unprotect(name string, sealed []byte) ([]byte, error) {
	in := blob(sealed)
	var description *uint16
	var out windows.DataBlob
	err := windows.CryptUnprotectData(&in, &description, nil, 0, nil, windows.CRYPTPROTECT_UI_FORBIDDEN, &out)
	if err != nil && isPlain(sealed) {
		return nil, fmt.Errorf("%w: it is not encrypted, as those of Linux and macOS are, which mean nothing here", ErrForeign)
	}
	if err != nil {
		return nil, unprotectError(err)
	}
	plain := taken(out)
	if description != nil {
		defer windows.LocalFree(windows.Handle(unsafe.Pointer(description)))
		if d := windows.UTF16PtrToString(description); d != "" && d != descriptionPrefix+name {
			clear(plain)
			return nil, fmt.Errorf("%w: it was made under another name", ErrDamaged)
		}
	}
	return plain, nil
}

// isPlain reports whether a profile is one of Linux or macOS.
func isPlain(sealed []byte) bool {
	_, err := decode(sealed)
	return err == nil || bytes.HasPrefix(sealed, []byte(markerMagic))
}

// release has nothing to remove: all there is of a profile is its file.
func (dpapiSeal) release([]byte) error { return nil }

func (dpapiSeal) place([]byte) Place { return InFile }

// describe says where a profile is that was just set.
func describe(Place) string { return "it is in a file, encrypted for this user" }

// unprotectError tells a profile of someone else from a damaged one.
func unprotectError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch windows.Handle(errno) {
		// The master key it was made with is not this user's, or is locked, or not there.
		case windows.NTE_BAD_KEY_STATE, windows.NTE_BAD_KEY, windows.NTE_BAD_KEYSET, windows.Handle(windows.ERROR_FILE_NOT_FOUND):
			return fmt.Errorf("%w: %w", ErrForeign, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// blob describes bytes to the API, which does not keep them.
func blob(b []byte) windows.DataBlob {
	return windows.DataBlob{Size: uint32(len(b)), Data: unsafe.SliceData(b)}
}

// taken copies what the API allocated, wipes the original and frees it.
func taken(b windows.DataBlob) []byte {
	if b.Data == nil {
		return nil
	}
	original := unsafe.Slice(b.Data, b.Size)
	mine := append([]byte(nil), original...)
	clear(original)
	windows.LocalFree(windows.Handle(unsafe.Pointer(b.Data)))
	return mine
}

// exposed is false: who may read the file does not matter, it is encrypted.
func exposed(fs.FileMode) bool { return false }

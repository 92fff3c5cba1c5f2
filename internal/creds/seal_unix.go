//go:build !windows

package creds

import (
	"bytes"
	"fmt"
	"io/fs"
)

// systemSeal leaves profiles as they are: the file's mode is what protects them.
var systemSeal seal = modeSeal{}

// modeSeal keeps plain text.
type modeSeal struct{}

func (modeSeal) protect(_ string, plain []byte) ([]byte, error) { return plain, nil }

func (modeSeal) unprotect(_ string, sealed []byte) ([]byte, error) {
	if bytes.HasPrefix(sealed, dpapiMagic) {
		return nil, fmt.Errorf("%w: it was encrypted on Windows", ErrForeign)
	}
	return sealed, nil
}

// dpapiMagic begins every file the Data Protection API wrote: the version, 1, and the id
// of the provider, {DF9D8CD0-1501-11D1-8C7A-00C04FC297EB}.
var dpapiMagic = []byte("\x01\x00\x00\x00\xd0\x8c\x9d\xdf\x01\x15\xd1\x11\x8c\x7a\x00\xc0\x4f\xc2\x97\xeb")

// exposed reports whether anybody but the owner may read or write a profile.
func exposed(mode fs.FileMode) bool { return mode.Perm()&0o077 != 0 }

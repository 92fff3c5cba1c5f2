package loroindex

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxName is the longest name, in bytes of UTF-8.
const MaxName = 255

var kindNames = [...]string{"file", "dir", "link", "fifo", "socket", "chardev", "blockdev"}

// CheckName says whether a node may be given the name: UTF-8, 1 to MaxName
// bytes, no "/" and no NUL, not "." or "..". Normal forms are kept as given.
//
// Errors: ErrName, ErrNameLong.
func CheckName(name string) error {
	switch {
	case len(name) > MaxName:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrNameLong, len(name), MaxName)
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w %q", ErrName, name)
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w %q: holds a slash or a NUL", ErrName, name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w %q: not UTF-8", ErrName, name)
	}
	return nil
}

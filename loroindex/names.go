package loroindex

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
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

// RecoveredName is the name that a node gets whose own was lost, by its number.
func RecoveredName(ino uint64) string { return fmt.Sprintf("recovered-%08x", uint32(ino)) }

// safeName turns a name of the document that no file system can hold into one
// it can: what is not allowed becomes "_" and the node's number is appended, so
// that it stays the same everywhere and collides with nothing.
func safeName(name string, ino uint64) string {
	if CheckName(name) == nil {
		return name
	}
	if name == "" || name == "." || name == ".." {
		name = "unnamed"
	}
	suffix := fmt.Sprintf(" (name not usable %016x)", ino)
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == 0 || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	stem, ext := splitExt(name)
	return cutName(stem, MaxName-len(suffix)-len(ext)) + suffix + ext
}

// maxExt is the longest extension that stays at the end of a conflict name.
const maxExt = 32

// splitExt divides a name before its last dot. A leading dot begins no
// extension, nor does one in front of a space or of more than maxExt bytes.
func splitExt(name string) (stem, ext string) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || len(name)-i > maxExt || strings.ContainsAny(name[i:], " ") {
		return name, ""
	}
	return name[:i], name[i:]
}

// cutName shortens s to at most n bytes without splitting a character.
func cutName(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// conflictName is what the nth node (from 1) of one given name, device and time
// is shown as when it cannot have its name.
func conflictName(given, device string, unix int64, nth int) string {
	suffix := " (conflict"
	if device = deviceName(device); device != "" {
		suffix += " " + device
	}
	if unix != 0 {
		suffix += time.Unix(unix, 0).UTC().Format(" 2006-01-02 15.04.05")
	}
	if nth > 1 {
		suffix += fmt.Sprintf(" %d", nth)
	}
	stem, ext := splitExt(given)
	if room := MaxName - len(suffix) - 1 - len(ext); len(stem) > room {
		// Two long names must not become the same by losing their ends.
		sum := sha256.Sum256([]byte(given))
		tail := fmt.Sprintf("~%x", sum[:4])
		stem = cutName(stem, room-len(tail)) + tail
	}
	return stem + suffix + ")" + ext
}

// deviceName makes a device's name fit into a file name on every system.
func deviceName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '-'
		}
		return r
	}, s)
	return strings.TrimSpace(cutName(s, 40))
}

package dirstore

import (
	"fmt"
	"strings"

	"github.com/hamflx/pocket/objstore"
)

// maxName is the longest name of a file or folder, in bytes: the limit of
// ext4, APFS and most others; NTFS counts 255 UTF-16 units.
const maxName = 255

// pathOf returns the slash-separated path of a checked key below the folder:
// each segment as a name that every system can hold and that no system takes
// for another one. Lower-case ASCII letters, digits, '-', '_' and '.' stand
// for themselves, all other bytes are %xx with lower-case digits. So are a dot
// at the start (such files belong to the system, or are ours) or at the end
// (Windows drops it) and the first letter of a Windows device name. Nothing
// depends on the system this runs on: the folder may be shared.
func pathOf(key string) (string, error) {
	if plain(key) {
		return key, nil
	}
	var b strings.Builder
	for rest, more := key, true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		begin := b.Len()
		writeName(&b, segment)
		if n := b.Len() - begin; n > maxName {
			return "", &objstore.Error{Key: key, Kind: objstore.ErrInvalidKey,
				Err: fmt.Errorf("as a file name one segment has %d bytes, more than %d", n, maxName)}
		}
		if more {
			b.WriteByte('/')
		}
	}
	return b.String(), nil
}

// plain reports whether key is its own path: the common case.
func plain(key string) bool {
	begin := 0
	for i := 0; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			if !literal(key[i]) {
				return false
			}
			continue
		}
		segment := key[begin:i]
		if len(segment) > maxName || segment[0] == '.' || segment[len(segment)-1] == '.' || isDevice(segment) {
			return false
		}
		begin = i + 1
	}
	return true
}

func literal(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

func writeName(b *strings.Builder, segment string) {
	const digits = "0123456789abcdef"
	device := isDevice(segment)
	for i := range len(segment) {
		c := segment[i]
		edge := i == 0 && (device || c == '.') || i == len(segment)-1 && c == '.'
		if literal(c) && !edge {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
}

// isDevice reports whether Windows takes the name for a device, whatever
// follows the first dot:
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file. Upper-case
// forms need no test, those letters are escaped.
func isDevice(segment string) bool {
	name, _, _ := strings.Cut(segment, ".")
	switch len(name) {
	case 3:
		return name == "con" || name == "prn" || name == "aux" || name == "nul"
	case 4:
		return (name[:3] == "com" || name[:3] == "lpt") && '0' <= name[3] && name[3] <= '9'
	}
	return false
}

// segmentOf is the inverse of pathOf for one name. It reports false for a
// name that pathOf never writes: such files are not objects.
func segmentOf(name string) (string, bool) {
	if name == "" || len(name) > maxName {
		return "", false
	}
	if !strings.ContainsRune(name, '%') {
		return name, !strings.Contains(name, "/") && plain(name)
	}
	var segment strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' {
			if i+2 >= len(name) {
				return "", false
			}
			hi, lo := strings.IndexByte("0123456789abcdef", name[i+1]), strings.IndexByte("0123456789abcdef", name[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		segment.WriteByte(c)
	}
	// Other spellings of the same segment, and segments that keys cannot have.
	s := segment.String()
	var again strings.Builder
	writeName(&again, s)
	return s, again.String() == name && !strings.Contains(s, "/") && objstore.CheckKey(s) == nil
}

// Package winname shows names to Windows that it cannot have, and takes them back.
//
// Pocket keeps names as they were given, and Linux allows nearly everything: "CON", "x.",
// "a:b". [Show] turns such a name into one that Windows programs can list and open, of the
// same length in characters, and [Stored] turns it back; no two names are shown as one.
//
// What Windows has no character for is shown as the character of Unicode's private
// use area that is 0xF000 higher, as Cygwin and Services for Macintosh do. WinFsp does so
// itself for the control characters and for " * : < > ? \ | (its posix.c), in
// both directions, and passes all others on; so this package leaves those to it on the way out and
// handles what depends on the place in the name:
//
//   - a dot or a space at the end, which Windows programs strip: "x." is shown as "x" U+F02E;
//   - the first letter of a reserved name (CON, NUL, COM1 and so on, also with an extension):
//     "con.txt" is shown as U+F063 "on.txt";
//   - a character of the private use area that would be taken for one of these, or for
//     one of WinFsp's: U+F03A is shown as U+F0FE U+F13A.
//
// A name can be longer than 255 bytes of UTF-8 then, and WinFsp's FUSE layer leaves such names out of
// listings (its fuse_intf.c, AddDirInfo): [Fits] says so, and loroindex.Folded has another name for it.
//
// Letter case is not this package's: see loroindex.Folded.
package winname

import (
	"strings"
	"unicode/utf8"
)

const (
	private = 0xf000 // U+F0xx stands for the character xx
	quote   = 0xf0fe // before U+F1xx: the two stand for U+F0xx itself
	quoted  = 0xf100

	most = 255 // bytes of a name that WinFsp lists
)

// Invalid reports whether no name on Windows may hold c: it is one that WinFsp replaces.
func Invalid(c rune) bool {
	return c > 0 && c < ' ' || c < utf8.RuneSelf && strings.ContainsRune(`"*:<>?\|`, c)
}

// Fits reports whether what a stored name is shown as is short enough for a listing.
func Fits(name string) bool { return len(name) <= most/2 || len(Show(name)) <= most }

// Show returns what a stored name is shown as, before WinFsp replaces what is Invalid.
// What Windows can show stays as it is.
func Show(name string) string {
	last, size := utf8.DecodeLastRuneInString(name)
	strips := last == '.' || last == ' '
	device := reserved(name)
	if !strips && !device && !strings.Contains(name, "\xef") {
		return name
	}
	var b strings.Builder
	for i, r := range name {
		end := i == len(name)-size
		switch {
		case i == 0 && device, end && strips:
			b.WriteRune(private + r)
		case r == quote && isQuoted(name[i+utf8.RuneLen(r):]),
			Invalid(r - private),
			end && (r == private+'.' || r == private+' '),
			i == 0 && r > private && r < private+utf8.RuneSelf && reserved(string(r-private)+name[utf8.RuneLen(r):]):
			b.WriteRune(quote)
			b.WriteRune(quoted + r - private)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Stored returns the name that is shown as name, or as what WinFsp makes of it. A name that
// nothing is shown as stands for itself.
func Stored(name string) string {
	if !strings.Contains(name, "\xef") { // the first byte of every character meant here
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		rest := name[i+size:]
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteByte(name[i])
		case r == quote && isQuoted(rest):
			q, n := utf8.DecodeRuneInString(rest)
			b.WriteRune(private + q - quoted)
			size += n
		case Invalid(r - private), rest == "" && (r == private+'.' || r == private+' '):
			b.WriteRune(r - private)
		case i == 0 && r > private && r < private+utf8.RuneSelf && reserved(string(r-private)+plainEnd(rest)):
			b.WriteRune(r - private)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// isQuoted reports whether s begins with a character that belongs to the quote before it.
func isQuoted(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return r >= quoted && r <= quoted+0xff
}

// plainEnd undoes what a dot or a space at the end is shown as.
func plainEnd(s string) string {
	switch r, size := utf8.DecodeLastRuneInString(s); r {
	case private + '.', private + ' ':
		return s[:len(s)-size] + string(r-private)
	}
	return s
}

// reserved reports whether Windows takes a name for a device, in any directory: up to the
// first dot, without spaces at the end of that, it is one of CON, PRN, AUX, NUL, CONIN$, CONOUT$, COM and
// LPT with a digit. (learn.microsoft.com, "Naming Files, Paths, and Namespaces": the superscripts
// ¹ ² ³ are digits, too.)
func reserved(name string) bool {
	if name == "" || !strings.ContainsRune("cpanlCPANL", rune(name[0])) {
		return false
	}
	base, _, _ := strings.Cut(name, ".")
	if i := strings.IndexFunc(base, Invalid); i >= 0 { // "con:" is one, "con\uf03a" is none, and so it is shown
		return false
	}
	base = strings.TrimRight(base, " ")
	switch len(base) {
	case 3:
		for _, device := range [...]string{"CON", "PRN", "AUX", "NUL"} {
			if strings.EqualFold(base, device) {
				return true
			}
		}
	case 4, 5:
		if p := base[:3]; strings.EqualFold(p, "COM") || strings.EqualFold(p, "LPT") {
			digit, size := utf8.DecodeRuneInString(base[3:])
			return size == len(base)-3 && strings.ContainsRune("0123456789¹²³", digit)
		}
	case 6, 7:
		return strings.EqualFold(base, "CONIN$") || strings.EqualFold(base, "CONOUT$")
	}
	return false
}

package loroindex

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	caseConflict = " (case conflict "
	nameTooLong  = " (long name "
	caseCut      = "~" // at the end of a stem that was cut
	caseCounter  = 12  // bytes that a count after the inode number has at most
	// caseConflictMost is how long the suffix is at most, in bytes.
	caseConflictMost = len(caseConflict) + 16 + caseCounter + 1
)

// caseMark is what tells an entry from those whose names fold to the same.
func caseMark(ino uint64) string { return fmt.Sprintf("%016x", ino) }

// caseConflictName is the nth name (from 1) by which an entry may be shown whose name folds
// to that of another: "Readme (case conflict 1a2b3c4d).md". The second has all of the inode number,
// further ones are counted.
func caseConflictName(name string, ino uint64, nth int) string {
	mark := caseMark(ino)
	stem, ext := splitExt(name)
	if room := MaxName - caseConflictMost - len(ext); len(stem) > room {
		stem = cutName(stem, room-len(caseCut)) + caseCut
	} else if nth == 1 {
		mark = mark[:8]
	}
	if nth > 2 {
		mark += fmt.Sprintf(" %d", nth-1)
	}
	return stem + caseConflict + mark + ")" + ext
}

// shortName is the nth name (from 1) by which an entry may be shown whose name cannot be shown:
// "Readm~ (long name 1a2b3c4d5e6f7081).md", as much of it as shows allows.
func shortName(name string, ino uint64, nth int, shows func(string) bool) string {
	mark := caseMark(ino)
	if nth > 1 {
		mark += fmt.Sprintf(" %d", nth)
	}
	stem, ext := splitExt(name)
	ext = caseCut + nameTooLong + mark + ")" + ext
	for room := min(len(stem), MaxName-len(ext)); ; room-- {
		if short := cutName(stem, room) + ext; room <= 0 || shows(short) {
			return short
		}
	}
}

// parseCaseConflict undoes caseConflictName and shortName, whatever the spelling: name is what an entry
// may be shown as whose own name folds to base (as far as it was not cut) and whose caseMark begins with
// mark. cut: base may lack characters at the end of its stem.
func parseCaseConflict(name string) (base, mark string, cut, ok bool) {
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A' // of the same length, unlike strings.ToLower
		}
		return r
	}, name)
	if len(lower) != len(name) {
		return "", "", false, false // not UTF-8
	}
	label := caseConflict
	at := strings.LastIndex(lower, label)
	if long := strings.LastIndex(lower, nameTooLong); long > at {
		at, label = long, nameTooLong
	}
	if at < 0 {
		return "", "", false, false
	}
	inside, ext, ok := strings.Cut(lower[at+len(label):], ")")
	mark, _, _ = strings.Cut(inside, " ")
	if !ok || len(mark) != 8 && len(mark) != 16 || strings.Trim(mark, "0123456789abcdef") != "" {
		return "", "", false, false
	}
	cut = name[max(at-len(caseCut), 0):at] == caseCut && (label == nameTooLong || len(name) >= MaxName-caseCounter-utf8.UTFMax)
	return name[:at] + name[len(name)-len(ext):], mark, cut, true
}

package config

import (
	"errors"
	"path"
	"strings"
)

// pathStyle is the path syntax of a system. Package filepath knows only the one it was
// compiled for; the rules here must be testable for all of them anywhere.
type pathStyle struct {
	windows bool
	fold    bool // names that differ by letter case alone are one file
}

var (
	unixPaths    = pathStyle{}
	darwinPaths  = pathStyle{fold: true} // as volumes are formatted unless asked otherwise
	windowsPaths = pathStyle{windows: true, fold: true}
)

var (
	errNoWorkDir     = errors.New("it is relative and the working directory is unknown: write an absolute path")
	errDriveRelative = errors.New(`it depends on the drive's current directory: write a backslash after the colon, as in C:\folder`)
	errNUL           = errors.New("it holds a NUL character: remove it")
)

// volume returns the part of a Windows path that dot-dot never climbs out of, with
// backslashes: `C:`, `\\server\share`, or nothing. p has backslashes only.
func volume(p string) string {
	if len(p) >= 2 && p[1] == ':' && isLetter(p[0]) {
		return p[:2]
	}
	if !strings.HasPrefix(p, `\\`) || strings.HasPrefix(p, `\\\`) {
		return ""
	}
	server, rest, ok := strings.Cut(p[2:], `\`)
	if !ok {
		return p
	}
	share, _, _ := strings.Cut(rest, `\`)
	return p[:2+len(server)+1+len(share)]
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// slashes returns p with the separators of the style alone, and without the \\?\ in front
// of a drive, which means the same file.
func (s pathStyle) slashes(p string) string {
	if !s.windows {
		return p
	}
	p = strings.ReplaceAll(p, "/", `\`)
	if rest, ok := strings.CutPrefix(p, `\\?\`); ok && len(volume(rest)) == 2 {
		return rest
	}
	return p
}

func (s pathStyle) isAbs(p string) bool {
	if !s.windows {
		return strings.HasPrefix(p, "/")
	}
	p = s.slashes(p)
	v := volume(p)
	return v != "" && (len(v) > 2 || strings.HasPrefix(p[len(v):], `\`))
}

// join puts elements together; empty ones do not count.
func (s pathStyle) join(elem ...string) string {
	sep := "/"
	if s.windows {
		sep = `\`
	}
	var parts []string
	for _, e := range elem {
		if e != "" {
			parts = append(parts, e)
		}
	}
	return s.clean(strings.Join(parts, sep))
}

// clean removes dots, dot-dots and doubled separators; text only, no link is followed.
func (s pathStyle) clean(p string) string {
	p = s.slashes(p)
	if !s.windows {
		return path.Clean(p)
	}
	v := volume(p)
	rest := strings.ReplaceAll(p[len(v):], `\`, "/")
	if rest == "" && v != "" {
		return v
	}
	if len(v) > 2 && !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return v + strings.ReplaceAll(path.Clean(rest), "/", `\`)
}

// abs makes p absolute and clean. wd is the working directory.
func (s pathStyle) abs(p, wd string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", errNUL
	}
	if s.isAbs(p) {
		return s.clean(p), nil
	}
	if s.windows {
		p = s.slashes(p)
		switch v := volume(p); {
		case len(v) == 2 && len(p) == 2:
			return p, nil // a bare drive is a mount point of its own kind
		case v != "":
			return "", errDriveRelative
		case strings.HasPrefix(p, `\`) && s.isAbs(wd):
			return s.clean(volume(s.slashes(wd)) + p), nil
		}
	}
	if !s.isAbs(wd) {
		return "", errNoWorkDir
	}
	return s.join(wd, p), nil
}

// dir is the directory of a clean absolute path.
func (s pathStyle) dir(p string) string {
	if !s.windows {
		return path.Dir(p)
	}
	return s.join(p, "..")
}

// base is the last element of a clean absolute path, "" for a root.
func (s pathStyle) base(p string) string {
	elems := s.elements(p)
	if s.windows && len(elems) == 1 && len(elems[0]) == 2 {
		return elems[0][:1] // the letter of a drive
	}
	if len(elems) < 2 {
		return ""
	}
	return elems[len(elems)-1]
}

// elements splits a clean absolute path; the first is the volume, "" elsewhere than on Windows.
func (s pathStyle) elements(p string) []string {
	sep, v := "/", ""
	if s.windows {
		sep, v = `\`, volume(p)
	}
	elems := []string{v}
	for _, e := range strings.Split(p[len(v):], sep) {
		if e != "" {
			elems = append(elems, e)
		}
	}
	return elems
}

// isRoot reports whether a clean absolute path is the top of a volume that has other
// contents: "/", or "C:\". A bare drive, "X:", is not: a volume can be mounted there.
func (s pathStyle) isRoot(p string) bool {
	return len(s.elements(p)) == 1 && !(s.windows && len(p) == 2)
}

// holds reports whether p is outer itself or lies below it. Both are clean and absolute.
func (s pathStyle) holds(outer, p string) bool {
	o, e := s.elements(outer), s.elements(p)
	if len(o) > len(e) {
		return false
	}
	for i := range o {
		if !s.same(o[i], e[i]) {
			return false
		}
	}
	return true
}

func (s pathStyle) same(a, b string) bool {
	return a == b || s.fold && strings.EqualFold(a, b)
}

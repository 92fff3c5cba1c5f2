// Package term writes for people: terminals and their width, text that fits into it, sizes
// and durations, tables, a progress line, and questions.
//
// Output that is not for a terminal never holds a carriage return or an escape sequence.
// Escape sequences are used by Screen alone: a line is rewritten with a carriage return and
// spaces, which every console of Windows understands too.
package term

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// file is what an *os.File is, as far as terminals are concerned.
type file interface{ Fd() uintptr }

// IsTerminal reports whether a reader or writer is a terminal: an *os.File that is one.
func IsTerminal(f any) bool {
	t, ok := f.(file)
	return ok && term.IsTerminal(int(t.Fd()))
}

// Width returns the columns of a terminal; 0 when f is none or does not tell.
func Width(f any) int {
	t, ok := f.(file)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(t.Fd()))
	if err != nil || width < 0 {
		return 0
	}
	return width
}

// Printable returns text fit for a terminal and for one line: control characters, bytes
// that are not UTF-8 and characters that change the direction of writing appear as their
// escapes. Names of files come from other machines and may hold anything.
func Printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, n := 0, 0; i < len(s); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unprintable(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// unprintable leaves in what joins characters (emoji need it) and marks.
func unprintable(r rune) bool {
	const joiner, nonJoiner = '\u200d', '\u200c'
	return !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) && r != joiner && r != nonJoiner
}

// wide are the characters that take two columns, after Unicode's East Asian Width.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2329, Hi: 0x232a, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1},
		{Lo: 0x3041, Hi: 0x33ff, Stride: 1}, {Lo: 0x3400, Hi: 0x4dbf, Stride: 1}, {Lo: 0x4e00, Hi: 0xa4cf, Stride: 1},
		{Lo: 0xa960, Hi: 0xa97c, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1},
		{Lo: 0xfe10, Hi: 0xfe19, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6b, Stride: 1}, {Lo: 0xff01, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x16fe0, Hi: 0x1b2fb, Stride: 1}, {Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1f6ff, Stride: 1},
		{Lo: 0x1f900, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1},
	},
}

// columnsOf is how many columns a character takes.
func columnsOf(r rune) int {
	switch {
	case r < 0x20 || r == 0x7f:
		return 0
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// Columns returns how many columns a text takes on a terminal.
func Columns(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// Truncate returns s cut to at most width columns, ending in "…" when something was cut.
func Truncate(s string, width int) string {
	if Columns(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n > width-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// pad returns s filled with spaces to width columns, before it when right is set.
func pad(s string, width int, right bool) string {
	fill := strings.Repeat(" ", max(0, width-Columns(s)))
	if right {
		return fill + s
	}
	return s + fill
}

// Table returns rows as lines of aligned columns, two spaces between them and none at the
// end of a line. The columns whose numbers are in right, from 0, are aligned there; the
// others to the left. Cells should be Printable.
func Table(rows [][]string, right ...int) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Columns(cell))
		}
	}
	toRight := make([]bool, len(widths))
	for _, i := range right {
		if i < len(toRight) {
			toRight[i] = true
		}
	}
	var b, line strings.Builder
	for _, row := range rows {
		line.Reset()
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(pad(cell, widths[i], toRight[i]))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// unit returns the index of the unit that shows n with at most four digits.
func unit(n int64) int {
	u := 0
	// 1023.95 and above would be rounded to 1024.0.
	for f := math.Abs(float64(n)); f >= 1023.95 && u < len(units)-1; f /= 1024 {
		u++
	}
	return u
}

// in writes n in a unit, without the unit's name: whole bytes, else one decimal.
func in(n int64, u int) string {
	if u == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%.1f", float64(n)/math.Pow(1024, float64(u)))
}

// Size writes a number of bytes: "0 B", "512 B", "3.2 MiB".
func Size(n int64) string {
	u := unit(n)
	return in(n, u) + " " + units[u]
}

// SizeOf writes a part of a whole in one unit, the whole's: "3.2 of 9.1 MiB". The part is
// as wide as the whole, so that it does not jump while it grows.
func SizeOf(part, whole int64) string {
	u := unit(max(part, whole))
	w := in(whole, u)
	return pad(in(part, u), len(w), true) + " of " + w + " " + units[u]
}

// Clock writes a duration in seconds as a clock does: "00:12", "1:02:03". Negative ones are 0.
func Clock(d time.Duration) string {
	s := int64(max(0, d).Round(time.Second) / time.Second)
	if h := s / 3600; h > 0 {
		return fmt.Sprintf("%d:%02d:%02d", h, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

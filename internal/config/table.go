package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// mistake is one line for a person.
type mistake struct {
	file string
	line int    // from 1; 0 when no line can be named
	key  string // dotted, as a person would write it; "" when no key can be named
	text string // what is wrong and what to do
}

func (m mistake) Error() string {
	var b strings.Builder
	b.WriteString(show(m.file))
	if m.line > 0 {
		fmt.Fprintf(&b, ":%d", m.line)
	}
	b.WriteString(": ")
	if m.key != "" {
		b.WriteString(show(m.key) + ": ")
	}
	b.WriteString(m.text)
	return b.String()
}

// checker gathers what is wrong with a file while it is walked.
type checker struct {
	file     string
	env      Env
	paths    pathStyle
	mistakes []mistake
	warnings []mistake

	editing bool // there need not be any mount yet, and unknown keys stay
}

func (c *checker) wrong(line int, key, format string, args ...any) {
	c.mistakes = append(c.mistakes, mistake{c.file, line, key, fmt.Sprintf(format, args...)})
}

func (c *checker) warn(line int, key, format string, args ...any) {
	c.warnings = append(c.warnings, mistake{c.file, line, key, fmt.Sprintf(format, args...)})
}

// err joins the mistakes in the order of the file; nil when there is none.
func (c *checker) err() error {
	byLine(c.mistakes)
	errs := make([]error, len(c.mistakes))
	for i, m := range c.mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}

func byLine(m []mistake) {
	slices.SortStableFunc(m, func(a, b mistake) int { return cmp.Compare(a.line, b.line) })
}

// table is a TOML table under examination.
type table struct {
	c    *checker
	vals map[string]any
	at   *place
	name string // dotted key, "" for the document itself

	// meant holds the known keys that unknown ones were probably meant to be. They are
	// not reported as missing: one slip of the finger is one line.
	meant map[string]bool
}

// line is where the table begins, keyLine where one of its keys stands.
func (t *table) line() int              { return t.at.lineOf() }
func (t *table) keyLine(key string) int { return t.at.key(key).lineOf() }

func (t *table) path(key string) string {
	return dotted(t.name, key)
}

// dotted puts a key behind the dotted name of its table, "" for the document, and quotes
// it where TOML wants it quoted.
func dotted(table, key string) string {
	key = toml.Key{key}.String()
	if table == "" {
		return key
	}
	return table + "." + key
}

func (t *table) has(key string) bool {
	_, ok := t.vals[key]
	return ok
}

// missing reports whether a key is absent without an unknown key that was meant to be it.
func (t *table) missing(key string) bool { return !t.has(key) && !t.meant[key] }

func (t *table) wrong(key, format string, args ...any) {
	t.c.wrong(t.keyLine(key), t.path(key), format, args...)
}

func (t *table) warn(key, format string, args ...any) {
	t.c.warn(t.keyLine(key), t.path(key), format, args...)
}

// only reports every key that is not one of known. elsewhere gives, for keys that belong
// to another table, that table, or what to do in words.
func (t *table) only(known []string, elsewhere map[string]string) {
	for _, key := range sortedKeys(t.vals) {
		if slices.Contains(known, key) {
			continue
		}
		if place := elsewhere[key]; place != "" {
			if strings.HasPrefix(place, "[") {
				place = "move it to " + place
			}
			t.wrong(key, "does not belong here: %s", place)
			continue
		}
		if near := nearest(key, known); near != "" {
			if t.meant == nil {
				t.meant = make(map[string]bool)
			}
			t.meant[near] = true
		}
		if t.c.editing {
			t.warn(key, "unknown key, which stays, and which pocket refuses: %s", alternatives(key, known))
			continue
		}
		t.wrong(key, "unknown key: %s", alternatives(key, known))
	}
}

// str returns a string that must not be empty; false when it is absent or wrong.
func (t *table) str(key string) (string, bool) {
	v, ok := t.vals[key]
	if !ok {
		return "", false
	}
	s, ok := v.(string)
	switch {
	case !ok:
		t.wrong(key, "is %s, must be a string: write %s = \"...\"", kind(v), key)
		return "", false
	case strings.TrimSpace(s) == "":
		t.wrong(key, "is empty: give it a value or remove the line")
		return "", false
	}
	return s, true
}

// choice returns one of the strings allowed.
func (t *table) choice(key string, allowed ...string) (string, bool) {
	s, ok := t.str(key)
	if !ok {
		return "", false
	}
	if !slices.Contains(allowed, s) {
		t.wrong(key, "%q is not known: %s", s, alternatives(s, allowed))
		return "", false
	}
	return s, true
}

// size returns a number of bytes from lo to hi, otherwise when it is absent or wrong.
func (t *table) size(key string, otherwise, lo, hi int64) int64 {
	v, ok := t.vals[key]
	if !ok {
		return otherwise
	}
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case string:
		var err error
		if n, err = parseSize(strings.TrimSpace(v)); err != nil {
			t.wrong(key, "%q %v", v, err)
			return otherwise
		}
	default:
		t.wrong(key, "is %s, must be a size: write bytes or a string, as in 4194304 or \"4MiB\"", kind(v))
		return otherwise
	}
	if n < lo || n > hi {
		t.wrong(key, "%d bytes is out of bounds: choose from %s to %s", n, formatSize(lo), formatSize(hi))
		return otherwise
	}
	return n
}

// count reads a whole number from lo to hi; 0 where there is none.
func (t *table) count(key string, lo, hi int64) int {
	v, ok := t.vals[key]
	if !ok {
		return 0
	}
	n, ok := v.(int64)
	switch {
	case !ok:
		t.wrong(key, "is %s, must be a whole number from %d to %d", kind(v), lo, hi)
	case n < lo || n > hi:
		t.wrong(key, "%d is out of bounds: choose from %d to %d", n, lo, hi)
	default:
		return int(n)
	}
	return 0
}

// yes reads true or false; false where there is none.
func (t *table) yes(key string) bool {
	v, ok := t.vals[key]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		t.wrong(key, "is %s, must be true or false without quotes", kind(v))
	}
	return b
}

// table returns a table within; nil when it is absent or wrong.
func (t *table) table(key string) *table {
	v, ok := t.vals[key]
	if !ok {
		return nil
	}
	vals, ok := v.(map[string]any)
	if !ok {
		t.wrong(key, "is %s, must be a table: write [%s] and its keys below", kind(v), t.path(key))
		return nil
	}
	return &table{c: t.c, vals: vals, at: t.at.key(key), name: t.path(key)}
}

// tables returns an array of tables within; nil when it is absent or wrong.
func (t *table) tables(key string) []*table {
	var all []*table
	add := func(vals map[string]any) {
		all = append(all, &table{c: t.c, vals: vals, at: t.at.key(key).item(len(all)), name: t.path(key)})
	}
	switch v := t.vals[key].(type) {
	case nil:
	case []map[string]any:
		for _, vals := range v {
			add(vals)
		}
	case []any:
		for i, e := range v {
			vals, ok := e.(map[string]any)
			if !ok {
				t.c.wrong(t.at.key(key).item(i).lineOf(), t.path(key),
					"element %d is %s, must be a table: write [[%s]] and its keys below", i+1, kind(e), t.path(key))
				return nil
			}
			add(vals)
		}
	case map[string]any:
		t.wrong(key, "is a single table: write [[%s]] with two brackets, once for each", t.path(key))
	default:
		t.wrong(key, "is %s, must be a list of tables: write [[%s]] and its keys below", kind(v), t.path(key))
	}
	return all
}

// kind names the type of a decoded value.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	}
	return "an array"
}

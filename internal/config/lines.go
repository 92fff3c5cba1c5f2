package config

import (
	"errors"
	"strconv"
	"strings"
)

// place is where a key, a table or an element of an array stands in the text. Places
// form a tree of the same shape as the decoded document, so that whoever walks a value
// can walk its place beside it. The TOML library reports positions only for texts it
// rejects. A nil place is unknown and has unknown children.
type place struct {
	line  int               // from 1; for a table its header, else the first key that named it
	keys  map[string]*place // of a table
	items []*place          // of an array

	// What follows counts bytes from the beginning of the text.
	from, to int  // where a value begins and ends; from == to: it is no value, but a table with a header or one that only the names of others imply
	first    int  // where the line of a key begins
	dotted   bool // a table that dotted keys made: it can have no header
	tail     int  // of the document, or of a table with a header: the end of the last line that is its own; a key can be added there. 0: without a header
}

// key returns the place of a key of a table. Where that is unknown it is the table's own.
func (p *place) key(name string) *place {
	if p == nil {
		return nil
	}
	if c := p.keys[name]; c != nil {
		return c
	}
	return &place{line: p.line}
}

// item returns the place of an element of an array. Where that is unknown it is the array's own.
func (p *place) item(i int) *place {
	if p == nil {
		return nil
	}
	if i < len(p.items) {
		return p.items[i]
	}
	return &place{line: p.line}
}

// lineOf returns p's line, 0 when it is unknown.
func (p *place) lineOf() int {
	if p == nil {
		return 0
	}
	return p.line
}

// child returns the place of a key, made when it is new.
func (p *place) child(name string, line int) *place {
	c := p.keys[name]
	if c == nil {
		c = &place{line: line}
		if p.keys == nil {
			p.keys = make(map[string]*place)
		}
		p.keys[name] = c
	}
	return c
}

// into follows a dotted key; through an array of tables it leads to the last one.
func (p *place) into(name string, line int) *place {
	c := p.child(name, line)
	if n := len(c.items); n > 0 {
		return c.items[n-1]
	}
	return c
}

// errPlaces says that a text the TOML library accepted was not understood here.
var errPlaces = errors.New("cannot tell the lines of this text")

// findPlaces reads the places of a text that is valid TOML. It checks no more than it
// needs to find its way and does not interpret values.
func findPlaces(text string) (*place, error) {
	s := placeScanner{text: strings.TrimPrefix(text, "\ufeff"), line: 1}
	root := &place{line: 1}
	table := root
	for s.blank(); s.i < len(s.text) && !s.bad; s.blank() {
		line := s.line
		if !s.take('[') {
			s.keyValue(table)
			table.tail = s.lineEnd()
			continue
		}
		array := s.take('[')
		names := s.names(']')
		if s.bad {
			break
		}
		table = root
		last := len(names) - 1
		for _, name := range names[:last] {
			table = table.into(name, line)
		}
		if array {
			c := table.child(names[last], line)
			table = &place{line: line}
			c.items = append(c.items, table)
			s.bad = s.bad || !s.take(']')
		} else {
			table = table.child(names[last], line)
			table.line = line
		}
		table.tail = s.lineEnd()
	}
	if s.bad {
		return nil, errPlaces
	}
	return root, nil
}

// placeScanner reads text from byte i on, which stands in line. bad once the text is not
// as expected; everything ends then.
type placeScanner struct {
	text string
	i    int
	line int
	bad  bool
}

// peek returns the next byte, 0 at the end.
func (s *placeScanner) peek() byte {
	if s.i < len(s.text) {
		return s.text[s.i]
	}
	return 0
}

// take skips the next byte when it is c.
func (s *placeScanner) take(c byte) bool {
	if s.peek() != c || s.i >= len(s.text) {
		return false
	}
	s.i++
	return true
}

// skip moves n bytes on, counting lines.
func (s *placeScanner) skip(n int) {
	s.line += strings.Count(s.text[s.i:s.i+n], "\n")
	s.i += n
}

// spaces skips spaces and tabs.
func (s *placeScanner) spaces() {
	for c := s.peek(); c == ' ' || c == '\t'; c = s.peek() {
		s.i++
	}
}

// blank skips white space, line ends and comments.
func (s *placeScanner) blank() {
	for s.i < len(s.text) {
		switch s.text[s.i] {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

// lineEnd returns where the line ends in which s is, its line feed included.
func (s *placeScanner) lineEnd() int {
	if n := strings.IndexByte(s.text[s.i:], '\n'); n >= 0 {
		return s.i + n + 1
	}
	return len(s.text)
}

// until moves to the next of the bytes in stop, or the end.
func (s *placeScanner) until(stop string) {
	n := strings.IndexAny(s.text[s.i:], stop)
	if n < 0 {
		n = len(s.text) - s.i
	}
	s.skip(n)
}

// names reads a dotted key and the byte that ends it.
func (s *placeScanner) names(end byte) []string {
	var names []string
	for {
		s.spaces()
		start := s.i
		switch s.peek() {
		case '"':
			s.quoted()
			if s.bad {
				return nil
			}
			names = append(names, unescape(s.text[start+1:s.i-1]))
		case '\'':
			s.quoted()
			if s.bad {
				return nil
			}
			names = append(names, s.text[start+1:s.i-1])
		default:
			s.until(".=] \t\r\n\"'#")
			if s.i == start {
				s.bad = true
				return nil
			}
			names = append(names, s.text[start:s.i])
		}
		s.spaces()
		if s.take(end) {
			return names
		}
		if !s.take('.') {
			s.bad = true
			return nil
		}
	}
}

// keyValue reads "key = value" into a table.
func (s *placeScanner) keyValue(table *place) {
	line, start := s.line, s.i
	names := s.names('=')
	if s.bad {
		return
	}
	last := len(names) - 1
	for _, name := range names[:last] {
		table = table.into(name, line)
		table.dotted = true
	}
	s.spaces()
	p := table.child(names[last], line)
	p.first = strings.LastIndexByte(s.text[:start], '\n') + 1
	s.value(p)
}

// value skips a value; p is its place.
func (s *placeScanner) value(p *place) {
	p.from = s.i
	defer func() { p.to = p.from + len(strings.TrimRight(s.text[p.from:s.i], " \t")) }()
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.i++
		for s.blank(); !s.take(']'); s.blank() {
			item := &place{line: s.line}
			p.items = append(p.items, item)
			s.value(item)
			s.blank()
			s.take(',')
			if s.bad || s.i >= len(s.text) {
				s.bad = true
				return
			}
		}
	case '{':
		s.i++
		for s.blank(); !s.take('}'); s.blank() {
			s.keyValue(p)
			s.blank()
			s.take(',')
			if s.bad || s.i >= len(s.text) {
				s.bad = true
				return
			}
		}
	default:
		start := s.i
		s.until(",]}#\r\n")
		s.bad = s.bad || s.i == start
	}
}

// quoted skips a string of any of the four kinds.
func (s *placeScanner) quoted() {
	quote := s.text[s.i : s.i+1]
	long := strings.Repeat(quote, 3)
	end := quote
	if strings.HasPrefix(s.text[s.i:], long) {
		end = long
	}
	s.i += len(end)
	for s.i < len(s.text) {
		rest := s.text[s.i:]
		if strings.HasPrefix(rest, end) {
			s.i += len(end)
			// A long string may end in one or two quotes of its own.
			for n := 0; n < 2 && len(end) == 3 && s.take(quote[0]); n++ {
			}
			return
		}
		if rest[0] == '\\' && quote == `"` && len(rest) > 1 {
			s.skip(1)
		}
		s.skip(1)
	}
	s.bad = true
}

// unescape resolves the escapes of a basic string.
func unescape(q string) string {
	if !strings.Contains(q, `\`) {
		return q
	}
	var b strings.Builder
	for i := 0; i < len(q); i++ {
		if q[i] != '\\' || i+1 == len(q) {
			b.WriteByte(q[i])
			continue
		}
		i++
		digits := 0
		switch c := q[i]; c {
		case 'b':
			b.WriteByte('\b')
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'f':
			b.WriteByte('\f')
		case 'r':
			b.WriteByte('\r')
		case 'e':
			b.WriteByte(0x1b)
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		default:
			b.WriteByte(c)
		}
		if digits > 0 && i+digits < len(q) {
			r, _ := strconv.ParseUint(q[i+1:i+1+digits], 16, 32)
			b.WriteRune(rune(r))
			i += digits
		}
	}
	return b.String()
}

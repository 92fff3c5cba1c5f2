package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/term"
)

// textOptions say how a status is written.
type textOptions struct {
	now    time.Time
	files  int  // pending files shown of a mount
	width  int  // columns, beyond which text goes on in the next line; 0: any
	colour bool // with escape sequences
}

// style is an escape sequence of a terminal.
type style string

const (
	plain  style = ""
	bold   style = "\x1b[1m"
	good   style = "\x1b[32m"
	bad    style = "\x1b[31m"
	busy   style = "\x1b[33m"
	dim    style = "\x1b[2m"
	normal       = "\x1b[0m"
)

// text gathers lines.
type text struct {
	o     textOptions
	lines []string
}

func (t *text) painted(s string, look style) string {
	if look == plain || !t.o.colour || s == "" {
		return s
	}
	return string(look) + s + normal
}

// add adds a line of a head and a body, which goes on below itself where it is too long.
func (t *text) add(head string, headLook style, body string, look style) {
	body = term.Printable(body)
	columns := term.Columns(head)
	for i, part := range wrap(body, t.o.width-columns-1) {
		if i > 0 {
			head, headLook = strings.Repeat(" ", columns), plain
		}
		t.lines = append(t.lines, t.painted(head, headLook)+t.painted(part, look)+"\n")
	}
}

// field adds a line about a mount.
func (t *text) field(name, body string, look style) {
	t.add(fmt.Sprintf("  %-8s ", name), dim, body, look)
}

// wrap cuts a text into lines of at most width columns, at spaces where there are any.
func wrap(s string, width int) []string {
	if width < 20 || term.Columns(s) <= width {
		return []string{s}
	}
	var lines []string
	for term.Columns(s) > width {
		cut, columns, space := 0, 0, -1
		for i, r := range s {
			if columns += term.Columns(string(r)); columns > width {
				break
			}
			if r == ' ' {
				space = i
			}
			cut = i + len(string(r))
		}
		if space > 0 && cut < len(s) && s[cut] != ' ' {
			cut = space
		}
		lines = append(lines, strings.TrimRight(s[:cut], " "))
		s = strings.TrimLeft(s[cut:], " ")
	}
	return append(lines, s)
}

// statusText returns lines, each with its end, that say how processes and their mounts do.
func statusText(running []control.Status, o textOptions) []string {
	t := &text{o: o}
	for _, s := range running {
		for _, m := range s.Mounts {
			if len(t.lines) > 0 {
				t.lines = append(t.lines, "\n")
			}
			t.mount(s, m)
		}
	}
	return t.lines
}

func (t *text) mount(s control.Status, m control.Mount) {
	head := term.Printable(m.Name) + "  "
	path := term.Printable(m.Path)
	switch m.State {
	case control.Starting:
		t.add(head, bold, "being mounted at "+path, busy)
	case control.Mounted:
		t.add(head, bold, "mounted at "+path, plain)
	case control.Ending:
		t.add(head, bold, "being unmounted from "+path, busy)
	case control.Ended:
		t.add(head, bold, "no longer mounted at "+path, busy)
	default:
		t.add(head, bold, "not mounted at "+path+": failed", bad)
	}
	if m.Error != "" {
		t.field("error", m.Error, bad)
	}
	if m.Retry != nil {
		t.field("retry", fmt.Sprintf("in %s; it has failed %s", length(m.Retry.Sub(t.o.now)), count(m.Attempts, "time")), busy)
	}
	if m.Original != "" {
		t.field("original", "what was there is in "+m.Original, plain)
	}
	t.store(m.Store)
	if m.Mounted != nil {
		t.pending(m.Pending)
		t.field("index", t.index(m.Index), plain)
		t.cache(m.Cache)
		open := "nothing"
		if m.OpenFiles > 0 {
			open = count(m.OpenFiles, "file")
		}
		t.field("open", open, plain)
		t.field("since", fmt.Sprintf("%s (%s), %s, process %d", m.Mounted.Local().Format(time.DateTime), t.span(*m.Mounted), m.Mode, s.PID), plain)
	} else {
		t.field("process", fmt.Sprint(s.PID), plain)
	}
	for _, n := range m.Notices {
		t.field("notice", n.Time.Local().Format(time.DateTime)+"  "+n.Text, busy)
	}
}

func (t *text) store(s control.Store) {
	say := s.Place + ": "
	look := plain
	switch s.State {
	case control.Reachable:
		say, look = say+"reachable", good
		if s.Answered != nil {
			say += ", answered " + t.ago(*s.Answered)
		}
	case control.Unreachable, control.Refused:
		look = bad
		if s.State == control.Refused {
			say += "NOT USABLE"
		} else {
			say += "NOT REACHABLE"
		}
		if s.Since != nil {
			say += fmt.Sprintf(" for %s, since %s", t.span(*s.Since), s.Since.Local().Format(time.DateTime))
		}
		if s.Error != "" {
			say += ": " + s.Error
		}
	default:
		say += "not asked yet"
	}
	t.field("store", say, look)
}

func (t *text) pending(p control.Pending) {
	if p.Files == 0 && p.Changes == 0 {
		t.field("pending", "nothing", plain)
		return
	}
	var parts []string
	if p.Files > 0 {
		parts = append(parts, fmt.Sprintf("%s, %s", count(p.Files, "file"), term.Size(p.Bytes)))
	}
	if p.Changes > 0 {
		parts = append(parts, count(p.Changes, "change")+" of the index")
	}
	say := strings.Join(parts, "; ")
	if p.Oldest != nil {
		say += "; the oldest for " + t.span(*p.Oldest)
	}
	t.field("pending", say, busy)
	shown := p.List[:min(len(p.List), t.o.files)]
	rows := make([][]string, len(shown))
	for i, f := range shown {
		path := f.Path
		if path == "" {
			path = "(a file of an earlier run)"
		}
		path = term.Printable(path)
		if f.Open {
			path += "  (being written)"
		}
		rows[i] = []string{t.span(f.Since), term.Size(f.Bytes), path}
	}
	indent := strings.Repeat(" ", 13)
	for line := range strings.Lines(term.Table(rows, 0, 1)) {
		t.add(indent, plain, strings.TrimSuffix(line, "\n"), plain)
	}
	if more := p.Files - len(shown); more > 0 && t.o.files > 0 {
		t.add(indent, plain, fmt.Sprintf("... and %d more", more), plain)
	}
}

func (t *text) index(i control.Index) string {
	files := count(i.Files, "file") + " in " + count(i.Directories, "directory")
	switch {
	case i.Complete:
	case i.Files == 0:
		files = "files are not counted"
	default:
		files = "at least " + files
	}
	say := fmt.Sprintf("%s, %s, version %s", files, count(int(i.Operations), "operation"), term.Printable(i.Version))
	if i.Published != nil {
		say += "; published " + t.ago(*i.Published)
	}
	if i.Checked != nil {
		say += "; looked for others' changes " + t.ago(*i.Checked)
	}
	if i.Merged != nil {
		say += "; the last came " + t.ago(*i.Merged)
	}
	return say
}

func (t *text) cache(c control.Cache) {
	say := term.Size(c.Used)
	if c.Cap > 0 {
		say += " of " + term.Size(c.Cap)
	}
	if c.Pinned > 0 {
		say += ", " + term.Size(c.Pinned) + " pinned"
	}
	look := plain
	if c.Error != "" {
		say, look = say+"; not kept below its cap: "+c.Error, bad
	}
	t.field("cache", say, look)
}

// count writes a number of things.
func count(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "y"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// ago writes how long ago a time was.
func (t *text) ago(at time.Time) string {
	if t.o.now.Sub(at) < time.Second {
		return "just now"
	}
	return t.span(at) + " ago"
}

// span writes how long it is since a time.
func (t *text) span(since time.Time) string { return length(t.o.now.Sub(since)) }

// length writes a duration: 5 s, 3 min, 2 h 5 min, 4 days.
func length(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

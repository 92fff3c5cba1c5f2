package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Report is what was measured, and the shape of the JSON.
type Report struct {
	When    time.Time `json:"when"`
	System  string    `json:"system"`
	CPUs    int       `json:"cpus"`
	Runs    int       `json:"runs"`
	Scale   float64   `json:"scale"`
	Missing []string  `json:"not_installed"`
	Tables  []*Table  `json:"tables"`
}

// Table has the figures at one latency.
type Table struct {
	LatencyMS  float64            `json:"latency_ms"`
	RateMbit   float64            `json:"rate_mbit_per_s,omitempty"` // of the link, each way; 0: without a limit
	LoadBefore string             `json:"load_before"`
	LoadAfter  string             `json:"load_after"`
	Programs   []string           `json:"programs"`
	Rows       []*Line            `json:"rows"`
	Limits     *Limits            `json:"limits,omitempty"`
	Traffic    map[string]Traffic `json:"traffic,omitempty"` // by program, all runs and scenarios together
	Notes      []string           `json:"notes,omitempty"`   // why a program could not go on
}

// Line is a row with its values.
type Line struct {
	row          row
	Name         string           `json:"name"`
	Unit         string           `json:"unit"`
	MoreIsBetter bool             `json:"more_is_better"`
	Cells        map[string]*Cell `json:"cells"` // by program
	// OfLimit is how many per cent of the limit each program reaches, where there is one.
	OfLimit map[string]float64 `json:"percent_of_limit,omitempty"`
}

// row is one line of the table.
type row struct {
	name, unit   string
	moreIsBetter bool
}

// Cell is a value, or why there is none.
type Cell struct {
	Value   float64 `json:"value"`
	Partial string  `json:"partial,omitempty"` // how far it came: it was cut short, the value is what it did until then
	Failed  string  `json:"failed,omitempty"`  // why there is no value
	filled  bool
}

// Limits is what the SDK reaches through the same proxy.
type Limits struct {
	PutMBs      float64 `json:"put_mb_per_s"`
	GetMBs      float64 `json:"get_mb_per_s"`
	Parallel    int     `json:"parallel"`
	ObjectBytes int     `json:"object_bytes"`
}

func (l *Line) cell(program string) *Cell {
	c := l.Cells[program]
	if c == nil {
		c = &Cell{}
		l.Cells[program] = c
	}
	return c
}

func (c *Cell) set(v float64, partial string) { c.Value, c.Partial, c.filled = v, partial, true }

// fail keeps what an earlier run has measured.
func (c *Cell) fail(err error) {
	if !c.filled {
		c.Failed, c.filled = err.Error(), true
	}
}

func (t *Table) note(program string, err error) {
	t.Notes = append(t.Notes, program+": "+err.Error())
}

// JSON writes the report for a program.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Text writes the report for a person.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d CPUs", r.When.Format("2006-01-02 15:04"), r.System, r.CPUs)
	if r.Runs > 1 {
		fmt.Fprintf(&b, ", median of %d runs", r.Runs)
	}
	if r.Scale != 1 {
		fmt.Fprintf(&b, ", counts and sizes x %g", r.Scale)
	}
	b.WriteString("; * best in its row, ~ cut short, - none: see below\n")
	for _, t := range r.Tables {
		t.text(&b)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(&b, "\nnot installed: %s\n", strings.Join(r.Missing, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) text(b *strings.Builder) {
	link := ""
	if t.RateMbit > 0 {
		link = fmt.Sprintf(", a link of %g Mbit/s each way", t.RateMbit)
	}
	fmt.Fprintf(b, "\n%g ms added to each request%s; load %s before, %s after\n\n", t.LatencyMS, link, t.LoadBefore, t.LoadAfter)
	// A program's name is over its column, the mode below: all columns fit beside each other.
	names, modes := []string{"", ""}, []string{"", ""}
	for _, p := range t.Programs {
		name, mode, _ := strings.Cut(p, " ")
		names, modes = append(names, name+" "), append(modes, mode+" ")
	}
	lines := [][]string{names, modes}
	var why reasons
	for _, l := range t.Rows {
		line, best := []string{l.Name, shortUnit(l.Unit)}, l.best(t.Programs)
		for _, name := range t.Programs {
			c := l.Cells[name]
			switch {
			case c == nil:
				line = append(line, "")
			case c.Failed != "":
				line = append(line, "- ")
				why.add(name, c.Failed, l.Name)
			case c.Partial != "":
				line = append(line, number(c.Value)+"~")
				why.add(name, c.Partial, l.Name)
			case slices.Contains(best, name):
				line = append(line, number(c.Value)+"*")
			default:
				line = append(line, number(c.Value)+" ")
			}
		}
		lines = append(lines, line)
		if l.OfLimit != nil {
			line := []string{"  of what the SDK reaches", "%"}
			for _, name := range t.Programs {
				share := ""
				if v, ok := l.OfLimit[name]; ok {
					share = fmt.Sprintf("%.0f ", v)
				}
				line = append(line, share)
			}
			lines = append(lines, line)
		}
	}
	if len(t.Rows) > 0 {
		columns(b, lines)
	}
	if l := t.Limits; l != nil {
		fmt.Fprintf(b, "\nlimit: %d parallel requests of the AWS SDK, objects of %d MiB: PUT %s MB/s, GET %s MB/s\n", l.Parallel, l.ObjectBytes>>20, number(l.PutMBs), number(l.GetMBs))
	}
	if len(t.Traffic) > 0 {
		kinds := []string{"GET", "HEAD", "LIST", "PUT", "COPY", "POST", "DELETE"}
		lines := [][]string{append(append([]string{"requests", ""}, kinds...), "failed", "MB up", "MB down")}
		for _, name := range t.Programs {
			traffic, ok := t.Traffic[name]
			if !ok {
				continue
			}
			line := []string{name, ""}
			for _, kind := range kinds {
				line = append(line, fmt.Sprint(traffic.Requests[kind]))
			}
			lines = append(lines, append(line, fmt.Sprint(traffic.Failed), number(float64(traffic.Up)/1e6), number(float64(traffic.Down)/1e6)))
		}
		b.WriteString("\n")
		columns(b, lines)
	}
	if len(why) > 0 {
		b.WriteString("\n")
	}
	for _, reason := range why {
		rows := reason.rows[0]
		if n := len(reason.rows) - 1; n > 0 {
			rows += fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(b, "  %s, %s: %s\n", reason.program, rows, reason.text)
	}
}

// shortUnit leaves out what is counted: the row's name says it.
func shortUnit(unit string) string {
	if strings.HasSuffix(unit, "/s") && unit != "MB/s" {
		return "/s"
	}
	return unit
}

// limited are the rows that no mount can be better in than the SDK, by name.
var limited = map[string]func(*Limits) float64{
	"write 512 MiB, fsync, close": func(l *Limits) float64 { return l.PutMBs },
	"read 512 MiB cold":           func(l *Limits) float64 { return l.GetMBs },
}

// relate sets how much of the limit each program reaches.
func (t *Table) relate() {
	for _, line := range t.Rows {
		limit, ok := limited[line.Name]
		if !ok || t.Limits == nil {
			continue
		}
		for _, p := range t.Programs {
			if c := line.Cells[p]; c != nil && c.Failed == "" && p != plainName {
				if line.OfLimit == nil {
					line.OfLimit = map[string]float64{}
				}
				line.OfLimit[p] = 100 * c.Value / limit(t.Limits)
			}
		}
	}
}

// reasons tell why cells have no value or half of one, each once.
type reasons []reason

type reason struct {
	program, text string
	rows          []string
}

func (r *reasons) add(program, text, row string) {
	row = strings.TrimSpace(row)
	for i, known := range *r {
		if known.program == program && known.text == text {
			(*r)[i].rows = append(known.rows, row)
			return
		}
	}
	*r = append(*r, reason{program, text, []string{row}})
}

// plainName is the plain directory's: a column to compare with, which never is the best.
const plainName = "plain dir"

// best names the mounts whose value no other beats; nobody where there is no other.
func (l *Line) best(programs []string) []string {
	var best []string
	var top float64
	n := 0
	for _, name := range programs {
		c := l.Cells[name]
		if name == plainName || c == nil || c.Failed != "" || c.Partial != "" {
			continue
		}
		n++
		switch better := c.Value > top; {
		case len(best) == 0, better == l.MoreIsBetter && c.Value != top:
			best, top = []string{name}, c.Value
		case c.Value == top:
			best = append(best, name)
		}
	}
	if n < 2 {
		return nil
	}
	return best
}

// columns aligns: the first two to the left.
func columns(b *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		text := fmt.Sprintf("%-*s %-*s", widths[0], line[0], widths[1], line[1])
		for i, cell := range line[2:] {
			text += fmt.Sprintf(" %*s", widths[i+2], cell)
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
}

// number shows three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 1e5:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

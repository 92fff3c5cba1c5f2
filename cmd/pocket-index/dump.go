package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/loroindex"
)

func (c *command) dump() error {
	if c.ops && c.stats {
		return wrong("--ops and --stats are two different things to print")
	}
	x, fig, err := c.open()
	if err != nil {
		return err
	}
	switch {
	case c.stats:
		return c.printStats(x, fig)
	case c.ops:
		return c.printOps(x)
	case c.json:
		return c.printFilesJSON(x)
	}
	return c.printFiles(x)
}

// open opens the index that the command line names.
func (c *command) open() (*loroindex.Index, *figures, error) {
	b, file, err := c.target()
	if err != nil {
		return nil, nil, err
	}
	if file != "" {
		return c.openFile(file)
	}
	loaded, err := loroindex.Load(c.ctx, b, nil, loroindex.Options{})
	if err != nil {
		return nil, nil, err
	}
	if loaded.Fresh && loaded.Snapshots == 0 && loaded.Updates == 0 {
		return nil, nil, fmt.Errorf("%s: %w: there is no %s and nothing below %s and %s", b.name, loroindex.ErrNoIndex, loroindex.HeadKey, loroindex.ObjectPrefix, loroindex.UpdatePrefix)
	}
	for _, err := range loaded.Damaged {
		c.tell("warning: " + err.Error())
	}
	fig := &figures{Head: loaded.Head}
	if c.stats {
		if err := fig.count(c.ctx, b); err != nil {
			return nil, nil, err
		}
	}
	return loaded.Index, fig, nil
}

// walk calls use for everything in an index, each directory before its entries,
// by name.
func walk(x *loroindex.Index, use func(path string, e loroindex.Entry) error) error {
	type level struct {
		prefix  string
		entries []loroindex.DirEntry
	}
	list := func(dir loroindex.Node, prefix string) (level, error) {
		entries, err := x.ReadDir(dir, nil)
		slices.SortFunc(entries, func(a, b loroindex.DirEntry) int { return strings.Compare(a.Name, b.Name) })
		return level{prefix, entries}, err
	}
	root, err := list(loroindex.Root, "")
	if err != nil {
		return err
	}
	for stack := []level{root}; len(stack) > 0; {
		top := &stack[len(stack)-1]
		if len(top.entries) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		entry := top.entries[0]
		top.entries = top.entries[1:]
		e, err := x.Stat(entry.Node)
		if err != nil {
			return err
		}
		path := top.prefix + entry.Name
		if err := use(path, e); err != nil {
			return err
		}
		if e.Kind == loroindex.Dir {
			below, err := list(entry.Node, path+"/")
			if err != nil {
				return err
			}
			stack = append(stack, below)
		}
	}
	return nil
}

// row is a line of the table of files.
func row(path string, e loroindex.Entry) [7]string {
	r := [7]string{term.Printable(path), e.Kind.String(), strconv.FormatInt(e.Size, 10), moment(e.ModTime).Format(time.DateTime), fmt.Sprintf("%04o", e.Mode), attributes(e.Attributes), "-"}
	switch {
	case e.Kind == loroindex.Symlink:
		r[0] += " -> " + term.Printable(e.Target)
	case e.Kind == loroindex.Dir:
		r[2] = "-"
	}
	if !e.Object.IsZero() {
		r[6] = e.Object.String()
		if e.Manifest {
			r[6] += " (manifest)"
		}
	}
	return r
}

func moment(us int64) time.Time { return time.UnixMicro(us).UTC() }

// attributes writes Windows attributes as its attrib command does, those that
// this does not show as a number.
func attributes(bits uint32) string {
	letters := ""
	for _, a := range []struct {
		bit    uint32
		letter string
	}{{0x20, "A"}, {0x4, "S"}, {0x2, "H"}, {0x1, "R"}} {
		if bits&a.bit != 0 {
			letters += a.letter
			bits &^= a.bit
		}
	}
	switch {
	case bits != 0 && letters != "":
		return fmt.Sprintf("%s+%#x", letters, bits)
	case bits != 0:
		return fmt.Sprintf("%#x", bits)
	case letters != "":
		return letters
	}
	return "-"
}

// widestPath is how wide the column of paths becomes at most: one very long path would
// move everything else out of sight. What is longer shifts the rest of its line.
const widestPath = 80

// printFiles prints the table. It goes through the index twice, since the table
// of a million files should not be in memory.
func (c *command) printFiles(x *loroindex.Index) error {
	titles := [7]string{"PATH", "KIND", "SIZE", "MODIFIED (UTC)", "MODE", "ATTR", "OBJECT"}
	var widths [7]int
	for i, t := range titles {
		widths[i] = len(t)
	}
	err := walk(x, func(path string, e loroindex.Entry) error {
		for i, cell := range row(path, e) {
			widths[i] = max(widths[i], term.Columns(cell))
		}
		return c.ctx.Err()
	})
	if err != nil {
		return err
	}
	widths[0] = min(widths[0], widestPath)
	line := func(cells [7]string) error {
		for i, cell := range cells {
			space := strings.Repeat(" ", max(0, widths[i]-term.Columns(cell)))
			switch {
			case i == 2: // numbers to the right
				c.out.WriteString(space + cell + "  ")
			case i == len(cells)-1:
				c.out.WriteString(cell)
			default:
				c.out.WriteString(cell + space + "  ")
			}
		}
		return c.out.WriteByte('\n')
	}
	if err := line(titles); err != nil {
		return err
	}
	return walk(x, func(path string, e loroindex.Entry) error { return cmp.Or(c.ctx.Err(), line(row(path, e))) })
}

// fileJSON is one entry as printed by dump --json.
type fileJSON struct {
	Path       string       `json:"path"`
	Kind       string       `json:"kind"`
	Size       int64        `json:"size"`
	Modified   time.Time    `json:"mtime"`
	Created    time.Time    `json:"created"`
	Mode       string       `json:"mode"`
	Attributes uint32       `json:"attributes"`
	Object     *objectid.ID `json:"object"`
	Manifest   bool         `json:"manifest,omitempty"`
	Target     string       `json:"target,omitempty"`
	UID        *int64       `json:"uid,omitempty"`
	GID        *int64       `json:"gid,omitempty"`
	Device     uint64       `json:"rdev,omitempty"`
}

func (c *command) printFilesJSON(x *loroindex.Index) error {
	print := lines(c.out)
	return walk(x, func(path string, e loroindex.Entry) error {
		f := fileJSON{
			Path: path, Kind: e.Kind.String(), Size: e.Size, Modified: moment(e.ModTime), Created: moment(e.Created),
			Mode: fmt.Sprintf("%04o", e.Mode), Attributes: e.Attributes, Manifest: e.Manifest, Target: e.Target, Device: e.Rdev,
		}
		if !e.Object.IsZero() {
			f.Object = &e.Object
		}
		if e.UID != -1 {
			f.UID = &e.UID
		}
		if e.GID != -1 {
			f.GID = &e.GID
		}
		return cmp.Or(c.ctx.Err(), print(f))
	})
}

// lines prints values as JSON, one a line.
func lines(w *bufio.Writer) func(any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode
}

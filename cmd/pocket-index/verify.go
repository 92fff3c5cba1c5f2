package main

import (
	"encoding/json"
	"fmt"

	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/loroindex"
)

// finding is a fault or a note, as printed by verify --json.
type finding struct {
	Key   string `json:"key"`
	Path  string `json:"path,omitempty"` // a file that needs the object
	Fault string `json:"fault,omitempty"`
	Note  string `json:"note,omitempty"`
}

// summary is the last line that verify --json prints.
type summary struct {
	OK            bool  `json:"ok"`
	Faults        int   `json:"faults"`
	Snapshots     int   `json:"snapshots"`
	Updates       int   `json:"updates"`
	Files         int   `json:"files"`
	Directories   int   `json:"directories"`
	Referred      int   `json:"objects_referred"`
	ReferredBytes int64 `json:"objects_referred_bytes"`
	Read          int   `json:"objects_read"`
	History       int   `json:"objects_of_history"`
	HistoryBytes  int64 `json:"objects_of_history_bytes"`
	Gone          int   `json:"objects_of_history_gone"`
	Unreferred    int   `json:"objects_unreferenced"`
	UnrefBytes    int64 `json:"objects_unreferenced_bytes"`
}

// verifying is one run of verify.
type verifying struct {
	*command
	b   *bucket
	x   *loroindex.Index
	sum summary
}

func (c *command) verify() error {
	b, err := c.bucket("verify")
	if err != nil {
		return err
	}
	found, err := loroindex.Verify(c.ctx, b, c.step)
	if err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	v := &verifying{command: c, b: b, x: found.Index}
	v.sum.Snapshots, v.sum.Updates = found.Snapshots.Objects, found.Updates.Objects
	for _, f := range found.Faults {
		if err := v.report(finding{Key: f.Key, Fault: f.What.Error()}); err != nil {
			return err
		}
	}
	for _, n := range found.Notes {
		if err := v.report(finding{Key: n.Key, Note: n.What.Error()}); err != nil {
			return err
		}
	}
	if v.x != nil {
		if err := v.data(); err != nil {
			return err
		}
	}
	return v.finish()
}

// report prints a fault or a note.
func (v *verifying) report(f finding) error {
	text := f.Note
	if f.Fault != "" {
		v.sum.Faults++
		text = f.Fault
	}
	if v.json {
		body, err := json.Marshal(f)
		if err != nil {
			return err
		}
		return v.line(string(body))
	}
	if f.Fault == "" {
		v.tell("note: " + f.Key + ": " + text)
		return nil
	}
	if f.Path != "" {
		text += ": " + f.Path
	}
	return v.line(term.Printable(f.Key) + ": " + term.Printable(text))
}

func (v *verifying) finish() error {
	if v.bar != nil {
		v.bar.Finish("")
	}
	v.sum.OK = v.sum.Faults == 0
	if v.json {
		if err := lines(v.out)(struct {
			Summary summary `json:"summary"`
		}{v.sum}); err != nil {
			return err
		}
	} else {
		s := v.sum
		verdict := "all is well"
		if !s.OK {
			verdict = plural(s.Faults, "fault")
		}
		how := "there"
		if v.readData {
			how = "read"
		}
		v.out.Flush() // the faults come before what is said of them
		v.tell(fmt.Sprintf("index: %s, %s; %s, %s", plural(s.Snapshots, "snapshot"), plural(s.Updates, "update"), plural(s.Files, "file"), plural(s.Directories, "directory")))
		if v.x != nil {
			v.tell(fmt.Sprintf("data: %s in use (%s) %s; %d of the history (%s), %d of it gone; %d unreferenced (%s)", plural(s.Referred, "object"), term.Size(s.ReferredBytes), how,
				s.History, term.Size(s.HistoryBytes), s.Gone, s.Unreferred, term.Size(s.UnrefBytes)))
		} else {
			v.tell("data: not looked at, since the index cannot be read")
		}
		v.tell(verdict)
	}
	if !v.sum.OK {
		return errFaults
	}
	return nil
}

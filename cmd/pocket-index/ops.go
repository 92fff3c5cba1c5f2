package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/loroindex"
)

// printOps prints the history, what knew of something after what it knew of.
func (c *command) printOps(x *loroindex.Index) error {
	var ops []loroindex.LogEntry
	for e, err := range x.Log() {
		if err == nil {
			err = c.ctx.Err()
		}
		if err != nil {
			return err
		}
		ops = append(ops, e)
	}
	slices.SortFunc(ops, func(a, b loroindex.LogEntry) int {
		return cmp.Or(cmp.Compare(a.Lamport, b.Lamport), cmp.Compare(a.Peer, b.Peer))
	})
	if c.json {
		return c.printOpsJSON(ops)
	}
	device, what := len("DEVICE"), len("WHAT")
	for i := range ops {
		device = max(device, term.Columns(term.Printable(ops[i].Device)))
		what = max(what, len(ops[i].What))
	}
	const stamp = len(time.DateTime)
	line := func(at, device_, peer, what_, rest string) error {
		pad := func(s string, n int) string { return s + strings.Repeat(" ", max(0, n-term.Columns(s))) }
		_, err := fmt.Fprintln(c.out, strings.TrimRight(fmt.Sprintf("%s  %s  %s  %s  %s", pad(at, stamp), pad(device_, device), pad(peer, 16), pad(what_, what), rest), " "))
		return err
	}
	if err := line("TIME (UTC)", "DEVICE", "PEER", "WHAT", "PATH: DETAIL"); err != nil {
		return err
	}
	for i := range ops {
		e := &ops[i]
		at, rest := "-", term.Printable(e.Path)
		if e.Time != 0 {
			at = time.Unix(e.Time, 0).UTC().Format(time.DateTime)
		}
		if detail := term.Printable(e.Detail); detail != "" {
			if rest != "" {
				rest += ": "
			}
			rest += detail
		}
		if err := line(at, term.Printable(e.Device), fmt.Sprintf("%016x", e.Peer), e.What, rest); err != nil {
			return err
		}
	}
	return nil
}

// opJSON is one operation as printed by dump --ops --json.
type opJSON struct {
	Time    *time.Time `json:"time"`
	Device  string     `json:"device"`
	Peer    string     `json:"peer"`
	Counter int32      `json:"counter"`
	Lamport uint32     `json:"lamport"`
	What    string     `json:"what"`
	Path    string     `json:"path,omitempty"`
	Detail  string     `json:"detail,omitempty"`
}

func (c *command) printOpsJSON(ops []loroindex.LogEntry) error {
	print := lines(c.out)
	for i := range ops {
		e := &ops[i]
		o := opJSON{Device: e.Device, Peer: fmt.Sprintf("%016x", e.Peer), Counter: e.Counter, Lamport: e.Lamport, What: e.What, Path: e.Path, Detail: e.Detail}
		if e.Time != 0 {
			t := time.Unix(e.Time, 0).UTC()
			o.Time = &t
		}
		if err := print(o); err != nil {
			return err
		}
	}
	return nil
}

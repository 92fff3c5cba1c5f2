package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/loroindex"
)

const day = 24 * time.Hour

// parseKeep reads the value of --history.
func parseKeep(s string) (keep time.Duration, trim bool, err error) {
	if s == "all" {
		return 0, false, nil
	}
	bad := wrong(`--history %q is neither "all" nor an age: a number and d, w or y (days, weeks, years)`, s)
	if len(s) < 2 {
		return 0, false, bad
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 16)
	if err != nil {
		return 0, false, bad
	}
	unit := map[byte]time.Duration{'d': day, 'w': 7 * day, 'y': 365 * day}[s[len(s)-1]]
	if unit == 0 || n > uint64(200*365*day/unit) {
		return 0, false, bad
	}
	return time.Duration(n) * unit, true, nil
}

func (c *command) compact() error {
	keep, trim, err := parseKeep(c.history)
	if err != nil {
		return err
	}
	if trim && keep < loroindex.MinKeep && !c.unmounted {
		return wrong("--history %s is not safe while mounts may be running: a machine that was away for longer could not merge its changes. Use %dd or more, or end all mounts and add --unmounted", c.history, loroindex.MinKeep/day)
	}
	b, err := c.bucket("compact")
	if err != nil {
		return err
	}
	done, err := loroindex.Compact(c.ctx, b, loroindex.CompactOptions{
		DryRun: c.dryRun, Unmounted: c.unmounted, Trim: trim, Keep: keep, Step: c.step,
	})
	if err != nil {
		if done != nil && done.Deleted.Objects > 0 {
			c.tell(fmt.Sprintf("deleted %s before it failed", count(done.Deleted)))
		}
		return fmt.Errorf("%s: %w", b.name, err)
	}
	if c.bar != nil {
		c.bar.Finish("")
	}
	if c.json {
		return c.printCompactionJSON(done)
	}
	c.printCompaction(done)
	return nil
}

// plural writes a number of things: "1 update", "2 updates".
func plural(n int, thing string) string {
	if n != 1 {
		if base, ok := strings.CutSuffix(thing, "y"); ok {
			thing = base + "ie"
		}
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

func count(n loroindex.Count) string {
	return fmt.Sprintf("%s (%s)", plural(n.Objects, "object"), term.Size(n.Bytes))
}

// printCompaction prints the summary.
func (c *command) printCompaction(d *loroindex.Compaction) {
	line := func(format string, a ...any) { fmt.Fprintf(c.out, format+"\n", a...) }
	would := ""
	if c.dryRun {
		would = "would be "
		line("dry run: nothing is changed")
	}
	line("before: %s (%s) and %s (%s)", plural(d.Snapshots.Objects, "snapshot"), term.Size(d.Snapshots.Bytes), plural(d.Updates.Objects, "update"), term.Size(d.Updates.Bytes))
	if d.Written.Objects > 0 {
		line("%swritten: %s", would, count(d.Written))
	}
	if d.Deleted.Objects > 0 {
		line("%sdeleted: %s and %s (%s)", would, plural(d.Deleted.Objects-d.DeletedUpdates, "snapshot"), plural(d.DeletedUpdates, "update"), term.Size(d.Deleted.Bytes))
	}
	if d.Waiting.Objects > 0 {
		line("not needed any more: %s; run compact again after %s UTC to delete them", count(d.Waiting), d.Until.UTC().Format(time.DateTime))
	}
	if d.Kept > 0 {
		line("kept: %s of the first Pocket", plural(d.Kept, "snapshot"))
	}
	if d.NotTrimmed != "" {
		line("history not trimmed: %s", d.NotTrimmed)
	}
	if d.Trimmed > 0 {
		line("history in the head: the last %d of %d operations", d.Operations-d.Trimmed, d.Operations)
	}
	switch {
	case d.Written.Objects == 0 && d.Deleted.Objects == 0 && d.Waiting.Objects == 0:
		line("nothing to do")
	default:
		before := d.Snapshots.Bytes + d.Updates.Bytes
		after := before + d.Written.Bytes - d.Deleted.Bytes
		line("in the bucket: %s before, %s after, %s when nothing waits any more", term.Size(before), term.Size(after), term.Size(after-d.Waiting.Bytes))
		line("read by a first start: %s before, %s after", term.Size(d.StartBytes), term.Size(d.HeadBytes))
	}
}

// compactionJSON is what compact --json prints.
type compactionJSON struct {
	DryRun     bool       `json:"dry_run"`
	Snapshots  countJSON  `json:"snapshots_before"`
	Updates    countJSON  `json:"updates_before"`
	Written    countJSON  `json:"written"`
	Deleted    countJSON  `json:"deleted"`
	OfUpdates  int        `json:"deleted_updates"`
	Waiting    countJSON  `json:"waiting"`
	Until      *time.Time `json:"waiting_until"`
	Kept       int        `json:"kept_first_pocket"`
	Head       string     `json:"head,omitempty"`
	HeadBytes  int64      `json:"head_bytes"`
	StartBytes int64      `json:"start_bytes_before"`
	Operations int64      `json:"operations"`
	Trimmed    int64      `json:"operations_trimmed"`
	NotTrimmed string     `json:"not_trimmed,omitempty"`
}

type countJSON struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (c *command) printCompactionJSON(d *loroindex.Compaction) error {
	out := compactionJSON{
		DryRun: c.dryRun, Snapshots: countJSON(d.Snapshots), Updates: countJSON(d.Updates), Written: countJSON(d.Written),
		Deleted: countJSON(d.Deleted), OfUpdates: d.DeletedUpdates, Waiting: countJSON(d.Waiting), Kept: d.Kept,
		HeadBytes: d.HeadBytes, StartBytes: d.StartBytes,
		Operations: d.Operations, Trimmed: d.Trimmed, NotTrimmed: d.NotTrimmed,
	}
	if !d.Until.IsZero() {
		until := d.Until.UTC()
		out.Until = &until
	}
	if !d.Head.IsZero() {
		out.Head = d.Head.String()
	}
	return lines(c.out)(out)
}

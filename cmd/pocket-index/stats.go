package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/internal/term"
	"github.com/hamflx/pocket/loroindex"
)

// figures are what dump --stats prints, and as JSON prints by these names.
type figures struct {
	Head          objectid.ID `json:"-"`
	HeadText      string      `json:"head,omitempty"`
	Snapshots     int         `json:"snapshots"`
	SnapshotBytes int64       `json:"snapshot_bytes"`
	Updates       int         `json:"updates"`
	UpdateBytes   int64       `json:"update_bytes"`

	Schema       int64      `json:"schema"`
	Epoch        int64      `json:"epoch"`
	Peers        int        `json:"peers"`
	Devices      []string   `json:"devices"`
	Operations   int64      `json:"operations"`
	Trimmed      int64      `json:"operations_trimmed"`
	Changes      int        `json:"changes"`
	HistoryBytes int64      `json:"history_bytes"`
	First        *time.Time `json:"first"`
	Last         *time.Time `json:"last"`

	Files       int   `json:"files"`
	Directories int   `json:"directories"`
	Bytes       int64 `json:"bytes"`
	Tombstones  int   `json:"tombstones"`
}

// count counts the index objects of a bucket.
func (f *figures) count(ctx context.Context, b *bucket) error {
	for _, part := range []struct {
		prefix  string
		parse   func(string) error
		objects *int
		bytes   *int64
	}{
		{loroindex.ObjectPrefix, func(k string) error { _, err := loroindex.ParseObjectKey(k); return err }, &f.Snapshots, &f.SnapshotBytes},
		{loroindex.UpdatePrefix, func(k string) error { _, err := loroindex.ParseUpdateKey(k); return err }, &f.Updates, &f.UpdateBytes},
	} {
		for obj, err := range b.List(ctx, part.prefix, "") {
			if err != nil {
				return err
			}
			if part.parse(obj.Key) == nil {
				*part.objects++
				*part.bytes += obj.Size
			}
		}
	}
	return nil
}

func (c *command) printStats(x *loroindex.Index, f *figures) error {
	if err := x.LoadAll(c.ctx); err != nil {
		return err
	}
	h, err := x.History()
	if err != nil {
		return err
	}
	s := x.Stats()
	if !f.Head.IsZero() {
		f.HeadText = f.Head.String()
	}
	f.Schema, f.Epoch, f.Peers, f.Devices = h.Schema, h.Epoch, h.Peers, h.Devices
	f.Operations, f.Trimmed, f.Changes, f.HistoryBytes = h.Ops, h.Trimmed, h.Changes, h.Bytes
	f.Files, f.Directories, f.Bytes, f.Tombstones = s.Files, s.Dirs, s.Bytes, h.Deleted
	if h.First != 0 {
		first, last := time.Unix(h.First, 0).UTC(), time.Unix(h.Last, 0).UTC()
		f.First, f.Last = &first, &last
	}
	if c.json {
		if f.Devices == nil {
			f.Devices = []string{}
		}
		return lines(c.out)(f)
	}
	number := func(n any) string { return fmt.Sprint(n) }
	rows := [][]string{
		{"snapshots", number(f.Snapshots), term.Size(f.SnapshotBytes)},
		{"updates", number(f.Updates), term.Size(f.UpdateBytes)},
		{"operations", number(f.Operations), term.Size(f.HistoryBytes)},
		{"changes", number(f.Changes), ""},
		{"peers", number(f.Peers), term.Printable(strings.Join(f.Devices, ", "))},
		{"files", number(f.Files), term.Size(f.Bytes)},
		{"directories", number(f.Directories), ""},
		{"tombstones", number(f.Tombstones), ""},
		{"schema", number(f.Schema), fmt.Sprintf("epoch %d", f.Epoch)},
	}
	if f.Trimmed > 0 {
		rows[2][2] += fmt.Sprintf(", without the first %d", f.Trimmed)
	}
	c.out.WriteString(term.Table(rows, 1))
	if f.First != nil {
		fmt.Fprintf(c.out, "history     from %s to %s UTC\n", f.First.Format(time.DateTime), f.Last.Format(time.DateTime))
	}
	if f.HeadText != "" {
		fmt.Fprintf(c.out, "head        %s\n", f.HeadText)
	}
	return nil
}

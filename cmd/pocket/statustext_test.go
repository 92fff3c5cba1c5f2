package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hamflx/pocket/internal/control"
	"github.com/hamflx/pocket/internal/term"
)

var update = flag.Bool("update", false, "write what status prints into testdata")

// statusNow is the time of the golden files.
var statusNow = time.Date(2026, 3, 1, 18, 22, 11, 0, time.Local)

func before(d time.Duration) *time.Time {
	t := statusNow.Add(-d)
	return &t
}

// goldenStatus are the cases that status shows, by the name of their file.
func goldenStatus() map[string][]control.Status {
	fine := control.Mount{
		Name: "notes", Path: "/home/me/notes", Mode: "buffered", State: control.Mounted, Mounted: before(3*time.Hour + 2*time.Minute),
		Store: control.Store{Name: "nas", Place: "/mnt/nas/pocket", State: control.Reachable, Answered: before(2 * time.Second)},
		Cache: control.Cache{Used: 1468006, Cap: 10 << 30},
		Index: control.Index{Files: 31, Directories: 4, Complete: true, Operations: 112, Sessions: 3, Version: "5f0a91c2", Published: before(3 * time.Minute), Checked: before(4 * time.Second)},
	}
	away := fine
	away.Name, away.Path, away.Mode = "work", "/home/me/a b", "sync"
	away.Store = control.Store{
		Name: "default", Place: "s3://bucket/team/ at https://s3.example.com", State: control.Unreachable, Since: before(12*time.Minute + 5*time.Second),
		Error: `put team/data/0a1b from s3 bucket "bucket": store unavailable: dial tcp 192.0.2.7:443: connect: no route to host: check the network`,
	}
	away.Cache.Pinned, away.OpenFiles, away.Index.Complete = 5<<20, 2, false
	away.Index.Merged = before(50 * time.Hour)
	away.Pending = control.Pending{Files: 13, Bytes: 5<<20 + 300, Changes: 1, Oldest: before(12 * time.Minute)}
	for i, path := range []string{"/report.odt", "/日本語/ファイル.txt", "/evil\x1b[31m\n.txt", "/d", "/e", "/f", "/g", "/h", "/i", "/j", "/k", "/l"} {
		away.Pending.List = append(away.Pending.List, control.PendingFile{Path: path, Bytes: int64(1) << (2 * i), Since: *before(time.Duration(12-i) * time.Minute)})
	}
	away.Pending.List[1].Path = ""
	away.Pending.List[3].Open = true
	away.Notices = []control.Notice{{Time: *before(time.Hour), Text: "/plan.txt was written on two machines at once: it has what laptop wrote, and what was written here is beside it as plan (conflict desk 2026-03-01 17-22-11).txt"}}
	refused := fine
	refused.Store.State, refused.Store.Since, refused.Store.Error = control.Refused, before(5*time.Second), "permission denied: check the secret access key"
	refused.Pending = control.Pending{Changes: 3, Oldest: before(6 * time.Second)}
	failed := control.Mount{
		Name: "keys", Path: "/home/me/.ssh", Mode: "buffered", State: control.Failed, Error: "/home/me/.ssh is not empty: choose another directory",
		Store: control.Store{Name: "nas", Place: "/mnt/nas/pocket, below ssh/", State: control.Unknown},
	}
	retried := failed
	retried.Error, retried.Attempts, retried.Retry = "WinFsp is not installed: winget install WinFsp.WinFsp (https://winfsp.dev)", 4, before(-14*time.Second)
	ending := fine
	ending.State, ending.Pending.Files, ending.Pending.Bytes = control.Ending, 1, 10
	starting := failed
	starting.State, starting.Error = control.Starting, ""
	return map[string][]control.Status{
		"fine":    {{PID: 4711, Mounts: []control.Mount{fine}}},
		"away":    {{PID: 4711, Mounts: []control.Mount{away}}},
		"several": {{PID: 4711, Mounts: []control.Mount{fine, failed, retried, starting}}, {PID: 4712, Mounts: []control.Mount{refused, ending}}},
	}
}

func TestStatusText(t *testing.T) {
	for name, running := range goldenStatus() {
		got := strings.Join(statusText(running, textOptions{now: statusNow, files: filesShown}), "")
		golden := filepath.Join("testdata", "status", name+".txt")
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
			require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got, name)
		require.Equal(t, term.Printable(strings.ReplaceAll(got, "\n", "")), strings.ReplaceAll(got, "\n", ""), "nothing steers the terminal")
	}
}

func TestStatusTextFitsTheTerminal(t *testing.T) {
	for name, running := range goldenStatus() {
		for _, width := range []int{40, 72, 120} {
			lines := statusText(running, textOptions{now: statusNow, files: filesShown, width: width})
			for _, line := range lines {
				require.Less(t, term.Columns(strings.TrimSuffix(line, "\n")), width, "%s: %q", name, line)
			}
			wide := strings.Fields(strings.Join(statusText(running, textOptions{now: statusNow, files: filesShown}), ""))
			if width > 40 { // below, words are cut
				require.Equal(t, wide, strings.Fields(strings.Join(lines, "")), "no word is lost")
			}
		}
	}
}

func TestStatusTextHasColoursOnlyWhereAsked(t *testing.T) {
	running := goldenStatus()["away"]
	coloured := strings.Join(statusText(running, textOptions{now: statusNow, files: filesShown, colour: true}), "")
	require.Contains(t, coloured, string(bad))
	bare := coloured
	for _, look := range []style{bold, good, bad, busy, dim, normal} {
		bare = strings.ReplaceAll(bare, string(look), "")
	}
	require.Equal(t, strings.Join(statusText(running, textOptions{now: statusNow, files: filesShown}), ""), bare)
}

func TestStatusExampleIsWhatItPrints(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "status", "fine.txt"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		field, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		require.Contains(t, usageStatus, field)
	}
}

func TestUsagesFitATerminal(t *testing.T) {
	for _, usage := range []string{usageStatus, usageWait, usageStop} {
		for line := range strings.Lines(usage) {
			require.LessOrEqual(t, len(line), 120, line)
		}
	}
}

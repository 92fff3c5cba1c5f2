// Indexbench measures the index of a mount as its number of files grows: opening a
// snapshot, walking it, single changes, and what publishing one of them writes.
//
//	go run ./scripts/indexbench                        10k, 100k and 1M files
//	go run ./scripts/indexbench -files 10000,100000
//	go run ./scripts/indexbench -keep /tmp/snapshots   make the snapshots once
//	go run ./scripts/indexbench -json                  one JSON object a line
//
// Each size is measured in a process of its own, whose memory is what the system says
// (VmRSS and VmHWM), so it runs on Linux. scripts/bench-index.sh calls it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("indexbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sizes := flags.String("files", "10000,100000,1000000", "numbers of files, separated by commas")
	keep := flags.String("keep", "", "directory that keeps the snapshots for a next run (default: a temporary one)")
	asJSON := flags.Bool("json", false, "print one JSON object a line instead of a table")
	write := flags.String("write", "", "make the snapshot of -files in this file and end")
	one := flags.String("measure", "", "measure the snapshot in this file and end")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	err := func() error {
		switch {
		case *write != "":
			n, err := strconv.Atoi(*sizes)
			if err != nil {
				return err
			}
			return writeSnapshot(*write, n)
		case *one != "":
			f, err := measure(*one)
			if err != nil {
				return err
			}
			return json.NewEncoder(stdout).Encode(f)
		}
		return all(*sizes, *keep, *asJSON, stdout, stderr)
	}()
	if err != nil {
		fmt.Fprintln(stderr, "indexbench:", err)
		return 1
	}
	return 0
}

// all measures every size in processes of their own.
func all(sizes, keep string, asJSON bool, stdout, stderr io.Writer) error {
	if keep == "" {
		dir, err := os.MkdirTemp("", "indexbench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		keep = dir
	} else if err := os.MkdirAll(keep, 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := func(out io.Writer, args ...string) error {
		cmd := exec.Command(self, args...)
		cmd.Stdout, cmd.Stderr = out, stderr
		return cmd.Run()
	}
	var columns []figures
	for size := range strings.SplitSeq(sizes, ",") {
		path := filepath.Join(keep, size+".snapshot")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			if err := child(stderr, "-files", size, "-write", path); err != nil {
				return fmt.Errorf("snapshot of %s files: %w", size, err)
			}
		}
		var out strings.Builder
		if err := child(&out, "-measure", path); err != nil {
			return fmt.Errorf("%s files: %w", size, err)
		}
		if asJSON {
			fmt.Fprint(stdout, out.String())
			continue
		}
		var f figures
		if err := json.Unmarshal([]byte(out.String()), &f); err != nil {
			return err
		}
		columns = append(columns, f)
	}
	if asJSON {
		return nil
	}
	return table(stdout, columns)
}

// table prints a column for each size.
func table(w io.Writer, columns []figures) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name, unit string, value func(*figures) string) {
		fmt.Fprintf(t, "%s\t%s\t", name, unit)
		for i := range columns {
			fmt.Fprintf(t, "%s\t", value(&columns[i]))
		}
		fmt.Fprintln(t)
	}
	whole := func(v int64) string { return strconv.FormatInt(v, 10) }
	mib := func(v int64) string { return fmt.Sprintf("%.1f", float64(v)/(1<<20)) }
	row("files", "", func(f *figures) string { return whole(int64(f.Files)) })
	row("snapshot", "MiB", func(f *figures) string { return mib(f.SnapshotBytes) })
	row("open to the first listing", "s", func(f *figures) string { return fmt.Sprintf("%.3f", f.Open) })
	row("CPU of that", "s", func(f *figures) string { return fmt.Sprintf("%.3f", f.OpenCPU) })
	row("peak memory of that", "MiB", func(f *figures) string { return mib(f.OpenPeak) })
	row("memory (RSS) then", "MiB", func(f *figures) string { return mib(f.OpenRSS) })
	row("walk over everything", "s", func(f *figures) string { return fmt.Sprintf("%.3f", f.Walk) })
	row("memory (RSS) then", "MiB", func(f *figures) string { return mib(f.WalkRSS) })
	micros := func(v float64) string { return fmt.Sprintf("%.2f", v) }
	row("stat", "us", func(f *figures) string { return micros(f.Stat) })
	row("create", "us", func(f *figures) string { return micros(f.Create) })
	row("rename", "us", func(f *figures) string { return micros(f.Rename) })
	row("delete", "us", func(f *figures) string { return micros(f.Delete) })
	row("publish one creation", "us", func(f *figures) string { return micros(f.Publish) })
	row("written for it", "bytes", func(f *figures) string { return whole(f.PublishBytes) })
	row("in objects", "", func(f *figures) string { return whole(int64(f.PublishObjects)) })
	return t.Flush()
}

// status reads a line of /proc/self/status, in bytes.
func status(name string) (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", name)
}

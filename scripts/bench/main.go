// Bench measures how fast a mount of Pocket is: beside other programs that mount a bucket,
// on one S3 service behind a proxy that adds latency (package compare), or, with -folder,
// on a store in a folder beside a plain directory on the same disk.
//
//	go run ./scripts/bench -pocket bin/pocket -s3server bin/s3server -peers pocket,rclone -latency 20ms
//	go run ./scripts/bench -pocket bin/pocket -folder -only write,read -runs 5 -json
//
// With -folder, each [target] runs each [row] in the same order, in directories of its own, and the
// median of several runs is shown. A further program to compare with is one more target.
// scripts/bench.sh builds what is needed and calls it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	program := flags.String("pocket", "bin/pocket", "the pocket to measure")
	parent := flags.String("dir", "", "where to work: a directory on the disk to measure (default: the system's temporary directory)")
	runs := flags.Int("runs", 0, "how often each row is run; the median is shown (default 3 with -folder, else 1)")
	folder := flags.Bool("folder", false, "measure Pocket on a store in a folder beside a plain directory, instead of comparing programs on S3")
	only := flags.String("only", "", "with -folder, rows to run, by parts of their names, separated by commas")
	withHuge := flags.Bool("huge", false, "with -folder, also write and read a file of 4 GiB")
	asJSON := flags.Bool("json", false, "print JSON instead of a table")
	comparison := defineComparison(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "bench: %q is one argument too many\n", flags.Arg(0))
		return 2
	}
	if !*folder {
		if *only != "" || *withHuge {
			fmt.Fprintln(stderr, "bench: -only and -huge need -folder; the comparison has -rows")
			return 2
		}
		return comparison.run(*program, *parent, max(1, *runs), *asJSON, stdout, stderr)
	}
	if *runs < 1 {
		*runs = 3
	}
	if *withHuge {
		rows = append(rows, hugeRows...)
	}
	report, err := measure(*program, *parent, *runs, *only, func(text string) { fmt.Fprintln(stderr, "bench:", text) })
	if err == nil {
		if *asJSON {
			err = report.json(stdout)
		} else {
			err = report.table(stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// measure runs the rows on all targets.
func measure(program, parent string, runs int, only string, say func(string)) (r *report, err error) {
	dir, err := os.MkdirTemp(parent, "pocket-bench-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil { // or something may still be mounted there
			err = os.RemoveAll(dir)
		}
	}()
	chosen, err := choose(only)
	if err != nil {
		return nil, err
	}
	r = &report{When: time.Now().UTC().Truncate(time.Second), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Runs: runs}
	for _, m := range chosen {
		r.Rows = append(r.Rows, result{Name: m.name, Unit: m.unit, MoreIsBetter: m.moreIsBetter, Values: map[string]float64{}})
	}
	for _, open := range []func() (target, error){
		func() (target, error) { return openPlain(filepath.Join(dir, "plain")) },
		func() (target, error) { return openPocket(filepath.Join(dir, "pocket"), program) },
	} {
		t, err := open()
		if err != nil {
			return nil, err
		}
		r.Targets = append(r.Targets, t.name())
		if err := r.fill(t, chosen, runs, say); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", t.name(), err), t.close())
		}
		if err := t.close(); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name(), err)
		}
	}
	return r, nil
}

// choose returns the rows that contain one of the words.
func choose(only string) ([]row, error) {
	if only == "" {
		return rows, nil
	}
	var chosen []row
	for _, m := range rows {
		if slices.ContainsFunc(strings.Split(only, ","), func(word string) bool { return strings.Contains(m.name, strings.TrimSpace(word)) }) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no row contains %q", only)
	}
	return chosen, nil
}

// report is what was measured, and the shape of the JSON.
type report struct {
	When    time.Time `json:"when"`
	System  string    `json:"system"`
	CPUs    int       `json:"cpus"`
	Runs    int       `json:"runs"`
	Targets []string  `json:"targets"` // the first is what others are compared with
	Rows    []result  `json:"rows"`
}

type result struct {
	Name         string             `json:"name"`
	Unit         string             `json:"unit"`
	MoreIsBetter bool               `json:"more_is_better"`
	Values       map[string]float64 `json:"values"` // median by target; none where a row does not apply
}

// fill measures a target.
func (r *report) fill(t target, chosen []row, runs int, say func(string)) error {
	samples := make([][]float64, len(chosen))
	for n := range runs {
		say(fmt.Sprintf("%s, run %d of %d", t.name(), n+1, runs))
		work := filepath.Join(t.dir(), fmt.Sprint("run ", n+1))
		if err := os.Mkdir(work, 0o755); err != nil {
			return err
		}
		for i, m := range chosen {
			at := filepath.Join(work, fmt.Sprint(i))
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
			value, err := m.run(t, at)
			if errors.Is(err, errDoesNotApply) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			samples[i] = append(samples[i], value)
			if err := os.RemoveAll(at); err != nil {
				return err
			}
		}
	}
	for i, s := range samples {
		if len(s) > 0 {
			slices.Sort(s)
			r.Rows[i].Values[t.name()] = s[len(s)/2]
		}
	}
	return nil
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// table prints the targets beside each other, and how fast the last is compared with
// the first.
func (r *report) table(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %d CPUs, median of %d runs\n\n", r.When.Format("2006-01-02 15:04"), r.System, r.CPUs, r.Runs)
	base, last := r.Targets[0], r.Targets[len(r.Targets)-1]
	lines := [][]string{append(append([]string{"", ""}, r.Targets...), "speed of "+base)}
	for _, m := range r.Rows {
		line := []string{m.Name, m.Unit}
		for _, target := range r.Targets {
			if v, ok := m.Values[target]; ok {
				line = append(line, number(v))
			} else {
				line = append(line, "-")
			}
		}
		speed := "-"
		if b, l := m.Values[base], m.Values[last]; b > 0 && l > 0 {
			if !m.MoreIsBetter {
				b, l = l, b
			}
			speed = fmt.Sprintf("%.0f %%", 100*l/b)
		}
		lines = append(lines, append(line, speed))
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, line := range lines {
		text := fmt.Sprintf("%-*s  %-*s", widths[0], line[0], widths[1], line[1])
		for i, cell := range line[2:] {
			text += fmt.Sprintf("  %*s", widths[i+2], cell)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(text, " ")); err != nil {
			return err
		}
	}
	return nil
}

// number shows three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

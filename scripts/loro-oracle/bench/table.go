package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"text/tabwriter"
)

// printTable prints the medians of two files of measurements and their ratio. It
// fails when the two did not see the same.
func printTable(w io.Writer, ours, official string) error {
	a, err := readResults(ours)
	if err != nil {
		return err
	}
	b, err := readResults(official)
	if err != nil {
		return err
	}
	var names []string
	for name := range a {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int { return slices.Index(order, x) - slices.Index(order, y) })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tours ms\tofficial ms\tofficial/ours\t")
	for _, name := range names {
		x, y := a[name], b[name]
		if len(y.Milliseconds) == 0 {
			return fmt.Errorf("%s: the official library was not measured", name)
		}
		if !alike(x.Seen, y.Seen) {
			return fmt.Errorf("%s: ours saw %d, the official library %d", name, x.Seen, y.Seen)
		}
		mine, theirs := median(x.Milliseconds), median(y.Milliseconds)
		fmt.Fprintf(t, "%-42s\t%.2f\t%.2f\t%.1f\t\n", name, mine, theirs, theirs/mine)
	}
	return t.Flush()
}

// order is that of the rows.
var order = []string{
	"snapshot of 100k files to first listing",
	"update of 10k files to first listing",
	"update of 100k files to first listing",
	"merge of 10k concurrent moves",
	"update after one edit of 100k files",
	"snapshot after one edit of 100k files",
}

// readResults merges the lines of a file.
func readResults(name string) (map[string]result, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	all := make(map[string]result)
	for dec := json.NewDecoder(bytes.NewReader(text)); ; {
		var some map[string]result
		if err := dec.Decode(&some); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for task, r := range some {
			r.Milliseconds = append(r.Milliseconds, all[task].Milliseconds...)
			all[task] = r
		}
	}
}

// alike allows for the exports of two libraries to differ in length.
func alike(a, b int) bool {
	return math.Abs(float64(a-b)) <= 0.2*float64(max(a, b))
}

func median(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// Command bench measures this project's Loro documents beside the official library
// on the same bytes; ../../bench-loro.sh runs it.
//
//	bench -write DIR      makes the documents
//	bench -measure DIR    measures, and prints {"task": [milliseconds, …], …}
//	bench -table A B      compares two files of such lines, ours first
//
// Every measurement comes with a number that must be the same for both: how much
// was listed, or how many bytes were exported within reason.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	write := flags.String("write", "", "directory to make the documents in")
	measure := flags.String("measure", "", "directory with the documents to measure")
	table := flags.Bool("table", false, "compare two files of measurements")
	repeat := flags.Int("repeat", 3, "measurements of each task")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	var err error
	switch {
	case *write != "":
		err = writeDocuments(*write)
	case *measure != "":
		var results map[string]result
		if results, err = measureAll(*measure, *repeat); err == nil {
			err = json.NewEncoder(stdout).Encode(results)
		}
	case *table && flags.NArg() == 2:
		err = printTable(stdout, flags.Arg(0), flags.Arg(1))
	default:
		flags.Usage()
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

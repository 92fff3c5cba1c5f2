// Command loroblobs writes Loro documents made at random by this project's own
// library, for another implementation to check.
//
//	go run ./scripts/loroblobs -seed 7 -n 20 DIR
//
// DIR gets the blobs and impl.json, which says for every item which blobs are
// imported in order into one fresh document, and what it then holds:
//
//	{"items": [{"name": "7-large-cuts", "blobs": ["7-large-cuts.0.bin", …],
//	  "stateSha": "…", "opsSha": "…", "vv": {"5": 12}, "frontiers": ["11@5"]}]}
//
// State and operations are those of the package canon. An item with expectReject
// ends with a blob that must be refused. A seed always gives the same bytes.
//
//	go run ./scripts/loroblobs -mutate -seed 7 -n 2000 [-from BLOBS] DIR
//
// writes blobs damaged at random instead, their checksums right again, to
// mutants.bin, and mutants.json with what this library made of each (see
// mutants.mjs). What is damaged are random documents, or the .bin files of the
// directory BLOBS. It fails when one crashes the library or takes unduly long.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("loroblobs", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: loroblobs [-mutate [-from BLOBS]] [-seed N] [-n COUNT] DIR")
		flags.PrintDefaults()
	}
	seed := flags.Uint64("seed", 1, "what the documents are made from")
	count := flags.Int("n", 20, "number of documents, or of damaged blobs")
	mutate := flags.Bool("mutate", false, "write damaged blobs")
	from := flags.String("from", "", "directory of the blobs to damage")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() != 1:
		flags.Usage()
		return 2
	}
	var summary string
	var err error
	if *mutate {
		summary, err = writeMutants(flags.Arg(0), *from, *seed, *count)
	} else {
		summary, err = writeDocuments(flags.Arg(0), *seed, *count)
	}
	if err != nil {
		fmt.Fprintln(stderr, "loroblobs:", err)
		return 1
	}
	fmt.Fprintln(stdout, summary)
	return 0
}

// writeJSON writes v to a file of the directory.
func writeJSON(dir, name string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o600)
}

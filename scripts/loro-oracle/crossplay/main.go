// Command crossplay lets this project's Loro documents and the official library's
// edit together and checks after every exchange that both know and show the same.
//
//	go run ./scripts/loro-oracle/crossplay -rounds 200 -seed 3
//
// There are a few pairs of a document of each library. What a pair receives, both
// import, as the same bytes in the same order, and both edit in turn; the pairs
// edit concurrently and give each other what they have in random order, some of
// it twice, some of it before what it depends on. Now and then all are brought
// together, and begin again from a snapshot or a shallow snapshot that one of
// them, of either library, has written.
//
// It needs node, and LORO_ORACLE as check-loro.sh sets it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("crossplay", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seed := flags.Uint64("seed", 1, "what everything random is made from")
	rounds := flags.Int("rounds", 100, "number of rounds of edits and exchanges")
	scripts := flags.String("scripts", "scripts/loro-oracle", "directory of crossplay.mjs")
	verbose := flags.Bool("v", false, "say what happens")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	log := io.Discard
	if *verbose {
		log = stdout
	}
	total, err := playAll(*scripts, *seed, *rounds, log)
	if err != nil {
		fmt.Fprintf(stderr, "crossplay: seed %d: %v\n", *seed, err)
		return 1
	}
	fmt.Fprintf(stdout, "%d rounds: %d imports compared, %d snapshots begun from, %d operations in the largest document: all agree\n",
		*rounds, total.imports, total.snapshots, total.operations)
	return 0
}

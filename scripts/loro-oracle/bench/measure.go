package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
)

// result is what measuring a task several times gave.
type result struct {
	Milliseconds []float64 `json:"ms"`
	// Seen is what came of it: entries listed or bytes exported.
	Seen int `json:"seen"`
}

// task is measured from the call of the function prepare returns to its return.
// bench.mjs has the same tasks under the same names.
type task struct {
	name    string
	prepare func() (timed func() (seen int, err error), err error)
}

func measureAll(dir string, repeat int) (map[string]result, error) {
	var broken error
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			broken = err
		}
		return b
	}
	tasks := []task{
		{"snapshot of 100k files to first listing", listing(read(snapshot))},
		{"update of 10k files to first listing", listing(read(files10k))},
		{"update of 100k files to first listing", listing(read(files100k))},
		{"merge of 10k concurrent moves", merge(read(movesBase), read(movesOurs), read(movesOther))},
		{"update after one edit of 100k files", exportAfterEdit(read(snapshot), false)},
		{"snapshot after one edit of 100k files", exportAfterEdit(read(snapshot), true)},
	}
	if broken != nil {
		return nil, broken
	}
	results := make(map[string]result)
	for _, t := range tasks {
		var res result
		for range repeat {
			timed, err := t.prepare()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			runtime.GC()
			start := time.Now()
			seen, err := timed()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			res.Milliseconds = append(res.Milliseconds, float64(time.Since(start).Nanoseconds())/1e6)
			res.Seen = seen
		}
		results[t.name] = res
	}
	return results, nil
}

func listing(blob []byte) func() (func() (int, error), error) {
	return func() (func() (int, error), error) {
		return func() (int, error) {
			d := loro.NewDoc(1)
			if _, err := d.Import(blob); err != nil {
				return 0, err
			}
			return list(d), nil
		}, nil
	}
}

// list counts the characters of the names at the top.
func list(d *loro.Doc) int {
	seen := 0
	tree := d.Tree("files")
	for id := range tree.Children(loro.TreeRoot) {
		name, _ := tree.Meta(id).Get("name")
		s, _ := name.AsString()
		seen += len(s)
	}
	return seen
}

func merge(base, ours, other []byte) func() (func() (int, error), error) {
	return func() (func() (int, error), error) {
		d := loro.NewDoc(1)
		for _, blob := range [][]byte{base, ours} {
			if _, err := d.Import(blob); err != nil {
				return nil, err
			}
		}
		list(d)
		return func() (int, error) {
			if _, err := d.Import(other); err != nil {
				return 0, err
			}
			return list(d), nil
		}, nil
	}
}

func exportAfterEdit(blob []byte, whole bool) func() (func() (int, error), error) {
	return func() (func() (int, error), error) {
		d := loro.NewDoc(3001)
		if _, err := d.Import(blob); err != nil {
			return nil, err
		}
		before := d.Version()
		tree := d.Tree("files")
		for id := range tree.Children(loro.TreeRoot) {
			if err := tree.Meta(id).Set("name", loro.String("renamed")); err != nil {
				return nil, err
			}
			break
		}
		d.Commit()
		return func() (int, error) {
			export := d.ExportSnapshot
			if !whole {
				export = func() ([]byte, error) { return d.ExportUpdates(before) }
			}
			out, err := export()
			return len(out), err
		}, nil
	}
}

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Names of the files -write makes. The snapshot is written by bench.mjs from the
// updates of 100k files, so that both libraries read the official one's bytes.
const (
	files10k   = "files-10k.updates"
	files100k  = "files-100k.updates"
	snapshot   = "files-100k.snapshot"
	movesBase  = "moves-base.updates"
	movesOurs  = "moves-a.updates"
	movesOther = "moves-b.updates"
)

const (
	perDirectory = 50     // entries
	moved        = 10_000 // nodes each of two peers moves
)

func writeDocuments(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, n := range map[string]int{files10k: 10_000, files100k: 100_000} {
		d := loro.NewDoc(1001)
		if _, err := makeFiles(d, n); err != nil {
			return err
		}
		if err := writeUpdates(dir, name, d, nil); err != nil {
			return err
		}
	}
	return writeMoves(dir)
}

// makeFiles makes n files and directories as this project's index keeps them: a
// name, one value of facts and one of what changes with the content.
func makeFiles(d *loro.Doc, n int) ([]loro.TreeID, error) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	tree := d.Tree("files")
	var nodes, dirs []loro.TreeID
	dirs = append(dirs, loro.TreeRoot)
	for i := range n {
		isDir := i%perDirectory == 0
		node, err := tree.Create(dirs[i/perDirectory/2])
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
		if isDir {
			dirs = append(dirs, node)
		}
		if err := fill(tree.Meta(node), r, i, isDir); err != nil {
			return nil, err
		}
		if i%100 == 99 {
			d.Commit()
		}
	}
	d.Commit()
	return nodes, nil
}

func fill(m loro.Map, r *rand.Rand, i int, isDir bool) error {
	kind := int64(1)
	if isDir {
		kind = 2
	}
	now := 1_700_000_000_000_000 + r.Int64N(1e14)
	return errors.Join(
		m.Set("name", loro.String(fmt.Sprintf("file %06d.txt", i))),
		m.Set("info", loro.MapValue(
			loro.Entry{Key: "kind", Value: loro.Int(kind)},
			loro.Entry{Key: "mode", Value: loro.Int(0o644)},
			loro.Entry{Key: "created", Value: loro.Int(now)})),
		m.Set("content", content(r, now)))
}

func content(r *rand.Rand, now int64) loro.Value {
	object := make([]byte, 32)
	for i := range object {
		object[i] = byte(r.Uint32())
	}
	return loro.MapValue(
		loro.Entry{Key: "size", Value: loro.Int(r.Int64N(1e7))},
		loro.Entry{Key: "mtime", Value: loro.Int(now)},
		loro.Entry{Key: "object", Value: loro.Binary(object)})
}

// writeMoves writes a tree and what two peers that do not know of each other
// move in it.
func writeMoves(dir string) error {
	base := loro.NewDoc(1002)
	nodes, err := makeFiles(base, 2*moved)
	if err != nil {
		return err
	}
	if err := writeUpdates(dir, movesBase, base, nil); err != nil {
		return err
	}
	all, err := base.ExportUpdates(nil)
	if err != nil {
		return err
	}
	for i, name := range []string{movesOurs, movesOther} {
		d := loro.NewDoc(loro.PeerID(2001 + i))
		if _, err := d.Import(all); err != nil {
			return err
		}
		r := rand.New(rand.NewPCG(2, uint64(i)))
		tree := d.Tree("files")
		for done := 0; done < moved; {
			err := tree.Move(nodes[r.IntN(len(nodes))], nodes[r.IntN(len(nodes))])
			switch {
			case errors.Is(err, loro.ErrCycle):
				continue
			case err != nil:
				return err
			}
			if done++; done%50 == 0 {
				d.Commit()
			}
		}
		if err := writeUpdates(dir, name, d, base.Version()); err != nil {
			return err
		}
	}
	return nil
}

func writeUpdates(dir, name string, d *loro.Doc, from loro.VersionVector) error {
	blob, err := d.ExportUpdates(from)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), blob, 0o600)
}

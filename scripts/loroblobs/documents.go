package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
	"github.com/hamflx/pocket/scripts/loro-oracle/play"
)

// item is one entry of impl.json.
type item struct {
	Name         string           `json:"name"`
	Blobs        []string         `json:"blobs"`
	StateSha     string           `json:"stateSha,omitempty"`
	OpsSha       string           `json:"opsSha,omitempty"`
	VV           map[string]int32 `json:"vv,omitempty"`
	Frontiers    []string         `json:"frontiers,omitempty"`
	ExpectReject bool             `json:"expectReject,omitempty"`
}

// documents writes items to a directory.
type documents struct {
	dir   string
	items []item
	bytes int
}

func writeDocuments(dir string, seed uint64, count int) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out := &documents{dir: dir}
	for i := range count {
		if err := out.session(seed, i); err != nil {
			return "", fmt.Errorf("document %d of seed %d: %w", i, seed, err)
		}
	}
	if err := writeJSON(dir, "impl.json", map[string]any{"seed": seed, "items": out.items}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d documents as %d items, %d bytes", count, len(out.items), out.bytes), nil
}

// size is how much happens in a session.
type size struct {
	name             string
	replicas, rounds int
}

func sizeOf(r *rand.Rand, i int) size {
	switch {
	case i%16 == 15:
		return size{"large", 3, 300}
	case i%4 == 3:
		return size{"medium", 2 + r.IntN(4), 40 + r.IntN(60)}
	case i%8 == 0:
		return size{"alone", 1, 10 + r.IntN(40)}
	}
	return size{"small", 1 + r.IntN(5), 4 + r.IntN(20)}
}

// session plays one session and writes what its document looks like in every
// form this library can export.
func (o *documents) session(seed uint64, i int) error {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	sz := sizeOf(r, i)
	s := play.NewSession(r, sz.replicas)
	s.Raise = i%3 == 1 // then without shallow snapshots
	for round := range sz.rounds {
		if err := s.Round(); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if r.IntN(sz.rounds) < 2 {
			if err := s.Root(); err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
	}
	if err := s.Sync(); err != nil {
		return err
	}
	n := namer{o, fmt.Sprintf("%d-%d-%s", seed, i, sz.name)}
	d := s.Docs[r.IntN(len(s.Docs))]
	for _, step := range []func(namer, *play.Session, *loro.Doc) error{
		writeSnapshot, writeUpdates, writeSent, writeCuts, writePieces, writeOldAndNew, writeReloaded, writeShallow,
	} {
		if err := step(n, s, d); err != nil {
			return err
		}
	}
	return nil
}

// namer adds items whose names begin alike.
type namer struct {
	*documents
	prefix string
}

// add writes an item: the blobs and what a document has after importing them.
// It checks first that this library agrees.
func (n namer) add(name string, want *loro.Doc, blobs ...[]byte) error {
	name = n.prefix + "-" + name
	d := loro.NewDoc(1)
	for i, blob := range blobs {
		if _, err := d.Import(blob); err != nil {
			return fmt.Errorf("%s: own blob %d: %w", name, i, err)
		}
	}
	if err := play.Same(want, d); err != nil {
		return fmt.Errorf("%s: after importing its own blobs: %w", name, err)
	}
	if err := d.Verify(); err != nil {
		return fmt.Errorf("%s: after importing its own blobs: %w", name, err)
	}
	ops, err := canon.Ops(d)
	if err != nil {
		return fmt.Errorf("%s: history: %w", name, err)
	}
	state := canon.State(d)
	it := item{
		Name:      name,
		StateSha:  canon.Sum(state),
		OpsSha:    canon.Sum(ops),
		VV:        canon.Version(d.Version()),
		Frontiers: canon.IDs(d.Frontiers()),
	}
	if err := n.write(&it, blobs); err != nil {
		return err
	}
	for suffix, text := range map[string][]byte{".state.json": state, ".ops.json": ops} {
		if err := os.WriteFile(filepath.Join(n.dir, name+suffix), text, 0o600); err != nil {
			return err
		}
	}
	n.items = append(n.items, it)
	return nil
}

// reject writes an item whose last blob must be refused.
func (n namer) reject(name string, blobs ...[]byte) error {
	name = n.prefix + "-" + name
	d := loro.NewDoc(1)
	for i, blob := range blobs {
		_, err := d.Import(blob)
		if last := i == len(blobs)-1; last == (err == nil) {
			return fmt.Errorf("%s: own blob %d of %d: %v", name, i, len(blobs), err)
		}
	}
	it := item{Name: name, ExpectReject: true}
	if err := n.write(&it, blobs); err != nil {
		return err
	}
	n.items = append(n.items, it)
	return nil
}

func (n namer) write(it *item, blobs [][]byte) error {
	for i, blob := range blobs {
		file := fmt.Sprintf("%s.%d.bin", it.Name, i)
		if err := os.WriteFile(filepath.Join(n.dir, file), blob, 0o600); err != nil {
			return err
		}
		it.Blobs = append(it.Blobs, file)
		n.bytes += len(blob)
	}
	return nil
}

func writeSnapshot(n namer, _ *play.Session, d *loro.Doc) error {
	blob, err := d.ExportSnapshot()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return n.add("snapshot", d, blob)
}

func writeUpdates(n namer, _ *play.Session, d *loro.Doc) error {
	blob, err := d.ExportUpdates(nil)
	if err != nil {
		return fmt.Errorf("updates: %w", err)
	}
	return n.add("updates", d, blob)
}

// writeSent writes what the replicas published as they went, in that order and,
// so that much has to wait for its dependencies, in another.
func writeSent(n namer, s *play.Session, d *loro.Doc) error {
	if err := n.add("sent", d, s.Sent...); err != nil {
		return err
	}
	mixed, err := play.Shuffle(s.R, d, s.Sent)
	if err != nil {
		return err
	}
	return n.add("mixed", d, mixed...)
}

// writeCuts writes updates from a few versions cut anywhere, the whole among
// them, in any order.
func writeCuts(n namer, s *play.Session, d *loro.Doc) error {
	from := []loro.VersionVector{nil}
	for range 1 + s.R.IntN(4) {
		from = append(from, play.Cut(s.R, d.Version()))
	}
	var blobs [][]byte
	for _, v := range from {
		blob, err := d.ExportUpdates(v)
		if err != nil {
			return fmt.Errorf("updates from %v: %w", v, err)
		}
		blobs = append(blobs, blob)
	}
	blobs, err := play.Shuffle(s.R, d, blobs)
	if err != nil {
		return err
	}
	return n.add("cuts", d, blobs...)
}

func writePieces(n namer, s *play.Session, d *loro.Doc) error {
	blobs, err := play.Pieces(s.R, d, nil)
	if err != nil {
		return fmt.Errorf("pieces: %w", err)
	}
	if blobs, err = play.Shuffle(s.R, d, blobs); err != nil {
		return err
	}
	return n.add("pieces", d, blobs...)
}

// writeOldAndNew writes the snapshot of an older document and what came after.
func writeOldAndNew(n namer, s *play.Session, d *loro.Doc) error {
	old := loro.NewDoc(play.Peer(s.R))
	for _, blob := range s.Sent[:s.R.IntN(len(s.Sent)+1)] {
		if _, err := old.Import(blob); err != nil {
			return fmt.Errorf("older document: %w", err)
		}
	}
	before, err := old.ExportSnapshot()
	if err != nil {
		return fmt.Errorf("snapshot of the older document: %w", err)
	}
	after, err := d.ExportUpdates(old.Version())
	if err != nil {
		return err
	}
	return n.add("old-and-new", d, before, after)
}

// writeReloaded writes what a document that was loaded from a snapshot and then
// edited exports.
func writeReloaded(n namer, s *play.Session, d *loro.Doc) error {
	blob, err := d.ExportSnapshot()
	if err != nil {
		return err
	}
	fresh, err := reload(s, blob, 1+s.R.IntN(12))
	if err != nil {
		return err
	}
	again, err := fresh.ExportSnapshot()
	if err != nil {
		return fmt.Errorf("snapshot after edits of a loaded document: %w", err)
	}
	if err := n.add("reloaded", fresh, again); err != nil {
		return err
	}
	update, err := fresh.ExportUpdates(d.Version())
	if err != nil {
		return err
	}
	return n.add("reloaded-update", fresh, blob, update)
}

// reload imports a snapshot into a fresh document and edits it. It may find that
// document's nodes, and no others, known.
func reload(s *play.Session, blob []byte, edits int) (*loro.Doc, error) {
	d := loro.NewDoc(play.Peer(s.R))
	if _, err := d.Import(blob); err != nil {
		return nil, fmt.Errorf("reloading: %w", err)
	}
	e := &play.Editor{Doc: d, R: s.R, Nodes: s.Nodes, Clock: s.Clock, Raise: s.Raise}
	for range edits {
		if err := e.Edit(); err != nil {
			return nil, fmt.Errorf("editing after reloading: %w", err)
		}
	}
	e.Commit()
	return d, nil
}

// writeShallow writes shallow snapshots that start at the session's last roots
// and at the newest version, and what can and cannot come after them.
func writeShallow(n namer, s *play.Session, d *loro.Doc) error {
	if s.Raise {
		return nil
	}
	heads := d.Frontiers()
	roots := s.Roots[max(0, len(s.Roots)-2):]
	if len(heads) == 1 {
		roots = append(roots[:len(roots):len(roots)], heads[0])
	} else if _, err := d.ExportShallow(heads); !errors.Is(err, loro.ErrShallowFrontiers) {
		return fmt.Errorf("shallow snapshot at the heads %v: %w instead of %w", heads, err, loro.ErrShallowFrontiers)
	}
	for i, root := range roots {
		blob, err := d.ExportShallow(loro.Frontiers{root})
		if err != nil {
			return fmt.Errorf("shallow snapshot at %v: %w", root, err)
		}
		name := fmt.Sprintf("shallow-%d", i)
		if err := n.add(name, d, blob); err != nil {
			return err
		}
		if err := afterShallow(n, s, name, blob, root); err != nil {
			return err
		}
	}
	return nil
}

func afterShallow(n namer, s *play.Session, name string, blob []byte, root loro.ID) error {
	d, err := reload(s, blob, 3+s.R.IntN(10))
	if err != nil {
		return fmt.Errorf("shallow snapshot at %v: %w", root, err)
	}
	loaded := loro.NewDoc(1)
	if _, err := loaded.Import(blob); err != nil {
		return err
	}
	update, err := d.ExportUpdates(loaded.Version())
	if err != nil {
		return err
	}
	if err := n.add(name+"-update", d, blob, update); err != nil {
		return err
	}
	again, err := d.ExportSnapshot()
	if err != nil {
		return fmt.Errorf("snapshot of a shallow document: %w", err)
	}
	if err := n.add(name+"-again", d, again); err != nil {
		return err
	}
	if heads := d.Frontiers(); len(heads) == 1 {
		later, err := d.ExportShallow(heads)
		if err != nil {
			return fmt.Errorf("moving the start of a shallow document on to %v: %w", heads, err)
		}
		if err := n.add(name+"-later", d, later); err != nil {
			return err
		}
	}
	return writeStale(n, s, name, blob, root)
}

// writeStale writes an update by somebody who had not seen the start of the
// shallow document.
func writeStale(n namer, s *play.Session, name string, shallow []byte, root loro.ID) error {
	old := loro.NewDoc(s.Docs[0].Peer() ^ 1)
	for _, blob := range s.Sent {
		trial, err := old.ExportUpdates(nil)
		if err != nil {
			return err
		}
		if _, err := old.Import(blob); err != nil {
			return err
		}
		if old.Version().Includes(root) {
			old = loro.NewDoc(old.Peer())
			if _, err := old.Import(trial); err != nil {
				return err
			}
			break
		}
	}
	if len(old.Version()) == 0 {
		return nil // nothing depends on history before the start then
	}
	before := old.Version()
	if err := old.Map("m").Set("stale", loro.Bool(true)); err != nil {
		return err
	}
	old.Commit()
	stale, err := old.ExportUpdates(before)
	if err != nil {
		return err
	}
	return n.reject(name+"-stale", shallow, stale)
}

package main

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
	"github.com/hamflx/pocket/scripts/loro-oracle/play"
)

// document is a document of either library.
type document interface {
	name() string
	// edit makes edits and commits them.
	edit(how edits) error
	// take imports a blob. An error means that the library broke.
	take(blob []byte) (taken, error)
	updates(from loro.VersionVector) ([]byte, error)
	snapshot() ([]byte, error)
	shallow(at loro.Frontiers) ([]byte, error)
	look() (look, error)
	// text is the canonical "state" or "operations".
	text(what string) (string, error)
	free() error
}

// edits says what to do: so many random edits, committed at that time.
type edits struct {
	seed  uint32
	count int
	time  int64
	other bool // containers that are neither map nor tree as well, if it can
	raise bool // deleted nodes may be moved back, if it can
}

// taken is what came of an import.
type taken struct {
	refused bool
	pending map[string][2]int32 // ranges that wait for others
}

// look is what a document knows and shows.
type look struct {
	state     string // SHA-256 of the canonical state
	vv        map[string]int32
	frontiers []string
}

// ours is a document of this project.
type ours struct {
	d     *loro.Doc
	nodes *play.Nodes // of all documents
}

func (o *ours) name() string { return "ours" }

func (o *ours) edit(how edits) error {
	r := rand.New(rand.NewPCG(uint64(how.seed), 1))
	for _, tree := range []string{play.Files, play.Plain} {
		for id := range o.d.Tree(tree).Nodes() {
			o.nodes.Add(tree, id) // the official library makes nodes too
		}
	}
	e := &play.Editor{Doc: o.d, R: r, Nodes: o.nodes, Clock: &play.Clock{}, Raise: how.raise}
	for range how.count {
		if err := e.Edit(); err != nil {
			return err
		}
	}
	message := ""
	if r.IntN(3) == 0 {
		message = "ours"
	}
	o.d.SetCommitInfo(message, func() time.Time { return time.Unix(how.time, 0) })
	o.d.Commit()
	return nil
}

func (o *ours) take(blob []byte) (taken, error) {
	status, err := play.Import(o.d, blob)
	switch {
	case errors.Is(err, loro.ErrInvalid), errors.Is(err, loro.ErrShallowDeps), errors.Is(err, loro.ErrLimit):
		return taken{refused: true}, nil
	case err != nil:
		return taken{}, err
	}
	var t taken
	for p, s := range status.Pending {
		if t.pending == nil {
			t.pending = make(map[string][2]int32)
		}
		t.pending[p.String()] = [2]int32{s.Start, s.End}
	}
	return t, nil
}

func (o *ours) updates(from loro.VersionVector) ([]byte, error) { return o.d.ExportUpdates(from) }

func (o *ours) snapshot() ([]byte, error) { return o.d.ExportSnapshot() }

func (o *ours) shallow(at loro.Frontiers) ([]byte, error) { return o.d.ExportShallow(at) }

func (o *ours) look() (look, error) {
	return look{
		state:     canon.Sum(canon.State(o.d)),
		vv:        canon.Version(o.d.Version()),
		frontiers: canon.IDs(o.d.Frontiers()),
	}, nil
}

func (o *ours) text(what string) (string, error) {
	if what == "state" {
		return string(canon.State(o.d)), nil
	}
	text, err := canon.Ops(o.d)
	return string(text), err
}

func (o *ours) free() error { return nil }

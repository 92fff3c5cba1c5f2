package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
	"github.com/hamflx/pocket/scripts/loro-oracle/play"
)

// roundsPerGame is after how many rounds everything begins anew with empty
// documents.
const roundsPerGame = 40

// totals counts what was compared.
type totals struct {
	imports, snapshots, operations int
}

func (t *totals) add(o totals) {
	t.imports += o.imports
	t.snapshots += o.snapshots
	t.operations = max(t.operations, o.operations)
}

// playAll plays games until so many rounds are over.
func playAll(scripts string, seed uint64, rounds int, log io.Writer) (sum totals, err error) {
	var libraries []*library
	defer func() {
		for _, l := range libraries {
			err = errors.Join(err, l.stop())
		}
	}()
	for _, version := range []string{"1.10.3", "1.17.1"} {
		l, err := start(scripts, version)
		if err != nil {
			return sum, err
		}
		libraries = append(libraries, l)
	}
	for n := 0; rounds > 0; n++ {
		g, err := newGame(libraries, rand.New(rand.NewPCG(seed, uint64(n))), log)
		if err != nil {
			return sum, err
		}
		g.other, g.raise = n%3 == 2, n%2 == 1
		if err := g.play(min(rounds, roundsPerGame)); err != nil {
			return sum, fmt.Errorf("game %d: %w", n, err)
		}
		rounds -= roundsPerGame
		sum.add(g.totals)
	}
	return sum, nil
}

// game is one document that several pairs edit.
type game struct {
	r     *rand.Rand
	log   io.Writer
	pairs []*pair
	other bool // the official library also edits other containers than maps and trees
	raise bool // ours moves deleted nodes back, and nothing is trimmed
	time  int64
	nodes *play.Nodes
	peers map[loro.PeerID]bool // all ever used
	totals
}

// pair is a document of each library that hold the same.
type pair struct {
	name      string
	library   *library
	start     []byte // the snapshot both began with
	ours      *ours
	official  *official
	inbox     [][]byte
	published loro.VersionVector
}

func newGame(libraries []*library, r *rand.Rand, log io.Writer) (*game, error) {
	g := &game{r: r, log: log, nodes: &play.Nodes{}, peers: make(map[loro.PeerID]bool)}
	if r.IntN(3) > 0 {
		g.time = 1_700_000_000
	}
	for i := range 2 + r.IntN(3) {
		p := &pair{library: libraries[i%2]}
		p.name = fmt.Sprintf("pair %d (%s)", i, p.library.version)
		g.pairs = append(g.pairs, p)
		if err := g.begin(p); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// begin gives a pair empty documents with peers of their own.
func (g *game) begin(p *pair) error {
	if p.official != nil {
		if err := p.official.free(); err != nil {
			return err
		}
	}
	p.ours = &ours{d: loro.NewDoc(g.peer()), nodes: g.nodes}
	p.start, p.published, p.inbox = nil, nil, nil
	var err error
	p.official, err = p.library.newDoc(g.peer())
	return err
}

func (g *game) peer() loro.PeerID {
	for {
		if p := play.Peer(g.r); !g.peers[p] {
			g.peers[p] = true
			return p
		}
	}
}

func (p *pair) both() []document { return []document{p.ours, p.official} }

// play plays rounds, with all brought together now and then and at the end.
func (g *game) play(rounds int) error {
	for round := range rounds {
		if err := g.round(); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if g.r.IntN(8) > 0 && round < rounds-1 {
			continue
		}
		if err := g.gather(); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		var err error
		switch g.r.IntN(3) {
		case 0:
			err = g.reload()
		case 1:
			if !g.raise {
				err = g.trim()
			}
		}
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	for _, p := range g.pairs {
		if err := p.official.free(); err != nil {
			return err
		}
	}
	return nil
}

// round lets the pairs edit, publish, and receive some of what others published.
func (g *game) round() error {
	for _, p := range g.pairs {
		for range g.r.IntN(3) {
			if err := g.turn(p, p.both()[g.r.IntN(2)]); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
		if g.r.IntN(2) == 0 {
			if err := g.publish(p); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for _, p := range g.pairs {
		g.r.Shuffle(len(p.inbox), func(i, j int) { p.inbox[i], p.inbox[j] = p.inbox[j], p.inbox[i] })
		for range g.r.IntN(len(p.inbox) + 1) {
			if err := g.receive(p); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// turn lets one document of a pair edit and the other follow.
func (g *game) turn(p *pair, author document) error {
	g.time += []int64{0, 0, 5, 900, 3000}[g.r.IntN(5)]
	how := edits{seed: g.r.Uint32(), count: 1 + g.r.IntN(8), time: g.time, other: g.other, raise: g.raise}
	before := p.ours.d.Version()
	if err := author.edit(how); err != nil {
		return fmt.Errorf("edits of %s: %w", author.name(), err)
	}
	blob, err := author.updates(before)
	if err != nil {
		return fmt.Errorf("updates of %s: %w", author.name(), err)
	}
	for _, d := range p.both() {
		if d == author {
			continue
		}
		t, err := d.take(blob)
		if err != nil || t.refused || t.pending != nil {
			return fmt.Errorf("%s takes what %s just did: refused %v, pending %v: %w", d.name(), author.name(), t.refused, t.pending, err)
		}
	}
	fmt.Fprintf(g.log, "%s: %d edits by %s\n", p.name, how.count, author.name())
	return g.compare(p)
}

// publish gives all others what the pair has and has not published, as written
// by either of its documents.
func (g *game) publish(p *pair) error {
	all := p.ours.d.Version()
	from := p.published
	if g.r.IntN(4) == 0 {
		from = play.Cut(g.r, from)
	}
	var blobs [][]byte
	var err error
	switch g.r.IntN(3) {
	case 0:
		blobs, err = play.Pieces(g.r, p.ours.d, atLeast(from, p.ours.d))
	default:
		var blob []byte
		blob, err = p.both()[g.r.IntN(2)].updates(from)
		blobs = append(blobs, blob)
	}
	if err != nil {
		return err
	}
	p.published = all
	for _, q := range g.pairs {
		if q != p {
			q.inbox = append(q.inbox, blobs...)
		}
	}
	return nil
}

// atLeast is a version raised to the start of a shallow document, before which
// it has no operations to give.
func atLeast(v loro.VersionVector, d *loro.Doc) loro.VersionVector {
	start, _ := d.ShallowSince()
	out := v.Clone()
	out.Merge(start)
	return out
}

// receive imports the first blob of a pair's inbox, which now and then stays
// there to come again.
func (g *game) receive(p *pair) error {
	blob := p.inbox[0]
	if p.library.version == "1.10.3" {
		if bad, err := play.Crashes1103(p.ours.d, p.start, blob); err != nil || bad {
			p.inbox = append(p.inbox[1:], blob)
			return err
		}
	}
	if g.r.IntN(6) > 0 {
		p.inbox = p.inbox[1:]
	}
	return g.take(p, blob)
}

// take lets both documents of a pair import a blob and compares them.
func (g *game) take(p *pair, blob []byte) error {
	var results []taken
	for _, d := range p.both() {
		t, err := d.take(blob)
		if err != nil {
			return fmt.Errorf("%s takes a blob of %d bytes: %w", d.name(), len(blob), err)
		}
		results = append(results, t)
	}
	fmt.Fprintf(g.log, "%s: a blob of %d bytes\n", p.name, len(blob))
	if a, b := results[0], results[1]; a.refused != b.refused || !maps.Equal(a.pending, b.pending) {
		return fmt.Errorf("the same blob of %d bytes: ours refuses it %v and keeps %v, official %v and %v",
			len(blob), a.refused, a.pending, b.refused, b.pending)
	}
	g.imports++
	return g.compare(p)
}

// compare holds the two documents of a pair against each other.
func (g *game) compare(p *pair) error {
	a, err := p.ours.look()
	if err != nil {
		return err
	}
	b, err := p.official.look()
	if err != nil {
		return err
	}
	switch {
	case !maps.Equal(a.vv, b.vv):
		return fmt.Errorf("version of ours %v, official %v", a.vv, b.vv)
	case !slices.Equal(a.frontiers, b.frontiers):
		return fmt.Errorf("heads of ours %v, official %v", a.frontiers, b.frontiers)
	case a.state != b.state:
		return g.difference(p, "state")
	}
	return nil
}

// difference describes how the texts of a pair differ, nil if they do not.
func (g *game) difference(p *pair, what string) error {
	a, err := p.ours.text(what)
	if err != nil {
		return err
	}
	b, err := p.official.text(what)
	if err != nil || a == b {
		return err
	}
	return fmt.Errorf("%s of ours and official differ %s", what, play.FirstDifference([]byte(a), []byte(b)))
}

// gather gives every pair everything and compares all, history included.
func (g *game) gather() error {
	for _, p := range g.pairs {
		for _, q := range g.pairs {
			if p == q {
				continue
			}
			blob, err := p.both()[g.r.IntN(2)].updates(q.ours.d.Version())
			if err != nil {
				return err
			}
			if q.library.version == "1.10.3" {
				if bad, err := play.Crashes1103(q.ours.d, q.start, blob); err != nil || bad {
					return fmt.Errorf("an update that lacks nothing cannot be applied whole: %w", err)
				}
			}
			if err := g.take(q, blob); err != nil {
				return fmt.Errorf("%s, all of %s: %w", q.name, p.name, err)
			}
		}
	}
	for _, p := range g.pairs {
		p.inbox = nil
		p.published = p.ours.d.Version()
		if err := g.difference(p, "operations"); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := play.Same(g.pairs[0].ours.d, p.ours.d); err != nil {
			return fmt.Errorf("%s against %s: %w", p.name, g.pairs[0].name, err)
		}
		if err := p.ours.d.Verify(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	operations := 0
	for _, end := range g.pairs[0].ours.d.Version() {
		operations += int(end)
	}
	g.operations = max(g.operations, operations)
	fmt.Fprintf(g.log, "all agree on %d operations\n", operations)
	return nil
}

// reload lets all pairs begin again from a snapshot that one of them writes.
func (g *game) reload() error {
	from := g.pairs[g.r.IntN(len(g.pairs))]
	author := from.both()[g.r.IntN(2)]
	blob, err := author.snapshot()
	if errors.Is(err, loro.ErrUnsupportedContainer) && g.other {
		author = from.official
		blob, err = author.snapshot()
	}
	if err != nil {
		return fmt.Errorf("snapshot of %s: %w", author.name(), err)
	}
	return g.beginFrom(blob, fmt.Sprintf("a snapshot by %s", author.name()))
}

// trim lets all pairs begin again from a shallow snapshot, at an operation on
// which everything later depends.
func (g *game) trim() error {
	p := g.pairs[g.r.IntN(len(g.pairs))]
	var root loro.Frontiers
	for steps := g.r.IntN(3); ; steps-- {
		if err := g.turn(p, p.both()[g.r.IntN(2)]); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		heads := p.ours.d.Frontiers()
		if root == nil && len(heads) == 1 {
			root = heads
		}
		if root != nil && steps <= 0 {
			break
		}
	}
	author := p.both()[g.r.IntN(2)]
	blob, err := author.shallow(root)
	if errors.Is(err, loro.ErrUnsupportedContainer) && g.other {
		author = p.official
		blob, err = author.shallow(root)
	}
	if err != nil {
		return fmt.Errorf("shallow snapshot of %s at %v: %w", author.name(), root, err)
	}
	return g.beginFrom(blob, fmt.Sprintf("a shallow snapshot by %s at %v", author.name(), canon.IDs(root)))
}

func (g *game) beginFrom(blob []byte, what string) error {
	fmt.Fprintf(g.log, "all begin from %s, %d bytes\n", what, len(blob))
	for _, p := range g.pairs {
		if err := g.begin(p); err != nil {
			return err
		}
		if err := g.take(p, blob); err != nil {
			return fmt.Errorf("%s begins from %s: %w", p.name, what, err)
		}
		p.start, p.published = blob, p.ours.d.Version()
		g.snapshots++
	}
	return nil
}

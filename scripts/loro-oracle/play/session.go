package play

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/scripts/loro-oracle/canon"
)

// Session is a number of replicas of one document that edit and exchange what
// they have at random.
type Session struct {
	R     *rand.Rand
	Clock *Clock
	Nodes *Nodes
	Raise bool // see Editor
	Docs  []*loro.Doc

	// Sent are the blobs replicas published, each what was new since the
	// replica's last one, in an order in which they can be imported.
	Sent [][]byte
	// Roots are versions a shallow snapshot can start at: everything done
	// later depends on them.
	Roots []loro.ID

	published []loro.VersionVector
}

// NewSession returns a session of so many replicas of the empty document.
func NewSession(r *rand.Rand, replicas int) *Session {
	s := &Session{R: r, Clock: &Clock{}, Nodes: &Nodes{}}
	if r.IntN(3) > 0 {
		s.Clock.seconds, s.Clock.runs = 1_700_000_000, true
	}
	for range replicas {
		s.Docs = append(s.Docs, loro.NewDoc(s.freshPeer()))
		s.published = append(s.published, nil)
	}
	return s
}

// freshPeer returns a peer no replica has had.
func (s *Session) freshPeer() loro.PeerID {
	for {
		p := Peer(s.R)
		taken := slices.ContainsFunc(s.Docs, func(d *loro.Doc) bool {
			_, seen := d.Version()[p]
			return seen || d.Peer() == p
		})
		if !taken {
			return p
		}
	}
}

// Editor returns an editor of replica i.
func (s *Session) Editor(i int) *Editor {
	return &Editor{Doc: s.Docs[i], R: s.R, Nodes: s.Nodes, Clock: s.Clock, Raise: s.Raise}
}

// Round lets some replicas edit and some exchange what they have.
func (s *Session) Round() error {
	for i := range s.Docs {
		e := s.Editor(i)
		for range s.R.IntN(6) {
			if err := e.Edit(); err != nil {
				return fmt.Errorf("replica %v: %w", s.Docs[i].Peer(), err)
			}
			if s.R.IntN(5) == 0 {
				e.Commit()
			}
		}
	}
	if len(s.Docs) > 1 && s.R.IntN(2) == 0 {
		from := s.R.IntN(len(s.Docs))
		to := (from + 1 + s.R.IntN(len(s.Docs)-1)) % len(s.Docs)
		if err := s.deliver(from, to); err != nil {
			return err
		}
	}
	if s.R.IntN(12) == 0 {
		return s.restart(s.R.IntN(len(s.Docs)))
	}
	return nil
}

// publish appends to Sent what replica i has and has not published.
func (s *Session) publish(i int) error {
	s.Editor(i).Commit()
	d := s.Docs[i]
	if s.published[i].Covers(d.Version()) {
		return nil
	}
	blob, err := d.ExportUpdates(s.published[i])
	if err != nil {
		return fmt.Errorf("publishing of %v: %w", d.Peer(), err)
	}
	s.Sent = append(s.Sent, blob)
	s.published[i] = d.Version()
	return nil
}

// deliver gives one replica what another has, in one of the forms there are.
func (s *Session) deliver(from, to int) error {
	for _, i := range []int{from, to} {
		if err := s.publish(i); err != nil {
			return err
		}
	}
	a, b := s.Docs[from], s.Docs[to]
	var blobs [][]byte
	var err error
	switch s.R.IntN(6) {
	case 0:
		var blob []byte
		blob, err = a.ExportSnapshot()
		blobs = append(blobs, blob)
	case 1:
		blobs, err = Pieces(s.R, a, b.Version())
	default:
		var blob []byte
		blob, err = a.ExportUpdates(s.before(b.Version()))
		blobs = append(blobs, blob)
	}
	if err != nil {
		return fmt.Errorf("export of %v: %w", a.Peer(), err)
	}
	for _, blob := range blobs {
		if _, err := Import(b, blob); err != nil {
			return fmt.Errorf("import from %v into %v: %w", a.Peer(), b.Peer(), err)
		}
	}
	if len(b.Pending()) > 0 {
		return fmt.Errorf("%v waits for %v with everything of %v", b.Peer(), b.Pending(), a.Peer())
	}
	return nil
}

// before returns a version that v includes, at times less than v.
func (s *Session) before(v loro.VersionVector) loro.VersionVector {
	if s.R.IntN(3) > 0 {
		return v
	}
	return Cut(s.R, v)
}

// Cut returns a version cut anywhere: inside changes, some peers whole, some
// missing.
func Cut(r *rand.Rand, v loro.VersionVector) loro.VersionVector {
	out := make(loro.VersionVector)
	for _, p := range peers(v) {
		if r.IntN(4) > 0 {
			out[p] = r.Int32N(v[p] + 1)
		}
	}
	return out
}

func peers(v loro.VersionVector) []loro.PeerID {
	var out []loro.PeerID
	for p := range v {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Pieces exports what from lacks of a document as many ranges of single peers,
// in random order.
func Pieces(r *rand.Rand, d *loro.Doc, from loro.VersionVector) ([][]byte, error) {
	d.Commit()
	v := d.Version()
	total := 0
	for p, end := range v {
		total += max(0, int(end-from[p]))
	}
	var out [][]byte
	for _, p := range peers(v) {
		for start := from[p]; start < v[p]; {
			end := start + 1 + r.Int32N(min(v[p]-start, int32(1+total/8)))
			blob, err := d.ExportRange(loro.IDSpan{Peer: p, Start: start, End: end})
			if err != nil {
				return nil, err
			}
			out = append(out, blob)
			start = end
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// restart replaces a replica by a fresh one that begins with its snapshot.
func (s *Session) restart(i int) error {
	if err := s.publish(i); err != nil {
		return err
	}
	old := s.Docs[i]
	blob, err := old.ExportSnapshot()
	if err != nil {
		return fmt.Errorf("snapshot of %v: %w", old.Peer(), err)
	}
	d := loro.NewDoc(s.freshPeer())
	if _, err := d.Import(blob); err != nil {
		return fmt.Errorf("snapshot of %v: %w", old.Peer(), err)
	}
	if err := Same(old, d); err != nil {
		return fmt.Errorf("after a restart from a snapshot: %w", err)
	}
	s.Docs[i] = d
	return nil
}

// Sync gives every replica all there is and checks that all show the same.
func (s *Session) Sync() error {
	for from := range s.Docs {
		for to := range s.Docs {
			if from != to {
				if err := s.deliver(from, to); err != nil {
					return err
				}
			}
		}
	}
	for i, d := range s.Docs {
		if err := s.publish(i); err != nil {
			return err
		}
		if err := d.Verify(); err != nil {
			return fmt.Errorf("replica %v: %w", d.Peer(), err)
		}
		if err := CheckTrees(d); err != nil {
			return fmt.Errorf("replica %v: %w", d.Peer(), err)
		}
		if err := Same(s.Docs[0], d); err != nil {
			return fmt.Errorf("after everybody got everything: %w", err)
		}
	}
	return nil
}

// Root syncs, commits one operation that everything later depends on, and
// records it in Roots.
func (s *Session) Root() error {
	if err := s.Sync(); err != nil {
		return err
	}
	i := s.R.IntN(len(s.Docs))
	d := s.Docs[i]
	if err := d.Map("pocket").Set("root", loro.Int(int64(len(s.Roots)))); err != nil {
		return err
	}
	s.Editor(i).Commit()
	if err := s.Sync(); err != nil {
		return err
	}
	heads := d.Frontiers()
	if len(heads) != 1 {
		return fmt.Errorf("a commit on top of everything leaves the heads %v", heads)
	}
	s.Roots = append(s.Roots, heads[0])
	return nil
}

// Same reports how two documents differ in what they know or show.
func Same(a, b *loro.Doc) error {
	a.Commit()
	b.Commit()
	if a.Version().Compare(b.Version()) != loro.Equal {
		return fmt.Errorf("versions %v and %v differ", canon.Version(a.Version()), canon.Version(b.Version()))
	}
	if !a.Frontiers().Equal(b.Frontiers()) {
		return fmt.Errorf("heads %v and %v of one version differ", a.Frontiers(), b.Frontiers())
	}
	x, y := canon.State(a), canon.State(b)
	if !bytes.Equal(x, y) {
		return errors.New("states differ: " + FirstDifference(x, y))
	}
	return nil
}

// FirstDifference shows where two texts part.
func FirstDifference(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-120)
	return fmt.Sprintf("at %d: …%s… against …%s…", i, a[from:min(len(a), i+80)], b[from:min(len(b), i+80)])
}

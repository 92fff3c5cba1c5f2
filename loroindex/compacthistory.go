package loroindex

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// trim returns the snapshot without old history that the head is to name, after
// writing it if there is none, or full when nothing can be left out. full
// includes everything and stays in the bucket; head is what the head names.
func (c *compacting) trim(head objectid.ID, full *held) (*held, error) {
	if s := c.known[head]; s != nil && s.end.Covers(full.end) && !full.start.Covers(s.start) {
		return s, nil // nothing has changed since the last time
	}
	c.out.NotTrimmed = ""
	at, why, err := c.x.trimPoint(c.o.Now().Add(-c.o.Keep).Unix())
	if err != nil {
		return nil, err
	}
	if why != "" {
		c.out.NotTrimmed = why
		return full, nil
	}
	body, err := c.x.doc.ExportShallow(loro.Frontiers{at})
	if errors.Is(err, loro.ErrShallowFrontiers) || errors.Is(err, loro.ErrUnsupportedContainer) {
		c.out.NotTrimmed = err.Error()
		return full, nil
	}
	if err != nil {
		return nil, fmt.Errorf("index snapshot: %w", err)
	}
	x := newIndex(Options{})
	if _, err := x.doc.Import(body); err != nil {
		return nil, fmt.Errorf("index snapshot: what was written cannot be read: %w", err)
	}
	all, err := digest(c.x.doc)
	if err != nil {
		return nil, err
	}
	trimmed, err := digest(x.doc)
	if err != nil {
		return nil, err
	}
	if all != trimmed {
		// The name of a conflict copy is made of who created it and when.
		c.out.NotTrimmed = "files in conflict would be shown under other names without their history: rename or delete the conflict copies first"
		return full, nil
	}
	if err := c.apart(full); err != nil {
		return nil, err
	}
	s := c.all()
	s.start, _ = x.doc.ShallowSince()
	return c.write(body, s)
}

// apart waits until what is written from now on is dated so much later than s
// that nobody takes s for newer and reads both.
func (c *compacting) apart(s *held) error {
	for !c.o.DryRun {
		now, err := c.storeTime()
		if err != nil {
			return err
		}
		wait := headSlack + time.Second - now.Sub(s.written)
		if wait <= 0 {
			return nil
		}
		c.step(Step{Verb: "waiting", Unit: "seconds", Total: int(wait / time.Second)})
		if err := c.o.Sleep(c.ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// trimPoint finds the latest operation at which the history can begin: it and
// all that it leaves out was recorded before a time (seconds since 1970), it
// includes all of them, and everything else includes it. why says why there is
// none.
func (x *Index) trimPoint(before int64) (at loro.ID, why string, err error) {
	var changes []loro.Change
	for ch, err := range x.doc.Changes() {
		if err != nil {
			return at, "", fmt.Errorf("read the index history: %w", err)
		}
		changes = append(changes, ch)
	}
	// A change comes after those it depends on.
	slices.SortFunc(changes, func(a, b loro.Change) int {
		return cmp.Or(cmp.Compare(a.Lamport, b.Lamport), a.ID.Compare(b.ID))
	})
	byPeer := make(map[loro.PeerID][]int) // changes of a peer, by counter
	for i := range changes {
		byPeer[changes[i].ID.Peer] = append(byPeer[changes[i].ID.Peer], i)
	}
	end := func(i int) int32 { return changes[i].ID.Counter + changes[i].Len }
	// find returns the change an operation is in, and whether it is its last one.
	find := func(id loro.ID) (i int, last, ok bool) {
		list := byPeer[id.Peer]
		n, found := slices.BinarySearchFunc(list, id.Counter, func(i int, ctr int32) int { return cmp.Compare(changes[i].ID.Counter, ctr) })
		if !found {
			n--
		}
		if n < 0 || id.Counter >= end(list[n]) {
			return 0, false, false // before the start of a trimmed history
		}
		return list[n], id.Counter+1 == end(list[n]), true
	}
	// nearest[i]: every change from i on depends on the last operation of
	// change nearest[i], or on a later change.
	nearest := make([]int, len(changes)+1)
	nearest[len(changes)] = len(changes)
	for i := len(changes) - 1; i >= 0; i-- {
		near := -1
		for _, dep := range changes[i].Deps {
			if d, last, ok := find(dep); ok && last {
				near = max(near, d)
			} else if ok {
				near = max(near, d-1)
			}
		}
		nearest[i] = min(nearest[i+1], near)
	}
	point, left := -1, int64(0)
	ops := int64(0) // up to here
	heads := make(map[int]struct{})
	for i, ch := range changes {
		if ch.Timestamp >= before {
			break
		}
		ops += int64(ch.Len)
		for _, dep := range ch.Deps {
			if d, last, ok := find(dep); ok && last {
				delete(heads, d)
			}
		}
		heads[i] = struct{}{}
		if len(heads) == 1 && nearest[i+1] >= i {
			point, left = i, ops-1 // it is kept itself
		}
	}
	switch {
	case ops <= 1:
		return at, "no operation is older", nil
	case left <= 0:
		return at, "the older operations were made at the same time on several machines, and newer ones without knowing of all of them", nil
	}
	return loro.ID{Peer: changes[point].ID.Peer, Counter: end(point) - 1}, "", nil
}

// digest is a hash of all that a document shows: of two with the same digest
// nobody can tell which he has mounted.
func digest(doc *loro.Doc) (sum objectid.ID, err error) {
	x := newIndex(Options{})
	x.doc, x.tree, x.pocket = doc, doc.Tree(treeName), doc.Map(rootMap)
	if err := x.start(); err != nil {
		return sum, err
	}
	h := sha256.New()
	var line []byte
	number := func(n int64) { line = binary.LittleEndian.AppendUint64(line, uint64(n)) }
	text := func(s string) {
		number(int64(len(s)))
		line = append(line, s...)
	}
	dirs := []Node{Root}
	for len(dirs) > 0 {
		d := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		entries, err := x.ReadDir(d, nil)
		if err != nil {
			return sum, err
		}
		line = line[:0]
		number(int64(len(entries)))
		h.Write(line)
		for _, de := range entries {
			e, err := x.Stat(de.Node)
			if err != nil {
				return sum, err
			}
			line = line[:0]
			text(e.Name)
			number(int64(e.Kind))
			number(int64(e.Mode))
			number(int64(e.Attributes))
			number(e.Created)
			text(e.Target)
			number(e.UID)
			number(e.GID)
			number(int64(e.Rdev))
			number(e.Size)
			number(e.ModTime)
			line = append(line, e.Object[:]...)
			if e.Manifest {
				line = append(line, 1)
			}
			h.Write(line)
			if e.Kind == Dir {
				dirs = append(dirs, de.Node)
			}
		}
	}
	h.Sum(sum[:0])
	return sum, nil
}

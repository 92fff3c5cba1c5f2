package loro

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"time"
)

// Doc is one replica of a Loro document. See the package comment for what may
// run concurrently. Nothing in it is on disk: what must survive is exported and
// stored by the caller.
type Doc struct {
	peer PeerID
	self uint32 // interned peer
	s    *state
	h    history

	pending pendingSet

	// The open transaction.
	txn     openTxn
	message string
	now     func() time.Time

	putHistory func(section []byte) (io.ReaderAt, error)

	broken error // ErrBroken, once it is
}

// mergeInterval is how far apart, in seconds, the timestamps of commits may be
// that become one change. It is the official default.
const mergeInterval = 1000

// NewDoc returns an empty document that edits as peer. A document that is only
// read may use any peer; one that is edited needs a fresh one, see [PeerID], and
// not 2^64-1, which the format reserves.
func NewDoc(peer PeerID) *Doc {
	d := &Doc{peer: peer}
	d.reset()
	return d
}

// reset makes the document empty.
func (d *Doc) reset() {
	d.s = newState()
	d.self = d.s.peers.intern(d.peer)
	d.h = history{}
	d.h.peer(d.self)
}

// putAtLeast is the size of the smallest history that is put elsewhere.
const putAtLeast = 4 << 20

// PutHistory makes a snapshot that initialises the document leave its history in a
// place of the caller's, a file rather than memory, if it is of 4 MiB or more: that is
// 60 MB of a million files, and hardly read again. put gets the bytes, which it must
// not keep, and returns where they can be read from for as long as the document is
// used, by several goroutines at a time. When it fails they stay in memory.
func (d *Doc) PutHistory(put func(section []byte) (io.ReaderAt, error)) { d.putHistory = put }

// Peer returns the peer local edits are recorded under.
func (d *Doc) Peer() PeerID { return d.peer }

// SetCommitInfo sets the message recorded on changes committed from now on
// ("" for none) and the clock their timestamps, in whole seconds since 1970,
// are taken from (nil: the timestamp is 0). Consecutive changes with the same
// message whose timestamps differ by no more than 1000 s become one change.
func (d *Doc) SetCommitInfo(message string, now func() time.Time) { d.message, d.now = message, now }

// IsShallow reports whether the document's history starts at a shallow root
// rather than at the beginning.
func (d *Doc) IsShallow() bool { return len(d.h.root) > 0 }

// ShallowSince returns the version the history starts at: the operations
// before start are only known by their effect, and frontiers is the root the
// snapshot was made at. Both are empty for a document with full history.
func (d *Doc) ShallowSince() (start VersionVector, frontiers Frontiers) {
	return d.h.start.Clone(), slices.Clone(d.h.root)
}

// Roots returns the root containers the document knows of, sorted by name, then
// type, those of unsupported types included. A root may be empty.
func (d *Doc) Roots() []ContainerID {
	var ids []ContainerID
	for _, r := range d.s.roots {
		ids = append(ids, RootID(r.name, TypeMap))
	}
	for _, t := range d.s.trees {
		if t.id.Root {
			ids = append(ids, t.id)
		}
	}
	for id := range d.s.others {
		if id.Root {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b ContainerID) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
	})
	return ids
}

// Map returns a handle to a root map. It need not exist yet.
func (d *Doc) Map(name string) Map { return Map{d: d, id: RootID(name, TypeMap), e: noEnt} }

// Tree returns a handle to a root tree. It need not exist yet.
func (d *Doc) Tree(name string) Tree { return Tree{d: d, id: RootID(name, TypeTree)} }

// MapOf returns a handle to a map of any kind: a root, a node's meta map or a
// child map found as a container value. For other types ok is false.
func (d *Doc) MapOf(id ContainerID) (m Map, ok bool) {
	return Map{d: d, id: id, e: noEnt}, id.Type == TypeMap
}

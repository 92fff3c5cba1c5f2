// Package loro reads, edits, merges and writes Loro CRDT documents made of
// Maps and Trees, in pure Go and without any dependency on the Rust library.
//
// A [Doc] is a replica. It is edited through [Map] and [Tree] handles,
// [Doc.Commit] closes a transaction into a change, [Doc.ExportUpdates],
// [Doc.ExportRange] and [Doc.ExportSnapshot] turn history into bytes, and
// [Doc.Import] merges bytes of other replicas. Any set of replicas that have
// imported the same changes, in whatever order, show the same state.
//
// The byte formats are those of loro-crdt 1.x: FastSnapshot (mode 3) and
// FastUpdates (mode 4), as specified by docs/encoding.md and
// docs/encoding-container-states.md of the Loro repository.
//
// Containers other than Map and Tree (Text, List, MovableList, Counter and
// kinds yet unknown) are carried: their operations stay in the history and
// their state stays in snapshots byte for byte. They cannot be read or edited
// here. Once an imported operation changes such a container its state cannot
// be computed any more, and snapshot exports fail with
// [ErrUnsupportedContainer]; update exports keep working.
//
// # Concurrency
//
// A Doc is not safe for concurrent use, with one exception: methods that only
// read may run concurrently with each other. Methods that change the document
// (Import, Commit, Set, Create, Move, Delete) need exclusive access; so do
// exports while a transaction is open, because they commit it first.
package loro

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// PeerID names one writing session of one replica. Two sessions that write
// must never share a PeerID, not even one after the other on the same machine:
// operations of the same peer and counter but different content are silently
// ignored by every Loro implementation, and replicas diverge for ever.
type PeerID uint64

// String returns the peer in decimal, the form Loro's own tools use.
func (p PeerID) String() string { return strconv.FormatUint(uint64(p), 10) }

// ParsePeerID reads the decimal form written by [PeerID.String].
func ParsePeerID(s string) (PeerID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("peer id %q is not a decimal 64-bit number", s)
	}
	return PeerID(n), nil
}

// maxPeer is reserved by the tree encoding for the parent of deleted nodes.
const maxPeer = PeerID(1<<64 - 1)

// RandomPeer returns a fresh peer id from the system's random source. It never
// returns 0 or the value the format reserves for deleted tree nodes.
func RandomPeer() PeerID {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails since Go 1.24
		if p := PeerID(binary.LittleEndian.Uint64(b[:])); p != 0 && p != maxPeer {
			return p
		}
	}
}

// ID names one operation: the Counter-th (from 0) of Peer.
type ID struct {
	Peer    PeerID
	Counter int32
}

// String returns "counter@peer".
func (id ID) String() string {
	return strconv.FormatInt(int64(id.Counter), 10) + "@" + id.Peer.String()
}

// Compare orders ids by peer, then counter.
func (id ID) Compare(o ID) int {
	if c := cmp.Compare(id.Peer, o.Peer); c != 0 {
		return c
	}
	return cmp.Compare(id.Counter, o.Counter)
}

// ParseID reads the "counter@peer" form written by [ID.String].
func ParseID(s string) (ID, error) {
	c, p, ok := strings.Cut(s, "@")
	n, err := strconv.ParseInt(c, 10, 32)
	if !ok || err != nil || n < 0 {
		return ID{}, fmt.Errorf("operation id %q is not counter@peer", s)
	}
	peer, err := ParsePeerID(p)
	if err != nil {
		return ID{}, fmt.Errorf("operation id %q: %w", s, err)
	}
	return ID{peer, int32(n)}, nil
}

// TreeID names a tree node by the id of the operation that created it.
type TreeID ID

// TreeRoot stands for the root of a tree wherever a parent is named. It is not
// a node: it has no meta map and cannot be moved.
var TreeRoot = TreeID{Counter: -1}

// String returns "counter@peer", or "root" for [TreeRoot].
func (t TreeID) String() string {
	if t == TreeRoot {
		return "root"
	}
	return ID(t).String()
}

// Compare orders nodes by peer, then counter.
func (t TreeID) Compare(o TreeID) int { return ID(t).Compare(ID(o)) }

// ParseTreeID reads the form written by [TreeID.String], except "root".
func ParseTreeID(s string) (TreeID, error) {
	id, err := ParseID(s)
	return TreeID(id), err
}

// IDLP is the total order in which conflicting operations are decided: by
// Lamport time, then peer. The larger one wins.
type IDLP struct {
	Lamport uint32
	Peer    PeerID
}

// Compare orders by Lamport time, then peer.
func (a IDLP) Compare(b IDLP) int {
	if c := cmp.Compare(a.Lamport, b.Lamport); c != 0 {
		return c
	}
	return cmp.Compare(a.Peer, b.Peer)
}

// Span is a range of one peer's counters, End exclusive.
type Span struct {
	Start, End int32
}

// Len is the number of counters in the span.
func (s Span) Len() int { return int(s.End) - int(s.Start) }

// IDSpan is a range of counters of a named peer, End exclusive.
type IDSpan struct {
	Peer       PeerID
	Start, End int32
}

// VersionVector says, for every peer, how many of its operations are known:
// the value is the exclusive end of its counters. A peer that is absent and a
// peer at 0 mean the same. The nil map is a usable empty vector for reading.
type VersionVector map[PeerID]int32

// Includes reports whether the operation id is within the vector.
func (v VersionVector) Includes(id ID) bool { return id.Counter < v[id.Peer] }

// Covers reports whether v includes everything o includes.
func (v VersionVector) Covers(o VersionVector) bool {
	for p, end := range o {
		if v[p] < end {
			return false
		}
	}
	return true
}

// Order is the result of comparing two versions.
type Order uint8

// The four ways two versions can relate.
const (
	Equal      Order = iota // both include the same operations
	Before                  // the receiver lacks some of the other's operations and has none of its own
	After                   // the receiver includes all of the other's operations and more
	Concurrent              // each has operations the other lacks
)

// Compare says how v relates to o.
func (v VersionVector) Compare(o VersionVector) Order {
	switch ge, le := v.Covers(o), o.Covers(v); {
	case ge && le:
		return Equal
	case ge:
		return After
	case le:
		return Before
	}
	return Concurrent
}

// Merge raises v to include everything o includes.
func (v VersionVector) Merge(o VersionVector) {
	for p, end := range o {
		if end > v[p] {
			v[p] = end
		}
	}
}

// Clone returns an independent copy, never nil.
func (v VersionVector) Clone() VersionVector {
	c := make(VersionVector, len(v))
	maps.Copy(c, v)
	return c
}

// Frontiers are the heads of a version: the operations no other known
// operation depends on. They are sorted by peer, then counter.
type Frontiers []ID

// Equal reports whether both name the same operations.
func (f Frontiers) Equal(o Frontiers) bool {
	return slices.Equal(sortedIDs(f), sortedIDs(o))
}

func sortedIDs(f []ID) []ID {
	s := slices.Clone(f)
	slices.SortFunc(s, ID.Compare)
	return s
}

// ContainerType is the kind of a container, numbered as in change blocks.
type ContainerType uint8

// The container kinds of Loro. Only Map and Tree can be read and edited here.
const (
	TypeMap ContainerType = iota
	TypeList
	TypeText
	TypeTree
	TypeMovableList
	TypeCounter
)

// String returns the name Loro's JSON forms use; an unknown kind is
// "Unknown(n)".
func (t ContainerType) String() string {
	switch t {
	case TypeMap:
		return "Map"
	case TypeList:
		return "List"
	case TypeText:
		return "Text"
	case TypeTree:
		return "Tree"
	case TypeMovableList:
		return "MovableList"
	case TypeCounter:
		return "Counter"
	}
	return fmt.Sprintf("Unknown(%d)", uint8(t))
}

// ContainerID names a container: a root by its name, any other by the
// operation that created it. It is comparable.
type ContainerID struct {
	Root bool          // whether Name is meaningful, else ID
	Type ContainerType // part of the identity: roots of one name and two types are two containers
	Name string        // name of a root container
	ID   ID            // creating operation of any other; for a node's meta map the node's id
}

// RootID names the root container of a name and type.
func RootID(name string, t ContainerType) ContainerID {
	return ContainerID{Root: true, Type: t, Name: name}
}

// ChildID names the container of type t created by operation id.
func ChildID(id ID, t ContainerType) ContainerID {
	return ContainerID{Type: t, ID: id}
}

// String returns Loro's form: "cid:root-name:Map" or "cid:counter@peer:Map".
func (c ContainerID) String() string {
	if c.Root {
		return "cid:root-" + c.Name + ":" + c.Type.String()
	}
	return "cid:" + c.ID.String() + ":" + c.Type.String()
}

package loroindex

import (
	"fmt"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// Node names a file, directory or link for as long as the Index is open. The
// numbers are dense, never reused while it is open and meaningless afterwards.
type Node uint32

// The fixed nodes.
const (
	NoNode Node = 0 // no node: the parent of Root
	Root   Node = 1 // the mount's root directory
)

// Kind is what a node is. It never changes.
type Kind uint8

// The kinds. A node of a kind this version does not know is shown as a File.
const (
	File Kind = iota
	Dir
	Symlink
	FIFO
	Socket
	CharDevice
	BlockDevice
)

// String returns the name the document uses.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Info is what changes rarely about a node. It is written as one value.
type Info struct {
	Kind       Kind
	Mode       uint32 // permission bits and setuid, setgid, sticky: 07777
	Attributes uint32 // Windows file attribute bits
	Created    int64  // microseconds since 1970
	Changed    int64  // microseconds since 1970 (ctime)
	Target     string // of a Symlink
	UID, GID   int64  // -1: the owner of the mount
	Rdev       uint64 // of a CharDevice or BlockDevice
}

// Content is what a file holds. It is written as one value, so the parts always
// belong together.
type Content struct {
	Size     int64       // bytes; of a directory 0, of a Symlink the length of its target
	ModTime  int64       // microseconds since 1970
	Object   objectid.ID // zero: the file is empty, or is no file
	Manifest bool        // Object is a manifest (docs/format.md), not the content itself
	// First is the object that a manifest names for the file's first bytes, so that both
	// can be fetched at once; a hint, which may be zero or out of date. Of what is no
	// manifest it is zero.
	First objectid.ID
}

// Entry is what stat needs, by value.
type Entry struct {
	Node   Node
	Parent Node   // NoNode for Root
	Ino    uint64 // stable across restarts and devices, never 0; 1 for Root
	Name   string // as shown; "" for Root
	Info
	Content
	// Children is the number of entries of a directory. For one that has not
	// been looked into yet it may count some twice that are shown merged.
	Children int
	// Subdirs is the number of directories among them, -1 for a directory that has
	// not been looked into yet.
	Subdirs int
	// Removed: the node was unlinked, here or elsewhere, and is still named by
	// somebody. Parent is NoNode then.
	Removed bool
}

// DirEntry is one entry of a directory.
type DirEntry struct {
	Name string
	Node Node
	Kind Kind
	Ino  uint64
}

// Version says how many operations of each peer are known: the value is the
// exclusive end of its counters.
type Version = loro.VersionVector

// Span is a range of one peer's operations, End exclusive.
type Span struct {
	Peer       uint64
	Start, End int32
}

// String returns "peer:start-end", the peer in hexadecimal as in keys.
func (s Span) String() string { return fmt.Sprintf("%016x:%d-%d", s.Peer, s.Start, s.End) }

// Op is what one Update did, in the form that is journaled and published.
type Op struct {
	Span
	Update []byte // a Loro update (mode 4) of exactly these operations
}

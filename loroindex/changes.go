package loroindex

// Changed says what differs about a node after an import.
type Changed uint8

// The ways a node can differ.
const (
	Added   Changed = 1 << iota // was not there, or was removed
	Gone                        // is removed, itself or with a directory above it
	Moved                       // another shown name or parent
	Body                        // size, modification time or object
	Facts                       // anything of Info
	Listing                     // of a directory: the set of its entries
)

// Change is one node an import changed.
type Change struct {
	Node      Node
	What      Changed
	OldParent Node   // before; NoNode when Added
	OldName   string // shown name before
	Old, New  Content
}

// Lost is a content that another device's content replaced without its writer
// having known of it. The loser's device keeps it as a conflict copy.
type Lost struct {
	Node    Node
	Content Content // what was replaced
	Peer    uint64  // whose operation wrote it
	Device  string  // the device of that peer
	Time    int64   // when, seconds since 1970
	Winner  string  // the device whose content replaced it
}

// Orphan is a node out of sight because it, or a directory above it, was
// deleted by a device that did not know of its creation or latest content.
// [Tx.Rescue] brings it back; the device that made it does.
type Orphan struct {
	Node   Node
	Peer   uint64 // whose operation the deleter did not know of
	Device string // the device of that peer
}

// Changes is what an import did to nodes that anybody may have seen. A
// directory that was never looked into is not reported.
type Changes struct {
	Nodes   []Change
	Lost    []Lost
	Orphans []Orphan
	Pending []Span // operations received that wait for others
}

// Orphans lists the nodes of the whole document that are out of sight although
// their deleter did not know of their creation or latest content. The cost
// follows the number of deleted nodes.
func (x *Index) Orphans() ([]Orphan, error) { panic("not yet") }

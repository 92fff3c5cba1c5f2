package loroindex

// Changed says what differs about a node after an import.
type Changed uint8

// The ways a node can differ.
const (
	Added   Changed = 1 << iota // was not there, or was removed
	Gone                        // is removed, itself or with a directory above it
	Moved                       // another shown name or parent
	Altered                     // its content, times or anything of Info may differ
	Listing                     // of a directory: its entries or their names
)

// Change is one node an import changed.
type Change struct {
	Node      Node
	Kind      Kind
	What      Changed
	OldParent Node   // before; NoNode when Added
	OldName   string // shown name before
}

// Lost is a content this device wrote that another one replaced without having
// known of it: the winner stays, and what lost is to be kept as a conflict copy.
// Only contents that this index's device wrote are reported, each by
// the import that brings the two together. After a crash that import may happen
// again, and report again.
type Lost struct {
	Node    Node
	Content Content // what was replaced
	Peer    uint64  // whose operation wrote it
	Time    int64   // when, seconds since 1970
	Winner  string  // the device whose content replaced it
}

// Orphan is a node out of sight because it, or a directory above it, was
// deleted by a device that did not know of what this device did to it: its
// creation, its move there or its latest content. [Tx.Rescue] brings it back.
// Only the doings of this index's device are reported; others rescue theirs.
type Orphan struct {
	Node Node
	Peer uint64 // whose operation the deleter did not know of
}

// Changes is what an import did to nodes that anybody may have seen. A
// directory that was never looked into is not reported.
type Changes struct {
	Nodes   []Change
	Lost    []Lost
	Orphans []Orphan
	Pending []Span // operations received that wait for others
}

// add appends what another import did.
func (c *Changes) add(o Changes) {
	c.Nodes = append(c.Nodes, o.Nodes...)
	c.Lost = append(c.Lost, o.Lost...)
	c.Orphans = append(c.Orphans, o.Orphans...)
	c.Pending = append(c.Pending, o.Pending...)
}

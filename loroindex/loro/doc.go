package loro

import (
	"iter"
	"time"
)

// Doc is one replica of a Loro document. See the package comment for what may
// run concurrently. Nothing in it is on disk: what must survive is exported and
// stored by the caller.
type Doc struct {
	peer PeerID
}

// NewDoc returns an empty document that edits as peer. A document that is only
// read may use any peer; one that is edited needs a fresh one, see [PeerID].
func NewDoc(peer PeerID) *Doc { panic("not yet") }

// Peer returns the peer local edits are recorded under.
func (d *Doc) Peer() PeerID { panic("not yet") }

// SetCommitInfo sets the message recorded on changes committed from now on
// ("" for none) and the clock their timestamps, in whole seconds since 1970,
// are taken from (nil: the timestamp is 0). Consecutive changes with the same
// message whose timestamps differ by no more than 1000 s become one change.
func (d *Doc) SetCommitInfo(message string, now func() time.Time) { panic("not yet") }

// Commit closes the open transaction: the edits since the last commit become
// history, and their span is returned. Without edits it returns false. It costs
// microseconds, does no I/O, and the same edits give the same bytes.
func (d *Doc) Commit() (IDSpan, bool) { panic("not yet") }

// Version returns what is known: the exclusive end of every peer's counters.
// An open transaction is not part of it.
func (d *Doc) Version() VersionVector { panic("not yet") }

// Frontiers returns the heads of the history, sorted. An open transaction is
// not part of it.
func (d *Doc) Frontiers() Frontiers { panic("not yet") }

// Pending returns the spans of changes received by Import that wait for changes
// they depend on. They are in no export: keep the received bytes until applied.
func (d *Doc) Pending() map[PeerID]Span { panic("not yet") }

// IsShallow reports whether the document's history starts at a shallow root
// rather than at the beginning.
func (d *Doc) IsShallow() bool { panic("not yet") }

// ShallowSince returns the version the history starts at: the operations
// before start are only known by their effect, and frontiers is the root the
// snapshot was made at. Both are empty for a document with full history.
func (d *Doc) ShallowSince() (start VersionVector, frontiers Frontiers) { panic("not yet") }

// Roots returns the root containers the document knows of, sorted by name, then
// type, those of unsupported types included. A root may be empty.
func (d *Doc) Roots() []ContainerID { panic("not yet") }

// Map returns a handle to a root map. It need not exist yet.
func (d *Doc) Map(name string) Map { panic("not yet") }

// Tree returns a handle to a root tree. It need not exist yet.
func (d *Doc) Tree(name string) Tree { panic("not yet") }

// Container returns a handle to a map of any kind: a root, a node's meta map or
// a child map found as a container value. For other types ok is false.
func (d *Doc) MapOf(id ContainerID) (m Map, ok bool) { panic("not yet") }

// ImportStatus tells what Import did.
type ImportStatus struct {
	Applied map[PeerID]Span // operations that became part of the document, pending ones of earlier imports included
	Pending map[PeerID]Span // operations of this blob that wait for others they depend on
	Touched Touched         // what may look different now
}

// Touched is what an import changed, at the cost of the change: an index over
// the document needs to look at nothing else.
type Touched struct {
	// All: a snapshot initialised an empty document; rebuild from scratch.
	// The fields below are empty then.
	All bool
	// Nodes, by root tree name: the nodes whose position or deletion, or
	// whose meta map (or a map below it), changed. Each once, in the order of
	// first change. Only the node that moved is named, not its descendants.
	Nodes map[string][]NodeTouch
	// Maps names the root maps in which, at any depth, a key changed, sorted.
	Maps []string
}

// NodeTouch names a node and what changed about it.
type NodeTouch struct {
	Node  TreeID
	Moved bool // created, moved, deleted or brought back; or an earlier move took effect instead
	Meta  bool // a key of its meta map, or of a map below it, was written
}

// Import merges a snapshot or updates into the document. An open transaction is
// committed first. It is atomic: on an error the document is as before. Changes
// whose dependencies are missing are kept and applied when those arrive.
//
// A snapshot imported into an empty document also brings its state, which is
// validated in form but, like in every Loro implementation, trusted in content;
// [Doc.Verify] checks it. Shallow snapshots can only initialise an empty
// document; into another they are merged like updates.
//
// blob is not kept: the caller may reuse it.
//
// Errors: ErrInvalid (ErrChecksum, ErrUnsupportedMode), ErrShallowDeps, ErrLimit.
func (d *Doc) Import(blob []byte) (ImportStatus, error) { panic("not yet") }

// ExportUpdates returns, as mode 4, every committed operation from does not
// include; a valid empty blob when there is none. The cost follows what is
// exported, not the document. Operations before the start of a shallow document
// are not included. An open transaction is committed first.
func (d *Doc) ExportUpdates(from VersionVector) ([]byte, error) { panic("not yet") }

// ExportRange returns, as mode 4, one peer's operations [Start, End).
//
// Errors: ErrUnknownRange when the document lacks some of them.
func (d *Doc) ExportRange(span IDSpan) ([]byte, error) { panic("not yet") }

// ExportSnapshot returns, as mode 3, the whole history and state. A shallow
// document gives a shallow snapshot with the same start. An open transaction is
// committed first.
//
// Errors: ErrUnsupportedContainer, ErrLimit.
func (d *Doc) ExportSnapshot() ([]byte, error) { panic("not yet") }

// ExportShallow returns, as mode 3, the state at a version and the history from
// there. The version must be one operation that every operation it does not
// include depends on: sync, commit one change that merges all heads, use that.
//
// Errors: ErrShallowFrontiers, ErrUnsupportedContainer, ErrLimit.
func (d *Doc) ExportShallow(at Frontiers) ([]byte, error) { panic("not yet") }

// Change describes one change: the operations of one commit, or of several that
// were merged. Replicas may divide the same operations into changes differently.
type Change struct {
	ID        ID // of its first operation
	Len       int32
	Lamport   uint32 // of its first operation
	Timestamp int64  // seconds since 1970, 0 when not recorded
	Message   string
	Deps      []ID // what its first operation depends on, sorted
}

// ChangeOf returns the change an operation is part of.
//
// Errors: ErrUnknownRange.
func (d *Doc) ChangeOf(id ID) (Change, error) { panic("not yet") }

// Op is one operation of the history.
type Op struct {
	ID        ID
	Len       int32 // number of counters; 1 for every Map and Tree operation
	Lamport   uint32
	Deps      []ID // of the first operation of a change its dependencies, else its predecessor
	Timestamp int64
	Message   string
	Container ContainerID
	Kind      OpKind
	Key       string // of a map operation
	Value     Value  // of OpMapSet
	Node      TreeID // target of a tree operation
	Parent    TreeID // of OpTreeCreate and OpTreeMove
	Position  []byte // fractional index of OpTreeCreate and OpTreeMove
}

// OpKind is what an operation does.
type OpKind uint8

// The operations. OpOther stands for those of unsupported containers.
const (
	OpMapSet OpKind = iota
	OpMapDelete
	OpTreeCreate
	OpTreeMove
	OpTreeDelete
	OpOther
)

// Ops iterates over the history: by peer, then counter. It stops after an error.
func (d *Doc) Ops() iter.Seq2[Op, error] { panic("not yet") }

// Changes iterates over the changes: by peer, then counter. It stops after an
// error.
func (d *Doc) Changes() iter.Seq2[Change, error] { panic("not yet") }

// Verify replays the whole history (from the shallow root, if there is one) and
// compares the result with the state. It takes time and memory in proportion to
// the document and changes nothing.
//
// Errors: ErrDiverged.
func (d *Doc) Verify() error { panic("not yet") }

// DeepValue returns the whole document as one map value: root name to value,
// child containers resolved in place, empty roots left out. A tree is a list of
// its root nodes in sibling order, each a map of children, fractional_index
// (upper-case hex), id, index, meta and parent, as Loro's toJSON has it.
// Containers of unsupported types are null. It is meant for tests and tools.
func (d *Doc) DeepValue() Value { panic("not yet") }

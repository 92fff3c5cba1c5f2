package loroindex

import (
	"context"
	"time"
)

// Options of an index.
type Options struct {
	// Device names this machine to people: in conflict names and in the
	// history. Recorded with every change.
	Device string
	// Peer is the identity this session's operations are recorded under; 0, the
	// usual choice, takes a fresh random one. Two sessions never share a peer.
	Peer uint64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Index is the file tree of one mount. All methods may be called concurrently;
// none waits for network or disk, except those that take a Bucket, and those
// hold no lock while they wait. Nothing is durable by itself: what Update hands
// to its callback is.
type Index struct{}

// New returns the index of a bucket that has none yet: an empty root directory.
// The document's schema is written with the first change.
func New(o Options) (*Index, error) { panic("not yet") }

// Open returns an index of the given snapshots and updates, in any order.
//
// Errors: ErrUpdate, ErrMissing, ErrForeign, ErrNewerSchema.
func Open(o Options, blobs ...[]byte) (*Index, error) { panic("not yet") }

// Peer returns the peer of this session.
func (x *Index) Peer() uint64 { panic("not yet") }

// Lookup finds an entry by its shown name.
//
// Errors: ErrNotExist, ErrNotDir, ErrRemoved.
func (x *Index) Lookup(parent Node, name string) (Entry, error) { panic("not yet") }

// FoldLookup finds an entry by its name without regard to case (Unicode simple
// folding). An exact match is preferred, then the first in ReadDir order.
func (x *Index) FoldLookup(parent Node, name string) (Entry, error) { panic("not yet") }

// Stat describes a node, also one that is removed.
//
// Errors: ErrNotExist for a number never handed out.
func (x *Index) Stat(n Node) (Entry, error) { panic("not yet") }

// Path returns the shown path of a node, "/"-separated without a leading one;
// "" for Root.
//
// Errors: ErrRemoved, ErrNotExist.
func (x *Index) Path(n Node) (string, error) { panic("not yet") }

// Resolve finds the node at a path as Path returns it. Leading, trailing and
// doubled slashes are ignored.
//
// Errors: ErrNotExist, ErrNotDir.
func (x *Index) Resolve(path string) (Entry, error) { panic("not yet") }

// ReadDir appends the entries of a directory to buf and returns it. The order
// is stable: entries present before and after a change keep their order.
//
// Errors: ErrNotExist, ErrNotDir, ErrRemoved.
func (x *Index) ReadDir(dir Node, buf []DirEntry) ([]DirEntry, error) { panic("not yet") }

// LoadAll reads every directory that has not been looked into yet, in small
// steps between which others run, so that Stats is exact.
func (x *Index) LoadAll(ctx context.Context) error { panic("not yet") }

// Stats counts the tree.
type Stats struct {
	Files    int   // nodes that are not directories
	Dirs     int   // directories, Root not counted
	Bytes    int64 // sum of the sizes
	Complete bool  // every directory has been read: the numbers above are exact
	Peers    int   // writing sessions in the history
	Ops      int64 // operations in the history
}

// Stats returns the counts as of now.
func (x *Index) Stats() Stats { panic("not yet") }

// Version returns the operations the index includes.
func (x *Index) Version() Version { panic("not yet") }

// Export returns one peer's operations as an update (mode 4), what Publish
// writes.
//
// Errors: ErrMissing when the index lacks some of them.
func (x *Index) Export(s Span) ([]byte, error) { panic("not yet") }

// ExportSnapshot returns the whole document (mode 3) and what it includes.
func (x *Index) ExportSnapshot() ([]byte, Version, error) { panic("not yet") }

// Update runs fn, which changes the tree through its Tx, as one commit. When fn
// returns an error, or a method of Tx failed to be undone, nothing has changed.
// fn runs under the index's lock: it must not block and must use nothing of the
// index but tx.
//
// committed is called, still under the lock and so in commit order, with what
// must be journaled; it must not block either. It is not called when nothing
// changed.
//
// Errors: those of fn, unchanged; ErrBroken.
func (x *Index) Update(fn func(tx *Tx) error, committed func(Op)) error { panic("not yet") }

// Import merges a snapshot or update of another device, or of an earlier
// session of this one. It is atomic: on an error nothing changed. Operations
// that depend on others not yet known wait in memory until those arrive.
//
// Errors: ErrUpdate; ErrNewerSchema when the merged document is of a newer
// schema: reading goes on, changes are refused from then on.
func (x *Index) Import(blob []byte) (Changes, error) { panic("not yet") }

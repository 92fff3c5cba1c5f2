package loroindex

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Options of an index.
type Options struct {
	// Device names this machine to people: in conflict names and in the
	// history. Recorded with every change. Others may have the same name.
	Device string
	// Own are the peers of this device's earlier sessions, by which it tells what it did
	// itself. nil: all peers that recorded Device.
	Own []uint64
	// Peer is the identity this session's operations are recorded under; 0, the
	// usual choice, takes a fresh random one. Two sessions never share a peer.
	Peer uint64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// History puts the history of a large snapshot where it is read from until the
	// index is not used any more: see loro.Doc.PutHistory. nil: it stays in memory.
	History func(section []byte) (io.ReaderAt, error)
	// Imported, if not nil, is told what every import changes before anybody can see it. The index is
	// locked meanwhile.
	Imported func([]Change)
	// Shows reports whether the system can show a name; it can show short ones of letters,
	// digits, spaces, "~" and parentheses. Folded shows others by another name. nil: it can show all.
	Shows func(name string) bool
}

// Index is the file tree of one mount. All methods may be called concurrently;
// none waits for network or disk, except those that take a Bucket, and those
// hold no lock while they wait. Nothing is durable by itself: what Update hands
// to its callback is.
type Index struct {
	// mu guards everything below. Reading the view takes it shared; reading a
	// directory into the view, changing and importing take it alone. It is
	// never held across network or disk.
	mu sync.RWMutex

	view
	doc    *loro.Doc
	tree   loro.Tree
	pocket loro.Map

	device string
	own    map[loro.PeerID]bool // of earlier sessions, or nil; not changed
	shows  func(string) bool    // Options.Shows; not changed
	now    func() time.Time
	next   int32    // counter of this session's next operation
	schema bool     // the document has its schema; else the first change writes it
	refuse error    // why changes are refused, or nil
	failed error    // why the document must not be used any more, or nil
	tx     Tx       // the one transaction, reused
	rec    recorder // what the import under way does

	imported func([]Change) // Options.Imported; not changed

	shelf    shelf // has its own lock
	migrated Span  // the operations of a migration on opening; not written afterwards
}

// New returns the index of a bucket that has none yet: an empty root directory.
// The document's schema is written with the first change.
func New(o Options) (*Index, error) { return Open(o) }

// Open returns an index of the given snapshots and updates, in any order. The
// first snapshot, if there is one, should be the largest: it is cheapest to
// start from. An index of schema 1 is migrated.
//
// Errors: ErrUpdate, ErrMissing, ErrForeign, ErrNewerSchema.
func Open(o Options, blobs ...[]byte) (*Index, error) {
	x := newIndex(o)
	for _, b := range blobs {
		if _, err := x.doc.Import(b); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUpdate, err)
		}
	}
	_, err := x.startOrMigrate()
	if gap := x.missing(); gap != nil {
		err = gap // which is why the rest may be wanting
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// newIndex makes an index whose document is empty and whose view is not there.
func newIndex(o Options) *Index {
	x := &Index{device: o.Device, now: o.Now, imported: o.Imported, shows: o.Shows}
	if x.shows == nil {
		x.shows = func(string) bool { return true }
	}
	if x.now == nil {
		x.now = time.Now
	}
	if o.Own != nil {
		x.own = make(map[loro.PeerID]bool, len(o.Own))
		for _, p := range o.Own {
			x.own[loro.PeerID(p)] = true
		}
	}
	peer := loro.PeerID(o.Peer)
	if peer == 0 {
		peer = loro.RandomPeer()
	}
	x.doc = loro.NewDoc(peer)
	x.doc.PutHistory(o.History)
	x.doc.SetCommitInfo(o.Device, x.now)
	x.tree, x.pocket = x.doc.Tree(treeName), x.doc.Map(rootMap)
	x.tx.x = x
	return x
}

// start checks the schema and begins the view.
func (x *Index) start() error {
	fresh, err := x.checkSchema()
	if err != nil {
		return err
	}
	x.schema = !fresh
	x.next = x.doc.Version()[x.doc.Peer()]
	x.view.init()
	root := x.newNode(Dir)
	x.at(root).flags = fPlaced | fVisible
	x.unread = 1
	x.readRoot()
	return nil
}

// readRoot takes over what the view has of the root directory.
func (x *Index) readRoot() {
	at := x.dirTime(Root)
	x.dirs[x.at(Root).dir].mtime = at
}

// checkSchema says whether the document is one this version can work on. fresh:
// nothing was ever written.
func (x *Index) checkSchema() (fresh bool, err error) {
	empty := len(x.doc.Version()) == 0
	for _, c := range x.doc.Roots() {
		if c.Name == treeName && c.Type != loro.TypeTree || c.Name == rootMap && c.Type != loro.TypeMap {
			return false, fmt.Errorf("%w: its %q is a %s", ErrForeign, c.Name, c.Type)
		}
	}
	v, ok := x.pocket.Get(keySchema)
	if !ok {
		if empty {
			return true, nil
		}
		return false, fmt.Errorf("%w: it names no schema", ErrForeign)
	}
	n, isInt := v.AsInt()
	switch {
	case isInt && n == schemaVersion:
		return false, nil
	case isInt && n > schemaVersion:
		return false, fmt.Errorf("%w: it is %d, this version knows %d", ErrNewerSchema, n, schemaVersion)
	}
	return false, fmt.Errorf("%w: its schema is %s", ErrForeign, v)
}

func (x *Index) micros() int64 { return x.now().UnixMicro() }

// missing is an error when imported operations wait for others.
func (x *Index) missing() error {
	spans := pendingSpans(x.doc.Pending())
	if len(spans) == 0 {
		return nil
	}
	return &MissingError{Waiting: spans, Known: x.doc.Version()}
}

// Peer returns the peer of this session.
func (x *Index) Peer() uint64 { return uint64(x.doc.Peer()) }

// look runs f on the view, shared, and again alone with directories read into
// it if it asks for one.
func (x *Index) look(f func() (unread Node)) {
	x.mu.RLock()
	d := f()
	x.mu.RUnlock()
	if d == NoNode {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for d != NoNode {
		x.read(d)
		d = f()
	}
}

// openDir returns the directory that shows n's entries. unread is set when they
// must be read first.
func (x *Index) openDir(n Node) (d, unread Node, err error) {
	if !x.known(n) {
		return NoNode, NoNode, fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	n = x.canon(n)
	nd := x.at(n)
	switch {
	case nd.kind != Dir:
		return NoNode, NoNode, fmt.Errorf("%q: %w", x.nameOf(n), ErrNotDir)
	case nd.flags&fVisible == 0:
		return NoNode, NoNode, fmt.Errorf("%q: %w", x.nameOf(n), ErrRemoved)
	case !x.dirs[nd.dir].read:
		return n, n, nil
	}
	return n, NoNode, nil
}

// Lookup finds an entry by its shown name.
//
// Errors: ErrNotExist, ErrNotDir, ErrRemoved.
func (x *Index) Lookup(parent Node, name string) (e Entry, err error) {
	x.mu.RLock()
	e, unread, err := x.lookup(parent, name)
	x.mu.RUnlock()
	if unread == NoNode {
		return e, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.read(unread)
	e, _, err = x.lookup(parent, name)
	return e, err
}

func (x *Index) lookup(parent Node, name string) (Entry, Node, error) {
	d, unread, err := x.openDir(parent)
	if err != nil || unread != NoNode {
		return Entry{}, unread, err
	}
	n := x.child(d, name)
	if n == NoNode {
		return Entry{}, NoNode, notExist{name}
	}
	return x.describe(n), NoNode, nil
}

// notExist is ErrNotExist with a name: a lookup that finds nothing is common
// and costs no formatting.
type notExist struct{ name string }

func (e notExist) Error() string { return fmt.Sprintf("%q: %v", e.name, ErrNotExist) }
func (e notExist) Unwrap() error { return ErrNotExist }

// Stat describes a node, also one that is removed.
//
// Errors: ErrNotExist for a number never handed out.
func (x *Index) Stat(n Node) (Entry, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.stat(n)
}

func (x *Index) stat(n Node) (Entry, error) {
	if !x.known(n) {
		return Entry{}, fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	return x.describe(x.canon(n)), nil
}

// Path returns the shown path of a node, "/"-separated without a leading one;
// "" for Root.
//
// Errors: ErrRemoved, ErrNotExist.
func (x *Index) Path(n Node) (string, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.path(n)
}

func (x *Index) path(n Node) (string, error) {
	if !x.known(n) {
		return "", fmt.Errorf("node %d: %w", n, ErrNotExist)
	}
	n = x.canon(n)
	if x.at(n).flags&fVisible == 0 {
		return "", fmt.Errorf("%q: %w", x.nameOf(n), ErrRemoved)
	}
	size := 0
	for k := n; k != Root; k = x.at(k).parent {
		size += int(x.at(k).nameLen) + 1
	}
	if size == 0 {
		return "", nil
	}
	b := make([]byte, size-1)
	for k := n; k != Root; k = x.at(k).parent {
		name := x.nameOf(k)
		size -= len(name) + 1
		copy(b[size:], name)
		if size > 0 {
			b[size-1] = '/'
		}
	}
	return string(b), nil
}

// Resolve finds the node at a path as Path returns it. Leading, trailing and
// doubled slashes are ignored.
//
// Errors: ErrNotExist, ErrNotDir.
func (x *Index) Resolve(path string) (e Entry, err error) {
	x.mu.RLock()
	n, unread, err := x.walk(path)
	if err == nil && unread == NoNode {
		e, err = x.stat(n)
	}
	x.mu.RUnlock()
	if unread == NoNode {
		return e, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for unread != NoNode {
		x.read(unread)
		n, unread, err = x.walk(path)
	}
	if err != nil {
		return Entry{}, err
	}
	return x.stat(n)
}

func (x *Index) walk(path string) (n, unread Node, err error) {
	n = Root
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		path = rest
		if name == "" {
			continue
		}
		d, unread, err := x.openDir(n)
		if err != nil || unread != NoNode {
			return NoNode, unread, err
		}
		if n = x.child(d, name); n == NoNode {
			return NoNode, NoNode, notExist{name}
		}
	}
	return n, NoNode, nil
}

// ReadDir appends the entries of a directory to buf and returns it. The order
// is stable: entries present before and after a change keep their order.
//
// Errors: ErrNotExist, ErrNotDir, ErrRemoved.
func (x *Index) ReadDir(dir Node, buf []DirEntry) (out []DirEntry, err error) {
	return x.readDir(dir, buf, nil)
}

// readDir is ReadDir with the names that nameOf, if it is not nil, gives.
func (x *Index) readDir(dir Node, buf []DirEntry, nameOf func(Node) string) (out []DirEntry, err error) {
	out = buf
	x.look(func() Node {
		d, unread, e := x.openDir(dir)
		if err = e; e != nil || unread != NoNode {
			return unread
		}
		info := &x.dirs[x.at(d).dir]
		if free := cap(out) - len(out); free < int(info.count) {
			grown := make([]DirEntry, len(out), len(out)+int(info.count))
			copy(grown, out)
			out = grown
		}
		for n := info.first; n != NoNode; {
			nd := x.at(n)
			e := DirEntry{Name: x.names.at(nd.name, nd.nameLen), Node: n, Kind: nd.kind, Ino: x.ino(n)}
			if nameOf != nil {
				e.Name = nameOf(n)
			}
			out = append(out, e)
			n = nd.next
		}
		return NoNode
	})
	return out, err
}

// Holds reports whether there is a node of a kind in the tree. It reads the document alone,
// up to the first, and nothing into memory: a third of a second for a million files. Changes
// wait meanwhile.
func (x *Index) Holds(kind Kind) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	dirs := []loro.TreeID{loro.TreeRoot}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		for id := range x.tree.Children(dir) {
			info, _ := x.factsOf(id)
			if info.Kind == kind {
				return true
			}
			if info.Kind == Dir {
				dirs = append(dirs, id)
			}
		}
	}
	return false
}

// LoadAll reads every directory that has not been looked into yet, a few at a
// time so that others can run in between, so that Stats is exact.
func (x *Index) LoadAll(ctx context.Context) error {
	for from := Root; from != NoNode; {
		if err := ctx.Err(); err != nil {
			return err
		}
		from = x.loadSome(from, 1000)
	}
	return nil
}

// loadSome reads directories, beginning at slot from, until about limit nodes
// came in. It returns where to go on: reading only ever appends slots.
func (x *Index) loadSome(from Node, limit int) Node {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.count
	for n := from; int(n) < x.count; n++ {
		nd := x.at(n)
		if nd.kind != Dir || nd.flags&fVisible == 0 || nd.flags&fMerged != 0 || x.dirs[nd.dir].read {
			continue
		}
		if x.count-before >= limit {
			return n
		}
		x.read(n)
	}
	return NoNode
}

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
func (x *Index) Stats() Stats {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := Stats{Files: x.files, Dirs: x.folders, Bytes: x.bytes, Complete: x.unread == 0}
	for _, end := range x.doc.Version() {
		s.Peers++
		s.Ops += int64(end)
	}
	return s
}

// Version returns the operations the index includes.
func (x *Index) Version() Version {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.doc.Version()
}

// Export returns one peer's operations as an update (mode 4), what Publish
// writes.
//
// Errors: ErrMissing when the index lacks some of them.
func (x *Index) Export(s Span) ([]byte, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.export(s)
}

func (x *Index) export(s Span) ([]byte, error) {
	if x.failed != nil {
		return nil, x.failed
	}
	b, err := x.doc.ExportRange(loro.IDSpan{Peer: loro.PeerID(s.Peer), Start: s.Start, End: s.End})
	if err != nil {
		return nil, fmt.Errorf("%w: export of %s: %w", ErrMissing, s, err)
	}
	return b, nil
}

// ExportSnapshot returns the whole document (mode 3) and what it includes. It
// takes time in proportion to the document, about two seconds for a million
// files; changes wait meanwhile.
func (x *Index) ExportSnapshot() ([]byte, Version, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.exportSnapshot()
}

func (x *Index) exportSnapshot() ([]byte, Version, error) {
	if x.failed != nil {
		return nil, nil, x.failed
	}
	b, err := x.doc.ExportSnapshot()
	if err != nil {
		return nil, nil, fmt.Errorf("index snapshot: %w", err)
	}
	return b, x.doc.Version(), nil
}

package fsimpl

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/loroindex"
)

// Status is how a mount does. Zero times mean never.
type Status struct {
	Pending   []PendingFile // the oldest first
	Changes   int           // index operations that are not published
	Oldest    time.Time     // when the oldest of what is pending was made; zero: nothing is pending
	Failing   time.Time     // since when the store has not answered, or refused to be read, or uploads or publishing have failed; zero while all works
	Err       error         // the last failure while Failing is set
	Cache     chunkcache.Stats
	Index     IndexStatus
	OpenFiles int // files that programs have open
	Notices   []Notice
}

// PendingFile is a file with content that the store does not have, or that the published
// index does not name yet.
type PendingFile struct {
	Path  string // in the mount, "/"-separated, beginning with "/"; empty when it is not known (yet)
	Bytes int64  // not uploaded yet
	Since time.Time
	Open  bool // written and not committed yet: a program has it open
}

// IndexStatus is what is known of the tree of files.
type IndexStatus struct {
	Files, Dirs int   // as far as directories were looked into; exact when Complete
	Bytes       int64 // the files' sizes, likewise
	Complete    bool
	Operations  int64     // in the history
	Sessions    int       // that wrote them
	Version     string    // the same on two machines exactly when they know the same operations: 8 hex digits
	Published   time.Time // when this process last wrote to the store's index
	Checked     time.Time // when it last saw that it knows all that the store has
	Merged      time.Time // when changes of another machine last came in
}

// noticesMost bounds the notices that are remembered.
const noticesMost = 50

// marks are the times and notices that Status shows.
type marks struct {
	mu                         sync.Mutex
	published, checked, merged time.Time // guarded by mu
	notices                    []Notice  // the oldest first; guarded by mu
}

// note sets one of the times.
func (m *marks) note(what *time.Time, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*what = now
}

// tell adds a notice.
func (m *marks) tell(now time.Time, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.notices) >= noticesMost {
		m.notices = slices.Delete(m.notices, 0, 1)
	}
	m.notices = append(m.notices, Notice{Time: now, Text: text})
}

// leftWait is how long Status waits for the names of files that an earlier process left.
const leftWait = 500 * time.Millisecond

// leftFiles finds the names of the files with content that an earlier process left: the
// journal has only their numbers.
type leftFiles struct {
	wanted map[uint64]bool // inode numbers; not changed after Open
	once   sync.Once       // starts looking
	done   chan struct{}   // closed when nodes is complete
	nodes  map[uint64]Node // by inode number; written before done is closed
}

func (l *leftFiles) expect(uploads []journal.Upload) {
	l.wanted = make(map[uint64]bool)
	l.done = make(chan struct{})
	for _, u := range uploads {
		l.wanted[u.Node] = true
	}
}

// leftNodes returns the nodes of the files that an earlier process left, by inode
// number, or nil while they are not found yet.
func (fs *FS) leftNodes() map[uint64]Node {
	l := &fs.left
	l.once.Do(func() {
		fs.work.Go(func() {
			l.nodes = fs.findNodes(fs.ctx, l.wanted)
			close(l.done)
		})
	})
	patient := time.NewTimer(leftWait)
	defer patient.Stop()
	select {
	case <-l.done:
		return l.nodes
	case <-patient.C:
		return nil
	}
}

// findNodes looks through the tree for inode numbers.
func (fs *FS) findNodes(ctx context.Context, wanted map[uint64]bool) map[uint64]Node {
	found := make(map[uint64]Node, len(wanted))
	dirs := []Node{loroindex.Root}
	var entries []loroindex.DirEntry
	for len(dirs) > 0 && len(found) < len(wanted) && ctx.Err() == nil {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		var err error
		if entries, err = fs.index.ReadDir(dir, entries[:0]); err != nil {
			continue // removed meanwhile
		}
		for _, e := range entries {
			if wanted[e.Ino] {
				found[e.Ino] = e.Node
			}
			if e.Kind == loroindex.Dir {
				dirs = append(dirs, e.Node)
			}
		}
	}
	return found
}

// Status returns how the mount does. It waits for neither the store nor the disk.
func (fs *FS) Status() Status {
	p := fs.queue.Progress()
	if p.Failing.IsZero() { // uploads need not notice what keeps others from reading
		p.Failing, p.Err = fs.outage.Failing()
	}
	s := Status{Changes: p.Changes, Failing: p.Failing, Err: p.Err, Cache: fs.cache.Stats(), Index: fs.indexStatus()}
	s.Pending, s.Oldest = fs.pending()
	fs.mu.RLock()
	for _, ino := range fs.inodes {
		if ino.refs > 0 {
			s.OpenFiles++
		}
	}
	fs.mu.RUnlock()
	fs.noticesMu.Lock()
	s.Notices = append(s.Notices, fs.notices...)
	fs.noticesMu.Unlock()
	fs.marks.mu.Lock()
	s.Notices = append(s.Notices, fs.marks.notices...)
	s.Index.Published, s.Index.Checked, s.Index.Merged = fs.marks.published, fs.marks.checked, fs.marks.merged
	fs.marks.mu.Unlock()
	return s
}

func (fs *FS) indexStatus() IndexStatus {
	stats := fs.index.Stats()
	return IndexStatus{
		Files: stats.Files, Dirs: stats.Dirs, Bytes: stats.Bytes, Complete: stats.Complete,
		Operations: stats.Ops, Sessions: stats.Peers, Version: versionName(fs.index.Version()),
	}
}

// versionName returns a short name of a version, for people to compare.
func versionName(v loroindex.Version) string {
	type span struct {
		peer uint64
		end  int32
	}
	spans := make([]span, 0, len(v))
	for peer, end := range v {
		if end > 0 {
			spans = append(spans, span{uint64(peer), end})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.peer, b.peer) })
	h := sha256.New()
	for _, s := range spans {
		var b [12]byte
		binary.LittleEndian.PutUint64(b[:8], s.peer)
		binary.LittleEndian.PutUint32(b[8:], uint32(s.end))
		h.Write(b[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// pending returns the files with content that is not in the store, the oldest first, and
// when the oldest change was made.
func (fs *FS) pending() (files []PendingFile, oldest time.Time) {
	queued, oldest := fs.queue.Pending()
	var left map[uint64]Node
	byNode := make(map[Node]int, len(queued)) // places in files
	add := func(n Node, bytes int64, since time.Time) *PendingFile {
		i, ok := byNode[n]
		if !ok || n == loroindex.NoNode {
			i = len(files)
			byNode[n] = i
			files = append(files, PendingFile{Path: fs.shownPath(n), Since: since})
		}
		f := &files[i]
		f.Bytes += bytes
		if since.Before(f.Since) {
			f.Since = since
		}
		return f
	}
	for _, q := range queued {
		n := Node(q.Node)
		if n == loroindex.NoNode {
			if left == nil {
				left = fs.leftNodes()
			}
			if found, ok := left[q.Ino]; ok {
				n = found
			}
		}
		add(n, q.Bytes, q.Since)
	}
	fs.mu.RLock()
	inodes := make([]*inode, 0, len(fs.inodes))
	for _, ino := range fs.inodes {
		inodes = append(inodes, ino)
	}
	fs.mu.RUnlock()
	for _, ino := range inodes {
		if since, bytes := ino.written(); bytes >= 0 && !fs.isRemoved(ino.node) {
			add(ino.node, bytes, since).Open = true
			if oldest.IsZero() || since.Before(oldest) {
				oldest = since
			}
		}
	}
	slices.SortFunc(files, func(a, b PendingFile) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Path, b.Path))
	})
	return files, oldest
}

// shownPath returns the path of a node, or "" where it has none.
func (fs *FS) shownPath(n Node) string {
	if n == loroindex.NoNode {
		return ""
	}
	path, err := fs.index.Path(n)
	if err != nil {
		return "" // removed: what is pending of it is not wanted any more
	}
	return "/" + path
}

// written returns since when the file has bytes that are not committed and how many,
// or -1 when it has none.
func (i *inode) written() (since time.Time, bytes int64) {
	i.attrMu.Lock()
	changed, at, size := i.changed, i.since, i.size
	i.attrMu.Unlock()
	if !changed {
		return time.Time{}, -1
	}
	// Somebody who holds the lock may wait for the disk; then the size has to do.
	if i.mu.TryRLock() {
		defer i.mu.RUnlock()
		size = 0
		for _, r := range i.staged.Ranges() {
			size += r.Len()
		}
		for _, u := range i.fresh {
			size += u.Size
		}
	}
	return time.UnixMicro(at), size
}

// DrainPending commits what open files hold and waits until all that is pending then is
// in the store; what is changed meanwhile is not waited for, as far as it does not replace what
// was pending. report, if not nil, is called with what is left whenever that changes.
//
// It returns early with the store's error when the store refuses (permission, no bucket), and
// with the context's error: what is left stays in the journal. ErrLost when content turned out to be
// damaged meanwhile, and all else is in the store.
func (fs *FS) DrainPending(ctx context.Context, report func(transfer.Left)) error {
	before := len(fs.Notices())
	if err := fs.commitAll(ctx); err != nil {
		return err
	}
	if err := fs.queue.Reach(ctx, report); err != nil {
		return err
	}
	return fs.lostSince(before)
}

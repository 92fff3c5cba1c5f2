package transfer

import (
	"context"
	"slices"
	"time"

	"github.com/hamflx/pocket/objstore"
)

// PendingFile is a file with content that is not in the store, or that no published
// index names yet.
type PendingFile struct {
	Node  uint64    // as in Change; 0 when an earlier process left it
	Ino   uint64    // as in journal.Upload; 0 when its objects are in the store and only the index is not
	Bytes int64     // not uploaded yet
	Since time.Time // when the oldest of it was committed
}

// Pending returns the files with pending content, in no order, and when the oldest
// change that is not published was made (zero: there is none; for what an earlier process
// left, when this one began).
func (q *Queue) Pending() (files []PendingFile, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	byNode, byIno := make(map[uint64]int), make(map[uint64]int) // places in files
	for node, op := range q.files {
		byNode[node] = len(files)
		files = append(files, PendingFile{Node: node, Since: op.since})
	}
	for _, o := range q.objects {
		places, key := byNode, o.file
		if o.file == 0 {
			places, key = byIno, o.node
		}
		i, ok := places[key]
		if !ok {
			i = len(files)
			places[key] = i
			files = append(files, PendingFile{Node: o.file, Since: o.since})
		}
		f := &files[i]
		f.Ino = o.node
		f.Bytes += o.size
		if o.since.Before(f.Since) {
			f.Since = o.since
		}
	}
	if len(q.ops) > 0 {
		oldest = q.ops[0].since
	}
	for _, f := range files {
		if oldest.IsZero() || f.Since.Before(oldest) {
			oldest = f.Since
		}
	}
	return files, oldest
}

// Left is how much remains of what was pending at some moment.
type Left struct {
	Files, Changes int   // files with content to upload, index operations to publish
	Bytes          int64 // content to upload
	// Failing and Err are as in Progress.
	Failing time.Time
	Err     error
}

// countAll is up to how many objects Reach counts what is left at every change, and
// countEvery how often it does with more.
const (
	countAll   = 1000
	countEvery = 100 * time.Millisecond
)

// Reach waits until everything that is pending now is in the store; what is added
// meanwhile is not waited for, as far as it does not replace content that was. The store is
// asked at once, also after a failure. report, if not nil, is called with what is left at first and
// whenever that changes.
//
// It returns early with the store's error when the store refuses (permission, no bucket), and
// with the context's error. Either way what is left stays queued.
func (q *Queue) Reach(ctx context.Context, report func(Left)) error {
	q.mu.Lock()
	mark := q.serial
	var before [3]int
	for i, t := range q.works() {
		before[i] = t.count
		q.tryNow(t)
	}
	objects := make([]*object, 0, len(q.objects))
	for _, o := range q.objects {
		objects = append(objects, o)
	}
	q.broadcast()
	q.mu.Unlock()
	var left Left
	var counted time.Time
	files := make(map[[2]uint64]bool)
	return q.wait(ctx, nil, func() (bool, error) {
		q.mu.Lock()
		left.Changes = 0
		if announced := q.serial - uint64(q.state.Changes); announced < mark {
			left.Changes = int(mark - announced)
		}
		if now := time.Now(); left.Changes == 0 || len(objects) <= countAll || now.Sub(counted) >= countEvery {
			counted = now
			objects = slices.DeleteFunc(objects, func(o *object) bool { return o.done })
			clear(files)
			left.Bytes = 0
			for _, o := range objects {
				files[[2]uint64{o.file, o.node}] = true
				left.Bytes += o.size
			}
			left.Files = len(files)
		}
		p := q.progress()
		left.Failing, left.Err = p.Failing, p.Err
		var refused error
		for i, t := range q.works() {
			if t.err != nil && t.count != before[i] && !objstore.Retryable(t.err) {
				refused = t.err
			}
		}
		q.mu.Unlock()
		if report != nil {
			report(left)
		}
		switch {
		case left.Changes == 0 && len(objects) == 0:
			return true, nil
		case refused != nil:
			return false, refused
		}
		return false, nil
	})
}

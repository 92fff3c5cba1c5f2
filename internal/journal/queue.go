package journal

import (
	"context"
	"fmt"
	"slices"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/hamflx/pocket/internal/objectid"
)

// op is one operation on the journal: what it does to the rows of each table.
// Which rows was settled when it was enqueued, so that doing it later, or in one
// transaction with others, makes no difference.
type op struct {
	seq     int64 // row of entries; 0 means no entry
	entry   Entry // what the row says
	row     int64 // row of uploads that the first of insert gets
	insert  []Upload
	added   int64   // microseconds since 1970, of insert
	remove  []int64 // rows of uploads
	publish []span  // rows of entries to delete
	room    bool    // it is told to make room
	erase   bool    // what it deletes must not be there any more, nor come back with damage
	other   *otherOp
}

// span is a run of rows.
type span struct{ first, last int64 }

// otherOp are the rarer operations.
type otherOp struct {
	key   string // of meta; "" means none
	value []byte // nil deletes
	put   []IndexObject
	drop  []string // keys of index objects

	first   int64   // row of the first of entries, which the others follow
	entries []Entry // that take the place of others
}

// Ticket stands for an entry that was enqueued.
type Ticket struct {
	j      *Journal
	number uint64
}

// Enqueue fixes e's place in the order of changes. It does not wait for the
// disk and never fails: whether the entry could be committed is what Wait tells.
// The journal keeps e.Update, e.Uploads and e.Drop until then; they must not be
// changed any more.
//
// An entry nobody waits for is committed with the next one, or within
// Options.SyncDelay.
func (j *Journal) Enqueue(e Entry) *Ticket {
	now := j.opts.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return &Ticket{j: j, number: never}
	}
	o := op{added: now.UnixMicro(), room: e.MakesRoom}
	if len(e.Drop) > 0 {
		number := j.enqueued + 1 // as push gives it
		j.drops = append(j.drops, drop{number, e.Drop, e.Dropped})
		for _, id := range e.Drop {
			j.dropping[id] = number
		}
	}
	o.row, o.insert = j.list(e.Uploads)
	if len(e.Update) > 0 {
		j.lastSeq++
		o.seq = j.lastSeq
		o.entry = Entry{Peer: e.Peer, Start: e.Start, End: e.End, Update: e.Update}
		j.pending = append(j.pending, pendingEntry{seq: o.seq, peer: e.Peer, end: e.End, bytes: int32(len(e.Update))})
		j.pendingN += int64(len(e.Update))
	}
	return &Ticket{j: j, number: j.push(o)}
}

// never is the number of an operation that is never committed.
const never = ^uint64(0)

// push puts o at the end of the queue and returns its number. j.mu is held.
func (j *Journal) push(o op) uint64 {
	j.queue = append(j.queue, o)
	j.enqueued++
	j.arm(j.opts.SyncDelay)
	return j.enqueued
}

// list puts uploads on the list and returns those that were not on it yet, and
// the row that the first of them gets; the others follow. j.mu is held.
func (j *Journal) list(uploads []Upload) (row int64, fresh []Upload) {
	row = j.lastRow + 1
	fresh = uploads
	copied := false
	for i, u := range uploads {
		delete(j.dropping, u.Object)
		if _, listed := j.uploads[u.Object]; listed {
			if !copied {
				fresh = append([]Upload(nil), uploads[:i]...)
				copied = true
			}
			continue
		}
		if copied {
			fresh = append(fresh, u)
		}
		j.lastRow++
		j.uploads[u.Object] = upload{row: j.lastRow, size: u.Size}
		j.uploadN += u.Size
	}
	return row, fresh
}

// unlist takes objects off the list and returns their rows. j.mu is held.
func (j *Journal) unlist(ids []objectid.ID) (rows []int64) {
	for _, id := range ids {
		u, listed := j.uploads[id]
		if !listed {
			continue
		}
		delete(j.uploads, id)
		j.uploadN -= u.size
		rows = append(rows, u.row)
	}
	return rows
}

// finishDrops does what Drop of the entries asked for that survive a power loss.
func (j *Journal) finishDrops() {
	synced := j.synced.Load()
	j.mu.Lock()
	n := 0
	var rows []int64
	for ; n < len(j.drops) && j.drops[n].number <= synced; n++ {
		for _, id := range j.drops[n].ids {
			if j.dropping[id] == j.drops[n].number {
				delete(j.dropping, id)
				rows = append(rows, j.unlist([]objectid.ID{id})...)
			}
		}
	}
	done := j.drops[:n]
	if j.drops = j.drops[n:]; len(j.drops) == 0 {
		j.drops = nil
	}
	if len(rows) > 0 {
		j.push(op{remove: rows})
	}
	j.mu.Unlock()
	for _, d := range done {
		if d.done != nil {
			d.done(d.ids)
		}
	}
}

// Uploaded takes objects off the upload list. It does not wait: the removal is
// committed with the next entry or within Options.SyncDelay, in the order of
// calls with Enqueue. A crash before that leaves the objects listed; an upload
// done twice is harmless, but its chunk may have been evicted, so look in the
// bucket before taking a missing chunk for lost.
func (j *Journal) Uploaded(ids ...objectid.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	if rows := j.unlist(ids); len(rows) > 0 {
		j.push(op{remove: rows})
	}
}

// Published drops the entries of peer with End <= end, in one transaction; on
// return they do not come back after kill -9. It relies on the entries of one
// peer having been enqueued in the order of their counters. On an error the call stays queued,
// as an entry does; publishing twice is harmless. ctx is looked at before
// anything is done.
func (j *Journal) Published(ctx context.Context, peer uint64, end int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	gone := j.unpend(peer, end)
	if len(gone) == 0 {
		j.mu.Unlock()
		return nil
	}
	number := j.push(op{publish: gone})
	j.mu.Unlock()
	return j.wait(number)
}

// unpend takes the entries of peer up to end off the list of those not published
// and returns their rows. j.mu is held.
func (j *Journal) unpend(peer uint64, end int32) (gone []span) {
	var others []pendingEntry // of other peers, before the last of peer
	i := 0
	for ; i < len(j.pending); i++ {
		p := j.pending[i]
		if p.peer != peer {
			others = append(others, p)
			continue
		}
		if p.end > end {
			break // those that follow are newer
		}
		j.pendingN -= int64(p.bytes)
		if n := len(gone); n > 0 && gone[n-1].last == p.seq-1 {
			gone[n-1].last = p.seq
		} else {
			gone = append(gone, span{p.seq, p.seq})
		}
	}
	if len(gone) == 0 {
		return nil
	}
	i -= len(others)
	copy(j.pending[i:], others)
	j.pending = j.pending[i:]
	if len(j.pending) == 0 {
		j.pending = nil // let go of what a long outage made it grow to
	}
	return gone
}

// SetMeta stores a small fact (at most MaxMeta bytes), in the order of calls
// with Enqueue; nil removes it. On return it survives kill -9; on an error it
// stays queued, as an entry does. ctx is looked at before anything is done.
func (j *Journal) SetMeta(ctx context.Context, key string, value []byte) error {
	if len(value) > MaxMeta || key == "" {
		return fmt.Errorf("journal: fact %q of %d bytes: want a key, and at most %d bytes", key, len(value), MaxMeta)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if value != nil {
		value = append([]byte{}, value...)
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	if value == nil {
		delete(j.meta, key)
	} else {
		j.meta[key] = value
	}
	number := j.push(op{other: &otherOp{key: key, value: value}})
	j.mu.Unlock()
	return j.wait(number)
}

// UpdateIndexObjects adds objects that are known to be in the bucket and drops
// others by their keys, in one transaction: a snapshot takes the place of what it
// covers. An object that is stored already is replaced; one in both lists is
// stored. makesRoom is as Entry.MakesRoom. Durability, errors and ctx as with SetMeta. The journal keeps the
// bodies until it returns. Files that IndexObject.File names are the caller's to
// write before (durably) and to delete after.
func (j *Journal) UpdateIndexObjects(ctx context.Context, put []IndexObject, drop []string, makesRoom bool) error {
	for _, object := range put {
		if object.Key == "" || (object.Body == nil) == (object.File == "") {
			return fmt.Errorf("journal: index object %q: want a key, and either a body or a file", object.Key)
		}
		if len(object.Body) > MaxIndexBody {
			return fmt.Errorf("journal: index object %q: its %d bytes belong in a file", object.Key, len(object.Body))
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	number := j.push(op{other: &otherOp{put: put, drop: drop}, room: makesRoom})
	j.mu.Unlock()
	return j.wait(number)
}

// Wait returns nil when the entry is committed: it survives kill -9. An error
// says why it is not; the entry stays queued all the same, in its place, and is
// committed as soon as that is possible. Wait may be called again, to try again.
// After Close it returns ErrClosed for an entry that was never committed.
func (t *Ticket) Wait() error { return t.j.wait(t.number) }

// wait returns when operation number is committed, or could not be.
func (j *Journal) wait(number uint64) error {
	if number <= j.committed.Load() {
		return nil
	}
	j.mu.Lock()
	if number <= j.committed.Load() {
		j.mu.Unlock()
		return nil
	}
	if number == never {
		j.mu.Unlock()
		return ErrClosed
	}
	return j.waitLocked(number)
}

// waitLocked is wait for an operation that is queued. j.mu is held, and not on
// return.
func (j *Journal) waitLocked(number uint64) error {
	if !j.leading {
		j.leading = true
		err := j.lead()
		j.mu.Unlock()
		if number <= j.committed.Load() {
			return nil
		}
		return err
	}
	late := j.started && number > j.through
	r := &j.following
	if late {
		r = &j.next
	}
	if *r == nil {
		*r = newRound()
	}
	mine := *r
	j.mu.Unlock()
	select {
	case <-mine.done:
	case <-mine.lead:
		j.mu.Lock()
		err := j.lead()
		j.mu.Unlock()
		if number <= j.committed.Load() {
			return nil
		}
		return err
	}
	if number <= mine.through {
		return nil
	}
	return mine.err
}

// A transaction takes so much of the queue at once.
const (
	maxBatchOps   = 4096
	maxBatchBytes = 16 << 20
	// spareOps bounds the queue that is kept to be filled again.
	spareOps = 256
)

// lead commits all that is queued, tells those who follow and passes the lead
// on. j.mu is held before and after, and j.leading set by whoever calls.
func (j *Journal) lead() error {
	all := j.queue
	taken := all
	j.queue, j.spare = j.spare, nil
	j.started, j.through = true, j.enqueued
	var err error
	for len(taken) > 0 && err == nil {
		batch := taken[:batchSize(taken)]
		j.mu.Unlock()
		err = j.db.commit(batch)
		for sqliteCode(err) == sqlite3.SQLITE_FULL && j.makeRoom(taken) {
			err = j.db.commit(batch)
		}
		if err == nil {
			j.committed.Add(uint64(len(batch)))
		}
		j.mu.Lock()
		if err == nil {
			taken = taken[len(batch):]
		}
	}
	if err != nil {
		err = explain(j.path, err)
		j.queue = append(taken[:len(taken):len(taken)], j.queue...)
		j.arm(retryDelay)
	} else if cap(all) <= spareOps {
		clear(all)
		j.spare = all[:0]
	}
	j.setFailure(err, j.syncFails)

	j.started = false
	if r := j.following; r != nil {
		r.through, r.err = j.committed.Load(), err
		close(r.done)
	}
	j.following, j.next = j.next, nil
	if j.following == nil {
		j.leading = false
	} else {
		j.following.lead <- struct{}{}
	}
	return err
}

// makeRoom frees some of a full disk for changes, and reports whether it did: of the reserve
// only when one of them makes room. Those before it come along.
func (j *Journal) makeRoom(ops []op) bool {
	if j.opts.MakeRoom != nil && j.opts.MakeRoom() {
		return true
	}
	return j.opts.Reserve != nil && slices.ContainsFunc(ops, op.makesRoom) && j.opts.Reserve.Release()
}

// makesRoom reports whether an operation lets go of anything.
func (o op) makesRoom() bool { return o.room || len(o.remove) > 0 || len(o.publish) > 0 }

// batchSize returns how many of ops one transaction takes.
func batchSize(ops []op) int {
	bytes := 0
	for i := range ops {
		if i == maxBatchOps || bytes > maxBatchBytes {
			return i
		}
		bytes += len(ops[i].entry.Update)
		if other := ops[i].other; other != nil {
			for _, object := range other.put {
				bytes += len(object.Body)
			}
			for _, e := range other.entries {
				bytes += len(e.Update)
			}
		}
	}
	return len(ops)
}

// setFailure makes Err answer commits or, when that is nil, syncs. j.mu is held.
func (j *Journal) setFailure(commits, syncs error) {
	j.syncFails = syncs
	if commits == nil {
		commits = syncs
	}
	if commits == nil {
		if j.failure.Load() != nil {
			j.failure.Store(nil)
		}
		return
	}
	j.failure.Store(&commits)
}

// flush commits what is queued.
func (j *Journal) flush() error {
	j.mu.Lock()
	if len(j.queue) == 0 && !j.leading {
		j.mu.Unlock()
		return nil
	}
	return j.waitLocked(j.enqueued)
}

package transfer

import (
	"time"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
)

// Offer lets an object be uploaded that no operation names yet: a part of a file that is being
// written, which will be part of it when it is committed. The next Change of the file names it
// in Objects and in Offered, or Withdraw ends the offer. Until then the caller keeps a pin of
// its own; the journal does not know the object.
//
// In mode buffered few of them are uploaded at once, since the program that writes has better use
// for the processor. Of a file whose content would be held back if it were committed now, none are.
func (q *Queue) Offer(file uint64, at Place, u journal.Upload) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := q.objects[u.Object]
	if o == nil {
		now := time.Now()
		if q.recent[u.Object] || q.expected(file, at, now) {
			return nil
		}
		if err := q.opts.Cache.Pin(u.Object); err != nil {
			return err
		}
		o = &object{id: u.Object, size: u.Size, node: u.Node, file: file, since: now}
		q.enqueue(o)
		q.broadcast()
	}
	o.offers++
	o.joined = true
	return nil
}

// Withdraw ends one offer of an object. If nobody else wants it, it is not uploaded, unless that
// has begun.
func (q *Queue) Withdraw(id objectid.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unoffer(id)
}

// unnamed reports whether no operation names an object.
func (o *object) unnamed() bool { return o.users == 0 }

// unoffer ends one offer of an object, if it is not in the store already. Called with mu held.
func (q *Queue) unoffer(id objectid.ID) {
	o := q.objects[id]
	if o == nil || o.offers == 0 {
		return
	}
	if o.offers--; o.unwanted() && !o.uploading {
		q.forget(o)
		q.drop(o)
	}
}

// drop lets go of an object that was given up after all. Called with mu held.
func (q *Queue) drop(o *object) {
	if !o.listed {
		q.opts.Cache.Unpin(o.id)
		return
	}
	// By a change that may not survive a power loss yet: as with forget.
	q.opts.Journal.Enqueue(journal.Entry{Drop: []objectid.ID{o.id}, Dropped: q.unpin})
}

package fsimpl

import (
	"slices"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
)

// early is what of a file that is being written is uploaded before it is committed, so that
// the rest is less when it is: its chunks in the order in which they are written, until a
// program goes back to one.
type early struct {
	written []int64       // slots completed lately and not offered, oldest first
	next    int64         // the slot after the highest that was offered
	back    bool          // a slot below that was written again: nothing is offered until the commit
	offers  []objectid.ID // what the queue was offered
}

// completed notes a slot that a write completed and that is a chunk now. Called with mu held.
func (i *inode) completed(slot int64) error {
	e := &i.early
	if e.back = e.back || slot < e.next; e.back {
		return nil
	}
	if e.written = append(e.written, slot); int64(len(e.written)-1)*i.fs.opts.ChunkSize < i.fs.opts.Behind {
		return nil
	}
	slot, e.written = e.written[0], e.written[1:]
	if slices.Contains(e.written, slot) || i.fs.isRemoved(i.node) {
		return nil
	}
	size := i.fs.opts.ChunkSize
	n, start := i.search.Find(slot * size)
	if n >= len(i.extents) || start != slot*size || i.extents[n].Length != size || i.extents[n].IsHole() {
		return nil // written to since
	}
	entry, err := i.fs.index.Stat(i.node)
	if err != nil || entry.Removed {
		return nil // it goes with the commit, if there is one
	}
	chunk := journal.Upload{Object: i.extents[n].Object, Size: size, Node: i.ino}
	if err := i.fs.queue.Offer(uint64(i.node), placeOf(&entry), chunk); err != nil {
		return err
	}
	e.next = max(e.next, slot+1)
	e.offers = append(e.offers, chunk.Object)
	return nil
}

// withdraw ends the offers of objects that keep does not want. Called with mu held.
func (i *inode) withdraw(keep func(objectid.ID) bool) {
	kept := i.early.offers[:0]
	for _, id := range i.early.offers {
		if keep(id) {
			kept = append(kept, id)
		} else {
			i.fs.queue.Withdraw(id)
		}
	}
	i.early.offers = kept
}

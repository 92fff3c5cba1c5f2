package journal

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/hamflx/pocket/internal/objectid"
)

// metaWhole is the fact that says how far the journal reached when it was last synced
// after the chunks. The system writes what it likes between two syncs, so that after a
// power loss entries beyond it may be there without their chunks.
const metaWhole = "journal: whole"

// extent is how far the journal reaches: its newest rows.
type extent struct{ seq, row int64 }

func (e extent) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(e.seq)), uint64(e.row))
}

func (e *extent) decode(b []byte) {
	if len(b) == 16 {
		e.seq, e.row = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	}
}

// Judge says that the caller has looked at what Load returned: it drops the entries but
// for the first keep of them and takes the objects drop off the upload list, in one
// transaction, and on return both survives kill -9. From then on syncs note that what
// they cover is whole. Nothing that Load did not return may be enqueued before, but by Replace.
//
// After a power loss the entries beyond Loaded.Whole are good up to the first one whose
// objects are neither in the cache nor in the store.
func (j *Journal) Judge(ctx context.Context, keep int, drop []objectid.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	var o op
	for _, p := range j.pending[min(keep, len(j.pending)):] {
		j.pendingN -= int64(p.bytes)
		o.publish = append(o.publish, span{p.seq, p.seq})
	}
	j.pending = slices.Clip(j.pending[:min(keep, len(j.pending))])
	o.remove = j.unlist(drop)
	o.erase = len(o.publish) > 0
	j.judged = true
	if len(o.publish) == 0 && len(o.remove) == 0 {
		j.mu.Unlock()
		return nil
	}
	number := j.push(o)
	j.mu.Unlock()
	return j.wait(number)
}

// Replace drops entries that Load returned, by their places there, puts others behind those that are left, and stores a
// small fact as SetMeta does, in one transaction: on return that survives kill -9. It comes before Judge, for which the
// entries are then those that are left and the others. Errors and ctx as with Published.
func (j *Journal) Replace(ctx context.Context, drop []int, with []Entry, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	value = append([]byte{}, value...)
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	dropped := make(map[int]bool, len(drop))
	for _, n := range drop {
		dropped[n] = true
	}
	o := op{erase: true}
	left := make([]pendingEntry, 0, len(j.pending)+len(with))
	for n, p := range j.pending {
		if !dropped[n] {
			left = append(left, p)
			continue
		}
		j.pendingN -= int64(p.bytes)
		if last := len(o.publish) - 1; last >= 0 && o.publish[last].last == p.seq-1 {
			o.publish[last].last = p.seq
		} else {
			o.publish = append(o.publish, span{p.seq, p.seq})
		}
	}
	o.other = &otherOp{first: j.lastSeq + 1, entries: with, key: key, value: value}
	j.meta[key] = value
	for _, e := range with {
		j.lastSeq++
		left = append(left, pendingEntry{seq: j.lastSeq, peer: e.Peer, end: e.End, bytes: int32(len(e.Update))})
		j.pendingN += int64(len(e.Update))
	}
	j.pending = left
	number := j.push(o)
	j.mu.Unlock()
	return j.wait(number)
}

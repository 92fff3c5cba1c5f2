package loro

import "fmt"

// ExportUpdates returns, as mode 4, every committed operation from does not
// include; a valid empty blob when there is none. The cost follows what is
// exported, not the document. Operations before the start of a shallow document
// are not included. An open transaction is committed first.
func (d *Doc) ExportUpdates(from VersionVector) ([]byte, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	d.Commit()
	out := newEnvelope(ModeUpdates, 512)
	var ps []uint32
	for p := range d.h.peers {
		if from[d.s.peers.list[p]] < d.h.peers[p].end {
			ps = append(ps, uint32(p))
		}
	}
	d.sortPeers(ps)
	for _, p := range ps {
		id := d.s.peers.list[p]
		var err error
		if out, err = d.appendUpdates(out, p, max(from[id], d.h.start[id], 0), d.h.peers[p].end); err != nil {
			return nil, err
		}
	}
	return sealEnvelope(out), nil
}

// ExportRange returns, as mode 4, one peer's operations [Start, End).
//
// Errors: ErrUnknownRange when the document lacks some of them.
func (d *Doc) ExportRange(span IDSpan) ([]byte, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	d.Commit()
	p, ok := d.s.peers.find(span.Peer)
	if !ok || span.Start < d.h.start[span.Peer] || span.Start < 0 || span.Start >= span.End || span.End > d.h.end(p) {
		return nil, fmt.Errorf("%w: %d to %d of peer %v", ErrUnknownRange, span.Start, span.End, span.Peer)
	}
	out, err := d.appendUpdates(newEnvelope(ModeUpdates, 512), p, span.Start, span.End)
	if err != nil {
		return nil, err
	}
	return sealEnvelope(out), nil
}

// appendUpdates appends the operations [from, to) of a peer as length-prefixed
// blocks. Blocks entirely inside are copied as they are.
func (d *Doc) appendUpdates(out []byte, p uint32, from, to int32) ([]byte, error) {
	if from >= to {
		return out, nil
	}
	ph := &d.h.peers[p]
	var rd blockReader
	for i, _ := ph.find(from); i < len(ph.blocks) && ph.blocks[i].ctr < to; i++ {
		ref := &ph.blocks[i]
		raw, err := rd.bytes(ref)
		if err != nil {
			return nil, err
		}
		if ref.ctr < from || ref.end > to {
			if raw, err = sliceBlock(raw, max(ref.ctr, from), min(ref.end, to)); err != nil {
				return nil, err
			}
		}
		out = appendBytes(out, raw)
	}
	if o := d.h.open; o != nil && p == d.self && from < o.end() && o.ctr < to {
		out = appendBytes(out, d.encodeOpen(max(from, o.ctr), min(to, o.end())))
	}
	return out, nil
}

// sliceBlock re-encodes the operations [from, to) of a block.
func sliceBlock(raw []byte, from, to int32) ([]byte, error) {
	b, err := decodeBlock(raw)
	if err != nil {
		return nil, err
	}
	w := newBlockWriter(b.peer(), from)
	if err := newBlockCopier(w, b).changes(from, to, nil); err != nil {
		return nil, err
	}
	return w.finish(), nil
}

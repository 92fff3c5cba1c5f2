package loro

import (
	"encoding/binary"
	"fmt"
	"math"
)

// replayBelow is up to how many operations after its root a shallow snapshot
// leaves to the reader to replay instead of carrying its end state. The official
// writer has the same threshold.
const replayBelow = 256

// ExportSnapshot returns, as mode 3, the whole history and state. A shallow
// document gives a shallow snapshot with the same start. An open transaction is
// committed first.
//
// What did not change since the document was loaded from a snapshot, or last exported
// as one, is copied; the tree is written anew. For that a state of up to 32 MiB, about
// 350,000 files, is kept in memory as it was read or written.
//
// Errors: ErrUnsupportedContainer, ErrLimit.
func (d *Doc) ExportSnapshot() ([]byte, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	d.Commit()
	if d.IsShallow() {
		return d.shallowBlob(d.h.start, d.h.root, d.h.rootState)
	}
	out := newEnvelope(ModeSnapshot, d.historySize()+d.s.arena.live+1<<16)
	out, err := section(out, func(out []byte) ([]byte, error) { return d.changeStore(out, nil, nil) })
	if err != nil {
		return nil, err
	}
	out, err = section(out, func(out []byte) ([]byte, error) { return d.encodeState(out, d.s, nil, nil) })
	if err != nil {
		return nil, err
	}
	return sealEnvelope(append(out, 0, 0, 0, 0)), nil
}

// section appends what f appends, after its length.
func section(out []byte, f func([]byte) ([]byte, error)) ([]byte, error) {
	at := len(out)
	out, err := f(append(out, 0, 0, 0, 0))
	if err != nil {
		return nil, err
	}
	n := len(out) - at - 4
	if n > math.MaxUint32 {
		return nil, fmt.Errorf("%w: snapshot section of %d bytes", ErrLimit, n)
	}
	binary.LittleEndian.PutUint32(out[at:], uint32(n))
	return out, nil
}

// bytesOf is for section: it appends b.
func bytesOf(b []byte) func([]byte) ([]byte, error) {
	return func(out []byte) ([]byte, error) { return append(out, b...), nil }
}

// historySize is about how large the history is when written.
func (d *Doc) historySize() int {
	size := 0
	for i := range d.h.peers {
		blocks := d.h.peers[i].blocks
		for j := range blocks {
			if ref := &blocks[j]; ref.sst == nil {
				size += len(ref.raw)
			} else if ref.off == 0 {
				bl := &ref.sst.blocks[ref.blk]
				size += int(bl.end - bl.off)
			}
		}
	}
	return size
}

// ExportShallow returns, as mode 3, the state at a version and the history from
// there. The version must be one operation that every operation it does not
// include depends on: sync, commit one change that merges all heads, use that.
//
// Errors: ErrShallowFrontiers, ErrUnsupportedContainer, ErrLimit.
func (d *Doc) ExportShallow(at Frontiers) ([]byte, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	d.Commit()
	if len(at) != 1 {
		return nil, fmt.Errorf("%w: %d operations instead of one", ErrShallowFrontiers, len(at))
	}
	root := at[0]
	if p, ok := d.s.peers.find(root.Peer); !ok || root.Counter < 0 || root.Counter >= d.h.end(p) || d.h.start.Includes(root) {
		return nil, fmt.Errorf("%w: %v is not in the history", ErrShallowFrontiers, root)
	}
	start, err := d.versionOf(root)
	if err != nil {
		return nil, err
	}
	s := d.s
	if start.Compare(d.Version()) != Equal {
		if err := d.checkCritical(root, start); err != nil {
			return nil, err
		}
		if s, err = d.stateAt(start); err != nil {
			return nil, err
		}
	}
	start[root.Peer] = root.Counter // the root itself is kept as history
	rootState, err := d.encodeState(nil, s, at, nil)
	if err != nil {
		return nil, err
	}
	return d.shallowBlob(start, at, rootState)
}

// shallowBlob writes a shallow snapshot that starts at start.
func (d *Doc) shallowBlob(start VersionVector, root Frontiers, rootState []byte) ([]byte, error) {
	out := newEnvelope(ModeSnapshot, len(rootState)+1<<16)
	out, err := section(out, func(out []byte) ([]byte, error) { return d.changeStore(out, start, root) })
	if err != nil {
		return nil, err
	}
	ops := -1 // the root itself does not count
	for p, end := range d.Version() {
		ops += int(end - start[p])
	}
	state := bytesOf([]byte(stateOmitted))
	if ops > replayBelow {
		state = func(out []byte) ([]byte, error) { return d.encodeState(out, d.s, nil, rootState) }
	} else if err := d.supported(); err != nil {
		return nil, err
	}
	if out, err = section(out, state); err != nil {
		return nil, err
	}
	if out, err = section(out, bytesOf(rootState)); err != nil {
		return nil, err
	}
	return sealEnvelope(out), nil
}

// changeStore appends the history section, from start on.
func (d *Doc) changeStore(out []byte, start VersionVector, root Frontiers) ([]byte, error) {
	if len(d.h.heads) == 0 {
		// Even an empty document's history is not an empty section.
		w := newSSTWriter(out)
		w.add([]byte("fr"), appendFrontiers(nil, nil))
		w.add([]byte("vv"), appendVersionVector(nil, nil))
		return w.finish(), nil
	}
	w := storeWriter{w: newSSTWriter(out)}
	w.meta = append(w.meta, storeMeta{"fr", appendFrontiers(nil, d.Frontiers())})
	if root != nil {
		w.meta = append(w.meta, storeMeta{"sf", appendFrontiers(nil, root)}, storeMeta{"sv", appendVersionVector(nil, start)})
	}
	w.meta = append(w.meta, storeMeta{"vv", appendVersionVector(nil, d.Version())})
	for _, p := range d.peersByID() {
		if err := d.storePeer(&w, p, start[d.s.peers.list[p]]); err != nil {
			return nil, err
		}
	}
	w.before(nil)
	return w.w.finish(), nil
}

// storeWriter writes change blocks in key order, the metadata between them.
type storeWriter struct {
	w    *sstWriter
	meta []storeMeta
	rd   blockReader
}

type storeMeta struct {
	key string
	val []byte
}

// before writes the metadata that sorts before a key; all of it for nil.
func (w *storeWriter) before(key []byte) {
	for len(w.meta) > 0 && (key == nil || w.meta[0].key < string(key)) {
		w.w.add([]byte(w.meta[0].key), w.meta[0].val)
		w.meta = w.meta[1:]
	}
}

func (w *storeWriter) block(peer PeerID, ctr int32, raw []byte) {
	key := binary.BigEndian.AppendUint64(nil, uint64(peer))
	key = binary.BigEndian.AppendUint32(key, uint32(ctr))
	w.before(key)
	w.w.add(key, raw)
}

// Blocks smaller than this are put together with their neighbours.
const smallBlock = 2048

// storePeer writes one peer's history from a counter on: stored blocks as they
// are, small ones that arrived or were committed since joined to larger ones.
func (d *Doc) storePeer(w *storeWriter, p uint32, from int32) error {
	ph := &d.h.peers[p]
	id := d.s.peers.list[p]
	var join *blockWriter
	joined := 0 // raw bytes in join
	flush := func() {
		if join != nil {
			w.block(id, join.ctr, join.finish())
			join, joined = nil, 0
		}
	}
	add := func(raw []byte, from, to int32) error {
		b, err := decodeBlock(raw)
		if err != nil {
			return err
		}
		if join == nil {
			join = newBlockWriter(id, max(from, b.ctr))
		}
		joined += len(raw)
		if err := newBlockCopier(join, b).changes(from, to, nil); err != nil {
			return err
		}
		if join.size >= targetBlockSize || joined >= 4*targetBlockSize {
			flush()
		}
		return nil
	}
	i, _ := ph.find(from)
	for i < len(ph.blocks) {
		ref := &ph.blocks[i]
		if n := d.wholeStored(p, i, from); n > 0 {
			flush()
			first := ref.sst.blocks[ref.blk].first
			w.before(first)
			if err := w.w.copyBlock(ref.sst, int(ref.blk)); err != nil {
				return err
			}
			i += n
			continue
		}
		i++
		raw, err := w.rd.bytes(ref)
		if err != nil {
			return err
		}
		if ref.ctr < from || ref.sst == nil && len(raw) < smallBlock {
			if err := add(raw, from, ref.end); err != nil {
				return err
			}
			continue
		}
		flush()
		w.block(id, ref.ctr, raw)
	}
	if o := d.h.open; o != nil && p == d.self && from < o.end() {
		if err := add(d.encodeOpen(max(from, o.ctr), o.end()), from, o.end()); err != nil {
			return err
		}
	}
	flush()
	return nil
}

// wholeStored returns how many blocks of a peer from index i on are exactly the
// content of one SSTable block, which can then be copied without inflating it;
// 0 when that is not so.
func (d *Doc) wholeStored(p uint32, i int, from int32) int {
	blocks := d.h.peers[p].blocks
	ref := &blocks[i]
	if ref.sst == nil || ref.ctr < from || ref.off != 0 {
		return 0
	}
	n := int(ref.sst.pure[ref.blk])
	if n == 0 || i+n > len(blocks) || blocks[i+n-1].sst != ref.sst || blocks[i+n-1].blk != ref.blk {
		return 0
	}
	return n
}

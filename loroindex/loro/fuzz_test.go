package loro

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// The seeds of every fuzz target are the vectors of the official library.

func seedBlobs(f *testing.F, add func(mode Mode, body []byte)) {
	m := readManifest(f)
	seen := map[string]bool{}
	each := func(file string) {
		blob := readVector(f, file)
		if seen[string(blob)] || len(blob) > 8<<10 {
			return
		}
		seen[string(blob)] = true
		if mode, body, err := openEnvelope(blob); err == nil {
			add(mode, body)
		}
	}
	for _, v := range m.Vectors {
		for _, im := range v.Imports {
			each(im.File)
		}
	}
	for _, h := range m.Hostile {
		each(h.File)
	}
}

func FuzzEnvelope(f *testing.F) {
	seedBlobs(f, func(mode Mode, body []byte) {
		f.Add(sealEnvelope(append(newEnvelope(mode, len(body)), body...)))
	})
	f.Fuzz(func(t *testing.T, blob []byte) {
		if len(blob) >= envelopeSize {
			blob = sealEnvelope(bytes.Clone(blob))
		}
		meta, err := Peek(blob)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		for p, end := range meta.End {
			require.LessOrEqual(t, meta.Start[p], max(end, meta.Start[p]))
		}
	})
}

func FuzzSSTable(f *testing.F) {
	seedBlobs(f, func(mode Mode, body []byte) {
		if s, err := splitSnapshot(body); mode == ModeSnapshot && err == nil {
			f.Add(s.oplog)
			f.Add(s.state)
			f.Add(s.root)
		}
	})
	f.Fuzz(func(t *testing.T, section []byte) {
		tab, err := openSSTable(resealSection(section))
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		w := newSSTWriter(nil)
		n := 0
		err = tab.scan(0, len(tab.blocks), inflateBudget(len(section)), func(key, val []byte) error {
			w.add(key, val)
			n++
			return nil
		})
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		// What was read is read again from what is written.
		tab, err = openSSTable(w.finish())
		require.NoError(t, err)
		again := 0
		require.NoError(t, tab.scan(0, len(tab.blocks), nil, func(_, _ []byte) error { again++; return nil }))
		require.Equal(t, n, again)
	})
}

func FuzzChangeBlock(f *testing.F) {
	seedBlobs(f, func(mode Mode, body []byte) {
		if mode != ModeUpdates {
			return
		}
		for c := (cursor{b: body}); len(c.b) > 0 && c.err == nil; {
			f.Add(c.bytes())
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := decodeBlock(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		// A copy, whole and cut in two, says the same.
		whole := copyBlocks(t, b.ctr, b)
		require.Equal(t, rowsOf(t, b), rowsOf(t, whole))
		if mid := b.ctr + (b.end-b.ctr)/2; mid > b.ctr && mid < b.end {
			first, err1 := sliceBlock(raw, b.ctr, mid)
			second, err2 := sliceBlock(raw, mid, b.end)
			if err1 != nil || err2 != nil {
				return // an operation of an unsupported kind that cannot be cut
			}
			x, err := decodeBlock(first)
			require.NoError(t, err)
			y, err := decodeBlock(second)
			require.NoError(t, err)
			for _, c := range b.cids {
				if c.kind != TypeMap && c.kind != TypeTree {
					return
				}
			}
			require.Equal(t, rowsOf(t, b), append(rowsOf(t, x), rowsOf(t, y)...))
		}
	})
}

func copyBlocks(t *testing.T, ctr int32, bs ...*changeBlock) *changeBlock {
	w := newBlockWriter(bs[0].peer(), ctr)
	for _, b := range bs {
		require.NoError(t, newBlockCopier(w, b).changes(b.ctr, b.end, nil))
	}
	b, err := decodeBlock(w.finish())
	require.NoError(t, err)
	return b
}

// rowsOf describes the operations of a block independently of its registries.
func rowsOf(t *testing.T, b *changeBlock) []string {
	var out []string
	for _, op := range opsOfBlock(t, b) {
		out = append(out, opJSON(op))
	}
	return out
}

func opsOfBlock(t *testing.T, b *changeBlock) (out []Op) {
	require.NoError(t, b.ops(func(op Op, err error) bool {
		require.NoError(t, err)
		out = append(out, op)
		return true
	}))
	return out
}

func FuzzStateSection(f *testing.F) {
	seedBlobs(f, func(mode Mode, body []byte) {
		if s, err := splitSnapshot(body); mode == ModeSnapshot && err == nil {
			for _, sec := range [][]byte{s.state, s.root} {
				if tab, err := openSSTable(sec); err == nil {
					tab.scan(0, len(tab.blocks), nil, func(key, val []byte) error {
						f.Add(bytes.Clone(key), bytes.Clone(val))
						return nil
					})
				}
			}
		}
	})
	f.Fuzz(func(t *testing.T, key, val []byte) {
		if len(key) > 1000 || len(key) == 0 {
			return
		}
		w := newSSTWriter(nil)
		w.add(key, val)
		section := w.finish()
		d := NewDoc(1)
		if err := d.s.load(sections{state: section}); err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		// What was understood is written so that it is understood the same.
		again, err := d.encodeState(nil, d.s, nil, nil)
		if err != nil {
			require.ErrorIs(t, err, ErrLimit)
			return
		}
		e := NewDoc(1)
		require.NoError(t, e.s.load(sections{state: again}))
		require.Equal(t, deep(d), deep(e))
	})
}

func FuzzImport(f *testing.F) {
	seedBlobs(f, func(mode Mode, body []byte) { f.Add(mode == ModeSnapshot, body) })
	f.Fuzz(func(t *testing.T, snapshot bool, body []byte) {
		mode := ModeUpdates
		if snapshot {
			mode = ModeSnapshot
			if s, err := splitSnapshot(body); err == nil {
				body = nil
				for _, p := range [][]byte{s.oplog, s.state, s.root} {
					body = binary.LittleEndian.AppendUint32(body, uint32(len(p)))
					body = append(body, resealSection(p)...)
				}
			}
		}
		blob := sealEnvelope(append(newEnvelope(mode, len(body)), body...))
		for _, d := range []*Doc{NewDoc(1), docWithAnEdit(t)} {
			vv, before := d.Version(), deep(d)
			_, err := d.Import(blob)
			if err != nil {
				require.Equal(t, vv, d.Version())
				require.Equal(t, before, deep(d))
				continue
			}
			useImported(t, d)
		}
	})
}

// useImported does with a document of hostile origin what an application might.
func useImported(t *testing.T, d *Doc) {
	shown := deep(d)
	d.Verify()
	for range d.Ops() {
	}
	for _, id := range d.Roots() {
		if id.Type != TypeTree {
			continue
		}
		tree := d.Tree(id.Name)
		var last TreeID
		for n := range tree.Nodes() {
			last = n
		}
		if n, err := tree.Create(TreeRoot); err == nil && last != (TreeID{}) {
			tree.Meta(last).Set("k", Int(1))
			tree.Move(last, n)
			tree.Delete(n)
		}
	}
	_ = shown
	d.Commit()
	if up, err := d.ExportUpdates(nil); err == nil && !d.IsShallow() {
		_, err := NewDoc(9).Import(up)
		require.NoError(t, err)
	}
	if f := d.Frontiers(); len(f) == 1 {
		d.ExportShallow(f)
	}
	if snap, err := d.ExportSnapshot(); err == nil {
		_, err := NewDoc(9).Import(snap)
		require.NoError(t, err)
	}
}

// resealSection corrects the checksums of a section, as far as it is one, so
// that fuzzing reaches what they protect.
func resealSection(section []byte) []byte {
	b := bytes.Clone(section)
	if len(b) < 4+1+4+4+4 {
		return b
	}
	metaOff := binary.LittleEndian.Uint32(b[len(b)-4:])
	if metaOff < 5 || uint64(metaOff) > uint64(len(b)-4-8) {
		return b
	}
	meta := b[metaOff : len(b)-4]
	entries := meta[4 : len(meta)-4]
	binary.LittleEndian.PutUint32(meta[len(meta)-4:], checksum(entries))
	c := cursor{b: entries}
	var offs []uint32
	for len(c.b) > 0 && c.err == nil {
		offs = append(offs, c.u32le())
		c.take(uint64(c.u16le()))
		if c.byte()&sstLarge == 0 {
			c.take(uint64(c.u16le()))
		}
	}
	for i, off := range offs {
		end := metaOff
		if i+1 < len(offs) {
			end = offs[i+1]
		}
		if off >= 5 && end <= metaOff && end >= off && end-off >= 4 {
			binary.LittleEndian.PutUint32(b[end-4:], checksum(b[off:end-4]))
		}
	}
	return b
}

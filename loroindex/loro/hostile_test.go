package loro

import (
	"bytes"
	"encoding/binary"
	"math"
	"runtime"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

// seal makes a blob of a body.
func seal(mode Mode, body []byte) []byte {
	return sealEnvelope(append(newEnvelope(mode, len(body)), body...))
}

// snapshotOf makes a snapshot of its sections.
func snapshotOf(parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(binary.LittleEndian.AppendUint32(body, uint32(len(p))), p...)
	}
	return seal(ModeSnapshot, body)
}

func updatesOf(blocks ...[]byte) []byte {
	var body []byte
	for _, b := range blocks {
		body = appendBytes(body, b)
	}
	return seal(ModeUpdates, body)
}

// blockOf writes a block by hand: one change of n map operations on root "m".
func blockOf(peer PeerID, ctr int32, n int32, lam uint32, self bool, deps ...ID) []byte {
	w := newBlockWriter(peer, ctr)
	w.change(outChange{n: n, lam: lam, self: self, deps: deps})
	for range n {
		w.setTo(w.cid(RootID("m", TypeMap)), w.key("k"), nestedTrue)
	}
	return w.finish()
}

// setTo is mapSet with the nested value given.
func (w *blockWriter) setTo(cid, key uint32, nested ...byte) {
	start := len(w.vals)
	w.vals = append(w.vals, nested...)
	w.mapSet(cid, key, start)
}

func allocated(f func()) uint64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

func TestSmallBlobsCannotMakeImportAllocateMuch(t *testing.T) {
	huge := func() []byte { // claims 2^31-1 map deletions in run-length columns
		w := newBlockWriter(1, 0)
		w.change(outChange{n: math.MaxInt32 - 1, lam: 0})
		cid := w.cid(RootID("m", TypeMap))
		w.rows = append(w.rows, outRow{cid: cid, prop: int32(w.key("k")), n: 1, tag: tagDeleteOnce})
		b, err := decodeBlockTables(w.finish())
		if err != nil {
			panic(err)
		}
		out := []byte{1, 4}
		for _, v := range []uint64{0, 0, tagDeleteOnce, 1} {
			out = appendBytes(out, appendUvarint(appendVarint(nil, math.MaxInt32-1), v))
		}
		// Splice the columns into the block.
		c := cursor{b: b.raw}
		blockPrefix(&c)
		head := b.raw[:len(b.raw)-len(c.b)]
		res := bytes.Clone(head)
		for i := range 8 {
			sec := c.bytes()
			if i == 5 {
				sec = out
			}
			res = appendBytes(res, sec)
		}
		return res
	}()
	bomb := func(n int) []byte { // a state section that inflates 255 times
		w := newSSTWriter(nil)
		w.add([]byte{0x83, 1, 't'}, make([]byte, n))
		return w.finish()
	}
	empty, err := NewDoc(1).changeStore(nil, nil, nil)
	require.NoError(t, err)
	cases := map[string][]byte{
		"operations":    updatesOf(huge),
		"state":         snapshotOf(empty, bomb(400<<20), nil),
		"history":       snapshotOf(bomb(400<<20), nil, nil),
		"oplog length":  seal(ModeSnapshot, []byte{255, 255, 255, 255}),
		"block length":  seal(ModeUpdates, []byte{255, 255, 255, 255, 15, 1}),
		"long varint":   seal(ModeUpdates, bytes.Repeat([]byte{0x80}, 30)),
		"counter range": updatesOf([]byte{0xff, 0xff, 0xff, 0xff, 7, 0xff, 0xff, 0xff, 0xff, 7, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}),
	}
	for name, blob := range cases {
		t.Run(name, func(t *testing.T) {
			got := allocated(func() {
				_, err := NewDoc(1).Import(blob)
				require.ErrorIs(t, err, ErrInvalid)
			})
			require.Less(t, got, uint64(400<<20+64*len(blob)))
			_, err := Peek(blob)
			_ = err // some of it is not looked at
		})
	}
}

func TestDeepValuesAreRefused(t *testing.T) {
	w := newBlockWriter(1, 0)
	w.change(outChange{n: 1})
	var v []byte
	for range 100_000 {
		v = append(v, nestedList, 1)
	}
	w.setTo(w.cid(RootID("m", TypeMap)), w.key("k"), append(v, nestedNull)...)
	_, err := NewDoc(1).Import(updatesOf(w.finish()))
	require.ErrorIs(t, err, ErrInvalid)
}

func TestLamportOverflowIsAnErrorAndChangesNothing(t *testing.T) {
	d := NewDoc(1)
	_, err := d.Import(updatesOf(blockOf(3, 0, 1, 5, false)))
	require.NoError(t, err)
	// Lamport times of updates are computed, not believed.
	lam, _ := d.lamportAt(ID{3, 0})
	require.Zero(t, lam)

	// Those of snapshots are believed. Here is one near the end of time.
	e := NewDoc(3)
	require.NoError(t, e.Map("m").Set("k", Int(1)))
	e.Commit()
	e.h.open.changes[0].lam = math.MaxUint32 - 3
	snap, err := e.ExportSnapshot()
	require.NoError(t, err)
	f := NewDoc(4)
	_, err = f.Import(snap)
	require.NoError(t, err)
	require.ErrorIs(t, f.Map("m").Set("x", Int(1)), ErrLimit)
	before := deep(f)
	waits := blockOf(9, 1, 1, 9, true)
	_, err = f.Import(updatesOf(waits))
	require.NoError(t, err)
	pending := f.Pending()
	_, err = f.Import(updatesOf(blockOf(8, 0, 10, 1, false, ID{3, 0}), blockOf(9, 0, 1, 0, false)))
	require.ErrorIs(t, err, ErrLimit)
	require.Equal(t, before, deep(f))
	require.Equal(t, pending, f.Pending())
	require.Equal(t, VersionVector{3: 1}, f.Version())
	_, err = f.Import(updatesOf(blockOf(9, 0, 1, 0, false)))
	require.NoError(t, err)
	require.Empty(t, f.Pending())
	require.Equal(t, VersionVector{3: 1, 9: 2}, f.Version())
}

func TestSnapshotsThatContradictThemselvesAreRefused(t *testing.T) {
	d := NewDoc(1)
	require.NoError(t, d.Map("m").Set("a", Int(1)))
	d.Commit()
	require.NoError(t, d.Map("m").Set("b", Int(1)))
	d.Commit()
	state, err := d.encodeState(nil, d.s, nil, nil)
	require.NoError(t, err)
	block := d.encodeOpen(0, 2)
	key := append(binary.BigEndian.AppendUint64(nil, 1), 0, 0, 0, 0)
	store := func(vv VersionVector, fr Frontiers, blockKey []byte) []byte {
		w := newSSTWriter(nil)
		w.add(blockKey, block)
		w.add([]byte("fr"), appendFrontiers(nil, fr))
		w.add([]byte("vv"), appendVersionVector(nil, vv))
		return snapshotOf(w.finish(), state, nil)
	}
	good := store(VersionVector{1: 2}, Frontiers{{1, 1}}, key)
	same(t, d, load(t, good))
	only := func(name string, val []byte) []byte {
		w := newSSTWriter(nil)
		w.add([]byte(name), val)
		return snapshotOf(w.finish(), nil, nil)
	}
	missing := newSSTWriter(nil)
	missing.add([]byte("fr"), appendFrontiers(nil, Frontiers{{1, 1}}))
	missing.add([]byte("vv"), appendVersionVector(nil, nil))
	for name, bad := range map[string][]byte{
		"no version vector": only("fr", appendFrontiers(nil, nil)),
		"no frontiers":      only("vv", appendVersionVector(nil, nil)),
		"no operations":     snapshotOf(missing.finish(), nil, nil),
	} {
		for _, e := range []*Doc{NewDoc(1), docWithAnEdit(t)} {
			_, err := e.Import(bad)
			require.ErrorIs(t, err, ErrInvalid, name)
		}
	}
	other := append(binary.BigEndian.AppendUint64(nil, 2), 0, 0, 0, 0)
	for name, bad := range map[string][]byte{
		"short version vector": store(VersionVector{1: 1}, Frontiers{{1, 1}}, key),
		"long version vector":  store(VersionVector{1: 3}, Frontiers{{1, 1}}, key),
		"more peers":           store(VersionVector{1: 2, 5: 1}, Frontiers{{1, 1}}, key),
		"no heads":             store(VersionVector{1: 2}, nil, key),
		"other heads":          store(VersionVector{1: 2}, Frontiers{{1, 0}}, key),
		"other peer":           store(VersionVector{2: 2}, Frontiers{{2, 1}}, other),
	} {
		e := NewDoc(1)
		_, err := e.Import(bad)
		require.ErrorIs(t, err, ErrInvalid, name)
		require.Empty(t, e.Version())
	}
	// Cut off in the middle, at every place.
	for n := range good {
		_, err := NewDoc(1).Import(sealEnvelope(bytes.Clone(good[:max(n, envelopeSize)])))
		require.ErrorIs(t, err, ErrInvalid)
	}
}

func TestASnapshotWithoutStateIsReplayed(t *testing.T) {
	d := filesDoc(t, 1, 50)
	oplog, err := d.changeStore(nil, nil, nil)
	require.NoError(t, err)
	for _, state := range [][]byte{nil, []byte(stateOmitted)} {
		blob := snapshotOf(oplog, state, nil)
		same(t, d, load(t, blob))
	}
}

func TestVerifyFindsAStateThatIsNotOfItsHistory(t *testing.T) {
	d := filesDoc(t, 1, 50)
	require.NoError(t, d.Verify())
	for name, spoil := range map[string]func(*Doc){
		"value": func(e *Doc) {
			n, _ := e.find("files", 3)
			require.NoError(t, e.s.force(n, "name", String("other")))
		},
		"missing key": func(e *Doc) { n, _ := e.find("files", 5); e.s.nodes.at(n).rec = 0; e.s.changed(n) },
		"place":       func(e *Doc) { n, _ := e.find("files", 7); e.s.correct(n, nodePlace{parent: atTrash}) },
	} {
		t.Run(name, func(t *testing.T) {
			snap, err := d.ExportSnapshot()
			require.NoError(t, err)
			e := load(t, snap)
			spoil(e)
			require.ErrorIs(t, e.Verify(), ErrDiverged)
			// It is not noticed on import, as nowhere, but found afterwards.
			bad, err := e.ExportSnapshot()
			require.NoError(t, err)
			require.ErrorIs(t, load(t, bad).Verify(), ErrDiverged)
		})
	}
}

// find returns the i-th live node.
func (d *Doc) find(tree string, i int) (ent, TreeID) {
	for id := range d.Tree(tree).Nodes() {
		if i--; i < 0 {
			e, _ := d.Tree(tree).find(id)
			return e, id
		}
	}
	panic("no such node")
}

// force overwrites a value without anybody having written it.
func (s *state) force(e ent, key string, v Value) error {
	k := s.keys.internString(key)
	r, _ := s.findReg(s.nodes.at(e).rec, k)
	w := register{key: k, peer: r.peer, lam: r.lam + 1, val: s.pk.value(nil, v)}
	s.setReg(e, w)
	return nil
}

// Official writers name an earlier writer of a key in a snapshot when a later
// one wrote the same concurrently. A third write between the two must lose.
func TestStaleRegistersOfASnapshotDoNotLoseToOlderWrites(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		write := func(d *Doc, n int) {
			require.NoError(t, d.Map("pad").Set("n", Int(0)))
			for i := range n {
				require.NoError(t, d.Map("pad").Set("n", Int(int64(i+1))))
			}
		}
		base := NewDoc(1)
		require.NoError(t, base.Map("m").Set("k", Int(0)))
		base.Commit()
		up, err := base.ExportUpdates(nil)
		require.NoError(t, err)
		a, b, c := NewDoc(2), NewDoc(3), NewDoc(4)
		for i, d := range []*Doc{a, b, c} {
			_, err := d.Import(up)
			require.NoError(t, err)
			write(d, []int{1, 30, 10}[i])
			v := Int(7)
			if d == c {
				v = Int(8)
			}
			if deleted && d != c {
				require.NoError(t, d.Map("m").Delete("k"))
			} else {
				require.NoError(t, d.Map("m").Set("k", v))
			}
			d.Commit()
		}
		earlier, _ := a.Map("m").Register("k")
		fromB, err := b.ExportUpdates(nil)
		require.NoError(t, err)
		_, err = a.Import(fromB)
		require.NoError(t, err)
		// What the official writer would leave in the state.
		e, _ := a.Map("m").ent()
		a.s.nodes.at(e).rec = 0
		k, _ := a.s.keys.find("k")
		w := register{key: k, peer: a.self, lam: earlier.IDLP.Lamport, deleted: deleted}
		if !deleted {
			w.val = a.s.pk.value(nil, Int(7))
		}
		a.s.setReg(e, w)
		snap, err := a.ExportSnapshot()
		require.NoError(t, err)

		d := load(t, snap)
		require.NoError(t, d.Verify())
		fromC, err := c.ExportUpdates(nil)
		require.NoError(t, err)
		_, err = d.Import(fromC)
		require.NoError(t, err)
		r, _ := d.Map("m").Register("k")
		require.Equal(t, deleted, r.Deleted)
		require.Equal(t, PeerID(3), r.IDLP.Peer)
		require.NoError(t, d.Verify())
	}
}

func TestInflateUnderstandsEveryKindOfFrame(t *testing.T) {
	data := bytes.Repeat([]byte("some text that repeats, some that does not: 0123456789"), 5000)
	for name, opts := range map[string][]lz4.Option{
		"plain":     {lz4.ChecksumOption(false)},
		"checksums": {lz4.ChecksumOption(true), lz4.BlockChecksumOption(true)},
		"sized":     {lz4.SizeOption(uint64(len(data)))},
		"small":     {lz4.BlockSizeOption(lz4.Block64Kb)},
		"large":     {lz4.BlockSizeOption(lz4.Block4Mb)},
	} {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		require.NoError(t, w.Apply(opts...))
		_, err := w.Write(data)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		got, err := inflate(nil, buf.Bytes(), nil)
		require.NoError(t, err, name)
		require.Equal(t, data, got, name)
		for _, n := range []int{0, 3, 7, 10, buf.Len() / 2, buf.Len() - 1} {
			_, err := inflate(nil, buf.Bytes()[:n], nil)
			require.ErrorIs(t, err, ErrInvalid)
		}
		_, err = inflate(nil, buf.Bytes(), &budget{left: len(data) - 1})
		require.ErrorIs(t, err, ErrInvalid)
	}
	var d deflater
	for _, n := range []int{1, 100, 5000, 70_000, 300_000, 5_000_000} {
		in := bytes.Repeat(data, 1+n/len(data))[:n]
		r := lz4.NewReader(bytes.NewReader(d.appendFrame(nil, in)))
		var out bytes.Buffer
		_, err := out.ReadFrom(r)
		require.NoError(t, err)
		require.Equal(t, in, out.Bytes())
	}
	require.Equal(t, []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82}, d.appendFrame(nil, data[:100])[:7])
}

func TestASnapshotWithoutAHistorySectionIsRefused(t *testing.T) {
	state, err := docWithAnEdit(t).encodeState(nil, newState(), nil, nil)
	require.NoError(t, err)
	for _, blob := range [][]byte{snapshotOf(nil, nil, nil), snapshotOf(nil, state, nil), snapshotOf(nil, []byte(stateOmitted), nil)} {
		for _, d := range []*Doc{NewDoc(1), docWithAnEdit(t)} {
			_, err := d.Import(blob)
			require.ErrorIs(t, err, ErrInvalid)
		}
		_, err := Peek(blob)
		require.ErrorIs(t, err, ErrInvalid)
	}
}

// The official library refuses a change that has all it depends on but not the
// counters before its own; one that waits for something else keeps waiting.
func TestAChangeThatSkipsCountersOfItsPeer(t *testing.T) {
	first := blockOf(7, 0, 3, 0, false)
	filler := blockOf(7, 3, 2, 3, true)
	after := blockOf(7, 5, 3, 5, true)
	skips := blockOf(7, 5, 3, 5, false)
	early := blockOf(7, 5, 3, 1, false) // sorts before filler
	foreign := blockOf(7, 5, 3, 9, false, ID{8, 0})
	eight := blockOf(8, 0, 1, 0, false)
	named := blockOf(7, 5, 3, 5, false, ID{7, 4})
	for name, c := range map[string]struct {
		blobs   [][]byte
		refused bool // the last one
		end     int32
	}{
		"alone":              {[][]byte{updatesOf(skips)}, true, 0},
		"after its start":    {[][]byte{updatesOf(first), updatesOf(skips)}, true, 3},
		"with its start":     {[][]byte{updatesOf(first, skips)}, true, 0},
		"with all before":    {[][]byte{updatesOf(skips, filler, first)}, true, 0},
		"before the rest":    {[][]byte{updatesOf(early, filler, first)}, true, 0},
		"continues":          {[][]byte{updatesOf(after), updatesOf(filler), updatesOf(first)}, false, 8},
		"names its own":      {[][]byte{updatesOf(named), updatesOf(first), updatesOf(filler)}, false, 8},
		"waits for another":  {[][]byte{updatesOf(foreign), updatesOf(eight), updatesOf(first, filler)}, true, 0},
		"has the other":      {[][]byte{updatesOf(eight), updatesOf(foreign)}, true, 0},
		"has it meanwhile":   {[][]byte{updatesOf(foreign), updatesOf(eight), updatesOf(foreign)}, true, 0},
		"comes with another": {[][]byte{updatesOf(eight, foreign)}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := NewDoc(1)
			for i, blob := range c.blobs {
				before, pending := d.Version(), d.Pending()
				_, err := d.Import(blob)
				if !c.refused || i < len(c.blobs)-1 {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, ErrInvalid)
				require.Equal(t, before, d.Version())
				require.Equal(t, pending, d.Pending())
			}
			require.Equal(t, c.end, d.Version()[7])
		})
	}
}

// The official library accepts such states and then crashes when it shows them.
func TestStatesNoHistoryLeadsToAreRefused(t *testing.T) {
	made := func(spoil func(d *Doc, nodes []ent)) []byte {
		d := NewDoc(1)
		tree := d.Tree("t")
		var nodes []ent
		for i := range 4 {
			id, err := tree.Create(TreeRoot)
			require.NoError(t, err)
			if i >= 2 {
				require.NoError(t, tree.Delete(id))
			}
			e, _ := tree.find(id)
			nodes = append(nodes, e)
		}
		child, err := d.Map("m").SetMap("child")
		require.NoError(t, err)
		_, err = child.SetMap("grandchild")
		require.NoError(t, err)
		d.Commit()
		spoil(d, nodes)
		snap, err := d.ExportSnapshot()
		require.NoError(t, err)
		return snap
	}
	load(t, made(func(*Doc, []ent) {}))
	link := func(d *Doc, from, to Map) {
		e, ok := from.ent()
		require.True(t, ok)
		d.s.setReg(e, register{key: d.s.keys.internString("link"), peer: d.self, lam: 99, val: d.s.pk.container(nil, to.id)})
	}
	child := func(d *Doc) Map {
		v, _ := d.Map("m").Get("child")
		id, _ := v.AsContainer()
		m, _ := d.MapOf(id)
		return m
	}
	for name, blob := range map[string][]byte{
		"siblings": made(func(d *Doc, nodes []ent) { d.s.nodes.at(nodes[1]).moveLam = d.s.nodes.at(nodes[0]).moveLam }),
		"deleted":  made(func(d *Doc, nodes []ent) { d.s.nodes.at(nodes[3]).moveLam = d.s.nodes.at(nodes[2]).moveLam }),
		"inside":   made(func(d *Doc, nodes []ent) { link(d, child(d), child(d)) }),
		"beside":   made(func(d *Doc, nodes []ent) { link(d, d.Map("m"), child(d)) }),
	} {
		d := NewDoc(2)
		_, err := d.Import(blob)
		require.ErrorIs(t, err, ErrInvalid, name)
		require.Empty(t, d.Version())
		require.Empty(t, d.Roots())
	}
}

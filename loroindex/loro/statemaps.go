package loro

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
)

// The maps of the nodes of a large tree are most of a snapshot's state, and they all look
// alike: they are decoded by several goroutines at a time.

const (
	seedBlocks   = 8  // decoded first, by one: they hold the keys that the others hold
	batchBlocks  = 32 // what a goroutine takes at a time
	mapReaders   = 4  // goroutines at most
	deferredMost = 1 << 20
)

// maps loads the entries of a table that are no trees. entry does so for any of them.
func (l *stateLoader) maps(t *sstable, isRoot bool, entry func(key, val []byte) error) error {
	n := len(t.blocks)
	readers := min(mapReaders, runtime.GOMAXPROCS(0), n/batchBlocks)
	if readers < 2 {
		return t.scan(0, n, l.bud, entry)
	}
	if err := t.scan(0, seedBlocks, l.bud, entry); err != nil {
		return err
	}
	if len(l.s.keys.list) == 0 || len(l.s.peers.list) == 0 {
		return t.scan(seedBlocks, n, l.bud, entry)
	}
	var next atomic.Int64
	next.Store(seedBlocks)
	records := sharedArena{a: &l.s.arena}
	all := make([]mapReader, readers)
	var wg sync.WaitGroup
	for i := range all {
		r := &all[i]
		r.init(l, &records)
		hidden := func(key []byte) bool {
			_, hidden := l.over[string(key)]
			return isRoot && hidden
		}
		wg.Go(func() {
			r.err = caught(func() error { return r.batches(t, &next, hidden) })
		})
	}
	wg.Wait()
	// What is not as usual comes after that, by one: it may add keys, peers and nodes.
	left := l.bud.left
	for i := range all {
		r := &all[i]
		if r.err != nil {
			return r.err
		}
		r.records.close()
		l.bud.left -= left - r.bud.left
	}
	if l.bud.left < 0 {
		return l.bud.spend(0)
	}
	for i := range all {
		for _, e := range all[i].deferred.entries {
			if err := entry(e.key, e.val); err != nil {
				return err
			}
		}
	}
	return t.scan(min(int(next.Load()), n), n, l.bud, entry)
}

// mapReader decodes maps of nodes that are there, with keys and peers that are known.
type mapReader struct {
	stateLoader
	view     state // of the state that is loaded: what is looked up in it, and not changed
	bud      budget
	records  shard
	deferred deferred
	err      error
}

func (r *mapReader) init(l *stateLoader, records *sharedArena) {
	r.bud = *l.bud
	r.records.of = records
	r.view.keys, r.view.peers, r.view.nodes = l.s.keys, l.s.peers, l.s.nodes
	r.clean, r.wrappers = l.clean, l.wrappers
	r.view.keys.frozen, r.view.peers.frozen = true, true
	r.view.pk.s = &r.view
	r.stateLoader.s = &r.view
}

// batches loads blocks of the table until all are taken, or many entries were left for
// later.
func (r *mapReader) batches(t *sstable, next *atomic.Int64, hidden func(key []byte) bool) error {
	for n := len(t.blocks); r.deferred.bytes <= deferredMost; {
		from := int(next.Add(batchBlocks)) - batchBlocks
		if from >= n {
			break
		}
		err := t.scan(from, min(from+batchBlocks, n), &r.bud, func(key, val []byte) error {
			if hidden(key) || !r.quick(key, val) {
				r.deferred.add(key, val)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// quick loads an entry, unless it is anything else than the map of a node that is usual.
// Then it changes nothing. No two entries are of one node: keys differ.
func (r *mapReader) quick(key, val []byte) bool {
	if len(key) == 0 || key[0] != byte(TypeMap) {
		return false
	}
	id, err := parseCIDKey(key)
	if err != nil {
		return false
	}
	c := cursor{b: val}
	kind := ContainerType(c.byte())
	c.uvarint()
	has := c.byte()
	if has == 1 {
		scanPostcardCID(&c)
	}
	if c.err != nil || has > 1 || kind != TypeMap {
		return false
	}
	p, ok := r.view.peers.find(id.ID.Peer)
	if !ok {
		return false
	}
	e, ok := r.view.nodes.find(p, id.ID.Counter)
	if !ok {
		return false
	}
	n := r.view.nodes.at(e)
	if n.tree == 0 || n.rec != 0 {
		return false
	}
	r.view.keys.missed, r.view.peers.missed = false, false
	usual := r.usual(e, val, &c)
	size := r.registers(&c)
	if c.err != nil || len(c.b) > 0 || len(r.regs) > smallMap || r.view.keys.missed || r.view.peers.missed {
		r.hasP = false // what was looked up last may be what was not found
		return false
	}
	for i := range r.regs {
		if v := r.regs[i].val; len(v) > 0 && v[0] == packContainer {
			return false
		}
	}
	if len(r.regs) == 0 {
		r.noteClean(e, usual)
		return true
	}
	ref, body := r.records.alloc(size)
	if ref == 0 {
		return false
	}
	body = body[:0]
	for i := range r.regs {
		body = appendReg(body, r.regs[i])
	}
	n.rec = ref
	r.noteClean(e, usual)
	return true
}

// deferred are entries that are left for later.
type deferred struct {
	entries []struct{ key, val []byte }
	bytes   int
}

func (d *deferred) add(key, val []byte) {
	d.entries = append(d.entries, struct{ key, val []byte }{bytes.Clone(key), bytes.Clone(val)})
	d.bytes += len(key) + len(val) + 64
}

// sharedArena is an arena that several goroutines make records in.
type sharedArena struct {
	mu sync.Mutex
	a  *arena // guarded by mu
}

// shard is the part of one of them: a chunk at a time.
type shard struct {
	of    *sharedArena
	chunk int
	b     []byte // of the chunk; nil before the first
	last  recRef
	live  int
}

// alloc is arena.alloc. It returns 0 for a record that is too large for a chunk.
func (s *shard) alloc(n int) (recRef, []byte) {
	need := padded(n)
	if need+4 > arenaChunk {
		return 0, nil
	}
	if s.b == nil || len(s.b)+need > cap(s.b) {
		s.open()
	}
	s.b, s.last = appendRecord(s.b, s.chunk, n)
	s.live += need
	off := len(s.b) - need
	return s.last, s.b[off+4 : off+4+n]
}

// open takes a new chunk.
func (s *shard) open() {
	b := make([]byte, 4, arenaChunk) // no record has reference 0
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.put()
	s.chunk, s.b = len(s.of.a.chunks), b
	s.of.a.chunks = append(s.of.a.chunks, b)
}

// put hands over the open chunk. The lock must be held.
func (s *shard) put() {
	if s.b != nil {
		s.of.a.chunks[s.chunk] = s.b
	}
}

// close hands over what is left.
func (s *shard) close() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.put()
	s.of.a.live += s.live
	if s.b != nil && s.chunk == len(s.of.a.chunks)-1 {
		s.of.a.last = s.last
	}
}

package chunkcache

import (
	"github.com/hamflx/pocket/internal/objectid"
)

// entry is what is known about one chunk. Entries lie in one array and
// name each other by their place in it, which keeps a million of them small.
type entry struct {
	id         objectid.ID
	size       uint32
	pins       uint32
	used       uint32 // seconds since 1970 of the last use, to about freshEnough
	stamp      uint32 // Cache.clock at the last use
	born       uint32 // tells it from other entries that were at its place
	prev, next int32  // in the list of age; 0 is its end
	at         uint32 // where its bytes begin in pack
	pack       *pack  // nil: it has a file of its own
	listed     bool   // is in the list: not pinned, and its age is known
	verified   bool   // its bytes are those of id
	synced     bool   // survives a power loss
}

// table finds entries by ID and keeps those that may be evicted in the order of
// their last use. Place 0 of at stands for the list's two ends: its next is the
// most recently used entry, its prev the least.
type table struct {
	ids  map[objectid.ID]int32
	at   []entry
	free []int32 // places not in use
	born uint32  // counts entries made
}

// cost returns the bytes that the chunk takes on disk.
func (e *entry) cost() int64 {
	if e.pack != nil {
		return recordSize(int64(e.size))
	}
	return int64(e.size)
}

func (t *table) init() {
	t.ids = map[objectid.ID]int32{}
	t.at = make([]entry, 1, 64)
}

func (t *table) find(id objectid.ID) (int32, bool) {
	i, ok := t.ids[id]
	return i, ok
}

// add makes an entry that is in no list.
func (t *table) add(id objectid.ID, size uint32) int32 {
	var i int32
	if n := len(t.free); n > 0 {
		i = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		i = int32(len(t.at))
		t.at = append(t.at, entry{})
	}
	t.born++
	t.at[i] = entry{id: id, size: size, born: t.born}
	t.ids[id] = i
	return i
}

func (t *table) remove(i int32) {
	t.unlink(i)
	delete(t.ids, t.at[i].id)
	t.at[i] = entry{}
	t.free = append(t.free, i)
}

// pushFront makes i the most recently used.
func (t *table) pushFront(i int32) { t.insertAfter(i, 0) }

// pushBack makes i the least recently used.
func (t *table) pushBack(i int32) { t.insertAfter(i, t.at[0].prev) }

func (t *table) insertAfter(i, before int32) {
	if t.at[i].listed {
		if before == i {
			return
		}
		t.unlink(i)
	}
	after := t.at[before].next
	t.at[i].prev, t.at[i].next, t.at[i].listed = before, after, true
	t.at[before].next = i
	t.at[after].prev = i
}

func (t *table) unlink(i int32) {
	e := &t.at[i]
	if !e.listed {
		return
	}
	t.at[e.prev].next = e.next
	t.at[e.next].prev = e.prev
	e.prev, e.next, e.listed = 0, 0, false
}

// lru keeps values by chunk, of a total cost up to its limit: the most recently
// used. The zero value must be given a limit by init.
type lru[V any] struct {
	limit   int64
	total   int64
	places  map[objectid.ID]*lruPlace[V]
	ends    lruPlace[V] // ends.next was used last, ends.prev is the next to go
	dropped func(V)     // told of every value that leaves, if set
}

type lruPlace[V any] struct {
	id         objectid.ID
	value      V
	cost       int64
	prev, next *lruPlace[V]
}

func (l *lru[V]) init(limit int64) {
	l.limit, l.total = limit, 0
	l.places = map[objectid.ID]*lruPlace[V]{}
	l.ends.prev, l.ends.next = &l.ends, &l.ends
}

func (p *lruPlace[V]) unlink() {
	p.prev.next, p.next.prev = p.next, p.prev
}

func (l *lru[V]) front(p *lruPlace[V]) {
	p.prev, p.next = &l.ends, l.ends.next
	p.prev.next, p.next.prev = p, p
}

// get returns the value of id and makes it the most recently used.
func (l *lru[V]) get(id objectid.ID) (v V, ok bool) {
	p := l.places[id]
	if p == nil {
		return v, false
	}
	if l.ends.next != p {
		p.unlink()
		l.front(p)
	}
	return p.value, true
}

// put adds a value for id, which has none, unless it costs more than a third
// of the limit. Others leave for it.
func (l *lru[V]) put(id objectid.ID, v V, cost int64) bool {
	if cost > l.limit/3 {
		return false
	}
	p := &lruPlace[V]{id: id, value: v, cost: cost}
	l.places[id] = p
	l.front(p)
	l.total += cost
	for l.total > l.limit {
		l.drop(l.ends.prev.id)
	}
	return true
}

// back makes the value of id, which has one, the next to leave.
func (l *lru[V]) back(id objectid.ID) {
	p := l.places[id]
	p.unlink()
	p.prev, p.next = l.ends.prev, &l.ends
	p.prev.next, p.next.prev = p, p
}

// drop removes the value of id, if there is one.
func (l *lru[V]) drop(id objectid.ID) {
	p := l.places[id]
	if p == nil {
		return
	}
	p.unlink()
	delete(l.places, id)
	l.total -= p.cost
	if l.dropped != nil {
		l.dropped(p.value)
	}
}

// clear removes all values.
func (l *lru[V]) clear() {
	for l.ends.prev != &l.ends {
		l.drop(l.ends.prev.id)
	}
}

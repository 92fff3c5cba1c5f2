package loro

import (
	"container/heap"
	"slices"
)

// pendingChange waits for an operation this document does not have.
type pendingChange struct {
	incoming
	missing ID
}

// pendingSet holds the changes that wait, by the peer they wait for.
type pendingSet struct {
	by   map[PeerID]*pendingHeap
	seen map[pendingKey]struct{}
}

// pendingHeap has the change with the smallest missing counter first.
type pendingHeap []pendingChange

func (h pendingHeap) Len() int           { return len(h) }
func (h pendingHeap) Less(i, j int) bool { return h[i].missing.Counter < h[j].missing.Counter }
func (h pendingHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *pendingHeap) Push(x any)        { *h = append(*h, x.(pendingChange)) }
func (h *pendingHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = pendingChange{}
	*h = (*h)[:last]
	return w
}

type pendingKey struct {
	id  ID
	end int32
}

func (w *pendingChange) key() pendingKey {
	ch := w.change()
	return pendingKey{ID{w.b.peer(), ch.ctr}, ch.end}
}

// add keeps a change, with bytes of its own, unless it waits already.
func (s *pendingSet) add(w pendingChange) bool {
	if s.by == nil {
		s.by = make(map[PeerID]*pendingHeap)
		s.seen = make(map[pendingKey]struct{})
	}
	k := w.key()
	if _, ok := s.seen[k]; ok {
		return false
	}
	s.seen[k] = struct{}{}
	w.b = w.b.keep()
	h := s.by[w.missing.Peer]
	if h == nil {
		h = &pendingHeap{}
		s.by[w.missing.Peer] = h
	}
	heap.Push(h, w)
	return true
}

// keep returns the block with bytes that are not the caller's.
func (b *changeBlock) keep() *changeBlock {
	if b.kept == nil {
		c, err := decodeBlock(slices.Clone(b.raw))
		if err != nil {
			panic(err) // it was decoded from the same bytes before
		}
		b.kept, c.kept = c, c
	}
	return b.kept
}

func (s *pendingSet) has(c *incoming) bool {
	w := pendingChange{incoming: *c}
	_, ok := s.seen[w.key()]
	return ok
}

// take removes and returns the changes that waited for operations of a peer
// below end.
func (s *pendingSet) take(peer PeerID, end int32) (out []pendingChange) {
	h := s.by[peer]
	for h != nil && h.Len() > 0 && (*h)[0].missing.Counter < end {
		w := heap.Pop(h).(pendingChange)
		delete(s.seen, w.key())
		out = append(out, w)
	}
	if h != nil && h.Len() == 0 {
		delete(s.by, peer)
	}
	return out
}

// remove takes back an add.
func (s *pendingSet) remove(w *pendingChange) {
	k := w.key()
	h := s.by[w.missing.Peer]
	if _, ok := s.seen[k]; !ok || h == nil {
		return
	}
	i := slices.IndexFunc(*h, func(x pendingChange) bool { return x.key() == k })
	if i < 0 {
		return
	}
	delete(s.seen, k)
	heap.Remove(h, i)
	if h.Len() == 0 {
		delete(s.by, w.missing.Peer)
	}
}

// all returns the changes that wait, in no particular order.
func (s *pendingSet) all() (out []pendingChange) {
	for _, h := range s.by {
		out = append(out, *h...)
	}
	return out
}

// Pending returns the spans of changes received by Import that wait for changes
// they depend on. They are in no export: keep the received bytes until applied.
func (d *Doc) Pending() map[PeerID]Span {
	out := make(map[PeerID]Span)
	for _, w := range d.pending.all() {
		extend(out, w.b.peer(), w.from, w.change().end)
	}
	return out
}

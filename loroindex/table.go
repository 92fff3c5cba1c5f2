package loroindex

// table is an open-addressing hash set of nodes. It stores a node and eight
// bits of its hash per slot, five bytes, and leaves keys and their comparison
// to the caller, who has them in the nodes already. Probing is linear.
type table struct {
	tags  []uint8
	slots []Node // NoNode: free since the last rehash; tombstone: was used
	live  int
	used  int // live and tombstones
}

const (
	tombstone    = ^Node(0)
	minTableSize = 64
)

func tagOf(h uint64) uint8 { return uint8(h >> 56) }

// probe yields the candidates for hash h one by one: start with i = h, pass the
// i returned back in. It returns NoNode when there are no more.
func (t *table) probe(h, i uint64) (Node, uint64) {
	if len(t.slots) == 0 {
		return NoNode, i
	}
	mask := uint64(len(t.slots) - 1)
	tag := tagOf(h)
	for {
		n := t.slots[i&mask]
		if n == NoNode {
			return NoNode, i
		}
		if n != tombstone && t.tags[i&mask] == tag {
			return n, i + 1
		}
		i++
	}
}

// insert adds n, which must not be in the table. hash gives any node's hash,
// for when the table has to grow.
func (t *table) insert(h uint64, n Node, hash func(Node) uint64) {
	if t.used+1 > len(t.slots)/4*3 {
		t.rehash(hash)
	}
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for t.slots[i] != NoNode && t.slots[i] != tombstone {
		i = (i + 1) & mask
	}
	if t.slots[i] == NoNode {
		t.used++
	}
	t.slots[i], t.tags[i] = n, tagOf(h)
	t.live++
}

// remove takes n out. It reports whether it was there.
func (t *table) remove(h uint64, n Node) bool {
	if len(t.slots) == 0 {
		return false
	}
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; t.slots[i] != NoNode; i = (i + 1) & mask {
		if t.slots[i] != n {
			continue
		}
		t.live--
		if t.slots[(i+1)&mask] == NoNode {
			t.slots[i] = NoNode // nothing probes past a slot before a free one
			t.used--
		} else {
			t.slots[i] = tombstone
		}
		return true
	}
	return false
}

// rehash makes room for one more node and drops the tombstones.
func (t *table) rehash(hash func(Node) uint64) {
	size := max(minTableSize, len(t.slots))
	for t.live+1 > size/2 {
		size *= 2
	}
	old := t.slots
	t.slots, t.tags = make([]Node, size), make([]uint8, size)
	mask := uint64(size - 1)
	for _, n := range old {
		if n == NoNode || n == tombstone {
			continue
		}
		h := hash(n)
		i := h & mask
		for t.slots[i] != NoNode {
			i = (i + 1) & mask
		}
		t.slots[i], t.tags[i] = n, tagOf(h)
	}
	t.used = t.live
}

// mix64 is the finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of
// the result depends on every bit of v, and no two v share a result.
func mix64(v uint64) uint64 {
	v += 0x9e3779b97f4a7c15
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

package loro

// Peers, keys and positions are replaced by small integers wherever they are
// stored per operation, node or register. Interned entries are never removed.

type peerTable struct {
	list   []PeerID
	idx    map[PeerID]uint32
	frozen bool // nothing is added: what would be sets missed
	missed bool
}

func (t *peerTable) find(p PeerID) (uint32, bool) {
	i, ok := t.idx[p]
	return i, ok
}

func (t *peerTable) intern(p PeerID) uint32 {
	if i, ok := t.idx[p]; ok {
		return i
	}
	if t.frozen {
		t.missed = true
		return 0
	}
	if t.idx == nil {
		t.idx = make(map[PeerID]uint32)
	}
	i := uint32(len(t.list))
	t.list = append(t.list, p)
	t.idx[p] = i
	return i
}

// stringTable interns map keys and fractional indexes.
type stringTable struct {
	list   []string
	idx    map[string]uint32
	frozen bool // nothing is added: what would be sets missed
	missed bool
}

func (t *stringTable) find(s string) (uint32, bool) {
	i, ok := t.idx[s]
	return i, ok
}

func (t *stringTable) internString(s string) uint32 {
	if i, ok := t.idx[s]; ok {
		return i
	}
	return t.add(s)
}

// intern copies b only when it is new.
func (t *stringTable) intern(b []byte) uint32 {
	if i, ok := t.idx[string(b)]; ok {
		return i
	}
	return t.add(string(b))
}

func (t *stringTable) add(s string) uint32 {
	if t.frozen {
		t.missed = true
		return 0
	}
	if t.idx == nil {
		t.idx = make(map[string]uint32)
	}
	i := uint32(len(t.list))
	t.list = append(t.list, s)
	t.idx[s] = i
	return i
}

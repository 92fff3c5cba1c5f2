package loro

// Mode is the encoding mode of a blob.
type Mode uint16

// The modes this package reads and writes.
const (
	ModeSnapshot Mode = 3 // FastSnapshot: history and state, possibly shallow
	ModeUpdates  Mode = 4 // FastUpdates: changes only
)

// Meta describes a blob.
type Meta struct {
	Mode    Mode
	Shallow bool          // a snapshot whose history does not start at the beginning
	Start   VersionVector // per peer the first counter contained; 0 for peers from their beginning
	End     VersionVector // per peer the exclusive end of the counters contained
	// Frontiers: for a snapshot the heads of its history, for updates nil,
	// because they do not say.
	Frontiers Frontiers
	// ShallowRoot is the root of a shallow snapshot, else nil.
	ShallowRoot Frontiers
	Changes     int // number of changes contained
}

// Peek describes a blob without importing it. The envelope's checksum and the
// structure are verified, operations and state are not decoded.
//
// Errors: ErrInvalid (ErrChecksum, ErrUnsupportedMode).
func Peek(blob []byte) (Meta, error) {
	mode, body, err := openEnvelope(blob)
	if err != nil {
		return Meta{}, err
	}
	m := Meta{Mode: mode, Start: VersionVector{}, End: VersionVector{}}
	if mode == ModeUpdates {
		for c := (cursor{b: body}); len(c.b) > 0; {
			raw := c.bytes()
			if c.err != nil {
				return Meta{}, c.err
			}
			b, err := decodeHead(raw)
			if err != nil {
				return Meta{}, err
			}
			m.add(b)
		}
		return m, nil
	}
	sec, err := splitSnapshot(body)
	if err != nil {
		return Meta{}, err
	}
	m.Shallow = len(sec.root) > 0
	t, err := openChangeStore(sec.oplog)
	if err != nil {
		return Meta{}, err
	}
	err = t.scan(0, len(t.blocks), inflateBudget(len(sec.oplog)), func(key, val []byte) (err error) {
		switch {
		case len(key) == 12:
			b, err := decodeHead(val)
			if err == nil {
				m.add(b)
			}
			return err
		case string(key) == "fr":
			m.Frontiers, err = readFrontiers(val)
		case string(key) == "sf" && m.Shallow:
			m.ShallowRoot, err = readFrontiers(val)
		case string(key) == "vv":
			var v VersionVector
			v, err = readVersionVector(val)
			m.End.Merge(v)
		case string(key) == "sv" && len(val) > 0:
			var v VersionVector
			v, err = readVersionVector(val)
			m.Start.Merge(v)
		}
		return err
	})
	return m, err
}

func (m *Meta) add(b *changeBlock) {
	m.Changes += len(b.changes)
	p := b.peer()
	if start, ok := m.Start[p]; !ok || b.ctr < start {
		m.Start[p] = b.ctr
	}
	m.End.Merge(VersionVector{p: b.end})
}

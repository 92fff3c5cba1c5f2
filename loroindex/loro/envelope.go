package loro

import "encoding/binary"

// The document envelope, docs/encoding.md section 2: "loro", 12 zero bytes, the
// checksum of what follows it, the mode as u16be, the body.
const envelopeSize = 22

func openEnvelope(blob []byte) (Mode, []byte, error) {
	if len(blob) < envelopeSize {
		return 0, nil, invalidf("shorter than its envelope")
	}
	if string(blob[:4]) != "loro" {
		return 0, nil, invalidf("bad magic")
	}
	mode := Mode(binary.BigEndian.Uint16(blob[20:]))
	if mode != ModeSnapshot && mode != ModeUpdates {
		return 0, nil, ErrUnsupportedMode
	}
	if checksum(blob[20:]) != binary.LittleEndian.Uint32(blob[16:]) {
		return 0, nil, ErrChecksum
	}
	return mode, blob[envelopeSize:], nil
}

// newEnvelope begins a blob; sealEnvelope completes it.
func newEnvelope(mode Mode, sizeHint int) []byte {
	b := make([]byte, envelopeSize, envelopeSize+sizeHint)
	copy(b, "loro")
	binary.BigEndian.PutUint16(b[20:], uint16(mode))
	return b
}

func sealEnvelope(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[16:], checksum(b[20:]))
	return b
}

// sections are the three parts of a snapshot.
type sections struct {
	oplog, state, root []byte
}

// stateOmitted is the state section of a shallow snapshot whose state is the
// root's after its history is replayed.
const stateOmitted = "E"

func splitSnapshot(body []byte) (s sections, err error) {
	c := cursor{b: body}
	for _, p := range []*[]byte{&s.oplog, &s.state, &s.root} {
		*p = c.take(uint64(c.u32le()))
	}
	return s, c.done("snapshot")
}

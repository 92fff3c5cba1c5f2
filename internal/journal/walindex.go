package journal

import (
	"encoding/binary"

	"github.com/hamflx/pocket/internal/busyfile"
)

// walIndex is what the index of a log, which is shared memory in a file, says of the log.
type walIndex struct {
	frames uint32 // committed
	moved  uint32 // to the database
	pages  uint32 // of the database then
	salts  []byte
	sum    [2]uint32 // of the last frame
}

// end is where the committed frames end.
func (i walIndex) end() int64 { return walHeader + int64(i.frames)*frameSize }

// readIndex reads the header of the index at path, of which there are two copies: those
// that are right, the older one first. https://www.sqlite.org/walformat.html#the_wal_index_file_format
func readIndex(path string) (said []walIndex) {
	const size, end = 48, 2*48 + 4
	f, err := busyfile.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, end)
	if n, _ := f.ReadAt(b, 0); n < end {
		return nil
	}
	native := binary.NativeEndian
	summed := frames{order: native}
	for _, h := range [][]byte{b[:size], b[size : 2*size]} { // the second is written first
		sum := summed.sum([2]uint32{}, h[:40])
		if native.Uint32(h) != walVersion || h[12] != 1 || native.Uint16(h[14:]) != pageSize ||
			sum != [2]uint32{native.Uint32(h[40:]), native.Uint32(h[44:])} {
			continue
		}
		i := walIndex{frames: native.Uint32(h[16:]), pages: native.Uint32(h[20:]), salts: h[32:40],
			sum: [2]uint32{native.Uint32(h[24:]), native.Uint32(h[28:])}}
		i.moved = min(i.frames, native.Uint32(b[2*size:]))
		said = append(said, i)
	}
	return said
}

package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/bits"
	"os"

	"github.com/hamflx/pocket/internal/busyfile"
)

// logState is what can be told of a write-ahead log without SQLite, which takes the
// first frame that is not right for the end and forgets what follows.
type logState struct {
	commits int    // transactions before the hole
	hole    int64  // where SQLite takes the log's end to be; 0: it takes nothing of it
	sure    int64  // up to where it was written for certain, and is not that of before a power loss
	moved   int64  // up to where it is in the database, too, as far as that is known
	pages   uint32 // of the database after what is before sure; 0: not known

	said []walIndex // by the log's index, as far as it counts
}

// damaged reports whether the log ends too early.
func (s logState) damaged() bool { return s.hole < s.sure }

const (
	walHeader   = 32
	frameHeader = 24
	frameSize   = frameHeader + pageSize
	walVersion  = 3007000
)

// frames reads a write-ahead log frame by frame. The format is
// https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
type frames struct {
	f      *os.File
	order  binary.ByteOrder // of the numbers that are summed
	magic  uint32
	intact bool      // the header is what its checksum says
	salts  []byte    // those of the frames that count
	before [2]uint32 // the checksum of the frame before
	known  bool      // what the frame before was is known
	at     int64     // of the next frame
	frame  []byte    // the one that next read
	ahead  []byte    // the one after it, if that was looked at
	said   []walIndex
}

// openLog opens the log at path; nil when there is none that holds anything. said is what
// its index says, if anything.
func openLog(path string, said []walIndex) (*frames, error) {
	f, err := busyfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	header := make([]byte, walHeader)
	if _, err := io.ReadFull(f, header); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, f.Close() // too short to hold anything
	} else if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &frames{f: f, order: binary.LittleEndian, magic: 0x377f0682, at: walHeader, frame: make([]byte, frameSize), ahead: make([]byte, frameSize), said: said}
	if header[3]&1 == 1 {
		l.order, l.magic = binary.BigEndian, l.magic|1
	}
	l.before, l.salts = stored(header[24:]), header[16:24]
	l.intact = l.sum([2]uint32{}, header[:24]) == l.before && binary.BigEndian.Uint32(header) == l.magic
	l.known = l.intact
	if !l.intact {
		l.guessSalts()
		// It may be the checksum that is not right.
		sum := l.sum([2]uint32{}, header[:24])
		if n, _ := f.ReadAt(l.ahead, l.at); n == frameSize && l.sumFrame(sum, l.ahead) == stored(l.ahead[16:]) && !isEmpty(l.ahead) {
			l.before, l.known = sum, true
		}
	}
	return l, nil
}

// guessSalts finds the salts of the frames that count where the header cannot tell.
func (l *frames) guessSalts() {
	for _, s := range l.said {
		if s.frames > 0 {
			l.salts = s.salts
			return
		}
	}
	// The frames have them, too. Older ones with others come after those that count.
	before := l.before
	for at := l.at; ; at += frameSize {
		if n, _ := l.f.ReadAt(l.ahead, at); n < frameSize {
			return
		}
		if l.sumFrame(before, l.ahead) == stored(l.ahead[16:]) && !isEmpty(l.ahead) {
			l.salts = bytes.Clone(l.ahead[8:16])
			return
		}
		before = stored(l.ahead[16:])
	}
}

// sum continues a checksum.
func (l *frames) sum(s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += l.order.Uint32(b) + s[1]
		s[1] += l.order.Uint32(b[4:]) + s[0]
	}
	return s
}

// sumFrame continues a checksum by a frame.
func (l *frames) sumFrame(s [2]uint32, frame []byte) [2]uint32 {
	return l.sum(l.sum(s, frame[:8]), frame[frameHeader:])
}

// isEmpty reports whether a frame is of no page: zeros have a checksum of zero.
func isEmpty(frame []byte) bool { return binary.BigEndian.Uint32(frame) == 0 }

func stored(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// verdict is what can be told of a frame.
type verdict uint8

const (
	unknown  verdict = iota // what was written there
	restored                // SQLite would not take it, but it is certain what was written there
	right
)

// next reads a frame. One that follows a damaged one can be right. Error: io.EOF.
func (l *frames) next() (is verdict, err error) {
	if _, err := io.ReadFull(l.f, l.frame); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return unknown, err
	}
	l.at += frameSize
	ours := bytes.Equal(l.frame[8:16], l.salts)
	sum, says := l.sumFrame(l.before, l.frame), stored(l.frame[16:])
	switch {
	case isEmpty(l.frame):
	case sum == says && ours:
		is = right
	case sum == says && l.known: // the salts are not summed
		is = restored
	case ours && l.leads(sum): // but for its checksum
		is, says = restored, sum
	case ours && l.known && l.correct([2]uint32{says[0] - sum[0], says[1] - sum[1]}):
		is = restored
	}
	l.before, l.known = says, is != unknown
	return is, nil
}

// leads reports whether the frame at l.at follows one with a checksum of sum, or if that ends the log that its
// index says so.
func (l *frames) leads(sum [2]uint32) bool {
	for _, i := range l.said {
		if i.end() == l.at && i.sum == sum && bytes.Equal(i.salts, l.salts) {
			return true
		}
	}
	n, _ := l.f.ReadAt(l.ahead, l.at)
	return n == frameSize && bytes.Equal(l.ahead[8:16], l.salts) && l.sumFrame(sum, l.ahead) == stored(l.ahead[16:])
}

// correct puts right the one byte that makes the frame's checksum differ by diff from what it says, if there is
// one and no other would do. The sums are linear, of 64 bits: that they fit where more is wrong is as
// good as impossible, but for the highest byte of a word, of which only the lowest bytes of the sums' factors count.
func (l *frames) correct(diff [2]uint32) bool {
	// What a word more by 1 adds to the sums at the end: the first of a pair of words, and the second.
	first, second := [2]uint32{1, 1}, [2]uint32{0, 1}
	var wrong []byte // word
	more, found := uint32(0), 0
	try := func(word []byte, c *[2]uint32) {
		by := diff[0] * inverse(c[0])
		if c[0]&1 == 0 {
			by = diff[1] * inverse(c[1])
		}
		was := l.order.Uint32(word)
		changed := was ^ (was + by)
		low := bits.TrailingZeros32(changed) &^ 7
		if by*c[0] == diff[0] && by*c[1] == diff[1] && low < 24 && changed>>low <= 0xff {
			wrong, more = word, by
			found++
		}
		c[0] += c[1]
		c[1] += c[0]
	}
	for at := frameSize - 8; at >= 0; at -= 8 {
		if at == frameHeader-8 {
			at = 0 // the rest of the header is not summed
		}
		try(l.frame[at+4:at+8], &second)
		try(l.frame[at:at+4], &first)
	}
	if found != 1 || diff[0] == 0 && !l.leads(stored(l.frame[16:])) { // what it says may be wrong by as much
		return false
	}
	l.order.PutUint32(wrong, l.order.Uint32(wrong)+more)
	return true
}

// inverse returns what makes 1 with an odd number, of 32 bits.
func inverse(n uint32) uint32 {
	i := n // right in 3 bits, each round in twice as many
	for range 4 {
		i *= 2 - n*i
	}
	return i
}

// commits returns how many pages the database has after the frame that next read, if a transaction ends
// with it, or else 0.
func (l *frames) commits() uint32 { return binary.BigEndian.Uint32(l.frame[4:]) }

// examineLog reads the log of the journal at path, which is not open. A log that is not there
// is empty. boot is this boot's id or "".
//
// All that a process wrote in this boot is there: what is before a transaction that was committed was
// right once. The rest of one that was not can be anywhere behind, half overwritten by others, and of
// earlier rounds of the log as well. After a power loss there are holes in what was
// not synced, so only what is before the next to last sync is certain.
func examineLog(path, boot string) (s logState, err error) {
	here := boot != "" && bootOf(path) == boot
	if here {
		s.said = readIndex(path + "-shm")
	}
	l, err := openLog(path+"-wal", s.said)
	if err != nil {
		return s, err
	}
	if l == nil {
		for _, i := range s.said {
			if i.moved < i.frames {
				s.believe(i)
			}
		}
		return s, nil
	}
	defer l.f.Close()
	taken := l.intact
	if taken {
		s.hole = walHeader
	}
	notes, noted, committed, pages := 0, int64(0), int64(0), uint32(0)
	for {
		is, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return s, err
		}
		if taken = taken && is == right; taken {
			s.hole = l.at
		}
		if is == unknown {
			continue
		}
		if n := l.commits(); n != 0 {
			committed, pages = l.at, n
			if taken {
				s.commits++
			}
		}
		if !taken && bytes.Contains(l.frame[frameHeader:], []byte(metaWhole)) {
			notes, noted = notes+1, l.at
		}
	}
	if here {
		s.sure, s.pages = committed, pages
	} else if notes > 1 {
		s.sure = noted
	}
	for _, i := range s.said {
		if bytes.Equal(i.salts, l.salts) {
			s.believe(i)
		} else if i.frames == 0 {
			s.moved = s.sure // all of it is in the database, and it begins anew with the next transaction
		}
	}
	return s, nil
}

// believe takes over what the index says, which is exact but for a transaction of which it was not told any more.
func (s *logState) believe(i walIndex) {
	s.sure, s.moved, s.pages = i.end(), walHeader+int64(i.moved)*frameSize, i.pages
}

package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// logState is what can be told of a write-ahead log without SQLite, which takes the
// first frame that is not right for the end and forgets what follows. The format is
// https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
type logState struct {
	commits int   // transactions before the first frame that is not right
	hole    int64 // where that frame is
	beyond  int   // right frames after it that note how far the journal was synced
}

const (
	walHeader   = 32
	frameHeader = 24
)

// examineLog reads the log at path; the database is not open. A log that is not there
// is empty.
func examineLog(path string) (s logState, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	header := make([]byte, walHeader)
	if _, err := io.ReadFull(f, header); err != nil {
		return s, nil // too short to hold anything
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if header[3]&1 == 1 {
		order = binary.BigEndian
	}
	sum := func(s [2]uint32, b []byte) [2]uint32 {
		for ; len(b) >= 8; b = b[8:] {
			s[0] += order.Uint32(b) + s[1]
			s[1] += order.Uint32(b[4:]) + s[0]
		}
		return s
	}
	stored := func(b []byte) [2]uint32 {
		return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
	}
	intact := sum([2]uint32{}, header[:24]) == stored(header[24:]) && binary.BigEndian.Uint32(header)&^1 == 0x377f0682
	frame := make([]byte, frameHeader+pageSize)
	before, salts := stored(header[24:]), header[16:24]
	if !intact {
		// The frames have the header's salts, too: those of most.
		counts := map[[8]byte]int{}
		for at := int64(walHeader); ; at += int64(len(frame)) {
			if n, _ := f.ReadAt(frame[:frameHeader], at); n < frameHeader {
				break
			}
			these := [8]byte(frame[8:16])
			if counts[these]++; counts[these] > counts[[8]byte(salts)] {
				salts = bytes.Clone(these[:])
			}
		}
	}
	for at := int64(walHeader); ; at += int64(len(frame)) {
		if _, err := io.ReadFull(f, frame); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = nil
			}
			return s, err
		}
		right := bytes.Equal(frame[8:16], salts) && sum(sum(before, frame[:8]), frame[frameHeader:]) == stored(frame[16:])
		before = stored(frame[16:])
		switch {
		case right && intact:
			if binary.BigEndian.Uint32(frame[4:]) != 0 {
				s.commits++
			}
		case right:
			if bytes.Contains(frame[frameHeader:], []byte(metaWhole)) {
				s.beyond++
			}
		case intact:
			intact, s.hole = false, at
		}
	}
}

// examine looks at a journal's files before SQLite does, which would take some damage
// for an end. It returns where it kept a copy of a log that is damaged in its middle.
func examine(path string, used bool) (kept string, why error, err error) {
	log, err := examineLog(path + "-wal")
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	// A new database is moved from the log to its file before anything else. Less than a
	// page is as good as nothing, for SQLite too.
	empty := err != nil || info.Size() < pageSize
	if err == nil && empty && used || empty && log.commits > 1 {
		return "", nil, fmt.Errorf("%w: its database is empty, which it was not", ErrDamaged)
	}
	if !empty && !knownFormat(path) {
		return "", nil, fmt.Errorf("%w: its database says that it is of a format there is not", ErrDamaged)
	}
	// A power loss leaves holes as well, but not before something that was written
	// after the next sync had ended.
	if log.beyond < 2 {
		return "", nil, nil
	}
	kept, err = copyAside(path)
	return kept, fmt.Errorf("%w: its log is, at byte %d, and what comes after that is lost", ErrDamaged, log.hole), err
}

// knownFormat reports whether a database says that SQLite may write it, and how: of one with
// a larger number there SQLite only reads, and says so with every write.
// https://www.sqlite.org/fileformat2.html#file_format_version_numbers
func knownFormat(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true // which SQLite will tell better
	}
	defer f.Close()
	versions := make([]byte, 2)
	_, err = f.ReadAt(versions, 18)
	return err != nil || versions[0] <= 2 && versions[1] <= 2
}

// asideName is the name under which a journal, or a copy, is set aside.
func asideName(path string) string {
	return path + damagedInfix + time.Now().UTC().Format("20060102T150405.000Z")
}

// copyAside copies a journal's files. Nobody writes to them meanwhile.
func copyAside(path string) (string, error) {
	aside := asideName(path)
	for _, suffix := range []string{"", "-wal"} {
		body, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(aside+suffix, body, 0o600)
		}
		if err != nil {
			return "", fmt.Errorf("keep a copy of the damaged journal: %w", err)
		}
	}
	return aside, nil
}

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

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

// logState is what can be told of a write-ahead log without SQLite, which takes the
// first frame that is not right for the end and forgets what follows.
type logState struct {
	commits int   // transactions before the first frame that is not right
	hole    int64 // where that frame is
	beyond  int   // right frames after it that note how far the journal was synced
	sure    int64 // where the last of those is
}

const (
	walHeader   = 32
	frameHeader = 24
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
	before [2]uint32 // the checksum of the frame before, as it says itself
	at     int64     // of the next frame
	frame  []byte    // the one that next read
}

// openLog opens the log at path; nil when there is none that holds anything.
func openLog(path string) (*frames, error) {
	f, err := busyfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	header := make([]byte, walHeader)
	if _, err := io.ReadFull(f, header); err != nil {
		return nil, f.Close() // too short to hold anything
	}
	l := &frames{f: f, order: binary.LittleEndian, magic: 0x377f0682, at: walHeader, frame: make([]byte, frameHeader+pageSize)}
	if header[3]&1 == 1 {
		l.order, l.magic = binary.BigEndian, l.magic|1
	}
	l.before, l.salts = stored(header[24:]), header[16:24]
	l.intact = l.sum([2]uint32{}, header[:24]) == l.before && binary.BigEndian.Uint32(header) == l.magic
	if !l.intact {
		// The frames have the header's salts, too: those of most.
		counts := map[[8]byte]int{}
		for at := l.at; ; at += int64(len(l.frame)) {
			if n, _ := f.ReadAt(l.frame[:frameHeader], at); n < frameHeader {
				break
			}
			these := [8]byte(l.frame[8:16])
			if counts[these]++; counts[these] > counts[[8]byte(l.salts)] {
				l.salts = bytes.Clone(these[:])
			}
		}
	}
	return l, nil
}

// sum continues a checksum.
func (l *frames) sum(s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += l.order.Uint32(b) + s[1]
		s[1] += l.order.Uint32(b[4:]) + s[0]
	}
	return s
}

func stored(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// next reads a frame and reports whether it is what its checksum says: one that follows a damaged
// page can be. Error: io.EOF.
func (l *frames) next() (right bool, err error) {
	if _, err := io.ReadFull(l.f, l.frame); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		return false, err
	}
	l.at += int64(len(l.frame))
	right = bytes.Equal(l.frame[8:16], l.salts) && l.sum(l.sum(l.before, l.frame[:8]), l.frame[frameHeader:]) == stored(l.frame[16:])
	l.before = stored(l.frame[16:])
	return right, nil
}

// examineLog reads the log at path; the database is not open. A log that is not there
// is empty.
func examineLog(path string) (s logState, err error) {
	l, err := openLog(path)
	if l == nil {
		return s, err
	}
	defer l.f.Close()
	intact := l.intact
	for {
		at := l.at
		right, err := l.next()
		switch {
		case err == io.EOF:
			return s, nil
		case err != nil:
			return s, err
		case right && intact:
			if binary.BigEndian.Uint32(l.frame[4:]) != 0 {
				s.commits++
			}
		case right:
			if bytes.Contains(l.frame[frameHeader:], []byte(metaWhole)) {
				s.beyond++
				s.sure = at
			}
		case intact:
			intact, s.hole = false, at
		}
	}
}

// mendLog leaves what is damaged out of the log of the journal at path, which SQLite would end there:
// most pages are written again and again, so that what was in there is in a later frame, too. It
// reports whether that makes a database; else everything is as before.
func mendLog(path string, s logState) (mended bool, err error) {
	l, err := openLog(path + "-wal")
	if l == nil {
		return false, err
	}
	defer l.f.Close()
	body := make([]byte, walHeader)
	binary.BigEndian.PutUint32(body, l.magic)
	binary.BigEndian.PutUint32(body[4:], walVersion)
	binary.BigEndian.PutUint32(body[8:], pageSize)
	copy(body[16:], l.salts)
	before := l.sum([2]uint32{}, body[:24])
	put := func(b []byte) {
		binary.BigEndian.PutUint32(b, before[0])
		binary.BigEndian.PutUint32(b[4:], before[1])
	}
	put(body[24:])
	for {
		at := l.at
		right, err := l.next()
		if err == io.EOF || err == nil && !right && at > s.sure {
			break // the end, as SQLite takes it
		}
		if err != nil {
			return false, err
		}
		if !right {
			continue
		}
		before = l.sum(l.sum(before, l.frame[:8]), l.frame[frameHeader:])
		put(l.frame[16:])
		body = append(body, l.frame...)
	}
	if good, err := tryLog(path, body); !good {
		return false, err
	}
	if err := removed(path + "-shm"); err != nil { // of the log as it was
		return false, err
	}
	if err := l.f.Close(); err != nil { // Windows replaces no file that is open
		return false, err
	}
	return true, atomicfile.Write(path+"-wal", body, 0o600)
}

// tryLog reports whether a copy of the journal's database is right with another log.
func tryLog(path string, log []byte) (good bool, err error) {
	copied := path + ".mend"
	defer func() {
		for _, suffix := range files {
			err = errors.Join(err, removed(copied+suffix))
		}
	}()
	database, err := busyfile.ReadFile(path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(copied, database, 0o600)
	}
	if err == nil {
		err = os.WriteFile(copied+"-wal", log, 0o600)
	}
	if err != nil {
		return false, fmt.Errorf("mend the damaged journal: %w", err)
	}
	c, failed := connect(copied)
	if failed != nil {
		return false, nil
	}
	said, failed := c.value("PRAGMA integrity_check")
	failed = errors.Join(failed, c.Close())
	return failed == nil && toString(said) == "ok", nil
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
	if kept, err = copyAside(path); err != nil {
		return "", nil, err
	}
	mended, err := mendLog(path, log)
	if mended {
		return kept, fmt.Errorf("%w: its log is, at byte %d, and what was written there, and not once more after that, is lost", ErrDamaged, log.hole), err
	}
	return kept, fmt.Errorf("%w: its log is, at byte %d, and what comes after that is lost", ErrDamaged, log.hole), err
}

// knownFormat reports whether a database says that SQLite may write it, and how: of one with
// a larger number there SQLite only reads, and says so with every write.
// https://www.sqlite.org/fileformat2.html#file_format_version_numbers
func knownFormat(path string) bool {
	f, err := busyfile.Open(path)
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
		body, err := busyfile.ReadFile(path + suffix)
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

package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

// mendLog returns the log of the journal at path without what is damaged, where SQLite would end it:
// most pages are written again and again, so that what was in there is in a later frame, too. lost is
// how many frames are left out that are not in the database either. With asFound these are not left out as
// far as they say which page they are of: the rest of it may be right.
func mendLog(path string, s logState, asFound bool) (log []byte, lost int64, err error) {
	l, err := openLog(path+"-wal", s.said)
	if l == nil {
		return nil, max(0, s.sure-max(s.moved, walHeader)) / frameSize, err
	}
	defer l.f.Close()
	log = make([]byte, walHeader)
	binary.BigEndian.PutUint32(log, l.magic)
	binary.BigEndian.PutUint32(log[4:], walVersion)
	binary.BigEndian.PutUint32(log[8:], pageSize)
	copy(log[16:], l.salts)
	put := func(at int, sum [2]uint32) {
		binary.BigEndian.PutUint32(log[at:], sum[0])
		binary.BigEndian.PutUint32(log[at+4:], sum[1])
	}
	put(24, l.sum([2]uint32{}, log[:24]))
	end := walHeader // of what was committed
	leaveOut := func(to int64) {
		if to <= s.moved {
			// What is in the database must not be hidden by what was there before.
			log, lost = log[:walHeader], 0
			end = walHeader
		} else {
			lost++
		}
	}
	for {
		is, err := l.next()
		if err == io.EOF || err == nil && is != right && l.at > s.sure {
			break // the end, as SQLite takes it
		}
		if err != nil {
			return nil, 0, err
		}
		if is == unknown {
			leaveOut(l.at)
			if page := binary.BigEndian.Uint32(l.frame); !asFound || l.at <= s.moved || page < 2 || page > s.pages {
				continue
			}
			clear(l.frame[4:8]) // whether it ended a transaction
		}
		log = append(log, l.frame...)
		copy(log[len(log)-frameSize+8:], l.salts)
		if l.at <= s.sure || l.commits() != 0 {
			end = len(log)
		}
	}
	for to := l.at + frameSize; to <= s.sure; to += frameSize {
		leaveOut(to) // it was cut off
	}
	log = log[:end]
	if last := end - frameSize; last > 0 && lost > 0 {
		if binary.BigEndian.Uint32(log[last+4:]) == 0 {
			binary.BigEndian.PutUint32(log[last+4:], s.pages) // the frame that ended the transaction is lost
		}
		log = resize(path, log)
		end = len(log)
	}
	sum := stored(log[24:])
	for at := walHeader; at < end; at += frameSize {
		sum = l.sumFrame(sum, log[at:at+frameSize])
		put(at+16, sum)
	}
	return log, lost, nil
}

// resize makes the first page of the database say how many there are after the last frame of a log: it is
// written with every page that comes to them, and may be lost.
func resize(path string, log []byte) []byte {
	size := log[len(log)-frameSize+4:][:4]
	var first []byte
	for at := walHeader; at < len(log); at += frameSize {
		if binary.BigEndian.Uint32(log[at:]) == 1 {
			first = log[at+frameHeader:]
		}
	}
	if first == nil {
		database, err := busyfile.Open(path)
		if err != nil {
			return log // nothing that could be read without it
		}
		defer database.Close()
		frame := make([]byte, frameSize)
		if n, _ := database.ReadAt(frame[frameHeader:], 0); n < pageSize {
			return log
		}
		binary.BigEndian.PutUint32(frame, 1)
		copy(frame[8:], log[16:24])
		log = slices.Insert(log, walHeader, frame...)
		first = log[walHeader+frameHeader:]
		size = log[len(log)-frameSize+4:][:4]
	}
	copy(first[28:], size) // https://www.sqlite.org/fileformat2.html#in_header_database_size
	return log
}

// tryLog reports whether a copy of the journal's database is right with another log, and whether it lacks entries
// between others.
func tryLog(path string, log []byte) (good, gaps bool, err error) {
	copied := path + ".mend"
	defer func() {
		for _, suffix := range files {
			err = errors.Join(err, removed(copied+suffix))
		}
	}()
	if err = copyFile(path, copied); err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(copied+"-wal", log, 0o600)
	}
	if err != nil {
		return false, false, fmt.Errorf("mend the damaged journal: %w", err)
	}
	c, failed := connect(copied)
	if failed != nil {
		return false, false, nil
	}
	said, failed := c.value("PRAGMA integrity_check")
	missing, uncounted := c.number("SELECT max(seq) - min(seq) + 1 - count(*) FROM entries")
	failed = errors.Join(failed, uncounted, c.Close())
	return failed == nil && toString(said) == "ok", missing != 0, nil
}

// examine looks at a journal's files before SQLite does, which would take some damage
// for an end. It returns where it kept a copy of a log that was damaged and is mended.
func examine(path string, opts Options) (kept string, why error, err error) {
	log, err := examineLog(path, opts.Boot)
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
	if err == nil && empty && opts.Used || empty && log.commits > 1 {
		return "", nil, fmt.Errorf("%w: its database is empty, which it was not", ErrDamaged)
	}
	if !empty && !knownFormat(path) {
		return "", nil, fmt.Errorf("%w: its database says that it is of a format there is not", ErrDamaged)
	}
	if !log.damaged() {
		return "", nil, nil
	}
	mended, lost, err := mendLog(path, log, false)
	if err != nil {
		return "", nil, err
	}
	good, gaps, err := tryLog(path, mended)
	if err != nil {
		return "", nil, err
	}
	why = fmt.Errorf("%w: its log is, at byte %d, and what was written there, and not once more after that, is lost", ErrDamaged, log.hole)
	if !good || lost > 0 && gaps && opts.Check != nil { // then Salvage finds more
		return "", nil, why
	}
	if lost == 0 {
		why = fmt.Errorf("%w: its log is, at byte %d, of which nothing is lost", ErrDamaged, log.hole)
	}
	if kept, err = copyAside(path); err != nil {
		return "", nil, err
	}
	if err := removed(path + "-shm"); err != nil { // of the log as it was
		return "", nil, err
	}
	return kept, why, atomicfile.Write(path+"-wal", mended, 0o600)
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

// copyAside copies a journal's files. Nobody writes to them meanwhile. On return the copy survives a power loss;
// after an error there is none.
func copyAside(path string) (aside string, err error) {
	aside = asideName(path)
	for _, suffix := range []string{"", "-wal"} {
		if err = copyFile(path+suffix, aside+suffix); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return "", fmt.Errorf("keep a copy of the damaged journal: %w", errors.Join(err, removed(aside)))
		}
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("keep a copy of the damaged journal: %w", err)
	}
	return aside, nil
}

// copyFile copies a file, which may be large, and syncs the copy. After an error there is none.
// Error: fs.ErrNotExist when there is no such file.
func copyFile(from, to string) (err error) {
	in, err := busyfile.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := busyfile.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		err = errors.Join(err, removed(to))
	}
	return err
}

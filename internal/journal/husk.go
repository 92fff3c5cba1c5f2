package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/hamflx/pocket/internal/busyfile"
)

// fillUp makes a copy of a database that was cut as large as its log says it was, with zeros: SQLite removes
// the log of an empty one. A first page that is not there becomes that of a new journal, whose tables begin on the
// same pages. What the log has of either counts instead.
func fillUp(copied string) (err error) {
	l, err := openLog(copied+"-wal", nil)
	if l == nil {
		return err
	}
	defer l.f.Close()
	pages := int64(0)
	for {
		is, err := l.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if is != unknown && l.commits() != 0 {
			pages = int64(l.commits())
		}
	}
	if pages == 0 {
		return nil
	}
	f, err := busyfile.OpenFile(copied, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < pageSize {
		first, err := firstPage(copied + ".new")
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(first[28:], uint32(pages))
		if _, err := f.WriteAt(first, 0); err != nil {
			return err
		}
	}
	if info.Size() < pages*pageSize {
		return f.Truncate(pages * pageSize)
	}
	return nil
}

// firstPage returns the first page of a new journal, which it makes at path for a moment.
func firstPage(path string) (first []byte, err error) {
	defer func() {
		for _, suffix := range files {
			err = errors.Join(err, removed(path+suffix))
		}
	}()
	d, err := openDatabase(path, "")
	if err != nil {
		return nil, err
	}
	if err := d.close(); err != nil {
		return nil, err
	}
	b, err := busyfile.ReadFile(path)
	if err == nil && len(b) < pageSize {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return b[:pageSize], nil
}

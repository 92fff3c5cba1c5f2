package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

// recall reads what memory holds of the journal. Nobody else uses j yet.
func (j *Journal) recall() error {
	j.uploads = map[objectid.ID]upload{}
	j.dropping = map[objectid.ID]uint64{}
	j.meta = map[string][]byte{}
	c := j.db.main
	err := c.each("SELECT row, object, size FROM uploads ORDER BY row", 3, func(row []driver.Value) error {
		id, err := toID(row[1])
		if err != nil {
			return err
		}
		u := upload{row: toInt(row[0]), size: toInt(row[2])}
		if _, twice := j.uploads[id]; twice {
			return fmt.Errorf("%w: object %s is on the upload list twice", ErrDamaged, id)
		}
		j.uploads[id] = u
		j.uploadN += u.size
		j.lastRow = u.row
		return nil
	})
	if err != nil {
		return err
	}
	err = c.each("SELECT seq, peer, next, length(body) FROM entries ORDER BY seq", 4, func(row []driver.Value) error {
		p := pendingEntry{seq: toInt(row[0]), peer: uint64(toInt(row[1])), end: int32(toInt(row[2])), bytes: int32(toInt(row[3]))}
		j.pending = append(j.pending, p)
		j.pendingN += int64(p.bytes)
		j.lastSeq = p.seq
		return nil
	})
	if err != nil {
		return err
	}
	err = c.each("SELECT key, value FROM meta", 2, func(row []driver.Value) error {
		j.meta[toString(row[0])] = toBytes(row[1])
		return nil
	})
	if err != nil {
		return err
	}
	j.found.decode(j.meta[metaWhole])
	// Rows that are gone are not numbered again: they would count as whole.
	j.lastSeq, j.lastRow = max(j.lastSeq, j.found.seq), max(j.lastRow, j.found.row)
	return nil
}

// Load returns what is neither published nor uploaded. An error that is
// ErrDamaged means that some of it cannot be read; what can be is returned with
// it.
func (j *Journal) Load(ctx context.Context) (Loaded, error) {
	var loaded Loaded
	if err := ctx.Err(); err != nil {
		return loaded, err
	}
	if err := j.flush(); err != nil {
		return loaded, err
	}
	c, err := j.reader()
	if err != nil {
		return loaded, explain(j.path, err)
	}
	entries := c.each("SELECT peer, first, next, body, seq FROM entries ORDER BY seq", 5, func(row []driver.Value) error {
		if toInt(row[4]) <= j.found.seq {
			loaded.Whole++
		}
		loaded.Entries = append(loaded.Entries, Entry{
			Peer:   uint64(toInt(row[0])),
			Start:  int32(toInt(row[1])),
			End:    int32(toInt(row[2])),
			Update: toBytes(row[3]),
		})
		return ctx.Err()
	})
	uploads := c.each("SELECT object, size, node, added, row FROM uploads ORDER BY row", 5, func(row []driver.Value) error {
		if toInt(row[4]) <= j.found.row {
			loaded.WholeUploads++
		}
		id, err := toID(row[0])
		if err != nil {
			return err
		}
		loaded.Uploads = append(loaded.Uploads, Upload{
			Object: id,
			Size:   toInt(row[1]),
			Node:   uint64(toInt(row[2])),
			Added:  time.UnixMicro(toInt(row[3])),
			Row:    toInt(row[4]),
		})
		return ctx.Err()
	})
	if err := errors.Join(entries, uploads, c.Close()); err != nil {
		return loaded, explain(j.path, err)
	}
	return loaded, nil
}

// IndexObjects returns the index objects stored, ordered by key. It reads as the
// loop goes on, and sees one state of the journal: what the loop does to the
// journal does not show in it. An error ends it.
func (j *Journal) IndexObjects(ctx context.Context) iter.Seq2[IndexObject, error] {
	return func(yield func(IndexObject, error) bool) {
		fail := func(err error) { yield(IndexObject{}, explain(j.path, err)) }
		if err := ctx.Err(); err != nil {
			fail(err)
			return
		}
		if err := j.flush(); err != nil {
			fail(err)
			return
		}
		c, err := j.reader()
		if err != nil {
			fail(err)
			return
		}
		stopped := errors.New("the loop ended")
		err = c.each("SELECT key, size, file, body FROM index_objects ORDER BY key", 4, func(row []driver.Value) error {
			object := IndexObject{Key: toString(row[0]), Size: toInt(row[1]), File: toString(row[2])}
			if object.File == "" {
				object.Body = toBytes(row[3])
			}
			if !yield(object, nil) {
				return stopped
			}
			return ctx.Err()
		})
		closed := c.Close()
		if errors.Is(err, stopped) {
			return
		}
		if err = errors.Join(err, closed); err != nil {
			fail(err)
		}
	}
}

// reader returns a connection of its own, so that commits do not wait for what
// is read.
func (j *Journal) reader() (*connection, error) {
	j.mu.Lock()
	closed := j.closed
	j.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	return connect(j.path)
}

func toInt(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func toString(v driver.Value) string {
	s, _ := v.(string)
	return s
}

// toBytes returns the bytes of a column that is not NULL. The driver made them
// for this row alone. It gives no bytes for an empty value.
func toBytes(v driver.Value) []byte {
	b, _ := v.([]byte)
	if b == nil {
		b = []byte{}
	}
	return b
}

func toID(v driver.Value) (id objectid.ID, err error) {
	b, _ := v.([]byte)
	if len(b) != len(id) {
		return id, fmt.Errorf("%w: an object's name has %d bytes", ErrDamaged, len(b))
	}
	copy(id[:], b)
	return id, nil
}

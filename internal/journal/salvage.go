package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Kept returns where Open kept a copy of a journal whose log is damaged in its middle,
// and what is wrong with it; nil when nothing is. What comes before the damage is used.
func (j *Journal) Kept() (copied string, why error) { return j.kept, j.keptWhy }

// CopyAside keeps a copy of the journal's files as SetAside names them, for what
// cannot be used of it. Nothing may be enqueued meanwhile.
func (j *Journal) CopyAside() (string, error) {
	if err := j.flush(); err != nil {
		return "", err
	}
	return copyAside(j.path)
}

// Salvage puts into an empty journal what can be read of one that was set aside: as
// much of each table as comes before what cannot. Load and Judge come after it. It
// returns how many entries there were.
func (j *Journal) Salvage(ctx context.Context, aside string) (entries int, err error) {
	// SQLite writes to what it opens.
	copied := j.path + ".salvage"
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if failed := os.Remove(copied + suffix); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
	}()
	for _, suffix := range []string{"", "-wal"} {
		body, err := os.ReadFile(aside + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(copied+suffix, body, 0o600)
		}
		if err != nil {
			return 0, fmt.Errorf("salvage the damaged journal: %w", err)
		}
	}
	c, err := connect(copied)
	if err != nil {
		return 0, nil // nothing of it can be read
	}
	defer c.Close()
	// Errors end a table, and are what is expected.
	var uploads []Upload
	_ = c.each("SELECT object, size, node FROM uploads ORDER BY row", 3, func(row []driver.Value) error {
		id, err := toID(row[0])
		if err == nil && toInt(row[1]) >= 0 {
			uploads = append(uploads, Upload{Object: id, Size: toInt(row[1]), Node: uint64(toInt(row[2]))})
		}
		return nil
	})
	last := j.Enqueue(Entry{Uploads: uploads})
	_ = c.each("SELECT peer, first, next, body FROM entries ORDER BY seq", 4, func(row []driver.Value) error {
		e := Entry{Peer: uint64(toInt(row[0])), Start: int32(toInt(row[1])), End: int32(toInt(row[2])), Update: toBytes(row[3])}
		if len(e.Update) > 0 && len(e.Update) <= MaxIndexBody {
			last = j.Enqueue(e)
			entries++
		}
		return nil
	})
	if err := last.Wait(); err != nil {
		return entries, err
	}
	var objects []IndexObject
	_ = c.each("SELECT key, size, file, body FROM index_objects ORDER BY key", 4, func(row []driver.Value) error {
		o := IndexObject{Key: toString(row[0]), Size: toInt(row[1]), File: toString(row[2])}
		if o.File == "" {
			o.Body = toBytes(row[3])
		}
		if o.Key != "" && len(o.Body) <= MaxIndexBody {
			objects = append(objects, o)
		}
		return nil
	})
	if len(objects) > 0 {
		if err := j.UpdateIndexObjects(ctx, objects, nil, false); err != nil {
			return entries, err
		}
	}
	var facts [][2]string
	_ = c.each("SELECT key, value FROM meta", 2, func(row []driver.Value) error {
		facts = append(facts, [2]string{toString(row[0]), string(toBytes(row[1]))})
		return nil
	})
	for _, fact := range facts {
		if key := fact[0]; key != metaWhole && key != "" && len(fact[1]) <= MaxMeta {
			if err := j.SetMeta(ctx, key, []byte(fact[1])); err != nil {
				return entries, err
			}
		}
	}
	return entries, nil
}

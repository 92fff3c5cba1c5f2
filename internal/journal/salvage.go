package journal

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

// Kept returns where Open kept a copy of a journal whose log is damaged in its middle,
// and what is wrong with it; nil when nothing is. What is left without the damaged pages is used, or
// what comes before them.
func (j *Journal) Kept() (copied string, why error) { return j.kept, j.keptWhy }

// SetAside renames a damaged journal and the files that belong to it so that
// Open can create a new one, into which Salvage then puts what can be read of it; it returns the new
// name of the database. What was acknowledged and not published is in there and nowhere else. The
// journal must not be open. Errors: os.ErrNotExist when there is nothing of a journal.
//
// Until Salvage has ended Unsalvaged says so, however the process ends. SetAside then begins anew: it
// removes what is there of the new journal and returns the name of before.
func SetAside(path string) (aside string, err error) {
	mark := path + markSuffix
	noted, err := busyfile.ReadFile(mark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("set the damaged journal aside: %w", err)
	}
	name, moved := strings.CutSuffix(string(noted), markMoved)
	if err != nil || !strings.HasPrefix(name, filepath.Base(path)+damagedInfix) || name != filepath.Base(name) {
		name, moved = filepath.Base(asideName(path)), false
	}
	aside = filepath.Join(filepath.Dir(path), name)
	if moved {
		for _, suffix := range files {
			if err := removed(path + suffix); err != nil {
				return "", fmt.Errorf("remove what was begun of a new journal: %w", err)
			}
		}
		return aside, nil
	}
	if !exists(path) && !exists(path+"-wal") && !exists(aside) && !exists(aside+"-wal") {
		return "", fmt.Errorf("set the damaged journal aside: %s: %w", path, fs.ErrNotExist)
	}
	if err := atomicfile.Write(mark, []byte(name), 0o600); err != nil {
		return "", fmt.Errorf("set the damaged journal aside: %w", err)
	}
	// SQLite finds the others by the database's name. The one that holds committed
	// transactions must stay with it.
	for _, suffix := range files {
		if err := busyfile.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set the damaged journal aside: %w", err)
		}
	}
	err = atomicfile.SyncDir(filepath.Dir(path))
	if err == nil {
		err = atomicfile.Write(mark, []byte(name+markMoved), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("set the damaged journal aside: %w", err)
	}
	return aside, nil
}

// Unsalvaged reports whether SetAside was called for the journal at path, and no Salvage has ended since.
func Unsalvaged(path string) bool { return exists(path + markSuffix) }

const (
	// The mark is a file with the name of the journal that was set aside, from before it has that name until
	// what could be read of it survives a power loss in the new one.
	markSuffix   = ".unsalvaged"
	markMoved    = "\n" // behind the name when nothing has the old one any more
	damagedInfix = ".damaged-"
)

// files are the suffixes of a journal's files.
var files = []string{"", "-wal", "-shm"}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// removed removes a file if there is one.
func removed(path string) error {
	if err := busyfile.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

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
// returns how many entries there were. On return they survive a power loss.
func (j *Journal) Salvage(ctx context.Context, aside string) (entries int, err error) {
	// SQLite writes to what it opens.
	copied := j.path + ".salvage"
	defer func() {
		for _, suffix := range files {
			err = errors.Join(err, removed(copied+suffix))
		}
	}()
	for _, suffix := range []string{"", "-wal"} {
		body, err := busyfile.ReadFile(aside + suffix)
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
	if c, failed := connect(copied); failed == nil { // or else nothing of it can be read
		defer c.Close()
		if entries, err = j.copyFrom(ctx, c); err != nil {
			return entries, err
		}
	}
	// Of the chunks that these name nothing is said: Load finds them as not judged.
	if err := j.db.sync(); err != nil {
		return entries, explain(j.path, errors.Join(errors.New("sync"), err))
	}
	if err := removed(j.path + markSuffix); err != nil {
		return entries, fmt.Errorf("salvage the damaged journal: %w", err)
	}
	return entries, atomicfile.SyncDir(filepath.Dir(j.path))
}

// copyFrom is Salvage for an open database.
func (j *Journal) copyFrom(ctx context.Context, c *connection) (entries int, err error) {
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

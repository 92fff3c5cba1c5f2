package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
)

// Kept returns where Open kept a copy of a journal whose log was damaged, and what is wrong with
// it; nil when nothing is. What is left without the damaged pages is used.
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
var files = []string{"", "-wal", "-shm", bootSuffix}

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

// Salvage puts into an empty journal what can be read of one that was set aside: of each table
// all that is not on a page that is damaged. Load and Judge come after it. It
// returns how many entries there were. On return they survive a power loss.
func (j *Journal) Salvage(ctx context.Context, aside string) (entries int, err error) {
	all, err := j.readAside(aside)
	if err == nil {
		entries, err = len(all.entries.rows), j.takeOver(ctx, all)
	}
	if err != nil {
		return entries, err
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

// readAside reads a journal that was set aside. Where its log is damaged in the middle that is left out, and
// what cannot be read then is what it was before the damage.
func (j *Journal) readAside(aside string) (all content, err error) {
	log, err := examineLog(aside, j.opts.Boot)
	if err != nil {
		return all, explain(aside, err)
	}
	asItIs := func(to string) error {
		if err := copyFile(aside+"-wal", to); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if all, err = j.readCopy(aside, asItIs); err != nil || !log.damaged() {
		return all, err
	}
	mended := func(asFound bool) (content, error) {
		body, _, err := mendLog(aside, log, asFound)
		if err != nil {
			return content{}, explain(aside, err)
		}
		return j.readCopy(aside, func(to string) error { return os.WriteFile(to, body, 0o600) })
	}
	before := all
	if all, err = mended(false); err != nil {
		return all, err
	}
	all.fill(before)
	if j.opts.Check != nil {
		damaged, err := mended(true)
		if err != nil {
			return all, err
		}
		all.complete(damaged.entries, j.opts.Check)
	}
	return all, nil
}

// readCopy reads a copy of the database at path with the log that putLog makes: SQLite writes to what it opens.
func (j *Journal) readCopy(path string, putLog func(to string) error) (all content, err error) {
	copied := j.path + ".salvage"
	defer func() {
		for _, suffix := range files {
			err = errors.Join(err, removed(copied+suffix))
		}
	}()
	if err = copyFile(path, copied); err == nil || errors.Is(err, fs.ErrNotExist) {
		err = putLog(copied + "-wal")
	}
	if err == nil {
		err = fillUp(copied)
	}
	if err != nil {
		return all, fmt.Errorf("salvage the damaged journal: %w", err)
	}
	if c, failed := connect(copied); failed == nil { // or else nothing of it can be read
		all = readAll(c)
		_ = all.adopt(c, copied) // as far as can be
		c.Close()
	}
	return all, nil
}

// takeOver puts what was read into the journal.
func (j *Journal) takeOver(ctx context.Context, all content) error {
	last := j.Enqueue(Entry{Uploads: all.uploads.inOrder()})
	for _, e := range all.entries.inOrder() {
		last = j.Enqueue(e)
	}
	if err := last.Wait(); err != nil {
		return err
	}
	if objects := all.objects.inOrder(); len(objects) > 0 {
		if err := j.UpdateIndexObjects(ctx, objects, nil, false); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all.facts)) {
		if err := j.SetMeta(ctx, key, all.facts[key]); err != nil {
			return err
		}
	}
	return nil
}

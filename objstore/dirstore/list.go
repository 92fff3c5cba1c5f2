package dirstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/hamflx/pocket/objstore"
)

// List implements objstore.Store. It reads one folder at a time; the names of
// the folders it is in are in memory.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := s.list(ctx, prefix, after, func(info objstore.Info) bool { return yield(info, nil) }); err != nil {
			yield(objstore.Info{}, err)
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, after string, yield func(objstore.Info) bool) error {
	if err := objstore.ContextError(ctx, objstore.OpList, prefix, s.name); err != nil {
		return err
	}
	root, err := s.open(objstore.OpList, prefix)
	if err != nil {
		return err
	}
	defer root.Close()
	l := lister{ctx: ctx, root: root, prefix: prefix, after: after, yield: yield}

	// Begin at the deepest folder that has all keys with the prefix.
	keyDir, dir := prefix[:strings.LastIndexByte(prefix, '/')+1], "."
	if keyDir != "" {
		key := strings.TrimSuffix(keyDir, "/")
		if objstore.CheckKey(key) != nil {
			return s.present(root, objstore.OpList, prefix) // no key begins so
		}
		if dir, err = pathOf(key); err != nil {
			return s.present(root, objstore.OpList, prefix) // nor is one in a folder with a name that long
		}
	}
	err = l.folder(dir, keyDir)
	switch {
	case errors.Is(err, errStopped):
		return nil
	case err != nil:
		return s.failure(ctx, root, objstore.OpList, prefix, err)
	}
	// A drive that went away meanwhile looks as if folders had been removed.
	return s.present(root, objstore.OpList, prefix)
}

// errStopped says that the caller has seen enough.
var errStopped = errors.New("stopped")

type lister struct {
	ctx           context.Context
	root          *os.Root
	prefix, after string
	yield         func(objstore.Info) bool
}

// entry is a file or folder with its part of the key; a folder's ends with a
// slash, and so sorts where its keys do: "a-" and "a." are before "a/".
type entry struct {
	segment string
	fs.DirEntry
}

// folder lists the folder at dir, whose keys begin with keyDir.
func (l *lister) folder(dir, keyDir string) error {
	entries, err := l.entries(dir, keyDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		key := keyDir + e.segment
		if e.IsDir() {
			if err := l.folder(join(dir, e.Name()), key); err != nil {
				return err
			}
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if !l.yield(objstore.Info{Key: key, Size: info.Size(), ModTime: info.ModTime()}) {
			return errStopped
		}
	}
	return nil
}

// entries returns what is to be listed of the folder at dir, in order.
func (l *lister) entries(dir, keyDir string) ([]entry, error) {
	f, err := open(l.root, dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
			return nil, nil // no such folder, or it has become empty and went
		}
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return nil, err
	}
	found, err := f.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries := make([]entry, 0, len(found))
	for _, d := range found {
		segment, ok := segmentOf(d.Name())
		if !ok || !d.IsDir() && !d.Type().IsRegular() {
			continue
		}
		key := keyDir + segment
		if d.IsDir() {
			segment += "/"
			key += "/"
			// Some key below may be wanted ...
			if !strings.HasPrefix(key, l.prefix) && !strings.HasPrefix(l.prefix, key) {
				continue
			}
			// ... unless all of them are before after.
			if key <= l.after && !strings.HasPrefix(l.after, key) {
				continue
			}
		} else if !strings.HasPrefix(key, l.prefix) || key <= l.after {
			continue
		}
		entries = append(entries, entry{segment, d})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.segment, b.segment) })
	return entries, nil
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

package fsimpl

import (
	"context"
	"errors"
	"fmt"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// IsHere reports whether all of a file's content is on this machine, so that reading it waits for no
// store.
func (fs *FS) IsHere(n Node) bool {
	e, err := fs.index.Stat(n)
	if err != nil || e.Kind != loroindex.File {
		return err == nil
	}
	if ino := fs.openInode(n); ino != nil && ino.isChanged() {
		if err := fs.commitAndWait(fs.ctx, ino); err != nil {
			return false
		}
		if e, err = fs.index.Stat(n); err != nil {
			return false
		}
	}
	if e.Object.IsZero() {
		return true
	}
	if _, ok := fs.cache.Size(e.Object); !ok {
		return false
	}
	extents, err := fs.extentsOf(fs.ctx, e.Content)
	if err != nil {
		return false
	}
	for _, x := range extents {
		if _, ok := fs.cache.Size(x.Object); !ok && !x.IsHole() {
			return false
		}
	}
	return true
}

// DeleteUnused deletes from the store all content that no file of the index has. It must be called
// before anything is opened, and only for a store that nobody else uses and whose history nobody wants back.
func (fs *FS) DeleteUnused(ctx context.Context) error {
	if err := fs.queue.Drain(ctx, nil); err != nil {
		return err
	}
	used := make(map[objectid.ID]bool)
	dirs := []Node{Root}
	for len(dirs) > 0 {
		entries, err := fs.index.ReadDir(dirs[len(dirs)-1], nil)
		if err != nil {
			return err
		}
		dirs = dirs[:len(dirs)-1]
		for _, entry := range entries {
			if entry.Kind == loroindex.Dir {
				dirs = append(dirs, entry.Node)
				continue
			}
			e, err := fs.index.Stat(entry.Node)
			if err != nil {
				return err
			}
			extents, err := fs.extentsOf(ctx, e.Content)
			if err != nil && e.Kind == loroindex.File {
				return fmt.Errorf("%s: %w", e.Name, err) // what it needs cannot be told
			}
			used[e.Object] = true
			for _, x := range extents {
				used[x.Object] = true
			}
		}
	}
	var unused []string
	for info, err := range fs.opts.Store.List(ctx, objectid.KeyPrefix, "") {
		if err != nil {
			return err
		}
		if id, err := objectid.Parse(info.Key[len(objectid.KeyPrefix):]); err == nil && !used[id] {
			unused = append(unused, info.Key)
		}
	}
	var errs []error
	for _, key := range unused {
		errs = append(errs, fs.opts.Store.Delete(ctx, key))
	}
	return errors.Join(errs...)
}

package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

// torn returns the objects that a power loss took: on the upload list, but neither in
// the cache nor in the store. Only those are looked for whose chunks were not synced
// with the journal for certain. A store that cannot be reached may have any of them.
func (fs *FS) torn(ctx context.Context, left journal.Loaded) map[objectid.ID]bool {
	ctx, cancel := context.WithTimeout(ctx, fs.opts.OpenWait)
	defer cancel()
	store := fs.retrying(fs.opts.OpenWait)
	var lost map[objectid.ID]bool
	for _, u := range left.Uploads[left.WholeUploads:] {
		if _, err := fs.cache.Get(u.Object); err == nil {
			continue
		}
		body, err := store.Get(ctx, u.Object.Key(), max(u.Size, maxObject))
		switch {
		case err == nil && objectid.Of(body) == u.Object:
			// It may be a manifest, which others are judged by; and it is pinned again.
			if err := fs.cache.Put(u.Object, body, true); err != nil {
				fs.log.Warn("a chunk cannot be kept", "object", u.Object, "error", err)
			}
		case err == nil, errors.Is(err, objstore.ErrNotExist):
			if lost == nil {
				lost = make(map[objectid.ID]bool)
			}
			lost[u.Object] = true
		default:
			fs.log.Warn("a chunk is not on this machine, and the store cannot be asked for it", "object", u.Object, "error", err)
			return lost
		}
	}
	return lost
}

// replay loads the index and does what the journal holds, as far as it is whole: the
// state of this machine at some moment not earlier than a second before it lost power.
func (fs *FS) replay(ctx context.Context, local *localIndex) (left journal.Loaded, merged loroindex.Changes, err error) {
	if left, err = fs.journal.Load(ctx); err != nil {
		return left, merged, err
	}
	if err := fs.openCache(left.Uploads); err != nil {
		return left, merged, err
	}
	lost := fs.torn(ctx, left)
	notices := len(fs.notices)
	if merged, err = fs.loadAndImport(ctx, local, left.Entries); err != nil {
		return left, merged, err
	}
	if len(lost) == 0 {
		return left, merged, fs.journal.Judge(ctx, len(left.Entries), nil)
	}
	keep, needed, undone, err := fs.firstBroken(ctx, left, lost)
	if err != nil {
		return left, merged, err
	}
	if keep < len(left.Entries) {
		// The index takes nothing back: it is made anew.
		fs.notices = fs.notices[:notices]
		if merged, err = fs.loadAndImport(ctx, local, left.Entries[:keep]); err != nil {
			return left, merged, err
		}
		text := fmt.Sprintf("this machine stopped before the last %d changes were safe on its disk: they are undone, %s", len(left.Entries)-keep, undone)
		fs.log.Error(text, "objects lost", len(lost))
		fs.notices = append(fs.notices, text)
	}
	var drop []objectid.ID
	uploads := left.Uploads[:0]
	for n, u := range left.Uploads {
		if lost[u.Object] || n >= left.WholeUploads && !needed[u.Object] {
			drop = append(drop, u.Object)
			fs.cache.Unpin(u.Object)
		} else {
			uploads = append(uploads, u)
		}
	}
	left.Entries, left.Uploads = left.Entries[:keep], uploads
	return left, merged, fs.journal.Judge(ctx, keep, drop)
}

// loadAndImport loads the index and imports journal entries.
func (fs *FS) loadAndImport(ctx context.Context, local *localIndex, entries []journal.Entry) (loroindex.Changes, error) {
	merged, err := fs.load(ctx, local)
	if err != nil {
		return merged, err
	}
	updates := make([][]byte, len(entries))
	for n, e := range entries {
		updates[n] = e.Update
	}
	changes, done, err := fs.index.ImportAll(updates...)
	if err != nil && done < len(entries) {
		e := entries[done]
		return merged, fmt.Errorf("journal %s: operations %d to %d of peer %016x: %w", fs.opts.State.Journal(), e.Start, e.End, e.Peer, err)
	}
	merged.Lost = append(merged.Lost, changes.Lost...)
	merged.Orphans = append(merged.Orphans, changes.Orphans...)
	return merged, err
}

// firstBroken returns how many entries come before the first one that names a lost
// object, the objects that those name, and the files that the others write, in words.
func (fs *FS) firstBroken(ctx context.Context, left journal.Loaded, lost map[objectid.ID]bool) (keep int, needed map[objectid.ID]bool, undone string, err error) {
	if err := fs.index.LoadAll(ctx); err != nil { // for the files' paths
		return 0, nil, "", err
	}
	byPeer := make(map[uint64][]int) // entries, ascending
	for n, e := range left.Entries {
		byPeer[e.Peer] = append(byPeer[e.Peer], n)
	}
	type written struct {
		entry   int
		node    Node
		content loroindex.Content
		objects []objectid.ID
	}
	var all []written
	keep = len(left.Entries)
	for w, err := range fs.index.Writes() {
		if err != nil {
			return 0, nil, "", err
		}
		entries := byPeer[w.Peer]
		at := sort.Search(len(entries), func(i int) bool { return left.Entries[entries[i]].End > w.Counter })
		if at == len(entries) || left.Entries[entries[at]].Start > w.Counter {
			continue
		}
		all = append(all, written{entry: entries[at], node: w.Node, content: w.Content})
	}
	for n := range all {
		one := &all[n]
		one.objects = fs.objectsOf(ctx, one.content)
		if one.entry >= left.Whole && slices.ContainsFunc(one.objects, func(id objectid.ID) bool { return lost[id] }) {
			keep = min(keep, one.entry)
		}
	}
	needed = make(map[objectid.ID]bool)
	paths := make(map[string]bool)
	for _, w := range all {
		if w.entry < keep {
			for _, id := range w.objects {
				needed[id] = true
			}
		} else if w.node != loroindex.NoNode {
			if path, err := fs.index.Path(w.node); err == nil {
				paths["/"+path] = true
			}
		}
	}
	names := make([]string, 0, len(paths))
	for path := range paths {
		names = append(names, path)
	}
	slices.Sort(names)
	const most = 5
	undone = "those of " + strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		undone += fmt.Sprintf(" and %d other files", len(names)-most)
	}
	return keep, needed, undone, nil
}

// objectsOf returns the objects that a content needs. A manifest that is neither here nor
// in the store tells of none.
func (fs *FS) objectsOf(ctx context.Context, c loroindex.Content) []objectid.ID {
	if c.Object.IsZero() {
		return nil
	}
	objects := []objectid.ID{c.Object}
	if !c.Manifest {
		return objects
	}
	body, err := fs.cache.Get(c.Object)
	if err != nil {
		// Uploaded, and taken off the list, before its chunks were.
		body, err = fs.retrying(fs.opts.OpenWait).Get(ctx, c.Object.Key(), maxObject)
	}
	if err != nil || objectid.Of(body) != c.Object {
		return objects
	}
	extents, err := manifest.Decode(body, maxObject)
	if err != nil {
		return objects
	}
	for _, e := range extents {
		if !e.IsHole() {
			objects = append(objects, e.Object)
		}
	}
	return objects
}

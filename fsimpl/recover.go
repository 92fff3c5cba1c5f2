package fsimpl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/chunkcache"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

// missing returns the objects of the upload list that are neither in the cache nor in the
// store: a power loss took them, or the list is damaged. Only chunks that were not synced
// with the journal for certain are read. A store that cannot be reached may have any.
func (fs *FS) missing(ctx context.Context, left journal.Loaded) map[objectid.ID]bool {
	ctx, cancel := context.WithTimeout(ctx, fs.opts.OpenWait)
	defer cancel()
	lost := make(map[objectid.ID]bool)
	for n := range left.Uploads {
		u := &left.Uploads[n]
		if size, ok := fs.cache.Size(u.Object); ok && size == u.Size && n < left.WholeUploads {
			continue
		}
		body, err := fs.cache.Get(u.Object)
		if err == nil {
			u.Size = int64(len(body))
			continue
		}
		if !isGone(err) {
			fs.log.Warn("a chunk that is not uploaded yet cannot be read just now", "object", u.Object, "error", err)
			continue
		}
		there, err := fs.inStore(ctx, u.Object)
		if err != nil {
			fs.log.Warn("a chunk is not on this machine, and the store cannot be asked for it", "object", u.Object, "error", err)
			return lost
		}
		if !there {
			lost[u.Object] = true
		}
	}
	return lost
}

// isGone reports whether an error of the cache means that it does not have a chunk any more. After
// others, as with too many open files or a directory that cannot be read, it is still there.
func isGone(err error) bool {
	return errors.Is(err, chunkcache.ErrNotExist) || errors.Is(err, chunkcache.ErrUnreadable)
}

// pinHere pins a chunk of this machine, if it is what its name says or cannot be read just now, and returns
// its size. isGone tells from the error whether it is not here.
func (fs *FS) pinHere(id objectid.ID) (size int64, err error) {
	if err := fs.cache.Pin(id); err != nil {
		return 0, err
	}
	body, err := fs.cache.Get(id)
	if err == nil {
		return int64(len(body)), nil
	}
	if size, there := fs.cache.Size(id); there && !isGone(err) {
		return size, nil
	}
	fs.cache.Unpin(id)
	return 0, err
}

// isNoObject reports whether an error of the store says that there is nothing that could be an object of ours.
func isNoObject(err error) bool {
	return errors.Is(err, objstore.ErrNotExist) || errors.Is(err, objstore.ErrTooLarge) || errors.Is(err, objstore.ErrCorrupt)
}

// inStore reports whether the store has an object. What it reads is kept in the cache: it may
// be a manifest, by which others are judged.
func (fs *FS) inStore(ctx context.Context, id objectid.ID) (bool, error) {
	body, err := fs.retrying(fs.opts.OpenWait).Get(ctx, id.Key(), maxObject)
	switch {
	case isNoObject(err), err == nil && objectid.Of(body) != id:
		return false, nil
	case err != nil:
		return false, err
	}
	if err := fs.cache.Put(id, body, false); err != nil {
		fs.log.Warn("a chunk cannot be kept", "object", id, "error", err)
	}
	return true, nil
}

// replay loads the index and does what the journal holds, as far as it is whole: the
// state of this machine at some moment not earlier than a second before it lost power.
// It returns the objects that files lack all the same, because something was damaged.
func (fs *FS) replay(ctx context.Context, local *localIndex) (left journal.Loaded, lost map[objectid.ID]bool, merged loroindex.Changes, err error) {
	if left, err = fs.journal.Load(ctx); err != nil {
		return left, nil, merged, err
	}
	if err := fs.openCache(left.Uploads); err != nil {
		return left, nil, merged, err
	}
	lost = fs.missing(ctx, left)
	notices := len(fs.notices)
	bad, why := unreadable(left.Entries)
	if merged, err = fs.loadAndImport(ctx, local, without(left.Entries, bad)); err != nil {
		return left, nil, merged, err
	}
	if waiting := fs.waiting(left.Entries, bad); len(bad)+len(waiting) > 0 {
		if merged, err = fs.redo(ctx, local, &left, merged, damage{bad: bad, why: why, waiting: waiting, notices: notices}); err != nil {
			return left, nil, merged, err
		}
		notices = len(fs.notices)
	}
	if len(lost) == 0 && !fs.suspect {
		return left, nil, merged, fs.journal.Judge(ctx, len(left.Entries), nil)
	}
	keep, needed, undone, err := fs.firstBroken(ctx, left, lost)
	if err != nil {
		return left, nil, merged, err
	}
	if keep < len(left.Entries) {
		// The index takes nothing back: it is made anew.
		fs.notices = fs.notices[:notices]
		if merged, err = fs.loadAndImport(ctx, local, left.Entries[:keep]); err != nil {
			return left, nil, merged, err
		}
		fs.tell(fmt.Sprintf("this machine stopped before the last %d changes were safe on its disk: they are undone, %s", len(left.Entries)-keep, undone))
	}
	wanted, err := fs.findLostWrites(ctx, left.Uploads, needed, lost)
	if err != nil {
		return left, nil, merged, err
	}
	var drop []objectid.ID
	uploads := left.Uploads[:0]
	for n, u := range left.Uploads {
		if lost[u.Object] || n >= left.WholeUploads && !needed[u.Object] && !wanted[u.Object] {
			drop = append(drop, u.Object)
			fs.cache.Unpin(u.Object)
		} else {
			uploads = append(uploads, u)
			needed[u.Object] = false
		}
	}
	left.Entries, left.Uploads = left.Entries[:keep], uploads
	if err := fs.journal.Judge(ctx, keep, drop); err != nil {
		return left, nil, merged, err
	}
	// What is needed and not listed was uploaded, or the list is damaged.
	var unlisted []journal.Upload
	for id, unknown := range needed {
		if !unknown {
			continue
		}
		size, err := fs.pinHere(id)
		if err == nil {
			unlisted = append(unlisted, journal.Upload{Object: id, Size: size})
		} else if there, failed := fs.inStore(ctx, id); failed == nil && !there && isGone(err) {
			lost[id] = true
		}
	}
	left.Uploads = append(left.Uploads, unlisted...)
	return left, lost, merged, fs.journal.Enqueue(journal.Entry{Uploads: unlisted}).Wait()
}

// loadAndImport loads the index and imports journal entries.
func (fs *FS) loadAndImport(ctx context.Context, local *localIndex, entries []journal.Entry) (loroindex.Changes, error) {
	merged, err := fs.load(ctx, local, fs.ownPeers(entries))
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
		one.objects, _ = fs.objectsOf(ctx, one.content) // those that are known, without the store
		// Of a damaged journal the list is not certain: it may name again what was uploaded, or replaced, long ago.
		if !fs.suspect && one.entry >= left.Whole && slices.ContainsFunc(one.objects, func(id objectid.ID) bool { return lost[id] }) {
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
// in the store tells of none; an error is that of a store that cannot be asked for it.
func (fs *FS) objectsOf(ctx context.Context, c loroindex.Content) ([]objectid.ID, error) {
	if c.Object.IsZero() {
		return nil, nil
	}
	objects := []objectid.ID{c.Object}
	if !c.Manifest {
		return objects, nil
	}
	body, err := fs.cache.Get(c.Object)
	if err != nil {
		// Uploaded, and taken off the list, before its chunks were.
		body, err = fs.retrying(fs.opts.OpenWait).Get(ctx, c.Object.Key(), maxObject)
	}
	if isNoObject(err) || err == nil && objectid.Of(body) != c.Object {
		return objects, nil
	}
	if err != nil {
		return objects, err
	}
	extents, err := manifest.Decode(body, maxObject)
	if err != nil {
		return objects, nil // which is gone as it is
	}
	for _, e := range extents {
		if !e.IsHole() {
			objects = append(objects, e.Object)
		}
	}
	return objects, nil
}

// lost is the queue's Lost.
func (fs *FS) lost(ctx context.Context, id objectid.ID) {
	lost := map[objectid.ID]bool{id: true}
	unjudged, err := fs.fallBack(ctx, lost, nil)
	if err != nil {
		fs.log.Error("files whose content is lost could not be given an earlier one", "object", id, "error", err)
	}
	fs.fallBackLater(ctx, lost, unjudged)
}

// fallBackLater does what fallBack could not as the store could not be asked, once it can. It returns when
// nothing is left to do, or ctx ends.
func (fs *FS) fallBackLater(ctx context.Context, lost map[objectid.ID]bool, unjudged map[Node]bool) {
	if len(unjudged) > 0 {
		fs.log.Warn("files whose content is lost have no other before the store can be asked for it", "files", len(unjudged))
	}
	for wait := 100 * time.Millisecond; len(unjudged) > 0; wait = min(2*wait, askAgain) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		var err error
		if unjudged, err = fs.fallBack(ctx, lost, unjudged); err != nil {
			fs.log.Error("files whose content is lost could not be given an earlier one", "error", err)
		}
	}
}

// askAgain is the most that is waited before a store that could not be asked for the content of a file is asked again.
const askAgain = 10 * time.Second

// fallBack gives files that need a lost object the newest earlier content that is still
// there. A file without any keeps the one that is lost: reading it is an error, and a
// file that looks empty would be a lie. Only those of only are looked at, unless it is nil.
// It returns those for which the store would have to be asked, and cannot be: what it may
// have is not gone.
func (fs *FS) fallBack(ctx context.Context, lost map[objectid.ID]bool, only map[Node]bool) (unjudged map[Node]bool, err error) {
	if err := fs.index.LoadAll(ctx); err != nil {
		return only, err
	}
	unjudged = make(map[Node]bool)
	writes := make(map[Node][]loroindex.Write)
	for w, err := range fs.index.Writes() {
		if err != nil {
			return only, err
		}
		if w.Node != loroindex.NoNode && (only == nil || only[w.Node]) {
			writes[w.Node] = append(writes[w.Node], w)
		}
	}
	var errs []error
	for n, list := range writes {
		e, err := fs.index.Stat(n)
		if err != nil || e.Removed {
			continue
		}
		if len(unjudged) > 0 { // each would wait for the store in turn
			unjudged[n] = true
			continue
		}
		needs, err := fs.objectsOf(ctx, e.Content)
		if err != nil {
			unjudged[n] = true
			continue
		}
		if !slices.ContainsFunc(needs, func(id objectid.ID) bool { return lost[id] }) {
			continue
		}
		slices.SortFunc(list, func(a, b loroindex.Write) int { return cmp.Compare(b.Lamport, a.Lamport) })
		path, _ := fs.index.Path(n)
		var earlier loroindex.Content
		var names map[objectid.ID]bool
		var uploads []journal.Upload
		for _, w := range list {
			if w.Content.Object == e.Object {
				continue
			}
			if names, uploads, err = fs.available(ctx, w.Content, uint64(e.Ino), lost); names != nil || err != nil {
				earlier = w.Content
				break
			}
		}
		if err != nil {
			unjudged[n] = true
			continue
		}
		if names == nil {
			fs.tellLoss(fmt.Sprintf("/%s: its content was damaged on this machine before it was uploaded, and it had no other: it cannot be read; what is left of it is in %s",
				path, fs.opts.State.Cache()))
			continue
		}
		err = fs.putBack(names, uploads, func(tx *loroindex.Tx) (Node, error) {
			if now, err := tx.Stat(n); err != nil || now.Content != e.Content {
				return n, cmp.Or(err, errWritten)
			}
			return n, tx.SetContent(n, earlier)
		})
		if errors.Is(err, errWritten) {
			continue
		}
		if err != nil {
			errs = append(errs, fs.fail("fall back", n, err))
			continue
		}
		fs.tellLoss(fmt.Sprintf("/%s: its content was damaged on this machine before it was uploaded; it has that of %s again, %d bytes; what is left of the other is in %s",
			path, time.UnixMicro(earlier.ModTime).Format(time.DateTime), earlier.Size, fs.opts.State.Cache()))
	}
	return unjudged, errors.Join(errs...)
}

// errWritten means that a file got another content while an earlier one was looked for.
var errWritten = errors.New("it was written since")

// putBack has write give a file, which it returns, a content that available found, and uploads what of that is
// only here.
func (fs *FS) putBack(names map[objectid.ID]bool, uploads []journal.Upload, write func(*loroindex.Tx) (Node, error)) error {
	taken, node := false, loroindex.NoNode
	err := fs.update(func(tx *loroindex.Tx) (err error) {
		node, err = write(tx)
		return err
	}, func() transfer.Change {
		taken = true
		of := func(id objectid.ID) bool { return names[id] }
		return transfer.Change{Node: uint64(node), Objects: uploads, Replaces: true, Names: of}
	})
	if !taken {
		fs.unpin(uploads)
	}
	return err
}

// unpin lets go of chunks that are not to be uploaded after all.
func (fs *FS) unpin(uploads []journal.Upload) {
	for _, u := range uploads {
		fs.cache.Unpin(u.Object)
	}
}

// available returns the objects of a content when all are here or in the store, and what of them is here,
// pinned, to be uploaded. Else there are none; an error is that of a store that cannot be asked.
func (fs *FS) available(ctx context.Context, c loroindex.Content, ino uint64, lost map[objectid.ID]bool) (names map[objectid.ID]bool, uploads []journal.Upload, err error) {
	objects, err := fs.objectsOf(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	names = make(map[objectid.ID]bool)
	for _, id := range objects {
		there := false
		if !lost[id] {
			var size int64
			if size, err = fs.pinHere(id); err == nil {
				there = true
				uploads = append(uploads, journal.Upload{Object: id, Size: size, Node: ino})
			} else {
				there, err = fs.inStore(ctx, id)
			}
		}
		if !there {
			fs.unpin(uploads)
			return nil, nil, err
		}
		names[id] = true
	}
	return names, uploads, nil
}

package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hamflx/pocket/fsimpl/manifest"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// lostWrite is a content of a file that no change names any more, since that was lost with a part of the journal. The
// upload list still has its objects.
type lostWrite struct {
	node    Node   // NoNode: a new file gets it
	name    string // of the new file
	ino     uint64
	content loroindex.Content
}

// renumber has uploads be of the nodes that were made anew; those of no node any more are of none.
func renumber(uploads []journal.Upload, inos map[uint64]uint64) []journal.Upload {
	for n := range uploads {
		if ino, anew := inos[uploads[n].Node]; anew {
			uploads[n].Node = ino
		}
	}
	return uploads
}

// findLostWrites finds what is to be written again after the journal was damaged, and returns its objects. needed are
// the objects that changes in the journal name.
func (fs *FS) findLostWrites(ctx context.Context, uploads []journal.Upload, needed, lost map[objectid.ID]bool) (
	wanted map[objectid.ID]bool, err error) {
	if !fs.suspect {
		return nil, nil
	}
	place := make(map[objectid.ID]int) // in uploads
	unnamed := make(map[objectid.ID]bool)
	for n, u := range uploads {
		place[u.Object] = n
		if _, named := needed[u.Object]; !named && u.Node != 0 && !lost[u.Object] {
			unnamed[u.Object] = true
		}
	}
	for w, err := range fs.index.Writes() {
		if err != nil {
			return nil, err
		}
		delete(unnamed, w.Content.Object)
	}
	of := make(map[uint64][]journal.Upload)
	inos := make(map[uint64]bool)
	for _, u := range uploads {
		if unnamed[u.Object] {
			of[u.Node] = append(of[u.Node], u)
			inos[u.Node] = true
		}
	}
	if len(inos) == 0 {
		return nil, nil
	}
	nodes, err := fs.index.ByIno(inos)
	if err != nil {
		return nil, err
	}
	wanted = make(map[objectid.ID]bool)
	for at, u := range uploads {
		list := of[u.Node]
		if len(list) == 0 || list[len(list)-1].Object != u.Object {
			continue // only the last is the content, or its manifest
		}
		n, known := nodes[u.Node]
		if known && n == loroindex.NoNode {
			continue // it was removed
		}
		content, ok := fs.contentOf(u, len(list) == 1)
		if !ok {
			continue
		}
		w := lostWrite{node: n, name: recoveredName(u.Node, ""), ino: u.Node, content: content}
		objects, err := fs.objectsOf(ctx, content)
		if err != nil {
			continue // which is in the cache
		}
		if known {
			e, err := fs.index.Stat(n)
			if err != nil || e.Kind != loroindex.File || place[e.Object] > place[u.Object] {
				continue
			}
			if now, err := fs.objectsOf(ctx, e.Content); err != nil || slices.Contains(now, u.Object) {
				continue
			}
			if !content.Manifest && (at+1 == len(uploads) || uploads[at+1].Row != u.Row+1) {
				// What followed it on the list was uploaded, or is lost, too: it may be a part of a larger content.
				w.node, w.name = loroindex.NoNode, recoveredName(u.Node, e.Name)
			}
		}
		for _, id := range objects {
			wanted[id] = true
		}
		fs.writes = append(fs.writes, w)
	}
	return wanted, nil
}

// contentOf returns the content of a file of which u was the last that was to be uploaded, and alone if nothing else is.
// Of several the last is the manifest, or they are not the whole of a file.
func (fs *FS) contentOf(u journal.Upload, alone bool) (c loroindex.Content, ok bool) {
	body, err := fs.cache.Get(u.Object)
	if err != nil {
		return c, false
	}
	c = loroindex.Content{Size: int64(len(body)), ModTime: u.Added.UnixMicro(), Object: u.Object}
	if extents, err := manifest.Decode(body, maxObject); err == nil && len(extents) > 0 {
		c.Size, c.Manifest, c.First = extents.Size(), true, extents[0].Object
		return c, true
	}
	return c, alone
}

// recoveredName is the name of a new file with what was written to one, whose name is part of it if it is known.
func recoveredName(ino uint64, of string) string {
	name := loroindex.RecoveredName(ino)
	const more = len("~1000") // see createFree
	if long := name + "-" + of; of != "" && len(long)+more <= loroindex.MaxName {
		return long
	}
	return name
}

// createFree makes a file in the root directory, under a name or that with the first number that is free.
func createFree(tx *loroindex.Tx, name string, c loroindex.Content) (n Node, err error) {
	for i, free := 2, name; ; i++ {
		n, err = tx.Create(Root, free, loroindex.Info{Mode: 0o644, UID: -1, GID: -1}, c)
		if !errors.Is(err, loroindex.ErrExist) {
			return n, err
		}
		free = fmt.Sprintf("%s~%d", name, i)
	}
}

// writeAgain writes what findLostWrites found: to the file it was of, if that was not written later, or to a new one.
func (fs *FS) writeAgain(ctx context.Context, lost map[objectid.ID]bool) error {
	var errs []error
	for _, w := range fs.writes {
		names, uploads, err := fs.available(ctx, w.content, w.ino, lost)
		if err != nil || names == nil {
			continue // what there is of it stays in the cache
		}
		added := w.content.ModTime / 1e6
		node := w.node
		err = fs.putBack(names, uploads, func(tx *loroindex.Tx) (_ Node, err error) {
			if node == loroindex.NoNode {
				node, err = createFree(tx, w.name, w.content)
				return node, err
			}
			if _, unix := tx.WrittenBy(node); unix > added {
				return node, errWritten
			}
			return node, tx.SetContent(node, w.content)
		})
		switch {
		case errors.Is(err, errWritten), errors.Is(err, loroindex.ErrRemoved):
		case err != nil:
			errs = append(errs, fs.fail("write again", node, err))
		default:
			path, _ := fs.index.Path(node)
			fs.tell(fmt.Sprintf("/%s: the change that wrote it is lost, but not what it wrote, %d bytes: it has that again",
				path, w.content.Size))
		}
	}
	fs.writes = nil
	return errors.Join(errs...)
}

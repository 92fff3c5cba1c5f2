package fsimpl

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
)

// besides is a content that was put beside a file, which has another one.
type besides struct {
	node   Node
	name   string
	loser  string // the device that wrote it
	winner string // the device that wrote that
	here   bool   // which is this one
}

// keepCopy puts a content that lost beside the file that has the winner's.
func (fs *FS) keepCopy(lost loroindex.Lost) error {
	uploads := fs.here(lost.Content)
	kept := besides{node: loroindex.NoNode, loser: fs.opts.Device, winner: lost.Winner}
	queued := false
	err := fs.update(func(tx *loroindex.Tx) error {
		e, err := tx.Stat(lost.Node)
		if err != nil {
			return err
		}
		if e.Kind != loroindex.File {
			return nil
		}
		if e.Parent, err = tx.Home(lost.Node); err != nil { // it may be removed
			return err
		}
		return kept.create(tx, e, lost.Content, lost.Time)
	}, func() transfer.Change {
		queued = true
		return transfer.Change{Node: uint64(kept.node), Objects: uploads}
	})
	if !queued {
		for _, u := range uploads {
			fs.cache.Unpin(u.Object)
		}
	}
	if err != nil {
		return fmt.Errorf("its content is %s: %w", lost.Content.Object.Key(), err)
	}
	fs.tellKept(kept, lost.Node)
	return nil
}

// here returns the objects of a content that are on this machine, pinned. They may be not uploaded
// yet, for a file that is written anew before they are.
func (fs *FS) here(c loroindex.Content) (uploads []journal.Upload) {
	seen := make(map[objectid.ID]bool)
	objects, _ := fs.objectsOf(fs.ctx, c) // those that a manifest in the store only tells of are there as well
	for _, id := range objects {
		if size, ok := fs.cache.Size(id); ok && !seen[id] && fs.cache.Pin(id) == nil {
			uploads = append(uploads, journal.Upload{Object: id, Size: size})
		}
		seen[id] = true
	}
	return uploads
}

// create makes a file beside e that has a content written by b.loser at a time in seconds since
// 1970, if there is none that has it already.
func (b *besides) create(tx *loroindex.Tx, e loroindex.Entry, c loroindex.Content, unix int64) error {
	for nth := 1; ; nth++ {
		name := loroindex.ConflictName(e.Name, b.loser, unix, nth)
		info := e.Info
		info.Changed = 0
		n, err := tx.Create(e.Parent, name, info, c)
		if err == nil {
			b.node, b.name = n, name
		}
		if !errors.Is(err, loroindex.ErrExist) {
			return err
		}
		if there, err := tx.Lookup(e.Parent, name); err == nil && there.Object == c.Object {
			return nil // kept before
		}
	}
}

// giveWay is called before a file gets a content that was written here: what came from other
// machines since its writer looked, he did not know. Another content is put beside the file, and
// one that was removed comes back. Called with mu held.
//
// Errors: ErrRemoved when it was removed here.
func (i *inode) giveWay(tx *loroindex.Tx, written loroindex.Content) (kept besides, err error) {
	kept.node, kept.winner, kept.here = loroindex.NoNode, i.fs.opts.Device, true
	e, err := tx.Stat(i.node)
	if err != nil {
		return kept, err
	}
	if e.Removed {
		if tx.RemovedHere(i.node) {
			return kept, loroindex.ErrRemoved
		}
		if err := tx.Rescue(i.node); err != nil {
			return kept, err
		}
		if e, err = tx.Stat(i.node); err != nil {
			return kept, err
		}
		kept.node = i.node // it appears
	}
	if e.Size == 0 || sameBytes(e.Content, i.content) || sameBytes(e.Content, written) {
		return kept, nil
	}
	var unix int64
	kept.loser, unix = tx.WrittenBy(i.node)
	return kept, kept.create(tx, e, e.Content, unix)
}

func sameBytes(a, b loroindex.Content) bool { return a.Object == b.Object && a.Size == b.Size }

// tellKept tells of a content that was put beside a file, and those who watch the directory of what
// appeared there.
func (fs *FS) tellKept(kept besides, file Node) {
	if kept.node == loroindex.NoNode {
		return
	}
	fs.mu.Lock()
	fs.cameUp = append(fs.cameUp, kept.node)
	fs.mu.Unlock()
	if kept.name == "" {
		return
	}
	fs.log.Info("kept a conflict copy", "name", kept.name, "winner", kept.winner)
	path, err := fs.index.Path(file)
	var line string
	switch {
	case err != nil:
		line = fmt.Sprintf("a file that was written here was removed on another machine: what was written is kept as %s", kept.name)
	case kept.here:
		line = fmt.Sprintf("/%s was written on two machines at once: it has what was written here, and what %s wrote is beside it as %s", path, cmp.Or(kept.loser, "the other"), kept.name)
	default:
		line = fmt.Sprintf("/%s was written on two machines at once: it has what %s wrote, and what was written here is beside it as %s", path, kept.winner, kept.name)
	}
	fs.marks.tell(fs.opts.Now(), line)
}

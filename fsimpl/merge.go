package fsimpl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hamflx/pocket/fsimpl/transfer"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/objstore"
)

// maxTip bounds the size of the index's tip.
const maxTip = 4096

// pollLoop brings in what other machines publish: it asks for one small object, and only
// when that changed, for the rest. A change by this machine counts too, for it may have
// covered another's. After an Open without the store it begins by reading all there is.
func (fs *FS) pollLoop() {
	seen := ""
	behind := fs.offline
	for pause := fs.opts.Poll; ; {
		select {
		case <-time.After(pause):
		case <-fs.ctx.Done():
			return
		}
		done := fs.outage.Ask(objstore.OpGet, loroindex.TipKey)
		changed, err := fs.tipChanged(fs.ctx, &seen)
		done(err)
		fs.showCameUp()
		if behind = behind || changed; behind && err == nil {
			if err = fs.pull(fs.ctx); err == nil {
				behind = false
			}
		}
		if err != nil && fs.ctx.Err() == nil {
			fs.log.Debug("cannot look for changes of other machines; trying again", "error", err)
			pause = min(2*pause, max(pollSlowest, fs.opts.Poll))
			continue
		}
		if err == nil {
			fs.marks.note(&fs.marks.checked, fs.opts.Now())
		}
		pause = fs.opts.Poll
	}
}

// tipChanged reports whether the tip is not the one that seen names, and makes seen name
// it.
func (fs *FS) tipChanged(ctx context.Context, seen *string) (bool, error) {
	var etag string
	var err error
	if store, ok := objstore.As[objstore.ConditionalGetter](fs.opts.Store); ok {
		_, etag, err = store.GetIfChanged(ctx, loroindex.TipKey, *seen, maxTip)
	} else {
		var body []byte
		body, err = fs.opts.Store.Get(ctx, loroindex.TipKey, maxTip)
		etag = string(body)
	}
	if errors.Is(err, objstore.ErrNotModified) || errors.Is(err, objstore.ErrNotExist) {
		return false, nil // without a tip nothing was published yet
	}
	if err != nil || etag == *seen {
		return false, err
	}
	*seen = etag
	return true, nil
}

// pull merges what the store has and this machine does not know.
func (fs *FS) pull(ctx context.Context) error {
	return fs.merge(func() (loroindex.Changes, error) { return fs.index.Pull(ctx, fs.bucket, fs.bucket.local) })
}

// merge does what comes of an import of other machines' changes, also of those that came before
// an error.
func (fs *FS) merge(bringIn func() (loroindex.Changes, error)) error {
	changes, err := bringIn()
	if len(changes.Nodes) > 0 {
		fs.log.Info("merged changes of other machines", "nodes", len(changes.Nodes))
		fs.marks.note(&fs.marks.merged, fs.opts.Now())
	}
	fs.notify(changes.Nodes)
	return errors.Join(err, fs.keepLosers(changes))
}

// keepLosers keeps what a merge would otherwise have taken away from this machine's
// user: a content that lost against another machine's becomes a file of its own, and what was
// created or written in a directory that another machine deleted comes back.
func (fs *FS) keepLosers(changes loroindex.Changes) error {
	var errs []error
	for _, lost := range changes.Lost {
		if lost.Content.Size == 0 {
			continue // an empty file holds nothing to keep
		}
		errs = append(errs, fs.fail("keep a conflict copy of", lost.Node, fs.keepCopy(lost)))
	}
	for _, orphan := range changes.Orphans {
		err := fs.update(func(tx *loroindex.Tx) error { return tx.Rescue(orphan.Node) }, nil)
		if err != nil && !errors.Is(err, loroindex.ErrInvalid) { // ErrInvalid: it is in sight again already
			errs = append(errs, fs.fail("bring back", orphan.Node, err))
		}
		if err == nil {
			fs.appeared(orphan.Node)
		}
	}
	fs.showCameUp()
	return errors.Join(errs...)
}

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
	for _, id := range fs.objectsOf(fs.ctx, c) {
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

// showCameUp tells of the nodes of cameUp.
func (fs *FS) showCameUp() {
	fs.mu.Lock()
	nodes := fs.cameUp
	fs.cameUp = nil
	fs.mu.Unlock()
	for _, n := range nodes {
		fs.appeared(n)
	}
}

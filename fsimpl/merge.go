package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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
	fs.merges.underway.Add(1)
	changes, err := bringIn()
	if len(changes.Nodes) > 0 {
		fs.merges.last.Store(int64(time.Since(fs.merges.epoch)) + 1)
		fs.log.Info("merged changes of other machines", "nodes", len(changes.Nodes))
		fs.marks.note(&fs.marks.merged, fs.opts.Now())
	}
	fs.merges.underway.Add(-1)
	fs.notify(changes.Nodes)
	return errors.Join(err, fs.keepLosers(changes))
}

// merges tells when entries changed that no program of this machine changed.
type merges struct {
	epoch    time.Time    // set by Open
	underway atomic.Int32 // imports
	last     atomic.Int64 // when one that changed something ended, nanoseconds since epoch; 0: never
}

// MergedWithin reports whether entries changed in the last d, or may be changing now, by what arrived from
// the store: what a system keeps of them may be outdated.
func (fs *FS) MergedWithin(d time.Duration) bool {
	if fs.merges.underway.Load() > 0 {
		return true
	}
	last := fs.merges.last.Load()
	return last > 0 && time.Since(fs.merges.epoch)-time.Duration(last) < d
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
	return errors.Join(errs...)
}

// keepCopy puts a content that lost beside the file that has the winner's.
func (fs *FS) keepCopy(lost loroindex.Lost) error {
	var kept string
	var copied Node
	err := fs.update(func(tx *loroindex.Tx) error {
		e, err := tx.Stat(lost.Node)
		if err != nil {
			return err
		}
		if e.Removed || e.Kind != loroindex.File {
			return nil
		}
		for nth := 1; ; nth++ {
			name := loroindex.ConflictName(e.Name, fs.opts.Device, lost.Time, nth)
			info := e.Info
			info.Changed = 0
			n, err := tx.Create(e.Parent, name, info, lost.Content)
			if !errors.Is(err, loroindex.ErrExist) {
				if err == nil {
					fs.log.Info("kept a conflict copy", "name", name, "winner", lost.Winner)
					kept, copied = name, n
				}
				return err
			}
			if there, err := tx.Lookup(e.Parent, name); err == nil && there.Object == lost.Content.Object {
				return nil // kept before
			}
		}
	}, nil)
	if err != nil {
		return fmt.Errorf("its content is %s: %w", lost.Content.Object.Key(), err)
	}
	if kept != "" {
		fs.appeared(copied)
	}
	if path, err := fs.index.Path(lost.Node); err == nil && kept != "" {
		fs.marks.tell(fs.opts.Now(), fmt.Sprintf("/%s was written on two machines at once: it has what %s wrote, and what was written here is beside it as %s", path, lost.Winner, kept))
	}
	return nil
}

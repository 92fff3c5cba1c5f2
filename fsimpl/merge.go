package fsimpl

import (
	"context"
	"errors"
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
	var refused time.Time // since when it fails in a way that is no outage; zero: it does not
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
			if refused.IsZero() && !errors.Is(err, objstore.ErrUnavailable) { // the log has outages from who asks after them
				refused = fs.opts.Now()
				fs.log.Warn("other machines' changes cannot be read; it is tried again", "error", err)
			}
			fs.log.Debug("cannot look for changes of other machines; trying again", "error", err)
			pause = min(2*pause, max(pollSlowest, fs.opts.Poll))
			continue
		}
		if err == nil {
			if !refused.IsZero() {
				fs.log.Info("other machines' changes can be read again", "failing since", refused)
				refused = time.Time{}
			}
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

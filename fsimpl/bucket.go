package fsimpl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hamflx/pocket/internal/atomicfile"
	"github.com/hamflx/pocket/internal/busyfile"
	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex"
	"github.com/hamflx/pocket/loroindex/loro"
	"github.com/hamflx/pocket/objstore"
)

// bucket is the store as the index sees it. The updates written to it are also kept
// on this machine, so that a start without network knows them.
type bucket struct {
	store objstore.Store
	local *localIndex
}

func (b *bucket) Get(ctx context.Context, key string, max int64) ([]byte, error) {
	return b.store.Get(ctx, key, max)
}

func (b *bucket) Put(ctx context.Context, key string, body []byte) error {
	if err := b.store.Put(ctx, key, body); err != nil {
		return err
	}
	if _, err := loroindex.ParseUpdateKey(key); err == nil {
		// What is published need not be kept as a change any more, so this makes room.
		return b.local.put(ctx, key, body, true)
	}
	return nil
}

func (b *bucket) List(ctx context.Context, prefix, after string) iter.Seq2[loroindex.Object, error] {
	return func(yield func(loroindex.Object, error) bool) {
		for info, err := range b.store.List(ctx, prefix, after) {
			if !yield(loroindex.Object{Key: info.Key, Size: info.Size, ModTime: info.ModTime}, err) {
				return
			}
		}
	}
}

func (b *bucket) NotExist(err error) bool { return errors.Is(err, objstore.ErrNotExist) }

// metaSawNothing is set in the journal once this machine has seen the store without an
// index: until it knows one, it can work alone from that.
const metaSawNothing = "index: saw none"

// nothing is a bucket without an index.
type nothing struct{}

var errNothing = errors.New("there was no index when the store was reached last")

func (nothing) Get(context.Context, string, int64) ([]byte, error) { return nil, errNothing }
func (nothing) Put(context.Context, string, []byte) error          { return errNothing }
func (nothing) NotExist(err error) bool                            { return errors.Is(err, errNothing) }
func (nothing) List(context.Context, string, string) iter.Seq2[loroindex.Object, error] {
	return func(func(loroindex.Object, error) bool) {}
}

// localIndex keeps the index objects known from the store on this machine:
// updates in the journal, snapshots as files of the state directory's index folder.
type localIndex struct {
	journal *journal.Journal
	dir     string

	mu     sync.Mutex
	listed map[string]journal.IndexObject // what List yielded and Get was not asked for yet; guarded by mu
}

const snapshotSuffix = ".loro"

// known reports whether anything is kept: whether this machine can work alone.
func (l *localIndex) known(ctx context.Context) bool {
	for _, err := range l.List(ctx) {
		return err == nil
	}
	return false
}

func (l *localIndex) List(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for o, err := range l.journal.IndexObjects(ctx) {
			l.mu.Lock()
			if l.listed == nil {
				l.listed = make(map[string]journal.IndexObject)
			}
			l.listed[o.Key] = o
			l.mu.Unlock()
			if !yield(o.Key, err) || err != nil {
				return
			}
		}
	}
}

// Get returns a kept object: usually one that was just listed, so that reading all of
// them reads the journal once.
func (l *localIndex) Get(ctx context.Context, key string) ([]byte, error) {
	l.mu.Lock()
	o, found := l.listed[key]
	delete(l.listed, key)
	l.mu.Unlock()
	if !found {
		for kept, err := range l.journal.IndexObjects(ctx) {
			if err != nil {
				return nil, err
			}
			if found = kept.Key == key; found {
				o = kept
				break
			}
		}
	}
	switch {
	case !found:
		return nil, fmt.Errorf("%s is not kept on this machine", key)
	case o.File == "":
		return o.Body, nil
	}
	return busyfile.ReadFile(filepath.Join(l.dir, o.File))
}

// forget drops what was listed and not asked for.
func (l *localIndex) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listed = nil
}

func (l *localIndex) Put(ctx context.Context, key string, body []byte) error {
	return l.put(ctx, key, body, false)
}

func (l *localIndex) put(ctx context.Context, key string, body []byte, makesRoom bool) error {
	object := journal.IndexObject{Key: key, Body: body, Size: int64(len(body))}
	if hash, ok := strings.CutPrefix(key, loroindex.ObjectPrefix); ok {
		object.Body, object.File = nil, hash+snapshotSuffix
		if err := atomicfile.Write(filepath.Join(l.dir, object.File), body, 0o600); err != nil {
			return fmt.Errorf("keeping %s on this machine: %w", key, err)
		}
	}
	if err := l.journal.UpdateIndexObjects(ctx, []journal.IndexObject{object}, nil, makesRoom); err != nil {
		return fmt.Errorf("keeping %s on this machine: %w", key, err)
	}
	return nil
}

// prune forgets what a snapshot that includes version makes unnecessary: the updates
// it covers and all other snapshots.
func (l *localIndex) prune(ctx context.Context, id objectid.ID, version loroindex.Version) error {
	var drop, files []string
	kept := false
	for o, err := range l.journal.IndexObjects(ctx) {
		if err != nil {
			return err
		}
		switch span, isUpdate := loroindex.ParseUpdateKey(o.Key); {
		case isUpdate == nil && version[loro.PeerID(span.Peer)] >= span.End:
			drop = append(drop, o.Key)
		case o.Key == loroindex.ObjectKey(id):
			kept = true
		case o.File != "":
			drop, files = append(drop, o.Key), append(files, o.File)
		}
	}
	if !kept {
		// The head's snapshot was another machine's and is not kept here: what
		// is kept is still all that this machine could start from.
		return nil
	}
	if err := l.journal.UpdateIndexObjects(ctx, nil, drop, true); err != nil {
		return err
	}
	if len(files) > 0 {
		// After a power loss the journal must not name a file that is gone.
		if err := l.journal.Sync(ctx); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := busyfile.Remove(filepath.Join(l.dir, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

package loroindex

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// Loaded is an opened index and what was found.
type Loaded struct {
	Index *Index
	// Bucket is what the bucket's objects include: operations of Index beyond
	// it are not published yet. Empty when the bucket was not read.
	Bucket Version
	// Head is the snapshot the bucket's head names, or zero. When it is zero or
	// Damaged says so, PublishSnapshot writes a new one.
	Head objectid.ID
	// Snapshots and Updates count the objects read, here or from the bucket.
	Snapshots, Updates int
	// Fresh: there was no index at all; an empty one was made, nothing written.
	Fresh bool
	// Migrated: the bucket held an index of schema 1. The operations that made
	// schema 2 of it are published with the first change.
	Migrated bool
	// Damaged holds what was wrong with objects and copies that could be done
	// without.
	Damaged []error
	// Changes is what the bucket held beyond what this machine kept.
	Changes Changes
}

// Load opens the index of a bucket: what this machine keeps, then the snapshot
// named by the head, then the updates it does not cover. Without a usable head
// all snapshots are read. Nothing is written to the bucket.
//
// local may be nil. A nil bucket opens what local keeps, alone: for when the
// bucket cannot be reached.
//
// Errors: those of the bucket in a KeyError; ErrDamaged, ErrMissing,
// ErrIndexGone, ErrForeign, ErrNewerSchema. None of them leaves a trace.
func Load(ctx context.Context, b Bucket, local Local, o Options) (*Loaded, error) {
	l := &loading{ctx: ctx, b: b, local: local, x: newIndex(o), out: &Loaded{}}
	l.out.Index = l.x
	if err := l.fromLocal(); err != nil {
		return nil, err
	}
	known := len(l.x.doc.Version()) > 0
	if known && !l.x.isFirst() && l.x.missing() == nil {
		// From here on the bucket's objects are news: what they do to this
		// device's own work is looked at.
		if err := l.x.start(); err != nil {
			return nil, err
		}
		l.live = true
	}
	if b != nil {
		if err := l.fromBucket(known); err != nil {
			return nil, err
		}
		l.out.Bucket = l.x.shelf.version()
	} else if !known {
		return nil, fmt.Errorf("%w: this machine keeps no copy of the index; connect to the bucket once", ErrMissing)
	}
	var err error
	if !l.live {
		_, err = l.x.startOrMigrate()
	}
	if gap := l.x.missing(); gap != nil {
		err = gap // which is why the rest may be wanting
	}
	if err != nil {
		return nil, err
	}
	l.out.Damaged = append(l.out.Damaged, l.unkept...)
	l.out.Fresh = !l.x.schema
	l.out.Migrated = l.x.migrated.End > 0
	if l.bytes > largeLoad {
		// What was read is garbage now, up to as much as the index itself.
		debug.FreeOSMemory()
	}
	return l.out, nil
}

// largeLoad is how many bytes a Load reads before it is worth a collection.
const largeLoad = 16 << 20

// loading is a Load under way.
type loading struct {
	ctx   context.Context
	b     Bucket
	local Local
	x     *Index
	out   *Loaded
	live  bool            // the view was started: imports are followed
	keeps map[string]bool // keys of local copies that can be read
	sound int             // snapshots that could be read
	since time.Time       // snapshots older than this are included in the head's
	bytes int             // size of all that was imported

	unkept []error // copies that could not be kept
}

// take imports a blob.
func (l *loading) take(blob []byte) error {
	_, err := l.takeAll([][]byte{blob})
	return err
}

// takeAll imports blobs in order. It returns how many, all of them if err is nil and
// fewer if not.
func (l *loading) takeAll(blobs [][]byte) (done int, err error) {
	if len(blobs) == 0 {
		return 0, nil
	}
	for _, blob := range blobs {
		l.bytes += len(blob)
	}
	if l.live {
		c, done, err := l.x.ImportAll(blobs...)
		l.out.Changes.add(c)
		if err != nil {
			// The document is refused as it is now: the last one stands for it.
			done = min(done, len(blobs)-1)
		}
		return done, err
	}
	for done, blob := range blobs {
		if _, err := l.x.doc.Import(blob); err != nil {
			return done, err
		}
	}
	return len(blobs), nil
}

// damaged notes an object that is not what it should be.
func (l *loading) damaged(err error) { l.out.Damaged = append(l.out.Damaged, err) }

// fromLocal imports what this machine keeps: the snapshot that includes most,
// then what that lacks. Copies that are damaged are left to the bucket.
func (l *loading) fromLocal() error {
	l.keeps = make(map[string]bool)
	if l.local == nil {
		return nil
	}
	var snapshots []kept
	var updates []Span
	for key, err := range l.local.List(l.ctx) {
		if err != nil {
			return fmt.Errorf("index: list the copies on this machine: %w", err)
		}
		if id, err := ParseObjectKey(key); err == nil {
			body, err := l.local.Get(l.ctx, key)
			if err == nil {
				err = checkSnapshot(id, body)
			}
			var meta loro.Meta
			if err == nil {
				meta, err = loro.Peek(body)
			}
			if err != nil {
				l.damaged(&KeyError{"read the copy of", key, err})
				continue
			}
			snapshots = append(snapshots, kept{id, body, meta.End})
			// Only the bytes of the largest stay, which are imported for sure: the
			// others are read again if they hold more.
			if n := len(snapshots) - 1; n > 0 {
				if operations(meta.End) > operations(snapshots[0].end) {
					snapshots[0], snapshots[n] = snapshots[n], snapshots[0]
				}
				snapshots[n].body = nil
			}
		} else if span, err := ParseUpdateKey(key); err == nil {
			updates = append(updates, span)
		}
	}
	slices.SortStableFunc(snapshots, func(a, b kept) int { return int(operations(b.end) - operations(a.end)) })
	for i, s := range snapshots {
		snapshots[i].body = nil
		if !l.x.doc.Version().Covers(s.end) {
			var err error
			if s.body == nil {
				if s.body, err = l.local.Get(l.ctx, ObjectKey(s.id)); err == nil {
					err = checkSnapshot(s.id, s.body)
				}
			}
			if err == nil {
				err = l.take(s.body)
			}
			if err != nil {
				l.damaged(&KeyError{"import the copy of", ObjectKey(s.id), err})
				continue
			}
			l.out.Snapshots++
		}
		l.keeps[ObjectKey(s.id)] = true
		l.x.shelf.note(s.id, s.end)
		l.sound++
	}
	slices.SortFunc(updates, compareSpans)
	for _, s := range updates {
		key := UpdateKey(s)
		if covers(l.x.doc.Version(), s) {
			l.keeps[key] = true
			continue
		}
		body, err := l.local.Get(l.ctx, key)
		if err == nil {
			err = l.take(body)
		}
		if err != nil {
			l.damaged(&KeyError{"read the copy of", key, err})
			continue
		}
		l.keeps[key] = true
		l.out.Updates++
	}
	return nil
}

// kept is a snapshot of which this machine has a copy.
type kept struct {
	id   objectid.ID
	body []byte // nil: read it again
	end  Version
}

func operations(v Version) int64 {
	n := int64(0)
	for _, end := range v {
		n += int64(end)
	}
	return n
}

func covers(v Version, s Span) bool { return v[peerID(s.Peer)] >= s.End }

func peerID(p uint64) loro.PeerID { return loro.PeerID(p) }

// fromBucket imports what the bucket holds beyond what is here. known says that
// this machine keeps copies of a published index.
func (l *loading) fromBucket(known bool) error {
	h, err := readHead(l.ctx, l.b)
	if err != nil {
		return err
	}
	headErr, usable := h.err, false
	if h.there && h.err == nil {
		headErr = l.snapshot(h.id)
		if headErr == nil {
			l.out.Head = h.id
			usable = l.isCurrent(h.id)
		} else if !errors.Is(headErr, ErrDamaged) {
			return headErr
		}
	}
	if headErr != nil {
		l.damaged(headErr)
	}
	objects, err := l.otherSnapshots(h, usable)
	if err != nil {
		return err
	}
	if objects > 0 && l.sound == 0 {
		return fmt.Errorf("no snapshot of the index can be read, nothing was changed; restore one of these objects from a backup or another machine: %w", errors.Join(l.out.Damaged...))
	}
	updates, err := l.x.pullUpdates(l.ctx, l.b, l)
	if err != nil {
		return err
	}
	if !h.there && objects == 0 && updates == 0 && known {
		return fmt.Errorf("%w: neither %s nor anything below %s and %s exists, but this machine keeps copies of it; check the bucket and the prefix", ErrIndexGone, HeadKey, ObjectPrefix, UpdatePrefix)
	}
	if h.there && objects == 0 && l.sound == 0 {
		return fmt.Errorf("%w: nothing was changed: %w", ErrDamaged, headErr)
	}
	l.x.shelf.mu.Lock()
	l.x.shelf.looked = l.x.now()
	l.x.shelf.mu.Unlock()
	return nil
}

// isCurrent reports whether a snapshot that was read is of schema 2. One that
// is not may have been put before one that is by an old version of Pocket on
// another machine, and does not stand for it.
func (l *loading) isCurrent(id objectid.ID) bool {
	includes, _ := l.x.shelf.seen(id)
	if l.live {
		l.x.mu.RLock()
		defer l.x.mu.RUnlock()
	}
	reg, ok := l.x.pocket.Register(keySchema)
	if !ok {
		return false
	}
	op, ok := newCausality(l.x.doc).idOf(reg.IDLP)
	return !ok || includes.Includes(op) // before the start of a compacted history: included
}

// snapshot imports one snapshot of the bucket, or the copy kept of it.
func (l *loading) snapshot(id objectid.ID) error {
	if _, ok := l.x.shelf.seen(id); ok {
		return nil
	}
	body, err := getSnapshot(l.ctx, l.b, id)
	if err != nil {
		return err
	}
	meta, err := loro.Peek(body)
	if err == nil {
		err = l.take(body)
	}
	if err != nil {
		return &KeyError{"import", ObjectKey(id), asDamage(err)}
	}
	l.sound++
	l.out.Snapshots++
	l.x.shelf.note(id, meta.End)
	l.keep(ObjectKey(id), body)
	return nil
}

// asDamage makes what a blob cannot be imported for an ErrDamaged, unless it is
// sound but of another version.
func asDamage(err error) error {
	if errors.Is(err, ErrNewerSchema) || errors.Is(err, ErrForeign) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// keep hands an object to this machine's copies. That it cannot be kept is no
// reason to stop, but is told at the end.
func (l *loading) keep(key string, body []byte) {
	if l.local == nil {
		return
	}
	if err := l.local.Put(l.ctx, key, body); err != nil {
		l.unkept = append(l.unkept, &KeyError{"keep a copy of", key, err})
	}
}

// otherSnapshots lists the snapshots and imports those the head does not stand
// for: all when the head is of no use, else the ones as new as its own. Such a
// one was written by a device that was stopped before it wrote the head, or
// whose head another one overwrote that did not know it. It returns how many
// snapshots there are.
func (l *loading) otherSnapshots(h head, usable bool) (int, error) {
	var all []Object
	for obj, err := range l.b.List(l.ctx, ObjectPrefix, "") {
		if err != nil {
			return 0, &KeyError{"list", ObjectPrefix, err}
		}
		id, err := ParseObjectKey(obj.Key)
		if err != nil {
			continue // not written by Pocket
		}
		if usable && id == h.id && l.since.IsZero() {
			l.since = obj.ModTime.Add(-headSlack)
		}
		all = append(all, obj)
	}
	for _, obj := range all {
		id, err := ParseObjectKey(obj.Key)
		if err != nil || id == h.id || usable && obj.ModTime.Before(l.since) {
			continue
		}
		if err := l.snapshot(id); err != nil {
			if !errors.Is(err, ErrDamaged) {
				return 0, err
			}
			l.damaged(err)
		}
	}
	return len(all), nil
}

// headSlack is how much older than the head's snapshot one may look that was
// written after it: stores of different machines do not agree on the time.
const headSlack = time.Minute

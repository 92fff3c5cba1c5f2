package loroindex

import (
	"context"
	"errors"
	"fmt"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// Publish writes one peer's operations as an update object, then the tip. It
// returns the object's key; when that is not "", the object is durable, also
// when writing the tip failed and err says so. Publishing a span again, or one
// that overlaps others, is harmless. Of one peer, earlier operations must be
// published before later ones, and the operations a session built on before its
// own.
//
// Errors: those of the bucket in a KeyError; ErrMissing when the index lacks
// some of the operations.
func (x *Index) Publish(ctx context.Context, b Bucket, s Span) (key string, err error) {
	if key, err = x.PublishUpdate(ctx, b, s); err != nil {
		return key, err
	}
	return key, x.PublishTip(ctx, b, s)
}

// PublishUpdate is Publish without the tip: the operations are in the bucket on
// return, and devices that only look at the tip do not know yet.
func (x *Index) PublishUpdate(ctx context.Context, b Bucket, s Span) (key string, err error) {
	if err := x.publishMigration(ctx, b); err != nil {
		return "", err
	}
	body, err := x.Export(s)
	if err != nil {
		return "", err
	}
	key = UpdateKey(s)
	if err := b.Put(ctx, key, body); err != nil {
		return "", &KeyError{"put", key, err}
	}
	x.shelf.noteSpan(s)
	return key, nil
}

// PublishTip writes the tip after PublishUpdate; one, after the last of several, will do.
func (x *Index) PublishTip(ctx context.Context, b Bucket, s Span) error {
	if err := b.Put(ctx, TipKey, []byte(tipOf(s))); err != nil {
		return &KeyError{"put", TipKey, err}
	}
	return nil
}

// tipOf is the tip after a span was published: what its key ends in.
func tipOf(s Span) string { return UpdateKey(s)[len(UpdatePrefix):] }

// PublishSnapshot writes what the bucket holds in pieces as one snapshot object
// and points the head to it. Operations not published yet are not in it: they
// may name contents that are not uploaded. When the bucket has a snapshot with
// operations this index lacks, they are merged first. It does nothing when the
// head's snapshot includes everything, and for an index whose history was
// trimmed while it has operations to publish. It returns the snapshot the head
// names then, zero if there is nothing to write.
//
// It may run beside Publish. Whatever step it is stopped after, the bucket includes what it did before.
//
// Errors: those of the bucket and of local in a KeyError; ErrDamaged when the
// object reads back other than it was written; ErrMissing.
func (x *Index) PublishSnapshot(ctx context.Context, b Bucket, local Local) (objectid.ID, Changes, error) {
	l := &loading{ctx: ctx, b: b, local: local, x: x, out: &Loaded{}, live: true}
	id, err := l.publishSnapshot()
	return id, l.out.Changes, errors.Join(append(l.unkept, err)...)
}

// SnapshotVersion returns what a snapshot includes that PublishSnapshot wrote or this index read:
// nothing for another one. Every operation in it is in the bucket.
func (x *Index) SnapshotVersion(id objectid.ID) Version {
	v, _ := x.shelf.seen(id)
	return v.Clone()
}

func (l *loading) publishSnapshot() (objectid.ID, error) {
	const rounds = 3
	x := l.x
	h, err := readHead(l.ctx, l.b)
	if err != nil {
		return objectid.ID{}, err
	}
	usable := h.there && h.err == nil
	if usable {
		if err := l.snapshot(h.id); errors.Is(err, ErrDamaged) {
			usable = false
		} else if err != nil {
			return objectid.ID{}, err
		} else {
			usable = l.isCurrent(h.id)
		}
	}
	if err := x.publishMigration(l.ctx, l.b); err != nil {
		return objectid.ID{}, err
	}
	for round := 1; ; round++ {
		// A snapshot this index does not know, because another device is about
		// to point the head to it, must not be left behind by the head. That
		// holds after writing the head as before. Updates that were published
		// meanwhile are found without it.
		known := l.out.Snapshots
		if _, err := l.otherSnapshots(h, usable); err != nil {
			return objectid.ID{}, err
		}
		if round > 1 && l.out.Snapshots == known {
			return h.id, nil
		}
		has := x.shelf.version()
		if v, ok := x.shelf.seen(h.id); usable && ok && v.Covers(has) {
			return h.id, nil
		}
		if len(has) == 0 || round > rounds || x.trimmedAhead(has) {
			return h.id, nil
		}
		body, v, err := x.snapshotOf(has)
		if err != nil {
			return objectid.ID{}, err
		}
		id := objectid.Of(body)
		key := ObjectKey(id)
		if err := l.b.Put(l.ctx, key, body); err != nil {
			return objectid.ID{}, &KeyError{"put", key, err}
		}
		body = nil // it is large
		if body, err = getSnapshot(l.ctx, l.b, id); err != nil {
			return objectid.ID{}, err
		}
		if err := l.b.Put(l.ctx, HeadKey, []byte(id.String())); err != nil {
			return objectid.ID{}, &KeyError{"put", HeadKey, err}
		}
		x.shelf.note(id, v)
		l.keep(key, body)
		h, usable = head{id: id, there: true}, true
	}
}

// trimmedAhead reports whether the document has operations beyond has, and no
// beginning that a document without them could be made from.
func (x *Index) trimmedAhead(has Version) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.doc.IsShallow() && !has.Covers(x.doc.Version())
}

// snapshotOf makes a snapshot of the operations in has, which the document
// includes.
func (x *Index) snapshotOf(has Version) ([]byte, Version, error) {
	x.mu.RLock()
	if has.Covers(x.doc.Version()) {
		defer x.mu.RUnlock()
		return x.exportSnapshot()
	}
	doc := loro.NewDoc(x.doc.Peer()) // never edited
	var blobs [][]byte
	for p, end := range has {
		b, err := x.export(Span{Peer: uint64(p), Start: 0, End: end})
		if err != nil {
			x.mu.RUnlock()
			return nil, nil, err
		}
		blobs = append(blobs, b)
	}
	x.mu.RUnlock()
	for _, b := range blobs {
		if _, err := doc.Import(b); err != nil {
			return nil, nil, fmt.Errorf("index snapshot: %w", err)
		}
	}
	if waiting := pendingSpans(doc.Pending()); len(waiting) > 0 {
		return nil, nil, fmt.Errorf("index snapshot: publish what was done earlier first: %w", &MissingError{waiting, doc.Version()})
	}
	b, err := doc.ExportSnapshot()
	if err != nil {
		return nil, nil, fmt.Errorf("index snapshot: %w", err)
	}
	return b, doc.Version(), nil
}

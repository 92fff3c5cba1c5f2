package loroindex

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Fault is something that is not as it should be, or worth knowing.
type Fault struct {
	Key  string // the object it is about; a prefix when it is about what is not there
	What error
}

// Verified is what Verify found.
type Verified struct {
	// Index is everything that could be read, merged; nil when that is no index
	// of Pocket.
	Index              *Index
	Snapshots, Updates Count
	// Faults are what is wrong. The index is sound when there is none.
	Faults []Fault
	// Notes are harmless: left-overs of what was interrupted, objects of others.
	Notes []Fault
}

// Verify reads every index object of a bucket and checks it: that it is what its
// name says, that it decodes, that a snapshot's state is what its history gives,
// that operations found in several objects are the same in all, and that none is
// missing. It changes nothing.
//
// Objects that come and go meanwhile are no faults.
//
// Errors: those of the bucket in a KeyError; ErrNoIndex.
func Verify(ctx context.Context, b Bucket, step func(Step)) (*Verified, error) {
	v := &verifying{heap: newHeap(ctx, b, step), out: &Verified{}}
	if err := v.run(); err != nil {
		return nil, err
	}
	return v.out, nil
}

// verifying is a Verify under way.
type verifying struct {
	*heap
	out *Verified
}

func (v *verifying) fault(key string, err error) {
	// The key is said once.
	var k *KeyError
	if errors.As(err, &k) && k.Key == key {
		err = k.Err
	}
	for _, f := range v.out.Faults {
		if f.Key == key && f.What.Error() == err.Error() {
			return
		}
	}
	v.out.Faults = append(v.out.Faults, Fault{key, err})
}

func (v *verifying) note(key string, err error) {
	v.out.Notes = append(v.out.Notes, Fault{key, err})
}

// isFault reports whether an error is about what an object holds, not about
// getting it.
func isFault(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign) || errors.Is(err, ErrNewerSchema) || errors.Is(err, ErrMissing)
}

func (v *verifying) run() error {
	// Updates are listed first: see heap.read.
	updates, err := v.listUpdates()
	if err != nil {
		return err
	}
	snapshots, err := v.listSnapshots()
	if err != nil {
		return err
	}
	h, err := readHead(v.ctx, v.b)
	if err != nil {
		return err
	}
	if !h.there && len(updates) == 0 && len(snapshots) == 0 {
		return fmt.Errorf("%w: %s does not exist and nothing is below %s and %s; check the bucket and the prefix", ErrNoIndex, HeadKey, ObjectPrefix, UpdatePrefix)
	}
	for _, u := range updates {
		v.out.Updates.add(u.size)
	}
	for _, obj := range snapshots {
		v.out.Snapshots.add(obj.Size)
	}
	if err := v.strangers(); err != nil {
		return err
	}
	sound, err := v.alone(snapshots)
	if err != nil {
		return err
	}
	v.checkHead(h, snapshots)
	if v.x == nil {
		v.x = newIndex(Options{})
	}
	if err := v.mergeAll(sound); err != nil {
		return err
	}
	included, err := v.readUpdates(updates)
	if err != nil {
		return err
	}
	if err := v.compareSnapshots(sound); err != nil {
		return err
	}
	if err := v.compareUpdates(included); err != nil {
		return err
	}
	return v.whole()
}

// strangers notes keys that are none of Pocket's.
func (v *verifying) strangers() error {
	for obj, err := range v.b.List(v.ctx, "index/", "") {
		if err != nil {
			return &KeyError{"list", "index/", err}
		}
		_, err1 := ParseObjectKey(obj.Key)
		_, err2 := ParseUpdateKey(obj.Key)
		if err1 != nil && err2 != nil && obj.Key != HeadKey && obj.Key != TipKey && obj.Key != ClockKey {
			v.note(obj.Key, errors.New("not a key of the index: ignored"))
		}
	}
	return nil
}

// alone opens every snapshot by itself and returns the sound ones.
func (v *verifying) alone(list []Object) (sound []*held, err error) {
	total, done := int64(0), int64(0)
	for _, obj := range list {
		total += obj.Size
	}
	for i, obj := range list {
		v.step(Step{"reading", "snapshots", i, len(list), done, total})
		done += obj.Size
		id, _ := ParseObjectKey(obj.Key)
		x, s, err := v.openSnapshot(id)
		switch {
		case errors.Is(err, errAbsent):
			continue // deleted since
		case err != nil && !isFault(err):
			return nil, err
		}
		if err == nil {
			if err = x.doc.Verify(); err != nil {
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
			}
		}
		if err != nil {
			v.fault(obj.Key, err)
			continue
		}
		s.written = obj.ModTime
		v.known[id] = s
		sound = append(sound, s)
		if v.x == nil || v.better(s) {
			v.x, v.base = x, id
		}
	}
	v.step(Step{"reading", "snapshots", len(list), len(list), total, total})
	return sound, nil
}

// checkHead looks at what the head says.
func (v *verifying) checkHead(h head, listed []Object) {
	switch {
	case h.err != nil:
		v.fault(HeadKey, h.err)
	case !h.there && len(listed) > 0:
		v.note(HeadKey, errors.New("does not exist, though there are snapshots: all of them are read at every start until one is written"))
	case h.there && v.known[h.id] == nil:
		if slices.ContainsFunc(listed, func(o Object) bool { return o.Key == ObjectKey(h.id) }) {
			return // a fault of its own
		}
		// It may be newer than the listing.
		x, s, err := v.openSnapshot(h.id)
		switch {
		case err == nil:
			v.known[h.id] = s
			if v.x == nil {
				v.x, v.base = x, h.id
			}
		case errors.Is(err, errAbsent):
			v.fault(HeadKey, fmt.Errorf("%w: it names %s, which does not exist", ErrDamaged, ObjectKey(h.id)))
		default:
			v.fault(ObjectKey(h.id), err)
		}
	}
}

// mergeAll merges what the base lacks of the other snapshots.
func (v *verifying) mergeAll(sound []*held) error {
	for _, s := range sound {
		if err := v.merge(s.id); err != nil {
			if !isFault(err) {
				return err
			}
			v.fault(ObjectKey(s.id), err)
		}
	}
	return nil
}

// readUpdates merges the updates that no snapshot includes, and returns the
// others, whole or in part.
func (v *verifying) readUpdates(list []listedUpdate) (included []listedUpdate, err error) {
	version := v.x.doc.Version()
	var want []listedUpdate
	for _, u := range list {
		known := version[peerID(u.Peer)]
		if u.Start < known {
			included = append(included, u)
		}
		if u.End > known {
			want = append(want, u)
		}
	}
	var sound []listedUpdate
	err = v.eachUpdate("reading", want, func(u listedUpdate, body []byte) {
		if v.takeUpdate(v.x.doc, u, body) {
			sound = append(sound, u)
		}
	})
	if err != nil {
		return nil, err
	}
	var missing *MissingError
	if !errors.As(v.x.missing(), &missing) {
		return included, nil
	}
	for _, w := range missing.Waiting {
		what := &MissingError{Waiting: []Span{w}, Known: missing.Known}
		i := slices.IndexFunc(sound, func(u listedUpdate) bool { return u.Peer == w.Peer && u.Start <= w.Start && w.Start < u.End })
		if i >= 0 {
			v.fault(UpdateKey(sound[i].Span), what)
		} else {
			v.fault(UpdatePrefix, what)
		}
	}
	return included, nil
}

// takeUpdate imports an update into a document, or says what is wrong with it.
func (v *verifying) takeUpdate(doc *loro.Doc, u listedUpdate, body []byte) bool {
	err := checkUpdate(u.Span, body)
	if err == nil {
		if _, err = doc.Import(body); err != nil {
			err = asDamage(err)
		}
	}
	if err != nil {
		v.fault(UpdateKey(u.Span), err)
	}
	return err == nil
}

// eachUpdate reads updates, several at a time, and hands them over in order.
// One that is gone was folded into a snapshot and deleted since.
func (v *verifying) eachUpdate(verb string, list []listedUpdate, use func(u listedUpdate, body []byte)) error {
	bodies := make([][]byte, fetchers)
	errs := make([]error, fetchers)
	for done := 0; done < len(list); {
		v.step(Step{Verb: verb, Unit: "updates", Done: done, Total: len(list)})
		n, most := 1, list[done].most()
		for n < min(fetchers, len(list)-done) && most+list[done+n].most() <= fetchMemory {
			most += list[done+n].most()
			n++
		}
		some := list[done : done+n]
		var wg sync.WaitGroup
		for i, u := range some {
			wg.Go(func() { bodies[i], errs[i] = v.b.Get(v.ctx, UpdateKey(u.Span), u.most()) })
		}
		wg.Wait()
		for i, u := range some {
			switch err := errs[i]; {
			case err == nil:
				use(u, bodies[i])
			case !v.b.NotExist(err):
				return &KeyError{"get", UpdateKey(u.Span), err}
			}
		}
		done += len(some)
	}
	v.step(Step{Verb: verb, Unit: "updates", Done: len(list), Total: len(list)})
	return nil
}

// checkUpdate says whether an update holds what its key says.
func checkUpdate(s Span, body []byte) error {
	m, err := loro.Peek(body)
	if err != nil {
		return asDamage(err)
	}
	if m.Mode != loro.ModeUpdates {
		return fmt.Errorf("%w: it is a snapshot", ErrDamaged)
	}
	p := peerID(s.Peer)
	if len(m.End) != 1 || m.Start[p] != s.Start || m.End[p] != s.End {
		return fmt.Errorf("%w: it holds other operations than its key says", ErrDamaged)
	}
	return nil
}

// compareSnapshots checks that snapshots agree on the operations they have in
// common.
func (v *verifying) compareSnapshots(sound []*held) error {
	for i, s := range sound {
		v.step(Step{Verb: "comparing", Unit: "snapshots", Done: i, Total: len(sound)})
		if s.id == v.base {
			continue
		}
		x, _, err := v.openSnapshot(s.id)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		if err := agree(v.x.doc, x.doc, nil); err != nil {
			v.fault(ObjectKey(s.id), err)
		}
	}
	return nil
}

// compareUpdates checks that updates hold the same operations as the snapshots
// that include them.
func (v *verifying) compareUpdates(list []listedUpdate) error {
	doc := loro.NewDoc(v.x.doc.Peer()) // never edited
	var from Version
	if !v.x.doc.IsShallow() { // else what was before its start cannot be replayed
		// A document with the operations of the updates from the updates, and
		// only the others from what they are compared with.
		from = v.x.doc.Version()
		for _, u := range list {
			p := peerID(u.Peer)
			from[p] = min(from[p], u.Start)
		}
		for p, end := range from {
			if end == 0 {
				continue
			}
			b, err := v.x.doc.ExportRange(loro.IDSpan{Peer: p, End: end})
			if err == nil {
				_, err = doc.Import(b)
			}
			if err != nil {
				return fmt.Errorf("index: compare updates: %w", err)
			}
		}
	}
	err := v.eachUpdate("comparing", list, func(u listedUpdate, body []byte) {
		v.takeUpdate(doc, u, body)
	})
	if err != nil {
		return err
	}
	err = agree(v.x.doc, doc, from)
	if err == nil {
		return nil
	}
	key := UpdatePrefix
	var d *disagreement
	if errors.As(err, &d) {
		for _, u := range list {
			if peerID(u.Peer) == d.id.Peer && u.Start <= d.id.Counter && d.id.Counter < u.End {
				key = UpdateKey(u.Span)
			}
		}
	}
	v.fault(key, err)
	return nil
}

// disagreement is an operation that two objects have differently.
type disagreement struct{ id loro.ID }

func (d *disagreement) Error() string {
	return fmt.Sprintf("operation %d of peer %016x is another one than in the rest of the index", d.id.Counter, uint64(d.id.Peer))
}
func (d *disagreement) Unwrap() error { return ErrDamaged }

// agree checks that two documents have the same operations where both have any.
// Of a, those before from are passed over.
func agree(a, b *loro.Doc, from loro.VersionVector) error {
	nextA, stopA := iter.Pull2(a.Ops())
	defer stopA()
	nextB, stopB := iter.Pull2(b.Ops())
	defer stopB()
	opA, errA, okA := nextA()
	opB, errB, okB := nextB()
	for okA && okB {
		if err := errors.Join(errA, errB); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		switch c := opA.ID.Compare(opB.ID); {
		case c < 0:
			opA, errA, okA = nextA()
			continue
		case c > 0:
			opB, errB, okB = nextB()
			continue
		}
		if opA.ID.Counter >= from[opA.ID.Peer] && !sameOp(opA, opB) {
			return &disagreement{opA.ID}
		}
		opA, errA, okA = nextA()
		opB, errB, okB = nextB()
	}
	return nil
}

func sameOp(a, b loro.Op) bool {
	return a.Len == b.Len && a.Lamport == b.Lamport && a.Timestamp == b.Timestamp && a.Message == b.Message &&
		a.Container == b.Container && a.Kind == b.Kind && a.Key == b.Key && a.Value.Equal(b.Value) &&
		a.Node == b.Node && a.Parent == b.Parent && slices.Equal(a.Position, b.Position) && slices.Equal(a.Deps, b.Deps)
}

// whole checks what everything together gives.
func (v *verifying) whole() error {
	v.step(Step{Verb: "checking", Unit: "documents", Total: 1})
	if len(v.x.doc.Version()) == 0 {
		if len(v.out.Faults) > 0 {
			return nil // nothing could be read, which was said
		}
		v.out.Index = v.x // a document in which nothing was ever done
		return v.x.start()
	}
	if err := v.x.doc.Verify(); err != nil {
		v.fault(v.baseKey(), fmt.Errorf("merged with the rest of the index: %w: %w", ErrDamaged, err))
		return nil
	}
	if _, err := v.x.startOrMigrate(); err != nil {
		if !errors.Is(err, ErrMissing) { // what is missing was said of the updates that wait for it
			v.fault(v.baseKey(), err)
		}
		return nil
	}
	v.out.Index = v.x
	v.step(Step{Verb: "checking", Unit: "documents", Done: 1, Total: 1})
	return nil
}

package transfer

import (
	"slices"
	"sort"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
)

// A file that is saved again and again is uploaded about once a second. Programs save in different ways: they write
// into the file, or into another one that they rename over it, or they remove it or rename it away and make it anew. So
// it is names that are remembered for a while, not files:
//
//   - Content for a name that got other content less than a second ago is held back, and what comes meanwhile takes its
//     place.
//   - So is that of a new file in a directory where a file has just been renamed over another: the next save may begin
//     with it. Once it is renamed, it is held as what its new name gets, or not at all.
//   - A file that is, or is left, empty where that is to be expected is not published before its content: the content
//     of one that nobody knows need not be in the store when it is removed.
//   - That a name which was just written became free is published a moment later, with what takes its place.
//
// Updates of the index go in order, so that everything waits with what is held. Hence all that is held is held until
// the same time: for a second at the most, and for the moment in which a program ends what it is doing. What was held
// until then is not replaced by anything that comes later, so that everything up to there can be published. Where the
// store does not take it in a second, what came later is held until it has.
//
// Nothing is held in sync mode, or while somebody waits for the store.

const (
	// settle is for how long things are held back at the most, but for a moment, and how long it is remembered that a
	// name got content.
	settle = time.Second
	// moment is how soon a program that saves a file does its next step.
	moment = 200 * time.Millisecond
	// placesMost is how many names are remembered before those that need not be are forgotten.
	placesMost = 10_000
)

// window is a time in which things are held back.
type window struct {
	opened, due time.Time
	closed      bool
}

// isHeld reports whether an operation, and its content, is held back.
func (op *operation) isHeld() bool { return op.window != nil && !op.window.closed }

// holds reports whether anything is held back now. Called with mu held.
func (q *Queue) holds() bool { return !q.opts.Eager && q.urgent == 0 }

// open returns the window that is open, or one that is opened. Called with mu held.
func (q *Queue) open(now time.Time) *window {
	if q.window == nil {
		q.window = &window{opened: now, due: now.Add(settle)}
		q.broadcast()
	}
	return q.window
}

// closeDue closes the window when its time has come and what was held in the one before is in the store; while a
// program seems to be in the middle of saving a file, a moment later. It returns when it has to be called again at the
// latest. Called with mu held.
func (q *Queue) closeDue(now time.Time) (later time.Time) {
	if q.window == nil {
		return later
	}
	due := q.window.due
	if now.Before(due) {
		return due
	}
	q.firm = slices.DeleteFunc(q.firm, func(op *operation) bool {
		return !slices.ContainsFunc(op.wants, func(o *object) bool { return !o.done && o.fails == 0 })
	})
	switch due = due.Add(moment); {
	case len(q.firm) > 0:
	case now.Before(due) && q.amid(now):
		return due
	default:
		q.close()
	}
	return later
}

// amid reports whether a program seems to be in the middle of saving a file. Called with mu held.
func (q *Queue) amid(now time.Time) bool {
	return len(q.empty) > 0 || q.left != nil && q.left.with == nil && now.Before(q.left.late) ||
		slices.ContainsFunc(q.heldOps, func(op *operation) bool { return op.guess && op.pending() })
}

// close ends that anything is held back. Called with mu held.
func (q *Queue) close() {
	if q.window == nil {
		return
	}
	q.window.closed = true
	for _, o := range q.delayed {
		q.release(o)
	}
	for _, op := range q.heldOps {
		if op.pending() {
			q.firm = append(q.firm, op)
		}
	}
	clear(q.empty)
	q.window, q.delayed, q.heldOps = nil, nil, nil
	q.broadcast()
}

// release lets an object that was held back be uploaded. Called with mu held.
func (q *Queue) release(o *object) {
	if o.held {
		o.held = false
		q.waiting = append(q.waiting, o)
	}
}

// Place is a name in a directory, which has a number that is unique in this process.
type Place struct {
	Dir  uint64
	Name string
}

// place is what is remembered of a Place.
type place struct {
	written time.Time  // when it got content last
	filled  *operation // put there what is there; nil: it has been there for long
	left    *operation // made it free last
	gone    time.Time  // when that was
	known   bool       // others know something there until left is published
}

// recent reports whether the place got content less than a second ago.
func (p *place) recent(now time.Time) bool { return p != nil && now.Sub(p.written) < settle }

// place returns what is to be remembered of a Place. Called with mu held.
func (q *Queue) place(at Place, now time.Time) *place {
	if p := q.places[at]; p != nil {
		return p
	}
	if len(q.places) >= q.placesMost {
		for at, p := range q.places {
			if !p.recent(now) && now.Sub(p.gone) >= settle {
				delete(q.places, at)
			}
		}
		for dir, last := range q.saves {
			if now.Sub(last) >= settle {
				delete(q.saves, dir)
			}
		}
		q.placesMost = max(placesMost, 2*len(q.places))
	}
	p := &place{}
	q.places[at] = p
	return p
}

// expected reports whether content of a file would be held back if it were committed now. Called with mu held.
func (q *Queue) expected(file uint64, at Place, now time.Time) bool {
	earlier := q.files[file]
	return q.holds() &&
		(q.places[at].recent(now) || q.empty[file] != nil || earlier != nil && earlier.guess && earlier.isHeld())
}

// expect decides how long an operation is held back, or its content, and what it means for those that are. It is called
// with mu held, before the operation takes the place of an earlier one.
func (q *Queue) expect(op *operation, c *Change) {
	now := op.since
	removed := c.Maker != nil && c.Replaces
	if removed {
		q.followed(c.Node, op)
	}
	switch {
	case c.At == Place{} || q.opts.Eager:
	case c.Moved != 0:
		q.moved(op, c, now)
	case removed:
		q.vacate(c.At, op)
	default:
		q.written(op, c, now)
	}
}

// written is expect for what makes a file or gives it content. Called with mu held.
func (q *Queue) written(op *operation, c *Change, now time.Time) {
	at, empty, earlier := q.place(c.At, now), q.empty[c.Node], q.files[c.Node]
	switch {
	case !q.holds():
	case empty != nil:
		op.window, op.guess = empty.window, empty.guess
	case earlier != nil && earlier.guess:
		op.window, op.guess = earlier.window, true
	case at.recent(now):
		op.window = q.open(now)
	case c.Made && now.Sub(q.saves[c.At.Dir]) < settle:
		op.window, op.guess = q.open(now), true
	}
	q.followed(c.Node, op)
	if c.Made {
		q.fill(at, op)
	}
	if len(c.Objects) > 0 {
		at.written = now
	} else if op.isHeld() {
		q.empty[c.Node] = op
	}
}

// moved is expect for a file that gets another name. Called with mu held.
func (q *Queue) moved(op *operation, c *Change, now time.Time) {
	at := q.place(c.At, now)
	if c.Replaces || c.From.Name == "" || now.Sub(at.gone) < settle {
		q.saves[c.From.Dir] = now
	}
	if c.From.Name != "" {
		q.vacate(c.From, op)
	}
	q.fill(at, op)
	q.followed(c.Moved, op)
	if content := q.files[c.Moved]; content != nil && content.guess {
		content.guess = false
		if !at.recent(now) {
			content.window = nil
			for _, o := range content.wants {
				q.release(o)
			}
		}
		q.broadcast()
	}
	at.written = now
}

// vacate notes that an operation made a place free. Others shall not see that it is if it is filled again in a moment.
// Called with mu held.
func (q *Queue) vacate(at Place, op *operation) {
	p := q.place(at, op.since)
	p.known = p.known || p.filled == nil || p.filled.out
	if p.known && p.recent(op.since) && q.holds() {
		op.late = op.since.Add(moment)
		q.left = op
	}
	p.left, p.gone = op, op.since
}

// fill notes that an operation put a file into a place. Called with mu held.
func (q *Queue) fill(p *place, op *operation) {
	if p.left == nil || p.left.out {
		p.known = false
	} else if op.since.Before(p.left.late) {
		p.left.with = op
		if op.isHeld() && !p.left.since.Before(op.window.opened) {
			p.left.late = op.window.due.Add(moment)
		}
		q.broadcast()
	}
	p.filled, p.left = op, nil
}

// followed notes that an operation did something to a file that may be empty. Called with mu held.
func (q *Queue) followed(file uint64, op *operation) {
	if empty := q.empty[file]; empty != nil {
		delete(q.empty, file)
		q.follow(empty, op)
	}
}

// follow ends that an operation is held back: it is published together with a later one. Called with mu held.
func (q *Queue) follow(op, later *operation) {
	op.joins(later)
	if op.first.Before(later.first) {
		later.first = op.first
	}
	if op.window != nil {
		op.window = nil
		q.broadcast()
	}
}

// joins has an operation published only together with a later one.
func (op *operation) joins(later *operation) {
	if op.until == nil || op.until.serial < later.serial {
		op.until = later
	}
}

// supersede takes from the earlier operation on a file what the file does not need any more after op, and returns the
// objects that nobody wants now. Called with mu held.
func (q *Queue) supersede(earlier, op *operation, names func(objectid.ID) bool) (drop []objectid.ID) {
	if q.files[earlier.node] == earlier {
		delete(q.files, earlier.node)
	}
	for _, o := range earlier.wants {
		switch {
		case o.done:
		case names != nil && names(o.id):
			op.wants = append(op.wants, o)
		default:
			o.users--
			if o.unwanted() && !o.uploading {
				q.forget(o)
				drop = append(drop, o.id)
			}
		}
	}
	earlier.wants = nil
	q.follow(earlier, op)
	return drop
}

// keeps reports whether content is uploaded although it is obsolete: nothing would ever be of a file whose content is
// replaced each time before its upload has ended. It is when it was held back before, when its upload is under way, or
// after a second; but for the latter two not when it is removed, and at is not known to others, so that nothing is
// expected there. While the store fails, there is none. Called with mu held.
func (q *Queue) keeps(earlier *operation, at *place, removed bool, now time.Time) bool {
	switch {
	case at == nil, !q.uploads.since.IsZero(), q.opts.Outage.content.silent():
		return false
	case removed && q.tied(now, 4*settle):
		return true
	case earlier.isHeld():
		return false
	case earlier.window != nil, q.tied(now, 2*settle):
		return true
	}
	return !(removed && !at.known) && (!earlier.idle() || !removed && now.Sub(earlier.first) >= settle)
}

// tied reports whether the oldest operation waits for nothing but later ones, and has for long, and new ones are still
// added to them: where one file is made before another one is removed, and so on, there is no end of those that are
// published only together. Called with mu held.
func (q *Queue) tied(now time.Time, long time.Duration) bool {
	oldest := q.ops[0]
	if oldest.until == nil || oldest.isHeld() || oldest.pending() || now.Sub(oldest.since) < long {
		return false
	}
	if now.Sub(q.looked) >= moment { // there may be many
		q.looked = now
		need := uint64(0)
		for _, op := range q.ops {
			if op.until != nil {
				need = max(need, op.until.serial)
			}
			if q.tieEnds = op.since; op.serial >= need {
				break
			}
		}
	}
	return now.Sub(q.tieEnds) < settle
}

// idle reports whether an operation wants something whose upload has not begun.
func (op *operation) idle() bool {
	return slices.ContainsFunc(op.wants, func(o *object) bool { return !o.done && !o.uploading })
}

// pending reports whether an operation wants something that is not in the store.
func (op *operation) pending() bool {
	return op != nil && slices.ContainsFunc(op.wants, func(o *object) bool { return !o.done })
}

// maker returns the operation that made a file, if it is not published. Called with mu held.
func (q *Queue) maker(m *Maker) *operation {
	// Those of the session come last, in order.
	n := sort.Search(len(q.ops), func(i int) bool { return q.ops[i].peer == m.Peer && q.ops[i].end > m.Counter })
	if n == len(q.ops) || q.ops[n].start > m.Counter {
		return nil
	}
	return q.ops[n]
}

// earliest returns the earlier of two times; the zero time is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

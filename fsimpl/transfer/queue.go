package transfer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hamflx/pocket/internal/journal"
	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/objstore"
)

const (
	// DefaultWorkers is how many objects are uploaded at once.
	DefaultWorkers = 32
	// halfPlace is up to how many bytes an object takes half a place among those.
	halfPlace = 64 << 10
	// uploadMemory bounds the bytes of all uploads under way: 16 chunks keep a link of
	// 1 Gbit/s and 100 ms full although a part of them waits for answers.
	uploadMemory = 64 << 20
	// gather is how long a change waits for others to share its index update.
	gather = 200 * time.Millisecond
	// gatherEager is the same in sync mode, while nobody waits for another change: what
	// creates a file and its content, which is uploaded meanwhile, share an update.
	gatherEager = 5 * time.Millisecond
	// recentMost bounds how many uploaded objects are remembered.
	recentMost = 1 << 16
	// batchMost is how many operations one index update gathers at the most.
	batchMost = 20_000
)

// Options configure a Queue. Every field without a default is required.
type Options struct {
	Store   Store
	Cache   Cache
	Journal Journal
	Outage  *Outage // of Store
	// Publish writes a span of operations to the store. It is called from one goroutine.
	Publish func(ctx context.Context, s Span) error
	// Announce tells others of spans that were published, the last one newest, and notes in the
	// journal that they are in the store. It is called from one goroutine, beside Publish:
	// nobody who waits for the store waits for it but Drain.
	Announce func(ctx context.Context, spans []Span) error
	// Lost, if set, is told of an object that is neither in the cache nor in the store,
	// before operations that name it are published without it: what it adds then is
	// published next. It is called concurrently.
	Lost func(ctx context.Context, id objectid.ID)
	// Idle, if set, is called when nothing is left to do, from a goroutine of its own: what comes meanwhile is
	// uploaded and published beside it.
	Idle    func(ctx context.Context)
	Workers int  // uploads at once, twice as many of small objects; 0: DefaultWorkers
	Eager   bool // publish what somebody waits for, and else after a moment, instead of gathering (sync mode)
	Log     *slog.Logger
}

// Change is what one committed index operation means for content.
type Change struct {
	Node    uint64           // the file, by a number that is unique in this process
	Made    bool             // it is made with this change
	Objects []journal.Upload // objects that are new with this change; each holds one pin of the cache, which the Queue takes over
	// Replaces says that the file's earlier content is obsolete with this change
	// (new content, or the file is gone). Names then reports which of the earlier
	// objects the new content still consists of; nil: none.
	Replaces bool
	Names    func(objectid.ID) bool
	// Maker is the operation that made a file which is gone with this change. Machines that know the
	// file may do something with it at the same time, so that it stays: then they need its content.
	// That is given up only if the file is not on its way to them.
	Maker   *Maker
	Offered []objectid.ID // offers of the file that end with this change
	// At is where the file is, or was until it was removed; the zero Place is not known. With Moved it is where that file is
	// now: in the place of Node, if that is gone. It was at From before, whose Name is empty if there is another file now.
	At, From Place
	Moved    uint64
}

// Maker names an operation.
type Maker struct {
	Peer    uint64
	Counter int32
}

// Queue is the way up. Its methods may be called concurrently.
type Queue struct {
	opts   Options
	put    func(ctx context.Context, id objectid.ID, body []byte) error
	memory *semaphore.Weighted
	pause  time.Duration // streamPause
	log    *slog.Logger
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced whenever something below changes
	ops        []*operation  // committed and not published, oldest first
	serial     uint64        // of the next operation
	going      Span          // published last, or being published
	objects    map[objectid.ID]*object
	retry      []*object             // failed before: first to be uploaded
	waiting    []*object             // to be uploaded, in the order of their operations
	delayed    []*object             // to be uploaded when window is closed
	offered    []*object             // not named by an operation yet, or since: after all others
	recent     map[objectid.ID]bool  // uploaded by this process
	files      map[uint64]*operation // the newest operation with content, by file
	nodes      map[uint64]int        // pending objects by file
	empty      map[uint64]*operation // that left a file without content and are held back, by file
	places     map[Place]*place      // what hold.go remembers
	saves      map[uint64]time.Time  // when a file of a directory was last renamed over another
	window     *window               // in which things are held back; nil: nothing is
	heldOps    []*operation          // that have content and are held back in it, unless they were replaced
	firm       []*operation          // that were held back before
	left       *operation            // the last one that made a known place free
	looked     time.Time             // when tieEnds was found out
	tieEnds    time.Time             // when the newest was added without which the oldest operation is not published
	placesMost int                   // how many places there are before some are forgotten
	running    int                   // uploads under way, in halves of a place
	early      int                   // those of offered objects, in halves too
	ailing     int                   // objects whose last upload failed
	urgent     int                   // callers that wait for the store
	needs      map[*need]struct{}    // those of them that wait for an operation
	since      time.Time             // when ops became non-empty
	stream     int                   // changes without a pause between them
	lastAdd    time.Time             // when the newest was added
	told       []Span                // published and not announced, oldest first
	untold     int                   // how many operations those are
	idle       bool                  // Idle is to be called
	state      Progress              // what Progress returns, kept up to date, but for Failing and Err

	uploads, publishing, announcing trouble // guarded by mu
}

// Span names the operations [Start, End) of a peer.
type Span struct {
	Peer       uint64
	Start, End int32
}

// need is what a caller of Published waits for: the operations of peer below end.
type need struct {
	peer uint64
	end  int32
}

// operation is a committed index operation on its way up.
type operation struct {
	peer       uint64
	start, end int32
	serial     uint64
	node       uint64
	wants      []*object // what must be in the store before it is published
	// until is a later operation without which this one is not published, as it replaced this one's
	// content before it was uploaded.
	until *operation
	since time.Time // when it was added
	first time.Time // the same of the first of those whose content was replaced, one after the other
	// window, while it is open, keeps it from being published, and its content from being uploaded; and so does late, but
	// not from being published together with with.
	window *window
	late   time.Time
	with   *operation
	prior  *operation // gave the file obsolete content that is uploaded all the same
	guess  bool       // it is held because of where the file is, and may get another name
	out    bool       // it is published, or may be
}

// object is an upload that pending operations want.
type object struct {
	id        objectid.ID
	size      int64
	node      uint64 // the first file that has it
	file      uint64 // the same as Change.Node; 0 when an earlier process left it
	since     time.Time
	users     int  // operations that want it
	offers    int  // files being written that will want it
	listed    bool // on the journal's upload list
	uploading bool
	early     bool      // counted in Queue.early
	joined    bool      // since its upload began, somebody wants it who has just put it into the cache
	done      bool      // uploaded, or not wanted any more
	held      bool      // in Queue.delayed, and not to be uploaded yet
	after     time.Time // not before
	fails     int       // uploads of it that failed, in a row
}

// Progress is how far the queue is.
type Progress struct {
	Files, Objects, Changes int   // pending: files with content to upload, their objects, index operations
	Bytes                   int64 // pending content, bytes
	// DoneBytes and DoneObjects were uploaded since the queue was last empty.
	DoneBytes   int64
	DoneObjects int
	// Failing is since when uploads, publishing or announcing have failed, or the store has not answered; zero
	// while it works. It ends when what failed works again.
	Failing time.Time
	// Err is the last failure while Failing is set.
	Err error
}

// Idle reports whether nothing is pending.
func (p Progress) Idle() bool { return p.Changes == 0 && p.Objects == 0 }

// New starts a Queue. restored are the journal's unpublished entries in order and
// uploads its upload list, whose objects the caller has pinned once each.
func New(opts Options, restored []journal.Entry, uploads []journal.Upload) *Queue {
	if opts.Workers == 0 {
		opts.Workers = DefaultWorkers
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{
		opts: opts, log: opts.Log, stop: stop, pause: streamPause,
		memory:     semaphore.NewWeighted(uploadMemory),
		placesMost: placesMost,
		changed:    make(chan struct{}),
		objects:    make(map[objectid.ID]*object),
		recent:     make(map[objectid.ID]bool),
		files:      make(map[uint64]*operation),
		nodes:      make(map[uint64]int),
		empty:      make(map[uint64]*operation),
		places:     make(map[Place]*place),
		saves:      make(map[uint64]time.Time),
		needs:      make(map[*need]struct{}),
	}
	q.put = func(ctx context.Context, id objectid.ID, body []byte) error {
		if objectid.Of(body) != id {
			return errOtherBytes
		}
		return opts.Store.Put(ctx, id.Key(), body)
	}
	if s, ok := opts.Store.(objstore.Store); ok {
		if hashed, ok := objstore.As[objstore.HashedPutter](s); ok {
			q.put = func(ctx context.Context, id objectid.ID, body []byte) error {
				return hashed.PutHashed(ctx, id.Key(), body, id)
			}
		}
	}
	q.restore(restored, uploads)
	opts.Outage.notify(q.reachable)
	if opts.Idle != nil {
		q.done.Add(1)
		go q.idleLoop(ctx)
	}
	q.done.Add(3)
	go q.publishLoop(ctx)
	go q.announceLoop(ctx)
	go q.uploadLoop(ctx)
	return q
}

// restore queues what an earlier process left. Which operation wants which object
// is not recorded, so the first one waits for all of them.
func (q *Queue) restore(entries []journal.Entry, uploads []journal.Upload) {
	first := &operation{}
	for i, e := range entries {
		op := &operation{peer: e.Peer, start: e.Start, end: e.End}
		if i == 0 {
			first = op
		}
		q.append(op)
	}
	for _, u := range uploads {
		if q.objects[u.Object] != nil {
			continue
		}
		o := &object{id: u.Object, size: u.Size, node: u.Node, users: 1, listed: true, since: u.Added}
		q.enqueue(o)
		first.wants = append(first.wants, o)
	}
}

// enqueue puts an object behind all that wait to be uploaded. Called with mu held.
func (q *Queue) enqueue(o *object) {
	q.objects[o.id] = o
	switch {
	case o.unnamed():
		q.offered = append(q.offered, o)
	case o.held:
		q.delayed = append(q.delayed, o)
	default:
		q.waiting = append(q.waiting, o)
	}
	q.nodes[o.node]++
	q.state.Objects++
	q.state.Bytes += o.size
	q.state.Files = len(q.nodes)
}

// remove takes an object that is uploaded, or not wanted any more, off the books.
// Called with mu held.
func (q *Queue) remove(o *object) {
	delete(q.objects, o.id)
	if q.nodes[o.node]--; q.nodes[o.node] == 0 {
		delete(q.nodes, o.node)
	}
	q.state.Objects--
	q.state.Bytes -= o.size
	q.state.Files = len(q.nodes)
	if o.fails > 0 {
		q.ailing--
	}
}

func (q *Queue) append(op *operation) {
	op.serial = q.serial
	q.serial++
	op.since = time.Now()
	op.first = op.since
	if len(q.ops) == 0 {
		q.since = op.since
	}
	q.ops = append(q.ops, op)
	q.state.Changes++
}

// Add takes over a committed operation and hands it to the journal. The caller
// calls it in the order of the commits, under the lock that makes that order;
// it does not wait. Once the ticket's Wait returned, the change survives the
// process.
func (q *Queue) Add(e journal.Entry, c Change) *journal.Ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	op := &operation{peer: e.Peer, start: e.Start, end: e.End, node: c.Node}
	q.append(op)
	now := op.since
	q.streamed(now)
	q.expect(op, &c)
	if c.Replaces {
		e.Drop = q.replace(op, &c)
		e.Dropped = q.unpin
	}
	for _, u := range c.Objects {
		o := q.objects[u.Object]
		if o == nil && q.recent[u.Object] {
			q.opts.Cache.Unpin(u.Object)
			continue
		}
		if o == nil {
			o = &object{id: u.Object, size: u.Size, node: u.Node, file: c.Node, since: op.since, held: op.isHeld()}
			o.users++
			q.enqueue(o)
		} else {
			if o.unnamed() && !o.uploading {
				q.waiting = append(q.waiting, o)
			}
			if !op.isHeld() {
				q.release(o)
			}
			o.users++
			o.joined = true
			q.opts.Cache.Unpin(u.Object)
		}
		if !o.listed {
			o.listed = true
			e.Uploads = append(e.Uploads, u)
		}
		op.wants = append(op.wants, o)
	}
	for _, id := range c.Offered {
		q.unoffer(id)
	}
	switch {
	case len(op.wants) > 0:
		q.files[c.Node] = op
		if op.isHeld() {
			q.heldOps = append(q.heldOps, op)
		}
	case len(c.Objects) > 0:
		op.window, op.guess = nil, false // all of it is in the store
	}
	if len(op.wants) == 0 && op.prior != nil {
		q.files[c.Node] = op.prior
	}
	ticket := q.opts.Journal.Enqueue(e)
	// Those who hold back wake by themselves, or by the uploads under way.
	if q.urgent > 0 || len(q.ops) == 1 || len(op.wants) > 0 && (q.running == 0 || q.running < 2*q.opts.Workers && q.calm(now).IsZero()) {
		q.broadcast()
	}
	return ticket
}

// sent reports whether the operation that made a file may be known to others. peer is that of the
// session. Called with mu held.
func (q *Queue) sent(peer uint64, m *Maker) bool {
	return m != nil && (m.Peer != peer || q.going.Peer == peer && m.Counter < q.going.End)
}

// replace ends that a file's earlier content is uploaded, and returns the objects that nobody wants any more. Called with mu held.
func (q *Queue) replace(op *operation, c *Change) (drop []objectid.ID) {
	if q.sent(op.peer, c.Maker) {
		return nil
	}
	at, removed := q.places[c.At], c.Maker != nil && c.Moved == 0
	for earlier := q.files[c.Node]; earlier != nil; earlier = earlier.prior {
		switch {
		case !earlier.pending():
		case q.keeps(earlier, at, removed, op.since):
			if op.prior == nil && c.Maker == nil {
				op.prior = earlier
			}
		default:
			if c.Maker != nil {
				if made := q.maker(c.Maker); made != nil {
					made.joins(op)
				}
			}
			if next := q.files[c.Moved]; next != nil && earlier.first.Before(next.first) {
				next.first = earlier.first
			}
			drop = append(drop, q.supersede(earlier, op, c.Names)...)
		}
	}
	return drop
}

// unwanted reports whether nobody wants an object in the store any more.
func (o *object) unwanted() bool { return o.users == 0 && o.offers == 0 }

// forget gives up an object that is not being uploaded. It stays in its list, where
// next passes it over, and pinned: until the operation that replaced it survives a power
// loss it may be needed again. Called with mu held.
func (q *Queue) forget(o *object) {
	o.done = true
	q.remove(o)
}

// unpin lets go of objects that were given up.
func (q *Queue) unpin(ids []objectid.ID) {
	for _, id := range ids {
		q.opts.Cache.Unpin(id)
	}
}

// broadcast wakes everyone who waits for a change. Called with mu held.
func (q *Queue) broadcast() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// Progress returns how far the queue is.
func (q *Queue) Progress() Progress {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.progress()
}

// progress is Progress. Called with mu held.
func (q *Queue) progress() Progress {
	p := q.state
	if t := q.troubled(); t != nil {
		p.Failing, p.Err = t.since, t.err
	} else {
		p.Failing, p.Err = q.opts.Outage.Silent()
	}
	return p
}

// Published waits until the operations of peer below end are in the store. It
// returns early with the store's error when the store refuses (permission, no
// bucket), and with the context's error. Either way the change stays queued.
func (q *Queue) Published(ctx context.Context, peer uint64, end int32) error {
	return q.wait(ctx, &need{peer, end}, func() (bool, error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, op := range q.ops {
			if op.peer == peer && op.start < end {
				for _, t := range []*trouble{&q.uploads, &q.publishing} {
					if t.err != nil && !objstore.Retryable(t.err) {
						return false, t.err
					}
				}
				return false, nil
			}
		}
		return true, nil
	})
}

// Drain waits until nothing is pending, calling report (if not nil) whenever
// something changed. Unlike Published it goes on while the store refuses.
func (q *Queue) Drain(ctx context.Context, report func(Progress)) error {
	return q.wait(ctx, nil, func() (bool, error) {
		p := q.Progress()
		if report != nil {
			report(p)
		}
		return p.Idle(), nil
	})
}

// Await waits until reached says true. It is called at first and whenever something
// changed: an upload that ended, for example. Nothing is held back meanwhile.
func (q *Queue) Await(ctx context.Context, reached func() bool) error {
	return q.wait(ctx, nil, func() (bool, error) { return reached(), nil })
}

// Stored reports whether this process has uploaded an object, as far as it remembers,
// and does not want it uploaded again.
func (q *Queue) Stored(id objectid.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.recent[id] && q.objects[id] == nil
}

// wait calls reached, at first and after every change, until it says true or fails.
// While somebody waits, nothing is held back to be gathered with what may follow, but for what
// comes before an operation that is waited for and can be published with it: n, if not nil.
func (q *Queue) wait(ctx context.Context, n *need, reached func() (bool, error)) error {
	q.mu.Lock()
	q.urgent++
	if n != nil {
		q.needs[n] = struct{}{}
	}
	if q.urgent == 1 {
		q.close()
	}
	q.broadcast()
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.urgent--
		delete(q.needs, n)
		q.mu.Unlock()
	}()
	for {
		q.mu.Lock()
		changed := q.changed
		q.mu.Unlock()
		if done, err := reached(); done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close stops uploading and publishing and waits until both have stopped. What is
// pending stays in the journal.
func (q *Queue) Close() {
	q.stop()
	q.done.Wait()
}

// sleep unlocks mu until something changes, until, or ctx ends, and locks it again.
func (q *Queue) sleep(ctx context.Context, until time.Time) {
	changed := q.changed
	q.mu.Unlock()
	defer q.mu.Lock()
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case <-timer:
	case <-ctx.Done():
	}
}

// errStopped is what the loops see when the queue is closing.
var errStopped = errors.New("queue closed")

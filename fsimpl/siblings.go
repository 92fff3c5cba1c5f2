package fsimpl

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/hamflx/pocket/loroindex"
)

const (
	// siblingDirs is how many directories are watched at a time.
	siblingDirs = 16
	// siblingEntries is the size of the largest directory that is watched, and siblingSum
	// bounds all together: putting entries in order takes time and memory.
	siblingEntries = 1 << 15
	siblingSum     = 1 << 16
	// siblingFactor is how many files are fetched ahead for each one of a run, up to
	// siblingWindow.
	siblingFactor = 4
	siblingWindow = 192
	// siblingReach is how far back a run is looked for, siblingGap how many files that
	// nobody read may lie in it: several readers share a directory.
	siblingReach = 64
	siblingGap   = 8
	// siblingBytes is what is fetched ahead when little was read yet. More is, as much as
	// was read in the directory, up to siblingMost.
	siblingBytes = 256 << 10
	siblingMost  = 16 << 20
	// Where what was fetched ahead so far was read, as in a program that goes through a
	// tree of directories, a directory's first file counts as a run of siblingTrust.
	siblingTrust = 2
	// siblingProof is how many files must have been fetched ahead to judge by, and
	// siblingMemory after how many the older ones count half.
	siblingProof  = 16
	siblingMemory = 256
)

// The orders in which programs read a directory.
const (
	byListing = iota // tar, find, a program that goes through the listing
	byName
	byLetters // as ls and shells sort in most languages: both cases together
	byInode   // GNU cp, and fts(3) in large directories, since disks like it
	orderCount
)

// siblings has small files, and the beginnings of large ones, fetched ahead whose siblings are
// read one after the other, in any of the orders in which programs read a directory. A file counts as read when its
// bytes are asked for: opening or describing it does not.
//
// Nothing is guessed from one file, unless the guesses made elsewhere were right. The window follows the length of the run of files
// read, so a reader that turns elsewhere leaves little behind, and what was fetched for
// nobody stays on the account of its directory.
type siblings struct {
	fs   *FS
	most int64 // bytes fetched ahead and not read, of one directory

	mu        sync.Mutex
	dirs      []*siblingDir // the one used last is last; guarded by mu, as all in it
	order     int           // which went best the last time; guarded by mu, as all below
	direction int
	guessed   int // files fetched ahead
	right     int // of these, the ones that were read
}

// siblingDir is a directory in which files are read.
type siblingDir struct {
	node    Node
	early   []Node // read before the orders were known
	files   []Node // by place, which is the order of the listing
	place   map[Node]int32
	orders  [orderCount][]int32 // orders[o][rank] is a place; nil: the same as an earlier order
	ranks   [orderCount][]int32 // ranks[o][place] is a rank
	read    []bool              // by place
	asked   []bool              // by place: was fetched ahead, or needs not be
	waiting map[int32]int64
	ahead   int64 // bytes: the sum of waiting, what was fetched ahead and not read
	sum     int64 // bytes of the files that were read
	count   int   // files that were read
	strange int   // files read that are in no order: they are new
}

// note is told that a file is being read for the first time through a handle.
func (s *siblings) note(parent, n Node, size int64) {
	if parent == loroindex.NoNode {
		return
	}
	ahead, dir := s.next(parent, n, size)
	for i, a := range ahead {
		if s.fs.prefetch(&a.content) {
			continue
		}
		s.mu.Lock() // enough is on the way: later
		for _, a := range ahead[i:] {
			dir.asked[a.place] = false
			if dir.forget(a.place) {
				s.guessed--
			}
		}
		s.mu.Unlock()
		return
	}
}

// sibling is a file to be fetched ahead.
type sibling struct {
	place   int32
	content loroindex.Content
}

// prefetch begins to fetch the first bytes of a file, as Fetcher.Prefetch does.
func (fs *FS) prefetch(c *loroindex.Content) bool {
	if !c.Manifest {
		return fs.fetch.Prefetch(c.Object, c.Size)
	}
	return fs.fetch.Prefetch(c.Object, manifestGuess) && fs.fetch.Prefetch(c.First, fs.opts.ChunkSize)
}

// beginning returns how many bytes prefetch fetches, and whether it knows what.
func (fs *FS) beginning(e *loroindex.Entry) (int64, bool) {
	switch {
	case e.Removed || e.Object.IsZero():
		return 0, false
	case e.Manifest:
		return min(e.Size, fs.opts.ChunkSize), !e.First.IsZero()
	}
	return e.Size, e.Size <= fs.opts.ChunkSize
}

// next notes the file and returns what to fetch ahead.
func (s *siblings) next(parent, n Node, size int64) ([]sibling, *siblingDir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dir(parent)
	if d.files == nil {
		// Sorting the entries is for those who read more than one.
		if slices.Contains(d.early, n) {
			return nil, nil
		}
		d.early = append(d.early[max(0, len(d.early)-siblingReach):], n)
		if len(d.early) < 2 && !s.trusted() {
			return nil, nil
		}
		listed := s.list(parent)
		if listed == nil {
			return nil, nil
		}
		for _, early := range d.early {
			if p, ok := listed.place[early]; ok && early != n {
				listed.read[p], listed.asked[p] = true, true
				listed.count++
			}
		}
		d = listed
		s.dirs[len(s.dirs)-1] = d
		sum := 0
		for _, other := range s.dirs {
			sum += len(other.files)
		}
		for sum > siblingSum {
			sum -= len(s.dirs[0].files)
			s.dirs = slices.Delete(s.dirs, 0, 1)
		}
	}
	p, known := d.place[n]
	if !known {
		if d.strange++; d.strange > 16+len(d.files)/8 {
			s.dirs[len(s.dirs)-1] = &siblingDir{node: parent, early: []Node{n}} // look again
		}
		return nil, nil
	}
	if d.forget(p) {
		s.right++
	}
	if !d.read[p] {
		d.read[p] = true
		d.sum += min(size, s.fs.opts.ChunkSize)
		d.count++
	}
	d.asked[p] = true
	return s.window(d, p), d
}

// dir returns the record of a directory, a new one if there is none.
func (s *siblings) dir(n Node) *siblingDir {
	i := slices.IndexFunc(s.dirs, func(d *siblingDir) bool { return d.node == n })
	var d *siblingDir
	if i >= 0 {
		d = s.dirs[i]
		if i == len(s.dirs)-1 {
			return d
		}
		s.dirs = slices.Delete(s.dirs, i, i+1)
	} else {
		d = &siblingDir{node: n}
		if len(s.dirs) >= siblingDirs {
			s.dirs = slices.Delete(s.dirs, 0, 1)
		}
	}
	s.dirs = append(s.dirs, d)
	return d
}

// list reads the directory's entries and puts them in order. It returns nil when there are
// too many of them.
func (s *siblings) list(n Node) *siblingDir {
	e, err := s.fs.index.Stat(n)
	if err != nil || e.Children > siblingEntries {
		return nil
	}
	entries, err := s.fs.index.ReadDir(n, nil)
	if err != nil {
		return nil
	}
	entries = slices.DeleteFunc(entries, func(e loroindex.DirEntry) bool { return e.Kind != loroindex.File })
	d := &siblingDir{
		node: n, files: make([]Node, len(entries)), place: make(map[Node]int32, len(entries)),
		read: make([]bool, len(entries)), asked: make([]bool, len(entries)), waiting: make(map[int32]int64),
	}
	lower := make([]string, len(entries))
	for i := range entries {
		d.files[i] = entries[i].Node
		d.place[entries[i].Node] = int32(i)
		lower[i] = strings.ToLower(entries[i].Name)
	}
	d.sort(byListing, func(a, b int32) int { return int(a - b) })
	d.sort(byName, func(a, b int32) int { return strings.Compare(entries[a].Name, entries[b].Name) })
	d.sort(byLetters, func(a, b int32) int { return cmp.Or(strings.Compare(lower[a], lower[b]), int(a-b)) })
	d.sort(byInode, func(a, b int32) int { return cmp.Compare(entries[a].Ino, entries[b].Ino) })
	return d
}

// sort fills in an order of the places, unless it is the same as an earlier one.
func (d *siblingDir) sort(o int, compare func(a, b int32) int) {
	order := make([]int32, len(d.files))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, compare)
	for _, other := range d.orders[:o] {
		if slices.Equal(order, other) {
			return
		}
	}
	rank := make([]int32, len(order))
	for r, p := range order {
		rank[p] = int32(r)
	}
	d.orders[o], d.ranks[o] = order, rank
}

// forget takes a file off the account of what was fetched ahead, and reports whether it
// was on it.
func (d *siblingDir) forget(p int32) bool {
	size, ok := d.waiting[p]
	if ok {
		delete(d.waiting, p)
		d.ahead -= size
	}
	return ok
}

// trusted reports whether what was fetched ahead was read, by and large.
func (s *siblings) trusted() bool {
	return s.guessed >= siblingProof && s.right >= s.guessed*3/4
}

// run returns how long the run of files is that were read before place p in an order,
// in direction 1 or -1: the files read less the gaps between them.
func (d *siblingDir) run(o int, p int32, direction int) int {
	order := d.orders[o]
	best, length := 0, 0
	for i := 1; i <= siblingReach && length >= best-siblingGap; i++ {
		r := int(d.ranks[o][p]) - direction*i
		if r < 0 || r >= len(order) {
			break
		}
		if d.read[order[r]] {
			length++
		} else {
			length--
		}
		best = max(best, length)
	}
	return best
}

// window returns what to fetch ahead now that the file at place p is read.
func (s *siblings) window(d *siblingDir, p int32) (next []sibling) {
	order, direction, run := 0, 1, 0
	for i := range orderCount {
		o := (s.order + i) % orderCount // the one that went best wins a tie
		if d.orders[o] == nil {
			continue
		}
		for _, dir := range [2]int{1, -1} {
			if r := d.run(o, p, dir); r > run {
				order, direction, run = o, dir, r
			}
		}
	}
	switch {
	case run > 0:
		s.order, s.direction = order, direction
	case d.count == 1 && s.trusted():
		order, direction, run = s.order, s.direction, siblingTrust
		if d.orders[order] == nil {
			order = byListing
		}
	default:
		return nil
	}
	places := d.orders[order]
	budget := min(siblingBytes+d.sum, s.most)
	left := min(siblingFactor*run, siblingWindow)
	for r := int(d.ranks[order][p]) + direction; r >= 0 && r < len(places) && left > 0; r += direction {
		q := places[r]
		if d.read[q] {
			continue
		}
		left--
		if d.asked[q] {
			continue
		}
		e, err := s.fs.index.Stat(d.files[q])
		if err != nil {
			continue
		}
		size, ok := s.fs.beginning(&e)
		if !ok {
			d.asked[q] = true
			continue
		}
		if d.ahead+size > budget {
			break
		}
		d.asked[q] = true
		d.waiting[q] = size
		d.ahead += size
		if s.guessed++; s.guessed > siblingMemory {
			s.guessed, s.right = s.guessed/2, s.right/2
		}
		next = append(next, sibling{q, e.Content})
	}
	return next
}

// Linux only: it is what the disk of disk_linux_test.go would have kept.

package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// verb is what an event does.
type verb uint8

const (
	create   verb = iota // name in parent: a file, node
	mkdir                // name in parent: a directory, node
	unlink               // name in parent
	rename               // name in parent becomes toName in toParent
	write                // data at off of node
	truncate             // node to off bytes
	fsync                // node: its bytes, or the names in it
	syncfs               // everything
	mark                 // text, from the workload
	put                  // an object in the store: name, data
	remove               // an object of the store: name
)

var verbs = [...]string{"create", "mkdir", "unlink", "rename", "write", "truncate", "fsync", "syncfs", "mark", "put", "remove"}

// event is something that happened, in the order in which it did.
type event struct {
	verb             verb
	node             uint64
	parent, toParent uint64
	name, toName     string
	off              int64
	data             []byte
	void             bool // did not happen after all
}

func (e event) String() string {
	switch e.verb {
	case rename:
		return fmt.Sprintf("rename %d/%s to %d/%s", e.parent, e.name, e.toParent, e.toName)
	case write:
		return fmt.Sprintf("write %d bytes at %d of %d", len(e.data), e.off, e.node)
	case truncate:
		return fmt.Sprintf("truncate %d to %d", e.node, e.off)
	case fsync:
		return fmt.Sprintf("fsync %d", e.node)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %d/%s", verbs[e.verb], e.parent, e.name))
}

const rootNode = 1

// image is a file system at one moment: what programs see of it, and what of that
// would be there after a power loss.
type image struct {
	nodes map[uint64]*node
	// pending are the changes of names that no sync has made durable, in order.
	pending []event
}

// node is a file or a directory.
type node struct {
	dir bool

	data   []byte  // of a file
	synced []byte  // its bytes at its last sync
	writes []event // since then

	names   map[string]uint64 // of a directory
	durable map[string]uint64
}

func newImage() *image {
	return &image{nodes: map[uint64]*node{rootNode: newDir()}}
}

func newDir() *node {
	return &node{dir: true, names: map[string]uint64{}, durable: map[string]uint64{}}
}

// apply does what an event says.
func (m *image) apply(e event) {
	if e.void {
		return
	}
	switch e.verb {
	case create:
		m.nodes[e.node] = &node{}
	case mkdir:
		m.nodes[e.node] = newDir()
	case write:
		n := m.nodes[e.node]
		n.data = overwrite(n.data, e)
		n.writes = append(n.writes, e)
	case truncate:
		n := m.nodes[e.node]
		n.data = overwrite(n.data, e)
		n.writes = append(n.writes, e)
	case fsync:
		m.sync(e.node)
	case syncfs:
		for id := range m.nodes {
			m.sync(id)
		}
	}
	switch e.verb {
	case create, mkdir, unlink, rename:
		changeNames(e, func(dir uint64) map[string]uint64 { return m.nodes[dir].names })
		m.pending = append(m.pending, e)
	}
}

// overwrite does a write or a truncate.
func overwrite(data []byte, e event) []byte {
	size := e.off
	if e.verb == write {
		size = max(int64(len(data)), e.off+int64(len(e.data)))
	}
	switch grow := size - int64(len(data)); {
	case grow > 0:
		data = append(data, make([]byte, grow)...)
	case grow < 0:
		clear(data[size:]) // it may come back as a hole
		data = data[:size]
	}
	if e.verb == write {
		copy(data[e.off:], e.data)
	}
	return data
}

// changeNames does a change of names in the directories that names returns. nil
// stands for a directory that is not there.
func changeNames(e event, names func(dir uint64) map[string]uint64) {
	from := names(e.parent)
	switch e.verb {
	case create, mkdir:
		if from != nil {
			from[e.name] = e.node
		}
	case unlink:
		if from != nil && from[e.name] == e.node {
			delete(from, e.name)
		}
	case rename:
		if from != nil && from[e.name] == e.node {
			delete(from, e.name)
		}
		if to := names(e.toParent); to != nil {
			to[e.toName] = e.node
		}
	}
}

// sync makes a file's bytes or a directory's names durable. A rename is durable in
// both directories or in none.
func (m *image) sync(id uint64) {
	n := m.nodes[id]
	if !n.dir {
		if len(n.writes) > 0 {
			n.synced, n.writes = slices.Clone(n.data), nil
		}
		return
	}
	left := m.pending[:0]
	for _, e := range m.pending {
		if e.parent == id || e.verb == rename && e.toParent == id {
			changeNames(e, func(dir uint64) map[string]uint64 { return m.nodes[dir].durable })
		} else {
			left = append(left, e)
		}
	}
	m.pending = left
	n.durable = maps.Clone(n.names)
}

// keeps says what of the things that were not synced a crash leaves.
type keeps struct {
	names  float64 // the chance of a change of names to be kept
	prefix bool    // those kept are the first ones, as in a journaling file system
	data   float64 // the chance of a page of a file to be kept, in one of its versions
}

var (
	killed    = keeps{names: 1, data: 1} // the system goes on: everything
	bare      = keeps{}                  // nothing
	namesOnly = keeps{names: 1}          // the names of files whose bytes were still in memory
)

func (k keeps) String() string {
	switch k {
	case killed:
		return "kill"
	case bare:
		return "power loss, only what was synced"
	case namesOnly:
		return "power loss, all names and only synced bytes"
	}
	order := "some"
	if k.prefix {
		order = "the first"
	}
	return fmt.Sprintf("power loss, %s of the names (%.0f %%), %.0f %% of the pages", order, 100*k.names, 100*k.data)
}

// anyKeeps returns a random one.
func anyKeeps(random *rand.Rand) keeps {
	share := func() float64 { return []float64{0, 0.1, 0.5, 0.9, 1}[random.IntN(5)] }
	return keeps{names: share(), prefix: random.IntN(3) > 0, data: share()}
}

// leave writes below out what a crash leaves of the directory name in the root.
func (m *image) leave(out, name string, k keeps, random *rand.Rand) error {
	names := make(map[uint64]map[string]uint64)
	for id, n := range m.nodes {
		if n.dir {
			names[id] = maps.Clone(n.durable)
		}
	}
	kept := len(m.pending)
	if k.prefix && k.names < 1 {
		kept = random.IntN(kept + 1)
	}
	for _, e := range m.pending[:kept] {
		if k.prefix || k.names == 1 || random.Float64() < k.names {
			changeNames(e, func(dir uint64) map[string]uint64 { return names[dir] })
		}
	}
	id, ok := names[rootNode][name]
	if !ok {
		return os.MkdirAll(out, 0o700)
	}
	return m.copyOut(out, id, names, k, random)
}

func (m *image) copyOut(path string, id uint64, names map[uint64]map[string]uint64, k keeps, random *rand.Rand) error {
	n := m.nodes[id]
	if !n.dir {
		// SQLite's shared memory is made anew by whoever opens the database first.
		if strings.HasSuffix(path, "-shm") {
			return nil
		}
		return os.WriteFile(path, n.left(k, random), 0o600)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names[id])) {
		if err := m.copyOut(filepath.Join(path, name), names[id][name], names, k, random); err != nil {
			return err
		}
	}
	return nil
}

const pageBytes = 4096

// left returns what a crash leaves of a file's bytes: each page as it was after some
// of the writes to it, and the size after some of the writes.
func (n *node) left(k keeps, random *rand.Rand) []byte {
	switch {
	case k.data == 1:
		return n.data
	case k.data == 0 && k.names == 1 && len(n.synced) == 0 && random.IntN(2) == 0:
		return make([]byte, len(n.data)) // the size without the bytes
	case k.data == 0 || len(n.writes) == 0:
		return n.synced
	}
	most := len(n.synced)
	sizes := []int{len(n.synced)}
	for _, w := range n.writes {
		size := int(w.off)
		if w.verb == write {
			size = max(sizes[len(sizes)-1], size+len(w.data))
		}
		sizes = append(sizes, size)
		most = max(most, size)
	}
	left := make([]byte, most)
	copy(left, n.synced)
	for start := 0; start < most; start += pageBytes {
		end := min(start+pageBytes, most)
		var touching []event
		for _, w := range n.writes {
			if int(w.off) < end && (w.verb == truncate || int(w.off)+len(w.data) > start) {
				touching = append(touching, w)
			}
		}
		if len(touching) == 0 || random.Float64() >= k.data {
			continue
		}
		if random.IntN(2) == 0 {
			touching = touching[:1+random.IntN(len(touching))]
		}
		for _, w := range touching {
			if w.verb == truncate {
				clear(left[max(start, int(w.off)):end])
				continue
			}
			from, to := max(start, int(w.off)), min(end, int(w.off)+len(w.data))
			copy(left[from:to], w.data[from-int(w.off):])
		}
	}
	size := sizes[len(sizes)-1]
	if random.IntN(2) == 0 {
		size = sizes[random.IntN(len(sizes))]
	}
	return left[:size]
}

// load puts a directory of the real file system into the image as name in the root,
// durable, and returns the next free node.
func (m *image) load(from, name string, next uint64) (uint64, error) {
	id := next
	next++
	add := func(parent uint64, name string, id uint64) {
		m.nodes[parent].names[name] = id
		m.nodes[parent].durable[name] = id
	}
	m.nodes[id] = newDir()
	add(rootNode, name, id)
	dirs := map[string]uint64{".": id}
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		rel, relErr := filepath.Rel(from, path)
		if err != nil || relErr != nil || rel == "." {
			return err
		}
		n := newDir()
		if !d.IsDir() {
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n = &node{data: body, synced: slices.Clone(body)}
		} else {
			dirs[rel] = next
		}
		m.nodes[next] = n
		add(dirs[filepath.Dir(rel)], filepath.Base(rel), next)
		next++
		return nil
	})
	return next, err
}

package loroindex

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/hamflx/pocket/internal/objectid"
	"github.com/hamflx/pocket/loroindex/loro"
)

// LogEntry is one operation of the history, told to people.
type LogEntry struct {
	Peer    uint64
	Counter int32  // with Peer names the operation
	Lamport uint32 // operations that know of others have a larger one
	Time    int64  // of the change it is part of, seconds since 1970; 0 when it was not recorded
	Device  string // whose change it is
	What    string // "create", "move", "delete", "name", "info", "content", "set", "unset", "other"
	Path    string // where the node is now, by the names in the document; ends in " (deleted)" when it is gone
	Detail  string // one line
}

// Log iterates over the history: by peer, then counter. It stops after an error.
// The index can be read meanwhile, not changed.
func (x *Index) Log() iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		x.mu.RLock()
		defer x.mu.RUnlock()
		n := nodePaths{x: x, known: make(map[loro.TreeID]string)}
		for op, err := range x.doc.Ops() {
			if err != nil {
				yield(LogEntry{}, fmt.Errorf("read the index history: %w", err))
				return
			}
			if !yield(n.entry(op), nil) {
				return
			}
		}
	}
}

// Contents iterates over every content with an object that a file was ever given, as
// far as the history goes. It stops after an error. The index can be read meanwhile,
// not changed.
func (x *Index) Contents() iter.Seq2[Content, error] {
	return func(yield func(Content, error) bool) {
		for w, err := range x.Writes() {
			if err == nil && w.Content.Object.IsZero() {
				continue
			}
			if !yield(w.Content, err) {
				return
			}
		}
	}
}

// Write is an operation that gave a file its content.
type Write struct {
	Peer    uint64
	Counter int32  // with Peer names the operation
	Lamport uint32 // operations that know of others have a larger one
	Node    Node   // NoNode for one that was never in sight since the index was opened
	Content Content
}

// Writes iterates over the contents that files were given, as far as the history
// goes: by peer, then counter. It stops after an error. The index can be read
// meanwhile, not changed.
func (x *Index) Writes() iter.Seq2[Write, error] {
	return func(yield func(Write, error) bool) {
		x.mu.RLock()
		defer x.mu.RUnlock()
		for op, err := range x.doc.Ops() {
			if err != nil {
				yield(Write{}, fmt.Errorf("read the index history: %w", err))
				return
			}
			if op.Kind != loro.OpMapSet || op.Key != keyContent || op.Container.Root {
				continue
			}
			w := Write{Peer: uint64(op.ID.Peer), Counter: op.ID.Counter, Lamport: op.Lamport, Node: x.find(loro.TreeID(op.Container.ID))}
			w.Content = writtenContent(op.Value)
			if !yield(w, nil) {
				return
			}
		}
	}
}

// writtenContent reads a content value of the history.
func writtenContent(v loro.Value) (c Content) {
	object, _ := v.Get(contentObject)
	if id, _ := object.AsBinary(); len(id) == objectid.Size {
		c.Object = objectid.ID(id)
	}
	c.Size, _ = intOf(v, contentSize)
	c.ModTime, _ = intOf(v, contentModTime)
	manifest, _ := v.Get(contentManifest)
	c.Manifest, _ = manifest.AsBool()
	return c
}

// nodePaths finds the paths of nodes, those of directories once.
type nodePaths struct {
	x     *Index
	known map[loro.TreeID]string
}

func (n *nodePaths) entry(op loro.Op) LogEntry {
	e := LogEntry{
		Peer: uint64(op.ID.Peer), Counter: op.ID.Counter, Lamport: op.Lamport,
		Time: op.Timestamp, Device: op.Message, What: "other", Detail: op.Container.String(),
	}
	_, place := n.x.tree.Parent(loro.TreeID(op.Container.ID))
	meta := !op.Container.Root && op.Container.Type == loro.TypeMap && place != loro.Absent
	switch op.Kind {
	case loro.OpTreeCreate, loro.OpTreeMove, loro.OpTreeDelete:
		if !op.Container.Root || op.Container.Name != treeName {
			break
		}
		e.Path = n.path(op.Node)
		switch op.Kind {
		case loro.OpTreeCreate:
			e.What, e.Detail = "create", "in "+n.dir(op.Parent)
		case loro.OpTreeMove:
			e.What, e.Detail = "move", "to "+n.dir(op.Parent)
		default:
			e.What, e.Detail = "delete", ""
		}
	case loro.OpMapDelete:
		e.What, e.Detail = "unset", op.Key
		if meta {
			e.Path = n.path(loro.TreeID(op.Container.ID))
		}
	case loro.OpMapSet:
		e.What, e.Detail = "set", op.Key+" = "+brief(op.Value.String())
		if op.Container.Root && op.Container.Name != rootMap {
			e.Detail += " in " + op.Container.Name
		}
		if meta {
			e.Path = n.path(loro.TreeID(op.Container.ID))
			n.meta(&e, op)
		}
	}
	return e
}

// meta tells what was written about a node.
func (n *nodePaths) meta(e *LogEntry, op loro.Op) {
	switch op.Key {
	case keyName:
		if s, ok := op.Value.AsString(); ok {
			e.What, e.Detail = "name", s
		}
	case keyInfo:
		e.What, e.Detail = "info", textOf(op.Value, infoKind)
		if mode, ok := intOf(op.Value, infoMode); ok {
			e.Detail += fmt.Sprintf(" %04o", mode)
		}
		if attrs, _ := intOf(op.Value, infoAttr); attrs != 0 {
			e.Detail += fmt.Sprintf(" attributes %#x", attrs)
		}
		if target := textOf(op.Value, infoTarget); target != "" {
			e.Detail += " to " + brief(target)
		}
	case keyContent:
		size, _ := intOf(op.Value, contentSize)
		e.What, e.Detail = "content", fmt.Sprintf("%d bytes", size)
		manifest, _ := op.Value.Get(contentManifest)
		if m, _ := manifest.AsBool(); m {
			e.Detail += " by manifest"
		}
		object, _ := op.Value.Get(contentObject)
		if id, ok := object.AsBinary(); ok {
			e.Detail += fmt.Sprintf(" in %x", id)
		}
		if t, ok := intOf(op.Value, contentModTime); ok {
			e.Detail += time.UnixMicro(t).UTC().Format(", modified 2006-01-02 15:04:05")
		}
	}
}

func intOf(v loro.Value, key string) (int64, bool) {
	v, _ = v.Get(key)
	return v.AsInt()
}

func textOf(v loro.Value, key string) string {
	v, _ = v.Get(key)
	s, _ := v.AsString()
	return s
}

func brief(s string) string {
	const most = 200
	if len(s) > most {
		return cutName(s, most) + "..."
	}
	return s
}

// path returns where a node is now.
func (n *nodePaths) path(id loro.TreeID) string {
	const maxDepth = 1 << 12 // documents of others may be deeper
	var below []string
	above, gone := "", false
	for k := id; k != loro.TreeRoot && len(below) < maxDepth; {
		if p, ok := n.known[k]; ok {
			above, gone = strings.CutSuffix(p, deleted)
			above += "/"
			break
		}
		below = append(below, n.name(k))
		parent, place := n.x.tree.Parent(k)
		if place != loro.Live && place != loro.Hidden {
			gone = true
			break
		}
		k = parent
	}
	slices.Reverse(below)
	p := above + strings.Join(below, "/")
	if gone {
		p += deleted
	}
	return p
}

// deleted follows the path of what is gone.
const deleted = " (deleted)"

func (n *nodePaths) name(id loro.TreeID) string {
	name, _ := n.x.tree.Meta(id).Get(keyName)
	s, _ := name.AsString()
	if s == "" {
		return fmt.Sprintf("(node %d of %016x)", id.Counter, uint64(id.Peer))
	}
	return s
}

// dir is path of a directory, which is asked for often.
func (n *nodePaths) dir(id loro.TreeID) string {
	if id == loro.TreeRoot {
		return "/"
	}
	p, ok := n.known[id]
	if !ok {
		p = n.path(id)
		n.known[id] = p
	}
	return p
}

// History counts what an index holds beside its files.
type History struct {
	Schema, Epoch int64
	Peers         int      // writing sessions
	Devices       []string // whose sessions these were, sorted
	Ops           int64    // operations, those before Start included
	Changes       int      // commits, of which some are merged
	Bytes         int64    // size of the operations as one update
	Deleted       int      // nodes that are deleted, or below a deleted one
	Trimmed       int64    // operations whose history is not held
	First, Last   int64    // seconds since 1970; 0 when there is none
}

// History reads the whole history.
func (x *Index) History() (History, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var h History
	if v, ok := x.pocket.Get(keySchema); ok {
		h.Schema, _ = v.AsInt()
	}
	if v, ok := x.pocket.Get(keyEpoch); ok {
		h.Epoch, _ = v.AsInt()
	}
	for _, end := range x.doc.Version() {
		h.Peers++
		h.Ops += int64(end)
	}
	start, _ := x.doc.ShallowSince()
	h.Trimmed = operations(start)
	devices := make(map[string]struct{})
	for ch, err := range x.doc.Changes() {
		if err != nil {
			return History{}, fmt.Errorf("read the index history: %w", err)
		}
		h.Changes++
		devices[ch.Message] = struct{}{}
		if t := ch.Timestamp; t != 0 {
			if h.First == 0 || t < h.First {
				h.First = t
			}
			h.Last = max(h.Last, t)
		}
	}
	for d := range devices {
		if d != "" {
			h.Devices = append(h.Devices, d)
		}
	}
	slices.Sort(h.Devices)
	b, err := x.doc.ExportUpdates(nil)
	if err != nil {
		return History{}, fmt.Errorf("read the index history: %w", err)
	}
	h.Bytes = int64(len(b))
	live := 0
	for range x.tree.Nodes() {
		live++
	}
	h.Deleted = x.tree.Len() - live
	return h, nil
}

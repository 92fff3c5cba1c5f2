// Package play edits Loro documents at random: maps, nested maps, trees and their
// meta maps, with whatever makes merging hard: moves into each other, deletions
// of what others edit, deleted nodes brought back, equal names.
//
// What it does follows from the random source and the documents alone, so that a
// seed repeats a whole session.
package play

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hamflx/pocket/loroindex/loro"
)

// Roots that editors write to. Files has the meta maps of a directory of files;
// Plain has none.
var (
	Maps  = []string{"m", "pocket", "карта"}
	Files = "files"
	Plain = "t"
)

// Nodes are all nodes made in a session, whoever made them, so that an editor
// also picks those it sees as deleted or not at all.
type Nodes struct {
	files, plain []loro.TreeID
}

func (n *Nodes) of(tree string) *[]loro.TreeID {
	if tree == Files {
		return &n.files
	}
	return &n.plain
}

// Add records a node of a tree, made elsewhere.
func (n *Nodes) Add(tree string, id loro.TreeID) {
	all := n.of(tree)
	if !slices.Contains(*all, id) {
		*all = append(*all, id)
	}
}

// Clock gives all commits of a session their timestamps. It stands still, or never
// goes back: the official library joins a change with its predecessor when their
// timestamps decrease, and forgets the later one. The zero Clock stands still at 0,
// which means no timestamp.
type Clock struct {
	seconds int64
	runs    bool
}

// advance moves the clock on by a little, a lot or not at all.
func (c *Clock) advance(r *rand.Rand) {
	if c.runs {
		c.seconds += r.Int64N([]int64{1, 20, 900, 3000}[r.IntN(4)])
	}
}

// Editor edits one document.
type Editor struct {
	Doc   *loro.Doc
	R     *rand.Rand
	Nodes *Nodes
	Clock *Clock

	// Raise lets deleted nodes be moved back, which the official library never
	// does, though it follows when others do. Version 1.10.3 of it loses the meta
	// maps of such nodes when the start of a shallow document lies between their
	// deletion and their return.
	Raise bool
}

// Edit makes one to a few random edits, which stay uncommitted. An error means
// that the document refused or accepted what it should not have.
func (e *Editor) Edit() error {
	switch n := e.R.IntN(20); {
	case n < 5:
		return e.editMap()
	case n < 16:
		return e.editTree(Files)
	default:
		return e.editTree(Plain)
	}
}

// Commit commits what was edited, with or without a message.
func (e *Editor) Commit() {
	var message string
	if e.R.IntN(3) == 0 {
		message = []string{"laptop", "сервер", "m"}[e.R.IntN(3)]
	}
	e.Clock.advance(e.R)
	at := time.Unix(e.Clock.seconds, 0)
	e.Doc.SetCommitInfo(message, func() time.Time { return at })
	e.Doc.Commit()
}

// editMap sets or deletes a key of a root map or of a map below it.
func (e *Editor) editMap() error {
	m := e.Doc.Map(Maps[e.R.IntN(len(Maps))])
	for depth := 0; depth < 4 && e.R.IntN(3) == 0; depth++ {
		child, ok := e.childMap(m)
		if !ok {
			break
		}
		m = child
	}
	return e.editKey(m, key(e.R))
}

// childMap picks one of the maps that are values of a map.
func (e *Editor) childMap(m loro.Map) (loro.Map, bool) {
	var children []loro.ContainerID
	for _, v := range m.All() {
		if id, ok := v.AsContainer(); ok {
			children = append(children, id)
		}
	}
	if len(children) == 0 {
		return loro.Map{}, false
	}
	return e.Doc.MapOf(children[e.R.IntN(len(children))])
}

func (e *Editor) editKey(m loro.Map, k string) error {
	switch n := e.R.IntN(10); {
	case n < 2:
		if err := m.Delete(k); err != nil {
			return fmt.Errorf("deleting key %q of %v: %w", k, m.ID(), err)
		}
	case n < 4:
		child, err := m.SetMap(k)
		if err != nil {
			return fmt.Errorf("making a map at %q of %v: %w", k, m.ID(), err)
		}
		for range e.R.IntN(3) {
			if err := child.Set(key(e.R), Value(e.R)); err != nil {
				return fmt.Errorf("writing to the new map %v: %w", child.ID(), err)
			}
		}
	default:
		if err := m.Set(k, Value(e.R)); err != nil {
			return fmt.Errorf("writing key %q of %v: %w", k, m.ID(), err)
		}
	}
	return nil
}

func (e *Editor) editTree(name string) error {
	t := e.Doc.Tree(name)
	live := slices.Collect(t.Nodes())
	switch n := e.R.IntN(20); {
	case n < 6 || len(live) < 2:
		return e.create(t, name, e.parent(live))
	case n < 7:
		return e.burst(t, name, live)
	case n < 13:
		return e.move(t, live[e.R.IntN(len(live))], e.parent(live))
	case n < 14:
		all := *e.Nodes.of(name)
		return e.move(t, all[e.R.IntN(len(all))], e.parent(live))
	case n < 16:
		node := live[e.R.IntN(len(live))]
		if err := t.Delete(node); err != nil {
			return fmt.Errorf("deleting live node %v of %s: %w", node, name, err)
		}
		if t.Alive(node) {
			return fmt.Errorf("node %v of %s lives after its deletion", node, name)
		}
		return nil
	default:
		return e.editMeta(t, live[e.R.IntN(len(live))])
	}
}

// parent picks where to put a node; at times the top.
func (e *Editor) parent(live []loro.TreeID) loro.TreeID {
	if len(live) == 0 || e.R.IntN(6) == 0 {
		return loro.TreeRoot
	}
	return live[e.R.IntN(len(live))]
}

func (e *Editor) create(t loro.Tree, name string, parent loro.TreeID) error {
	node, err := t.Create(parent)
	if err != nil {
		return fmt.Errorf("creating a node under %v of %s: %w", parent, name, err)
	}
	all := e.Nodes.of(name)
	*all = append(*all, node)
	if name != Files {
		return nil
	}
	return e.fill(t.Meta(node))
}

// burst makes a directory of several nodes at once.
func (e *Editor) burst(t loro.Tree, name string, live []loro.TreeID) error {
	dir := e.parent(live)
	for range 2 + e.R.IntN(12) {
		if err := e.create(t, name, dir); err != nil {
			return err
		}
	}
	return nil
}

// fill writes the facts of a file.
func (e *Editor) fill(m loro.Map) error {
	names := []string{"a", "report.txt", "Photo 1.JPG", "ünï", "文書", ".git"}
	if err := m.Set("name", loro.String(names[e.R.IntN(len(names))])); err != nil {
		return err
	}
	info := loro.MapValue(
		loro.Entry{Key: "kind", Value: loro.Int(int64(e.R.IntN(3)))},
		loro.Entry{Key: "created", Value: loro.Int(1_700_000_000_000_000 + e.R.Int64N(1e9))})
	if err := m.Set("info", info); err != nil {
		return err
	}
	return e.content(m)
}

func (e *Editor) content(m loro.Map) error {
	return m.Set("content", loro.MapValue(
		loro.Entry{Key: "size", Value: loro.Int(e.R.Int64N(1e9))},
		loro.Entry{Key: "object", Value: loro.Binary(randomBytes(e.R, 32))}))
}

func (e *Editor) editMeta(t loro.Tree, node loro.TreeID) error {
	m := t.Meta(node)
	switch e.R.IntN(4) {
	case 0:
		return e.content(m)
	case 1:
		return m.Set("name", loro.String(fmt.Sprintf("renamed %d", e.R.IntN(30))))
	case 2:
		if child, ok := e.childMap(m); ok {
			return e.editKey(child, key(e.R))
		}
	}
	return e.editKey(m, key(e.R))
}

// move moves a node and checks that the document refuses what would close a
// cycle, and what it does not know, and nothing else.
func (e *Editor) move(t loro.Tree, node, parent loro.TreeID) error {
	_, place := t.Parent(node)
	if !e.Raise && (place == loro.Trashed || place == loro.Hidden) {
		return nil
	}
	cycle := below(t, parent, node)
	err := t.Move(node, parent)
	switch {
	case place == loro.Absent:
		if !errors.Is(err, loro.ErrNoNode) {
			return fmt.Errorf("moving unknown node %v: %w instead of %w", node, err, loro.ErrNoNode)
		}
		return nil
	case cycle:
		if !errors.Is(err, loro.ErrCycle) {
			return fmt.Errorf("moving %v under its descendant %v: %w instead of %w", node, parent, err, loro.ErrCycle)
		}
		return nil
	case err != nil:
		return fmt.Errorf("moving %v (%v) under %v: %w", node, place, parent, err)
	}
	if at, place := t.Parent(node); at != parent || place != loro.Live {
		return fmt.Errorf("%v was moved under %v and is %v under %v", node, parent, place, at)
	}
	return nil
}

// below reports whether node is an ancestor of the live node at, or at itself.
func below(t loro.Tree, at, node loro.TreeID) bool {
	for at != loro.TreeRoot {
		if at == node {
			return true
		}
		at, _ = t.Parent(at)
	}
	return false
}

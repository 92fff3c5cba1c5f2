package loroindex

import (
	"hash/maphash"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Folded is the tree for a system on which letter case does not tell names apart
// (Unicode simple folding), as Windows is. Entries of a directory whose names fold to one are
// all shown: the first in Loro's sibling order keeps its name, the others are shown as
// "name (case conflict 1a2b3c4d).ext", after their inode number, the same on every machine that
// has the same document. Nothing is written for that. A name is found in any spelling. What the system
// cannot show (Options.Shows) is shown as the beginning of the name with " (long name 1a2b3c4d5e6f7081)".
//
// Its methods may be called as those of Index.
type Folded struct{ x *Index }

// Folded returns the tree without regard to letter case. The first call takes time in
// proportion to what has been read of the tree, and the index some bytes an entry from
// then on.
func (x *Index) Folded() Folded {
	x.mu.RLock()
	ready := x.folding
	x.mu.RUnlock()
	if !ready {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.foldNames()
	}
	return Folded{x}
}

// Lookup finds an entry by what it is shown as. The entry has the name that it has.
//
// Errors: as Index.Lookup.
func (f Folded) Lookup(parent Node, name string) (e Entry, err error) {
	x := f.x
	x.look(func() Node {
		var unread Node
		e, unread, err = x.foldLookup(parent, name)
		return unread
	})
	return e, err
}

// Resolve finds the node at a path as Path returns it. Symbolic links are not followed;
// leading, trailing and doubled slashes are ignored.
//
// Errors: as Index.Resolve.
func (f Folded) Resolve(path string) (e Entry, err error) {
	x := f.x
	x.look(func() Node {
		n, rest := Root, path
		for rest != "" {
			var name string
			name, rest, _ = strings.Cut(rest, "/")
			if name == "" {
				continue
			}
			d, unread, failed := x.openDir(n)
			if err = failed; err != nil || unread != NoNode {
				return unread
			}
			if n = x.foldChild(d, name); n == NoNode {
				err = notExist{name}
				return NoNode
			}
		}
		e, err = x.stat(n)
		return NoNode
	})
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// Path returns the path of a node as it is shown, "/"-separated without a leading one; ""
// for Root.
//
// Errors: as Index.Path.
func (f Folded) Path(n Node) (string, error) {
	x := f.x
	x.mu.RLock()
	defer x.mu.RUnlock()
	if _, err := x.path(n); err != nil {
		return "", err
	}
	var names []string
	for k := x.canon(n); k != Root; k = x.at(k).parent {
		names = append(names, x.foldName(k))
	}
	slices.Reverse(names)
	return strings.Join(names, "/"), nil
}

// ReadDir is Index.ReadDir with names as they are shown.
func (f Folded) ReadDir(dir Node, buf []DirEntry) ([]DirEntry, error) {
	return f.x.readDir(dir, buf, f.x.foldName)
}

// Twins returns the entries of a directory whose names fold to what name does, in sibling order,
// with the names that they are shown by. Entries of one that was not read yet are none.
func (f Folded) Twins(dir Node, name string) []DirEntry {
	x := f.x
	x.mu.RLock()
	defer x.mu.RUnlock()
	d, unread, err := x.openDir(dir)
	if err != nil || unread != NoNode {
		return nil
	}
	var twins []DirEntry
	for _, n := range x.twins(d, name) {
		twins = append(twins, DirEntry{Name: x.foldName(n), Node: n, Kind: x.at(n).kind, Ino: x.ino(n)})
	}
	return twins
}

// CaseConflictName returns what Folded shows an entry as whose name folds to that of one
// before it, unless that name is taken as well.
func CaseConflictName(name string, ino uint64) string { return caseConflictName(name, ino, 1) }

// FoldLookup is [Folded.Lookup] as of the changes made so far, for an index that has Folded
// names.
func (t *Tx) FoldLookup(parent Node, name string) (Entry, error) {
	d, err := t.dir(parent)
	if err != nil {
		return Entry{}, err
	}
	t.x.foldNames()
	e, _, err := t.x.foldLookup(d, name)
	return e, err
}

// KeepFirst has an entry shown by its own name although others have one that folds to the same,
// since it took the place of the one that was: those come after it as if they had come
// to the directory now.
//
// Errors: ErrNotExist, ErrRemoved, ErrLimit.
func (t *Tx) KeepFirst(n Node) error {
	x := t.x
	n, err := t.live(n)
	if err != nil {
		return err
	}
	x.foldNames()
	for _, twin := range x.twins(x.at(n).parent, x.nameOf(n)) {
		if twin == n {
			continue
		}
		for _, m := range t.all(twin) {
			if err := t.room(); err != nil {
				return err
			}
			t.save(m)
			t.ops = append(t.ops, docOp{kind: opLast, node: m})
		}
	}
	return nil
}

// FoldName returns what an entry of the tree is shown as by Folded, as of the changes made so
// far; what is no entry has its last name.
func (t *Tx) FoldName(n Node) string {
	if n = t.x.canon(n); t.x.at(n).flags&fLinked == 0 {
		return t.x.nameOf(n)
	}
	t.x.foldNames()
	return t.x.foldName(n)
}

func (x *Index) foldLookup(parent Node, name string) (Entry, Node, error) {
	d, unread, err := x.openDir(parent)
	if err != nil || unread != NoNode {
		return Entry{}, unread, err
	}
	n := x.foldChild(d, name)
	if n == NoNode {
		return Entry{}, NoNode, notExist{name}
	}
	return x.describe(n), NoNode, nil
}

// foldChild returns the entry that is shown as name, in any spelling, or NoNode.
func (x *Index) foldChild(d Node, name string) Node {
	if n, more := x.foldFirst(d, name); !more {
		if n != NoNode {
			return n
		}
	} else {
		return x.twins(d, name)[0]
	}
	base, mark, cut, ok := parseCaseConflict(name)
	if !ok {
		return NoNode
	}
	shown := func(n Node) bool {
		return strings.HasPrefix(caseMark(x.ino(n)), mark) && strings.EqualFold(x.foldName(n), name)
	}
	for _, n := range x.twins(d, base) {
		if shown(n) {
			return n
		}
	}
	if cut {
		for n := x.dirs[x.at(d).dir].first; n != NoNode; n = x.at(n).next {
			if shown(n) {
				return n
			}
		}
	}
	return NoNode
}

// foldFirst returns an entry whose name folds to what name does, or NoNode, and whether there
// are more.
func (x *Index) foldFirst(d Node, name string) (first Node, more bool) {
	h := x.hashFolded(d, name)
	for n, i := x.byFold.probe(h, h); n != NoNode; n, i = x.byFold.probe(h, i) {
		if x.at(n).parent == d && strings.EqualFold(x.nameOf(n), name) {
			if first != NoNode {
				return first, true
			}
			first = n
		}
	}
	return first, false
}

// twins returns all entries whose names fold to what name does, in sibling order.
func (x *Index) twins(d Node, name string) []Node {
	var found []Node
	h := x.hashFolded(d, name)
	for n, i := x.byFold.probe(h, h); n != NoNode; n, i = x.byFold.probe(h, i) {
		if x.at(n).parent == d && strings.EqualFold(x.nameOf(n), name) {
			found = append(found, n)
		}
	}
	x.sortSiblings(found)
	return found
}

// foldName returns what a linked node is shown as.
func (x *Index) foldName(n Node) string {
	d, name := x.at(n).parent, x.nameOf(n)
	twins := []Node{n}
	if _, more := x.foldFirst(d, name); more {
		twins = x.twins(d, name)
	}
	if twins[0] == n && x.shows(name) {
		return name
	}
	for nth := 1; ; nth++ {
		shown := caseConflictName(name, x.ino(n), nth)
		if twins[0] == n || !x.shows(shown) {
			shown = shortName(name, x.ino(n), nth, x.shows)
		}
		taken, _ := x.foldFirst(d, shown)
		free := taken == NoNode
		for _, other := range twins[1:] {
			if other != n && strings.EqualFold(shown, caseConflictName(x.nameOf(other), x.ino(other), nth)) {
				free = false
			}
		}
		if free {
			return shown
		}
	}
}

// foldNames begins to keep byFold.
func (v *view) foldNames() {
	if v.folding {
		return
	}
	v.folding = true
	for n := Root; int(n) < v.count; n++ {
		if v.at(n).flags&fLinked != 0 {
			v.byFold.insert(v.foldHash(n), n, v.foldHash)
		}
	}
}

func (v *view) foldHash(n Node) uint64 { return v.hashFolded(v.at(n).parent, v.nameOf(n)) }

// hashFolded is hashName of a name with every character replaced by the one
// that stands for all it folds to. Names longer than MaxName may share hashes.
func (v *view) hashFolded(d Node, name string) uint64 {
	var room [MaxName]byte
	folded := room[:0]
	for _, r := range name {
		if r < utf8.RuneSelf && r != 'k' && r != 's' && r != 'K' && r != 'S' {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
		} else {
			r = foldRune(r)
		}
		if len(folded) > MaxName-utf8.UTFMax {
			break
		}
		folded = utf8.AppendRune(folded, r)
	}
	return mixParent(d, maphash.Bytes(v.seed, folded))
}

// FoldName returns what all names have in common that fold to one.
func FoldName(name string) string { return strings.Map(foldRune, name) }

// foldRune returns the smallest character that r folds to.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

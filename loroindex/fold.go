package loroindex

import (
	"hash/maphash"
	"strings"
	"unicode"
	"unicode/utf8"
)

// FoldLookup finds an entry by its name without regard to case (Unicode simple
// folding). An exact match is preferred; of several others the first in the
// order of the bytes of their names, the same on every machine. The first call
// takes time in proportion to the tree, and the index some memory from then on.
//
// Errors: as Lookup.
func (x *Index) FoldLookup(parent Node, name string) (e Entry, err error) {
	x.mu.RLock()
	e, unread, err := x.lookup(parent, name)
	ready := x.folding && unread == NoNode
	if err != nil && ready {
		e, err = x.foldLookup(parent, name, err)
	}
	x.mu.RUnlock()
	if err == nil && unread == NoNode || ready {
		return e, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if unread != NoNode {
		x.read(unread)
	}
	x.foldNames()
	if e, _, err = x.lookup(parent, name); err != nil {
		e, err = x.foldLookup(parent, name, err)
	}
	return e, err
}

// foldLookup finds an entry that an exact look-up did not.
func (x *Index) foldLookup(parent Node, name string, exact error) (Entry, error) {
	d, _, err := x.openDir(parent)
	if err != nil {
		return Entry{}, err
	}
	found := NoNode
	h := x.hashFolded(d, name)
	for n, i := x.byFold.probe(h, h); n != NoNode; n, i = x.byFold.probe(h, i) {
		if x.at(n).parent == d && strings.EqualFold(x.nameOf(n), name) && (found == NoNode || x.nameOf(n) < x.nameOf(found)) {
			found = n
		}
	}
	if found == NoNode {
		return Entry{}, exact
	}
	return x.describe(found), nil
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

// foldRune returns the smallest character that r folds to.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

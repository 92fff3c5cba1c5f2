package loroindex

import (
	"bytes"
	"slices"

	"github.com/hamflx/pocket/loroindex/loro"
)

// place makes n an entry of directory d (which shows its own entries: it is not
// merged) under a given name. When the name is free n is shown by it at once;
// else the nodes of that name become a group, and settle decides.
func (x *Index) place(n, d Node, given string) {
	v := &x.view
	nd := v.at(n)
	nd.parent = d
	nd.flags |= fPlaced
	holder := v.child(d, given)
	if v.nameOf(n) != given {
		v.setName(n, given)
	}
	key := nameKey{d, given}
	switch {
	case holder == NoNode && v.groups[key] == nil:
		v.link(n)
		return
	case holder != NoNode && v.at(holder).flags&fAlias != 0:
		// The name was lent to a node whose own is taken; it must look again.
		other := nameKey{d, v.given[holder]}
		x.note(holder)
		v.dirty[other] = struct{}{}
		v.blocked[key] = other
		if v.groups[key] == nil {
			v.unlink(holder)
			v.link(n)
			return
		}
	case v.groups[key] == nil:
		v.groups[key] = []Node{holder}
		v.at(holder).flags |= fGroup
	}
	v.groups[key] = append(v.groups[key], n)
	nd.flags |= fGroup
	v.dirty[key] = struct{}{}
}

// displace takes n out of its parent's entries. Directories merged with it get
// their entries back. Its shown name becomes the given one; its parent stays
// recorded, as where it was last.
func (x *Index) displace(n Node) {
	nd := x.at(n)
	if nd.flags&fMerged != 0 {
		x.split(n)
	}
	if nd.flags&fMerger != 0 {
		for _, m := range slices.Clone(x.members[n]) {
			x.split(m)
		}
	}
	if nd.flags&fLinked != 0 {
		x.unlink(n)
	}
	given := x.givenOf(n)
	x.unalias(n)
	key := nameKey{nd.parent, given}
	if nd.flags&fGroup != 0 {
		g := x.groups[key]
		if i := slices.Index(g, n); i >= 0 {
			g = slices.Delete(g, i, i+1)
		}
		if len(g) == 0 {
			delete(x.groups, key)
		} else {
			x.groups[key] = g
			x.dirty[key] = struct{}{}
		}
	}
	if waiting, ok := x.blocked[key]; ok && x.groups[key] == nil {
		delete(x.blocked, key)
		if x.groups[waiting] != nil {
			x.dirty[waiting] = struct{}{}
		}
	}
	nd.flags &^= fPlaced | fGroup
}

func (v *view) unalias(n Node) {
	if nd := v.at(n); nd.flags&fAlias != 0 {
		v.setName(n, v.given[n])
		delete(v.given, n)
		nd.flags &^= fAlias
	}
}

// settle decides the names of all groups that changed. Merging directories may
// need them read, which brings groups of its own: they wait for their turn.
func (x *Index) settle() {
	if x.settling {
		return
	}
	x.settling = true
	defer func() { x.settling = false }()
	for len(x.dirty) > 0 {
		for key := range x.dirty {
			delete(x.dirty, key)
			if g := x.groups[key]; g != nil {
				x.settleGroup(key, g)
			}
		}
	}
}

// settleGroup gives each node of one given name its shown name: the first in
// sibling order the name itself, of the directories the first shows the others'
// entries as well, the rest are named after the device and time they come from.
func (x *Index) settleGroup(key nameKey, g []Node) {
	x.sortSiblings(g)
	var lead Node // shows the directories of the group
	for _, n := range g {
		if x.at(n).kind == Dir {
			lead = n
			break
		}
	}
	x.regroup(lead, g)

	for _, n := range g {
		if x.at(n).flags&fLinked != 0 {
			x.note(n)
			x.dropName(n)
		}
		x.unalias(n)
	}
	if holder := x.child(key.dir, key.name); holder != NoNode {
		// Only an alias can hold it: nodes of this given name are all in g.
		x.note(holder)
		other := nameKey{key.dir, x.givenOf(holder)}
		x.blocked[key] = other
		x.dirty[other] = struct{}{}
		x.unlink(holder)
	}
	for i, n := range g {
		nd := x.at(n)
		if nd.flags&fMerged != 0 {
			continue
		}
		if i > 0 {
			x.alias(n, key)
		}
		x.relink(n)
		// Until it was linked, what happened to the directory passed it by.
		x.setVisible(n, x.at(key.dir).flags&fVisible != 0)
	}
	if len(g) == 1 {
		x.at(g[0]).flags &^= fGroup
		delete(x.groups, key)
	}
}

// relink enters a node into the table of names, and into the list of entries if
// it is not there.
func (v *view) relink(n Node) {
	if v.at(n).flags&fLinked == 0 {
		v.link(n)
		return
	}
	v.enterName(n)
}

// alias names n, whose given name another keeps.
func (x *Index) alias(n Node, key nameKey) {
	device, unix := x.origin(x.id(n))
	for nth := 1; ; nth++ {
		name := conflictName(key.name, device, unix, nth)
		k := nameKey{key.dir, name}
		holder := x.child(key.dir, name)
		if holder == NoNode && x.groups[k] == nil {
			x.given[n] = key.name
			x.setName(n, name)
			x.at(n).flags |= fAlias
			return
		}
		if holder == NoNode || x.at(holder).flags&fAlias == 0 {
			x.blocked[k] = key // look again when that name is given up
		}
	}
}

// origin says which device created a node and when, as far as the history goes.
func (x *Index) origin(id loro.TreeID) (device string, unix int64) {
	c, err := x.doc.ChangeOf(loro.ID(id))
	if err != nil {
		return "", 0 // before the start of a compacted history
	}
	return c.Message, c.Timestamp
}

// sortSiblings sorts nodes as Loro sorts siblings, also across parents. The
// order is total: no two moves share a Lamport time and a peer.
func (x *Index) sortSiblings(g []Node) {
	slices.SortStableFunc(g, func(a, b Node) int {
		ia, ib := x.id(a), x.id(b)
		if c := bytes.Compare(x.tree.Position(ia), x.tree.Position(ib)); c != 0 {
			return c
		}
		ma, _ := x.tree.LastMove(ia)
		mb, _ := x.tree.LastMove(ib)
		return ma.Compare(mb)
	})
}

// regroup merges the directories of g into lead, and undoes merges that do not
// hold any more.
func (x *Index) regroup(lead Node, g []Node) {
	for _, n := range g {
		nd := x.at(n)
		if nd.kind != Dir {
			continue
		}
		if nd.flags&fMerged != 0 && x.merged[n] != lead {
			x.split(n)
		}
		if n != lead {
			for _, m := range slices.Clone(x.members[n]) {
				x.split(m)
			}
		}
	}
	for _, n := range g {
		if nd := x.at(n); nd.kind == Dir && n != lead && nd.flags&fMerged == 0 {
			x.join(n, lead)
		}
	}
}

// join shows the entries of directory m under directory c.
func (x *Index) join(m, c Node) {
	x.note(m)
	mn, cn := x.at(m), x.at(c)
	if mn.flags&fLinked != 0 {
		x.unlink(m)
	}
	if x.dirs[mn.dir].read || x.dirs[cn.dir].read {
		x.read(c)
		x.read(m)
	}
	x.setVisible(m, cn.flags&fVisible != 0)
	md, cd := &x.dirs[mn.dir], &x.dirs[cn.dir] // after read, which may move the array
	cd.mtime = max(cd.mtime, md.mtime)
	if mn.flags&fVisible != 0 {
		x.folders--
		if !md.read {
			x.unread--
		}
	}
	mn.flags |= fMerged
	cn.flags |= fMerger
	x.merged[m] = c
	x.members[c] = append(x.members[c], m)
	if md.read {
		x.transfer(m, m, c)
		x.dirs[mn.dir].read = false
	}
}

// split undoes join.
func (x *Index) split(m Node) {
	c := x.merged[m]
	mn, cn := x.at(m), x.at(c)
	delete(x.merged, m)
	mn.flags &^= fMerged
	ms := x.members[c]
	ms = slices.Delete(ms, slices.Index(ms, m), slices.Index(ms, m)+1)
	if len(ms) == 0 {
		delete(x.members, c)
		cn.flags &^= fMerger
	} else {
		x.members[c] = ms
	}
	read := x.dirs[cn.dir].read
	x.dirs[mn.dir].read = read
	if mn.flags&fVisible != 0 {
		x.folders++
		if !read {
			x.unread++
		}
	}
	if read {
		x.transfer(m, c, m)
	}
}

// transfer moves the entries of directory m of the document, where they are in
// the view under from, to the view's directory to. An entry the view does not
// know yet is made.
func (x *Index) transfer(m, from, to Node) {
	if x.tx.open {
		x.transferInTx(m, from, to)
		return
	}
	for id := range x.tree.Children(x.id(m)) {
		k := x.find(id)
		switch {
		case k == NoNode:
			k = x.adopt(id)
		case x.at(k).flags&fPlaced == 0:
		case x.at(k).parent != from:
			continue // on its way by the import under way
		default:
			x.note(k)
			x.displace(k)
		}
		x.place(k, to, x.givenIn(k))
		x.setVisible(k, x.at(to).flags&fVisible != 0)
	}
}

// transferInTx is transfer while the document lacks what a transaction did: it
// goes by what the document will hold.
func (x *Index) transferInTx(m, from, to Node) {
	move := func(k Node) {
		if nd := x.at(k); nd.flags&fPlaced != 0 && nd.parent == from && x.tx.docParent(k) == m {
			given := x.givenOf(k)
			x.displace(k)
			x.place(k, to, given)
			x.setVisible(k, x.at(to).flags&fVisible != 0)
		}
	}
	for id := range x.tree.Children(x.id(m)) {
		if k := x.find(id); k != NoNode {
			move(k)
		}
	}
	for _, op := range x.tx.ops {
		if op.parent == m {
			move(op.node)
		}
	}
}

// read makes sure the entries of d, which is not merged, are in the view.
func (x *Index) read(d Node) {
	dn := x.at(d)
	if x.dirs[dn.dir].read {
		return
	}
	x.dirs[dn.dir].read = true
	visible := dn.flags&fVisible != 0
	if visible {
		x.unread--
	}
	x.readInto(d, d, visible)
	for _, m := range x.members[d] {
		x.readInto(d, m, visible)
	}
	x.settle()
}

func (x *Index) readInto(d, m Node, visible bool) {
	for id := range x.tree.Children(x.id(m)) {
		k := x.find(id)
		if k == NoNode {
			k = x.adopt(id)
		} else if x.at(k).flags&fPlaced != 0 {
			continue
		}
		delete(x.floating, k)
		x.place(k, d, x.givenIn(k))
		x.setVisible(k, visible)
	}
}

// adopt gives a tree node its slot.
func (x *Index) adopt(id loro.TreeID) Node {
	info, content := x.factsOf(id)
	n := x.newNode(info.Kind)
	x.setID(n, id)
	nd := x.at(n)
	nd.size = content.Size
	if info.Kind == Dir {
		x.dirs[nd.dir].mtime = x.dirTimeIn(id, content.ModTime)
	}
	return n
}

// givenIn reads a node's name from the document and makes it safe.
func (x *Index) givenIn(n Node) string {
	raw, _ := x.tree.Meta(x.id(n)).Raw(keyName)
	name, _ := bytesOf(raw, loro.KindString)
	return safeName(string(name), x.ino(n))
}

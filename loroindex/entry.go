package loroindex

import "github.com/hamflx/pocket/loroindex/loro"

// factsOf reads what the document holds about a tree node.
func (x *Index) factsOf(id loro.TreeID) (decodedInfo, decodedContent) {
	var meta loro.Map
	if id == loro.TreeRoot {
		meta = x.pocket
	} else {
		meta = x.tree.Meta(id)
	}
	rawInfo, _ := meta.Raw(keyInfo)
	rawContent, _ := meta.Raw(keyContent)
	info, content := decodeInfo(rawInfo), decodeContent(rawContent)
	switch {
	case info.kindKnown:
	case id == loro.TreeRoot || x.tree.ChildCount(id) > 0:
		info.Kind = Dir // whatever it is, what is in it must not be out of reach
		if !info.moded {
			info.Mode = defaultMode(Dir)
		}
	}
	content.Content = content.of(info.Info, content.timed)
	return info, content
}

// of returns c as far as a node of that info has it. timed says whether it has
// a modification time of its own.
func (c Content) of(info Info, timed bool) Content {
	if !timed {
		c.ModTime = info.Created
	}
	if info.Kind != File {
		c = Content{ModTime: c.ModTime}
		if info.Kind == Symlink {
			c.Size = int64(len(info.Target))
		}
	}
	return c
}

// facts returns info and content of a node: as the open transaction has them,
// or as the document does. What only the view knows is not in them.
func (x *Index) facts(n Node) (Info, Content) {
	if x.tx.open && x.at(n).flags&fInTx != 0 {
		if f := x.tx.pending(n); f != nil {
			return f.info, f.content
		}
	}
	info, content := x.factsOf(x.id(n))
	info.Kind = x.at(n).kind // fixed when the slot was taken
	return info.Info, content.Content
}

// describe makes the entry of a node that is not merged into another.
func (x *Index) describe(n Node) Entry {
	nd := x.at(n)
	e := Entry{Node: n, Parent: nd.parent, Ino: x.ino(n), Name: x.nameOf(n)}
	e.Info, e.Content = x.facts(n)
	if nd.kind == Dir {
		d := &x.dirs[nd.dir]
		e.ModTime = d.mtime
		e.Children, e.Subdirs = int(d.count), int(d.subdirs)
		if !d.read {
			e.Children, e.Subdirs = x.childCount(n), -1
		}
	}
	e.Changed = max(e.Changed, e.ModTime, nd.changed)
	if nd.flags&fVisible == 0 {
		e.Removed, e.Parent = true, NoNode
	}
	return e
}

// childCount counts the entries of a directory not yet read, in the document.
func (x *Index) childCount(n Node) int {
	c := x.tree.ChildCount(x.id(n))
	for _, m := range x.members[n] {
		c += x.tree.ChildCount(x.id(m))
	}
	return c
}

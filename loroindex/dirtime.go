package loroindex

import "github.com/hamflx/pocket/loroindex/loro"

// When a directory changed (docs/format.md, "Times of directories"). The view has it
// in dir.mtime: exactly, for what happens here, else as the document tells.

const second = 1_000_000 // microseconds

// endOf returns the last microsecond of the second that us is in.
func endOf(us int64) int64 {
	rest := us % second
	if rest < 0 {
		rest += second
	}
	return us - rest + second - 1
}

// dirTimeIn returns when the directory id changed, by the document. written is
// what its content, or if it has none its info, says. Creating an entry writes nothing
// but the entry, so an entry that came later than that counts too.
func (x *Index) dirTimeIn(id loro.TreeID, written int64) int64 {
	last, ok := x.tree.LastChild(id)
	if !ok {
		return written
	}
	came, _ := x.tree.LastMove(last)
	meta := x.pocket
	if id != loro.TreeRoot {
		meta = x.tree.Meta(id)
	}
	if reg, ok := meta.Register(keyContent); ok && came.Compare(reg.IDLP) < 0 {
		return written
	}
	raw, _ := x.tree.Meta(last).Raw(keyInfo)
	return max(written, decodeInfo(raw).Created)
}

// dirTime is dirTimeIn for a directory of the view and what is merged into it.
func (x *Index) dirTime(d Node) int64 {
	_, content := x.factsOf(x.id(d))
	at := x.dirTimeIn(x.id(d), content.ModTime)
	for _, m := range x.members[d] {
		_, content = x.factsOf(x.id(m))
		at = max(at, x.dirTimeIn(x.id(m), content.ModTime))
	}
	return at
}

// touch notes that the entries of d change now.
func (t *Tx) touch(d Node) {
	t.save(d)
	nd := t.x.at(d)
	nd.changed = t.now
	// What the document says may be later by the rest of a second.
	if dir := &t.x.dirs[nd.dir]; dir.mtime < t.now || dir.mtime > endOf(t.now) {
		dir.mtime = t.now
	}
}

// stamp is touch for a change that the document does not tell by itself, of entries
// that leave, come from elsewhere or get another name: it writes the time of d. That it
// writes the end of the second, and once a second, keeps the cost of removing many files
// that of removing them, and the time from going back when it is read again.
func (t *Tx) stamp(d Node) {
	t.touch(d)
	info, c := t.x.facts(d)
	if end := endOf(t.now); c.ModTime < t.now || c.ModTime > end {
		t.writeTime(d, info, c, end)
	}
}

// writeTime records us as the time when d, which is saved, changed.
func (t *Tx) writeTime(d Node, info Info, c Content, us int64) {
	c.ModTime = us
	t.keep(d, info, c)
	t.setContent(d, c)
}

// setContent notes that the document must record the content of n.
func (t *Tx) setContent(n Node, c Content) {
	var prev loro.Value
	if raw, _ := t.x.meta(n).Raw(keyContent); decodeContent(raw).more {
		prev = raw.Value()
	}
	t.set(n, keyContent, encodeContent(c, prev))
}

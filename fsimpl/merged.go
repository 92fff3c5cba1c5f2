package fsimpl

import (
	"strings"

	"github.com/hamflx/pocket/fsimpl/winname"
	"github.com/hamflx/pocket/loroindex"
)

// Merged tells of an entry that changed without a program of this machine having changed it.
type Merged struct {
	Path string // as the mount shows it, from "/" on
	What Noticed
	Dir  bool
}

// Noticed is what happened to an entry.
type Noticed uint8

// What can happen.
const (
	Appeared Noticed = iota // there was nothing of that name, or another one
	Vanished
	Altered // content, times or attributes
)

// noticesAtOnce is how many notices a call brings at most.
const noticesAtOnce = 1024

// OnMerge has tell called with what arrived from the store, in the order in which it is to be told,
// from one goroutine that holds no lock. The next changes are not looked for before it returns. nil
// ends it. Directories that no program has looked into yet are not told of.
func (fs *FS) OnMerge(tell func([]Merged)) {
	if tell == nil {
		fs.told.Store(nil)
		return
	}
	fs.told.Store(&tell)
}

// notify tells of nodes that an import changed.
func (fs *FS) notify(changes []loroindex.Change) {
	tell := fs.told.Load()
	if tell == nil {
		return
	}
	var notices []Merged
	add := func(path string, what Noticed, dir bool) {
		if notices = append(notices, Merged{path, what, dir}); len(notices) >= noticesAtOnce {
			(*tell)(notices)
			notices = nil
		}
	}
	spellings := fs.spellings(changes)
	// First what goes: what comes may have its name.
	for _, c := range changes {
		if c.What&(loroindex.Gone|loroindex.Moved) == 0 {
			continue
		}
		parent, err := fs.path(c.OldParent)
		if err != nil {
			continue // gone as well, which is told
		}
		e, err := fs.index.Stat(c.Node)
		dir := err == nil && e.Kind == loroindex.Dir
		for _, name := range spellings.of(c.OldParent, c.OldName).was(c.OldName, e.Ino) {
			add(join(parent, fs.shown(name)), Vanished, dir)
		}
	}
	for _, c := range changes {
		what := Altered
		switch {
		case c.What&(loroindex.Added|loroindex.Moved) != 0:
			what = Appeared
		case c.What&loroindex.Altered == 0:
			continue
		}
		e, err := fs.index.Stat(c.Node)
		if err != nil || e.Removed {
			continue
		}
		if path, err := fs.path(c.Node); err == nil {
			add("/"+path, what, e.Kind == loroindex.Dir)
		}
	}
	// Those that nothing happened to, and that are shown by other names now.
	for _, s := range spellings {
		if !s.collide {
			continue
		}
		parent, err := fs.path(s.dir)
		if err != nil {
			continue
		}
		for i, twin := range s.twins {
			dir := twin.Kind == loroindex.Dir
			if i == 0 {
				add(join(parent, fs.shown(loroindex.CaseConflictName(twin.Name, twin.Ino))), Vanished, dir)
			}
			add(join(parent, fs.shown(twin.Name)), Appeared, dir)
			add(join(parent, fs.shown(twin.Name)), Altered, dir)
		}
	}
	if len(notices) > 0 {
		(*tell)(notices)
	}
}

// shown is the name that programs see of one in the index.
func (fs *FS) shown(name string) string {
	if fs.opts.Rules == Windows {
		return winname.Show(name)
	}
	return name
}

// join returns the path of a name in a directory of the index.
func join(dir, name string) string { return "/" + strings.TrimPrefix(dir+"/", "/") + name }

// spelling is a name in a directory, in whatever letter case.
type spelling struct {
	dir    Node
	folded string
}

// spelled is what an import made of a spelling.
type spelled struct {
	dir   Node
	twins []loroindex.DirEntry // that have it now, as they are shown
	// collide: several had it before, or have it now. Which of them had the plain name before is
	// not known any more.
	collide bool
}

// spellings are those of the names that came and went; none where case tells names apart.
type spellings map[spelling]*spelled

func (fs *FS) spellings(changes []loroindex.Change) spellings {
	if fs.opts.Rules != Windows {
		return nil
	}
	all := make(spellings)
	before := make(map[*spelled]int) // how many had it, beside those that have it still
	note := func(dir Node, name string, had int) {
		key := spelling{dir, loroindex.FoldName(name)}
		s := all[key]
		if s == nil {
			s = &spelled{dir: dir, twins: fs.index.Folded().Twins(dir, name)}
			all[key] = s
		}
		before[s] += had
	}
	for _, c := range changes {
		if c.What&(loroindex.Gone|loroindex.Moved) != 0 {
			note(c.OldParent, c.OldName, 1)
		}
		if c.What&(loroindex.Added|loroindex.Moved) != 0 {
			if e, err := fs.index.Stat(c.Node); err == nil && !e.Removed {
				note(e.Parent, e.Name, -1)
			}
		}
	}
	for s, n := range before {
		s.collide = max(len(s.twins), len(s.twins)+n) > 1
	}
	return all
}

func (s spellings) of(dir Node, name string) *spelled {
	if found := s[spelling{dir, loroindex.FoldName(name)}]; found != nil {
		return found
	}
	return &spelled{}
}

// was returns the names of the index that an entry may have been shown by which is gone, without one
// that another entry has now.
func (s *spelled) was(name string, ino uint64) []string {
	switch {
	case !s.collide:
		return []string{name}
	case len(s.twins) > 0: // the plain name is taken
		return []string{loroindex.CaseConflictName(name, ino)}
	}
	return []string{name, loroindex.CaseConflictName(name, ino)}
}

// appeared tells of a node that the mount itself made or moved.
func (fs *FS) appeared(n Node) { fs.notify([]loroindex.Change{{Node: n, What: loroindex.Added}}) }

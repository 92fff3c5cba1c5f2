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
		name := c.OldName
		if fs.opts.Rules == Windows {
			name = winname.Show(name)
		}
		add("/"+strings.TrimPrefix(parent+"/", "/")+name, Vanished, err == nil && e.Kind == loroindex.Dir)
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
	if len(notices) > 0 {
		(*tell)(notices)
	}
}

// appeared tells of a node that the mount itself made or moved.
func (fs *FS) appeared(n Node) { fs.notify([]loroindex.Change{{Node: n, What: loroindex.Added}}) }

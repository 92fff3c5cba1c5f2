package fsimpl

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/hamflx/pocket/fsimpl/winname"
	"github.com/hamflx/pocket/loroindex"
)

// Rules say whose programs use a mount. The index is the same by either: what one machine
// does by one rule, another sees by its own.
type Rules uint8

const (
	// POSIX: names are bytes, all different ones are different.
	POSIX Rules = iota
	// Windows: letter case does not tell names apart, and is kept; a name that Windows cannot
	// have is shown by one that it can (package winname), and one of several that differ
	// in case alone by a longer one (loroindex.Folded); both are found by what they are shown as. A
	// modification time that was set stays when handles write that were open then.
	Windows
)

// PlatformRules are those of the system this runs on.
func PlatformRules() Rules {
	if runtime.GOOS == "windows" {
		return Windows
	}
	return POSIX
}

// The methods below are those of the index, by the rules of the mount: names and paths that come from
// and go to programs pass here, and nothing else does.

func (fs *FS) lookup(parent Node, name string) (loroindex.Entry, error) {
	if fs.opts.Rules == Windows {
		return fs.index.Folded().Lookup(parent, winname.Stored(name))
	}
	return fs.index.Lookup(parent, name)
}

func (fs *FS) resolve(path string) (loroindex.Entry, error) {
	if fs.opts.Rules == Windows {
		return fs.index.Folded().Resolve(eachName(path, winname.Stored))
	}
	return fs.index.Resolve(path)
}

func (fs *FS) path(n Node) (string, error) {
	if fs.opts.Rules == Windows {
		path, err := fs.index.Folded().Path(n)
		return eachName(path, winname.Show), err
	}
	return fs.index.Path(n)
}

func (fs *FS) readDir(n Node, buf []DirEntry) ([]DirEntry, error) {
	if fs.opts.Rules != Windows {
		return fs.index.ReadDir(n, buf)
	}
	entries, err := fs.index.Folded().ReadDir(n, buf)
	for i := range entries {
		entries[i].Name = winname.Show(entries[i].Name)
	}
	return entries, err
}

// txLookup is lookup as of the changes made so far.
func (fs *FS) txLookup(tx *loroindex.Tx, parent Node, name string) (loroindex.Entry, error) {
	if fs.opts.Rules == Windows {
		return tx.FoldLookup(parent, winname.Stored(name))
	}
	return tx.Lookup(parent, name)
}

// txCreate makes a node under a name that a program gave.
func (fs *FS) txCreate(tx *loroindex.Tx, parent Node, name string, info loroindex.Info, c loroindex.Content) (Node, error) {
	if fs.opts.Rules == Windows {
		name = winname.Stored(name)
		switch taken, err := tx.FoldLookup(parent, name); {
		case err == nil:
			return loroindex.NoNode, fmt.Errorf("%q: %w", taken.Name, loroindex.ErrExist)
		case !errors.Is(err, loroindex.ErrNotExist):
			return loroindex.NoNode, err
		}
	}
	return tx.Create(parent, name, info, c)
}

// txRename gives n a name that a program gave.
func (fs *FS) txRename(tx *loroindex.Tx, n, parent Node, name string, replace bool) (replaced Node, err error) {
	if fs.opts.Rules != Windows {
		return tx.Rename(n, parent, name, replace)
	}
	name = winname.Stored(name)
	there, err := tx.FoldLookup(parent, name)
	switch {
	case errors.Is(err, loroindex.ErrNotExist):
		return tx.Rename(n, parent, name, false)
	case err != nil:
		return loroindex.NoNode, err
	case there.Node == n && name == tx.FoldName(n):
		return loroindex.NoNode, nil
	case there.Node == n:
		return tx.Rename(n, parent, name, false) // the case alone
	}
	// It takes the place of what is there, in its own spelling unless a third one has that.
	first := tx.FoldName(there.Node) == there.Name
	if replaced, err = tx.Rename(n, parent, there.Name, replace); err != nil {
		return replaced, err
	}
	if _, err = tx.Rename(n, parent, name, false); errors.Is(err, loroindex.ErrExist) {
		err = nil
	}
	if err == nil && first {
		err = tx.KeepFirst(n)
	}
	return replaced, err
}

// eachName applies fn to every name of a path.
func eachName(path string, fn func(string) string) string {
	names := strings.Split(path, "/")
	for i, name := range names {
		names[i] = fn(name)
	}
	return strings.Join(names, "/")
}

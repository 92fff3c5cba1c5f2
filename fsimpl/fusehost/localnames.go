package fusehost

import (
	"path"
	"runtime"
	"strings"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
)

// Local says what of a mount stays on this machine.
type Local struct {
	// Names are those of files and of directories, with * and ? as in a shell, in any letter
	// case; none: everything is the same everywhere.
	Names []string
	// Open opens the file system that holds them, where Exists from an earlier mount before
	// anything else, else when the first is made. It is called once at most; who gave it closes what it
	// returns, after the mount has ended.
	Open   func() (*fsimpl.FS, error)
	Exists bool
}

// DefaultLocalNames are what systems and their file managers leave in every directory or volume,
// and what means nothing on another machine. On Linux there is nothing of the kind.
func DefaultLocalNames() []string { return localNamesOf(runtime.GOOS) }

func localNamesOf(goos string) []string {
	switch goos {
	case "windows":
		return []string{"desktop.ini", "Thumbs.db", "$RECYCLE.BIN", "System Volume Information"}
	case "darwin":
		return []string{".DS_Store", "._*", ".Spotlight-V100", ".Trashes", ".fseventsd"}
	}
	return nil
}

// localNames are patterns, prepared to be looked up.
type localNames struct {
	whole    map[string]bool
	patterns []string
}

func newLocalNames(names []string) localNames {
	l := localNames{whole: make(map[string]bool)}
	for _, name := range names {
		if name = loroindex.FoldName(name); strings.ContainsAny(name, `*?[\`) {
			l.patterns = append(l.patterns, name)
		} else {
			l.whole[name] = true
		}
	}
	return l
}

// match reports whether what has this name stays on this machine.
func (l localNames) match(name string) bool {
	name = loroindex.FoldName(name)
	if l.whole[name] {
		return true
	}
	for _, p := range l.patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

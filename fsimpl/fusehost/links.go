package fusehost

import (
	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/pagebuf"
)

// linkFile is a symbolic link that is shown as a file: WinFsp asks once, at the mount, whether there
// are links, and takes one that comes later for a file. It holds where the link leads, and cannot be
// written. Like any file it is opened to be renamed or deleted.
type linkFile struct {
	fs   fileSystem
	node fsimpl.Node
}

var _ openFile = linkFile{}

func openLink(fs fileSystem, n fsimpl.Node, flags fsimpl.OpenFlags) (openFile, error) {
	l := linkFile{fs, n}
	if flags&fsimpl.OpenWrite != 0 {
		return nil, l.refuse("open to write")
	}
	return l, nil
}

// refuse returns the error of what would change the link.
func (l linkFile) refuse(op string) error {
	path, err := l.fs.Path(l.node)
	if err != nil {
		path = "a symbolic link"
	}
	return &fsimpl.Error{Op: op, Path: path, Kind: fsimpl.NotPermitted}
}

func (l linkFile) Node() fsimpl.Node          { return l.node }
func (l linkFile) Stat() (fsimpl.Attr, error) { return l.fs.Stat(l.node) }

func (l linkFile) ReadAt(p []byte, off int64) (int, error) {
	target, err := l.fs.Readlink(l.node)
	if err != nil || off < 0 || off >= int64(len(target)) {
		return 0, err
	}
	return copy(p, target[off:]), nil
}

// InMemory has no bytes that need no copy.
func (l linkFile) InMemory(int, int64) (*pagebuf.Buffer, []byte) { return nil, nil }

func (l linkFile) WriteAt([]byte, int64) (int, error) { return 0, l.refuse("write") }
func (l linkFile) Truncate(int64) error               { return l.refuse("truncate") }
func (l linkFile) Flush() error                       { return nil }
func (l linkFile) Sync() error                        { return l.fs.SyncDir(l.node) }
func (l linkFile) Release() error                     { return nil }

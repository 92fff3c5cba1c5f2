package fusehost

import (
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/internal/pagebuf"
)

// fileSystem is what the callbacks ask of a file system; tests have one in memory.
// The methods are those of *fsimpl.FS.
type fileSystem interface {
	Lookup(parent fsimpl.Node, name string) (fsimpl.Attr, error)
	Resolve(path string) (fsimpl.Node, error)
	Stat(n fsimpl.Node) (fsimpl.Attr, error)
	Path(n fsimpl.Node) (string, error)

	Mkdir(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner) (fsimpl.Attr, error)
	Mknod(parent fsimpl.Node, name string, kind fsimpl.FileKind, mode uint32, rdev uint64, owner fsimpl.Owner) (fsimpl.Attr, error)
	Symlink(parent fsimpl.Node, name, target string, owner fsimpl.Owner) (fsimpl.Attr, error)
	Readlink(n fsimpl.Node) (string, error)
	HoldsLinks() bool
	Unlink(parent fsimpl.Node, name string) (fsimpl.Node, error)
	Rmdir(parent fsimpl.Node, name string) error
	Rename(oldParent fsimpl.Node, oldName string, newParent fsimpl.Node, newName string, flags fsimpl.RenameFlags) error

	Chmod(n fsimpl.Node, mode uint32) error
	Chown(n fsimpl.Node, uid, gid int64) error
	SetTimes(n fsimpl.Node, atime, mtime *int64) error
	SetCreated(n fsimpl.Node, us int64) error
	SetChanged(n fsimpl.Node, us int64) error
	SetAttributes(n fsimpl.Node, attributes uint32) error
	Truncate(n fsimpl.Node, size int64) error

	Statfs() fsimpl.Statfs
	SyncDir(n fsimpl.Node) error
	IsHere(n fsimpl.Node) bool
	OnMerge(tell func([]fsimpl.Merged))
	ArrivedWithin(n fsimpl.Node, d time.Duration) int64
	EndWaits()

	open(n fsimpl.Node, flags fsimpl.OpenFlags) (openFile, error)
	create(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner, flags fsimpl.OpenFlags) (openFile, error)
	openDir(n fsimpl.Node) (openDir, error)
}

// openFile is *fsimpl.File.
type openFile interface {
	Node() fsimpl.Node
	Stat() (fsimpl.Attr, error)
	ReadAt(p []byte, off int64) (int, error)
	InMemory(n int, off int64) (*pagebuf.Buffer, []byte)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Flush() error
	Sync() error
	Release() error
}

// openDir is *fsimpl.Dir.
type openDir interface {
	Entries() []fsimpl.DirEntry
	Rewind() error
}

// opened is a *fsimpl.FS whose open files and directories are interfaces.
type opened struct{ *fsimpl.FS }

func (fs opened) open(n fsimpl.Node, flags fsimpl.OpenFlags) (openFile, error) {
	f, err := fs.FS.Open(n, flags)
	if err != nil {
		return nil, err // not a nil *File in an interface
	}
	return f, nil
}

func (fs opened) create(parent fsimpl.Node, name string, mode uint32, owner fsimpl.Owner, flags fsimpl.OpenFlags) (openFile, error) {
	f, _, err := fs.FS.Create(parent, name, mode, owner, flags)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (fs opened) openDir(n fsimpl.Node) (openDir, error) {
	d, err := fs.FS.OpenDir(n)
	if err != nil {
		return nil, err
	}
	return d, nil
}

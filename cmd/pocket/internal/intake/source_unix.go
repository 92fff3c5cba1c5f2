//go:build unix

package intake

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/hamflx/pocket/fsimpl"
)

// openSource opens a file, which must not have become a link or a FIFO meanwhile.
func openSource(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// modeOf returns permission bits, set-user-id and the like.
func modeOf(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint32(st.Mode) & 0o7777
	}
	return uint32(info.Mode().Perm())
}

// ownerOf returns who is to own a copy: as with cp -p, only root can keep others.
func (in *Intake) ownerOf(info fs.FileInfo) fsimpl.Owner {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return fsimpl.Owner{UID: st.Uid, GID: st.Gid}
	}
	return in.o.Owner
}

// describeMore has nothing to add.
func (in *Intake) describeMore(fsimpl.Node, fs.FileInfo) error { return nil }

package fusehost

import (
	"github.com/hamflx/pocket/fsimpl"
	"github.com/winfsp/cgofuse/fuse"
)

// errnos is the one place where a kind of error becomes an error number: cgofuse's
// constants, which differ by platform. WinFsp shows any number that is not among
// them as "access denied".
var errnos = [...]int{
	fsimpl.IO:           fuse.EIO,
	fsimpl.NotExist:     fuse.ENOENT,
	fsimpl.Exist:        fuse.EEXIST,
	fsimpl.NotDir:       fuse.ENOTDIR,
	fsimpl.IsDir:        fuse.EISDIR,
	fsimpl.NotEmpty:     fuse.ENOTEMPTY,
	fsimpl.Invalid:      fuse.EINVAL,
	fsimpl.BadName:      fuse.EILSEQ,
	fsimpl.NameTooLong:  fuse.ENAMETOOLONG,
	fsimpl.NoSpace:      fuse.ENOSPC,
	fsimpl.TooLarge:     fuse.EFBIG,
	fsimpl.BadHandle:    fuse.EBADF,
	fsimpl.NotPermitted: fuse.EPERM,
	fsimpl.ReadOnly:     fuse.EROFS,
	fsimpl.CrossDevice:  fuse.EXDEV,
}

// errnoOf returns the error number for err, 0 for nil.
func errnoOf(err error) int {
	if err == nil {
		return 0
	}
	if kind := fsimpl.KindOf(err); int(kind) < len(errnos) {
		return errnos[kind]
	}
	return fuse.EIO
}

// errno returns what a callback returns for err: 0 for nil, else a negative error
// number. What the number does not tell, the log does.
func (h *host) errno(err error) int {
	if err == nil {
		return 0
	}
	errno := errnoOf(err)
	switch errno {
	case fuse.EIO, fuse.ENOSPC, fuse.EROFS:
		h.log.Error("an operation failed", "error", err)
	case fuse.ENOENT: // programs look for what is not there all the time
	default:
		h.log.Debug("an operation was refused", "error", err)
	}
	return -errno
}

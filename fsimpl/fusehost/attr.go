package fusehost

import (
	"time"

	"github.com/hamflx/pocket/fsimpl"
	"github.com/hamflx/pocket/loroindex"
	"github.com/winfsp/cgofuse/fuse"
)

// Callbacks about attributes.

// kindBits has the type bits of a mode by kind.
var kindBits = [...]uint32{
	loroindex.File:        fuse.S_IFREG,
	loroindex.Dir:         fuse.S_IFDIR,
	loroindex.Symlink:     fuse.S_IFLNK,
	loroindex.FIFO:        fuse.S_IFIFO,
	loroindex.Socket:      fuse.S_IFSOCK,
	loroindex.CharDevice:  fuse.S_IFCHR,
	loroindex.BlockDevice: fuse.S_IFBLK,
}

// typeBits returns the type bits of a kind; what this version does not know is a file.
func typeBits(k fsimpl.FileKind) uint32 {
	if int(k) < len(kindBits) {
		return kindBits[k]
	}
	return fuse.S_IFREG
}

// kindOf is the reverse of typeBits. No type bits at all mean a file, as in mknod(2).
func kindOf(mode uint32) (fsimpl.FileKind, bool) {
	if mode&fuse.S_IFMT == 0 {
		return loroindex.File, true
	}
	for k, bits := range kindBits {
		if mode&fuse.S_IFMT == bits {
			return fsimpl.FileKind(k), true
		}
	}
	return 0, false
}

// transferSize is what programs should read and write at once, in bytes: the most
// that fits into one request. A program that goes by it (stdio does) sends a
// thirty-second of the requests.
const transferSize = 128 << 10

// typeOf is typeBits of a kind as it is shown: where there are no links, one is a file.
func (h *host) typeOf(k fsimpl.FileKind) uint32 {
	if k == loroindex.Symlink && !h.hasLinks() {
		k = loroindex.File
	}
	return typeBits(k)
}

// fill puts a into stat.
func (h *host) fill(stat *fuse.Stat_t, a *fsimpl.Attr) {
	stat.Ino = a.Ino
	stat.Mode = h.typeOf(a.Kind) | a.Mode
	stat.Nlink = a.Nlink
	stat.Uid, stat.Gid = a.UID, a.GID
	stat.Rdev = a.Rdev
	stat.Size = a.Size
	stat.Atim, stat.Mtim = timespec(a.Atime), timespec(a.Mtime)
	stat.Ctim, stat.Birthtim = timespec(a.Ctime), timespec(a.Btime)
	stat.Blksize = transferSize
	stat.Blocks = a.Blocks
	stat.Flags = flagsOf(a.Attributes)
}

// timespec turns microseconds since 1970 into seconds and nanoseconds.
func timespec(us int64) fuse.Timespec {
	sec, rest := us/1e6, us%1e6
	if rest < 0 {
		sec, rest = sec-1, rest+1e6
	}
	return fuse.Timespec{Sec: sec, Nsec: rest * 1e3}
}

// mostSeconds bounds times to what microseconds hold; what is beyond is cut there.
const mostSeconds = (1<<63-1)/1_000_000 - 1

// micros is the reverse of timespec; what is finer than a microsecond is cut off.
func micros(t fuse.Timespec) int64 {
	sec := max(-mostSeconds, min(t.Sec, mostSeconds))
	return sec*1e6 + t.Nsec/1e3
}

// Getattr describes a file, also one that is unlinked and still open.
func (h *host) Getattr(path string, stat *fuse.Stat_t, fh uint64) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("getattr", path, &errc)
	n, errc := h.node(path, fh)
	if errc != 0 {
		return errc
	}
	a, err := h.fs.Stat(n)
	if err == nil {
		h.fill(stat, &a)
	}
	return h.errno(err)
}

// Chmod changes permission bits.
func (h *host) Chmod(path string, mode uint32) (errc int) {
	if !h.rules.modesExist {
		return 0 // Windows programs take a refusal for a fault of the disk
	}
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("chmod", path, &errc)
	n, err := h.resolveOpen(path)
	if err == nil {
		err = h.fs.Chmod(n, mode&permissions)
	}
	return h.errno(err)
}

// Chown changes owner and group, where they are not -1.
func (h *host) Chown(path string, uid, gid uint32) (errc int) {
	if !h.rules.modesExist {
		return 0
	}
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("chown", path, &errc)
	n, err := h.resolveOpen(path)
	if err == nil {
		err = h.fs.Chown(n, orLeave(uid), orLeave(gid))
	}
	return h.errno(err)
}

// orLeave turns the -1 of chown(2) into that of fsimpl.
func orLeave(id uint32) int64 {
	if id == ^uint32(0) {
		return -1
	}
	return int64(id)
}

// Utimens changes access and modification time.
func (h *host) Utimens(path string, times []fuse.Timespec) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("utimens", path, &errc)
	if len(times) != 2 {
		return -fuse.EINVAL
	}
	n, err := h.resolveOpen(path)
	if err != nil {
		return h.errno(err)
	}
	now := time.Now().UnixMicro()
	var set [2]*int64
	for i, t := range times {
		switch us := micros(t); {
		case t.Nsec == fuse.UTIME_NOW:
			set[i] = &now
		case t.Nsec == fuse.UTIME_OMIT, us < h.rules.earliest:
		default:
			set[i] = &us
		}
	}
	if set[0] == nil && set[1] == nil {
		return 0
	}
	return h.errno(h.fs.SetTimes(n, set[0], set[1]))
}

// Setcrtime changes the time of creation.
func (h *host) Setcrtime(path string, t fuse.Timespec) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("setcrtime", path, &errc)
	n, err := h.resolveOpen(path)
	if us := micros(t); err == nil && us >= h.rules.earliest {
		err = h.fs.SetCreated(n, us)
	}
	return h.errno(err)
}

// Setchgtime changes the time of the last change, until the next one.
func (h *host) Setchgtime(path string, t fuse.Timespec) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("setchgtime", path, &errc)
	n, err := h.resolveOpen(path)
	if us := micros(t); err == nil && us >= h.rules.earliest {
		err = h.fs.SetChanged(n, us)
	}
	return h.errno(err)
}

// attributeReadOnly is FILE_ATTRIBUTE_READONLY.
const attributeReadOnly = 0x01

// Windows file attribute bits, which the index keeps, and the flags WinFsp has for them.
var attributeFlags = [...]struct{ attribute, flag uint32 }{
	{attributeReadOnly, fuse.UF_READONLY},
	{0x02, fuse.UF_HIDDEN},
	{0x04, fuse.UF_SYSTEM},
	{0x20, fuse.UF_ARCHIVE},
}

func flagsOf(attributes uint32) (flags uint32) {
	for _, m := range attributeFlags {
		if attributes&m.attribute != 0 {
			flags |= m.flag
		}
	}
	return flags
}

func attributesOf(flags uint32) (attributes uint32) {
	for _, m := range attributeFlags {
		if flags&m.flag != 0 {
			attributes |= m.attribute
		}
	}
	return attributes
}

// Chflags changes Windows file attributes; those that have no flag stay.
func (h *host) Chflags(path string, flags uint32) (errc int) {
	if !h.enter() {
		return -fuse.EIO
	}
	defer h.leave("chflags", path, &errc)
	n, err := h.resolveOpen(path)
	if err != nil {
		return h.errno(err)
	}
	a, err := h.fs.Stat(n)
	if set := a.Attributes&^attributesOf(^uint32(0)) | attributesOf(flags); err == nil && set != a.Attributes {
		err = h.fs.SetAttributes(n, set)
	}
	return h.errno(err)
}

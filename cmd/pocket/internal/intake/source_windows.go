package intake

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/hamflx/pocket/fsimpl"
)

func openSource(path string) (*os.File, error) { return os.Open(path) }

// modeOf returns what a file is to have on systems with modes: here it has none.
func modeOf(info fs.FileInfo) uint32 {
	if info.IsDir() {
		return 0o700
	}
	return 0o600
}

func (in *Intake) ownerOf(fs.FileInfo) fsimpl.Owner { return in.o.Owner }

// attributes are those that a mount shows: read-only, hidden, system, archive.
const attributes = syscall.FILE_ATTRIBUTE_READONLY | syscall.FILE_ATTRIBUTE_HIDDEN | syscall.FILE_ATTRIBUTE_SYSTEM | syscall.FILE_ATTRIBUTE_ARCHIVE

// describeMore sets the attributes and the time of creation.
func (in *Intake) describeMore(n fsimpl.Node, info fs.FileInfo) error {
	data, ok := info.Sys().(*syscall.Win32FileAttributeData)
	if !ok {
		return nil
	}
	if bits := data.FileAttributes & attributes; bits != 0 && n != fsimpl.Root {
		if err := in.o.FS.SetAttributes(n, bits); err != nil {
			return err
		}
	}
	return in.o.FS.SetCreated(n, time.Unix(0, data.CreationTime.Nanoseconds()).UnixMicro())
}

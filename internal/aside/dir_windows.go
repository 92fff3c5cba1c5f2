package aside

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/busyfile"
)

// mountsVanish says whether a mount that has ended is still seen for a while: WinFsp
// removes its junction some time after the file system has stopped.
const mountsVanish = true

func look(path string) (found, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing, nil
	case err != nil:
		return something, err
	}
	if isVolumeJunction(path) {
		if _, err := os.Stat(path); err == nil {
			return mounted, nil
		}
		// Its volume is gone; a directory without contents, which can be removed.
		return emptyDir, nil
	}
	if !info.IsDir() {
		return something, nil
	}
	if entries, err := os.ReadDir(path); err == nil && len(entries) == 0 {
		return emptyDir, nil
	}
	return something, nil
}

func isMounted(path string) bool { return isVolumeJunction(path) }

// volumePrefix is what the junctions of WinFsp lead to.
const volumePrefix = `\Device\Volume{`

// isVolumeJunction reports whether path is a junction that leads to a mounted volume, or
// to one that was.
func isVolumeJunction(path string) bool {
	target, ok := junctionTarget(path)
	return ok && len(target) > len(volumePrefix) && strings.EqualFold(target[:len(volumePrefix)], volumePrefix)
}

// junctionTarget returns where a junction leads, as NT names it.
func junctionTarget(path string) (string, bool) {
	h, err := openDir(path)
	if err != nil {
		return "", false
	}
	defer windows.CloseHandle(h)
	buf := make([]byte, windows.MAXIMUM_REPARSE_DATA_BUFFER_SIZE)
	var n uint32
	if err := windows.DeviceIoControl(h, windows.FSCTL_GET_REPARSE_POINT, nil, 0, &buf[0], uint32(len(buf)), &n, nil); err != nil {
		return "", false
	}
	return parseJunction(buf[:n])
}

// parseJunction reads a REPARSE_DATA_BUFFER.
// https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ns-ntifs-_reparse_data_buffer
func parseJunction(b []byte) (target string, ok bool) {
	const header = 16
	if len(b) < header || binary.LittleEndian.Uint32(b) != windows.IO_REPARSE_TAG_MOUNT_POINT {
		return "", false
	}
	from := header + int(binary.LittleEndian.Uint16(b[8:]))
	to := from + int(binary.LittleEndian.Uint16(b[10:]))
	if to > len(b) {
		return "", false
	}
	units := make([]uint16, 0, (to-from)/2)
	for i := from; i+1 < to; i += 2 {
		units = append(units, binary.LittleEndian.Uint16(b[i:]))
	}
	return string(utf16.Decode(units)), true
}

// openDir opens a directory, or a junction itself.
func openDir(path string) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	return windows.CreateFile(name, windows.FILE_READ_ATTRIBUTES,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
}

// checkMovable reports why a directory cannot be renamed. Open files in it show only when
// it is tried.
func checkMovable(path string) error {
	if filepath.Dir(path) == path {
		return errors.New("it is the root of a disk: choose another mount_path")
	}
	return nil
}

func inodeOf(path string) (uint64, error) {
	h, err := openDir(path)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer windows.CloseHandle(h)
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow), nil
}

// removeDir removes an empty directory, or a junction, and nothing else.
func removeDir(path string) error {
	name, err := windows.UTF16PtrFromString(path)
	if err == nil {
		err = busyfile.Retry(func() error { return windows.RemoveDirectory(name) })
	}
	if err != nil {
		return &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

func notEmpty(err error) bool {
	return errors.Is(err, windows.ERROR_DIR_NOT_EMPTY) || errors.Is(err, windows.ERROR_ALREADY_EXISTS) || errors.Is(err, windows.ERROR_DIRECTORY)
}

// explain adds to an error of a rename what to do.
func explain(err error) error {
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return fmt.Errorf("%w: close the programs that have files in it open, or choose another mount_path", err)
	}
	return err
}

// renameNew renames, and fails when the new name is taken. It is on the disk on return.
func renameNew(from, to string) error {
	old, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	target, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	if err := busyfile.Retry(func() error { return windows.MoveFileEx(old, target, windows.MOVEFILE_WRITE_THROUGH) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// samePath reports whether two clean paths are one.
func samePath(a, b string) bool { return strings.EqualFold(a, b) }

func isHidden(path string) (bool, error) {
	attributes, err := attributesOf(path)
	return attributes&windows.FILE_ATTRIBUTE_HIDDEN != 0, err
}

// setHidden hides a directory from Explorer, or shows it.
func setHidden(path string, hidden bool) error {
	old, err := attributesOf(path)
	if err != nil {
		return err
	}
	attributes := old &^ windows.FILE_ATTRIBUTE_HIDDEN
	if hidden {
		attributes |= windows.FILE_ATTRIBUTE_HIDDEN
	}
	if attributes == old {
		return nil
	}
	name, err := windows.UTF16PtrFromString(path)
	if err == nil {
		err = windows.SetFileAttributes(name, attributes)
	}
	if err != nil {
		return &fs.PathError{Op: "set attributes", Path: path, Err: err}
	}
	return nil
}

func attributesOf(path string) (uint32, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	attributes, err := windows.GetFileAttributes(name)
	if err != nil {
		return 0, &fs.PathError{Op: "attributes", Path: path, Err: err}
	}
	return attributes, nil
}

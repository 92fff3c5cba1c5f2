package statedir

import (
	"os"

	"golang.org/x/sys/windows"
)

// DiskSize returns the size in bytes of the disk that path is on, as far as the user
// may fill it.
func DiskSize(path string) (int64, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	var total uint64
	if err := windows.GetDiskFreeSpaceEx(name, nil, &total, nil); err != nil {
		return 0, &os.PathError{Op: "size of the disk", Path: path, Err: err}
	}
	return int64(total), nil
}

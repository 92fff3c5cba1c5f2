package atomicfile

import (
	"os"

	"golang.org/x/sys/windows"
)

// rename asks for write-through, which os.Rename does not.
func rename(from, to string) error {
	old, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	target, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(old, target, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// SyncDir makes the names in a directory survive a power loss. On Windows, which
// has no such call and logs them itself, it does nothing.
func SyncDir(string) error { return nil }

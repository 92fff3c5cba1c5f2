package atomicfile

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/windows"

	"github.com/hamflx/pocket/internal/busyfile"
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
	err = busyfile.Retry(func() error {
		return windows.MoveFileEx(old, target, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
	})
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// protect gives a file an access list of its own, where it had its directory's.
func protect(path string) error {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	text := strings.ReplaceAll("D:P(A;;FA;;;SID)(A;;FA;;;SY)(A;;FA;;;BA)", "SID", user.User.Sid.String())
	descriptor, err := windows.SecurityDescriptorFromString(text)
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	// A handle of its own: that of os.File may not do this.
	h, err := windows.CreateFile(name, windows.READ_CONTROL|windows.WRITE_DAC,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer windows.CloseHandle(h)
	err = windows.SetKernelObjectSecurity(h, windows.DACL_SECURITY_INFORMATION, descriptor)
	if errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
		return nil // FAT and the like have no access lists
	}
	return err
}

// SyncDir makes the names in a directory survive a power loss. On Windows, which
// has no such call and logs them itself, it does nothing.
func SyncDir(string) error { return nil }

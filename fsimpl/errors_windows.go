package fsimpl

import "golang.org/x/sys/windows"

// errDiskFull is how a full disk shows in errors of package os.
var errDiskFull error = windows.ERROR_DISK_FULL

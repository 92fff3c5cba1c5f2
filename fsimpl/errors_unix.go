//go:build unix

package fsimpl

import "syscall"

// errDiskFull is how a used-up quota shows in errors of package os; a full disk
// is syscall.ENOSPC.
var errDiskFull error = syscall.EDQUOT

package fusehost

/*
#cgo CFLAGS: -I/usr/include/fuse
#cgo LDFLAGS: -Wl,--wrap=dlsym
#include <stdlib.h>
#include "libfuse_linux.h"
*/
import "C"

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"
)

// deviceArg returns the argument that hands an open /dev/fuse over to
// libfuse_linux.c, which closes it when the mount has ended.
func deviceArg(fd int) string { return fmt.Sprintf("%s%d", C.POCKET_DEVICE_ARG, fd) }

// hideOf tells why a callback, on whose thread this runs, is asked to rename a file
// to a name that libfuse may have chosen.
func hideOf(name string) hiding {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	switch C.pocket_hides(cname) {
	case C.POCKET_HIDDEN_UNLINK:
		return hidesUnlinked
	case C.POCKET_HIDDEN_REPLACE:
		return hidesReplaced
	}
	return hidesNothing
}

// writesBack reports whether the write callback on whose thread this runs comes
// from a shared mapping.
func writesBack() bool { return C.pocket_writes_back() != 0 }

// devices has the host of every device that is being served, by file descriptor.
var devices sync.Map // int -> *host

//export pocketDeviceFailed
func pocketDeviceFailed(fd, sending, code C.int) {
	h, ok := devices.Load(int(fd))
	if !ok {
		return
	}
	op := "read a request from"
	if sending != 0 {
		op = "write an answer to"
	}
	h.(*host).log.Error("cannot "+op+" /dev/fuse", "error", syscall.Errno(code))
}

package fusehost

/*
#cgo CFLAGS: -I/usr/include/fuse
#cgo LDFLAGS: -Wl,--wrap=dlsym
#include <stdlib.h>
#include "libfuse_linux.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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

// opener returns the thread that opens a file which the kernel has looked up before, where that is what the callback
// on whose thread this runs is for, else 0. When it is refused with ESTALE, the kernel looks the path up again,
// whatever it knows, and opens what is there then (path_openat with LOOKUP_REVAL).
func opener() int { return int(C.pocket_opener()) }

// openedOutdated has the kernel forget what it knows of the file that the callback on whose thread this
// runs is opening: size and pages may be of before another machine's change arrived, and it would cut what it
// reads now to the size of then.
func openedOutdated() { C.pocket_opened_outdated() }

// devices has the host of every device that is being served, by file descriptor.
var devices sync.Map // int -> *host

// pocketRead answers a read request of the kernel where its bytes are in memory: from there, without
// the copies on the way through libfuse. It returns 0 where libfuse is to have the
// request.
//
//export pocketRead
func pocketRead(fd C.int, unique, fh C.uint64_t, offset C.int64_t, size C.uint32_t) C.int {
	if h, ok := devices.Load(int(fd)); ok && h.(*host).answerRead(int(fd), uint64(unique), uint64(fh), int64(offset), int(size)) {
		return 1
	}
	return 0
}

func (h *host) answerRead(fd int, unique, fh uint64, offset int64, size int) (answered bool) {
	if !h.enter() {
		return false
	}
	var result int
	defer h.leave("read", "", &result)
	f := h.handles.get(fh)
	if f == nil || f.file == nil {
		return false
	}
	body, bytes := f.file.InMemory(size, offset)
	if body == nil {
		return false
	}
	defer body.Release()
	// struct fuse_out_header of linux/fuse.h: length, error, which request.
	var header [16]byte
	binary.NativeEndian.PutUint32(header[:], uint32(len(header)+len(bytes)))
	binary.NativeEndian.PutUint64(header[8:], unique)
	_, err := unix.Writev(fd, [][]byte{header[:], bytes})
	switch err {
	case nil, unix.ENOENT, unix.ENODEV: // ENOENT: the request was interrupted, nobody waits for the answer
		return true
	}
	h.log.Error("cannot write an answer to /dev/fuse", "error", err)
	return false // libfuse answers it then, unless the kernel has ended it
}

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

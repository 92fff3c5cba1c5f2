package fusehost

import "github.com/winfsp/cgofuse/fuse"

// libraryLoads reports whether cgofuse finds the library of FUSE or WinFsp.
func libraryLoads() (ok bool) {
	defer func() {
		if recover() != nil { // "cannot find FUSE"
			ok = false
		}
	}()
	fuse.OptParse(nil, "")
	return true
}

// Package fusehost mounts a file system of package fsimpl: through libfuse 2 on
// Linux and macOS, through WinFsp on Windows. It is the only package that knows of
// FUSE: callbacks, error numbers, mount points.
//
//	if err := fusehost.Check(); err != nil { ... } // what to install
//	m, err := fusehost.Mount(fs, fusehost.Options{Path: "/home/me/.ssh", Name: "ssh", Log: log})
//	...
//	err = m.Unmount(ctx)
//
// Three rules hold throughout. A handle is trusted over a path: a file may have been
// renamed or unlinked since it was opened, and the path that comes with the handle is
// that of the past, or none. Callbacks do not know how to wait for a store: what may wait
// is fsimpl's read, flush and fsync alone. And the program that mounts decides about
// signals, not libfuse and not cgofuse.
//
// On Linux the package stands between cgofuse and libfuse in one place,
// libfuse_linux.c, which says why.
package fusehost

// What libfuse_linux.c offers to Go.

#ifndef POCKET_LIBFUSE_LINUX_H
#define POCKET_LIBFUSE_LINUX_H

#include <stdint.h>

// The argument by which the program hands the open /dev/fuse to pocket_fuse_main.
#define POCKET_DEVICE_ARG "--pocket-device="

// What the request that this thread is serving wants of the file that libfuse renames
// to a hidden name.
enum
{
	POCKET_NOT_HIDDEN,     // nothing: the caller chose that name itself
	POCKET_HIDDEN_UNLINK,  // it is being unlinked
	POCKET_HIDDEN_REPLACE, // another file is being renamed over it
};

// pocket_hides tells which of the above it is for a rename to a name, the last
// element of the new path. Only valid in a callback, on its thread.
int pocket_hides(const char *name);

// pocket_writes_back tells whether the write that this thread is serving comes from
// the page cache (a shared mapping) through whatever handle the kernel found.
int pocket_writes_back(void);

// pocket_opener returns the id of the thread whose open of a file, which the kernel has looked up before, this thread's
// request is; 0 when it is another request, or that thread is not told. Only valid in a callback, on its thread.
uint32_t pocket_opener(void);

// pocket_opened_outdated has the kernel forget size, times and pages of the file that this thread's
// request opens. Only valid in a callback, on its thread.
void pocket_opened_outdated(void);

#endif

// Between cgofuse and libfuse 2.
//
// cgofuse gives its callbacks to libfuse's fuse_main_real, and that leaves six
// things that a file system of ours cannot live with:
//
//   - The operations carry no flags. Without flag_utime_omit_ok libfuse drops a
//     change of one time alone ("touch -m", and every file that tar unpacks) and
//     reports success. Without flag_nullpath_ok a file whose directory is gone cannot be
//     read by the handle any more.
//   - fuse_main_real mounts by itself: what goes wrong is text on stderr, and the path it
//     got is what cgofuse unmounts by itself on SIGINT and SIGTERM, before anything is
//     uploaded. Here the program mounts, hands over the open device, and cgofuse never
//     learns a path, so that its signal handler has nothing to unmount.
//   - libfuse hides an open file that is unlinked or replaced by renaming it to
//     .fuse_hiddenNNN. The two look the same to a callback, but the second must not
//     take the old file away before the new one is there: a crash in between would lose
//     a file that was being replaced. The request itself tells them apart.
//   - The kernel keeps a file's size for a second and its pages as long as libfuse sees no change,
//     which it looks for once in a second. What arrived from another machine in between would be
//     read only up to the old size.
//   - A read is copied twice on its way, into memory of libfuse's and from there. Where its
//     bytes are in memory it is answered before libfuse has it.
//   - With O_APPEND the file system has to append, except when the kernel writes a
//     mapped page back through a handle that happens to be an appending one. Again
//     only the request tells.
//
// cgofuse finds fuse_main_real by dlsym. The linker's --wrap=dlsym (see
// libfuse_linux.go) leads the calls of dlsym in this program here, and no others;
// pocket_fuse_main then does by libfuse's public interface what fuse_main_real does,
// with the flags set, with a channel of our own, through which requests pass, and with
// threads of our own (serve_linux.c).

#define FUSE_USE_VERSION 28
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fuse.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libfuse_linux.h"
#include "serve_linux.h"
#include "_cgo_export.h"

// The request that this thread is serving: libfuse handles a request on the thread
// that received it, and leaves it unchanged in the buffer until it is answered.
static __thread const char *request;
static __thread size_t request_size;
static __thread int request_device;
static __thread int request_outdated; // see pocket_opened_outdated

// What this file calls in libfuse, set when cgofuse looks up fuse_main_real.
static struct
{
	struct fuse_chan *(*chan_new)(struct fuse_chan_ops *, int, size_t, void *);
	void (*chan_destroy)(struct fuse_chan *);
	int (*chan_fd)(struct fuse_chan *);
	struct fuse_session *(*chan_session)(struct fuse_chan *);
	void (*session_exit)(struct fuse_session *);
	int (*session_exited)(struct fuse_session *);
	struct fuse *(*new)(struct fuse_chan *, struct fuse_args *,
		const struct fuse_operations *, size_t, void *);
	void (*session_process)(struct fuse_session *, const char *, size_t, struct fuse_chan *);
	void (*destroy)(struct fuse *);
} lib;

// process answers a request of n bytes.
static void process(struct fuse_session *session, const char *buf, size_t n, struct fuse_chan *channel)
{
	const struct fuse_in_header *in = (const void *)buf;
	const struct fuse_read_in *in_read = (const void *)(in + 1);

	if (in->opcode != FUSE_READ || n < sizeof *in + sizeof *in_read ||
		!pocketRead(lib.chan_fd(channel), in->unique, in_read->fh, in_read->offset, in_read->size))
		lib.session_process(session, buf, n, channel);
}

static int device_receive(struct fuse_chan **channel, char *buf, size_t size)
{
	struct fuse_session *session = lib.chan_session(*channel);
	int fd = lib.chan_fd(*channel);
	ssize_t n;
	int err;

	do
		n = read(fd, buf, size);
	while (n == -1 && errno == ENOENT); // the request was interrupted before we got it
	err = errno;
	if (lib.session_exited(session))
		return 0;
	if (n == -1)
	{
		if (err == ENODEV || err == ECONNABORTED) // unmounted, aborted
		{
			lib.session_exit(session);
			return 0;
		}
		if (err != EINTR && err != EAGAIN)
			pocketDeviceFailed(fd, 0, err);
		return -err;
	}
	if ((size_t)n < sizeof(struct fuse_in_header))
	{
		pocketDeviceFailed(fd, 0, EPROTO);
		return -EIO;
	}
	request = buf;
	request_size = n;
	request_device = fd;
	request_outdated = 0;
	return n;
}

static int device_send(struct fuse_chan *channel, const struct iovec iov[], size_t count)
{
	int fd = lib.chan_fd(channel);
	int err;

	if (request_outdated && count == 2 && iov[1].iov_len == sizeof(struct fuse_open_out))
		((struct fuse_open_out *)iov[1].iov_base)->open_flags &= ~FOPEN_KEEP_CACHE;
	if (iov == NULL || writev(fd, iov, count) != -1)
		return 0;
	err = errno;
	// ENOENT: the request was interrupted, nobody waits for the answer.
	if (err != ENOENT && err != ENODEV && !lib.session_exited(lib.chan_session(channel)))
		pocketDeviceFailed(fd, 1, err);
	return -err;
}

static void device_destroy(struct fuse_chan *channel)
{
	close(lib.chan_fd(channel));
}

// A request holds a write of 32 pages, the most the kernel sends to libfuse 2, and
// its headers.
enum { device_bufsize = 128 * 1024 + 4096 };

// pocket_fuse_main serves the device named among the arguments until the file system
// is unmounted. It returns 0, or 1 when it could not begin.
static int pocket_fuse_main(int argc, char *argv[], const struct fuse_operations *op,
	size_t op_size, void *data)
{
	struct fuse_chan_ops channel_ops = {
		.receive = device_receive, .send = device_send, .destroy = device_destroy };
	struct fuse_operations flagged;
	struct fuse_chan *channel;
	struct fuse *fuse;
	char *args_argv[argc + 1];
	struct fuse_args args = { .argc = 0, .argv = args_argv };
	int fd = -1, res;

	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], POCKET_DEVICE_ARG, strlen(POCKET_DEVICE_ARG)) == 0)
			fd = atoi(argv[i] + strlen(POCKET_DEVICE_ARG));
		else if (i == 0 || strncmp(argv[i], "-o", 2) == 0) // without cgofuse's own "-f"
			args_argv[args.argc++] = argv[i];
	args_argv[args.argc] = NULL;
	if (fd == -1)
		return 1;

	memset(&flagged, 0, sizeof flagged);
	memcpy(&flagged, op, op_size < sizeof flagged ? op_size : sizeof flagged);
	flagged.flag_nullpath_ok = 1;
	flagged.flag_nopath = 1;
	flagged.flag_utime_omit_ok = 1;

	channel = lib.chan_new(&channel_ops, fd, device_bufsize, NULL);
	if (channel == NULL)
	{
		close(fd);
		return 1;
	}
	fuse = lib.new(channel, &args, &flagged, sizeof flagged, data);
	if (fuse == NULL)
	{
		lib.chan_destroy(channel);
		return 1;
	}
	struct pocket_served served = { .channel = channel, .session = lib.chan_session(channel), .fd = fd,
		.bufsize = device_bufsize, .receive = device_receive, .process = process,
		.exit = lib.session_exit, .exited = lib.session_exited };
	res = pocket_serve(&served);
	lib.chan_destroy(channel);
	lib.destroy(fuse);
	return res == 0 ? 0 : 1;
}

void *__real_dlsym(void *handle, const char *name);

// find looks a symbol up in the version that the headers declare: libfuse keeps
// older ones under the same name, and without a version dlsym may find those.
static void *find(void *handle, const char *name, const char *version)
{
#ifdef __GLIBC__
	return dlvsym(handle, name, version);
#else
	return __real_dlsym(handle, name);
#endif
}

void *__wrap_dlsym(void *handle, const char *name)
{
	void *symbol = __real_dlsym(handle, name);

	if (symbol == NULL || strcmp(name, "fuse_main_real") != 0)
		return symbol;
	*(void **)&lib.chan_new = find(handle, "fuse_chan_new", "FUSE_2.6");
	*(void **)&lib.chan_destroy = find(handle, "fuse_chan_destroy", "FUSE_2.4");
	*(void **)&lib.chan_fd = find(handle, "fuse_chan_fd", "FUSE_2.4");
	*(void **)&lib.chan_session = find(handle, "fuse_chan_session", "FUSE_2.4");
	*(void **)&lib.session_exit = find(handle, "fuse_session_exit", "FUSE_2.4");
	*(void **)&lib.session_exited = find(handle, "fuse_session_exited", "FUSE_2.4");
	*(void **)&lib.new = find(handle, "fuse_new", "FUSE_2.6");
	*(void **)&lib.session_process = find(handle, "fuse_session_process", "FUSE_2.4");
	*(void **)&lib.destroy = find(handle, "fuse_destroy", "FUSE_2.2");
	for (size_t i = 0; i < sizeof lib / sizeof(void *); i++)
		if (((void **)&lib)[i] == NULL)
			return NULL; // not a libfuse 2: cgofuse reports that it is missing
	return (void *)pocket_fuse_main;
}

int pocket_hides(const char *name)
{
	const struct fuse_in_header *in = (const void *)request;
	const char *old_name, *new_name, *end = request + request_size;

	if (request == NULL)
		return POCKET_NOT_HIDDEN;
	if (in->opcode == FUSE_UNLINK)
		return POCKET_HIDDEN_UNLINK;
	if (in->opcode != FUSE_RENAME)
		return POCKET_NOT_HIDDEN;
	// The header, the new directory, the old name, the new name.
	old_name = request + sizeof *in + sizeof(struct fuse_rename_in);
	if (old_name >= end)
		return POCKET_NOT_HIDDEN;
	new_name = old_name + strnlen(old_name, end - old_name) + 1;
	if (new_name >= end || strnlen(new_name, end - new_name) == (size_t)(end - new_name))
		return POCKET_NOT_HIDDEN;
	return strcmp(new_name, name) == 0 ? POCKET_NOT_HIDDEN : POCKET_HIDDEN_REPLACE;
}

int pocket_writes_back(void)
{
	const struct fuse_in_header *in = (const void *)request;
	const struct fuse_write_in *write = (const void *)(in + 1);

	return request != NULL && in->opcode == FUSE_WRITE &&
		request_size >= sizeof *in + sizeof *write &&
		(write->write_flags & FUSE_WRITE_CACHE) != 0;
}

uint32_t pocket_opener(void)
{
	const struct fuse_in_header *in = (const void *)request;

	return in != NULL && in->opcode == FUSE_OPEN ? in->pid : 0;
}

void pocket_opened_outdated(void)
{
	const struct fuse_in_header *in = (const void *)request;
	struct
	{
		struct fuse_out_header out;
		struct fuse_notify_inval_inode_out inode;
	} notice = {
		.out = { .len = sizeof notice, .error = FUSE_NOTIFY_INVAL_INODE },
		.inode = { .off = -1 } }; // attributes alone: pages go with the answer

	if (in == NULL || in->opcode != FUSE_OPEN)
		return;
	request_outdated = 1;
	notice.inode.ino = in->nodeid;
	if (write(request_device, &notice, sizeof notice) == -1 && errno != ENOENT && errno != ENODEV) // ENOENT: it knows none
		pocketDeviceFailed(request_device, 1, errno);
}

// What serve_linux.c offers to libfuse_linux.c.

#ifndef POCKET_SERVE_LINUX_H
#define POCKET_SERVE_LINUX_H

#include <stddef.h>

struct fuse_chan;
struct fuse_session;

// What pocket_serve needs of a channel and of libfuse.
struct pocket_served
{
	struct fuse_chan *channel;
	struct fuse_session *session;
	int fd;         // of /dev/fuse
	size_t bufsize; // of the largest request

	// receive waits for a request and returns its size: 0 at the end, or a negative errno.
	int (*receive)(struct fuse_chan **, char *, size_t);
	void (*process)(struct fuse_session *, const char *, size_t, struct fuse_chan *);
	void (*exit)(struct fuse_session *);
	int (*exited)(struct fuse_session *);
};

// pocket_serve serves requests until the session ends. It returns 0, or -1 when it could
// not begin or could not go on.
int pocket_serve(const struct pocket_served *served);

#endif

// Drives serve_linux.c without a kernel: clients ask over a socket, as many as the first
// argument says, each so many times as the second, and every request must be answered. Of the
// wakes between threads the third argument's percentage is lost, as nothing that the mount
// lives by may depend on them.
//
// A request of the kind HELD is answered when one of the kind RELEASE of another client
// is: both are served at the same time or never.

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../serve_linux.h"

enum { QUICK = FUSE_LOOKUP, HELD = FUSE_READ, RELEASE = FUSE_GETATTR };

#define CHECK(condition) \
	do \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno)); \
			exit(1); \
		} \
	while (0)

static int device, clients, rounds, lost_percent;
static atomic_int over, wakes;
static sem_t *answered; // by client
static sem_t released;

ssize_t __real_write(int fd, const void *p, size_t n);

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
	if (!over && n == sizeof(uint64_t) && wakes++ % 100 < lost_percent)
		return n;
	return __real_write(fd, p, n);
}

static int receive(struct fuse_chan **channel, char *buf, size_t size)
{
	ssize_t n = read(device, buf, size);

	(void)channel;
	return n == -1 ? -errno : n;
}

static void process(struct fuse_session *session, const char *buf, size_t n, struct fuse_chan *channel)
{
	const struct fuse_in_header *in = (const void *)buf;

	(void)session;
	(void)channel;
	CHECK(n == sizeof *in);
	if (in->opcode == HELD)
		while (sem_wait(&released) == -1)
			CHECK(errno == EINTR);
	if (in->opcode == RELEASE)
		sem_post(&released);
	sem_post(&answered[in->unique]);
}

static void leave(struct fuse_session *session) { (void)session; }

static int left(struct fuse_session *session)
{
	(void)session;
	return 0;
}

static int kernel;

static void *client(void *arg)
{
	const long me = (long)arg;

	for (int i = 0; i < rounds; i++)
	{
		const struct fuse_in_header in = {
			.len = sizeof in, .unique = me, .opcode = i % 8 != 7 || clients == 1 ? QUICK : me % 2 ? HELD : RELEASE };

		while (send(kernel, &in, sizeof in, 0) == -1)
			CHECK(errno == EINTR);
		while (sem_wait(&answered[me]) == -1)
			CHECK(errno == EINTR);
	}
	return NULL;
}

static void *kernel_side(void *arg)
{
	pthread_t *threads = calloc(clients, sizeof *threads);

	(void)arg;
	for (long i = 0; i < clients; i++)
		CHECK(pthread_create(&threads[i], NULL, client, (void *)i) == 0);
	for (int i = 0; i < clients; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	free(threads);
	over = 1;
	close(kernel); // unmounted
	return NULL;
}

int main(int argc, char **argv)
{
	struct pocket_served served = {
		.bufsize = 4096, .receive = receive, .process = process, .exit = leave, .exited = left };
	pthread_t asking;
	int pair[2];

	CHECK(argc == 4);
	clients = atoi(argv[1]);
	rounds = atoi(argv[2]);
	lost_percent = atoi(argv[3]);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	kernel = pair[0];
	served.fd = device = pair[1];
	answered = calloc(clients, sizeof *answered);
	for (int i = 0; i < clients; i++)
		CHECK(sem_init(&answered[i], 0, 0) == 0);
	CHECK(sem_init(&released, 0, 0) == 0);
	CHECK(pthread_create(&asking, NULL, kernel_side, NULL) == 0);
	CHECK(pocket_serve(&served) == 0);
	CHECK(pthread_join(asking, NULL) == 0);
	return 0;
}

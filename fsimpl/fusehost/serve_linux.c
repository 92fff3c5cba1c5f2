// Serving requests with as few threads as will do.
//
// libfuse's own loop keeps up to ten threads waiting in read(2), and the kernel gives the
// requests to them in turn. For a program in Go that is dear: each of them that enters
// Go holds one of its processors (GOMAXPROCS) until the scheduler takes it away, so that
// threads which take turns wait for each other's, and the scheduler never rests. Making
// a small file took twice as much of the CPU that way.
//
// Here the thread that has answered a request reads the next one, and nobody else does,
// while what is asked is quick. Another one reads as well
//
//   - while a request is served of a kind that was slow of late: it waits for the network
//     or the disk;
//   - while requests wait, as long as not half of the processors serve quick ones;
//   - after a tick in which nobody read: what is being served is not as quick as its kind.

#define _GNU_SOURCE

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "serve_linux.h"

enum
{
	kinds = 64,        // opcodes beyond share their numbers
	slow_from = 3000,  // microseconds that requests of a slow kind take as a rule: more than
	                   // a commit to the journal does while others want the processor, too
	slow_reads = 200,  // the same of reading, which takes less when the content is here
	cost_weight = 8,   // the last request is one so manieth of the rule, and no more
	cost_most = cost_weight * slow_from, // than this, so that one can make its kind slow
	parked_most = 10,  // threads beyond end when there is nothing to do
	tick = 1000000,    // nanoseconds
	ticks_awake = 50,  // without a request that nobody reads beside: then the watch sleeps
};

struct worker
{
	struct server *server;
	struct worker *next; // in the list of parked ones
	struct worker *older, *newer; // in the list of all
	pthread_t thread;
	sem_t wake;
	char *buf;
};

struct server
{
	const struct pocket_served *served;
	int quick_most;         // quick requests to be served at once
	atomic_int cost[kinds]; // microseconds, by opcode

	pthread_mutex_t lock; // guards what follows, and the lists of workers
	struct worker *newest;
	struct worker *parked; // the last one first: it is the warmest
	int parked_count;
	int reading;       // workers in read(2), or on their way there
	int quick;         // workers that serve a request of a quick kind
	unsigned received; // requests
	int failed;
	pthread_cond_t ending; // over was set
	int watching;          // the watch is awake
	pthread_cond_t watch;  // to be woken

	atomic_int over; // set with lock held
};

static void *work(void *);

// summon has one more worker read. Called with lock held; the caller posts what it
// returns, if not NULL, after it released the lock.
static sem_t *summon(struct server *s)
{
	struct worker *w = s->parked;
	sigset_t blocked, before;
	int err;

	if (s->over)
		return NULL;
	if (w != NULL)
	{
		s->parked = w->next;
		s->parked_count--;
		s->reading++;
		return &w->wake;
	}
	w = calloc(1, sizeof *w);
	if (w == NULL)
		return NULL;
	w->server = s;
	w->buf = malloc(s->served->bufsize);
	if (w->buf == NULL || sem_init(&w->wake, 0, 0) == -1)
	{
		free(w->buf);
		free(w);
		return NULL;
	}
	// Signals are for the program's other threads.
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	err = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err != 0) // those that are there go on, and the watch tries again
	{
		sem_destroy(&w->wake);
		free(w->buf);
		free(w);
		return NULL;
	}
	if ((w->older = s->newest) != NULL)
		w->older->newer = w;
	s->newest = w;
	s->reading++;
	return NULL;
}

static void post(sem_t *wake)
{
	if (wake != NULL)
		sem_post(wake);
}

// waiting tells whether there is a request that nobody has read.
static int waiting(const struct server *s)
{
	struct pollfd device = { .fd = s->served->fd, .events = POLLIN };

	return poll(&device, 1, 0) == 1 && (device.revents & POLLIN) != 0;
}

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

// serve serves the request in w's buffer and tells whether its kind was slow.
static int serve(struct worker *w, int size)
{
	struct server *s = w->server;
	unsigned kind = ((const struct fuse_in_header *)w->buf)->opcode;
	atomic_int *cost = &s->cost[kind % kinds];
	int usual = atomic_load_explicit(cost, memory_order_relaxed);
	int slow = usual >= (kind == FUSE_READ ? slow_reads : slow_from);
	sem_t *wake = NULL;
	long took;

	pthread_mutex_lock(&s->lock);
	s->reading--;
	s->received++;
	if (!slow)
		s->quick++;
	if (s->reading == 0 && (slow || (s->quick < s->quick_most && waiting(s))))
		wake = summon(s);
	if (s->reading == 0 && !s->watching)
	{
		s->watching = 1;
		pthread_cond_signal(&s->watch);
	}
	pthread_mutex_unlock(&s->lock);
	post(wake);

	took = now();
	s->served->process(s->served->session, w->buf, size, s->served->channel);
	took = now() - took;
	if (took > cost_most)
		took = cost_most;
	atomic_store_explicit(cost, usual + ((int)took - usual) / cost_weight, memory_order_relaxed);
	return slow;
}

// rest ends the service of a request and waits until w is to read again. It returns
// 0 when it is to end instead.
static int rest(struct worker *w, int slow)
{
	struct server *s = w->server;

	pthread_mutex_lock(&s->lock);
	if (!slow)
		s->quick--;
	// Two readers save slow requests that follow each other the waking.
	if (!s->over && (s->reading == 0 || (slow && s->reading < 2) || (s->quick < s->quick_most && waiting(s))))
	{
		s->reading++;
		pthread_mutex_unlock(&s->lock);
		return 1;
	}
	if (s->over || s->parked_count == parked_most)
	{
		if (!s->over) // at the end it is joined
		{
			if (w->newer != NULL)
				w->newer->older = w->older;
			else
				s->newest = w->older;
			if (w->older != NULL)
				w->older->newer = w->newer;
			pthread_detach(w->thread);
			sem_destroy(&w->wake);
			free(w->buf);
			free(w);
		}
		pthread_mutex_unlock(&s->lock);
		return 0;
	}
	w->next = s->parked;
	s->parked = w;
	s->parked_count++;
	pthread_mutex_unlock(&s->lock);
	while (sem_wait(&w->wake) == -1) // interrupted
		;
	return !s->over;
}

// finish has pocket_serve return.
static void finish(struct server *s, int failed)
{
	pthread_mutex_lock(&s->lock);
	s->over = 1;
	s->failed |= failed;
	pthread_cond_signal(&s->ending);
	pthread_cond_signal(&s->watch);
	pthread_mutex_unlock(&s->lock);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct server *s = w->server;
	int size, before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	do
	{
		struct fuse_chan *channel = s->served->channel;
		do
		{
			pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
			size = s->served->receive(&channel, w->buf, s->served->bufsize);
			pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
		}
		while (size == -EINTR || size == -EAGAIN);
		if (size <= 0 || s->served->exited(s->served->session))
		{
			finish(s, size < 0);
			return NULL;
		}
	}
	while (rest(w, serve(w, size)));
	return NULL;
}

// watch has somebody read when nobody has for a tick.
static void *watch(void *arg)
{
	struct server *s = arg;
	const struct timespec pause = { .tv_nsec = tick };
	int calm = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->over)
	{
		sem_t *wake = NULL;
		unsigned received;
		if (calm == ticks_awake)
		{
			calm = 0;
			s->watching = 0;
			while (!s->watching && !s->over)
				pthread_cond_wait(&s->watch, &s->lock);
		}
		received = s->received;
		pthread_mutex_unlock(&s->lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&s->lock);
		calm = s->reading > 0 && s->received == received ? calm + 1 : 0;
		if (s->reading == 0 && s->received == received)
			wake = summon(s);
		if (wake != NULL)
		{
			pthread_mutex_unlock(&s->lock);
			post(wake);
			pthread_mutex_lock(&s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int pocket_serve(const struct pocket_served *served)
{
	struct server s = { .served = served, .quick_most = sysconf(_SC_NPROCESSORS_ONLN) / 2 };
	pthread_t watcher;

	if (s.quick_most < 1)
		s.quick_most = 1;
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.ending, NULL);
	pthread_cond_init(&s.watch, NULL);
	s.watching = 1;
	if (pthread_create(&watcher, NULL, watch, &s) != 0)
		return -1;
	pthread_mutex_lock(&s.lock);
	summon(&s);
	if (s.newest == NULL)
	{
		s.over = s.failed = 1;
		pthread_cond_signal(&s.watch);
	}
	while (!s.over)
		pthread_cond_wait(&s.ending, &s.lock);
	pthread_mutex_unlock(&s.lock);
	served->exit(served->session);
	pthread_join(watcher, NULL);

	// No worker is added or taken away any more. Those that read are cancelled there, those that are
	// parked see that it is over, and those that serve a request end after it.
	for (struct worker *w = s.newest; w != NULL; w = w->older)
	{
		pthread_cancel(w->thread);
		sem_post(&w->wake);
	}
	while (s.newest != NULL)
	{
		struct worker *w = s.newest;
		pthread_join(w->thread, NULL);
		s.newest = w->older;
		sem_destroy(&w->wake);
		free(w->buf);
		free(w);
	}
	pthread_cond_destroy(&s.watch);
	pthread_cond_destroy(&s.ending);
	pthread_mutex_destroy(&s.lock);
	return s.failed ? -1 : 0;
}

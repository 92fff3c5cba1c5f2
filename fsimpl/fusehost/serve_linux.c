// Serving requests with as few threads as will do.
//
// libfuse's own loop keeps up to ten threads waiting in read(2), and the kernel gives the
// requests to them in turn. For a program in Go that is dear: each of them that enters
// Go holds one of its processors (GOMAXPROCS) until the scheduler takes it away, so that
// threads which take turns wait for each other's, and the scheduler never rests.
//
// Here the thread that has answered a request reads the next one, and nobody else does,
// while what is asked is quick. Another one reads as well
//
//   - while a request is served of a kind that was slow of late: it waits for the network
//     or the disk;
//   - while requests wait, as long as not half of the processors serve quick ones;
//   - when a request has waited for a tick and nobody took it, whatever the reason.
//
// The last is what the mount lives by, and it relies on nothing that the others keep: a
// thread of its own, the watch, asks the kernel whether a request waits, and has no other
// part in the work. The threads wait for eventfds, and ask again what a wake means, so
// that one too many does nothing, and one too few is made up for by the watch.

#define _GNU_SOURCE

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
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
	tick = 1000000,    // nanoseconds; twice as many each time that nothing happens,
	tick_most = 16 * tick, // up to this, and then the watch waits for a request
	late_ticks = 10,   // without progress, after which somebody who is to read does not
};

enum state
{
	reading, // in read(2), or to go there
	serving,
	parked,
};

struct worker
{
	struct server *server;
	struct worker *older, *newer; // in the list of all
	struct worker *next;          // in the list of parked ones
	enum state state;
	pthread_t thread;
	int wake; // eventfd
	char *buf;
};

struct server
{
	const struct pocket_served *served;
	int quick_most;         // quick requests to be served at once
	atomic_int cost[kinds]; // microseconds, by opcode
	int finish;             // eventfd, for the watch

	pthread_mutex_t lock; // guards what follows, and the lists and states of workers
	struct worker *newest;
	struct worker *parked; // the last one first: it is the warmest
	int parked_count;
	int readers;           // workers in the state reading
	int quick;             // workers that serve a request of a quick kind
	uint64_t received;     // requests
	int over;
	int failed;
};

static void *work(void *);

static void signal_event(int event)
{
	const uint64_t one = 1;

	while (write(event, &one, sizeof one) == -1 && errno == EINTR)
		;
}

static void await_event(int event)
{
	uint64_t count;

	while (read(event, &count, sizeof count) == -1 && errno == EINTR)
		;
}

static void forget(struct worker *w)
{
	if (w->wake != -1)
		close(w->wake);
	free(w->buf);
	free(w);
}

// summon has one more worker read. Called with lock held. Where no thread can be made,
// those that are there go on, and the watch tries again.
static void summon(struct server *s)
{
	struct worker *w = s->parked;
	sigset_t blocked, before;
	int err;

	if (s->over)
		return;
	if (w != NULL)
	{
		s->parked = w->next;
		s->parked_count--;
		s->readers++;
		w->state = reading;
		signal_event(w->wake);
		return;
	}
	w = calloc(1, sizeof *w);
	if (w == NULL)
		return;
	w->server = s;
	w->state = reading;
	w->buf = malloc(s->served->bufsize);
	w->wake = eventfd(0, EFD_CLOEXEC);
	if (w->buf == NULL || w->wake == -1)
	{
		forget(w);
		return;
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
	if (err != 0)
	{
		forget(w);
		return;
	}
	if ((w->older = s->newest) != NULL)
		w->older->newer = w;
	s->newest = w;
	s->readers++;
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
	long took;

	pthread_mutex_lock(&s->lock);
	w->state = serving;
	s->readers--;
	s->received++;
	if (!slow)
		s->quick++;
	if (s->readers == 0 && (slow || (s->quick < s->quick_most && waiting(s))))
		summon(s);
	pthread_mutex_unlock(&s->lock);

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
	int over;

	pthread_mutex_lock(&s->lock);
	if (!slow)
		s->quick--;
	// Two readers save slow requests that follow each other the waking.
	if (!s->over && (s->readers == 0 || (slow && s->readers < 2) || (s->quick < s->quick_most && waiting(s))))
	{
		w->state = reading;
		s->readers++;
	}
	else if (!s->over && s->parked_count == parked_most) // at the end it is joined
	{
		if (w->newer != NULL)
			w->newer->older = w->older;
		else
			s->newest = w->older;
		if (w->older != NULL)
			w->older->newer = w->newer;
		pthread_detach(w->thread);
		pthread_mutex_unlock(&s->lock);
		forget(w);
		return 0;
	}
	else if (!s->over)
	{
		w->state = parked;
		w->next = s->parked;
		s->parked = w;
		s->parked_count++;
	}
	while (w->state == parked && !s->over)
	{
		pthread_mutex_unlock(&s->lock);
		await_event(w->wake);
		pthread_mutex_lock(&s->lock);
	}
	over = s->over;
	pthread_mutex_unlock(&s->lock);
	return !over;
}

// finish has pocket_serve return.
static void finish(struct server *s, int failed)
{
	pthread_mutex_lock(&s->lock);
	s->over = 1;
	s->failed |= failed;
	pthread_mutex_unlock(&s->lock);
	signal_event(s->finish);
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

// look has somebody read when requests wait and none was received since the last look.
// It returns how many looks there were in a row, this one among them, in which that was so.
static int look(struct server *s, uint64_t *received, int late)
{
	pthread_mutex_lock(&s->lock);
	if (s->received != *received || !waiting(s))
		late = 0;
	else if (++late % late_ticks == 0)
	{
		// The processors may be busy, or a wake was lost: it is repeated.
		for (struct worker *w = s->newest; w != NULL; w = w->older)
			if (w->state == reading)
				signal_event(w->wake);
		summon(s);
	}
	else if (s->readers == 0)
		summon(s);
	*received = s->received;
	pthread_mutex_unlock(&s->lock);
	return late;
}

// watch looks after requests that nobody takes until the session is over.
static void watch(struct server *s)
{
	struct pollfd events[] = { { .fd = s->finish, .events = POLLIN }, { .fd = s->served->fd, .events = POLLIN } };
	uint64_t received = 0, before;

	for (;;)
	{
		struct timespec pause = { .tv_nsec = tick };
		int late = 0;

		while (poll(events, 2, -1) == -1 && errno == EINTR)
			;
		while (pause.tv_nsec <= tick_most)
		{
			while (ppoll(events, 1, &pause, NULL) == -1 && errno == EINTR)
				;
			if (events[0].revents != 0)
				return;
			before = received;
			late = look(s, &received, late);
			if (late == 0 && received == before)
				pause.tv_nsec *= 2;
			else
				pause.tv_nsec = tick;
		}
	}
}

int pocket_serve(const struct pocket_served *served)
{
	struct server s = { .served = served, .quick_most = sysconf(_SC_NPROCESSORS_ONLN) / 2 };

	if (s.quick_most < 1)
		s.quick_most = 1;
	s.finish = eventfd(0, EFD_CLOEXEC);
	if (s.finish == -1)
		return -1;
	pthread_mutex_init(&s.lock, NULL);
	pthread_mutex_lock(&s.lock);
	summon(&s);
	s.failed = s.newest == NULL;
	pthread_mutex_unlock(&s.lock);
	if (!s.failed)
		watch(&s);
	served->exit(served->session);

	// No worker is added or taken away any more. Those that read are cancelled there, those that are
	// parked see that it is over, and those that serve a request end after it.
	pthread_mutex_lock(&s.lock);
	s.over = 1;
	pthread_mutex_unlock(&s.lock);
	for (struct worker *w = s.newest; w != NULL; w = w->older)
	{
		pthread_cancel(w->thread);
		signal_event(w->wake);
	}
	while (s.newest != NULL)
	{
		struct worker *w = s.newest;
		pthread_join(w->thread, NULL);
		s.newest = w->older;
		forget(w);
	}
	pthread_mutex_destroy(&s.lock);
	close(s.finish);
	return s.failed ? -1 : 0;
}

/* A stand-in for winfsp-x64.dll: the six functions that cgofuse looks up, without a
   driver. What WinFsp's driver would ask for comes over loopback TCP from whoever plays
   the kernel: a test that performs Windows operations in WinFsp's order of callbacks, or
   the bridge, which mounts the file system on Linux.

   Protocol. POCKET_STANDIN is "PORT TOKEN": where to connect on 127.0.0.1, and 32
   characters that each connection begins with. All numbers are little endian. Strings are
   UTF-8 without a final zero.

   Each connection begins with the token, u32 kind and u32 mount.

   Kind 1, control, one for each mount; mount is 0. The DLL sends the mount point and the
   options as two strings (u32 length, bytes). It gets a u32, the mount's number, opens the
   connections of kind 2 and says that it is ready. Then it gets another u32, when the mount
   can be seen, calls init, and says that it has begun. Its messages:

       u32 kind, u32 value, u32 length, bytes
       1 ready
       2 begun    value: the capabilities that init asked for (conn->want)
       3 notify   value: the action; bytes: the path
       4 end      the mount is to end: fuse_exit or Ctrl-C

   The other side closes all connections when nothing more will be asked. The end of the
   control connection ends the mount, whether the DLL said "end" before or not.

   Kind 2, calls, CALLS for each mount, so many callbacks run at once. Requests and replies
   take turns:

       request: u32 op, flags, mode, uid, gid, size; u64 handle; i64 offset;
                i64 seconds, nanoseconds of two times; u32 lengths of two strings and of
                data; then these three
       reply:   i32 result, u32 capacity bits of fuse_file_info, u64 handle, u32 length, data

   A handle of ~0 means none: getattr, truncate and getpath then go by the path. Numbers of
   errors are those of Microsoft's C library, as the program returned them. A stat is laid
   out as struct stat_ex below. A listing is entries of u32 length, u32 whether a stat
   follows the name, name, stat.

   Build: x86_64-w64-mingw32-gcc -O2 -Wall -shared -static-libgcc -o winfsp-x64.dll winfsp.c -lws2_32 */
#include <winsock2.h>
#include <windows.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __declspec(dllexport)
#define TOKEN 32             /* characters */
#define CALLS 8              /* connections for calls of a mount */
#define MOUNTS 16            /* at once in a process */
#define PATH_MOST (32 << 10) /* bytes of a string in a request */
#define MOUNT_MOST 1024      /* bytes of a mount point */
#define DATA_MOST (1 << 20)  /* bytes of data in a request, and asked of a read */
#define LIST_MOST (64 << 20) /* bytes of a listing */
#define NAME_MOST 255        /* bytes of a name in it */
#define NO_HANDLE (~(uint64_t)0)

/* WinFsp's layouts for 64 bits. */

struct timespec64 {
	int64_t sec, nsec;
};

struct stat_ex {
	uint32_t dev, pad0;
	uint64_t ino;
	uint32_t mode;
	uint16_t nlink, pad1;
	uint32_t uid, gid, rdev, pad2;
	int64_t size;
	struct timespec64 atim, mtim, ctim;
	int32_t blksize, pad3;
	int64_t blocks;
	struct timespec64 birthtim;
	uint32_t flags, reserved32[3];
	uint64_t reserved64[2];
};
_Static_assert(sizeof(struct stat_ex) == 160, "struct fuse_stat_ex of WinFsp");

struct statvfs64 {
	uint64_t bsize, frsize, blocks, bfree, bavail, files, ffree, favail, fsid, flag, namemax;
};

struct file_info {
	int32_t flags;
	uint32_t fh_old;
	int32_t writepage;
	uint32_t bits;
	uint64_t fh, lock_owner;
};

struct conn_info {
	uint32_t major, minor, async_read, max_write, max_readahead, capable, want, reserved[25];
};

struct context {
	void *fuse;
	uint32_t uid, gid;
	int32_t pid;
	void *private_data;
	uint32_t umask;
};

typedef int (*filler)(void *buf, const char *name, const struct stat_ex *stat, int64_t off);

struct operations {
	int (*getattr)(const char *, struct stat_ex *);
	void *getdir;
	int (*readlink)(const char *, char *, size_t);
	int (*mknod)(const char *, uint32_t, uint32_t);
	int (*mkdir)(const char *, uint32_t);
	int (*unlink)(const char *);
	int (*rmdir)(const char *);
	int (*symlink)(const char *, const char *);
	int (*rename)(const char *, const char *);
	int (*link)(const char *, const char *);
	int (*chmod)(const char *, uint32_t);
	int (*chown)(const char *, uint32_t, uint32_t);
	int (*truncate)(const char *, int64_t);
	void *utime;
	int (*open)(const char *, struct file_info *);
	int (*read)(const char *, char *, size_t, int64_t, struct file_info *);
	int (*write)(const char *, const char *, size_t, int64_t, struct file_info *);
	int (*statfs)(const char *, struct statvfs64 *);
	int (*flush)(const char *, struct file_info *);
	int (*release)(const char *, struct file_info *);
	int (*fsync)(const char *, int, struct file_info *);
	void *setxattr;
	int (*getxattr)(const char *, const char *, char *, size_t);
	void *listxattr, *removexattr;
	int (*opendir)(const char *, struct file_info *);
	int (*readdir)(const char *, void *, filler, int64_t, struct file_info *);
	int (*releasedir)(const char *, struct file_info *);
	int (*fsyncdir)(const char *, int, struct file_info *);
	void *(*init)(struct conn_info *);
	void (*destroy)(void *);
	void *access;
	int (*create)(const char *, uint32_t, struct file_info *);
	int (*ftruncate)(const char *, int64_t, struct file_info *);
	int (*fgetattr)(const char *, struct stat_ex *, struct file_info *);
	void *lock;
	int (*utimens)(const char *, const struct timespec64 *);
	void *bmap;
	uint32_t flags, pad;
	void *ioctl, *poll, *write_buf, *read_buf, *flock, *fallocate;
	int (*getpath)(const char *, char *, size_t, struct file_info *);
	void *reserved1, *reserved2, *statfs_x, *setvolname, *exchange, *getxtimes, *setbkuptime;
	int (*setchgtime)(const char *, const struct timespec64 *);
	int (*setcrtime)(const char *, const struct timespec64 *);
	int (*chflags)(const char *, uint32_t);
	void *setattr_x, *fsetattr_x;
};
_Static_assert(sizeof(struct operations) == 58 * 8, "struct fuse_operations of WinFsp");

enum message { READY = 1, BEGUN, NOTIFY, END };

enum op {
	GETATTR = 1, READLINK, MKNOD, MKDIR, UNLINK, RMDIR, SYMLINK, RENAME, LINK, CHMOD, CHOWN, TRUNCATE,
	OPEN, READ, WRITE, STATFS, FLUSH, RELEASE, FSYNC, GETXATTR, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR,
	CREATE, UTIMENS, GETPATH, SETCHGTIME, SETCRTIME, CHFLAGS
};

#pragma pack(push, 1)
struct request {
	uint32_t op, flags, mode, uid, gid, size;
	uint64_t handle;
	int64_t offset;
	struct timespec64 times[2];
	uint32_t path, second, data; /* lengths */
};
struct reply {
	int32_t result;
	uint32_t bits;
	uint64_t handle;
	uint32_t data;
};
#pragma pack(pop)

/* CANNOT is ENOSYS, what an operation gets that the program does not have. */
#define CANNOT -40

struct fuse {
	struct operations ops;
	void *private_data;
	char mountpoint[MOUNT_MOST];
	uint32_t number;
	HANDLE ended; /* set when nothing more may be asked */
	SOCKET control;
	CRITICAL_SECTION sending; /* guards what is written to control */
	SOCKET calls[CALLS];
	HANDLE threads[CALLS + 1];
};

static DWORD context_slot = TLS_OUT_OF_INDEXES;
static CRITICAL_SECTION mounts_lock;
static struct fuse *mounts[MOUNTS]; /* guarded by mounts_lock */

static int send_all(SOCKET s, const void *p, size_t n)
{
	const char *at = p;
	while (n > 0) {
		int sent = send(s, at, n > 1 << 20 ? 1 << 20 : (int)n, 0);
		if (sent <= 0)
			return 0;
		at += sent;
		n -= sent;
	}
	return 1;
}

static int recv_all(SOCKET s, void *p, size_t n)
{
	char *at = p;
	while (n > 0) {
		int got = recv(s, at, n > 1 << 20 ? 1 << 20 : (int)n, 0);
		if (got <= 0)
			return 0;
		at += got;
		n -= got;
	}
	return 1;
}

/* connect_as opens a connection of a kind, or returns INVALID_SOCKET. */
static SOCKET connect_as(uint32_t kind, uint32_t mount)
{
	char where[64], token[TOKEN + 1];
	int port, one = 1;
	DWORD n = GetEnvironmentVariableA("POCKET_STANDIN", where, sizeof where);
	if (n == 0 || n >= sizeof where || sscanf(where, "%d %32s", &port, token) != 2 || strlen(token) != TOKEN)
		return INVALID_SOCKET;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((u_short)port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	if (s == INVALID_SOCKET)
		return s;
	uint32_t head[2] = {kind, mount};
	if (connect(s, (struct sockaddr *)&to, sizeof to) != 0 || !send_all(s, token, TOKEN) || !send_all(s, head, sizeof head)) {
		closesocket(s);
		return INVALID_SOCKET;
	}
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof one);
	return s;
}

static int send_string(SOCKET s, const char *text)
{
	uint32_t n = (uint32_t)strlen(text);
	return send_all(s, &n, sizeof n) && send_all(s, text, n);
}

static int send_message(struct fuse *f, uint32_t kind, uint32_t value, const char *bytes)
{
	uint32_t head[2] = {kind, value};
	EnterCriticalSection(&f->sending);
	int sent = send_all(f->control, head, sizeof head) && send_string(f->control, bytes);
	LeaveCriticalSection(&f->sending);
	return sent;
}

EXPORT struct context *fuse_get_context(void)
{
	struct context *c = TlsGetValue(context_slot);
	if (c == NULL) {
		c = calloc(1, sizeof *c);
		c->uid = c->gid = (uint32_t)-1;
		c->pid = -1;
		TlsSetValue(context_slot, c);
	}
	return c;
}

static void enter(struct fuse *f, uint32_t uid, uint32_t gid)
{
	struct context *c = fuse_get_context();
	c->fuse = f;
	c->private_data = f->private_data;
	c->uid = uid;
	c->gid = gid;
	c->pid = (int32_t)GetCurrentProcessId();
}

/* A listing that grows. */
struct listing {
	char *at;
	size_t size, room;
};

static int add_entry(void *buf, const char *name, const struct stat_ex *stat, int64_t off)
{
	struct listing *l = buf;
	uint32_t head[2] = {(uint32_t)strlen(name), stat != NULL};
	size_t more = sizeof head + head[0] + (stat ? sizeof *stat : 0);
	(void)off;
	if (head[0] > NAME_MOST) /* as WinFsp does, without an error */
		return 0;
	if (l->size + more > LIST_MOST)
		return 1;
	if (l->size + more > l->room) {
		size_t room = 2 * (l->room + more);
		char *at = realloc(l->at, room);
		if (at == NULL)
			return 1;
		l->at = at;
		l->room = room;
	}
	memcpy(l->at + l->size, head, sizeof head);
	memcpy(l->at + l->size + sizeof head, name, head[0]);
	if (stat)
		memcpy(l->at + l->size + sizeof head + head[0], stat, sizeof *stat);
	l->size += more;
	return 0;
}

/* The buffers of one connection. */
struct buffers {
	char path[PATH_MOST + 1], second[PATH_MOST + 1], data[DATA_MOST], out[DATA_MOST + 1];
	struct stat_ex stat;
	struct statvfs64 statvfs;
	struct listing list;
};

/* perform calls the program and returns the reply; *out is its data. */
static struct reply perform(const struct operations *o, const struct request *q, struct buffers *b, const void **out)
{
	struct file_info info = {.flags = (int32_t)q->flags, .fh = q->handle};
	struct file_info *by = q->handle == NO_HANDLE ? NULL : &info;
	struct reply r = {.result = CANNOT};
	char *path = b->path;
	size_t n = 0;

	switch ((enum op)q->op) {
	case GETATTR:
		memset(&b->stat, 0, sizeof b->stat);
		r.result = by && o->fgetattr ? o->fgetattr(path, &b->stat, by) : o->getattr(path, &b->stat);
		*out = &b->stat;
		n = r.result == 0 ? sizeof b->stat : 0;
		break;
	case READLINK:
		if (o->readlink) {
			b->out[0] = 0;
			r.result = o->readlink(path, b->out, PATH_MOST);
			*out = b->out;
			n = r.result == 0 ? strlen(b->out) : 0;
		}
		break;
	case MKNOD: r.result = o->mknod ? o->mknod(path, q->mode, q->size) : CANNOT; break;
	case MKDIR: r.result = o->mkdir(path, q->mode); break;
	case UNLINK: r.result = o->unlink(path); break;
	case RMDIR: r.result = o->rmdir(path); break;
	case SYMLINK: r.result = o->symlink ? o->symlink(path, b->second) : CANNOT; break;
	case RENAME: r.result = o->rename(path, b->second); break;
	case LINK: r.result = o->link ? o->link(path, b->second) : CANNOT; break;
	case CHMOD: r.result = o->chmod(path, q->mode); break;
	case CHOWN: r.result = o->chown(path, q->uid, q->gid); break;
	case TRUNCATE: r.result = by && o->ftruncate ? o->ftruncate(path, q->offset, by) : o->truncate(path, q->offset); break;
	case OPEN: r.result = o->open(path, &info); break;
	case READ:
		r.result = o->read(path, b->out, q->size, q->offset, &info);
		*out = b->out;
		n = r.result > 0 && (uint32_t)r.result <= q->size ? (size_t)r.result : 0;
		break;
	case WRITE: r.result = o->write(path, b->data, q->data, q->offset, &info); break;
	case STATFS:
		memset(&b->statvfs, 0, sizeof b->statvfs);
		r.result = o->statfs(path, &b->statvfs);
		*out = &b->statvfs;
		n = r.result == 0 ? sizeof b->statvfs : 0;
		break;
	case FLUSH: r.result = o->flush(path, &info); break;
	case RELEASE: r.result = o->release(path, &info); break;
	case FSYNC: r.result = o->fsync(path, (int)q->flags, &info); break;
	case GETXATTR:
		if (o->getxattr) {
			r.result = o->getxattr(path, b->second, b->out, q->size);
			*out = b->out;
			n = q->size && r.result > 0 && (uint32_t)r.result <= q->size ? (size_t)r.result : 0;
		}
		break;
	case OPENDIR: r.result = o->opendir(path, &info); break;
	case READDIR:
		b->list.size = 0;
		r.result = o->readdir(path, &b->list, add_entry, 0, &info);
		*out = b->list.at;
		n = r.result == 0 ? b->list.size : 0;
		break;
	case RELEASEDIR: r.result = o->releasedir(path, &info); break;
	case FSYNCDIR: r.result = o->fsyncdir ? o->fsyncdir(path, (int)q->flags, &info) : CANNOT; break;
	case CREATE: r.result = o->create(path, q->mode, &info); break;
	case UTIMENS: r.result = o->utimens(path, q->times); break;
	case GETPATH:
		if (o->getpath) {
			b->out[0] = 0;
			r.result = o->getpath(path, b->out, PATH_MOST, by);
			*out = b->out;
			n = r.result == 0 ? strlen(b->out) : 0;
		}
		break;
	case SETCHGTIME: r.result = o->setchgtime ? o->setchgtime(path, q->times) : CANNOT; break;
	case SETCRTIME: r.result = o->setcrtime ? o->setcrtime(path, q->times) : CANNOT; break;
	case CHFLAGS: r.result = o->chflags ? o->chflags(path, q->flags) : CANNOT; break;
	}
	r.bits = info.bits;
	r.handle = info.fh;
	r.data = (uint32_t)n;
	return r;
}

struct call_thread {
	struct fuse *fuse;
	SOCKET socket;
};

/* answer_calls performs the requests of one connection until it ends. */
static DWORD WINAPI answer_calls(void *argument)
{
	struct call_thread t = *(struct call_thread *)argument;
	struct buffers *b = calloc(1, sizeof *b);
	struct request q;

	free(argument);
	while (b && recv_all(t.socket, &q, sizeof q)) {
		const void *out = NULL;
		if (q.path > PATH_MOST || q.second > PATH_MOST || q.data > DATA_MOST || q.size > DATA_MOST)
			break;
		if (!recv_all(t.socket, b->path, q.path) || !recv_all(t.socket, b->second, q.second) || !recv_all(t.socket, b->data, q.data))
			break;
		b->path[q.path] = b->second[q.second] = 0;
		enter(t.fuse, q.uid, q.gid);
		struct reply r = perform(&t.fuse->ops, &q, b, &out);
		if (!send_all(t.socket, &r, sizeof r) || !send_all(t.socket, out, r.data))
			break;
	}
	if (b)
		free(b->list.at);
	free(b);
	free(TlsGetValue(context_slot));
	SetEvent(t.fuse->ended);
	return 0;
}

/* watch_control waits for the end of the control connection, on which nothing comes. */
static DWORD WINAPI watch_control(void *argument)
{
	struct fuse *f = argument;
	char c;
	recv_all(f->control, &c, 1);
	SetEvent(f->ended);
	return 0;
}

/* on_console ends all mounts on Ctrl-C and the like, and keeps them from the program, as
   WinFsp does. */
static BOOL WINAPI on_console(DWORD event)
{
	BOOL any = FALSE;
	(void)event;
	EnterCriticalSection(&mounts_lock);
	for (int i = 0; i < MOUNTS; i++)
		if (mounts[i]) {
			send_message(mounts[i], END, 0, "");
			any = TRUE;
		}
	LeaveCriticalSection(&mounts_lock);
	return any;
}

static BOOL is_drive(const char *path) { return strlen(path) == 2 && path[1] == ':'; }

/* make_directory makes the directory that is mounted on, by WinFsp's rules: it must not
   exist, and its parent must. */
static const char *make_directory(const char *path)
{
	WCHAR wide[MOUNT_MOST];
	if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, MOUNT_MOST))
		return "invalid mount point";
	if (CreateDirectoryW(wide, NULL))
		return NULL;
	return GetLastError() == ERROR_ALREADY_EXISTS ? "mount point in use" : "invalid mount point";
}

static void remove_directory(const char *path)
{
	WCHAR wide[MOUNT_MOST];
	if (MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, MOUNT_MOST))
		RemoveDirectoryW(wide);
}

/* begin connects, lets the program initialise and starts the threads. */
static const char *begin(struct fuse *f, const char *options)
{
	f->control = connect_as(1, 0);
	if (f->control == INVALID_SOCKET)
		return "FSD not found";
	if (!send_string(f->control, f->mountpoint) || !send_string(f->control, options) || !recv_all(f->control, &f->number, sizeof f->number))
		return "FSD does not answer";
	/* async read, atomic truncate, and WinFsp's own: readdir plus, read only, stat_ex,
	   delete access, case insensitive */
	struct conn_info conn = {.major = 7, .minor = 12, .async_read = 1, .max_write = DATA_MOST,
		.capable = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 29};
	for (int i = 0; i < CALLS; i++) {
		struct call_thread *t = malloc(sizeof *t);
		f->calls[i] = connect_as(2, f->number);
		if (t == NULL || f->calls[i] == INVALID_SOCKET)
			return "FSD does not answer";
		t->fuse = f;
		t->socket = f->calls[i];
		f->threads[i] = CreateThread(NULL, 0, answer_calls, t, 0, NULL);
	}
	uint32_t go;
	if (!send_message(f, READY, 0, "") || !recv_all(f->control, &go, sizeof go))
		return "FSD does not answer";
	f->threads[CALLS] = CreateThread(NULL, 0, watch_control, f, 0, NULL);
	enter(f, (uint32_t)-1, (uint32_t)-1);
	if (f->ops.init)
		f->private_data = f->ops.init(&conn);
	return send_message(f, BEGUN, conn.want, "") ? NULL : "FSD does not answer";
}

static void register_mount(struct fuse *from, struct fuse *to)
{
	static BOOL handling; /* guarded by mounts_lock */
	EnterCriticalSection(&mounts_lock);
	for (int i = 0; i < MOUNTS; i++)
		if (mounts[i] == from) {
			mounts[i] = to;
			break;
		}
	if (!handling)
		handling = SetConsoleCtrlHandler(on_console, TRUE);
	LeaveCriticalSection(&mounts_lock);
}

EXPORT int fuse_main_real(int argc, char **argv, const struct operations *ops, size_t size, void *data)
{
	char options[4096] = "";
	const char *wrong = NULL;
	WSADATA winsock;
	struct fuse *f = calloc(1, sizeof *f);
	if (f == NULL || WSAStartup(MAKEWORD(2, 2), &winsock) != 0)
		return 1;
	memcpy(&f->ops, ops, size < sizeof f->ops ? size : sizeof f->ops);
	f->private_data = data;
	f->ended = CreateEventW(NULL, TRUE, FALSE, NULL);
	InitializeCriticalSection(&f->sending);
	for (int i = 0; i < CALLS; i++)
		f->calls[i] = INVALID_SOCKET;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-o") == 0 && i + 1 < argc) {
			size_t used = strlen(options);
			if (snprintf(options + used, sizeof options - used, "%s%s", used ? "," : "", argv[++i]) >= (int)(sizeof options - used))
				wrong = "too many options";
		} else if (argv[i][0] != '-' && f->mountpoint[0] == 0) {
			if (snprintf(f->mountpoint, sizeof f->mountpoint, "%s", argv[i]) >= (int)sizeof f->mountpoint)
				wrong = "invalid mount point";
		}
	}
	BOOL made = FALSE;
	if (!wrong && !is_drive(f->mountpoint)) {
		wrong = make_directory(f->mountpoint);
		made = wrong == NULL;
	}
	if (!wrong)
		wrong = begin(f, options);
	if (wrong) {
		fprintf(stderr, "Cannot create WinFsp-FUSE file system: %s.\n", wrong);
	} else {
		register_mount(NULL, f);
		WaitForSingleObject(f->ended, INFINITE);
		register_mount(f, NULL);
	}
	/* Those who play the kernel ask no more; what runs is finished. */
	for (int i = 0; i < CALLS; i++)
		if (f->calls[i] != INVALID_SOCKET)
			shutdown(f->calls[i], SD_BOTH);
	if (f->control != INVALID_SOCKET)
		shutdown(f->control, SD_BOTH);
	for (int i = 0; i <= CALLS; i++)
		if (f->threads[i]) {
			WaitForSingleObject(f->threads[i], INFINITE);
			CloseHandle(f->threads[i]);
		}
	for (int i = 0; i < CALLS; i++)
		if (f->calls[i] != INVALID_SOCKET)
			closesocket(f->calls[i]);
	if (f->control != INVALID_SOCKET)
		closesocket(f->control);
	enter(f, (uint32_t)-1, (uint32_t)-1);
	if (!wrong && f->ops.destroy)
		f->ops.destroy(f->private_data);
	if (made)
		remove_directory(f->mountpoint);
	/* f stays: fuse_exit and fuse_notify may still be on their way. */
	return wrong != NULL;
}

EXPORT void fuse_exit(struct fuse *f) { send_message(f, END, 0, ""); }

EXPORT int fuse_notify(struct fuse *f, const char *path, uint32_t action)
{
	return strlen(path) <= PATH_MOST && send_message(f, NOTIFY, action, path) ? 0 : -5;
}

struct args {
	int argc;
	char **argv;
	int allocated;
};

/* fuse_opt_parse takes the options out and leaves the rest, which is all that cgofuse
   asks of it. */
EXPORT int fuse_opt_parse(struct args *a, void *data, const void *opts, void *proc)
{
	int kept = a->argc > 0;
	(void)data, (void)opts, (void)proc;
	for (int i = 1; i < a->argc; i++) {
		if (strcmp(a->argv[i], "-o") == 0)
			i++;
		else if (a->argv[i][0] != '-')
			a->argv[kept++] = a->argv[i];
	}
	a->argc = kept;
	return 0;
}

EXPORT void fuse_opt_free_args(struct args *a) { a->argc = 0; }

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved)
{
	(void)self, (void)reserved;
	if (reason == DLL_PROCESS_ATTACH) {
		InitializeCriticalSection(&mounts_lock);
		context_slot = TlsAlloc();
		return context_slot != TLS_OUT_OF_INDEXES;
	}
	return TRUE;
}

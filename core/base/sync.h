/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks, condition variables, threads and clocks: all of them, for the whole project.
 *
 * sync_pthread.c implements this header with pthreads. Because nothing else touches threads or time, another
 * implementation can be linked in its place: with WFSD_SIM, sync_sim.c is one seeded scheduler with virtual time.
 *
 * Every lock has a rank. A thread takes locks in ascending rank only (equal ranks: the caller states its own order,
 * e.g. ascending object id). Debug builds (-DWFSD_DEBUG) abort on a violation, on unlocking a lock not held, and on
 * blocking device I/O under a lock whose rank is SYNC_RANK_TREE or above (sync_assert_may_block()).
 * There is no recursion. All functions may be called from any thread.
 */
#ifndef WFSD_CORE_BASE_SYNC_H
#define WFSD_CORE_BASE_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef WFSD_SIM
/* As large as those of pthreads, so that whatever holds them keeps its size. */
struct sim_thread;
struct sim_mutex {
	struct sim_thread *owner;
	char spare[32];
};
struct sim_rwlock {
	struct sim_thread *writer;
	unsigned readers, waiting_writers;
	char spare[40];
};
struct sim_cond {
	uint64_t waiters;
	char spare[40];
};
#define SYNC_OS(real, simulated) simulated
#else
#include <pthread.h>
#define SYNC_OS(real, simulated) real
#endif

/* clang's thread-safety analysis (-Wthread-safety); nothing elsewhere. */
#if defined(__clang__)
#define SYNC_ANNOTATE(x) __attribute__((x))
#else
#define SYNC_ANNOTATE(x)
#endif
#define SYNC_CAPABILITY(name) SYNC_ANNOTATE(capability(name))
/* For the reader only: in C, clang cannot name another member of the same struct. */
#define SYNC_GUARDED_BY(l)
#define SYNC_REQUIRES(...) SYNC_ANNOTATE(requires_capability(__VA_ARGS__))
#define SYNC_REQUIRES_SHARED(...) SYNC_ANNOTATE(requires_shared_capability(__VA_ARGS__))
#define SYNC_EXCLUDES(...) SYNC_ANNOTATE(locks_excluded(__VA_ARGS__))
#define SYNC_ACQUIRE(...) SYNC_ANNOTATE(acquire_capability(__VA_ARGS__))
#define SYNC_ACQUIRE_SHARED(...) SYNC_ANNOTATE(acquire_shared_capability(__VA_ARGS__))
#define SYNC_RELEASE(...) SYNC_ANNOTATE(release_capability(__VA_ARGS__))
#define SYNC_RELEASE_SHARED(...) SYNC_ANNOTATE(release_shared_capability(__VA_ARGS__))
#define SYNC_TRY_ACQUIRE(...) SYNC_ANNOTATE(try_acquire_capability(__VA_ARGS__))
#define SYNC_NO_ANALYSIS SYNC_ANNOTATE(no_thread_safety_analysis)

/* The one list of lock ranks, outermost first. */
enum sync_rank {
	SYNC_RANK_CONNECTION = 5, /* what one connection has in use, looked up in tables of the server */
	SYNC_RANK_SERVER = 10, /* server tables: connections, exports, sessions */
	SYNC_RANK_ATTR = 11, /* attributes of an object, from the look at them to their change */
	SYNC_RANK_TX = 12, /* one transaction of a file tree */
	SYNC_RANK_ADMISSION = 15, /* writers to a nearly full pool */
	SYNC_RANK_QUIET = 16, /* a dataset that is made quiet */
	SYNC_RANK_QUOTA_WAIT = 17, /* writers whose quota is nearly used up */
	SYNC_RANK_TX_GATE = 18, /* transactions in the middle of their commit, against the end of a group */
	SYNC_RANK_TX_COMMIT = 19, /* transactions of one file tree, one by one */
	SYNC_RANK_NAMESPACE = 20, /* mount table, pool list */
	SYNC_RANK_HANDLE = 30,
	SYNC_RANK_LEDGER = 31, /* what a client's open files of one object may lose */
	SYNC_RANK_WATCH = 33, /* who is told of changes */
	SYNC_RANK_NOTICES = 35, /* what a client is to be told */
	SYNC_RANK_RENAME = 38, /* directories that move */
	SYNC_RANK_OBJECT = 40, /* inode or volume */
	SYNC_RANK_OBJECT_IO = 42, /* data of a file against its truncation */
	SYNC_RANK_CACHE_FILE = 45, /* a cached file's dirty list and punch table */
	SYNC_RANK_OBJECT_TABLE = 47, /* objects in memory, by number */
	SYNC_RANK_GATE = 50, /* commit gate */
	SYNC_RANK_DEVICES = 52, /* the table of devices of a pool: held while labels are written */
	SYNC_RANK_TXG = 55, /* transaction group states */
	SYNC_RANK_ITEMS = 58, /* items of a file tree, and their records in the log */
	SYNC_RANK_QUOTA = 59, /* usage by owners */
	SYNC_RANK_TREE = 60,
	SYNC_RANK_NODE_CACHE = 65,
	SYNC_RANK_ALLOC = 70,
	SYNC_RANK_LOG = 75, /* log buffer */
	SYNC_RANK_CACHE = 80, /* cache shard, chunk */
	SYNC_RANK_PAGES = 85, /* page allocator, budget */
	SYNC_RANK_BLK = 90, /* device back ends */
	SYNC_RANK_LEAF = 100, /* takes nothing else while held: pools of buffers, metrics, log sink */
};

struct SYNC_CAPABILITY("mutex") sync_mutex {
	SYNC_OS(pthread_mutex_t, struct sim_mutex) m;
	const char *name;
	enum sync_rank rank;
};

struct SYNC_CAPABILITY("rwlock") sync_rwlock {
	SYNC_OS(pthread_rwlock_t, struct sim_rwlock) l;
	const char *name;
	enum sync_rank rank;
};

struct sync_cond {
	SYNC_OS(pthread_cond_t, struct sim_cond) c;
};

struct sync_thread {
	SYNC_OS(pthread_t, struct sim_thread *) t;
};

/* @name must outlive the lock (a string literal). */
void sync_mutex_init(struct sync_mutex *m, enum sync_rank rank, const char *name);
void sync_mutex_done(struct sync_mutex *m);
void sync_mutex_lock(struct sync_mutex *m) SYNC_ACQUIRE(*m);
bool sync_mutex_trylock(struct sync_mutex *m) SYNC_TRY_ACQUIRE(true, *m);
void sync_mutex_unlock(struct sync_mutex *m) SYNC_RELEASE(*m);

/* Writers are preferred: a waiting writer stops new readers. */
void sync_rwlock_init(struct sync_rwlock *l, enum sync_rank rank, const char *name);
void sync_rwlock_done(struct sync_rwlock *l);
void sync_rwlock_rdlock(struct sync_rwlock *l) SYNC_ACQUIRE_SHARED(*l);
bool sync_rwlock_tryrdlock(struct sync_rwlock *l) SYNC_ANNOTATE(try_acquire_shared_capability(true, *l));
void sync_rwlock_rdunlock(struct sync_rwlock *l) SYNC_RELEASE_SHARED(*l);
void sync_rwlock_wrlock(struct sync_rwlock *l) SYNC_ACQUIRE(*l);
void sync_rwlock_wrunlock(struct sync_rwlock *l) SYNC_RELEASE(*l);

void sync_cond_init(struct sync_cond *c);
void sync_cond_done(struct sync_cond *c);
void sync_cond_wait(struct sync_cond *c, struct sync_mutex *m) SYNC_REQUIRES(*m);
/* Waits until signalled or until sync_now_ns() reaches @deadline_ns. Returns false on the deadline. */
bool sync_cond_wait_until(struct sync_cond *c, struct sync_mutex *m, uint64_t deadline_ns) SYNC_REQUIRES(*m);
void sync_cond_signal(struct sync_cond *c);
void sync_cond_broadcast(struct sync_cond *c);

/* Start a thread named @name (15 bytes are kept). Signals are blocked in it. 0 or a negative errno. */
int sync_thread_start(struct sync_thread *t, const char *name, void (*fn)(void *arg), void *arg);
void sync_thread_join(struct sync_thread *t);
void sync_sleep_ns(uint64_t ns);

/* Monotonic time since an arbitrary point, and wall-clock time since 1970, in nanoseconds. */
uint64_t sync_now_ns(void);
uint64_t sync_wall_ns(void);

/* A small number for the calling thread, 0.., dense, reused after the thread ends: for per-thread slots. */
unsigned sync_thread_slot(void);

/* Debug builds abort when the calling thread holds a lock under which waiting for a device is forbidden. */
void sync_assert_may_block(void);
/*
 * Around a call into a layer that never waits for what is above it (core/blk/hosted.h): locks that the thread holds
 * already are not compared with those that it takes in between, except that none may be taken twice. back() gets what
 * aside() returned.
 */
unsigned sync_held_aside(void);
void sync_held_back(unsigned outer);

#define SYNC_NS_PER_MS UINT64_C(1000000)
#define SYNC_NS_PER_S UINT64_C(1000000000)

#endif

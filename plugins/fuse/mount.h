/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of wfs-fuse share: the mount, its nodes, who asks, and how replies are put together. */
#ifndef WFSD_PLUGINS_FUSE_MOUNT_H
#define WFSD_PLUGINS_FUSE_MOUNT_H

/* Of libfuse's interface. */
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "plugins/fuse/node.h"
#include "plugins/fuse/options.h"
#include "plugins/fuse/thread.h"
#include "protocol/client/wfs_tree.h"

#define MOUNT_IO_BYTES_MAX (1u << 20) /* one read or write */

struct lock_wait;

/* Locks that wait for others (lock.c). */
struct lock_queue {
	struct thread_worker thread; /* its lock is that of everything here */
	bool gone; /* so is the server, for longer than requests wait for it */
	struct lock_wait *first;
	uint64_t last_id;
};

/* What the server tells (events.c). */
#define MISSED_MAX 64u
struct mount_events {
	pthread_rwlock_t lock; /* held by those who give the kernel what it may believe for long */
	bool coherent; /* all changes are told */
	_Atomic uint64_t changes; /* told so far; changes with the lock held for writing */
	/* Of the thread: the server watches for us; it lets nobody watch, or fails, and is asked again at that time;
	 * changes may have been missed; locks may be gone. */
	bool watched, lost, restarted;
	uint64_t watch_at_ns, watch_pause_ns;
	/* Of the thread: nodes that the kernel does not have yet, each told once more, and when it is to be told again
	 * that they have changed. */
	struct missed {
		struct node *node;
		bool data;
	} missed[MISSED_MAX];
	unsigned missed_count;
	uint64_t missed_at_ns;
	uint64_t gone_ns; /* of the thread, too: the server cannot be reached since then; 0: it can */
	struct thread_worker thread;
};

struct told_name;

/* Names that the kernel believes for long (told.c). */
struct told_names {
	bool by_name; /* it can only be told of each; otherwise they are not remembered */
	pthread_mutex_t lock; /* of everything below */
	struct told_name *first, **last; /* those that are believed longest at the end */
	unsigned count;
};

/* The end by a signal (ending.c). */
struct ending {
	pthread_t thread;
	bool started;
};

/* Files that are to be closed (close.c). */
#define CLOSE_QUEUE_MAX 128u
struct close_queue {
	struct thread_worker thread; /* its lock is that of everything here */
	unsigned count;
	struct wfs_file *files[CLOSE_QUEUE_MAX];
};

/* Small files that nobody has open (small_cache.c). */
struct small_cache {
	pthread_mutex_t lock;
	struct small *newest, *oldest;
	size_t bytes;
	_Atomic uint64_t reads; /* times that the server was asked (ahead.c) */
};

struct mount {
	struct wfs *client;
	const struct options *options;
	struct fuse_session *session;
	struct node_table nodes;
	struct node *root;
	uint64_t attr_timeout_ns;
	_Atomic uint64_t sequence; /* counts changes made through this mount */
	struct lock_queue locks;
	struct mount_events events;
	struct told_names told;
	struct ending ending;
	struct close_queue closes;
	struct small_cache kept;
	pthread_mutex_t open_lock; /* while it is held no file is opened */
	pthread_mutex_t small_lock; /* what nodes have of small.c, and kept attributes */
	_Atomic unsigned small_count; /* small files that are open */
};

/* An open file: what fuse_file_info.fh points to. */
struct open_file {
	struct node *node;
	struct wfs_file *file; /* NULL: only by what was read of it (small.c) */
	struct small *small; /* NULL: not small, or not for reading */
	unsigned access; /* WFS_ACCESS_* */
	uint64_t seen; /* of the losses of the node's files, when it was opened */
	bool direct; /* the kernel hands on what is written to it, and keeps none of it */
};

/* What had happened before the server was asked. */
struct seen {
	uint64_t told; /* changes that it told of (events.c); TOLD_NEVER for what may be older than the request */
	uint64_t own; /* changes made through this mount */
};
#define TOLD_NEVER UINT64_MAX

/* Who asks. */
struct caller {
	struct wfs_cred cred;
	uint32_t groups[WFS_GROUPS_MAX];
	struct seen seen;
};

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* What counts for an answer about an object: of other file systems below the export the server does not tell. */
static inline struct seen seen_of(const struct mount *m, uint64_t fsid, struct seen seen)
{
	return fsid == m->root->fsid ? seen : (struct seen){ TOLD_NEVER, seen.own };
}

static inline struct node *node_of(struct mount *m, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? m->root : (struct node *)ino;
}

static inline struct open_file *file_of(const struct fuse_file_info *fi)
{
	return (struct open_file *)(uintptr_t)fi->fh;
}

/* The identity behind a request; @ret points into itself. */
void caller_get(fuse_req_t req, struct caller *ret);

/* @err: 0 or a negative errno. */
void reply_err(fuse_req_t req, int err);
/* @seen: when @attr was asked for. */
void reply_attr(fuse_req_t req, struct node *n, struct seen seen, const struct wfs_attr *attr);
void reply_statfs(fuse_req_t req, const struct wfs_statfs *s);
/*
 * A name was looked up or made in @dir: tell the kernel of the object, or of @err. It counts as told only when that
 * arrived.
 */
void reply_entry(fuse_req_t req, struct node *dir, const char *name, struct seen seen, int err,
                 const struct wfs_attr *attr, const struct wfs_fh *fh);
/* Fill in an entry; the node counts as told. Between tell_begin() and tell_end(). -ENOMEM. */
int entry_fill(struct mount *m, struct node *dir, const char *name, struct seen seen, const struct wfs_attr *attr,
               const struct wfs_fh *fh, struct fuse_entry_param *ret, struct node **ret_node);
void stat_fill(const struct mount *m, const struct wfs_attr *attr, struct stat *ret);
/* The number that programs see. */
ino_t number_of(const struct mount *m, uint64_t fsid, uint64_t file_id);
mode_t mode_of_type(enum wfs_type type);
/* The object is being changed, or was, by this mount: what was read of it before is old. Returns the new count. */
uint64_t node_touch(struct mount *m, struct node *n);
/*
 * The change that node_touch() began, which returned @before, is over. Returns what is to be taken for seen->own of its
 * answer: the new count, or 0 when the node was touched by another change as well.
 */
uint64_t node_touch_end(struct mount *m, struct node *n, uint64_t before);
/*
 * The server said that the node does not have something: *until is when that is to be asked for again. Not when this
 * mount has changed the node since. Between tell_begin() and tell_end().
 */
void learn_missing(struct mount *m, struct node *n, struct seen seen, _Atomic uint64_t *until);
/*
 * The attributes of a directory right after it was changed, which the kernel asks for next. @before: of node_touch(),
 * before the change; when anything else was changed meanwhile they are not kept. Touches the node.
 */
void attr_keep(struct mount *m, struct node *dir, uint64_t before, const struct wfs_attr *attr);
bool attr_kept(struct mount *m, struct node *dir, struct wfs_attr *ret);
/*
 * A directory was removed that looked like this. Some program may have it open; attr_of_removed() is what it is told
 * when the server does not know the directory any more: so are FIFOs, sockets, devices and links remembered, which the
 * server keeps for nobody. False: it is something else, or a directory that this mount did not remove.
 */
void attr_removed(struct mount *m, const struct wfs_attr *attr);
void attr_remember(struct mount *m, struct node *n, const struct wfs_attr *attr);
bool attr_of_removed(struct mount *m, struct node *n, struct wfs_attr *ret);

/* Operations, by file. */
void name_ops(struct fuse_lowlevel_ops *ops);
void attr_ops(struct fuse_lowlevel_ops *ops);
void file_ops(struct fuse_lowlevel_ops *ops);
void range_ops(struct fuse_lowlevel_ops *ops);
void dir_ops(struct fuse_lowlevel_ops *ops);
void xattr_ops(struct fuse_lowlevel_ops *ops);
void lock_ops(struct fuse_lowlevel_ops *ops);

/* file.c: what the kernel will name an open file by. -ENOMEM; otherwise the file is closed when the kernel releases it.
 */
int file_attach(struct mount *m, struct node *n, struct wfs_file *file, unsigned access, struct fuse_file_info *fi);
/*
 * After that, for a file of those attributes (WFS_FLAG_*). To one that is only added to the server lets nobody write
 * pages, which is how the kernel hands on what it has collected: it is to hand on what is written at once.
 */
void file_add_directly(const struct mount *m, struct fuse_file_info *fi, uint32_t attr_flags);
/* The kernel was not told of it, or is done with it: what file_attach() made is gone, the file itself not closed. */
void file_detach(struct open_file *of);
/* WFS_ACCESS_* of open(2)'s flags. */
unsigned file_access(const struct mount *m, int flags);
/* A file of those attributes (WFS_FLAG_*) is not to be opened in this way: data is only added at its end. */
bool file_is_barred(unsigned access, int flags, uint32_t attr_flags);

/* events.c */
int events_start(struct mount *m);
void events_stop(struct mount *m);
/* Around what tells the kernel something that it may believe for long. Nothing in between asks the server. */
void tell_begin(struct mount *m);
void tell_end(struct mount *m);
/* The same, while nobody tells anything: for what must not be told any more. */
void untell_begin(struct mount *m);
/* Was nothing told since? In between these, as the two below. */
bool events_fresh(struct mount *m, struct seen seen);
/* How long an answer is believed. */
double events_believed_s(struct mount *m, struct seen seen, double otherwise_s);
uint64_t events_believed_ns(struct mount *m, struct seen seen);

/* ending.c */
/* From now on a signal that ends the mount waits for ending_begin(). */
void ending_hold(void);
/*
 * From now on such a signal ends the thread of events.c, which was started, and then the session, whose loop the caller
 * is about to enter.
 */
int ending_begin(struct mount *m);
/* It has left that loop. */
void ending_done(struct mount *m);

/* told.c */
/* The file system is mounted, and no request was answered yet. */
void told_init(struct mount *m);
/* None is answered any more. */
void told_done(struct mount *m);
/*
 * How long the kernel may believe that a name stands for what it was told, or for nothing. Between tell_begin() and
 * tell_end().
 */
double told_name_s(struct mount *m, const struct node *dir, const char *name, struct seen seen, double otherwise_s);
/* This mount gave the name to something that had another one. */
void told_moved(struct mount *m, const struct node *dir, const char *name);
/* The kernel is to ask for all names again. Blocks as long as requests that change directories are under way. */
void told_forget_all(struct mount *m);
/* The same if it can be said with one word, which never blocks. */
void told_forget_at_once(struct mount *m);
/* The same, told name by name: of those that were remembered. */
void told_expire_names(struct mount *m);

/* names.c */
/* A directory that was just made, with its attributes. */
void names_begin(struct mount *m, struct node *dir, const struct wfs_attr *attr);
/* This mount made one change of names in the directory, which added @added, or one at most that added none (NULL), and
 * left it with @attr; NULL: something else happened. */
void names_changed(struct mount *m, struct node *dir, const char *added, const struct wfs_attr *attr);
/* Is there certainly no such name? *ret_timeout_s: how long that is to be believed. */
bool names_lack(struct mount *m, struct node *dir, const char *name, double *ret_timeout_s);
/* Would the directory's attributes, asked for now, make what was known believable again? Then tell them. */
bool names_are_old(struct mount *m, struct node *dir);
void names_renew(struct mount *m, struct node *dir, const struct wfs_attr *attr);

/* small.c */
/* Open a file of the node, which shares what it may lose with the others. */
int node_open(struct mount *m, struct node *n, const struct wfs_cred *cred, unsigned access, uint64_t seen,
              struct wfs_file **ret);
/* The file, opened if it was not yet. */
int open_file_get(struct mount *m, struct open_file *of, struct wfs_file **ret);
#define SMALL_BYTES_MAX (64u << 10)
/*
 * Open a small file for reading by reading all of it: one round trip instead of three, or none when what was read
 * before is still good. *ret_change is its change counter. NULL: it is to be opened as usual.
 */
struct small *small_open(struct mount *m, struct node *n, const struct caller *who, uint64_t *ret_change);
void small_close(struct mount *m, struct node *n, struct small *s);
/*
 * Before the answer to its opening: give the kernel the file's pages, so that it need not ask for them. Only when
 * nobody else has the file open, whose requests might have pages locked. True: it has them.
 */
bool small_store(struct mount *m, struct node *n, const struct small *s);
/* What was read, if nothing is known to have changed since; otherwise the file is opened and read. */
int small_read(struct mount *m, struct open_file *of, void *buf, size_t size, uint64_t offset, size_t *ret_len);
/* The attributes of an open file that another client has removed, so that the server does not know it any more. NULL:
 * it was not opened by its contents; false then. */
bool small_attr(const struct small *s, struct wfs_attr *ret);
/* A name is about to be removed, or replaced: if it is that of a small file in use, the server keeps the file. */
void small_keep(struct mount *m, struct node *dir, const char *name);

/* close.c */
int close_queue_start(struct mount *m);
/* All that were handed over are closed then. */
void close_queue_stop(struct mount *m);
/* Close a file without waiting for that; NULL is fine. */
void close_later(struct mount *m, struct wfs_file *f);

/* lock.c */
int lock_queue_start(struct mount *m);
void lock_queue_stop(struct mount *m);
/* The server told how a wait ended. */
void lock_ended(struct mount *m, uint64_t id, int err);
/* The server cannot be reached for so long that requests fail. */
void lock_gone(struct mount *m);
/* The server has forgotten what waits. */
void lock_ask_again(struct mount *m);
/* The owner closes a descriptor of the file: its byte-range locks go. */
void lock_drop_ranges(struct mount *m, struct node *n, uint64_t owner);
void lock_drop_flock(struct mount *m, struct node *n, uint64_t owner);

#endif

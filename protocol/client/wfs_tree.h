/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwfs: file trees. Names, attributes, directories, links, extended attributes, locks, and open files, on exports
 * that are directories.
 *
 * An object is named by a handle (struct wfs_fh), a value that may be copied and kept: it means the same object as long
 * as that exists, over reconnects, restarts of the server and in other processes; -ESTALE afterwards. There is nothing
 * to be closed but files.
 *
 * Names are bytes, 1..WFS_NAME_BYTES_MAX of them, without '/', terminated. Every call takes the identity it is made for
 * (NULL: the process's own, which the server sees on a unix socket, and is told over TCP); whether a client may speak
 * for others is the server's decision (docs/PROTOCOL.md, "Identity").
 *
 * Lost connections are handled as in wfs.h. A request that must not be done twice (create, rename, unlink, append, ...)
 * is answered, not repeated, also by a server that was started anew: WFS v3 keeps results with what they are results
 * of. On other file systems it is sent again after a restart: it may then answer -EEXIST or -ENOENT although it was
 * done.
 *
 * All calls but wfs_batch_start() block; any thread. Errors are negative errno, their text is wfs_error_text(). What a
 * call changed is durable after wfs_sync() of an object that it concerned, or wfs_flush() of a file.
 */
#ifndef WFS_TREE_H
#define WFS_TREE_H

#include <time.h>

#include "protocol/client/wfs.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WFS_FH_BYTES_MAX 64u
#define WFS_NAME_BYTES_MAX 255u
#define WFS_PATH_BYTES_MAX 4095u
#define WFS_GROUPS_MAX 16u

struct wfs_fh {
	uint32_t len_bytes;
	uint8_t bytes[WFS_FH_BYTES_MAX];
};

/* On whose behalf. Of the groups the first WFS_GROUPS_MAX count. */
struct wfs_cred {
	uint32_t uid, gid;
	unsigned group_count;
	const uint32_t *groups;
};

enum wfs_type {
	WFS_TYPE_FILE = 1,
	WFS_TYPE_DIR = 2,
	WFS_TYPE_SYMLINK = 3,
	WFS_TYPE_FIFO = 4,
	WFS_TYPE_CHAR = 5,
	WFS_TYPE_BLOCK = 6,
	WFS_TYPE_SOCKET = 7,
};

/* Flags of a file. */
#define WFS_FLAG_IMMUTABLE 1u
#define WFS_FLAG_APPEND 2u

struct wfs_attr {
	enum wfs_type type;
	uint32_t mode; /* permission bits, 07777 */
	uint32_t uid, gid;
	uint32_t link_count;
	uint32_t flags; /* WFS_FLAG_* */
	uint32_t block_preferred_bytes;
	int read_only; /* the export or the file system is */
	int has_acl; /* its access ACL says more than @mode */
	uint32_t project; /* whose quota it counts for; new objects have their directory's. 0: none */
	int exact_names; /* a directory: names are found only as they are spelled; size_bytes counts them, and each
	                  * change of them moves @change by one */
	uint64_t fsid;
	uint64_t file_id; /* unique within fsid, never reused */
	uint64_t size_bytes, allocated_bytes;
	uint64_t change; /* increases with every change */
	uint64_t rdev; /* of device nodes: major << 32 | minor */
	uint64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since 1970; before, as int64_t */
};

/*
 * Times as the system has them, and as they are above. Those reach 292 years in both directions: what is further away
 * becomes the first or the last of them. Of @ret the nanoseconds are never negative. Pure.
 */
WFS_PUBLIC uint64_t wfs_time_to_ns(const struct timespec *t);
WFS_PUBLIC void wfs_time_from_ns(uint64_t ns, struct timespec *ret);

/*
 * What a file of a mounted export is on the server: wfs-fuse answers that extended attribute itself, for every file,
 * with its fsid and its file_id (each unsigned long long) in that format.
 */
#define WFS_FILE_XATTR "system.wfs.file"
#define WFS_FILE_FORMAT "%016llx:%016llx"

#define WFS_SET_MODE 1u
#define WFS_SET_UID 2u
#define WFS_SET_GID 4u
#define WFS_SET_SIZE 8u
#define WFS_SET_ATIME 16u
#define WFS_SET_MTIME 32u
#define WFS_SET_ATIME_NOW 64u
#define WFS_SET_MTIME_NOW 128u
#define WFS_SET_FLAGS 256u
#define WFS_SET_PROJECT 1024u /* root only */
struct wfs_set_attr {
	unsigned valid; /* WFS_SET_* */
	uint32_t mode, uid, gid, flags, project;
	uint64_t size_bytes, atime_ns, mtime_ns;
};

/*
 * The top of an export that is a directory ("" is the default export). -ENOTDIR: it is a file (use wfs_open()).
 * @ret_attr may be NULL here and below.
 */
WFS_PUBLIC int wfs_attach(struct wfs *w, const struct wfs_cred *cred, const char *export_name, struct wfs_fh *ret,
                          struct wfs_attr *ret_attr);

/* One name, "." and ".." among them (".." of the export's top is the top). Symbolic links are not followed. */
WFS_PUBLIC int wfs_lookup(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                          struct wfs_fh *ret, struct wfs_attr *ret_attr);
/* Along a path, which never leads out of the export; links on the way are followed, one at its end with @follow. */
WFS_PUBLIC int wfs_lookup_path(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *path,
                               int follow, struct wfs_fh *ret, struct wfs_attr *ret_attr);
WFS_PUBLIC int wfs_getattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, struct wfs_attr *ret);
WFS_PUBLIC int wfs_setattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh,
                           const struct wfs_set_attr *set, struct wfs_attr *ret);

/* A new object of any type: mkdir, symlink, mknod, ... -EEXIST. */
struct wfs_new {
	enum wfs_type type;
	uint32_t mode;
	uint64_t rdev; /* of device nodes */
	const char *target; /* of a symbolic link; otherwise NULL */
};
WFS_PUBLIC int wfs_make(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                        const struct wfs_new *what, struct wfs_fh *ret, struct wfs_attr *ret_attr);
WFS_PUBLIC int wfs_link(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                        const struct wfs_fh *target);
/* @is_dir: an empty directory; otherwise anything else. */
WFS_PUBLIC int wfs_unlink(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                          int is_dir);
#define WFS_RENAME_NOREPLACE 1u
#define WFS_RENAME_EXCHANGE 2u
WFS_PUBLIC int wfs_rename(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                          const struct wfs_fh *new_dir, const char *new_name, unsigned flags);
/* @buf: WFS_PATH_BYTES_MAX + 1 bytes; terminated. */
WFS_PUBLIC int wfs_read_link(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, char *buf);

struct wfs_dirent {
	const char *name; /* not terminated */
	size_t name_len;
	enum wfs_type type;
	uint64_t file_id;
	uint64_t cookie; /* to go on behind this entry */
	const struct wfs_attr *attr; /* NULL: not asked for, or it is gone */
	const struct wfs_fh *fh; /* likewise */
};
/* False: enough. What it is given is valid during the call. */
typedef int wfs_dirent_fn(void *ctx, const struct wfs_dirent *e);
#define WFS_READDIR_ATTR 1u
#define WFS_READDIR_FH 2u
/*
 * One request: entries behind @cookie (0: from the start), as many as @max_bytes of answer hold (at least one, up to
 * 1 MiB; 0: 64 KiB). "." and ".." are not among them. *ret_eof (may be NULL): there are no more behind the last one.
 */
WFS_PUBLIC int wfs_readdir(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, uint64_t cookie,
                           unsigned flags, uint32_t max_bytes, wfs_dirent_fn *fn, void *ctx, int *ret_eof);

/* *ret_len: the value's length. -ERANGE: longer than @cap (0: only the length is asked for). -ENODATA, -EOPNOTSUPP. */
WFS_PUBLIC int wfs_get_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const char *name,
                             void *buf, size_t cap, size_t *ret_len);
#define WFS_XATTR_CREATE 1u
#define WFS_XATTR_REPLACE 2u
WFS_PUBLIC int wfs_set_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const char *name,
                             const void *value, size_t len, unsigned flags);
WFS_PUBLIC int wfs_remove_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, const char *name);
typedef void wfs_name_fn(void *ctx, const char *name, size_t len); /* not terminated */
WFS_PUBLIC int wfs_list_xattr(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, wfs_name_fn *fn,
                              void *ctx);

struct wfs_statfs {
	uint64_t fsid;
	uint64_t total_bytes, free_bytes, available_bytes;
	uint64_t objects, objects_free;
	uint32_t block_bytes, name_max;
	int read_only;
};
WFS_PUBLIC int wfs_statfs(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, struct wfs_statfs *ret);

/*
 * Figures since the server's start, by name (docs/PROTOCOL.md lists them): of an export, of the file system that it is
 * in, of what this client did on all of its connections. wfs_statistics() has the server's.
 */
enum wfs_scope {
	WFS_SCOPE_EXPORT = 1,
	WFS_SCOPE_DATASET = 2,
	WFS_SCOPE_SESSION = 3,
};
/* @export_name: any export, also one that is a file; NULL with WFS_SCOPE_SESSION. -EACCES: it is not for this client.
 * -EOPNOTSUPP: nothing is counted for it. -EINVAL: the server does not know the scope. */
WFS_PUBLIC int wfs_statistics_of(struct wfs *w, enum wfs_scope scope, const char *export_name, wfs_counter_fn *fn,
                                 void *ctx);

#define WFS_ACCESS_EXEC 1u
#define WFS_ACCESS_WRITE 2u
#define WFS_ACCESS_READ 4u
/* *ret: those of @access that are allowed. */
WFS_PUBLIC int wfs_access(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned access,
                          unsigned *ret);
/* What was done to the object (data, attributes, names in a directory) is durable when it returns 0. */
WFS_PUBLIC int wfs_sync(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh);
/*
 * The data in [offset, offset + len) of a regular file is durable when it returns 0, and can be read after a crash.
 * @len 0: to the end of the file. What is written elsewhere in the file is neither promised nor waited for. -EINVAL:
 * the range overflows, or it is no regular file; -EISDIR.
 */
WFS_PUBLIC int wfs_sync_range(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t offset,
                              uint64_t len);

/* Byte-range locks, by an owner of the client's own numbering. @len_bytes UINT64_MAX: to the end, wherever that is. */
enum wfs_lock_type {
	WFS_LOCK_NONE = 0,
	WFS_LOCK_SHARED = 1,
	WFS_LOCK_EXCLUSIVE = 2,
};
struct wfs_lock {
	uint64_t owner;
	enum wfs_lock_type type;
	uint64_t offset, len_bytes;
};
/* -EAGAIN: somebody else has it. -ERESTART: the server was restarted and waits for those who had locks: try again.
 * WFS_LOCK_NONE: unlock. */
WFS_PUBLIC int wfs_lock(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh,
                        const struct wfs_lock *lock);
/*
 * A server that was restarted gives locks of wfs_lock() back to those who ask in time: whoever has some should call
 * this every second or so. It finds out whether that is so, and asks. *ret_lost: locks that somebody else may have had
 * in between, or has. 0, or an error; then call it again. Blocks, as all requests.
 */
WFS_PUBLIC int wfs_locks_keep(struct wfs *w, unsigned *ret_lost);
/* *ret: a lock that is in the way, or WFS_LOCK_NONE. */
WFS_PUBLIC int wfs_lock_test(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh,
                             const struct wfs_lock *lock, struct wfs_lock *ret);

/*
 * Open files: everything of wfs.h works on them, with these differences. They grow: a write beyond the end extends the
 * file, and wfs_pread() of a range that the file does not have is -EINVAL: use wfs_pread_some(). @access:
 * WFS_ACCESS_READ, WFS_ACCESS_WRITE, or both; it is checked here, not at each request. After a lost connection the file
 * is opened again by its handle; -ESTALE when it is gone (a file without a name goes with the connection).
 */
WFS_PUBLIC int wfs_open_fh(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned access,
                           struct wfs_file **ret);
/*
 * What the open files of one object have in common, so that a crash of the server that loses what was written through
 * one of them is told by the next wfs_flush() of each of them, once, whichever of them is flushed first; and a flush of
 * one answers for all. One that opens the object later is told as well, unless somebody was told before.
 * NULL: no memory. Any thread.
 */
struct wfs_ledger;
WFS_PUBLIC struct wfs_ledger *wfs_ledger_new(void);
/* It lives on as long as files share it. NULL is fine. */
WFS_PUBLIC void wfs_ledger_unref(struct wfs_ledger *l);
/* What is known to who opens the object now. */
WFS_PUBLIC uint64_t wfs_ledger_seen(struct wfs_ledger *l);
/* wfs_open_fh() of a file that shares @ledger from its beginning. @seen: of wfs_ledger_seen(), now or before. */
WFS_PUBLIC int wfs_open_fh_shared(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned access,
                                  struct wfs_ledger *ledger, uint64_t seen, struct wfs_file **ret);
/* A file that was opened otherwise shares @ledger from now on. Nothing was written through it yet. */
WFS_PUBLIC void wfs_file_share(struct wfs_file *f, struct wfs_ledger *ledger, uint64_t seen);
/* wfs_close() of many, in few round trips. */
WFS_PUBLIC void wfs_close_many(struct wfs_file *const files[], unsigned count);
#define WFS_CREATE_EXCLUSIVE 1u /* -EEXIST when it is there */
#define WFS_CREATE_TRUNCATE 2u /* a file that was there is emptied */
/*
 * Create a regular file, or open it when it is there, in one round trip. *ret_created may be NULL. The second form
 * tells the directory's attributes after that, too; they have link_count 0 when they could not be got.
 */
WFS_PUBLIC int wfs_create(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                          uint32_t mode, unsigned flags, unsigned access, struct wfs_file **ret_file,
                          struct wfs_fh *ret_fh, struct wfs_attr *ret_attr, int *ret_created);
WFS_PUBLIC int wfs_create_in(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *dir, const char *name,
                             uint32_t mode, unsigned flags, unsigned access, struct wfs_file **ret_file,
                             struct wfs_fh *ret_fh, struct wfs_attr *ret_attr, int *ret_created,
                             struct wfs_attr *ret_dir);
/* *ret_len is less than @len only at the end of the file. Also for files of wfs_open(). */
WFS_PUBLIC int wfs_pread_some(struct wfs_file *f, void *buf, size_t len, uint64_t offset, size_t *ret_len);

/*
 * At most 1 MiB, all of it, at the end of the file, wherever that is by now. *ret_size: the file's size then. Only for
 * files of a tree.
 */
WFS_PUBLIC int wfs_append(struct wfs_file *f, const void *buf, size_t len, uint64_t *ret_size);
/*
 * A change of the file by a call that is not made with @f (wfs_setattr, wfs_allocate, wfs_copy, a batch): begin before
 * it, end when it succeeded, with what begin returned. The next wfs_flush() of @f answers for it, too; when the server
 * crashed and was started again since the file was last used it may fail although nothing of it was lost.
 */
WFS_PUBLIC uint64_t wfs_change_begin(struct wfs_file *f);
WFS_PUBLIC void wfs_change_end(struct wfs_file *f, uint64_t begin);

/* Server-side copy. *ret_len: what was copied; less than @len at the end of the source. */
WFS_PUBLIC int wfs_copy(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *from, uint64_t from_offset,
                        const struct wfs_fh *to, uint64_t to_offset, uint64_t len, uint64_t *ret_len);
#define WFS_SEEK_DATA 0u
#define WFS_SEEK_HOLE 1u
/* As lseek(2) with SEEK_DATA and SEEK_HOLE. -ENXIO: beyond the end, or no data. */
WFS_PUBLIC int wfs_seek(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, uint64_t offset,
                        unsigned what, uint64_t *ret);
#define WFS_ALLOCATE_ZERO 0u /* reads as zeros, space is kept */
#define WFS_ALLOCATE_PUNCH 1u /* reads as zeros, space is given back */
/*
 * The range is gone: what is behind it moves down, as with fallocate(2) and FALLOC_FL_COLLAPSE_RANGE. It is done once,
 * and as a whole. -EINVAL: not of whole 64 KiB, or not before the end of the file; -EOPNOTSUPP: another file system
 * than WFS v3, or in a transaction; -EPERM: immutable or append-only.
 */
#define WFS_ALLOCATE_COLLAPSE 2u
WFS_PUBLIC int wfs_allocate(struct wfs *w, const struct wfs_cred *cred, const struct wfs_fh *fh, unsigned mode,
                            uint64_t offset, uint64_t len);

/*
 * Batches: many operations in one round trip. They work on a current and a saved handle, in order, and end with the
 * first that fails. Each call adds one and returns its index, or a negative errno (-E2BIG: the batch is full, by number
 * of operations or by bytes; -EINVAL), which wfs_batch_run() then returns, too. What @ret points to, and the data of
 * writes, must stay until the batch was run; results are set as far as it came. One thread at a time.
 *
 * An answer that the server has to keep, of a batch with something that must not be done twice (create, rename, append,
 * ...), is at most 64 KiB: what is asked to be read beside that has to fit. readdir and get_xattr count with what they
 * may answer, list_xattr with more than that: it goes into another batch.
 *
 *   put, root, result, lookup, lookup_path, create, make, create_nameless, put_file set the current handle;
 *   link: current is the directory, saved the target; rename: from the saved directory to the current one;
 *   copy: from the saved file to the current one.
 */
#define WFS_BATCH_OPS_MAX 128u
struct wfs_batch;
WFS_PUBLIC int wfs_batch_new(struct wfs *w, struct wfs_batch **ret);
WFS_PUBLIC void wfs_batch_free(struct wfs_batch *b); /* NULL is fine */
WFS_PUBLIC void wfs_batch_clear(struct wfs_batch *b); /* for the next one */
/* 0: all done. Else why operation *ret_done (may be NULL) failed; those before it are done. */
WFS_PUBLIC int wfs_batch_run(struct wfs_batch *b, const struct wfs_cred *cred, unsigned *ret_done);
/* Operations that the server has not begun so many milliseconds after the batch came to it are not done: -ETIMEDOUT. 0:
 * no limit. Until wfs_batch_clear(). */
WFS_PUBLIC void wfs_batch_within(struct wfs_batch *b, unsigned within_ms);

/*
 * The same without waiting: @fn is called, by a thread of libwfs's own, when the batch has been run, or failed for
 * good. Until then the batch, and all that it points to, must stay as it is; in @fn it may be cleared, used anew, or
 * freed. @fn should not keep its thread: the others wait for it. It may start batches; calls that block are for other
 * threads, as is wfs_disconnect(), before which every batch must have ended. Batches that are under way at the same
 * time are done in any order.
 *
 * 0: @fn will be called. -EAGAIN: as many are under way as there may be on a connection (WFS_ASYNC_MAX, or 64 that must
 * not be done twice), so that @fn of one of them is the place to go on; what wfs_batch_run() says of a bad batch;
 * -ENOMEM. Does not wait for the server, but for room in the socket.
 */
#define WFS_ASYNC_MAX 1024u
typedef void wfs_batch_fn(void *ctx, struct wfs_batch *b, int err, unsigned done);
WFS_PUBLIC int wfs_batch_start(struct wfs_batch *b, const struct wfs_cred *cred, wfs_batch_fn *fn, void *ctx);
/*
 * What the server has not begun of a batch that was started will not be done; @fn is called as ever, with -ECANCELED if
 * anything was left. Blocks for a round trip; any thread; @b only stands for the batch, and may be gone.
 * 0; -ENOENT: it has been done, or is not on its way; -ENOTCONN: the connection was lost, and the batch will be sent
 * again.
 */
WFS_PUBLIC int wfs_batch_cancel(struct wfs *w, const struct wfs_batch *b);

/*
 * Transactions on the file tree of an export whose top is in that tree. BEGIN and USE make what follows in the batch
 * happen inside of it: the current object goes along, what was saved, or found before, does not. It is seen by nobody
 * else, and nobody waits for it. The id goes to *@ret, and stands for it in later batches of the same client. With
 * WFS_TX_ATOMIC it ends with the batch: all of its operations, if the last one is a commit that succeeds, or none.
 * COMMIT (@durable: it is, when answered) and ABORT end it, and leave no current object.
 *
 * -ENOTUNIQ, of any of these and of operations inside: somebody else has changed what it has changed, or read; it is
 * aborted, and may be tried again from the beginning. -ETIMEDOUT, -E2BIG: it has passed a bound, and is aborted.
 * -ECANCELED: it was over already. -ENOENT: USE of what is not running in this client's session. -EALREADY, of BEGIN
 * and USE: it was committed, but the answer was lost, and its results, which were too large to be kept, with it. A
 * commit that failed with its connection is asked about by its id: STATUS, of the current object's file tree. -ENOENT:
 * it was not committed, or long ago.
 */
#define WFS_TX_SNAPSHOT 1u /* conflicts with changes of what it changes */
#define WFS_TX_SERIALIZABLE 2u /* and of what it reads */
#define WFS_TX_ATOMIC 1u
enum wfs_tx_state {
	WFS_TX_RUNNING = 1,
	WFS_TX_COMMITTED = 2,
	WFS_TX_ABORTED = 3,
};
struct wfs_tx_status {
	enum wfs_tx_state state;
	int reason; /* of an abort */
	uint64_t fsid, file_id; /* what a conflict is about: an object, or a name in a directory; 0: none */
	uint64_t committed_ns; /* since 1970 */
	char name[WFS_NAME_BYTES_MAX + 1]; /* "": not about a name */
};
WFS_PUBLIC int wfs_batch_tx_begin(struct wfs_batch *b, unsigned isolation, uint32_t ttl_ms, unsigned flags,
                                  uint64_t *ret);
WFS_PUBLIC int wfs_batch_tx_use(struct wfs_batch *b, uint64_t id);
WFS_PUBLIC int wfs_batch_tx_commit(struct wfs_batch *b, int durable);
WFS_PUBLIC int wfs_batch_tx_abort(struct wfs_batch *b);
WFS_PUBLIC int wfs_batch_tx_status(struct wfs_batch *b, uint64_t id, struct wfs_tx_status *ret);

WFS_PUBLIC int wfs_batch_root(struct wfs_batch *b, const char *export_name);
WFS_PUBLIC int wfs_batch_put(struct wfs_batch *b, const struct wfs_fh *fh);
WFS_PUBLIC int wfs_batch_save(struct wfs_batch *b);
WFS_PUBLIC int wfs_batch_restore(struct wfs_batch *b);
WFS_PUBLIC int wfs_batch_result(struct wfs_batch *b, unsigned index); /* what was current after that operation */
WFS_PUBLIC int wfs_batch_get_fh(struct wfs_batch *b, struct wfs_fh *ret);
WFS_PUBLIC int wfs_batch_lookup(struct wfs_batch *b, const char *name);
WFS_PUBLIC int wfs_batch_lookup_path(struct wfs_batch *b, const char *path, int follow);
WFS_PUBLIC int wfs_batch_getattr(struct wfs_batch *b, struct wfs_attr *ret);
WFS_PUBLIC int wfs_batch_setattr(struct wfs_batch *b, const struct wfs_set_attr *set, struct wfs_attr *ret);
/* -EREMCHG unless the current object's change counter is @change. */
WFS_PUBLIC int wfs_batch_guard(struct wfs_batch *b, uint64_t change);
/* A regular file; @access to its data for what follows in the batch, whatever @mode says. @ret_created may be NULL. */
WFS_PUBLIC int wfs_batch_create(struct wfs_batch *b, const char *name, uint32_t mode, unsigned flags, unsigned access,
                                int *ret_created);
WFS_PUBLIC int wfs_batch_make(struct wfs_batch *b, const char *name, const struct wfs_new *what);
/* A file without a name, in the current directory; wfs_batch_link() may give it one. */
WFS_PUBLIC int wfs_batch_create_nameless(struct wfs_batch *b, uint32_t mode);
WFS_PUBLIC int wfs_batch_link(struct wfs_batch *b, const char *name);
WFS_PUBLIC int wfs_batch_unlink(struct wfs_batch *b, const char *name, int is_dir);
WFS_PUBLIC int wfs_batch_rename(struct wfs_batch *b, const char *name, const char *new_name, unsigned flags);
WFS_PUBLIC int wfs_batch_read_link(struct wfs_batch *b, char *buf); /* WFS_PATH_BYTES_MAX + 1 bytes */
WFS_PUBLIC int wfs_batch_readdir(struct wfs_batch *b, uint64_t cookie, unsigned flags, uint32_t max_bytes,
                                 wfs_dirent_fn *fn, void *ctx, int *ret_eof);
/* @len: at most 1 MiB, as for write, get_file, put_file. *ret_len is less at the end of the file. */
WFS_PUBLIC int wfs_batch_read(struct wfs_batch *b, void *buf, uint32_t len, uint64_t offset, size_t *ret_len);
#define WFS_APPEND 16u /* at the end; the offset is not used */
/* Flags: WFS_FUA, WFS_APPEND. */
WFS_PUBLIC int wfs_batch_write(struct wfs_batch *b, const void *buf, uint32_t len, uint64_t offset, unsigned flags);
WFS_PUBLIC int wfs_batch_sync(struct wfs_batch *b);
WFS_PUBLIC int wfs_batch_sync_range(struct wfs_batch *b, uint64_t offset, uint64_t len);
WFS_PUBLIC int wfs_batch_get_xattr(struct wfs_batch *b, const char *name, void *buf, size_t cap, size_t *ret_len);
WFS_PUBLIC int wfs_batch_set_xattr(struct wfs_batch *b, const char *name, const void *value, size_t len,
                                   unsigned flags);
WFS_PUBLIC int wfs_batch_list_xattr(struct wfs_batch *b, wfs_name_fn *fn, void *ctx);
WFS_PUBLIC int wfs_batch_remove_xattr(struct wfs_batch *b, const char *name);
WFS_PUBLIC int wfs_batch_statfs(struct wfs_batch *b, struct wfs_statfs *ret);
/* @export_name NULL or "": the export of the current handle, or open file. */
WFS_PUBLIC int wfs_batch_statistics(struct wfs_batch *b, enum wfs_scope scope, const char *export_name,
                                    wfs_counter_fn *fn, void *ctx);
WFS_PUBLIC int wfs_batch_access(struct wfs_batch *b, unsigned access, unsigned *ret);
WFS_PUBLIC int wfs_batch_lock(struct wfs_batch *b, const struct wfs_lock *lock);
WFS_PUBLIC int wfs_batch_lock_test(struct wfs_batch *b, const struct wfs_lock *lock, struct wfs_lock *ret);
WFS_PUBLIC int wfs_batch_allocate(struct wfs_batch *b, unsigned mode, uint64_t offset, uint64_t len);
WFS_PUBLIC int wfs_batch_seek(struct wfs_batch *b, uint64_t offset, unsigned what, uint64_t *ret);
WFS_PUBLIC int wfs_batch_copy(struct wfs_batch *b, uint64_t from_offset, uint64_t to_offset, uint64_t len,
                              uint64_t *ret_len);
/* A whole small file, written over what it had (flags: WFS_CREATE_EXCLUSIVE): create, write and close in one. */
WFS_PUBLIC int wfs_batch_put_file(struct wfs_batch *b, const char *name, uint32_t mode, unsigned flags,
                                  const void *data, uint32_t len, struct wfs_attr *ret);
/* The current file's attributes and its first @cap bytes. *ret_eof (may be NULL): that is the whole file. */
WFS_PUBLIC int wfs_batch_get_file(struct wfs_batch *b, void *buf, uint32_t cap, size_t *ret_len, struct wfs_attr *ret,
                                  int *ret_eof);

#ifdef __cplusplus
}
#endif

#endif

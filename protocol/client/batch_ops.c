/* SPDX-License-Identifier: BSD-3-Clause */
/* libwfs: the operations that a batch can be given. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "protocol/client/batch.h"
#include "protocol/client/locks.h"

/* Of a result without anything. */
#define NOTHING 0u
#define LOCK_BYTES 28u
#define STATFS_BYTES 60u
/* Each with a name of full length, and its length. */
#define COUNTERS_BYTES (WFSP_COUNTERS_MAX * (WFSP_COUNTER_BYTES_MIN + WFSP_COUNTER_NAME_MAX + 1))
/* A count or a length, and what pads a text. */
#define LENGTH_BYTES 8u

static struct wfsp_bytes text_of(const char *s)
{
	/* Longer than any name or path may be: the server would refuse the whole message. */
	return (struct wfsp_bytes){ (const uint8_t *)s, (uint32_t)strnlen(s, WFSP_PATH_MAX + 1) };
}

static int fail(struct wfs_batch *b, int err)
{
	b->err = err;
	return err;
}

static int add(struct wfs_batch *b, struct wfsp_op op, struct batch_item item, size_t result_bytes)
{
	if (op.path.len_bytes > WFSP_PATH_MAX)
		return fail(b, err_set(-ENAMETOOLONG, "a path of more than %u bytes", WFSP_PATH_MAX));
	return wfs_batch_add(b, &op, &item, result_bytes);
}

/* An operation on a name. */
static int add_named(struct wfs_batch *b, struct wfsp_op op, const char *name, struct batch_item item,
                     size_t result_bytes)
{
	op.name = text_of(name);
	if (op.name.len_bytes > WFSP_NAME_MAX)
		return fail(
		        b, err_set(-ENAMETOOLONG, "'%.40s...': the name is longer than %u bytes", name, WFSP_NAME_MAX));
	if (!op.name.len_bytes && op.code != WFSP_OP_ROOT && op.code != WFSP_OP_STATISTICS)
		return fail(b, err_set(-ENOENT, "an empty name"));
	return add(b, op, item, result_bytes);
}

static int check_flags(struct wfs_batch *b, unsigned flags, unsigned known)
{
	return flags & ~known ? fail(b, err_set(-EINVAL, "unknown flags %#x", flags & ~known)) : 0;
}

static int check_data(struct wfs_batch *b, size_t len)
{
	return len > BATCH_DATA_MAX ? fail(b, err_set(-E2BIG, "%zu bytes of data in one operation", len)) : 0;
}

int wfs_batch_root(struct wfs_batch *b, const char *export_name)
{
	return add_named(b, (struct wfsp_op){ .code = WFSP_OP_ROOT }, export_name, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_put(struct wfs_batch *b, const struct wfs_fh *fh)
{
	if (fh->len_bytes > WFSP_FH_MAX)
		return fail(b, err_set(-EINVAL, "a handle of %u bytes", fh->len_bytes));
	return add(b, (struct wfsp_op){ .code = WFSP_OP_PUT, .handle = { fh->bytes, fh->len_bytes } },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_save(struct wfs_batch *b)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_SAVE }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_restore(struct wfs_batch *b)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_RESTORE }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_result(struct wfs_batch *b, unsigned index)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_RESULT, .index = index }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_get_fh(struct wfs_batch *b, struct wfs_fh *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_GET_HANDLE }, (struct batch_item){ .data = ret },
	           WFSP_FH_MAX + LENGTH_BYTES);
}

int wfs_batch_lookup(struct wfs_batch *b, const char *name)
{
	return add_named(b, (struct wfsp_op){ .code = WFSP_OP_LOOKUP }, name, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_lookup_path(struct wfs_batch *b, const char *path, int follow)
{
	return add(b,
	           (struct wfsp_op){
	                   .code = WFSP_OP_LOOKUP_PATH, .path = text_of(path), .flags = follow ? WFSP_WALK_FOLLOW : 0 },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_getattr(struct wfs_batch *b, struct wfs_attr *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_GETATTR }, (struct batch_item){ .attr = ret },
	           WFSP_NODE_ATTR_BYTES);
}

int wfs_batch_setattr(struct wfs_batch *b, const struct wfs_set_attr *set, struct wfs_attr *ret)
{
	struct wfsp_op op = { .code = WFSP_OP_SETATTR,
		              .set = { .valid = set->valid,
		                       .mode = set->mode,
		                       .uid = set->uid,
		                       .gid = set->gid,
		                       .file_flags = set->flags,
		                       .project = set->project,
		                       .size_bytes = set->size_bytes,
		                       .atime_ns = set->atime_ns,
		                       .mtime_ns = set->mtime_ns } };

	return add(b, op, (struct batch_item){ .attr = ret }, WFSP_NODE_ATTR_BYTES);
}

int wfs_batch_guard(struct wfs_batch *b, uint64_t change)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_GUARD, .change = change }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_create(struct wfs_batch *b, const char *name, uint32_t mode, unsigned flags, unsigned access,
                     int *ret_created)
{
	struct wfsp_op op = { .code = WFSP_OP_CREATE,
		              .type = WFSP_TYPE_FILE,
		              .mode = mode,
		              .access = access,
		              .flags = flags & WFS_CREATE_EXCLUSIVE ? WFSP_CREATE_EXCLUSIVE : 0 };
	struct wfs_set_attr empty = { .valid = WFS_SET_SIZE };
	int index;

	if (check_flags(b, flags, WFS_CREATE_EXCLUSIVE | WFS_CREATE_TRUNCATE))
		return b->err;
	/* Whoever makes a file may empty it, though he opens it for reading and its mode lets him do no more. */
	if (flags & WFS_CREATE_TRUNCATE)
		op.access |= WFS_ACCESS_WRITE;
	index = add_named(b, op, name, (struct batch_item){ .flag = ret_created }, LENGTH_BYTES);
	if (index >= 0 && (flags & WFS_CREATE_TRUNCATE))
		index = wfs_batch_setattr(b, &empty, NULL);
	return index;
}

int wfs_batch_make(struct wfs_batch *b, const char *name, const struct wfs_new *what)
{
	struct wfsp_op op = { .code = WFSP_OP_CREATE,
		              .type = what->type,
		              .mode = what->mode,
		              .rdev = what->rdev,
		              .flags = WFSP_CREATE_EXCLUSIVE };

	if (what->target)
		op.path = text_of(what->target);
	return add_named(b, op, name, (struct batch_item){ 0 }, LENGTH_BYTES);
}

int wfs_batch_create_nameless(struct wfs_batch *b, uint32_t mode)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_CREATE_NAMELESS, .mode = mode }, (struct batch_item){ 0 },
	           NOTHING);
}

int wfs_batch_link(struct wfs_batch *b, const char *name)
{
	return add_named(b, (struct wfsp_op){ .code = WFSP_OP_LINK }, name, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_unlink(struct wfs_batch *b, const char *name, int is_dir)
{
	return add_named(b, (struct wfsp_op){ .code = WFSP_OP_UNLINK, .flags = is_dir ? WFSP_UNLINK_DIR : 0 }, name,
	                 (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_rename(struct wfs_batch *b, const char *name, const char *new_name, unsigned flags)
{
	struct wfsp_op op = { .code = WFSP_OP_RENAME, .new_name = text_of(new_name), .flags = flags };

	if (op.new_name.len_bytes > WFSP_NAME_MAX)
		return fail(b, err_set(-ENAMETOOLONG, "'%.40s...': the name is longer than %u bytes", new_name,
		                       WFSP_NAME_MAX));
	if (!op.new_name.len_bytes)
		return fail(b, err_set(-ENOENT, "an empty name"));
	return add_named(b, op, name, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_read_link(struct wfs_batch *b, char *buf)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_READ_LINK }, (struct batch_item){ .data = buf },
	           WFSP_PATH_MAX + LENGTH_BYTES);
}

int wfs_batch_readdir(struct wfs_batch *b, uint64_t cookie, unsigned flags, uint32_t max_bytes, wfs_dirent_fn *fn,
                      void *ctx, int *ret_eof)
{
	uint32_t max = max_bytes ? max_bytes : 65536;
	struct wfsp_op op = { .code = WFSP_OP_READDIR, .offset = cookie };

	if (check_flags(b, flags, WFS_READDIR_ATTR | WFS_READDIR_FH))
		return b->err;
	if (max > BATCH_DATA_MAX)
		max = BATCH_DATA_MAX;
	if (max < WFSP_REPLY_MIN)
		max = WFSP_REPLY_MIN; /* the largest entry fits */
	op.max_bytes = max;
	op.flags =
	        (flags & WFS_READDIR_ATTR ? WFSP_READDIR_ATTR : 0) | (flags & WFS_READDIR_FH ? WFSP_READDIR_HANDLE : 0);
	return add(b, op, (struct batch_item){ .dirent_fn = fn, .ctx = ctx, .flag = ret_eof }, max + LENGTH_BYTES);
}

int wfs_batch_read(struct wfs_batch *b, void *buf, uint32_t len, uint64_t offset, size_t *ret_len)
{
	if (check_data(b, len))
		return b->err;
	return add(b, (struct wfsp_op){ .code = WFSP_OP_READ, .offset = offset, .max_bytes = len },
	           (struct batch_item){ .data = buf, .cap = len, .len = ret_len }, len + 2 * (size_t)LENGTH_BYTES);
}

int wfs_batch_write(struct wfs_batch *b, const void *buf, uint32_t len, uint64_t offset, unsigned flags)
{
	if (check_flags(b, flags, WFS_FUA | WFS_APPEND) || check_data(b, len))
		return b->err;
	return add(b,
	           (struct wfsp_op){ .code = WFSP_OP_WRITE,
	                             .offset = offset,
	                             .flags = (flags & WFS_FUA ? WFSP_WRITE_FUA : 0) |
	                                      (flags & WFS_APPEND ? WFSP_WRITE_APPEND : 0),
	                             .data = { buf, len } },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_sync(struct wfs_batch *b)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_COMMIT }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_sync_range(struct wfs_batch *b, uint64_t offset, uint64_t len)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_COMMIT_RANGE, .offset = offset, .len_bytes = len },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_get_xattr(struct wfs_batch *b, const char *name, void *buf, size_t cap, size_t *ret_len)
{
	uint32_t max = cap < WFSP_XATTR_MAX ? (uint32_t)cap : WFSP_XATTR_MAX;

	return add_named(b, (struct wfsp_op){ .code = WFSP_OP_GET_XATTR, .max_bytes = max }, name,
	                 (struct batch_item){ .data = buf, .cap = max, .len = ret_len },
	                 max + 2 * (size_t)LENGTH_BYTES);
}

int wfs_batch_set_xattr(struct wfs_batch *b, const char *name, const void *value, size_t len, unsigned flags)
{
	if (len > WFSP_XATTR_MAX)
		return fail(b, err_set(-E2BIG, "an extended attribute of %zu bytes", len));
	return add_named(
	        b, (struct wfsp_op){ .code = WFSP_OP_SET_XATTR, .flags = flags, .data = { value, (uint32_t)len } },
	        name, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_list_xattr(struct wfs_batch *b, wfs_name_fn *fn, void *ctx)
{
	/* Every name is preceded by its length, and padded. */
	const uint32_t max = 2 * WFSP_XATTR_MAX;

	return add(b, (struct wfsp_op){ .code = WFSP_OP_LIST_XATTR, .max_bytes = max },
	           (struct batch_item){ .name_fn = fn, .ctx = ctx }, max + LENGTH_BYTES);
}

int wfs_batch_remove_xattr(struct wfs_batch *b, const char *name)
{
	return add_named(b, (struct wfsp_op){ .code = WFSP_OP_REMOVE_XATTR }, name, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_statfs(struct wfs_batch *b, struct wfs_statfs *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_STATFS }, (struct batch_item){ .data = ret }, STATFS_BYTES);
}

int wfs_batch_statistics(struct wfs_batch *b, enum wfs_scope scope, const char *export_name, wfs_counter_fn *fn,
                         void *ctx)
{
	struct wfsp_op op = { .code = WFSP_OP_STATISTICS, .scope = scope };

	return add_named(b, op, export_name ? export_name : "", (struct batch_item){ .counter_fn = fn, .ctx = ctx },
	                 COUNTERS_BYTES + LENGTH_BYTES);
}

int wfs_batch_access(struct wfs_batch *b, unsigned access, unsigned *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_ACCESS, .access = access },
	           (struct batch_item){ .access = ret }, LENGTH_BYTES);
}

static struct wfsp_lock wire_lock(const struct wfs_lock *l)
{
	return (struct wfsp_lock){ l->owner, l->type, l->offset, l->len_bytes };
}

int wfs_batch_lock(struct wfs_batch *b, const struct wfs_lock *lock)
{
	struct wfsp_op op = { .code = lock->type == WFS_LOCK_NONE ? WFSP_OP_UNLOCK : WFSP_OP_LOCK,
		              .lock = wire_lock(lock) };

	return add(b, op, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_reclaim(struct wfs_batch *b, const struct wfs_lock *lock)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_LOCK_RECLAIM, .lock = wire_lock(lock) },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_reclaimed(struct wfs_batch *b)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_RECLAIMED }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_lock_wait(struct wfs_batch *b, const struct wfs_lock *lock, uint64_t id, int *ret_granted)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_LOCK_WAIT, .lock = wire_lock(lock), .id = id },
	           (struct batch_item){ .flag = ret_granted }, LENGTH_BYTES);
}

int wfs_batch_lock_test(struct wfs_batch *b, const struct wfs_lock *lock, struct wfs_lock *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_LOCK_TEST, .lock = wire_lock(lock) },
	           (struct batch_item){ .data = ret }, LOCK_BYTES);
}

int wfs_batch_allocate(struct wfs_batch *b, unsigned mode, uint64_t offset, uint64_t len)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_ALLOCATE, .flags = mode, .offset = offset, .len_bytes = len },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_seek(struct wfs_batch *b, uint64_t offset, unsigned what, uint64_t *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_SEEK, .offset = offset, .flags = what },
	           (struct batch_item){ .number = ret }, LENGTH_BYTES);
}

int wfs_batch_copy(struct wfs_batch *b, uint64_t from_offset, uint64_t to_offset, uint64_t len, uint64_t *ret_len)
{
	return add(b,
	           (struct wfsp_op){
	                   .code = WFSP_OP_COPY, .offset = from_offset, .new_offset = to_offset, .len_bytes = len },
	           (struct batch_item){ .number = ret_len }, LENGTH_BYTES);
}

int wfs_batch_put_file(struct wfs_batch *b, const char *name, uint32_t mode, unsigned flags, const void *data,
                       uint32_t len, struct wfs_attr *ret)
{
	struct wfsp_op op = { .code = WFSP_OP_PUT_FILE,
		              .mode = mode,
		              .flags = flags & WFS_CREATE_EXCLUSIVE ? WFSP_CREATE_EXCLUSIVE : 0,
		              .data = { data, len } };

	if (check_flags(b, flags, WFS_CREATE_EXCLUSIVE) || check_data(b, len))
		return b->err;
	return add_named(b, op, name, (struct batch_item){ .attr = ret }, WFSP_NODE_ATTR_BYTES);
}

int wfs_batch_get_file(struct wfs_batch *b, void *buf, uint32_t cap, size_t *ret_len, struct wfs_attr *ret,
                       int *ret_eof)
{
	if (check_data(b, cap))
		return b->err;
	return add(b, (struct wfsp_op){ .code = WFSP_OP_GET_FILE, .max_bytes = cap },
	           (struct batch_item){ .data = buf, .cap = cap, .len = ret_len, .attr = ret, .flag = ret_eof },
	           WFSP_NODE_ATTR_BYTES + cap + 2 * (size_t)LENGTH_BYTES);
}

int wfs_batch_close(struct wfs_batch *b, uint64_t descriptor)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_CLOSE, .descriptor = descriptor }, (struct batch_item){ 0 },
	           NOTHING);
}

int wfs_batch_use(struct wfs_batch *b, uint64_t descriptor)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_USE, .descriptor = descriptor }, (struct batch_item){ 0 },
	           NOTHING);
}

int wfs_batch_open(struct wfs_batch *b, unsigned access, bool reopen, uint64_t *ret, struct wfs_attr *ret_attr)
{
	return add(b,
	           (struct wfsp_op){ .code = WFSP_OP_OPEN, .access = access, .flags = reopen ? WFSP_REOPEN_OWNER : 0 },
	           (struct batch_item){ .number = ret, .attr = ret_attr }, LENGTH_BYTES + WFSP_NODE_ATTR_BYTES);
}

/* ---- transactions ---- */

#define TX_STATUS_BYTES (32u + WFSP_NAME_MAX + LENGTH_BYTES)

int wfs_batch_tx_begin(struct wfs_batch *b, unsigned isolation, uint32_t ttl_ms, unsigned flags, uint64_t *ret)
{
	int err = check_flags(b, flags, WFS_TX_ATOMIC);

	if (err)
		return err;
	return add(
	        b,
	        (struct wfsp_op){ .code = WFSP_OP_TX_BEGIN, .isolation = isolation, .ttl_ms = ttl_ms, .flags = flags },
	        (struct batch_item){ .number = ret }, 8);
}

int wfs_batch_tx_use(struct wfs_batch *b, uint64_t id)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_TX_USE, .id = id }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_tx_commit(struct wfs_batch *b, int durable)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_TX_COMMIT, .flags = durable ? WFSP_TX_DURABLE : 0 },
	           (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_tx_abort(struct wfs_batch *b)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_TX_ABORT }, (struct batch_item){ 0 }, NOTHING);
}

int wfs_batch_tx_status(struct wfs_batch *b, uint64_t id, struct wfs_tx_status *ret)
{
	return add(b, (struct wfsp_op){ .code = WFSP_OP_TX_STATUS, .id = id }, (struct batch_item){ .data = ret },
	           TX_STATUS_BYTES);
}

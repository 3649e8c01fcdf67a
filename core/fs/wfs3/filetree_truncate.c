/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes of files. A file that becomes shorter gets its size at once, with one record in the log, and an item among the
 * orphans that says: what is behind the end, in its last block, too, is still to be dropped. That is done next, in
 * steps, and after a crash by the import. So nothing of it ever comes back when the file grows again.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/filetree.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* Drop what is mapped or cached behind @size_bytes, up to @until, and zero the rest of its block. io_lock is held. */
static int drop_behind(struct object *o, uint64_t size_bytes, uint64_t until)
{
	uint64_t first = div_round_up_u64(size_bytes, WFS3_BLOCK_BYTES);
	uint64_t edge = first * WFS3_BLOCK_BYTES, end = div_round_up_u64(until, WFS3_BLOCK_BYTES);
	struct cache_file *file;
	int rc = object_open_file(o, &file);

	if (!rc && edge > size_bytes) {
		rc = object_zero_edge(o, size_bytes, edge);
		object_list(o);
		/* In its place before the item goes that would have it done again. */
		if (!rc)
			rc = cache_flush(file, size_bytes, edge - size_bytes);
	}
	if (!rc && first < end)
		rc = object_punch(o, first, end);
	return rc;
}

static void tell_cache(struct object *o, uint64_t size_bytes)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);

	if (file)
		cache_file_resize(file, size_bytes);
}

static int forget_orphan(struct object *o)
{
	struct wfs3_key key = filetree_orphan_key(o->number);
	struct edit e;

	edit_init(&e, o->ds);
	edit_delete(&e, &key);
	return edit_run(&e);
}

bool filetree_has_data(struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);

	return LOAD(o->inode.blocks) || (file && cache_file_dirty_bytes(file));
}

void filetree_drop_tail(struct object *o, uint64_t size_bytes, uint64_t old_bytes, bool has_orphan)
{
	/* What an earlier truncation could not drop is behind the end that it made. */
	uint64_t until = o->behind_end ? VFS_FILE_BYTES_MAX : old_bytes;
	int rc = 0;

	tell_cache(o, size_bytes);
	if (filetree_has_data(o))
		rc = drop_behind(o, size_bytes, until);
	if (!rc && has_orphan)
		rc = forget_orphan(o);
	/* The size is what it is. What could not be dropped is dropped by the next import, or before the file grows. */
	o->behind_end = rc != 0;
	if (rc)
		log_warning("wfs3",
		            "pool=%s dataset=%" PRIu64 " object=%" PRIu64 ": truncated, but space was not given back",
		            o->ds->pool->name, o->ds->id, o->number);
}

static int shrink(struct object *o, struct edit *e, uint64_t size_bytes, uint64_t old_bytes)
{
	struct wfs3_key orphan = filetree_orphan_key(o->number);
	bool nameless = !LOAD(o->inode.link_count), data = filetree_has_data(o);
	int rc;

	edit_truncate(e, o, div_round_up_u64(size_bytes, WFS3_BLOCK_BYTES));
	if (data && !nameless)
		edit_put(e, &orphan, NULL, 0);
	rc = edit_run(e);
	if (rc)
		return rc;
	filetree_drop_tail(o, size_bytes, old_bytes, data && !nameless);
	return 0;
}

int filetree_resize_locked(struct object *o, struct edit *e, uint64_t size_bytes)
{
	bool mtime_given = e->inode_count && e->inodes[0].set & EDIT_MTIME;
	struct inode *i = edit_inode(e, o, EDIT_SIZE | EDIT_MTIME);
	uint64_t old_bytes = LOAD(o->inode.size_bytes);
	int rc;

	if (size_bytes > VFS_FILE_BYTES_MAX)
		return err_set(-EFBIG, "a file does not have %" PRIu64 " bytes", size_bytes);
	rc = filetree_settle_locked(o);
	if (rc)
		return rc;
	i->size_bytes = size_bytes;
	if (!mtime_given)
		i->mtime_ns = e->now_ns;
	if (size_bytes < old_bytes)
		return shrink(o, e, size_bytes, old_bytes);
	rc = o->behind_end ? drop_behind(o, old_bytes, VFS_FILE_BYTES_MAX) : 0;
	o->behind_end &= rc != 0;
	if (!rc)
		rc = edit_run(e);
	if (!rc)
		tell_cache(o, size_bytes);
	return rc;
}

int filetree_resize(struct object *o, struct edit *e, uint64_t size_bytes)
{
	int rc;

	sync_rwlock_wrlock(&o->io_lock);
	rc = filetree_resize_locked(o, e, size_bytes);
	sync_rwlock_wrunlock(&o->io_lock);
	return rc;
}

int filetree_finish_truncation(struct object *o)
{
	uint64_t size_bytes = LOAD(o->inode.size_bytes);
	struct collapse collapse;
	int rc;

	sync_mutex_lock(&o->lock);
	sync_rwlock_wrlock(&o->io_lock);
	rc = object_get_collapse(o, &collapse);
	__atomic_store_n(&o->shift_unasked, false, __ATOMIC_RELAXED);
	__atomic_store_n(&o->shifting, rc != -ENOENT, __ATOMIC_RELEASE);
	rc = rc == -ENOENT ? 0 : filetree_settle_locked(o);
	if (!rc)
		rc = drop_behind(o, size_bytes, VFS_FILE_BYTES_MAX);
	if (!rc)
		rc = forget_orphan(o);
	o->behind_end = rc != 0;
	sync_rwlock_wrunlock(&o->io_lock);
	sync_mutex_unlock(&o->lock);
	return rc;
}

void filetree_trim(struct object *o, uint64_t until)
{
	uint64_t size_bytes;
	int rc;

	sync_mutex_lock(&o->lock);
	sync_rwlock_wrlock(&o->io_lock);
	/* Cells behind the end may be some that are still to come before it. */
	rc = filetree_settle_locked(o);
	size_bytes = LOAD(o->inode.size_bytes);
	if (!rc && until > size_bytes)
		rc = drop_behind(o, size_bytes, until);
	o->behind_end |= rc != 0;
	object_touch(o);
	sync_rwlock_wrunlock(&o->io_lock);
	sync_mutex_unlock(&o->lock);
	if (rc)
		log_warning("wfs3",
		            "pool=%s dataset=%" PRIu64 " object=%" PRIu64
		            ": a write that failed left data behind the end",
		            o->ds->pool->name, o->ds->id, o->number);
}

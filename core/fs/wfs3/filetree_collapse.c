/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking a range of whole cells out of a file: what is behind it moves down (fallocate(2), FALLOC_FL_COLLAPSE_RANGE).
 *
 * What is behind the range is written to its place first. Then one record in the log has the smaller size, and an item
 * among the orphans that says which cells go: from then on the change is made, also when there is a crash, since the
 * import finishes what the item asks for. That is done next, in pieces, so that a commit never waits for long: the
 * range becomes a hole, and the cells behind it move, by ascending place. Meanwhile whoever wants the file's data
 * helps.
 *
 *   whole ---- size, item: one record ---> shifting ---- all cells moved, item gone: one record ---> whole
 *                                           |    ^
 *                                           '----' one piece, or the rest after a crash
 *
 * When a node of the tree cannot be read, the file's data cannot be used until that is over.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/nowait.h"
#include "core/fs/wfs3/filetree.h"
#include "core/fs/wfs3/members.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

#define PIECE_CELLS UINT64_C(1024) /* 64 MiB */

static int punch(struct cache_file *file, uint64_t first, uint64_t end)
{
	return cache_punch_begin(file, first * WFS3_CELL_BYTES, (end - first) * WFS3_CELL_BYTES, 0);
}

static void punch_end(struct cache_file *file, uint64_t first, uint64_t end, bool failed)
{
	cache_punch_end(file, first * WFS3_CELL_BYTES, (end - first) * WFS3_CELL_BYTES, failed);
}

/* Move cells [from, until), with nobody at the cache's pages of where they are, and of where they come. */
static int move_range(struct object *o, struct collapse *c, uint64_t from, uint64_t until)
{
	uint64_t low = from - c->count, low_end = min_u64(until - c->count, from);
	struct cache_file *file;
	int rc = object_open_file(o, &file);

	if (!rc)
		rc = punch(file, low, low_end);
	if (rc)
		return rc;
	rc = punch(file, from, until);
	if (!rc) {
		rc = object_move_cells(o, c, until);
		punch_end(file, from, until, rc != 0);
	}
	punch_end(file, low, low_end, rc != 0);
	return rc;
}

/* All is in its place. */
static int forget(struct object *o)
{
	struct wfs3_key orphan = filetree_orphan_key(o->number);
	uint64_t size_bytes = LOAD(o->inode.size_bytes);
	struct cache_file *file;
	struct edit e;
	int rc;

	/* Of a write that failed at the same time; or there was an error, and it is not known. */
	if (o->behind_end)
		filetree_drop_tail(o, size_bytes, size_bytes, false);
	edit_init(&e, o->ds);
	/* It stands for a file without a name, too, and for what is behind the end. */
	if (LOAD(o->inode.link_count) && !o->behind_end)
		edit_delete(&e, &orphan);
	else
		edit_put(&e, &orphan, NULL, 0);
	rc = edit_run(&e);
	if (rc)
		return rc;
	file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	if (file)
		cache_file_resize(file, size_bytes);
	/* A transaction may have read some of it. */
	object_stamp(o);
	__atomic_store_n(&o->shifting, false, __ATOMIC_RELEASE);
	return 0;
}

void filetree_doubt(struct object *o)
{
	if (!LOAD(o->ds->orphans_unknown) || o->node.type != VFS_TYPE_FILE || LOAD(o->shifting))
		return;
	__atomic_store_n(&o->shift_unasked, true, __ATOMIC_RELAXED);
	__atomic_store_n(&o->shifting, true, __ATOMIC_RELEASE);
}

int filetree_ask(struct object *o)
{
	struct wfs3_key orphan = filetree_orphan_key(o->number);
	struct collapse c;
	uint8_t value[1];
	size_t len;
	int rc;

	if (!LOAD(o->shift_unasked))
		return 0;
	rc = object_get_collapse(o, &c);
	/* An empty item stands for a truncation. */
	if (rc == -ENOENT && LOAD(o->inode.link_count) && !o->ds->pool->read_only) {
		rc = edit_read(o->ds, &orphan, value, sizeof(value), &len);
		o->behind_end |= rc == 0;
		rc = rc ? rc : -ENOENT;
	}
	if (rc && rc != -ENOENT)
		return err_add(rc, "find out whether a range is being taken out of object %" PRIu64, o->number);
	__atomic_store_n(&o->shift_unasked, false, __ATOMIC_RELAXED);
	if (rc)
		__atomic_store_n(&o->shifting, false, __ATOMIC_RELEASE);
	return 0;
}

static int shift_known(struct object *o)
{
	struct collapse c;
	uint64_t from;
	int rc = object_get_collapse(o, &c);

	if (rc == -ENOENT)
		rc = err_set(-EUCLEAN, "object %" PRIu64 ": nothing tells which range is being taken out", o->number);
	if (!rc && o->ds->pool->read_only)
		rc = err_set(-EIO, "a range is being taken out of object %" PRIu64 ", and the pool is read-only",
		             o->number);
	if (!rc && c.next == c.first)
		rc = object_punch(o, c.first * WFS3_CELL_BLOCKS, (c.first + c.count) * WFS3_CELL_BLOCKS);
	if (!rc)
		rc = object_next_cell(o, collapse_source(&c), &from);
	if (!rc)
		rc = move_range(o, &c, from, min_u64(from + PIECE_CELLS, WFS3_CELLS_MAX));
	else if (rc == -ENOENT)
		rc = forget(o);
	/* Whatever is behind the end then is dropped when it is over. */
	o->behind_end |= rc && rc != -EAGAIN;
	return rc ? err_add(rc, "take a range out of object %" PRIu64 " of dataset %" PRIu64, o->number, o->ds->id) : 0;
}

/* One piece. o->lock and io_lock are held. */
static int shift(struct object *o)
{
	bool unasked = LOAD(o->shift_unasked);
	uint64_t size_bytes = LOAD(o->inode.size_bytes);
	int rc = filetree_ask(o);

	if (rc)
		return rc;
	if (LOAD(o->shifting))
		return shift_known(o);
	if (unasked && o->behind_end)
		filetree_drop_tail(o, size_bytes, size_bytes, true);
	return 0;
}

int filetree_settle_locked(struct object *o)
{
	int rc = 0;

	while (!rc && LOAD(o->shifting))
		rc = shift(o);
	return rc;
}

int filetree_settle(struct object *o)
{
	bool shifting = true;
	int rc = 0;

	while (shifting && !rc) {
		struct admission none;

		/* Nodes that are changed must not take all of the memory. */
		rc = admit_change(o->ds->pool, true, &none);
		if (rc)
			break;
		sync_mutex_lock(&o->lock);
		sync_rwlock_wrlock(&o->io_lock);
		if (LOAD(o->shifting))
			rc = shift(o);
		shifting = LOAD(o->shifting);
		sync_rwlock_wrunlock(&o->io_lock);
		sync_mutex_unlock(&o->lock);
	}
	return rc;
}

static int check_range(const struct object *o, uint64_t offset, uint64_t len)
{
	if (!len || offset % WFS3_CELL_BYTES || len % WFS3_CELL_BYTES)
		return err_set(-EINVAL,
		               "%" PRIu64 "+%" PRIu64 ": a range that is taken out is of whole pieces of %u bytes",
		               offset, len, WFS3_CELL_BYTES);
	if (!range_within(offset, len, LOAD(o->inode.size_bytes)) || offset + len == LOAD(o->inode.size_bytes))
		return err_set(-EINVAL, "%" PRIu64 "+%" PRIu64 " does not end before the end of the file", offset, len);
	return 0;
}

int filetree_collapse_begin(struct object *o, uint64_t offset, uint64_t len, const struct vfs_tag *tag)
{
	struct collapse c = { .first = offset / WFS3_CELL_BYTES, .count = len / WFS3_CELL_BYTES };
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	struct wfs3_key orphan = filetree_orphan_key(o->number);
	uint8_t value[COLLAPSE_BYTES];
	struct inode *i;
	struct edit e;
	int rc = 0;

	if (o->behind_end)
		rc = err_set(-EIO, "what is behind the end of object %" PRIu64 " could not be dropped", o->number);
	/* What the log is to have of the range, too: nothing of the file from there on is logged before all is over. */
	if (!rc && file)
		rc = cache_flush(file, offset, UINT64_MAX);
	if (rc)
		return rc;
	c.next = c.first;
	collapse_encode(&c, value);
	edit_init(&e, o->ds);
	edit_tag(&e, tag, 0);
	i = edit_inode(&e, o, EDIT_SIZE | EDIT_MTIME);
	i->size_bytes = LOAD(o->inode.size_bytes) - len;
	i->mtime_ns = e.now_ns;
	edit_put(&e, &orphan, value, sizeof(value));
	edit_collapse(&e);
	/* Before the size: whoever sees that one sees this. */
	__atomic_store_n(&o->shifting, true, __ATOMIC_RELEASE);
	rc = edit_run(&e);
	if (rc)
		__atomic_store_n(&o->shifting, false, __ATOMIC_RELEASE);
	return rc;
}

/* An older version of this program takes such an orphan for a file that became shorter. */
static int allow_collapse(struct pool *p)
{
	int rc = 0;

	if (!__atomic_load_n(&p->has_collapse, __ATOMIC_ACQUIRE)) {
		rc = members_add_feature(p, WFS3_FEATURE_COLLAPSE);
		__atomic_store_n(&p->has_collapse, rc == 0, __ATOMIC_RELEASE);
	}
	return rc;
}

int filetree_collapse(struct vfs_node *n, uint64_t offset, uint64_t len, const struct vfs_tag *tag)
{
	struct object *o = filetree_object(n);
	struct filetree_op op;
	int rc;

	if (n->type != VFS_TYPE_FILE)
		return err_set(n->type == VFS_TYPE_DIR ? -EISDIR : -ENXIO, "object %" PRIu64 " has no data", o->number);
	if (nowait_here())
		return -EAGAIN;
	rc = filetree_begin(o->ds, true, &op);
	if (rc)
		return rc;
	rc = allow_collapse(o->ds->pool);
	if (rc) {
		filetree_end(&op);
		return rc;
	}
	sync_mutex_lock(&o->lock);
	sync_rwlock_wrlock(&o->io_lock);
	rc = filetree_settle_locked(o);
	if (!rc)
		rc = check_range(o, offset, len);
	if (!rc)
		rc = filetree_collapse_begin(o, offset, len, tag);
	sync_rwlock_wrunlock(&o->io_lock);
	sync_mutex_unlock(&o->lock);
	if (!rc)
		rc = filetree_settle(o);
	filetree_end(&op);
	return rc;
}

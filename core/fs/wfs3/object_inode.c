/* SPDX-License-Identifier: BSD-3-Clause */
/* Inodes of objects in memory: what changed, storing it, and the list of objects that hold something dirty. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/quota.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELAXED)
#define ACCESS_AGE_NS (24 * 3600 * SYNC_NS_PER_S)
#define ACCESSED_MAX 16384u

static bool in_tree(const struct object *o)
{
	return o->ds->type == DATASET_TYPE_TREE;
}

void object_get_inode(struct object *o, struct inode *ret)
{
	*ret = (struct inode){ .mode = LOAD(o->inode.mode),
		               .uid = LOAD(o->inode.uid),
		               .gid = LOAD(o->inode.gid),
		               .link_count = LOAD(o->inode.link_count),
		               .flags = LOAD(o->inode.flags),
		               .size_bytes = in_tree(o) ? LOAD(o->stored_size) : LOAD(o->inode.size_bytes),
		               .change = LOAD(o->inode.change),
		               .atime_ns = LOAD(o->inode.atime_ns),
		               .mtime_ns = LOAD(o->inode.mtime_ns),
		               .ctime_ns = LOAD(o->inode.ctime_ns),
		               .btime_ns = LOAD(o->inode.btime_ns),
		               .rdev = LOAD(o->inode.rdev),
		               .project = LOAD(o->inode.project),
		               .parent = LOAD(o->inode.parent),
		               .has_inline = LOAD(o->inode.has_inline),
		               .blocks = LOAD(o->inode.blocks) };
	/* Contents that come or go at this moment are seen in the one and not in the other, which nobody would decode.
	 * Who makes them so puts the inode again. */
	ret->has_inline &= ret->blocks != 0;
}

int object_read_inode(struct dataset *ds, uint64_t number, struct inode *ret)
{
	struct wfs3_key key = { .object = number, .kind = WFS3_KIND_INODE };
	uint8_t buf[INODE_BYTES];
	size_t len;
	int rc;

	while ((rc = tree_get(ds->tree, &key, buf, sizeof(buf), &len)) == -EAGAIN) {
		rc = tree_fetch(ds->tree, &key);
		if (rc)
			return rc;
	}
	if (rc == -ENOENT)
		return err_set(-ESTALE, "dataset %" PRIu64 " has no object %" PRIu64, ds->id, number);
	if (rc)
		return err_set(-EUCLEAN, "inode of object %" PRIu64 " has %zu bytes", number, len);
	return inode_decode(buf, len, ret);
}

void object_count_blocks(struct object *o, int64_t delta)
{
	if (in_tree(o) && delta)
		quota_count_blocks(o, delta);
}

/* ---- the list ---- */

void object_list(struct object *o)
{
	struct pool *p = o->ds->pool;

	if (__atomic_load_n(&o->listed, __ATOMIC_SEQ_CST))
		return;
	sync_mutex_lock(&p->dirty_lock);
	if (!o->listed) {
		cds_list_add_tail(&o->dirty_link, &p->dirty_objects);
		__atomic_store_n(&o->listed, true, __ATOMIC_SEQ_CST);
	}
	sync_mutex_unlock(&p->dirty_lock);
}

void object_stamp(struct object *o)
{
	struct dataset *ds = o->ds;

	if (__atomic_load_n(&ds->tx_count, __ATOMIC_SEQ_CST))
		__atomic_store_n(&o->stamp, __atomic_add_fetch(&ds->tx_clock, 1, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
}

void object_stamp_evicted(struct object *o)
{
	uint64_t stamp = LOAD(o->stamp), *highest = &o->ds->evicted_stamp;
	uint64_t old = __atomic_load_n(highest, __ATOMIC_RELAXED);

	while (old < stamp &&
	       !__atomic_compare_exchange_n(highest, &old, stamp, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void object_touch(struct object *o)
{
	int64_t now_ns = (int64_t)sync_wall_ns();

	__atomic_add_fetch(&o->inode.change, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&o->inode.mtime_ns, now_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&o->inode.ctime_ns, now_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&o->inode_dirty, true, __ATOMIC_SEQ_CST);
	object_list(o);
}

void object_accessed(struct object *o)
{
	int64_t atime_ns = LOAD(o->inode.atime_ns);
	struct pool *p = o->ds->pool;

	if (atime_ns > LOAD(o->inode.mtime_ns) && atime_ns > LOAD(o->inode.ctime_ns) &&
	    LOAD(p->wall_ns) < (uint64_t)atime_ns + ACCESS_AGE_NS)
		return;
	/* Objects that wait for a commit cannot leave the memory. */
	if (p->read_only || LOAD(p->failed) || LOAD(p->accessed_count) >= ACCESSED_MAX)
		return;
	__atomic_add_fetch(&p->accessed_count, 1, __ATOMIC_RELAXED);
	STORE(o->inode.atime_ns, (int64_t)sync_wall_ns());
	__atomic_store_n(&o->inode_dirty, true, __ATOMIC_SEQ_CST);
	object_list(o);
	txg_remind(p);
}

/* Not when the last reference is just being given up. */
static bool ref_if_used(struct object *o)
{
	uint64_t refs = __atomic_load_n(&o->node.refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(&o->node.refs, &refs, refs + 1, true, __ATOMIC_RELAXED,
		                                __ATOMIC_RELAXED))
			return true;
	return false;
}

int object_each_dirty(struct pool *p, int (*fn)(void *ctx, struct object *o), void *ctx)
{
	struct object **all = NULL;
	struct object *o;
	size_t capacity = 0, count = 0;
	int ret = 0;

	sync_mutex_lock(&p->dirty_lock);
	cds_list_for_each_entry (o, &p->dirty_objects, dirty_link)
		capacity++;
	if (capacity)
		all = calloc(capacity, sizeof(struct object *));
	if (all)
		cds_list_for_each_entry (o, &p->dirty_objects, dirty_link)
			if (ref_if_used(o))
				all[count++] = o;
	sync_mutex_unlock(&p->dirty_lock);
	if (capacity && !all)
		return err_set(-ENOMEM, "no memory to list %zu objects", capacity);
	for (size_t i = 0; i < count; i++) {
		if (!ret)
			ret = fn(ctx, all[i]);
		vfs_node_unref(&all[i]->node);
	}
	free(all);
	return ret;
}

/* ---- storing ---- */

static bool has_dirty_pages(struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);

	return file && cache_file_dirty_bytes(file);
}

static void log_inode_items(struct object *o, uint64_t txg, const struct inode *i, const struct item_change *items,
                            unsigned count, struct wal_ticket *ticket)
{
	struct wal_record r = {
		.type = WAL_ITEMS, .txg = txg, .dataset = o->ds->id, .item_count = count, .items = items
	};

	if (wal_append(o->ds->pool->wal, ticket, &r))
		__atomic_store_n(&o->logged_change, i->change, __ATOMIC_RELAXED);
}

/* The inode, and the results of appends that its size reaches. */
static int put_items(struct object *o, uint64_t txg, const struct item_change *items, unsigned count,
                     struct wfs3_key *ret_missing)
{
	int ret;

	if (count > 1)
		return tree_apply(o->ds->tree, txg, items, count, ret_missing);
	ret = tree_put(o->ds->tree, txg, &items->key, items->value, items->len);
	if (ret_missing)
		*ret_missing = items->key;
	return ret;
}

int object_put_inode_in(struct object *o, uint64_t txg, uint64_t mapped_end, struct wal_ticket *ticket,
                        struct wfs3_key *ret_missing)
{
	struct item_change items[1 + OBJECT_APPENDS_MAX];
	uint8_t buf[INODE_BYTES];
	unsigned count = 1;
	struct inode i;
	uint64_t stored;
	bool dirty;
	int ret;

	sync_mutex_lock(&o->ds->items_lock);
	if (o->inode_gone) {
		sync_mutex_unlock(&o->ds->items_lock);
		return 0;
	}
	dirty = __atomic_exchange_n(&o->inode_dirty, false, __ATOMIC_SEQ_CST);
	stored = o->stored_size;
	STORE(o->stored_size, min_u64(max_u64(stored, mapped_end), LOAD(o->write_end)));
	object_get_inode(o, &i);
	items[0] = (struct item_change){
		.op = ITEM_PUT, .key = object_inode_key(o), .value = buf, .len = inode_encode(&i, buf)
	};
	if (ticket)
		count += object_append_items(o, o->stored_size, items + 1);
	ret = put_items(o, txg, items, count, ret_missing);
	if (ret) {
		STORE(o->stored_size, stored);
		if (dirty)
			__atomic_store_n(&o->inode_dirty, true, __ATOMIC_SEQ_CST);
	} else {
		txg_changed(o->ds->pool, o->ds, txg);
		if (ticket && in_tree(o) &&
		    (o->stored_size != stored || i.change != LOAD(o->logged_change) || count > 1))
			log_inode_items(o, txg, &i, items, count, ticket);
		if (count > 1) {
			object_append_stored(o, o->stored_size);
			__atomic_store_n(&o->ds->has_results, true, __ATOMIC_RELEASE);
		}
	}
	sync_mutex_unlock(&o->ds->items_lock);
	return ret;
}

int object_put_inode_mapped(struct object *o, uint64_t mapped_end)
{
	struct wfs3_key missing;
	int ret;

	do {
		struct wal_ticket ticket;
		uint64_t txg;

		wal_begin(o->ds->pool->wal, WAL_INODE_ITEM_BYTES, &ticket);
		txg = txg_enter(o->ds->pool);
		ret = object_put_inode_in(o, txg, mapped_end, &ticket, &missing);
		txg_exit(o->ds->pool);
		wal_end(o->ds->pool->wal, &ticket);
		if (ret == -EAGAIN) {
			ret = tree_fetch(o->ds->tree, &missing);
			ret = ret ? ret : -EAGAIN;
		}
	} while (ret == -EAGAIN);
	return ret;
}

int object_put_inode(struct object *o)
{
	return object_put_inode_mapped(o, 0);
}

int object_settle(void *ctx, struct object *o)
{
	struct pool *p = o->ds->pool;
	uint64_t size_bytes = LOAD(o->inode.size_bytes);
	int ret = 0;

	(void)ctx;
	if (__atomic_load_n(&o->inode_dirty, __ATOMIC_SEQ_CST) || (in_tree(o) && LOAD(o->stored_size) != size_bytes))
		ret = object_put_inode_mapped(o, has_dirty_pages(o) ? 0 : size_bytes);
	if (ret)
		return ret;
	sync_mutex_lock(&p->dirty_lock);
	if (o->listed && !has_dirty_pages(o)) {
		__atomic_store_n(&o->listed, false, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&o->inode_dirty, __ATOMIC_SEQ_CST))
			__atomic_store_n(&o->listed, true, __ATOMIC_SEQ_CST);
		else
			cds_list_del(&o->dirty_link);
	}
	sync_mutex_unlock(&p->dirty_lock);
	return 0;
}

int object_flush(void *ctx, struct object *o)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	int ret = file ? cache_flush(file, 0, UINT64_MAX) : 0;

	return ret ? ret : object_settle(ctx, o);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of data into the log, and what a flush is made of.
 *
 * A flush of a few pages puts their contents into the log: one sequential write, one barrier. They stay dirty in the
 * cache and get their place later, together with others. More pages than that are written to their place at once, and
 * the log gets a record of where that is.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/pool.h"

_Static_assert(WAL_DATA_BYTES(CACHE_LOG_PAGES_MAX) <= WAL_TICKET_BYTES_MAX, "a flush's pages are one record");
_Static_assert(CACHE_LOG_PAGES_MAX <= WAL_PAGES_MAX, "a flush's pages are one record");

/* False: a page was damaged in memory, and must not become durable. */
static bool describe_page(const struct object *o, struct cache_page *pg, struct wal_page *ret)
{
	bool zero = pg->crc == CRC32C_ZERO_4K && bytes_are_zero(pg->data, WFS3_BLOCK_BYTES);

	pg->result = 0;
	if (!zero && crc32c(pg->data, WFS3_BLOCK_BYTES) != pg->crc)
		pg->result = err_set(-EIO, "page at offset %" PRIu64 " of dataset %" PRIu64 " changed in memory",
		                     pg->index * WFS3_BLOCK_BYTES, o->ds->id);
	*ret = (struct wal_page){ .index = pg->index, .crc = pg->crc, .data = zero ? NULL : pg->data };
	return !pg->result;
}

void object_log(void *ctx, struct cache_page *pages, unsigned count)
{
	struct object *o = ctx;
	struct pool *p = o->ds->pool;
	struct wal_record r = { .type = WAL_DATA, .dataset = o->ds->id, .object = o->number };
	struct wal_ticket ticket;
	bool taken;
	int ret;

	always(count <= WAL_PAGES_MAX);
	/* A commit finds what only the log has by this list. */
	object_list(o);
	ret = pool_check_writable(p);
	if (ret) {
		for (unsigned i = 0; i < count; i++)
			pages[i].result = ret;
		return;
	}
	for (unsigned i = 0; i < count; i++)
		r.page_count += describe_page(o, &pages[i], &r.pages[r.page_count]);
	if (!r.page_count)
		return;
	wal_begin(p->wal, WAL_DATA_BYTES(r.page_count), &ticket);
	r.txg = txg_enter(p);
	taken = wal_append(p->wal, &ticket, &r);
	txg_exit(p);
	wal_end(p->wal, &ticket);
	/* Pages that the log refuses go to their place; a commit makes that durable. */
	if (!taken)
		object_writeback(ctx, pages, count);
}

static void log_volume_inode(struct object *o)
{
	struct pool *p = o->ds->pool;
	struct wal_record r = { .type = WAL_INODE, .dataset = o->ds->id, .object = o->number };
	struct wfs3_key key = object_inode_key(o);
	struct wal_ticket ticket;
	int ret, fetched = 0;

	r.change = __atomic_load_n(&o->inode.change, __ATOMIC_RELAXED);
	if (r.change == __atomic_load_n(&o->logged_change, __ATOMIC_RELAXED))
		return;
	r.size_bytes = __atomic_load_n(&o->inode.size_bytes, __ATOMIC_RELAXED);
	r.mtime_ns = __atomic_load_n(&o->inode.mtime_ns, __ATOMIC_RELAXED);
	do {
		wal_begin(p->wal, WAL_INODE_BYTES, &ticket);
		r.txg = txg_enter(p);
		/* The tree has it, too: a root that gives up the record must hold what it says. */
		ret = object_put_inode_in(o, r.txg, 0, NULL, NULL);
		if (!ret && wal_append(p->wal, &ticket, &r))
			__atomic_store_n(&o->logged_change, r.change, __ATOMIC_RELAXED);
		txg_exit(p);
		wal_end(p->wal, &ticket);
		if (ret == -EAGAIN)
			fetched = tree_fetch(o->ds->tree, &key);
	} while (ret == -EAGAIN && !fetched);
	ret = fetched ? fetched : ret;
	if (ret)
		log_warning("wfs3", "pool=%s dataset=%" PRIu64 ": could not store times: errno %d", p->name, o->ds->id,
		            -ret);
}

/* What was asked for ends at @size_bytes, and is logged, or in its place, by now. */
static int log_tree_inode(struct object *o, uint64_t size_bytes)
{
	if (__atomic_load_n(&o->inode.change, __ATOMIC_RELAXED) ==
	            __atomic_load_n(&o->logged_change, __ATOMIC_RELAXED) &&
	    __atomic_load_n(&o->stored_size, __ATOMIC_RELAXED) >= size_bytes)
		return 0;
	return object_put_inode_mapped(o, size_bytes);
}

/*
 * How far the size in the tree has to reach for the range to be read: not farther, so that a crash does not leave zeros
 * behind it that nobody wrote. To the end of its last page, which is logged whole: nothing may be behind the end.
 */
static uint64_t end_of_range(uint64_t offset, uint64_t len, uint64_t size_bytes)
{
	if (offset >= size_bytes)
		return 0;
	if (len >= size_bytes - offset)
		return size_bytes;
	return min_u64(div_round_up_u64(offset + len, WFS3_BLOCK_BYTES) * WFS3_BLOCK_BYTES, size_bytes);
}

int object_persist(struct object *o, uint64_t offset, uint64_t len)
{
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	bool in_tree = o->ds->type == DATASET_TYPE_TREE;
	/* What was written before the call reaches this far. */
	uint64_t size_bytes = __atomic_load_n(&o->inode.size_bytes, __ATOMIC_RELAXED);
	int ret = file ? cache_flush_log(file, offset, len) : 0;

	if (ret)
		return ret;
	if (in_tree)
		return log_tree_inode(o, end_of_range(offset, len, size_bytes));
	log_volume_inode(o);
	return 0;
}

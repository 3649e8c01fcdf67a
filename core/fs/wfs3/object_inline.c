/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contents of small files in the tree, beside the inode: no block, no read of one. FORMAT.md, "Inline data". What is
 * dirty is in the cache as for any file; its write-back puts it here as long as the file is small and has no blocks.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/members.h"
#include "core/fs/wfs3/pool.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static struct wfs3_key inline_key(const struct object *o)
{
	return (struct wfs3_key){ .object = o->number, .kind = WFS3_KIND_INLINE };
}

bool object_fits_inline(const struct object *o, const struct cache_page *pages, unsigned count)
{
	uint64_t end = LOAD(o->write_end);

	/* Whoever makes the file longer says so before it changes the page. */
	return LOAD(o->ds->pool->has_inline) && count == 1 && !pages[0].index && o->ds->type == DATASET_TYPE_TREE &&
	       end && end <= INLINE_BYTES_MAX && LOAD(o->inode.blocks) == LOAD(o->inode.has_inline) &&
	       !bytes_are_zero(pages[0].data, WFS3_BLOCK_BYTES);
}

static void set_inline(struct object *o, bool has)
{
	if (LOAD(o->inode.has_inline) == has)
		return;
	__atomic_store_n(&o->inode.has_inline, has, __ATOMIC_RELAXED);
	object_count_blocks(o, has ? 1 : -1);
	dataset_count_used(o->ds, has, !has);
}

void object_set_inline(struct object *o)
{
	set_inline(o, true);
}

void object_drop_inline(struct object *o, uint64_t txg)
{
	struct wfs3_key key = inline_key(o);

	if (!LOAD(o->inode.has_inline))
		return;
	set_inline(o, false);
	/* The inode tells that it does not count. What cannot be deleted now goes with the inode, or is replaced. */
	(void)tree_delete(o->ds->tree, txg, &key);
}

/* Inside the gate. As tree_put(). */
static int put_in(struct object *o, uint64_t txg, const struct cache_page *page, size_t len, struct wal_ticket *ticket,
                  struct wfs3_key *ret_missing)
{
	struct item_change item = { .op = ITEM_PUT, .key = inline_key(o), .value = page->data, .len = len };
	struct wal_record r = { .type = WAL_ITEMS, .txg = txg, .dataset = o->ds->id, .item_count = 1, .items = &item };
	int ret = object_put_inode_in(o, txg, WFS3_BLOCK_BYTES, ticket, ret_missing);

	if (ret)
		return ret;
	*ret_missing = item.key;
	ret = tree_put(o->ds->tree, txg, &item.key, page->data, len);
	if (ret)
		return ret;
	set_inline(o, true);
	/* It is there in this group: that cannot fail. */
	always(!object_put_inode_in(o, txg, 0, NULL, NULL));
	(void)wal_append(o->ds->pool->wal, ticket, &r);
	return 0;
}

void object_writeback_inline(struct object *o, struct cache_page *page)
{
	size_t len = min_u64(LOAD(o->write_end), INLINE_BYTES_MAX);
	struct pool *p = o->ds->pool;
	int ret = pool_check_writable(p);

	if (!ret && crc32c(page->data, WFS3_BLOCK_BYTES) != page->crc) {
		ret = err_set(-EIO, "page at offset 0 of object %" PRIu64 " of dataset %" PRIu64 " changed in memory",
		              o->number, o->ds->id);
		log_error("wfs3",
		          "pool=%s dataset=%" PRIu64 " object=%" PRIu64
		          ": data was damaged in memory and is not written",
		          p->name, o->ds->id, o->number);
	}
	while (!ret) {
		struct wfs3_key missing;
		struct wal_ticket ticket;
		uint64_t txg;

		wal_begin(p->wal, WAL_INODE_ITEM_BYTES + WAL_RECORD_BYTES + WAL_ITEM_BYTES(INLINE_BYTES_MAX), &ticket);
		txg = txg_enter(p);
		ret = put_in(o, txg, page, len, &ticket, &missing);
		txg_exit(p);
		wal_end(p->wal, &ticket);
		if (ret != -EAGAIN)
			break;
		ret = tree_fetch(o->ds->tree, &missing);
	}
	page->result = ret ? err_add(ret, "write object %" PRIu64 " of dataset %" PRIu64, o->number, o->ds->id) : 0;
}

int object_read_inline(struct object *o, void *data)
{
	struct wfs3_key key = inline_key(o);
	size_t len;
	int ret;

	while ((ret = tree_get(o->ds->tree, &key, data, INLINE_BYTES_MAX, &len)) == -EAGAIN) {
		ret = tree_fetch(o->ds->tree, &key);
		if (ret)
			return ret;
	}
	if (ret == -ENOENT || ret == -ERANGE)
		ret = err_set(-EUCLEAN, "object %" PRIu64 " of dataset %" PRIu64 " lacks its contents", o->number,
		              o->ds->id);
	if (ret)
		return ret;
	memset((uint8_t *)data + len, 0, WFS3_BLOCK_BYTES - len);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovery: analysis (where the log ends, which pages it has last), redo of the map in the order of the log, and at the
 * end the pages whose contents only the log has. There is nothing to undo: a record is written only for a change that
 * was completed in memory, and the root's trees hold nothing else. FORMAT.md, "Log", "Recovery".
 *
 * All of it happens in memory, in the open group, and in blocks that neither the root nor the log uses. A crash on the
 * way starts again from the same root and the same log.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/recover_items.h"
#include "core/fs/wfs3/recover_pages.h"
#include "core/fs/wfs3/recover_parts.h"
#include "core/fs/wfs3/recover_write.h"
#include "core/fs/wfs3/wal_scan.h"

#define SKIPPED_NUMBERS (UINT64_C(1) << 20)

struct recover {
	struct pool *p;
	uint64_t root_txg;
	struct wal_span span;
	struct recover_pages pages;
	struct recover_parts parts; /* of transactions whose unit did not come yet */
	struct dataset *ds; /* of the last record, referenced; NULL: none, or it is gone */
	uint64_t ds_id;
	uint64_t tree_object; /* number of @of_tree, of a file tree; 0: it is not in use */
	struct object of_tree;
	uint8_t *check_buf; /* WFS3_BLOCK_BYTES: to verify data */
	bool stopped; /* by a record that ended the log early */
	struct budget_consumer *memory;
};
/* Beside the table of pages, which grows: the scan comes first, and writing afterwards. */
#define RECOVER_BYTES (max_u64(WAL_SCAN_BYTES, RECOVER_WRITE_BYTES) + WFS3_BLOCK_BYTES)

static void forget_object(struct recover *rc)
{
	if (rc->tree_object)
		recover_object_end(&rc->of_tree);
	rc->tree_object = 0;
}

static void forget_dataset(struct recover *rc)
{
	forget_object(rc);
	if (rc->ds)
		vfs_node_unref(&rc->ds->self.node);
	rc->ds = NULL;
}

/* The live dataset that a record is about, or NULL: it was deleted after the record was written. */
static struct dataset *record_dataset(struct recover *rc, const struct wal_record *r)
{
	if (rc->ds_id != r->dataset) {
		forget_dataset(rc);
		rc->ds_id = r->dataset;
		rc->ds = dataset_find_live(rc->p, r->dataset);
	}
	return rc->ds;
}

static bool has_items(enum wal_type type)
{
	return type == WAL_ITEMS || type == WAL_UNIT;
}

static int check_object(const struct dataset *ds, const struct wal_record *r)
{
	bool good = ds->type == DATASET_TYPE_VOLUME ? r->object == WFS3_VOLUME_OBJECT
	                                            : (r->object == 0) == has_items(r->type);

	return good ? 0 : err_set(-EUCLEAN, "log: object %" PRIu64 " of dataset %" PRIu64, r->object, r->dataset);
}

/* The object that a record is about. */
static int record_object(struct recover *rc, const struct wal_record *r, struct object **ret)
{
	int err;

	if (rc->ds->type == DATASET_TYPE_VOLUME) {
		*ret = &rc->ds->self;
		return 0;
	}
	if (rc->tree_object != r->object) {
		forget_object(rc);
		err = recover_object_begin(rc->ds, r->object, &rc->of_tree);
		if (err == -ENOENT)
			err = err_set(-EUCLEAN, "log: the map of object %" PRIu64 ", which does not exist", r->object);
		if (err)
			return err;
		rc->tree_object = r->object;
	}
	*ret = &rc->of_tree;
	return 0;
}

/* ---- redo of the map ---- */

static bool crc_is_good(void *ctx, const void *buf)
{
	return crc32c(buf, WFS3_BLOCK_BYTES) == *(const uint32_t *)ctx;
}

/*
 * Is the data there that the record points to? Beyond what the log knows to be durable, it may not be, or not on every
 * device of a mirror: then those that lack it get it. 1 yes, 0 no.
 */
static int data_is_there(struct recover *rc, const struct wal_record *r)
{
	for (unsigned i = 0; i < r->block_count && !MUTATE(RECOVERY_TRUSTS_DATA); i++) {
		uint32_t crc = r->blocks[i].crc;
		struct pool_device *d;
		uint64_t offset;
		int ret;

		if (!r->blocks[i].addr)
			continue;
		ret = pool_locate(rc->p, r->blocks[i].addr, 1, &d, &offset);
		if (ret)
			return ret;
		ret = mirror_repair(d->dev, offset, rc->check_buf, WFS3_BLOCK_BYTES, crc_is_good, &crc);
		if (ret)
			return ret == -EUCLEAN ? 0 : ret;
	}
	return 1;
}

static int claim(struct pool *p, const struct cell_change *c)
{
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++) {
		int ret = 0;

		if (c->addrs[i])
			ret = space_claim(p->space, (struct space_run){ .addr = c->addrs[i], .block_count = 1 });
		if (ret)
			return ret;
	}
	return 0;
}

static int redo_map(struct recover *rc, struct object *o, const struct wal_record *r)
{
	struct pool *p = rc->p;
	struct cell_change c = { .cell_index = r->first / WFS3_CELL_BLOCKS };
	struct wfs3_key key = object_cell_key(o, c.cell_index);
	int ret;

	for (unsigned i = 0; i < r->block_count; i++) {
		unsigned block = r->first % WFS3_CELL_BLOCKS + i;

		c.mask |= (uint16_t)(1u << block);
		c.addrs[block] = r->blocks[i].addr;
		c.crcs[block] = r->blocks[i].crc;
	}
	ret = claim(p, &c);
	while (!ret) {
		uint64_t txg = txg_enter(p);

		ret = object_change_cell(o, txg, &c);
		txg_exit(p);
		if (ret != -EAGAIN)
			break;
		ret = tree_fetch(o->ds->tree, &key);
	}
	return ret;
}

static void redo_inode(struct dataset *ds, const struct wal_record *r)
{
	if (r->change <= ds->self.inode.change)
		return;
	ds->self.inode.change = r->change;
	ds->self.inode.size_bytes = r->size_bytes;
	ds->self.inode.mtime_ns = r->mtime_ns;
	cache_file_resize(ds->self.file, r->size_bytes);
}

static int redo_one(struct recover *rc, const struct wal_record *r)
{
	struct object *o;
	int ret = record_object(rc, r, &o);

	if (ret)
		return ret;
	rc->p->recovery.applied_count++;
	if (r->type == WAL_MAP && !S_ISREG(o->inode.mode))
		ret = err_set(-EUCLEAN, "log: blocks of object %" PRIu64 ", which is no file", r->object);
	else if (r->type == WAL_MAP)
		ret = redo_map(rc, o, r);
	else if (r->type == WAL_UNMAP)
		ret = object_unmap(o, r->first, r->count);
	else if (r->type == WAL_MOVE)
		ret = object_move_redo(o, r->first, r->count, r->distance);
	else if (rc->ds->type == DATASET_TYPE_VOLUME)
		redo_inode(rc->ds, r);
	else
		ret = err_set(-EUCLEAN, "log: a volume's inode for file tree %" PRIu64, r->dataset);
	if (!ret)
		ret = object_put_inode(o);
	return ret;
}

/* A range begins to be taken out of a file: what there is from it on was written to its place before. */
static int forget_collapsed(struct recover *rc, const struct wal_record *r, const struct item_change *c)
{
	struct collapse to;
	uint64_t first;
	int ret = collapse_decode(c->value, c->len, &to);

	if (ret || to.next != to.first)
		return ret;
	first = to.first * WFS3_CELL_BLOCKS;
	recover_pages_remove(&rc->pages, r->dataset, c->key.offset, first, WAL_BLOCK_INDEX_MAX + 1 - first);
	return 0;
}

/* Items of a file tree. Pages that the log had of blocks that were dropped are forgotten in any case. */
static int redo_items(struct recover *rc, const struct wal_record *r)
{
	bool is_new = r->txg > rc->root_txg;
	struct item_change c;
	size_t pos = 0;
	int ret = 0;

	forget_object(rc);
	rc->p->recovery.applied_count += is_new;
	while (!ret && wal_item_next(r, &pos, &c)) {
		if (MUTATE(TX_HALF_REPLAYED) && r->type == WAL_UNIT && pos > r->item_bytes_len / 2)
			break;
		if (c.op == ITEM_TRUNCATE) {
			recover_pages_remove(&rc->pages, r->dataset, c.key.object, c.key.offset,
			                     WAL_BLOCK_INDEX_MAX + 1 - c.key.offset);
			if (is_new)
				ret = recover_truncate(rc->ds, c.key.object, c.key.offset);
			continue;
		}
		if (c.op == ITEM_DELETE && c.key.kind == WFS3_KIND_INODE)
			recover_pages_remove(&rc->pages, r->dataset, c.key.object, 0, WAL_BLOCK_INDEX_MAX + 1);
		if (c.op == ITEM_PUT && c.key.kind == WFS3_KIND_INLINE)
			recover_pages_remove(&rc->pages, r->dataset, c.key.object, 0, 1);
		if (c.op == ITEM_PUT && c.key.kind == WFS3_KIND_ORPHAN && c.len)
			ret = forget_collapsed(rc, r, &c);
		if (is_new && !ret)
			ret = recover_item(rc->ds, &c);
	}
	/* What a transaction wrote comes after what it cut off. */
	if (!ret && r->type == WAL_UNIT && !MUTATE(TX_PARTS_ALONE))
		ret = recover_parts_take(&rc->parts, r->dataset, r->unit, r->unit_pages, &rc->pages);
	return ret;
}

static int note_pages(struct recover *rc, const struct wal_record *r, uint64_t position, const uint8_t *batch)
{
	int ret = 0;

	for (unsigned i = 0; i < r->page_count && !ret; i++) {
		const struct wal_page *pg = &r->pages[i];
		struct recover_page page = {
			.dataset = r->dataset, .object = r->object, .block = pg->index, .crc = pg->crc
		};

		page.zero = !pg->data;
		page.position = position + (pg->data ? (uint64_t)(pg->data - batch) : WAL_HEADER_BYTES);
		ret = r->type == WAL_PART && !MUTATE(TX_PARTS_ALONE) ? recover_parts_add(&rc->parts, r->unit, &page)
		                                                     : recover_pages_put(&rc->pages, &page);
	}
	return ret;
}

static int redo(void *ctx, const struct wal_record *r, uint64_t position, const uint8_t *batch)
{
	struct recover *rc = ctx;
	struct dataset *ds;
	int ret;

	if (MUTATE(NO_RECOVERY))
		return 0;
	if (r->type == WAL_GAP && r->txg > rc->root_txg)
		goto stop;
	rc->p->recovery.record_count++;
	if (r->type == WAL_GAP)
		return 0;
	ds = record_dataset(rc, r);
	if (!ds)
		return 0;
	ret = check_object(ds, r);
	if (ret)
		return ret;
	if (r->type == WAL_DATA || r->type == WAL_PART)
		return note_pages(rc, r, position, batch);
	if (has_items(r->type))
		return redo_items(rc, r);
	if (r->type == WAL_MAP && r->txg > rc->root_txg && position >= rc->span.durable) {
		ret = data_is_there(rc, r);
		if (ret < 0)
			return ret;
		if (!ret)
			goto stop;
	}
	if (r->type == WAL_MAP)
		recover_pages_remove(&rc->pages, r->dataset, r->object, r->first, r->block_count);
	else if (r->type == WAL_UNMAP)
		recover_pages_remove(&rc->pages, r->dataset, r->object, r->first, r->count);
	/* The root has what belongs to its group. */
	return r->txg > rc->root_txg ? redo_one(rc, r) : 0;
stop:
	rc->stopped = true;
	return WAL_SCAN_STOP;
}

/* ---- the whole ---- */

static void log_config(struct pool *p, struct wal_config *ret)
{
	const struct space_layout *layout = &p->devices[0].label.layout;

	*ret = (struct wal_config){ .copy_count = 1,
		                    .copies = { { p->devices[0].dev, layout->log_offset } },
		                    .area_bytes = layout->log_bytes,
		                    .budget = p->w->config.budget,
		                    .ctx = p };
	memcpy(ret->pool_uuid, p->uuid, 16);
}

/* What one device of the group has lost may be whole on another. */
static struct wal_config scan_config(struct pool *p, const struct wal_config *config)
{
	struct wal_config scan = *config;

	scan.copy_count = 0;
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		struct mirror_copy c;

		mirror_get(p->devices[0].dev, i, &c);
		if (c.state == MIRROR_ONLINE)
			scan.copies[scan.copy_count++] = (struct wal_area){ c.dev, config->copies[0].offset };
	}
	return scan;
}

static int barrier(void *ctx)
{
	return txg_flush_devices(ctx);
}

static uint64_t open_txg(void *ctx)
{
	return __atomic_load_n(&((struct pool *)ctx)->open_txg, __ATOMIC_RELAXED);
}

static void want_commit(void *ctx)
{
	txg_want_commit(ctx);
}

/* The pool's data depends on it, so others give way: the charge is never refused. */
static int get_memory(struct recover *rc)
{
	rc->memory = budget_join(rc->p->w->config.budget, "recovery", 0, NULL, NULL);
	if (!rc->memory)
		return err_set(-ENOMEM, "no memory to recover");
	budget_charge(rc->memory, RECOVER_BYTES);
	recover_pages_init(&rc->pages, rc->memory);
	recover_parts_init(&rc->parts, rc->memory);
	rc->check_buf = aligned_alloc(WFS3_BLOCK_BYTES, WFS3_BLOCK_BYTES);
	return rc->check_buf ? 0 : err_set(-ENOMEM, "no memory to recover");
}

static void give_memory_back(struct recover *rc)
{
	recover_pages_done(&rc->pages);
	recover_parts_done(&rc->parts);
	free(rc->check_buf);
	if (rc->memory) {
		budget_uncharge(rc->memory, RECOVER_BYTES);
		budget_leave(rc->memory);
	}
}

/* The log behind @r, into the trees and rc->pages. */
static int replay(struct recover *rc, const struct wal_config *scan, const struct root *r)
{
	int ret = get_memory(rc);

	if (!ret)
		ret = wal_scan(scan, r->log_position, r->log_epoch, &rc->span, redo, rc);
	if (!ret)
		rc->p->recovery.log_bytes = rc->span.end - rc->span.start;
	return ret;
}

static void tell(struct pool *p, const struct recover *rc)
{
	const struct recovery *r = &p->recovery;

	if (!r->log_bytes)
		return;
	log_info("wfs3",
	         "pool=%s recovered: %" PRIu64 " bytes of log, %" PRIu64 " records, %" PRIu64 " changes and %" PRIu64
	         " pages applied in %.3f s%s",
	         p->name, r->log_bytes, r->record_count, r->applied_count, r->page_count, (double)r->time_ns / 1e9,
	         rc->stopped ? "; what came last was not durable" : "");
}

/* Appends are taken as soon as the open group is durable. An epoch that began with a root that was lost is not used
 * again: the open group's number is above all roots that were ever seen. */
static void start_log(struct pool *p, const struct root *r, uint64_t end)
{
	wal_start(p->wal, r->log_position, end, max_u64(r->log_epoch + 1, p->open_txg), p->open_txg);
	p->log_position = end;
}

/*
 * Objects whose creation was lost had been seen, perhaps: a client may keep their numbers, which must not mean others.
 * The log's buffer holds far fewer creations than are skipped.
 */
static int skip_numbers(void *ctx, struct dataset *ds)
{
	struct pool *p = ctx;
	uint64_t txg;

	if (ds->type != DATASET_TYPE_TREE || ds->state != DATASET_STATE_LIVE)
		return 0;
	txg = txg_enter(p);
	ds->next_object = min_u64(ds->next_object + SKIPPED_NUMBERS, WFS3_OBJECT_MAX);
	txg_changed(p, ds, txg);
	txg_exit(p);
	return 0;
}

int recover_pool(struct pool *p, const struct root *r)
{
	struct recover rc = { .p = p, .root_txg = r->txg };
	uint64_t start_ns = sync_now_ns();
	struct wal_config config, scan;
	int ret;

	log_config(p, &config);
	scan = scan_config(p, &config);
	rc.span = (struct wal_span){ .start = r->log_position, .end = r->log_position };
	config.flush = barrier;
	config.open_txg = open_txg;
	config.want_commit = want_commit;
	ret = wal_new(&config, &p->wal);
	if (ret)
		return ret;
	if (r->log_epoch)
		ret = replay(&rc, &scan, r);
	forget_object(&rc);
	if (!ret) {
		start_log(p, r, rc.span.end);
		ret = recover_write(p, &scan, r->log_position, &rc.pages);
	}
	if (!ret && !r->clean)
		ret = dataset_each(p, skip_numbers, p);
	forget_dataset(&rc);
	give_memory_back(&rc);
	p->recovery.time_ns = sync_now_ns() - start_ns;
	if (ret)
		return err_add(ret, "pool %s: recover from the log after root %" PRIu64, p->name, r->txg);
	tell(p, &rc);
	return 0;
}

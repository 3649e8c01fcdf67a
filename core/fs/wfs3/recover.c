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

#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/recover_pages.h"
#include "core/fs/wfs3/wal_scan.h"

#define WRITE_PAGES_MAX 1024u

struct recover {
	struct pool *p;
	uint64_t root_txg;
	struct wal_span span;
	struct recover_pages pages;
	struct dataset *ds; /* of the last record, referenced; NULL: none, or it is gone */
	uint64_t ds_id;
	uint8_t *check_buf; /* WFS3_BLOCK_BYTES: to verify data */
	uint64_t stopped_at; /* serial of the record that ended the log early; UINT64_MAX: none */
	/* Pages being collected */
	uint8_t *page_buf; /* WRITE_PAGES_MAX pages */
	struct cache_page *write;
	unsigned write_count;
	struct budget_consumer *memory;
};
/* Beside the table of pages, which grows. */
#define RECOVER_BYTES (WAL_SCAN_BYTES + (WRITE_PAGES_MAX + 1) * (size_t)WFS3_BLOCK_BYTES)

static int find_one(void *ctx, struct dataset *ds)
{
	struct recover *rc = ctx;

	if (ds->id != rc->ds_id || ds->state != DATASET_STATE_LIVE)
		return 0;
	vfs_node_ref(&ds->self.node);
	rc->ds = ds;
	return 0;
}

static void forget_dataset(struct recover *rc)
{
	if (rc->ds)
		vfs_node_unref(&rc->ds->self.node);
	rc->ds = NULL;
}

/* The live dataset that a record is about, or NULL: it was deleted after the record was written. */
static int record_dataset(struct recover *rc, const struct wal_record *r, struct dataset **ret)
{
	int err = 0;

	if (r->object != WFS3_VOLUME_OBJECT)
		return err_set(-EUCLEAN, "log: object %" PRIu64 " of dataset %" PRIu64, r->object, r->dataset);
	if (rc->ds_id != r->dataset) {
		forget_dataset(rc);
		rc->ds_id = r->dataset;
		err = dataset_each(rc->p, find_one, rc);
	}
	*ret = rc->ds;
	return err;
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

static int redo_map(struct recover *rc, struct dataset *ds, const struct wal_record *r)
{
	struct pool *p = rc->p;
	struct cell_change c = { .cell_index = r->first / WFS3_CELL_BLOCKS };
	struct wfs3_key key = { .object = WFS3_VOLUME_OBJECT, .kind = WFS3_KIND_CELL, .offset = c.cell_index };
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

		ret = object_change_cell(&ds->self, txg, &c);
		txg_exit(p);
		if (ret != -EAGAIN)
			break;
		ret = tree_fetch(ds->tree, &key);
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

static int redo_one(struct recover *rc, struct dataset *ds, const struct wal_record *r)
{
	int ret = 0;

	rc->p->recovery.applied_count++;
	if (r->type == WAL_MAP)
		ret = redo_map(rc, ds, r);
	else if (r->type == WAL_UNMAP)
		ret = object_unmap(&ds->self, r->first, r->count);
	else
		redo_inode(ds, r);
	if (!ret)
		ret = object_put_inode(&ds->self);
	return ret;
}

static int note_pages(struct recover *rc, const struct wal_record *r, uint64_t serial)
{
	for (unsigned i = 0; i < r->page_count; i++) {
		int ret = recover_pages_put(&rc->pages, r->dataset, r->pages[i].index, serial);

		if (ret)
			return ret;
	}
	return 0;
}

/* First pass over the records. */
static int redo(void *ctx, const struct wal_record *r, uint64_t position, uint64_t serial)
{
	struct recover *rc = ctx;
	struct dataset *ds;
	int ret;

	if (r->type == WAL_GAP && r->txg > rc->root_txg)
		goto stop;
	rc->p->recovery.record_count++;
	if (r->type == WAL_GAP)
		return 0;
	ret = record_dataset(rc, r, &ds);
	if (ret || !ds)
		return ret;
	if (r->type == WAL_DATA)
		return note_pages(rc, r, serial);
	if (r->type == WAL_MAP && r->txg > rc->root_txg && position >= rc->span.durable) {
		ret = data_is_there(rc, r);
		if (ret < 0)
			return ret;
		if (!ret)
			goto stop;
	}
	if (r->type == WAL_MAP)
		recover_pages_remove(&rc->pages, r->dataset, r->first, r->block_count);
	else if (r->type == WAL_UNMAP)
		recover_pages_remove(&rc->pages, r->dataset, r->first, r->count);
	/* The root has what belongs to its group. */
	return r->txg > rc->root_txg ? redo_one(rc, ds, r) : 0;
stop:
	rc->stopped_at = serial;
	return WAL_SCAN_STOP;
}

/* ---- pages ---- */

static int compare_pages(const void *a, const void *b)
{
	const struct cache_page *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* Write the collected pages, all of rc->ds. */
static int write_pages(struct recover *rc)
{
	unsigned count = rc->write_count;

	rc->write_count = 0;
	if (!count)
		return 0;
	qsort(rc->write, count, sizeof(rc->write[0]), compare_pages);
	object_writeback(&rc->ds->self, rc->write, count);
	for (unsigned i = 0; i < count; i++)
		if (rc->write[i].result)
			return err_add(rc->write[i].result, "write page %" PRIu64 " of dataset %" PRIu64,
			               rc->write[i].index, rc->ds_id);
	return 0;
}

static int collect_page(struct recover *rc, const struct wal_page *pg)
{
	uint8_t *data = rc->page_buf + (size_t)rc->write_count * WFS3_BLOCK_BYTES;

	if (pg->data)
		memcpy(data, pg->data, WFS3_BLOCK_BYTES);
	else
		memset(data, 0, WFS3_BLOCK_BYTES);
	rc->write[rc->write_count++] = (struct cache_page){ .index = pg->index, .data = data, .crc = pg->crc };
	rc->p->recovery.page_count++;
	return rc->write_count == WRITE_PAGES_MAX ? write_pages(rc) : 0;
}

/* Second pass: the last contents of each page. */
static int redo_pages(void *ctx, const struct wal_record *r, uint64_t position, uint64_t serial)
{
	struct recover *rc = ctx;
	struct dataset *ds;
	int ret = 0;

	(void)position;
	if (serial >= rc->stopped_at)
		return WAL_SCAN_STOP;
	if (r->type != WAL_DATA)
		return 0;
	if (r->dataset != rc->ds_id)
		ret = write_pages(rc);
	if (!ret)
		ret = record_dataset(rc, r, &ds);
	for (unsigned i = 0; i < r->page_count && !ret && ds; i++) {
		/* A volume may have become smaller. */
		if (r->pages[i].index >= div_round_up_u64(ds->self.inode.size_bytes, WFS3_BLOCK_BYTES))
			continue;
		if (recover_pages_get(&rc->pages, r->dataset, r->pages[i].index) == serial)
			ret = collect_page(rc, &r->pages[i]);
	}
	return ret;
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
	rc->pages.memory = rc->memory;
	rc->check_buf = aligned_alloc(WFS3_BLOCK_BYTES, WFS3_BLOCK_BYTES);
	rc->page_buf = aligned_alloc(WFS3_BLOCK_BYTES, (size_t)WRITE_PAGES_MAX * WFS3_BLOCK_BYTES);
	rc->write = calloc(WRITE_PAGES_MAX, sizeof(rc->write[0]));
	return rc->check_buf && rc->page_buf && rc->write ? 0 : err_set(-ENOMEM, "no memory to recover");
}

static void give_memory_back(struct recover *rc)
{
	recover_pages_done(&rc->pages);
	free(rc->check_buf);
	free(rc->page_buf);
	free(rc->write);
	if (rc->memory) {
		budget_uncharge(rc->memory, RECOVER_BYTES);
		budget_leave(rc->memory);
	}
}

static int replay(struct recover *rc, const struct wal_config *config, const struct root *r)
{
	int ret = get_memory(rc);

	if (!ret)
		ret = wal_scan(config, r->log_epoch, &rc->span, redo, rc);
	if (!ret && rc->pages.count)
		ret = wal_scan(config, r->log_epoch, &rc->span, redo_pages, rc);
	if (!ret)
		ret = write_pages(rc);
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
	         rc->stopped_at == UINT64_MAX ? "" : "; what came last was not durable");
}

int recover_pool(struct pool *p, const struct root *r)
{
	struct recover rc = { .p = p, .root_txg = r->txg, .stopped_at = UINT64_MAX };
	uint64_t start_ns = sync_now_ns();
	struct wal_config config, scan;
	int ret;

	log_config(p, &config);
	scan = scan_config(p, &config);
	rc.span = (struct wal_span){ .start = r->log_position, .end = r->log_position };
	if (r->log_epoch) {
		ret = wal_find_end(&scan, r->log_position, r->log_epoch, &rc.span);
		if (ret)
			return err_add(ret, "pool %s: read the log", p->name);
	}
	config.flush = barrier;
	config.open_txg = open_txg;
	config.want_commit = want_commit;
	ret = wal_new(&config, &p->wal);
	if (ret)
		return ret;
	/* Closed until the open group is durable. An epoch that began with a root that was lost is not used again: the
	 * open group's number is above all roots that were ever seen. */
	wal_start(p->wal, r->log_position, rc.span.end, max_u64(r->log_epoch + 1, p->open_txg), p->open_txg);
	p->log_position = rc.span.end;
	p->recovery.log_bytes = rc.span.end - rc.span.start;
	if (p->recovery.log_bytes && !MUTATE(NO_RECOVERY))
		ret = replay(&rc, &scan, r);
	forget_dataset(&rc);
	give_memory_back(&rc);
	p->recovery.time_ns = sync_now_ns() - start_ns;
	if (ret)
		return err_add(ret, "pool %s: recover from the log after root %" PRIu64, p->name, r->txg);
	tell(p, &rc);
	return 0;
}

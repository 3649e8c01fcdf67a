/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking the log behind the root: that it does not end before what was durable, that its records decode, and that
 * what they map is free in the root's state and holds what it should. On devices that nobody writes.
 *
 * The log may end anywhere behind a crash. But when a later batch says that everything up to a position was durable,
 * and the chain ends before that position, something that was there is gone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"
#include "core/fs/wfs3/wal_scan.h"

#define CHUNK_BYTES (1u << 20)
/* Of a forged log each block may announce a batch of megabytes: so many that turn out bad are looked into. */
#define BAD_BATCHES_MAX 32u

struct log {
	struct check *c;
	struct wal_config config;
	struct wal_span span;
	uint8_t *chunk;
	uint8_t *batch;
};

static struct pool_finding *at_position(struct log *l, struct pool_finding *f, uint64_t position)
{
	check_at_device(f, l->c->groups[0].copies[0], l->config.copies[0].offset + position % l->config.area_bytes);
	return f;
}

/* A map record's block of a group that is not in the trees yet. */
static void check_block(struct log *l, const struct wal_record *r, uint64_t position, unsigned i)
{
	struct check *c = l->c;
	const struct wal_block *b = &r->blocks[i];
	struct check_dataset ds = { .id = r->dataset, .name = "" };
	struct blk_dev *dev;
	struct pool_finding *f = NULL;
	uint64_t offset;

	if (!b->addr)
		return;
	if (check_locate(c, b->addr, 1, 0, &dev, &offset))
		f = check_damage(c, POOL_FINDING_LOG, "the log maps a block that is nowhere in the pool");
	else if (c->disk && check_bit(c->disk, check_index(c, b->addr)))
		f = check_damage(c, POOL_FINDING_LOG, "the log maps a block that was in use already");
	else if (c->config->with_data && position < l->span.durable &&
	         (blk_read(dev, offset, l->chunk, WFS3_BLOCK_BYTES) || crc32c(l->chunk, WFS3_BLOCK_BYTES) != b->crc))
		f = check_damage(c, POOL_FINDING_DATA_CRC, "data that the log maps cannot be read or is not right");
	if (f) {
		check_in_object(f, &ds, r->object, (r->first + i) * WFS3_BLOCK_BYTES);
		check_at_address(c, f, b->addr, 1);
	}
}

static bool is_live(const struct check *c, uint64_t dataset)
{
	size_t low = 0, high = c->live_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->live_ids[mid] < dataset)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->live_count && c->live_ids[low] == dataset;
}

static int look_at(void *ctx, const struct wal_record *r, uint64_t position, const uint8_t *batch)
{
	struct log *l = ctx;

	(void)batch;
	/* Recovery passes over what is left of deleted datasets, and may use the blocks that it names. */
	if (r->type != WAL_MAP || r->txg <= l->c->root.txg || !is_live(l->c, r->dataset))
		return 0;
	for (unsigned i = 0; i < r->block_count; i++)
		check_block(l, r, position, i);
	return check_step(l->c, 0);
}

static int read_ring(const struct log *l, uint64_t position, uint8_t *buf, uint64_t len)
{
	const struct wal_area *a = &l->config.copies[0];
	uint64_t at = position % l->config.area_bytes, head = min_u64(len, l->config.area_bytes - at);
	int rc = blk_read(a->dev, a->offset + at, buf, head);

	if (!rc && head < len)
		rc = blk_read(a->dev, a->offset, buf + head, len - head);
	return rc;
}

/* Is there a whole batch at @position which says that the log was durable beyond its end? */
static bool says_more(const struct log *l, const uint8_t *block, uint64_t position, unsigned *bad)
{
	uint32_t len = wal_batch_probe(block, l->config.pool_uuid, l->c->root.log_epoch, position);
	struct wal_batch b;

	if (!len || *bad >= BAD_BATCHES_MAX)
		return false;
	if (len > WAL_BATCH_BYTES_MAX || read_ring(l, position, l->batch, len) || wal_batch_open(l->batch, len, &b)) {
		++*bad;
		return false;
	}
	return b.durable > l->span.end;
}

/* Behind the end. */
static int look_behind(struct log *l)
{
	uint64_t limit = l->span.start + l->config.area_bytes;
	unsigned bad = 0;
	int rc = 0;

	for (uint64_t at = l->span.end; at < limit && !rc; at += CHUNK_BYTES) {
		uint64_t len = min_u64(CHUNK_BYTES, limit - at);

		if (read_ring(l, at, l->chunk, len))
			continue;
		for (uint64_t i = 0; i < len; i += WFS3_BLOCK_BYTES)
			if (says_more(l, l->chunk + i, at + i, &bad)) {
				at_position(l,
				            check_damage(l->c, POOL_FINDING_LOG,
				                         "the log ends at position %" PRIu64
				                         ", but more of it was durable",
				                         l->span.end),
				            l->span.end);
				return 0;
			}
		rc = check_step(l->c, len);
	}
	return rc;
}

static int check_span(struct log *l)
{
	const struct root *r = &l->c->root;
	char why[CHECK_WHY_BYTES];
	int rc = 0;

	l->span.end = r->log_position;
	if (r->log_position % WFS3_BLOCK_BYTES || r->log_position > SPACE_POSITION_MAX)
		rc = err_set(-EUCLEAN, "the root says that the log begins at position %" PRIu64, r->log_position);
	if (!rc)
		rc = wal_scan(&l->config, r->log_position, r->log_epoch, &l->span, look_at, l);
	if (rc == -EUCLEAN || rc == -EIO) {
		at_position(l, check_damage(l->c, POOL_FINDING_LOG, "%s", check_why(rc, why)), l->span.end);
		return 0;
	}
	return rc ? rc : look_behind(l);
}

int check_log(struct check *c)
{
	const struct check_group *group = &c->groups[0];
	struct log l = { .c = c };
	int rc;

	if (c->live || !c->has_root || !c->locator || !c->root.log_epoch)
		return 0;
	l.config = (struct wal_config){ .copy_count = group->copy_count, .area_bytes = group->layout.log_bytes };
	for (unsigned i = 0; i < group->copy_count; i++)
		l.config.copies[i] = (struct wal_area){ check_copy(c, 0, i), group->layout.log_offset };
	memcpy(l.config.pool_uuid, c->label.pool_uuid, 16);
	l.chunk = aligned_alloc(WFS3_BLOCK_BYTES, CHUNK_BYTES);
	l.batch = aligned_alloc(WFS3_BLOCK_BYTES, WAL_BATCH_BYTES_MAX);
	rc = l.chunk && l.batch ? check_span(&l) : err_set(-ENOMEM, "no memory to read the log");
	free(l.chunk);
	free(l.batch);
	return rc;
}

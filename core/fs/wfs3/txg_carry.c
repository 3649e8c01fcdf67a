/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a page has at the moment when a group ends is not older than what the trees of that group have, since nobody
 * maps blocks then. So a record of it that comes before all others of the next group never brings back something older,
 * whatever the log lacks of groups before.
 */
#include "core/fs/wfs3/txg_carry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/fs/wfs3/pool.h"

static uint8_t *contents_of(const struct carry *c, unsigned i)
{
	return c->contents + (size_t)i * WFS3_BLOCK_BYTES;
}

static int get_buffer(struct carry *c)
{
	if (!c->contents)
		c->contents = aligned_alloc(WFS3_BLOCK_BYTES, (size_t)WAL_CARRY_PAGES_MAX * WFS3_BLOCK_BYTES);
	return c->contents ? 0 : err_set(-ENOMEM, "no memory for pages that cannot be written back");
}

static int add_page(struct carry *c, struct object *o, uint64_t index)
{
	uint32_t crc;
	int rc = cache_copy_kept(o->file, index, contents_of(c, c->count), &crc);

	if (rc == -ENOENT)
		return 0;
	if (rc && rc != -EAGAIN)
		return rc;
	vfs_node_ref(&o->node);
	c->pages[c->count++] = (struct carry_page){ .o = o, .index = index };
	return 0;
}

static int collect_object(void *ctx, struct object *o)
{
	struct carry *c = ctx;
	struct cache_file *file = __atomic_load_n(&o->file, __ATOMIC_ACQUIRE);
	uint64_t pages[WAL_CARRY_PAGES_MAX];
	unsigned count = 0;
	int rc = file ? cache_flush_kept(file) : 0;

	if (rc)
		rc = cache_flush_kept_all(file, pages, WAL_CARRY_PAGES_MAX - c->count, &count);
	if (!rc && count)
		rc = get_buffer(c);
	for (unsigned i = 0; i < count && !rc; i++)
		rc = add_page(c, o, pages[i]);
	return rc ? rc : object_settle(NULL, o);
}

/* Of one object, beside the pages. */
static bool begins_record(const struct carry *c, unsigned i)
{
	return !i || c->pages[i].o != c->pages[i - 1].o;
}

static size_t record_bytes(const struct carry *c)
{
	size_t n = 0;

	for (unsigned i = 0; i < c->count; i++)
		n += begins_record(c, i) ? WAL_DATA_BYTES(1) : WAL_DATA_BYTES(1) - WAL_DATA_BYTES(0);
	return n;
}

int carry_collect(struct pool *p, struct carry *c)
{
	int rc = object_each_dirty(p, collect_object, c);

	if (rc || !c->count)
		return rc;
	wal_begin_carry(p->wal, record_bytes(c), &c->ticket);
	c->has_ticket = true;
	return c->ticket.closed ? err_set(-ENOSPC, "the log has no room for pages that cannot be written back") : 0;
}

bool carry_copy(struct carry *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct carry_page *pg = &c->pages[i];
		int rc = cache_copy_kept(pg->o->file, pg->index, contents_of(c, i), &pg->crc);

		pg->held = !rc;
		if (rc && rc != -ENOENT)
			return false;
	}
	return true;
}

void carry_append(struct pool *p, struct carry *c, uint64_t txg)
{
	unsigned next;

	for (unsigned i = 0; i < c->count; i = next) {
		const struct object *o = c->pages[i].o;
		struct wal_record r = { .type = WAL_DATA, .txg = txg, .dataset = o->ds->id, .object = o->number };

		for (next = i; next < c->count && c->pages[next].o == o; next++) {
			const struct carry_page *pg = &c->pages[next];
			const uint8_t *data = contents_of(c, next);
			bool zero = pg->crc == CRC32C_ZERO_4K && bytes_are_zero(data, WFS3_BLOCK_BYTES);

			if (pg->held)
				r.pages[r.page_count++] = (struct wal_page){ .index = pg->index,
					                                     .crc = pg->crc,
					                                     .data = zero ? NULL : data };
		}
		if (r.page_count && !wal_append(p->wal, &c->ticket, &r))
			c->refused = true;
	}
}

void carry_done(struct pool *p, struct carry *c)
{
	if (c->has_ticket)
		wal_end(p->wal, &c->ticket);
	for (unsigned i = 0; i < c->count; i++)
		vfs_node_unref(&c->pages[i].o->node);
	free(c->contents);
	*c = (struct carry){ 0 };
}

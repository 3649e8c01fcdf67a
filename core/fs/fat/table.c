/* SPDX-License-Identifier: BSD-3-Clause */
/* The FAT in memory. */
#include "core/fs/fat/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"

#define UNIT_BYTES 512u
#define LOADED_MIN 16u

int fat_table_init(struct fat_table *t, struct fat_medium *m, const struct fat_geometry *g,
                   struct budget_consumer *budget, size_t limit_bytes)
{
	uint64_t bytes = div_round_up_u64(((uint64_t)g->cluster_count + FAT_FIRST_CLUSTER) * (unsigned)g->type, 8);

	*t = (struct fat_table){ .m = m, .g = g, .budget = budget };
	t->chunk_count = (unsigned)div_round_up_u64(min_u64(bytes, g->fat_bytes), TABLE_CHUNK_BYTES);
	t->loaded_max = (unsigned)min_u64(limit_bytes / TABLE_CHUNK_BYTES, t->chunk_count);
	if (t->loaded_max < LOADED_MIN)
		t->loaded_max = LOADED_MIN;
	t->chunks = calloc(t->chunk_count, sizeof(*t->chunks));
	return t->chunks ? 0 : err_set(-ENOMEM, "FAT: no memory");
}

static void unload(struct fat_table *t, struct fat_table_chunk *c)
{
	free(c->bytes);
	*c = (struct fat_table_chunk){ 0 };
	t->loaded--;
	if (t->budget)
		budget_uncharge(t->budget, TABLE_CHUNK_BYTES);
}

void fat_table_done(struct fat_table *t)
{
	for (unsigned i = 0; t->chunks && i < t->chunk_count; i++) {
		if (t->chunks[i].bytes)
			unload(t, &t->chunks[i]);
	}
	free(t->chunks);
	t->chunks = NULL;
}

static size_t chunk_len(const struct fat_table *t, unsigned index)
{
	return (size_t)min_u64(t->g->fat_bytes - (uint64_t)index * TABLE_CHUNK_BYTES, TABLE_CHUNK_BYTES);
}

static uint64_t copy_offset(const struct fat_table *t, unsigned copy)
{
	return t->g->fat_offset + copy * t->g->fat_bytes;
}

/* Let go of a chunk that was not used for a round of the clock. Dirty ones stay. */
static void evict_one(struct fat_table *t)
{
	for (unsigned tries = 0; tries < 2 * t->chunk_count; tries++) {
		struct fat_table_chunk *c = &t->chunks[t->hand];

		t->hand = (t->hand + 1) % t->chunk_count;
		if (!c->bytes || c->dirty)
			continue;
		if (!c->used) {
			unload(t, c);
			return;
		}
		c->used = false;
	}
}

static int read_copies(struct fat_table *t, unsigned index, uint8_t *buf)
{
	uint64_t at = (uint64_t)index * TABLE_CHUNK_BYTES;
	unsigned copies = t->g->fat_mirrored ? t->g->fat_count : 1;
	int rc = -EIO;

	for (unsigned i = 0; rc && i < copies; i++) {
		unsigned copy = (t->g->fat_active + i) % t->g->fat_count;

		rc = fat_medium_read(t->m, copy_offset(t, copy) + at, buf, chunk_len(t, index));
	}
	return rc;
}

static void install(struct fat_table *t, unsigned index, uint8_t *bytes)
{
	memset(bytes + chunk_len(t, index), 0, TABLE_CHUNK_BYTES - chunk_len(t, index));
	if (t->loaded >= t->loaded_max)
		evict_one(t);
	t->chunks[index].bytes = bytes;
	t->chunks[index].used = true;
	t->loaded++;
	if (t->budget)
		budget_charge(t->budget, TABLE_CHUNK_BYTES);
}

static int load(struct fat_table *t, unsigned index)
{
	uint8_t *bytes;
	int rc;

	bytes = aligned_alloc(4096, TABLE_CHUNK_BYTES);
	if (!bytes)
		return err_set(-ENOMEM, "FAT: no memory");
	rc = read_copies(t, index, bytes);
	if (rc) {
		free(bytes);
		return err_add(rc, "FAT: cannot be read");
	}
	install(t, index, bytes);
	return 0;
}

void fat_table_read_ahead(struct fat_table *t, uint32_t cluster)
{
	unsigned first = (unsigned)((uint64_t)cluster * (unsigned)t->g->type / 8 / TABLE_CHUNK_BYTES), count = 0;
	/* When not all of it is kept, what comes must not drive out what just came. */
	unsigned room = t->loaded_max < t->chunk_count ? t->loaded_max / 2 : t->chunk_count;
	unsigned most = (unsigned)min_u64(TABLE_AHEAD_BYTES / TABLE_CHUNK_BYTES, room);
	uint8_t *bytes[TABLE_AHEAD_BYTES / TABLE_CHUNK_BYTES];
	struct fat_medium_batch b;
	struct err e;
	int rc;

	fat_medium_batch_init(&b, t->m, BLK_READ);
	for (unsigned i = first; count < most && i < t->chunk_count && !t->chunks[i].bytes; i++) {
		bytes[count] = aligned_alloc(4096, TABLE_CHUNK_BYTES);
		if (!bytes[count])
			break;
		fat_medium_batch_add(&b, copy_offset(t, t->g->fat_active) + (uint64_t)i * TABLE_CHUNK_BYTES,
		                     bytes[count], chunk_len(t, i));
		count++;
	}
	/* What cannot be read so is read in small parts, from another copy if need be. */
	err_take(&e);
	rc = fat_medium_batch_run(&b);
	err_restore(&e);
	for (unsigned i = 0; i < count; i++) {
		if (rc)
			free(bytes[i]);
		else
			install(t, first + i, bytes[i]);
	}
}

/* The chunk with entry @cluster; *@ret_at: where in it. An entry never lies in two: all of FAT12 fits into one. */
static int find(struct fat_table *t, uint32_t cluster, struct fat_table_chunk **ret, unsigned *ret_at)
{
	uint64_t at = (uint64_t)cluster * (unsigned)t->g->type / 8;
	unsigned index = (unsigned)(at / TABLE_CHUNK_BYTES);

	always(cluster < t->g->cluster_count + FAT_FIRST_CLUSTER);
	if (!t->chunks[index].bytes) {
		int rc = load(t, index);

		if (rc)
			return rc;
	}
	t->chunks[index].used = true;
	*ret = &t->chunks[index];
	*ret_at = (unsigned)(at % TABLE_CHUNK_BYTES);
	return 0;
}

static uint32_t widen(uint32_t value, uint32_t bad)
{
	return value >= bad ? value - bad + FAT_BAD : value;
}

int fat_table_get(struct fat_table *t, uint32_t cluster, uint32_t *ret)
{
	struct fat_table_chunk *c;
	unsigned at, v;
	int rc = find(t, cluster, &c, &at);

	if (rc)
		return rc;
	switch (t->g->type) {
	case FAT_TYPE_12:
		v = get_le16(c->bytes + at);
		*ret = widen(cluster & 1 ? v >> 4 : v & 0xfff, 0xff7);
		break;
	case FAT_TYPE_16:
		*ret = widen(get_le16(c->bytes + at), 0xfff7);
		break;
	case FAT_TYPE_32:
		*ret = get_le32(c->bytes + at) & FAT_MASK;
		break;
	}
	return 0;
}

static void mark_dirty(struct fat_table *t, struct fat_table_chunk *c, unsigned at, unsigned len)
{
	if (!c->dirty)
		t->dirty_count++;
	c->dirty |= 1u << (at / UNIT_BYTES);
	c->dirty |= 1u << ((at + len - 1) / UNIT_BYTES);
}

int fat_table_set(struct fat_table *t, uint32_t cluster, uint32_t value)
{
	struct fat_table_chunk *c;
	unsigned at, old;
	int rc = find(t, cluster, &c, &at);

	if (rc)
		return rc;
	switch (t->g->type) {
	case FAT_TYPE_12:
		old = get_le16(c->bytes + at);
		value &= 0xfff;
		put_le16(c->bytes + at, (uint16_t)(cluster & 1 ? (old & 0xf) | value << 4 : (old & 0xf000) | value));
		break;
	case FAT_TYPE_16:
		put_le16(c->bytes + at, (uint16_t)value);
		break;
	case FAT_TYPE_32:
		/* The upper four bits are not ours. */
		old = get_le32(c->bytes + at);
		put_le32(c->bytes + at, (old & ~FAT_MASK) | (value & FAT_MASK));
		break;
	}
	mark_dirty(t, c, at, t->g->type == FAT_TYPE_32 ? 4 : 2);
	return 0;
}

int fat_table_set_clean(struct fat_table *t, bool clean)
{
	struct fat_table_chunk *c;
	unsigned at, v;
	int rc;

	if (t->g->type == FAT_TYPE_12)
		return 0;
	rc = find(t, 1, &c, &at);
	if (rc)
		return rc;
	if (t->g->type == FAT_TYPE_16) {
		v = get_le16(c->bytes + at);
		put_le16(c->bytes + at, (uint16_t)(clean ? v | FAT16_CLEAN : v & ~FAT16_CLEAN));
	} else {
		v = get_le32(c->bytes + at);
		put_le32(c->bytes + at, clean ? v | FAT32_CLEAN : v & ~FAT32_CLEAN);
	}
	mark_dirty(t, c, at, 2);
	return 0;
}

bool fat_table_is_clean(struct fat_table *t)
{
	struct fat_table_chunk *c;
	unsigned at;

	if (t->g->type == FAT_TYPE_12 || find(t, 1, &c, &at))
		return true;
	if (t->g->type == FAT_TYPE_16)
		return get_le16(c->bytes + at) & FAT16_CLEAN;
	return get_le32(c->bytes + at) & FAT32_CLEAN;
}

bool fat_table_is_dirty(const struct fat_table *t)
{
	return t->dirty_count > 0;
}

bool fat_table_is_full(const struct fat_table *t)
{
	return t->dirty_count > LOADED_MIN && t->dirty_count > t->loaded_max / 2;
}

static void add_dirty(struct fat_table *t, struct fat_medium_batch *b, unsigned copy)
{
	for (unsigned i = 0; i < t->chunk_count; i++) {
		struct fat_table_chunk *c = &t->chunks[i];

		for (uint32_t m = c->dirty; m; m &= m - 1) {
			unsigned unit = (unsigned)__builtin_ctz(m);
			unsigned at = unit * UNIT_BYTES;

			fat_medium_batch_add(b, copy_offset(t, copy) + (uint64_t)i * TABLE_CHUNK_BYTES + at,
			                     c->bytes + at, UNIT_BYTES);
		}
	}
}

int fat_table_write(struct fat_table *t)
{
	struct fat_medium_batch b;
	int rc;

	if (!t->dirty_count)
		return 0;
	fat_medium_batch_init(&b, t->m, BLK_WRITE);
	for (unsigned copy = 0; copy < t->g->fat_count; copy++) {
		if (t->g->fat_mirrored || copy == t->g->fat_active)
			add_dirty(t, &b, copy);
	}
	rc = fat_medium_batch_run(&b);
	if (rc)
		return err_add(rc, "FAT: cannot be written");
	for (unsigned i = 0; i < t->chunk_count; i++)
		t->chunks[i].dirty = 0;
	t->dirty_count = 0;
	return 0;
}

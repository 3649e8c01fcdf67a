/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole crafted pools. The input is a list of edits of structures on a pool's devices, after which checksums and hashes
 * are made right again from the bottom up, and a list of operations on what import makes of it. Whatever happens: no
 * crash, and nothing is written to a pool that was refused; and a pool that was not edited stays whole.
 */
#include "core/fs/wfs3/check.h"
#include "tests/fuzz/take.h"
#include "tests/unit/core/fs/wfs3/craft_core.h"

#define EDITS_MAX 16u
#define BATCHES_MAX 16u
#define OPERATIONS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct craft_core cores[4];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_level((enum log_level)0);
	craft_core_make(&cores[0], 1, 0);
	craft_core_make(&cores[1], 2, 0);
	craft_core_make(&cores[2], 1, CRAFT_WITH_LOG);
	craft_core_make(&cores[3], 2, CRAFT_WITH_LOG | CRAFT_MIRROR);
	return 0;
}

/* A value that is likely to mean something where it is put. */
static uint64_t take_value(struct rd *r, const struct craft *c, uint64_t old)
{
	uint64_t region_blocks = c->labels[0].region_bytes / WFS3_BLOCK_BYTES, n;

	switch (take(r, 1) % 9) {
	case 0:
		return take(r, 8);
	case 1:
		return take(r, 1);
	case 2:
		return old + take(r, 1) - 128;
	case 3:
		return UINT64_MAX >> take(r, 1) % 64;
	case 4:
		return UINT64_C(1) << take(r, 1) % 64;
	case 5: /* a node */
		return c->node_count ? c->node_addrs[take(r, 1) % c->node_count] : 0;
	case 6: /* some block */
		return region_blocks + take(r, 2);
	case 7: /* a txg */
		return c->root_txg + take(r, 1) - 4;
	default:
		n = take(r, 1);
		return old ^ UINT64_C(1) << n % 64;
	}
}

static void edit_at(struct rd *r, const struct craft *c, uint8_t *p, size_t len)
{
	unsigned bytes = 1u << take(r, 1) % 4;
	size_t at = take(r, 2) % len;
	uint64_t old = 0, v;

	/* Fields are aligned to their size, most of the time. */
	if (take(r, 1) & 7)
		at -= at % bytes;
	for (unsigned i = 0; i < bytes && at + i < len; i++)
		old |= (uint64_t)p[at + i] << 8 * i;
	v = take_value(r, c, old);
	for (unsigned i = 0; i < bytes && at + i < len; i++)
		p[at + i] = (uint8_t)(v >> 8 * i);
}

static void edit_item(struct rd *r, const struct craft *c)
{
	uint8_t *page;
	size_t len;
	unsigned slot;
	uint8_t *value;

	if (!c->node_count)
		return;
	page = c->nodes[take(r, 1) % c->node_count];
	if (node_check(page))
		return;
	slot = (unsigned)take(r, 1) % node_count(page);
	value = page + (node_value(page, slot, &len) - page);
	/* The key and the length stand before the value. */
	if (take(r, 1) % 4 == 0)
		edit_at(r, c, value - WFS3_KEY_BYTES - 2, WFS3_KEY_BYTES + 2);
	else if (len)
		edit_at(r, c, value, len);
}

/* One node, or a part of it, copied over another one. */
static void copy_node(struct rd *r, const struct craft *c)
{
	uint8_t *to, *from;

	if (!c->node_count)
		return;
	to = c->nodes[take(r, 1) % c->node_count];
	from = c->nodes[take(r, 1) % c->node_count];
	if (to != from)
		memcpy(to, from, WFS3_NODE_BYTES);
}

static void edit_slot(struct rd *r, struct craft *c)
{
	unsigned device = (unsigned)take(r, 1) % c->device_count;
	uint64_t region = take(r, 1) % c->labels[device].layout.region_count;
	uint8_t *slot = craft_slot(c, device, (unsigned)region, take(r, 1) & 1);

	edit_at(r, c, slot,
	        take(r, 1) % 4 ? SPACE_SLOT_HEADER_BYTES + 64 : space_slot_bytes(c->labels[0].region_bytes));
	craft_reseal_slot(c, slot);
}

static void edit_record(struct rd *r, struct craft *c)
{
	uint8_t *record = craft_newest_record(c);

	if (!record)
		return;
	edit_at(r, c, record, take(r, 1) % 4 ? 256 : WFS3_BLOCK_BYTES);
	craft_reseal_record(c, record);
}

/* Anywhere in the log behind the root, most often in the heads of batches and records. */
static void edit_log(struct rd *r, struct craft *c)
{
	uint8_t *batches[BATCHES_MAX], *p;
	unsigned count = craft_batches(c, batches, BATCHES_MAX);
	uint8_t *record;

	if (!count)
		return;
	p = batches[take(r, 1) % count];
	record = craft_log_record(batches, count, (uint32_t)take(r, 1) % 5 + 1);
	if (record && take(r, 1) % 4)
		edit_at(r, c, record, 80);
	else
		edit_at(r, c, p, take(r, 1) % 4 ? 256 : WFS3_BLOCK_BYTES);
	craft_reseal_batches(c, batches, count);
}

static void edit_label(struct rd *r, struct craft *c)
{
	unsigned device = (unsigned)take(r, 1) % c->device_count;

	edit_at(r, c, craft_header(c, device), take(r, 1) % 4 ? 640 : WFS3_BLOCK_BYTES);
	craft_reseal_label(c, device);
}

static void edit_once(struct rd *r, struct craft *c)
{
	switch (take(r, 1) % 12) {
	case 0:
		edit_label(r, c);
		break;
	case 1:
		edit_at(r, c, c->root, ROOT_USED_BYTES);
		break;
	case 2:
		edit_slot(r, c);
		break;
	case 3:
		edit_record(r, c);
		break;
	case 4:
		if (c->node_count)
			edit_at(r, c, c->nodes[take(r, 1) % c->node_count], WFS3_NODE_BYTES);
		break;
	case 5:
		copy_node(r, c);
		break;
	case 7:
		edit_log(r, c);
		break;
	case 6: /* without a new checksum */
		edit_at(r, c, craft_root_slot(c, 0, false, take(r, 1)), WFS3_BLOCK_BYTES);
		break;
	default:
		edit_item(r, c);
	}
}

static void add_name(void *ctx, const struct pool_info *info)
{
	snprintf(ctx, POOL_NAME_MAX + 1, "%s", info->name);
}

static const char *const volume_names[] = { "a", "b", "c", "d" };

struct session {
	struct craft_core *k;
	char pool[POOL_NAME_MAX + 1];
	struct vfs_handle *h;
};

static void open_volume(struct session *s, const char *name)
{
	char path[VFS_PATH_MAX];

	vfs_close(s->h);
	s->h = NULL;
	snprintf(path, sizeof(path), "/%s/%s", s->pool, name);
	if (vfs_open(s->k->vfs, path, true, &s->h) && vfs_open(s->k->vfs, path, false, &s->h))
		s->h = NULL;
}

static void operate_on_volume(struct session *s, unsigned op, struct rd *r)
{
	struct vfs_extent extents[16];
	uint64_t block = take(r, 2), len = (take(r, 1) + 1) * WFS3_BLOCK_BYTES / 4;
	uint64_t offset = block % 2 ? block / 2 * WFS3_CELL_BYTES : block / 2 * (WFS3_BLOCK_BYTES / 4);
	unsigned count;

	switch (op) {
	case 0:
		(void)craft_read(s->h, offset, len % (2 * WFS3_BLOCK_BYTES) + 1);
		break;
	case 1:
		(void)craft_write(s->h, offset, block, len % (2 * WFS3_BLOCK_BYTES) + 1);
		break;
	case 2:
		(void)vfs_flush(s->h, 0);
		break;
	case 3:
		(void)vfs_discard(s->h, offset, len * 64, block & 1 ? VFS_FUA : 0);
		break;
	case 4:
		(void)vfs_zero(s->h, offset, len * 64, 0);
		break;
	case 5:
		(void)vfs_extents(s->h, offset, len * 256, 0, extents, 16, &count);
		break;
	default:
		(void)vfs_prefetch(s->h, offset, len * 64);
	}
}

static void operate_on_pool(struct session *s, unsigned op, struct rd *r)
{
	const struct pool_driver *d = s->k->admin.driver;
	void *ctx = s->k->admin.ctx;
	const char *name = volume_names[take(r, 1) % 4], *other = volume_names[take(r, 1) % 4];
	unsigned n = 0;

	switch (op) {
	case 0:
		(void)d->volume_create(ctx, s->pool, name, CRAFT_MIB);
		break;
	case 1:
		(void)d->volume_resize(ctx, s->pool, name, (take(r, 1) + 1) * WFS3_BLOCK_BYTES * 99, true);
		break;
	case 2:
		(void)d->volume_rename(ctx, s->pool, name, other);
		break;
	case 3:
		vfs_close(s->h);
		s->h = NULL;
		(void)d->volume_delete(ctx, s->pool, name);
		break;
	case 4:
		(void)d->pool_sync(ctx, s->pool);
		break;
	case 5:
		(void)d->pool_check(ctx, s->pool, false);
		(void)d->volume_each(ctx, s->pool, craft_ignore_volume, &n);
		craft_list(s->k->vfs, "/");
		break;
	default:
		open_volume(s, name);
	}
}

static void operate(struct craft_core *k, struct rd *r)
{
	struct session s = { .k = k };

	(void)k->admin.driver->pool_each(k->admin.ctx, add_name, s.pool);
	open_volume(&s, "a");
	for (unsigned i = 0; i < OPERATIONS_MAX && rd_left(r); i++) {
		unsigned op = (unsigned)take(r, 1) % 16;

		if (op >= 9)
			operate_on_pool(&s, op - 9, r);
		else if (s.h)
			operate_on_volume(&s, op, r);
	}
	vfs_close(s.h);
	(void)k->admin.driver->pool_export(k->admin.ctx, s.pool, true);
}

/* Returns how much damage was found. */
static uint64_t check(struct craft_core *k, bool with_data)
{
	struct check_config config = { .with_data = with_data };
	struct blk_dev *devs[CRAFT_DEVICES_MAX];
	struct pool_check_report report;
	uint64_t damage_count;

	for (unsigned i = 0; i < k->device_count; i++)
		devs[i] = &k->disks[i]->dev;
	(void)check_devices(devs, k->device_count, &config, &report);
	damage_count = report.damage_count;
	pool_check_report_done(&report);
	return damage_count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_init(data, size);
	unsigned flags = (unsigned)take(&r, 1), edits = (unsigned)take(&r, 1) % EDITS_MAX;
	struct craft_core *k = &cores[flags & 3];
	struct craft c = craft_of(k);
	int ret;

	always(craft_open(&c));
	for (unsigned i = 0; i < edits; i++)
		edit_once(&r, &c);
	craft_reseal(&c, flags & 4);
	if (flags & 32)
		(void)check(k, flags & 64);
	ret = craft_import(k, flags & 8);
	if (ret)
		always(!craft_core_written(k));
	else
		operate(k, &r);
	/* What it has become is no worse. */
	if (!ret && flags & 16 && !craft_import(k, false))
		operate(k, &r);
	/* What was whole at first is whole in the end. */
	if (!edits)
		always(!check(k, true));
	craft_core_reset(k);
	return 0;
}

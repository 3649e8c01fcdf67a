/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools with right checksums and wrong contents: every field of every structure, and what trees and allocation maps say
 * about each other. They are refused untouched, or become read-only; they never end the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/fs/wfs3/cell.h"
#include "core/fs/wfs3/wal_codec.h"
#include "tests/unit/core/fs/wfs3/craft_core.h"
#include "tests/unit/slow.h"

struct field {
	const char *name;
	unsigned offset;
	unsigned bytes;
};

static const struct field label_fields[] = {
	{ "magic", 0, 8 },
	{ "version", 8, 4 },
	{ "reserved", 12, 4 },
	{ "incompat", 16, 8 },
	{ "ro_compat", 24, 8 },
	{ "compat", 32, 8 },
	{ "generation", 40, 8 },
	{ "pool_uuid", 48, 8 },
	{ "pool_name", 64, 8 },
	{ "name end", 127, 1 },
	{ "created", 128, 8 },
	{ "region_bytes", 136, 8 },
	{ "device_index", 144, 4 },
	{ "device_count", 148, 4 },
	{ "device_bytes", 152, 8 },
	{ "log_offset", 160, 8 },
	{ "log_bytes", 168, 8 },
	{ "ring_offset", 176, 8 },
	{ "ring_bytes", 184, 8 },
	{ "slots_offset", 192, 8 },
	{ "slots_bytes", 200, 8 },
	{ "regions_offset", 208, 8 },
	{ "region_count", 216, 4 },
	{ "reserved", 220, 8 },
	{ "device uuid", 512, 8 },
	{ "device size", 528, 8 },
	{ "device group", 536, 4 },
	{ "device state", 540, 4 },
	{ "device since", 544, 8 },
	{ "device reserved", 552, 8 },
	{ "second device uuid", 560, 8 },
	{ "second device size", 576, 8 },
	{ "second device group", 584, 4 },
	{ "second device state", 588, 4 },
	{ "second device since", 592, 8 },
	{ "unused device", 1024, 8 },
};

static const struct field root_fields[] = {
	{ "magic", 0, 8 },         { "pool_uuid", 24, 8 },        { "txg", 40, 8 },           { "time", 48, 8 },
	{ "tree addr", 56, 8 },    { "tree birth", 64, 8 },       { "ring_head", 88, 8 },     { "ring_tail", 96, 8 },
	{ "used_blocks", 104, 8 }, { "next_dataset_id", 112, 8 }, { "log_position", 120, 8 }, { "log_epoch", 128, 8 },
	{ "flags", 136, 8 },       { "reserved", 144, 8 },
};

static const struct field slot_fields[] = {
	{ "magic", 0, 8 },     { "pool_uuid", 24, 8 }, { "txg", 40, 8 },         { "virtual", 48, 4 },
	{ "physical", 52, 4 }, { "device", 56, 4 },    { "block_count", 60, 4 }, { "free_count", 64, 4 },
	{ "reserved", 68, 4 }, { "bitmap", 96, 8 },    { "bitmap", 104, 8 },     { "padding", 4088, 8 },
};

static const struct field record_fields[] = {
	{ "magic", 0, 8 },      { "pool_uuid", 24, 8 },     { "txg", 40, 8 },       { "position", 48, 8 },
	{ "prev_txg", 56, 8 },  { "prev_position", 64, 8 }, { "len_bytes", 72, 4 }, { "entry_count", 76, 4 },
	{ "flags", 80, 4 },     { "reserved", 84, 4 },      { "entry", 96, 8 },     { "entry", 104, 8 },
	{ "padding", 4088, 8 },
};

static const struct field node_fields[] = {
	{ "magic", 0, 4 },  { "version", 4, 1 }, { "level", 5, 1 }, { "flags", 6, 2 },
	{ "count", 8, 2 },  { "heap", 10, 2 },   { "zero", 12, 4 }, { "dataset", 16, 8 },
	{ "birth", 24, 8 }, { "slot", 32, 2 },   { "slot", 34, 2 },
};

static const struct field inode_fields[] = {
	{ "mode", 0, 4 },   { "uid", 4, 4 },     { "gid", 8, 4 },     { "links", 12, 4 },    { "flags", 16, 8 },
	{ "size", 24, 8 },  { "change", 32, 8 }, { "atime", 40, 8 },  { "mtime", 48, 8 },    { "ctime", 56, 8 },
	{ "btime", 64, 8 }, { "rdev", 72, 8 },   { "parent", 80, 8 }, { "reserved", 88, 8 },
};

static const struct field dataset_fields[] = {
	{ "type", 0, 1 },      { "state", 1, 1 },       { "name length", 2, 1 },  { "reserved", 3, 4 },
	{ "root addr", 8, 8 }, { "root birth", 16, 8 }, { "used blocks", 40, 8 }, { "next object", 48, 8 },
	{ "created", 56, 8 },  { "reserved", 64, 8 },   { "name", 80, 1 },
};

static const struct field cell_fields[] = {
	{ "segments", 0, 1 }, { "mapped", 1, 1 }, { "reserved", 2, 2 }, { "addr", 4, 4 }, { "place", 10, 1 },
	{ "count", 11, 1 },   { "birth", 12, 6 }, { "flags", 18, 2 },   { "crc", 20, 4 },
};

static const struct field batch_fields[] = {
	{ "magic", 0, 8 },     { "pool_uuid", 24, 8 }, { "epoch", 40, 8 },          { "position", 48, 8 },
	{ "durable", 56, 8 },  { "prev", 64, 8 },      { "len_bytes", 72, 4 },      { "record_bytes", 76, 4 },
	{ "reserved", 80, 8 }, { "type", 96, 4 },      { "record length", 100, 4 },
};

static const struct field log_record_fields[] = {
	{ "type", 0, 4 },   { "length", 4, 4 }, { "txg", 8, 8 },     { "dataset", 16, 8 }, { "object", 24, 8 },
	{ "count", 32, 8 }, { "first", 40, 8 }, { "second", 48, 8 }, { "third", 56, 8 },   { "fourth", 64, 8 },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define VALUES 10u

/* The thread sanitizer is slow, and what it looks for does not depend on values. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VALUE_STEP 4u
#endif
#endif
#ifndef VALUE_STEP
#define VALUE_STEP 1u
#endif

static uint64_t get_field(const uint8_t *p, const struct field *f)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < f->bytes; i++)
		v |= (uint64_t)p[f->offset + i] << 8 * i;
	return v;
}

static void put_field(uint8_t *p, const struct field *f, uint64_t v)
{
	for (unsigned i = 0; i < f->bytes; i++)
		p[f->offset + i] = (uint8_t)(v >> 8 * i);
}

static uint64_t wrong_value(uint64_t v, unsigned n, unsigned bytes)
{
	const uint64_t values[VALUES] = {
		0,        1,     UINT64_MAX, v + 1,           v - 1, v ^ UINT64_C(1) << (8 * bytes - 1),
		v + 4096, v * 2, v / 2,      UINT64_C(0x8000)
	};

	return values[n];
}

/* A pool that was refused is as it was before; one that was accepted is put to use. */
static void try_pool(struct craft_core *k, const char *structure, const struct field *f, uint64_t value)
{
	int ret;

	for (unsigned i = 0; i < k->device_count; i++)
		k->disks[i]->written = false;
	ret = craft_import(k, false);
	if (ret && craft_core_written(k))
		fail_msg("%s.%s = %#llx: refused with %d, but written to", structure, f->name,
		         (unsigned long long)value, ret);
	if (ret) {
		ret = craft_import(k, true);
		if (craft_core_written(k))
			fail_msg("%s.%s = %#llx: read-only, but written to", structure, f->name,
			         (unsigned long long)value);
	}
	if (!ret) {
		craft_use_pool(k);
		craft_export_all(k);
	}
	craft_core_reset(k);
}

typedef uint8_t *find_fn(struct craft *c);
typedef void seal_fn(struct craft *c, uint8_t *structure);

static void damage(struct craft_core *core, const char *structure, const struct field *fields, size_t count,
                   find_fn *find, seal_fn *seal)
{
	log_set_level((enum log_level)0);
	for (size_t i = 0; i < count; i++)
		for (unsigned n = 0; n < VALUES; n += VALUE_STEP) {
			struct craft c = craft_of(core);
			uint64_t old, value;
			uint8_t *p;

			if (!test_tries((unsigned)i * VALUES + n))
				continue;
			assert_true(craft_open(&c));
			p = find(&c);
			assert_non_null(p);
			old = get_field(p, &fields[i]);
			value = wrong_value(old, n, fields[i].bytes);
			put_field(p, &fields[i], value);
			if (get_field(p, &fields[i]) != old) {
				seal(&c, p);
				try_pool(core, structure, &fields[i], value);
			}
			craft_core_reset(core);
		}
	log_set_level(LOG_LEVEL_ERROR);
}

static void damage_fields(const char *structure, unsigned devices, const struct field *fields, size_t count,
                          find_fn *find, seal_fn *seal)
{
	struct craft_core k;

	craft_core_new(&k, devices);
	damage(&k, structure, fields, count, find, seal);
	craft_core_free(&k);
}

static uint8_t *find_label(struct craft *c)
{
	return craft_header(c, c->device_count - 1);
}

static void seal_label(struct craft *c, uint8_t *p)
{
	(void)p;
	craft_reseal_label(c, c->device_count - 1);
}

static uint8_t *find_root(struct craft *c)
{
	return c->root;
}

static void seal_tree(struct craft *c, uint8_t *p)
{
	(void)p;
	craft_reseal(c, false);
}

static void seal_tree_and_births(struct craft *c, uint8_t *p)
{
	(void)p;
	craft_reseal(c, true);
}

/* The newer one of the first region's pair: it holds trees and data. */
static uint8_t *find_slot(struct craft *c)
{
	uint8_t *s[2] = { craft_slot(c, 0, 0, 0), craft_slot(c, 0, 0, 1) };

	return get_le64(s[1] + 40) > get_le64(s[0] + 40) ? s[1] : s[0];
}

static void seal_slot(struct craft *c, uint8_t *p)
{
	craft_reseal_slot(c, p);
}

static void seal_record(struct craft *c, uint8_t *p)
{
	craft_reseal_record(c, p);
}

static uint8_t *find_node(struct craft *c, bool leaf, uint64_t dataset)
{
	for (unsigned i = 0; i < c->node_count; i++)
		if (!node_level(c->nodes[i]) == leaf && node_dataset(c->nodes[i]) == dataset)
			return c->nodes[i];
	return NULL;
}

static uint8_t *find_inner_node(struct craft *c)
{
	return find_node(c, false, 1);
}

static uint8_t *find_leaf(struct craft *c)
{
	return find_node(c, true, 1);
}

static uint8_t *find_pool_leaf(struct craft *c)
{
	return find_node(c, true, 0);
}

static uint8_t *find_item(struct craft *c, uint64_t dataset, uint64_t object, uint8_t kind, uint64_t offset)
{
	struct wfs3_key key = { .object = object, .kind = kind, .offset = offset };
	size_t len;

	return craft_item(c, dataset, &key, &len);
}

static uint8_t *find_inode(struct craft *c)
{
	return find_item(c, 1, 1, WFS3_KIND_INODE, 0);
}

static uint8_t *find_dataset(struct craft *c)
{
	return find_item(c, 0, 1, WFS3_KIND_DATASET, 0);
}

static uint8_t *find_cell(struct craft *c)
{
	return find_item(c, 1, 1, WFS3_KIND_CELL, 40);
}

static void test_every_field_of_a_label(void **state)
{
	(void)state;
	damage_fields("label", 1, label_fields, COUNT(label_fields), find_label, seal_label);
	damage_fields("second label", 2, label_fields, COUNT(label_fields), find_label, seal_label);
}

static void test_every_field_of_a_root(void **state)
{
	(void)state;
	damage_fields("root", 1, root_fields, COUNT(root_fields), find_root, seal_tree);
}

static void test_every_field_of_a_bitmap_slot(void **state)
{
	(void)state;
	damage_fields("slot", 1, slot_fields, COUNT(slot_fields), find_slot, seal_slot);
}

static void test_every_field_of_a_ring_record(void **state)
{
	(void)state;
	damage_fields("record", 1, record_fields, COUNT(record_fields), craft_newest_record, seal_record);
}

static void test_every_field_of_a_node(void **state)
{
	(void)state;
	damage_fields("node", 1, node_fields, COUNT(node_fields), find_inner_node, seal_tree);
	damage_fields("leaf", 1, node_fields, COUNT(node_fields), find_leaf, seal_tree_and_births);
	damage_fields("pool leaf", 1, node_fields, COUNT(node_fields), find_pool_leaf, seal_tree_and_births);
}

static void test_every_field_of_an_item(void **state)
{
	(void)state;
	damage_fields("inode", 1, inode_fields, COUNT(inode_fields), find_inode, seal_tree);
	damage_fields("dataset", 1, dataset_fields, COUNT(dataset_fields), find_dataset, seal_tree);
	damage_fields("cell", 1, cell_fields, COUNT(cell_fields), find_cell, seal_tree);
}

#define BATCHES_MAX 16u

static void seal_batches(struct craft *c, uint8_t *p)
{
	uint8_t *batches[BATCHES_MAX];
	unsigned count = craft_batches(c, batches, BATCHES_MAX);

	(void)p;
	craft_reseal_batches(c, batches, count);
}

static uint8_t *find_batch(struct craft *c)
{
	uint8_t *batches[BATCHES_MAX];

	return craft_batches(c, batches, BATCHES_MAX) > 1 ? batches[1] : NULL;
}

static uint8_t *find_log_record(struct craft *c, uint32_t type)
{
	uint8_t *batches[BATCHES_MAX];
	unsigned count = craft_batches(c, batches, BATCHES_MAX);

	return craft_log_record(batches, count, type);
}

static uint8_t *find_data_record(struct craft *c)
{
	return find_log_record(c, WAL_DATA);
}

static uint8_t *find_map_record(struct craft *c)
{
	return find_log_record(c, WAL_MAP);
}

static uint8_t *find_unmap_record(struct craft *c)
{
	return find_log_record(c, WAL_UNMAP);
}

static uint8_t *find_inode_record(struct craft *c)
{
	return find_log_record(c, WAL_INODE);
}

static void test_every_field_of_the_log(void **state)
{
	struct craft_core k;
	size_t n = COUNT(log_record_fields);

	(void)state;
	craft_core_make(&k, 1, CRAFT_WITH_LOG);
	damage(&k, "batch", batch_fields, COUNT(batch_fields), find_batch, seal_batches);
	damage(&k, "data record", log_record_fields, n, find_data_record, seal_batches);
	damage(&k, "map record", log_record_fields, n, find_map_record, seal_batches);
	damage(&k, "unmap record", log_record_fields, n, find_unmap_record, seal_batches);
	damage(&k, "inode record", log_record_fields, n, find_inode_record, seal_batches);
	craft_core_free(&k);
}

/* One half is damaged, with right checksums; the other one is as it was. */
static void test_every_field_of_one_half_of_a_mirror(void **state)
{
	struct craft_core k;

	(void)state;
	craft_core_make(&k, 2, CRAFT_MIRROR);
	damage(&k, "mirror's label", label_fields, COUNT(label_fields), find_label, seal_label);
	damage(&k, "mirror's slot", slot_fields, COUNT(slot_fields), find_slot, seal_slot);
	damage(&k, "mirror's record", record_fields, COUNT(record_fields), craft_newest_record, seal_record);
	damage(&k, "mirror's leaf", node_fields, COUNT(node_fields), find_leaf, seal_tree_and_births);
	craft_core_free(&k);
	craft_core_make(&k, 2, CRAFT_MIRROR | CRAFT_WITH_LOG);
	damage(&k, "mirror's batch", batch_fields, COUNT(batch_fields), find_batch, seal_batches);
	craft_core_free(&k);
}

/* Both volumes' handles, and the devices edited by @edit before the import. */
static void start_crafted(struct craft_core *k, void (*edit)(struct craft *c))
{
	struct craft c;

	craft_core_new(k, 1);
	c = craft_of(k);
	assert_true(craft_open(&c));
	edit(&c);
	craft_reseal(&c, false);
	log_set_level((enum log_level)0);
}

static void expect_read_only(struct craft_core *k)
{
	struct pool_info info;

	assert_int_equal(k->admin.driver->pool_get(k->admin.ctx, "tank", &info), 0);
	assert_int_equal(info.health, POOL_HEALTH_READ_ONLY);
	assert_non_null(strstr(info.reason, "not in use"));
	log_set_level(LOG_LEVEL_ERROR);
}

static void set_cell_addr(uint8_t *cell, uint64_t addr)
{
	put_le64(cell + 4, (get_le64(cell + 4) & ~WFS3_VBA_MAX) | addr);
}

static void point_cell_at_free_block(struct craft *c)
{
	uint64_t region_blocks = c->labels[0].region_bytes / WFS3_BLOCK_BYTES;

	/* The last block of all. */
	set_cell_addr(find_cell(c), (c->labels[0].layout.region_count + 1) * region_blocks - 1);
}

static void share_block_of_two_cells(struct craft *c)
{
	const uint8_t *other = find_item(c, 1, 1, WFS3_KIND_CELL, 39);

	set_cell_addr(find_cell(c), get_le64(other + 4) & WFS3_VBA_MAX);
	memcpy(find_cell(c) + 20, other + 20, 4);
}

static void test_overwriting_a_cell_of_a_free_block_makes_the_pool_read_only(void **state)
{
	struct craft_core k;
	struct vfs_handle *h;

	(void)state;
	start_crafted(&k, point_cell_at_free_block);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(vfs_open(k.vfs, "/tank/a", true, &h), 0);
	assert_int_equal(craft_write(h, 40 * WFS3_CELL_BYTES, 1, WFS3_BLOCK_BYTES), 0);
	assert_int_not_equal(k.admin.driver->pool_sync(k.admin.ctx, "tank"), 0);
	expect_read_only(&k);
	assert_int_equal(craft_read(h, 39 * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES), 0);
	assert_int_not_equal(craft_write(h, 0, 1, WFS3_BLOCK_BYTES), 0);
	vfs_close(h);
	craft_core_free(&k);
}

static void test_discarding_a_cell_of_a_free_block_is_an_error(void **state)
{
	struct craft_core k;
	struct vfs_handle *h;

	(void)state;
	start_crafted(&k, point_cell_at_free_block);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(vfs_open(k.vfs, "/tank/a", true, &h), 0);
	assert_int_equal(vfs_discard(h, 40 * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES, 0), -EUCLEAN);
	expect_read_only(&k);
	vfs_close(h);
	craft_core_free(&k);
}

static void test_a_block_of_two_cells_is_freed_once(void **state)
{
	struct craft_core k;
	struct vfs_handle *h;

	(void)state;
	start_crafted(&k, share_block_of_two_cells);
	assert_int_equal(craft_import(&k, false), 0);
	assert_int_equal(vfs_open(k.vfs, "/tank/a", true, &h), 0);
	assert_int_equal(vfs_discard(h, 39 * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES, 0), 0);
	assert_int_equal(vfs_discard(h, 40 * WFS3_CELL_BYTES, WFS3_BLOCK_BYTES, 0), -EUCLEAN);
	expect_read_only(&k);
	vfs_close(h);
	craft_core_free(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_of_a_label),
		cmocka_unit_test(test_every_field_of_a_root),
		cmocka_unit_test(test_every_field_of_a_bitmap_slot),
		cmocka_unit_test(test_every_field_of_a_ring_record),
		cmocka_unit_test(test_every_field_of_a_node),
		cmocka_unit_test(test_every_field_of_an_item),
		cmocka_unit_test(test_every_field_of_the_log),
		cmocka_unit_test(test_every_field_of_one_half_of_a_mirror),
		cmocka_unit_test(test_overwriting_a_cell_of_a_free_block_makes_the_pool_read_only),
		cmocka_unit_test(test_discarding_a_cell_of_a_free_block_is_an_error),
		cmocka_unit_test(test_a_block_of_two_cells_is_freed_once),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

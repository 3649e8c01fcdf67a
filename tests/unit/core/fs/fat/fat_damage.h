/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of damaged FAT volumes: an image to damage in a known way, and what has to be so afterwards. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_FAT_FAT_DAMAGE_H
#define WFSD_TESTS_UNIT_CORE_FS_FAT_FAT_DAMAGE_H

#include "core/fs/fat/bpb.h"
#include "core/fs/fat/format.h"
#include "tests/unit/core/fs/fat/fat_fixture.h"

#define DAMAGE_FILE_BYTES 9000u
#define DAMAGE_IMAGE_BYTES (2 * MIB)
#define DAMAGE_KEEP "KEEP    BIN"
#define DAMAGE_VICTIM "VICTIM~1BIN"
#define DAMAGE_OUTER "OUTER      "
#define DAMAGE_INNER "INNER      "
#define DAMAGE_LONG_NAME "victim of some damage.bin" /* the name of DAMAGE_VICTIM, in two parts */

static const struct {
	uint64_t size;
	struct fat_mkfs_options mkfs;
} damage_shapes[] = {
	{ 3 * MIB, { .type = 12, .cluster_bytes = 1024, .sector_bytes = 512 } },
	{ 16 * MIB, { .type = 16, .cluster_bytes = 1024, .sector_bytes = 512 } },
	{ 80 * MIB, { .type = 32, .cluster_bytes = 1024, .sector_bytes = 1024 } },
};
#define DAMAGE_SHAPES (sizeof(damage_shapes) / sizeof(damage_shapes[0]))

/* The part of the image that has everything; damage is done here, and then brought to the device. */
struct damage_image {
	uint8_t bytes[DAMAGE_IMAGE_BYTES];
	struct fat_geometry g;
};

static inline void damage_make(struct volume *v, unsigned shape, struct damage_image *ret)
{
	uint8_t data[DAMAGE_FILE_BYTES];
	struct fat_node *n, *outer;

	vol_make(v, damage_shapes[shape].size, &damage_shapes[shape].mkfs);
	vol_mount(v);
	vol_fill(data, sizeof(data), 1);
	n = vol_create(v->root, "KEEP.BIN");
	must(vol_write(n, data, sizeof(data), 0));
	fat_node_put(n);
	vol_fill(data, sizeof(data), 2);
	n = vol_create(v->root, DAMAGE_LONG_NAME);
	must(vol_write(n, data, sizeof(data), 0));
	fat_node_put(n);
	outer = vol_mkdir(v->root, "OUTER");
	n = vol_mkdir(outer, "INNER");
	fat_node_put(n);
	fat_node_put(outer);
	must(vol_unmount(v));
	blk_sim_peek(v->dev, 0, ret->bytes, sizeof(ret->bytes));
	must(fat_bpb_decode(ret->bytes, damage_shapes[shape].size, 4096, &ret->g));
	assert_in_range(ret->g.data_offset, 1, DAMAGE_IMAGE_BYTES / 2);
}

/* The short entry of this name, wherever it is. */
static inline uint8_t *damage_slot_of(struct damage_image *i, const char *name)
{
	for (size_t at = i->g.fat_offset + i->g.fat_bytes * i->g.fat_count; at < sizeof(i->bytes); at += SLOT_BYTES) {
		if (memcmp(i->bytes + at, name, SHORT_NAME_BYTES) == 0)
			return i->bytes + at;
	}
	fail_msg("%s is not there", name);
	return NULL;
}

static inline uint32_t damage_first_of(struct damage_image *i, const char *name)
{
	const uint8_t *slot = damage_slot_of(i, name);

	return get_le16(slot + SLOT_CLUSTER_LOW) | (uint32_t)get_le16(slot + SLOT_CLUSTER_HIGH) << 16;
}

static inline void damage_set_first(struct damage_image *i, const char *name, uint32_t cluster)
{
	uint8_t *slot = damage_slot_of(i, name);

	put_le16(slot + SLOT_CLUSTER_LOW, (uint16_t)cluster);
	if (i->g.type == FAT_TYPE_32)
		put_le16(slot + SLOT_CLUSTER_HIGH, (uint16_t)(cluster >> 16));
}

/* In every copy. */
static inline void damage_set_next(struct damage_image *i, uint32_t cluster, uint32_t value)
{
	for (unsigned copy = 0; copy < i->g.fat_count; copy++)
		vol_set_entry(i->bytes + i->g.fat_offset + copy * i->g.fat_bytes, i->g.type, cluster, value);
}

static inline void damage_assert_kept(struct volume *v)
{
	uint8_t data[DAMAGE_FILE_BYTES], got[DAMAGE_FILE_BYTES];
	struct fat_node *n = vol_find(v->root, "KEEP.BIN");

	assert_non_null(n);
	vol_fill(data, sizeof(data), 1);
	assert_int_equal(vol_read(n, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, data, sizeof(got));
	fat_node_put(n);
}

static inline void damage_assert_mended(struct volume *v, enum fat_finding_kind kind)
{
	struct fat_check_report report;

	(void)vol_check(v, false, false, &report);
	if (!report.by_kind[kind]) {
		(void)vol_check(v, false, true, NULL);
		fail_msg("%s was not found", fat_finding_name(kind));
	}
	(void)vol_check(v, true, false, &report);
	assert_int_equal(report.left_count, 0);
	assert_int_equal(vol_check(v, false, true, NULL), 0);
	vol_mount(v);
	damage_assert_kept(v);
	must(vol_unmount(v));
}

#endif

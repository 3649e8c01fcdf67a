/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of FAT: a volume on a simulated device, mounted and checked, and short ways to work on it. */
#ifndef WFSD_TESTS_UNIT_CORE_FS_FAT_FAT_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_FAT_FAT_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/blk/sim.h"
#include "core/cache/cache.h"
#include "core/fs/fat/check.h"
#include "core/fs/fat/fat.h"
#include "core/fs/fat/mkfs.h"

#define MIB (UINT64_C(1) << 20)

struct volume {
	struct budget *budget;
	struct cache *cache;
	struct blk_dev *dev;
	struct fat_fs *fs;
	struct fat_node *root;
};

static inline void must(int rc)
{
	char text[512];

	if (rc)
		fail_msg("%s", err_text(err_get(), rc, 1, text, sizeof(text)));
}

static inline void vol_mount(struct volume *v)
{
	struct fat_mount_options options = { .cache = v->cache, .budget = v->budget };

	must(fat_mount(v->dev, &options, &v->fs));
	v->root = fat_root(v->fs);
}

static inline int vol_unmount(struct volume *v)
{
	int rc;

	fat_node_put(v->root);
	rc = fat_unmount(v->fs);
	v->fs = NULL;
	v->root = NULL;
	return rc;
}

static inline void vol_make(struct volume *v, uint64_t size, const struct fat_mkfs_options *mkfs)
{
	struct cache_config config = {
		.dirty_max_bytes = 16 * MIB,
		.dirty_background_bytes = 8 * MIB,
		.writeback_age_ms = 60000,
		.writeback_threads = 1,
		.readahead_max_bytes = 256 * 1024,
	};

	*v = (struct volume){ .budget = budget_new(64 * MIB) };
	assert_non_null(v->budget);
	config.budget = v->budget;
	must(cache_new(&config, &v->cache));
	must(blk_sim_new("stick", size, &v->dev));
	must(fat_mkfs(v->dev, mkfs));
}

static inline void vol_done(struct volume *v)
{
	cache_free(v->cache);
	blk_close(v->dev);
	assert_int_equal(budget_used(v->budget), 0);
	budget_free(v->budget);
}

static inline void vol_print_finding(void *ctx, const struct fat_finding *f)
{
	(void)ctx;
	print_message("%s: %s\n", fat_finding_name(f->kind), f->text);
}

/* Check, or repair, a volume that is not mounted. Returns how many findings there were. */
static inline uint64_t vol_check(struct volume *v, bool repair, bool print, struct fat_check_report *ret)
{
	struct fat_check_options options = { .repair = repair, .found = print ? vol_print_finding : NULL };
	struct fat_check_report report;

	must(fat_check(v->dev, &options, ret ? ret : &report));
	return ret ? ret->finding_count : report.finding_count;
}

static inline int vol_write(struct fat_node *n, const void *data, size_t len, uint64_t offset)
{
	struct iovec iov = { .iov_len = len };

	memcpy(&iov.iov_base, &data, sizeof(data));
	return fat_write(n, &iov, 1, offset, 0);
}

static inline size_t vol_read(struct fat_node *n, void *data, size_t len, uint64_t offset)
{
	struct iovec iov = { .iov_base = data, .iov_len = len };
	size_t got = 0;

	must(fat_read(n, &iov, 1, offset, 0, &got));
	return got;
}

static inline struct fat_node *vol_create(struct fat_node *dir, const char *name)
{
	struct fat_node *n = NULL;

	must(fat_create(dir, name, strlen(name), &n));
	return n;
}

static inline struct fat_node *vol_mkdir(struct fat_node *dir, const char *name)
{
	struct fat_node *n = NULL;

	must(fat_mkdir(dir, name, strlen(name), &n));
	return n;
}

/* NULL: there is none. */
static inline struct fat_node *vol_find(struct fat_node *dir, const char *name)
{
	struct fat_node *n = NULL;
	int rc = fat_lookup(dir, name, strlen(name), &n);

	if (rc != -ENOENT)
		must(rc);
	return n;
}

static inline int vol_rename(struct fat_node *from_dir, const char *from, struct fat_node *to_dir, const char *to)
{
	return fat_rename(from_dir, from, strlen(from), to_dir, to, strlen(to), false);
}

/* In the bytes of a FAT. */
static inline void vol_set_entry(uint8_t *fat, enum fat_type type, uint32_t cluster, uint32_t value)
{
	if (type == FAT_TYPE_32)
		put_le32(fat + cluster * 4, value);
	else if (type == FAT_TYPE_16)
		put_le16(fat + cluster * 2, (uint16_t)value);
	else if (cluster & 1)
		put_le16(fat + cluster * 3 / 2,
		         (uint16_t)((get_le16(fat + cluster * 3 / 2) & 0xf) | (value & 0xfff) << 4));
	else
		put_le16(fat + cluster * 3 / 2,
		         (uint16_t)((get_le16(fat + cluster * 3 / 2) & 0xf000) | (value & 0xfff)));
}

static inline uint64_t vol_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static inline void vol_fill(void *buf, size_t len, uint64_t seed)
{
	uint8_t *p = buf;

	seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(vol_random(&seed) >> 32);
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of WFS v2: a simulated device, a cache, a volume. */
#ifndef WFSD_TESTS_WFS2_FIXTURE_H
#define WFSD_TESTS_WFS2_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/budget.h"
#include "core/base/bytes.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/blk/sim.h"
#include "core/cache/cache.h"
#include "core/fs/wfs2/check.h"
#include "core/fs/wfs2/codec.h"
#include "core/fs/wfs2/mkfs.h"
#include "core/fs/wfs2/wfs2.h"

struct fixture {
	struct blk_dev *dev;
	struct budget *budget;
	struct cache *cache;
	struct wfs2_fs *fs;
};

static inline void fixture_mkfs(struct fixture *f, uint32_t files)
{
	struct wfs2_mkfs_options options = { .label = "test", .id = { 1, 2, 3 }, .now_ns = 5, .file_count = files };

	assert_int_equal(wfs2_mkfs(f->dev, &options), 0);
}

static inline void fixture_init(struct fixture *f, uint64_t bytes)
{
	struct cache_config config = {
		.dirty_max_bytes = 16u << 20,
		.dirty_background_bytes = 8u << 20,
		.writeback_age_ms = 60000,
		.writeback_threads = 1,
	};

	*f = (struct fixture){ .budget = budget_new((size_t)64 << 20) };
	config.budget = f->budget;
	assert_int_equal(cache_new(&config, &f->cache), 0);
	assert_int_equal(blk_sim_new("sim", bytes, &f->dev), 0);
	fixture_mkfs(f, 0);
}

static inline int fixture_try_mount(struct fixture *f, bool read_only)
{
	struct wfs2_mount_options options = { .cache = f->cache, .budget = f->budget, .read_only = read_only };

	return wfs2_mount(f->dev, &options, &f->fs);
}

static inline void fixture_mount(struct fixture *f)
{
	assert_int_equal(fixture_try_mount(f, false), 0);
}

static inline void fixture_unmount(struct fixture *f)
{
	assert_int_equal(wfs2_unmount(f->fs), 0);
	f->fs = NULL;
}

static inline void fixture_done(struct fixture *f)
{
	if (f->fs)
		(void)wfs2_unmount(f->fs);
	blk_close(f->dev);
	cache_free(f->cache);
	budget_free(f->budget);
}

static inline struct wfs2_node *fixture_create(struct fixture *f, const char *name)
{
	struct wfs2_node *n;

	assert_int_equal(wfs2_create(f->fs, name, strlen(name), &n), 0);
	return n;
}

static inline struct wfs2_node *fixture_find(struct fixture *f, const char *name)
{
	struct wfs2_node *n;

	return wfs2_lookup(f->fs, name, strlen(name), &n) ? NULL : n;
}

static inline int fixture_write(struct wfs2_node *n, uint64_t offset, const void *data, size_t len)
{
	struct iovec iov = { .iov_len = len };

	memcpy(&iov.iov_base, &data, sizeof(data));
	return wfs2_write(n, &iov, 1, offset, 0);
}

static inline size_t fixture_read(struct wfs2_node *n, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	size_t got = 0;

	assert_int_equal(wfs2_read(n, &iov, 1, offset, 0, &got), 0);
	return got;
}

static inline uint64_t fixture_size(struct wfs2_node *n)
{
	struct wfs2_stat st;

	wfs2_stat(n, &st);
	return st.size_bytes;
}

static inline void fixture_fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245u + 12345u;
		buf[i] = (uint8_t)(seed >> 16);
	}
}

/* Findings of a check, which must be possible. */
static inline struct wfs2_check_report fixture_check(struct fixture *f, bool repair)
{
	struct wfs2_check_options options = { .repair = repair };
	struct wfs2_check_report report;

	assert_int_equal(wfs2_check(f->dev, &options, &report), 0);
	return report;
}

static inline void fixture_assert_clean(struct fixture *f)
{
	assert_int_equal(fixture_check(f, false).finding_count, 0);
}

/* A small generator that repeats itself: splitmix64. */
static inline uint64_t fixture_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests of pools on mirrors share: a pool with a volume, blocks with known contents, waiting for a whole mirror.
 */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_MIRROR_FIXTURE_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_MIRROR_FIXTURE_H

#include "tests/unit/core/fs/wfs3/pool_fixture.h"

#define VOL (16 * MIB)
#define DEVICE (64 * MIB)

static inline int create_mirrors(struct fixture *f, unsigned device_count, unsigned width)
{
	unsigned groups[FIXTURE_DEVICES];
	struct pool_create_args args = {
		.name = "tank", .devices = fixture_paths, .device_count = device_count, .groups = groups
	};

	for (unsigned i = 0; i < FIXTURE_DEVICES; i++)
		groups[i] = i / width;
	return f->admin.driver->pool_create(f->admin.ctx, &args);
}

static inline int import_these(struct fixture *f, const char *a, const char *b, const char *c, bool read_only)
{
	const char *paths[] = { a, b, c };
	char *name = NULL;
	int ret = f->admin.driver->pool_import(f->admin.ctx, paths, c ? 3 : b ? 2 : 1, read_only, &name);

	free(name);
	return ret;
}

static inline struct vfs_handle *open_vol(struct fixture *f)
{
	struct vfs_handle *h = NULL;

	assert_ok(vfs_open(f->vfs, "/tank/vm1", true, &h));
	return h;
}

/* Block @n holds pattern @n + @generation. */
static inline void put_blocks(struct vfs_handle *h, uint64_t from, uint64_t to, uint64_t generation)
{
	uint8_t *buf = malloc(4096);

	for (uint64_t n = from; n < to; n++) {
		pattern(buf, 4096, n + generation);
		assert_ok(write_at(h, n * 4096, buf, 4096, 0));
	}
	free(buf);
}

static inline void expect_blocks(struct vfs_handle *h, uint64_t from, uint64_t to, uint64_t generation)
{
	uint8_t *want = malloc(4096), *got = malloc(4096);

	for (uint64_t n = from; n < to; n++) {
		pattern(want, 4096, n + generation);
		assert_ok(read_at(h, n * 4096, got, 4096));
		assert_memory_equal(got, want, 4096);
	}
	free(want);
	free(got);
}

static inline void start(struct fixture *f, unsigned devices, unsigned width, struct vfs_handle **ret)
{
	fixture_init(f, devices, DEVICE);
	log_set_level((enum log_level)0);
	assert_ok(create_mirrors(f, devices, width));
	assert_ok(volume_create(f, "vm1", VOL));
	*ret = open_vol(f);
	put_blocks(*ret, 0, 1024, 0);
	assert_ok(vfs_flush(*ret, 0));
}

static inline void export_pool(struct fixture *f, struct vfs_handle *h)
{
	vfs_close(h);
	assert_ok(pool_export(f, "tank", false));
}

static inline void wait_until_whole(struct fixture *f)
{
	while (pool_info(f, "tank").health == POOL_HEALTH_DEGRADED)
		sync_sleep_ns(SYNC_NS_PER_MS);
	assert_int_equal(pool_info(f, "tank").health, POOL_HEALTH_ONLINE);
}

#endif

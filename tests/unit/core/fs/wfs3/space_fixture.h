/* SPDX-License-Identifier: BSD-3-Clause */
/* A small pool on simulated devices, for the tests of the space module. Include after cmocka.h. */
#ifndef WFSD_TESTS_SPACE_FIXTURE_H
#define WFSD_TESTS_SPACE_FIXTURE_H

#include <string.h>

#include "core/base/err.h"
#include "core/blk/sim.h"
#include "core/fs/wfs3/space.h"

/* How much of the random testing is done: the thread sanitizer is slow, and these tests have one thread. */
#if defined(__SANITIZE_THREAD__)
#define FIXTURE_EFFORT 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIXTURE_EFFORT 1
#endif
#endif
#ifndef FIXTURE_EFFORT
#define FIXTURE_EFFORT 10
#endif

#define FIXTURE_DEVICES_MAX 2
#define MIB (UINT64_C(1) << 20)
#define FIRST_TXG 10

struct fixture {
	struct blk_dev *devs[FIXTURE_DEVICES_MAX];
	struct space_device devices[FIXTURE_DEVICES_MAX];
	struct space_config config;
	uint32_t region_blocks;
	unsigned region_shift;
	uint32_t region_count;
};

/* splitmix64 */
static inline uint64_t rnd(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint32_t rnd_below(uint64_t *seed, uint32_t n)
{
	return (uint32_t)(rnd(seed) % n);
}

/* @ring_bytes 0: as laid out. */
static inline void fixture_init(struct fixture *f, unsigned device_count, uint64_t device_bytes, uint64_t region_bytes,
                                uint64_t ring_bytes)
{
	*f = (struct fixture){ 0 };
	for (unsigned i = 0; i < device_count; i++) {
		assert_int_equal(blk_sim_new(i ? "sim1" : "sim0", device_bytes, &f->devs[i]), 0);
		assert_int_equal(space_layout_make(device_bytes, region_bytes, &f->devices[i].layout), 0);
		if (ring_bytes)
			f->devices[i].layout.ring_bytes = ring_bytes;
		f->devices[i].dev = f->devs[i];
		f->region_count += f->devices[i].layout.region_count;
	}
	f->config = (struct space_config){
		.devices = f->devices,
		.device_count = device_count,
		.region_bytes = region_bytes,
		.pool_uuid = "the pool's uuid",
	};
	f->region_blocks = (uint32_t)(region_bytes / WFS3_BLOCK_BYTES);
	f->region_shift = (unsigned)__builtin_ctz(f->region_blocks);
}

static inline void fixture_done(struct fixture *f)
{
	for (unsigned i = 0; i < f->config.device_count; i++)
		blk_close(f->devs[i]);
}

static inline void fixture_flush(struct fixture *f)
{
	for (unsigned i = 0; i < f->config.device_count; i++)
		assert_int_equal(blk_flush(f->devs[i]), 0);
}

/* Dense number of a block, for models. */
static inline uint32_t fixture_index(const struct fixture *f, uint64_t addr)
{
	return (uint32_t)(addr - f->region_blocks);
}

static inline uint64_t fixture_addr(const struct fixture *f, uint32_t index)
{
	return (uint64_t)index + f->region_blocks;
}

static inline uint32_t fixture_blocks(const struct fixture *f)
{
	return f->region_count * f->region_blocks;
}

static inline void check_stats(struct space *s)
{
	struct space_stats t;

	space_get_stats(s, &t);
	assert_int_equal(t.total_blocks, t.used_blocks + t.in_flight_blocks + t.pending_blocks + t.free_blocks);
}

static inline void commit_one(struct space *s, uint64_t txg, struct space_run run)
{
	assert_int_equal(space_reserve(s, 1), 0);
	space_commit_run(s, txg, run);
}

static inline void free_one(struct space *s, uint64_t txg, struct space_run run)
{
	assert_int_equal(space_reserve(s, 1), 0);
	assert_int_equal(space_free_runs(s, txg, &run, 1), 0);
}

/* A whole commit: everything durable. */
static inline struct space_root commit_txg(struct fixture *f, struct space *s, uint64_t txg)
{
	struct space_root root = { 0 };

	space_set_open_txg(s, txg + 1);
	assert_int_equal(space_write(s, txg, &root), 0);
	fixture_flush(f);
	space_root_durable(s, txg);
	check_stats(s);
	return root;
}

#endif

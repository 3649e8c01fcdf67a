/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device: two images, what a reader sees now and what survives a power cut, and a bitmap of the sectors
 * in which they may differ.
 */
#include "core/blk/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk_ops.h"

#define SIM_SECTOR 512u
#define SIM_TRANSFER_MAX (1u << 20)

struct sim_dev {
	struct blk_dev dev;
	struct sync_mutex lock; /* everything below */
	uint8_t *now;
	uint8_t *durable;
	uint64_t *volatile_sectors; /* bitmap: written and not flushed */
	struct blk_sim_faults faults;
	uint64_t counts[BLK_OP_COUNT];
	bool unplugged;
	uint8_t *broken; /* by block: BROKEN_*; NULL: none is */
};

#define BROKEN_READ 1u
#define BROKEN_WRITE 2u

static struct sim_dev *to_sim(struct blk_dev *dev);

static void *map_zeroed(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t bitmap_words(uint64_t size)
{
	return div_round_up_u64(size / SIM_SECTOR, 64);
}

static void settle(struct sim_dev *s, uint64_t sector, bool keep) SYNC_REQUIRES(s->lock)
{
	uint64_t at = sector * SIM_SECTOR;

	if (keep)
		memcpy(s->durable + at, s->now + at, SIM_SECTOR);
	else
		memcpy(s->now + at, s->durable + at, SIM_SECTOR);
	s->volatile_sectors[sector / 64] &= ~(UINT64_C(1) << (sector % 64));
}

/* A well-mixed function of the seed and the sector. */
static bool seed_keeps(uint64_t seed, uint64_t sector)
{
	uint64_t x = seed ^ (sector * UINT64_C(0x9e3779b97f4a7c15));

	if (seed == 0 || seed == UINT64_MAX)
		return seed != 0;
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (x >> 40) & 1;
}

/* Decide every volatile sector by @seed. */
static void settle_all(struct sim_dev *s, uint64_t seed) SYNC_REQUIRES(s->lock)
{
	size_t words = bitmap_words(s->dev.caps.size_bytes);

	for (size_t w = 0; w < words; w++) {
		while (s->volatile_sectors[w]) {
			uint64_t sector = w * 64 + (unsigned)__builtin_ctzll(s->volatile_sectors[w]);

			settle(s, sector, seed_keeps(seed, sector));
		}
	}
}

static void changed(struct sim_dev *s, const struct blk_io *io) SYNC_REQUIRES(s->lock)
{
	uint64_t first = io->offset / SIM_SECTOR, end = (io->offset + io->len_bytes) / SIM_SECTOR;

	for (uint64_t sector = first; sector < end; sector++) {
		if (io->flags & BLK_FUA)
			settle(s, sector, true);
		else
			s->volatile_sectors[sector / 64] |= UINT64_C(1) << (sector % 64);
	}
}

/* What bad media make of a request. */
static int meet_bad_media(struct sim_dev *s, const struct blk_io *io) SYNC_REQUIRES(s->lock)
{
	uint64_t first = io->offset / BLK_ALIGN_MAX, end = (io->offset + io->len_bytes) / BLK_ALIGN_MAX;
	bool writes = io->op == BLK_WRITE || io->op == BLK_WRITE_ZEROES;

	if (!s->broken || (!writes && io->op != BLK_READ))
		return 0;
	for (uint64_t i = first; i < end; i++)
		if (s->broken[i] & (writes ? BROKEN_WRITE : BROKEN_READ))
			return -EIO;
	if (writes)
		memset(s->broken + first, 0, end - first);
	return 0;
}

/* The planned result of the next request of this kind. */
static int take_fault(struct sim_dev *s, enum blk_op op) SYNC_REQUIRES(s->lock)
{
	int64_t *left = &s->faults.fail_nth[op];

	__atomic_fetch_add(&s->counts[op], 1, __ATOMIC_RELAXED);
	if (s->unplugged)
		return -ENXIO;
	if (*left < 0)
		return 0;
	if (*left > 0) {
		(*left)--;
		return 0;
	}
	if (!s->faults.fail_from_nth)
		*left = -1;
	return s->faults.error;
}

static void perform(struct sim_dev *s, const struct blk_io *io) SYNC_REQUIRES(s->lock)
{
	uint8_t *p = s->now + io->offset;

	switch (io->op) {
	case BLK_READ:
		for (int i = 0; i < io->iov_count; p += io->iov[i++].iov_len)
			memcpy(io->iov[i].iov_base, p, io->iov[i].iov_len);
		break;
	case BLK_WRITE:
		for (int i = 0; i < io->iov_count; p += io->iov[i++].iov_len)
			memcpy(p, io->iov[i].iov_base, io->iov[i].iov_len);
		changed(s, io);
		break;
	case BLK_FLUSH:
		settle_all(s, UINT64_MAX);
		break;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		memset(p, 0, io->len_bytes);
		changed(s, io);
		break;
	}
}

/* A request that fails changes nothing. */
static void sim_start(struct blk_io *io)
{
	struct sim_dev *s = to_sim(io->dev);
	int rc;

	sync_mutex_lock(&s->lock);
	rc = take_fault(s, io->op);
	if (!rc)
		rc = meet_bad_media(s, io);
	if (!rc)
		perform(s, io);
	sync_mutex_unlock(&s->lock);
	blk_io_complete(io, rc);
}

static void unmap_images(struct sim_dev *s, uint64_t size)
{
	if (s->now)
		munmap(s->now, size);
	if (s->durable)
		munmap(s->durable, size);
	free(s->volatile_sectors);
	free(s->broken);
	s->broken = NULL;
}

static void sim_close(struct blk_dev *dev)
{
	struct sim_dev *s = to_sim(dev);

	unmap_images(s, dev->caps.size_bytes);
	sync_mutex_done(&s->lock);
	blk_dev_free(dev);
}

static const struct blk_ops sim_ops = {
	.start = sim_start,
	.close = sim_close,
};

static struct sim_dev *to_sim(struct blk_dev *dev)
{
	always(dev->ops == &sim_ops);
	return (struct sim_dev *)dev;
}

static int map_images(struct sim_dev *s, uint64_t size)
{
	if (!size || size % BLK_ALIGN_MAX)
		return err_set(-EINVAL, "device %s: size is not a multiple of %u", s->dev.name, BLK_ALIGN_MAX);
	s->now = map_zeroed(size);
	s->durable = map_zeroed(size);
	s->volatile_sectors = calloc(bitmap_words(size), sizeof(uint64_t));
	if (s->now && s->durable && s->volatile_sectors)
		return 0;
	unmap_images(s, size);
	return err_set(-ENOMEM, "device %s", s->dev.name);
}

int blk_sim_new(const char *name, uint64_t size, struct blk_dev **ret)
{
	struct sim_dev *s;
	int rc = blk_dev_alloc(sizeof(*s), &sim_ops, name, &s);

	if (rc)
		return rc;
	rc = map_images(s, size);
	if (rc) {
		blk_dev_free(&s->dev);
		return rc;
	}
	sync_mutex_init(&s->lock, SYNC_RANK_BLK, "sim device");
	/* As strict as devices get: 4096-byte alignment, a volatile cache. */
	s->dev.caps = (struct blk_caps){
		.transport = BLK_TRANSPORT_SIM,
		.size_bytes = size,
		.logical_block_bytes = BLK_ALIGN_MAX,
		.physical_block_bytes = BLK_ALIGN_MAX,
		.align_bytes = BLK_ALIGN_MAX,
		.max_transfer_bytes = SIM_TRANSFER_MAX,
		.queue_depth = 32,
		.volatile_cache = true,
		.fua = true,
		.discard = true,
		.write_zeroes = true,
	};
	blk_sim_set_faults(&s->dev, NULL);
	*ret = &s->dev;
	return 0;
}

void blk_sim_break(struct blk_dev *dev, uint64_t offset, uint64_t len, bool for_ever)
{
	struct sim_dev *s = to_sim(dev);

	sync_mutex_lock(&s->lock);
	if (!s->broken)
		s->broken = calloc(dev->caps.size_bytes / BLK_ALIGN_MAX, 1);
	always(s->broken && offset % BLK_ALIGN_MAX == 0 && len % BLK_ALIGN_MAX == 0);
	always(range_within(offset, len, dev->caps.size_bytes));
	memset(s->broken + offset / BLK_ALIGN_MAX, for_ever ? BROKEN_READ | BROKEN_WRITE : BROKEN_READ,
	       len / BLK_ALIGN_MAX);
	sync_mutex_unlock(&s->lock);
}

void blk_sim_mend(struct blk_dev *dev)
{
	struct sim_dev *s = to_sim(dev);

	sync_mutex_lock(&s->lock);
	if (s->broken)
		memset(s->broken, 0, dev->caps.size_bytes / BLK_ALIGN_MAX);
	sync_mutex_unlock(&s->lock);
}

void blk_sim_set_faults(struct blk_dev *dev, const struct blk_sim_faults *faults)
{
	struct sim_dev *s = to_sim(dev);
	struct blk_sim_faults plan = { .fail_nth = { -1, -1, -1, -1, -1 } };

	if (faults)
		plan = *faults;
	if (plan.error == 0)
		plan.error = -EIO;
	sync_mutex_lock(&s->lock);
	s->faults = plan;
	sync_mutex_unlock(&s->lock);
}

void blk_sim_power_cut(struct blk_dev *dev, uint64_t seed)
{
	struct sim_dev *s = to_sim(dev);

	sync_mutex_lock(&s->lock);
	settle_all(s, seed);
	sync_mutex_unlock(&s->lock);
}

static void set_unplugged(struct blk_dev *dev, bool unplugged)
{
	struct sim_dev *s = to_sim(dev);

	sync_mutex_lock(&s->lock);
	s->unplugged = unplugged;
	sync_mutex_unlock(&s->lock);
}

void blk_sim_unplug(struct blk_dev *dev)
{
	set_unplugged(dev, true);
}

void blk_sim_replug(struct blk_dev *dev)
{
	set_unplugged(dev, false);
}

/* The device is idle: its owner has closed what stands on it. */
SYNC_NO_ANALYSIS int blk_sim_resize(struct blk_dev *dev, uint64_t size)
{
	struct sim_dev *s = to_sim(dev);
	uint64_t old_size = dev->caps.size_bytes, *bitmap;
	void *now, *durable;

	if (!size || size % BLK_ALIGN_MAX)
		return err_set(-EINVAL, "device %s: size is not a multiple of %u", dev->name, BLK_ALIGN_MAX);
	settle_all(s, UINT64_MAX);
	bitmap = calloc(bitmap_words(size), sizeof(*bitmap));
	now = bitmap ? mremap(s->now, old_size, size, MREMAP_MAYMOVE) : MAP_FAILED;
	if (now == MAP_FAILED) {
		free(bitmap);
		return err_set(-ENOMEM, "device %s", dev->name);
	}
	durable = mremap(s->durable, old_size, size, MREMAP_MAYMOVE);
	if (durable == MAP_FAILED) {
		/* Only growing fails; give back what the first image gained. */
		s->now = now;
		munmap(s->now + old_size, size - old_size);
		free(bitmap);
		return err_set(-ENOMEM, "device %s", dev->name);
	}
	free(s->volatile_sectors);
	s->volatile_sectors = bitmap;
	s->now = now;
	s->durable = durable;
	dev->caps.size_bytes = size;
	return 0;
}

void blk_sim_peek(struct blk_dev *dev, uint64_t offset, void *buf, size_t len)
{
	struct sim_dev *s = to_sim(dev);

	always(range_within(offset, len, dev->caps.size_bytes));
	sync_mutex_lock(&s->lock);
	memcpy(buf, s->now + offset, len);
	sync_mutex_unlock(&s->lock);
}

void blk_sim_poke(struct blk_dev *dev, uint64_t offset, const void *buf, size_t len)
{
	struct sim_dev *s = to_sim(dev);

	always(range_within(offset, len, dev->caps.size_bytes));
	sync_mutex_lock(&s->lock);
	memcpy(s->now + offset, buf, len);
	memcpy(s->durable + offset, buf, len);
	sync_mutex_unlock(&s->lock);
}

uint64_t blk_sim_count(const struct blk_dev *dev, enum blk_op op)
{
	const struct sim_dev *s = (const struct sim_dev *)dev;

	return __atomic_load_n(&s->counts[op], __ATOMIC_RELAXED);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Crafted pools: devices in memory that go back to a saved state in no time, access to the structures that stand on
 * them, and new checksums for everything above what was edited. For tests and fuzzing; it trusts nothing it reads.
 */
#ifndef WFSD_TESTS_UNIT_CORE_FS_WFS3_CRAFT_H
#define WFSD_TESTS_UNIT_CORE_FS_WFS3_CRAFT_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk_ops.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/label_priv.h"
#include "core/fs/wfs3/node.h"
#include "core/fs/wfs3/space_codec.h"

#define CRAFT_DEVICES_MAX 2
#define CRAFT_NODES_MAX 64

/* A device: a private mapping of a file in memory, so that forgetting the changes is one call. */
struct craft_disk {
	struct blk_dev dev;
	struct sync_rwlock lock;
	uint8_t *bytes;
	int fd;
	bool written; /* atomic: anything that may change bytes was asked for */
};

static inline void craft_disk_start(struct blk_io *io)
{
	struct craft_disk *d = (struct craft_disk *)io->dev;
	uint8_t *p = d->bytes + io->offset;

	if (io->op == BLK_READ) {
		sync_rwlock_rdlock(&d->lock);
		for (int i = 0; i < io->iov_count; p += io->iov[i++].iov_len)
			memcpy(io->iov[i].iov_base, p, io->iov[i].iov_len);
		sync_rwlock_rdunlock(&d->lock);
	} else if (io->op != BLK_FLUSH) {
		sync_rwlock_wrlock(&d->lock);
		__atomic_store_n(&d->written, true, __ATOMIC_RELAXED);
		if (io->op != BLK_WRITE)
			memset(p, 0, io->len_bytes);
		for (int i = 0; io->op == BLK_WRITE && i < io->iov_count; p += io->iov[i++].iov_len)
			memcpy(p, io->iov[i].iov_base, io->iov[i].iov_len);
		sync_rwlock_wrunlock(&d->lock);
	}
	blk_io_complete(io, 0);
}

static inline void craft_disk_close(struct blk_dev *dev)
{
	struct craft_disk *d = (struct craft_disk *)dev;

	munmap(d->bytes, dev->caps.size_bytes);
	close(d->fd);
	sync_rwlock_done(&d->lock);
	blk_dev_free(dev);
}

static inline struct craft_disk *craft_disk_new(const char *name, uint64_t size)
{
	static const struct blk_ops ops = { .start = craft_disk_start, .close = craft_disk_close };
	struct craft_disk *d;

	always(blk_dev_alloc(sizeof(*d), &ops, name, &d) == 0);
	d->fd = memfd_create(name, 0);
	always(d->fd >= 0 && ftruncate(d->fd, (off_t)size) == 0);
	d->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, d->fd, 0);
	always(d->bytes != MAP_FAILED);
	sync_rwlock_init(&d->lock, SYNC_RANK_BLK, "crafted device");
	d->dev.caps = (struct blk_caps){
		.transport = BLK_TRANSPORT_MEM,
		.size_bytes = size,
		.logical_block_bytes = 512,
		.physical_block_bytes = 4096,
		.align_bytes = 512,
		.max_transfer_bytes = 1 << 20,
		.queue_depth = 32,
		.fua = true,
		.discard = true,
		.write_zeroes = true,
	};
	return d;
}

/* What it holds now is what craft_disk_reset() goes back to. */
static inline void craft_disk_save(struct craft_disk *d)
{
	static const uint8_t zeros[1 << 16];

	for (uint64_t at = 0; at < d->dev.caps.size_bytes; at += sizeof(zeros))
		if (memcmp(d->bytes + at, zeros, sizeof(zeros)))
			always(pwrite(d->fd, d->bytes + at, sizeof(zeros), (off_t)at) == (ssize_t)sizeof(zeros));
	d->written = false;
}

static inline void craft_disk_reset(struct craft_disk *d)
{
	always(madvise(d->bytes, d->dev.caps.size_bytes, MADV_DONTNEED) == 0);
	d->written = false;
}

/* A pool as its labels describe it at first; edited labels change nothing here. */
struct craft {
	unsigned device_count;
	uint8_t *images[CRAFT_DEVICES_MAX];
	struct label labels[CRAFT_DEVICES_MAX];
	uint64_t root_txg;
	uint8_t root[WFS3_BLOCK_BYTES]; /* the newest one; edit it here, craft_reseal() puts it into all slots */
	unsigned node_count;
	uint8_t *nodes[CRAFT_NODES_MAX]; /* from the pool tree's root on, parents first */
	uint64_t node_addrs[CRAFT_NODES_MAX];
};

/* @off_body: where what the checksum covers begins; it ends with the structure. */
static inline void craft_seal(uint8_t *p, size_t off_checksum, size_t off_body, size_t len)
{
	struct hash128 h = hash128(p + off_body, len - off_body);

	put_le64(p + off_checksum, h.lo);
	put_le64(p + off_checksum + 8, h.hi);
}

/* Where an address is, or NULL. Regions are numbered in the order of devices, as a new pool has them. */
static inline uint8_t *craft_at(const struct craft *c, uint64_t addr, uint64_t block_count)
{
	uint64_t region_blocks = c->labels[0].region_bytes / WFS3_BLOCK_BYTES;
	uint64_t number = addr / region_blocks, block = addr % region_blocks;

	if (!number || block_count > region_blocks - block)
		return NULL;
	for (unsigned d = 0; d < c->device_count; d++) {
		const struct space_layout *l = &c->labels[d].layout;

		if (number <= l->region_count)
			return c->images[d] + l->regions_offset + (number - 1) * c->labels[0].region_bytes +
			       block * WFS3_BLOCK_BYTES;
		number -= l->region_count;
	}
	return NULL;
}

static inline uint8_t *craft_header(const struct craft *c, unsigned device)
{
	return c->images[device] + LABEL_HEADER_OFFSET;
}

static inline uint8_t *craft_slot(const struct craft *c, unsigned device, unsigned region, unsigned which)
{
	return c->images[device] + c->labels[device].layout.slots_offset +
	       (2 * (uint64_t)region + which) * space_slot_bytes(c->labels[0].region_bytes);
}

static inline uint8_t *craft_root_slot(const struct craft *c, unsigned device, bool back, uint64_t txg)
{
	uint64_t label = back ? label_back_offset(c->labels[device].layout.device_bytes) : 0;

	return c->images[device] + label + LABEL_ROOTS_OFFSET + txg % LABEL_ROOT_SLOTS * WFS3_BLOCK_BYTES;
}

static inline void craft_add_nodes(struct craft *c, uint64_t addr, unsigned depth)
{
	uint8_t *page = craft_at(c, addr, WFS3_NODE_BLOCKS);

	if (!page || depth > NODE_LEVEL_MAX + 2 || c->node_count == CRAFT_NODES_MAX || node_check(page))
		return;
	c->node_addrs[c->node_count] = addr;
	c->nodes[c->node_count++] = page;
	for (unsigned i = 0; i < node_count(page); i++) {
		size_t len;
		const uint8_t *value = node_value(page, i, &len);

		if (node_level(page))
			craft_add_nodes(c, node_ptr(page, i).addr, depth + 1);
		else if (node_key(page, i).kind == WFS3_KIND_DATASET && len >= 40)
			craft_add_nodes(c, get_le64(value + 8), depth + 1);
	}
}

/* @images and @device_count are set. False: not a pool. */
static inline bool craft_open(struct craft *c)
{
	c->root_txg = 0;
	for (unsigned d = 0; d < c->device_count; d++)
		if (label_decode(craft_header(c, d), &c->labels[d]))
			return false;
	for (unsigned i = 0; i < LABEL_ROOT_SLOTS; i++) {
		const uint8_t *slot = craft_root_slot(c, 0, false, i);
		struct root r;

		if (root_decode(slot, c->labels[0].pool_uuid, &r) || r.txg < c->root_txg)
			continue;
		c->root_txg = r.txg;
		memcpy(c->root, slot, sizeof(c->root));
	}
	c->node_count = 0;
	craft_add_nodes(c, get_le64(c->root + 56), 0);
	return c->root_txg != 0;
}

/* Put the hash of the node at a pointer into it; first those of all nodes below. With @fix_birth its birth, too. */
static inline void craft_reseal_ptr(struct craft *c, uint8_t *ptr, bool fix_birth, unsigned depth)
{
	uint8_t *page = craft_at(c, get_le64(ptr), WFS3_NODE_BLOCKS);
	struct hash128 h;
	unsigned count;

	if (!page || depth > NODE_LEVEL_MAX + 2)
		return;
	count = node_check(page) ? 0 : node_count(page);
	for (unsigned i = 0; i < count; i++) {
		size_t len;
		uint8_t *value = page + (node_value(page, i, &len) - page);

		if (node_level(page))
			craft_reseal_ptr(c, value, fix_birth, depth + 1);
		else if (node_key(page, i).kind == WFS3_KIND_DATASET && len >= 40)
			craft_reseal_ptr(c, value + 8, fix_birth, depth + 1);
	}
	if (fix_birth)
		put_le64(ptr + 8, node_birth(page));
	h = hash128(page, WFS3_NODE_BYTES);
	put_le64(ptr + 16, h.lo);
	put_le64(ptr + 24, h.hi);
}

/* After edits of nodes or of the root. */
static inline void craft_reseal(struct craft *c, bool fix_birth)
{
	craft_reseal_ptr(c, c->root + 56, fix_birth, 0);
	craft_seal(c->root, ROOT_OFF_CHECKSUM, ROOT_OFF_BODY, WFS3_BLOCK_BYTES);
	for (unsigned d = 0; d < c->device_count; d++)
		for (unsigned back = 0; back < 2; back++)
			memcpy(craft_root_slot(c, d, back, c->root_txg), c->root, WFS3_BLOCK_BYTES);
}

/* After edits of a front label's header block: checksum, and the back label alike. */
static inline void craft_reseal_label(struct craft *c, unsigned device)
{
	uint8_t *h = craft_header(c, device);
	struct hash128 sum = hash128(h, LABEL_OFF_CHECKSUM);

	put_le64(h + LABEL_OFF_CHECKSUM, sum.lo);
	put_le64(h + LABEL_OFF_CHECKSUM + 8, sum.hi);
	memcpy(h + label_back_offset(c->labels[device].layout.device_bytes), h, WFS3_BLOCK_BYTES);
}

static inline void craft_reseal_slot(struct craft *c, uint8_t *slot)
{
	craft_seal(slot, 8, 24, space_slot_bytes(c->labels[0].region_bytes));
}

/* The newest record of allocation changes, where the root says that it ends; NULL: it wraps around, or there is none.
 */
static inline uint8_t *craft_newest_record(struct craft *c)
{
	const struct space_layout *l = &c->labels[0].layout;
	uint64_t head = get_le64(c->root + 88) % l->ring_bytes;

	for (uint64_t at = head; at >= WFS3_BLOCK_BYTES; at -= WFS3_BLOCK_BYTES) {
		uint8_t *p = c->images[0] + l->ring_offset + at - WFS3_BLOCK_BYTES;

		if (get_le64(p) == SPACE_RECORD_MAGIC)
			return p;
	}
	return NULL;
}

static inline void craft_reseal_record(const struct craft *c, uint8_t *record)
{
	uint64_t len = get_le32(record + 72);
	uint64_t room =
	        (uint64_t)(c->images[0] + c->labels[0].layout.ring_offset + c->labels[0].layout.ring_bytes - record);

	if (len >= 24 && len <= room)
		craft_seal(record, 8, 24, len);
}

/* The log behind the root: where its batches stand. No batch of a young pool wraps around. */
static inline unsigned craft_batches(const struct craft *c, uint8_t *ret[], unsigned max)
{
	const struct space_layout *l = &c->labels[0].layout;
	uint64_t position = get_le64(c->root + 120);
	unsigned count = 0;

	while (count < max) {
		uint64_t at = position % l->log_bytes, len;
		uint8_t *p = c->images[0] + l->log_offset + at;

		len = get_le32(p + 72);
		if (memcmp(p, "WFS3WLOG", 8) || get_le64(p + 48) != position || len < WFS3_BLOCK_BYTES ||
		    len > l->log_bytes - at)
			break;
		ret[count++] = p;
		position += len;
	}
	return count;
}

/* Checksums of batches as craft_batches() found them; each names the one before. */
static inline void craft_reseal_batches(const struct craft *c, uint8_t *const batches[], unsigned count)
{
	const uint8_t *end = c->images[0] + c->labels[0].layout.log_offset + c->labels[0].layout.log_bytes;

	for (unsigned i = 0; i < count; i++) {
		uint64_t len = get_le32(batches[i] + 72);

		if (i && get_le64(batches[i] + 64))
			put_le64(batches[i] + 64, get_le64(batches[i - 1] + 8));
		if (len >= WFS3_BLOCK_BYTES && len <= (uint64_t)(end - batches[i]))
			craft_seal(batches[i], 8, 24, len);
	}
}

/* The first record of a type, NULL: none. */
static inline uint8_t *craft_log_record(uint8_t *const batches[], unsigned count, uint32_t type)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t end = 96 + (uint64_t)get_le32(batches[i] + 76), at = 96;

		for (; at + 40 <= end && get_le32(batches[i] + at + 4) >= 40; at += get_le32(batches[i] + at + 4))
			if (get_le32(batches[i] + at) == type)
				return batches[i] + at;
	}
	return NULL;
}

/* The value of an item in the leaves that were found by craft_open(); NULL: none. */
static inline uint8_t *craft_item(const struct craft *c, uint64_t dataset, const struct wfs3_key *key, size_t *ret_len)
{
	for (unsigned i = 0; i < c->node_count; i++) {
		uint8_t *page = c->nodes[i];
		unsigned slot;

		if (!node_level(page) && node_dataset(page) == dataset && node_search(page, key, &slot))
			return page + (node_value(page, slot, ret_len) - page);
	}
	return NULL;
}

#endif

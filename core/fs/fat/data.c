/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File contents between the page cache and the device. Pages are zero beyond the file's size, whatever the device has
 * there; what the device has up to the size is right, or a dirty page says better.
 */
#include <errno.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/cache/cache.h"
#include "core/fs/fat/fat_priv.h"

/* The part of page @index that lies below @end, from or to memory at @mem. */
static void add_page(struct fat_node *n, struct fat_medium_batch *b, uint64_t index, uint64_t end, void *mem)
{
	const struct fat_geometry *g = &n->fs->g;
	uint64_t at = index * CACHE_PAGE_BYTES, mapped = (uint64_t)n->map.cluster_count * g->cluster_bytes;

	end = min_u64(min_u64(end, mapped), at + CACHE_PAGE_BYTES);
	for (uint64_t pos = at; pos < end;) {
		uint32_t run, within = (uint32_t)(pos % g->cluster_bytes);
		uint32_t cluster = fat_map_find(&n->map, (uint32_t)(pos / g->cluster_bytes), &run);
		uint64_t len = min_u64(end - pos, (uint64_t)run * g->cluster_bytes - within);

		fat_medium_batch_add(b, fat_cluster_offset(g, cluster) + within, (uint8_t *)mem + (pos - at),
		                     (size_t)len);
		pos += len;
	}
}

static int data_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	struct fat_node *n = ctx;
	uint64_t size = __atomic_load_n(&n->size_bytes, __ATOMIC_ACQUIRE);
	struct fat_medium_batch b;
	int rc;

	fat_medium_batch_init(&b, &n->fs->medium, BLK_READ);
	sync_mutex_lock(&n->map_lock);
	for (unsigned i = 0; i < count; i++) {
		hole[i] = (first + i) * CACHE_PAGE_BYTES >= size;
		if (data[i] && !hole[i])
			add_page(n, &b, first + i, size, data[i]);
	}
	sync_mutex_unlock(&n->map_lock);
	rc = fat_medium_batch_run(&b);
	if (rc)
		return err_add(rc, "%s: a file cannot be read at %llu", blk_name(n->fs->medium.dev),
		               (unsigned long long)first * CACHE_PAGE_BYTES);
	for (unsigned i = 0; i < count; i++) {
		uint64_t left = size - min_u64(size, (first + i) * CACHE_PAGE_BYTES);

		if (!data[i] || hole[i])
			continue;
		if (left < CACHE_PAGE_BYTES)
			memset((uint8_t *)data[i] + left, 0, CACHE_PAGE_BYTES - (size_t)left);
		crc[i] = crc32c(data[i], CACHE_PAGE_BYTES);
	}
	return 0;
}

static void data_writeback(void *ctx, struct cache_page *pages, unsigned count)
{
	struct fat_node *n = ctx;
	struct fat_medium_batch b;
	int rc = 0;

	fat_medium_batch_init(&b, &n->fs->medium, BLK_WRITE);
	sync_mutex_lock(&n->map_lock);
	for (unsigned i = 0; i < count; i++) {
		void *mem;

		memcpy(&mem, &pages[i].data, sizeof(mem)); /* it is only read */
		add_page(n, &b, pages[i].index, UINT64_MAX, mem);
	}
	sync_mutex_unlock(&n->map_lock);
	for (unsigned i = 0; rc == 0 && i < count; i++) {
		if (crc32c(pages[i].data, CACHE_PAGE_BYTES) != pages[i].crc)
			rc = err_set(-EIO, "a page changed in memory");
	}
	if (rc == 0)
		rc = fat_medium_batch_run(&b);
	else
		fat_medium_batch_drop(&b);
	for (unsigned i = 0; i < count; i++)
		pages[i].result = rc;
}

static const struct cache_file_ops data_ops = { .fill = data_fill, .writeback = data_writeback };

int fat_data_open(struct fat_node *n)
{
	return cache_file_new(n->fs->cache, &data_ops, n, n->size_bytes, &n->data);
}

void fat_data_touch(struct fat_node *n)
{
	uint64_t now = fat_fs_now();

	n->d.mtime_ns = fat_dirent_round_mtime(now);
	n->d.atime_ns = fat_dirent_round_atime(now, n->fs->utc_offset_s);
	n->d.attr |= FAT_ATTR_ARCHIVE;
	n->entry_changed = true;
	fat_node_changed(n);
}

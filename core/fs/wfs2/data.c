/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File contents between the page cache and the device: a page is a block. Adjacent blocks are one request, and all
 * requests go out together. Pages are zero behind the file's size, whatever the device has there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

#define IOVS_PER_REQUEST 1024 /* IOV_MAX */

struct transfer {
	struct wfs2_node *n;
	enum blk_op op;
	struct blk_io *ios;
	struct iovec *iovs;
	unsigned io_count, iov_count;
};

static int transfer_init(struct transfer *t, struct wfs2_node *n, enum blk_op op, unsigned page_count)
{
	*t = (struct transfer){ .n = n, .op = op };
	t->ios = calloc(page_count, sizeof(*t->ios));
	t->iovs = calloc(page_count, sizeof(*t->iovs));
	if (t->ios && t->iovs)
		return 0;
	free(t->ios);
	free(t->iovs);
	return err_set(-ENOMEM, "no memory for a request of %u pages", page_count);
}

/* The map_lock is held. */
static int transfer_add(struct transfer *t, uint64_t index, void *mem)
{
	uint32_t run, block = wfs2_map_find(&t->n->e, index, &run);
	struct blk_io *io = t->io_count ? &t->ios[t->io_count - 1] : NULL;
	uint64_t offset = (uint64_t)block * WFS2_BLOCK_BYTES;

	if (!run)
		return err_set(-EIO, "device %s: block %llu of a file is nowhere", blk_name(t->n->fs->dev),
		               (unsigned long long)index);
	t->iovs[t->iov_count] = (struct iovec){ .iov_base = mem, .iov_len = WFS2_BLOCK_BYTES };
	if (!io || io->offset + io->len_bytes != offset || io->iov_count == IOVS_PER_REQUEST) {
		io = &t->ios[t->io_count++];
		*io = (struct blk_io){ .op = t->op, .offset = offset, .iov = &t->iovs[t->iov_count] };
	}
	io->iov_count++;
	io->len_bytes += WFS2_BLOCK_BYTES;
	t->iov_count++;
	return 0;
}

static int transfer_run(struct transfer *t, int rc)
{
	struct blk_batch batch;

	if (rc == 0) {
		blk_batch_init(&batch);
		for (unsigned i = 0; i < t->io_count; i++)
			blk_batch_add(&batch, t->n->fs->dev, &t->ios[i]);
		rc = blk_batch_wait(&batch);
	}
	free(t->ios);
	free(t->iovs);
	return rc;
}

static int data_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[])
{
	struct wfs2_node *n = ctx;
	struct transfer t;
	uint64_t size;
	int rc = transfer_init(&t, n, BLK_READ, count);

	if (rc)
		return rc;
	sync_mutex_lock(&n->map_lock);
	size = n->e.size_bytes;
	for (unsigned i = 0; i < count; i++) {
		hole[i] = (first + i) * CACHE_PAGE_BYTES >= size;
		if (rc == 0 && data[i] && !hole[i])
			rc = transfer_add(&t, first + i, data[i]);
	}
	sync_mutex_unlock(&n->map_lock);
	rc = transfer_run(&t, rc);
	if (rc)
		return err_add(rc, "device %s: a file cannot be read at %llu", blk_name(n->fs->dev),
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
	struct wfs2_node *n = ctx;
	struct transfer t;
	int rc = transfer_init(&t, n, BLK_WRITE, count);

	if (rc == 0) {
		sync_mutex_lock(&n->map_lock);
		for (unsigned i = 0; rc == 0 && i < count; i++) {
			void *mem;

			memcpy(&mem, &pages[i].data, sizeof(mem)); /* it is only read */
			rc = transfer_add(&t, pages[i].index, mem);
		}
		sync_mutex_unlock(&n->map_lock);
		for (unsigned i = 0; rc == 0 && i < count; i++) {
			if (crc32c(pages[i].data, CACHE_PAGE_BYTES) != pages[i].crc)
				rc = err_set(-EIO, "a page changed in memory");
		}
		rc = transfer_run(&t, rc);
	}
	for (unsigned i = 0; i < count; i++)
		pages[i].result = rc;
}

const struct cache_file_ops wfs2_data_ops = { .fill = data_fill, .writeback = data_writeback };

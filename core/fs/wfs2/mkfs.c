/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a volume: the structures first, the superblock last. */
#include "core/fs/wfs2/mkfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/volume.h"

static int write_zeros(struct blk_dev *dev, uint64_t first, uint64_t count)
{
	struct blk_io io = {
		.op = BLK_WRITE_ZEROES,
		.offset = first * WFS2_BLOCK_BYTES,
		.len_bytes = count * WFS2_BLOCK_BYTES,
	};
	struct blk_batch batch;

	blk_batch_init(&batch);
	blk_batch_add(&batch, dev, &io);
	return blk_batch_wait(&batch);
}

/* Of the blocks of the bitmap only the first and the last ones have anything. */
static int write_bitmap(struct blk_dev *dev, const struct wfs2_super *s, uint8_t *block)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->bitmap_blocks; i++) {
		uint64_t base = (uint64_t)i * WFS2_BITS_PER_BLOCK;
		bool any = false;

		memset(block, 0, WFS2_BLOCK_BYTES);
		for (uint32_t bit = 0; bit < WFS2_BITS_PER_BLOCK; bit++) {
			if (base + bit >= s->data_first && base + bit < s->block_count - 1)
				continue;
			block[bit / 8] = (uint8_t)(block[bit / 8] | 1u << bit % 8);
			any = true;
		}
		if (any)
			rc = wfs2_block_write(dev, s->bitmap_first + i, block);
	}
	return rc;
}

static int write_all(struct blk_dev *dev, const struct wfs2_super *s, uint8_t *block)
{
	int rc = write_zeros(dev, 0, s->data_first);

	if (rc == 0)
		rc = write_bitmap(dev, s, block);
	for (unsigned mark = 0; rc == 0 && mark < MARK_COUNT; mark++) {
		wfs2_mark_encode(s, mark, block);
		rc = wfs2_block_write(dev, wfs2_mark_block(s, mark), block);
	}
	wfs2_super_encode(s, block);
	if (rc == 0)
		rc = wfs2_block_write(dev, s->block_count - 1, block);
	if (rc == 0)
		rc = blk_flush(dev);
	if (rc == 0)
		rc = wfs2_block_write(dev, 0, block);
	return rc ? rc : blk_flush(dev);
}

int wfs2_mkfs(struct blk_dev *dev, const struct wfs2_mkfs_options *options)
{
	uint64_t blocks = min_u64(blk_caps(dev)->size_bytes / WFS2_BLOCK_BYTES, WFS2_BLOCKS_MAX);
	uint64_t files = options->file_count;
	struct wfs2_super s = { .created_ns = options->now_ns };
	uint8_t *block;
	int rc;

	if (!files)
		files = min_u64(round_up_u64(blocks / 4, WFS2_SLOTS_PER_BLOCK), WFS2_FILES_MAX);
	if (options->label && strlen(options->label) > WFS2_LABEL_MAX)
		return err_set(-EINVAL, "a label has at most %u bytes", WFS2_LABEL_MAX);
	rc = wfs2_layout(blocks, files, &s);
	if (rc)
		return err_add(rc, "device %s", blk_name(dev));
	if (options->label)
		memcpy(s.label, options->label, strlen(options->label));
	memcpy(s.id, options->id, sizeof(s.id));
	block = aligned_alloc(WFS2_BLOCK_BYTES, WFS2_BLOCK_BYTES);
	if (!block)
		return err_set(-ENOMEM, "no memory for a block");
	rc = write_all(dev, &s, block);
	free(block);
	return rc;
}

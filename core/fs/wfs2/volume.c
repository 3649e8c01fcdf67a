/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading and writing the structures of a volume as a whole. */
#include "core/fs/wfs2/volume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/blk/blk.h"

bool wfs2_found(struct wfs2_findings *f, enum wfs2_finding_kind kind, const char *fmt, ...)
{
	struct wfs2_finding finding = { .kind = kind, .repaired = f->mend >> kind & 1 };
	va_list args;

	va_start(args, fmt);
	vsnprintf(finding.text, sizeof(finding.text), fmt, args);
	va_end(args);
	/* Names come from the device. */
	for (char *c = finding.text; *c; c++)
		*c = (unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f ? '?' : *c;
	f->count++;
	f->by_kind[kind]++;
	if (!finding.repaired)
		f->left++;
	if (f->found)
		f->found(f->ctx, &finding);
	return finding.repaired;
}

int wfs2_block_read(struct blk_dev *dev, uint64_t block, void *buf)
{
	return blk_read(dev, block * WFS2_BLOCK_BYTES, buf, WFS2_BLOCK_BYTES);
}

int wfs2_block_write(struct blk_dev *dev, uint64_t block, const void *buf)
{
	return blk_write(dev, block * WFS2_BLOCK_BYTES, buf, WFS2_BLOCK_BYTES, 0);
}

static const char *last_text(void)
{
	return err_get()->frames[0].text;
}

/* A superblock that fits the device, from where it should lie. */
static int read_super_at(struct blk_dev *dev, uint64_t block, uint8_t *buf, struct wfs2_super *ret)
{
	uint64_t device_blocks = blk_caps(dev)->size_bytes / WFS2_BLOCK_BYTES;
	int rc = wfs2_block_read(dev, block, buf);

	if (rc == 0)
		rc = wfs2_super_decode(buf, ret);
	if (rc == 0 && ret->block_count > device_blocks)
		rc = err_set(-EUCLEAN, "superblock: a volume of %u blocks on a device of %" PRIu64, ret->block_count,
		             device_blocks);
	if (rc == 0 && block && ret->block_count != block + 1)
		rc = err_set(-EUCLEAN,
		             "superblock: block %" PRIu64 " is not where the copy of a volume of %u blocks lies", block,
		             ret->block_count);
	return rc;
}

static int read_super(struct wfs2_volume *v, struct wfs2_findings *f, uint8_t *buf)
{
	uint64_t device_blocks = blk_caps(v->dev)->size_bytes / WFS2_BLOCK_BYTES;
	uint8_t want[WFS2_BLOCK_BYTES];
	struct wfs2_super copy;
	struct err first;
	int rc, second;

	if (device_blocks < WFS2_BLOCKS_MIN)
		return err_set(-EUCLEAN, "device %s: too small for a WFS v2 volume", blk_name(v->dev));
	rc = read_super_at(v->dev, 0, buf, &v->super);
	if (rc) {
		err_take(&first);
		if (read_super_at(v->dev, device_blocks - 1, buf, &v->super)) {
			err_restore(&first);
			return err_add(rc, "device %s", blk_name(v->dev));
		}
		v->mend_super = wfs2_found(f, WFS2_FINDING_SUPER, "%s; its copy is good", first.frames[0].text);
		return 0;
	}
	second = read_super_at(v->dev, v->super.block_count - 1, buf, &copy);
	wfs2_super_encode(&v->super, want);
	if (second)
		v->mend_copy = wfs2_found(f, WFS2_FINDING_COPY, "the superblock's copy: %s", last_text());
	else if (memcmp(want, buf, sizeof(want)) != 0)
		v->mend_copy = wfs2_found(f, WFS2_FINDING_COPY, "the superblock's copy differs");
	return 0;
}

static int read_marks(struct wfs2_volume *v, struct wfs2_findings *f, uint8_t *buf)
{
	for (unsigned mark = 0; mark < MARK_COUNT; mark++) {
		int rc = wfs2_block_read(v->dev, wfs2_mark_block(&v->super, mark), buf);

		if (rc)
			return rc;
		if (wfs2_mark_check(&v->super, mark, buf) && wfs2_found(f, WFS2_FINDING_MARKER, "%s", last_text()))
			v->mend_marks |= 1u << mark;
	}
	return 0;
}

static int read_area(struct wfs2_volume *v, uint32_t first, uint32_t blocks, uint8_t **ret, uint8_t **ret_dirty)
{
	size_t len = (size_t)blocks * WFS2_BLOCK_BYTES;

	*ret = aligned_alloc(WFS2_BLOCK_BYTES, len);
	*ret_dirty = calloc(blocks, 1);
	if (!*ret || !*ret_dirty)
		return err_set(-ENOMEM, "no memory for %u blocks of structures", blocks);
	return blk_read(v->dev, (uint64_t)first * WFS2_BLOCK_BYTES, *ret, len);
}

int wfs2_volume_read(struct blk_dev *dev, struct wfs2_findings *f, struct wfs2_volume *ret)
{
	struct wfs2_volume v = { .dev = dev };
	uint8_t *buf = aligned_alloc(WFS2_BLOCK_BYTES, WFS2_BLOCK_BYTES);
	int rc = buf ? read_super(&v, f, buf) : err_set(-ENOMEM, "no memory for a block");

	if (rc == 0)
		rc = read_marks(&v, f, buf);
	if (rc == 0)
		rc = read_area(&v, v.super.bitmap_first, v.super.bitmap_blocks, &v.bitmap, &v.bitmap_dirty);
	if (rc == 0)
		rc = read_area(&v, v.super.table_first, v.super.table_blocks, &v.table, &v.table_dirty);
	if (rc == 0)
		rc = wfs2_index_init(&v.index, &v.super);
	free(buf);
	if (rc)
		wfs2_volume_done(&v);
	else
		*ret = v;
	return rc;
}

void wfs2_volume_done(struct wfs2_volume *v)
{
	free(v->bitmap);
	free(v->bitmap_dirty);
	free(v->table);
	free(v->table_dirty);
	wfs2_index_done(&v->index);
}

void wfs2_slot_set(struct wfs2_volume *v, uint32_t slot, const struct wfs2_entry *e)
{
	wfs2_entry_encode(e, wfs2_slot(v, slot));
	v->table_dirty[slot / WFS2_SLOTS_PER_BLOCK] = 1;
}

static int write_area(struct wfs2_volume *v, uint32_t first, uint32_t blocks, const uint8_t *area, uint8_t *dirty)
{
	bool any = false;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < blocks; i++) {
		if (!dirty[i])
			continue;
		rc = wfs2_block_write(v->dev, first + i, area + (uint64_t)i * WFS2_BLOCK_BYTES);
		if (rc == 0)
			dirty[i] = 0;
		any = true;
	}
	return rc || !any ? rc : blk_flush(v->dev);
}

static int write_frame(struct wfs2_volume *v)
{
	uint8_t *block = aligned_alloc(WFS2_BLOCK_BYTES, WFS2_BLOCK_BYTES);
	int rc = block ? 0 : err_set(-ENOMEM, "no memory for a block");

	for (unsigned mark = 0; rc == 0 && mark < MARK_COUNT; mark++) {
		if (!(v->mend_marks >> mark & 1))
			continue;
		wfs2_mark_encode(&v->super, mark, block);
		rc = wfs2_block_write(v->dev, wfs2_mark_block(&v->super, mark), block);
	}
	if (rc == 0)
		wfs2_super_encode(&v->super, block);
	if (rc == 0 && v->mend_copy)
		rc = wfs2_block_write(v->dev, v->super.block_count - 1, block);
	if (rc == 0 && v->mend_super)
		rc = wfs2_block_write(v->dev, 0, block);
	free(block);
	return rc ? rc : blk_flush(v->dev);
}

int wfs2_volume_write(struct wfs2_volume *v)
{
	int rc = 0;

	if (v->mend_super || v->mend_copy || v->mend_marks)
		rc = write_frame(v);
	if (rc == 0)
		rc = write_area(v, v->super.table_first, v->super.table_blocks, v->table, v->table_dirty);
	if (rc == 0)
		rc = write_area(v, v->super.bitmap_first, v->super.bitmap_blocks, v->bitmap, v->bitmap_dirty);
	return rc;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* A file's blocks: finding, adding, cutting them. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs2/wfs2_priv.h"

/* Kept behind a growing file: as much as it has, within these bounds. */
#define KEEP_MIN_BLOCKS 16u
#define KEEP_MAX_BLOCKS 65536u

uint32_t wfs2_map_find(const struct wfs2_entry *e, uint64_t index, uint32_t *ret_run)
{
	for (unsigned i = 0; i < e->extent_count; i++) {
		const struct wfs2_extent *x = &e->extents[i];

		if (index < x->count) {
			*ret_run = x->count - (uint32_t)index;
			return x->first + (uint32_t)index;
		}
		index -= x->count;
	}
	*ret_run = 0;
	return 0;
}

/* The bits of [first, first + count) as the device is to have them. The file system's lock is held. */
static void set_bits(struct wfs2_fs *fs, const struct wfs2_extent *x, bool used)
{
	for (uint32_t block = x->first; block < x->first + x->count; block++) {
		uint8_t *byte = &fs->v.bitmap[block / 8], bit = (uint8_t)(1u << block % 8);

		*byte = used ? *byte | bit : *byte & (uint8_t)~bit;
		fs->v.bitmap_dirty[block / WFS2_BITS_PER_BLOCK] = 1;
	}
}

void wfs2_map_free(struct wfs2_fs *fs, const struct wfs2_extent *extents, unsigned count)
{
	sync_mutex_lock(&fs->lock);
	for (unsigned i = 0; i < count; i++) {
		set_bits(fs, &extents[i], false);
		wfs2_space_give(&fs->space, extents[i].first, extents[i].count);
	}
	sync_mutex_unlock(&fs->lock);
}

void wfs2_map_release(struct wfs2_node *n)
{
	if (n->kept.count)
		wfs2_space_give(&n->fs->space, n->kept.first, n->kept.count);
	n->kept = (struct wfs2_extent){ 0 };
}

/* True: somebody had kept something. */
static bool release_all(struct wfs2_fs *fs)
{
	uint32_t before = fs->space.free_count;

	for (uint32_t slot = 0; slot < fs->v.super.file_count; slot++) {
		if (fs->nodes[slot])
			wfs2_map_release(fs->nodes[slot]);
	}
	return fs->space.free_count != before;
}

/* What a file gets, before it has it. */
struct plan {
	struct wfs2_entry e;
	struct wfs2_extent taken[WFS2_EXTENTS_MAX + 1];
	unsigned taken_count;
};

static uint32_t end_of(const struct wfs2_entry *e)
{
	const struct wfs2_extent *last = e->extent_count ? &e->extents[e->extent_count - 1] : NULL;

	return last ? last->first + last->count : 0;
}

/* One run more, of at most @want blocks. Returns its length; 0: no space; -EFBIG. */
static int64_t add_run(struct wfs2_node *n, struct plan *p, uint64_t have, uint64_t want)
{
	struct wfs2_fs *fs = n->fs;
	uint32_t goal = end_of(&p->e), keep = KEEP_MIN_BLOCKS, count, first;

	if (!n->kept.count || n->kept.first != goal) {
		wfs2_map_release(n);
		if (have > keep)
			keep = (uint32_t)min_u64(have, KEEP_MAX_BLOCKS);
		count = wfs2_space_take(&fs->space, goal, (uint32_t)min_u64(want + keep, fs->v.super.block_count),
		                        &first);
		if (!count)
			return 0;
		n->kept = (struct wfs2_extent){ first, count };
	}
	if (n->kept.first != goal && p->e.extent_count == WFS2_EXTENTS_MAX)
		return -EFBIG;
	first = n->kept.first;
	count = (uint32_t)min_u64(want, n->kept.count);
	n->kept.first += count;
	n->kept.count -= count;
	if (first == goal && p->e.extent_count)
		p->e.extents[p->e.extent_count - 1].count += count;
	else
		p->e.extents[p->e.extent_count++] = (struct wfs2_extent){ first, count };
	if (first == goal && p->taken_count)
		p->taken[p->taken_count - 1].count += count;
	else
		p->taken[p->taken_count++] = (struct wfs2_extent){ first, count };
	return count;
}

static int make_plan(struct wfs2_node *n, struct plan *p, uint64_t have, uint64_t blocks)
{
	while (have < blocks) {
		int64_t got = add_run(n, p, have, blocks - have);

		if (got == 0 && release_all(n->fs))
			continue;
		if (got == 0)
			return err_set(-ENOSPC, "device %s: no free blocks", blk_name(n->fs->dev));
		if (got < 0)
			return err_set(-EFBIG, "device %s: free space is in pieces, and a file has at most %u",
			               blk_name(n->fs->dev), WFS2_EXTENTS_MAX);
		have += (uint64_t)got;
	}
	return 0;
}

int wfs2_map_grow(struct wfs2_node *n, uint64_t blocks)
{
	struct wfs2_fs *fs = n->fs;
	struct plan p = { .e = n->e };
	uint64_t have = 0;
	int rc;

	for (unsigned i = 0; i < p.e.extent_count; i++)
		have += p.e.extents[i].count;
	if (have >= blocks)
		return 0;
	if (blocks > fs->v.super.block_count)
		return err_set(-ENOSPC, "device %s: a volume of %u blocks has no room for %" PRIu64, blk_name(fs->dev),
		               fs->v.super.block_count, blocks);
	sync_mutex_lock(&fs->lock);
	rc = make_plan(n, &p, have, blocks);
	for (unsigned i = 0; i < p.taken_count; i++) {
		if (rc)
			wfs2_space_give(&fs->space, p.taken[i].first, p.taken[i].count);
		else
			set_bits(fs, &p.taken[i], true);
	}
	if (rc)
		wfs2_map_release(n);
	sync_mutex_unlock(&fs->lock);
	if (rc)
		return rc;
	sync_mutex_lock(&n->map_lock);
	memcpy(n->e.extents, p.e.extents, sizeof(n->e.extents));
	n->e.extent_count = p.e.extent_count;
	sync_mutex_unlock(&n->map_lock);
	return 0;
}

unsigned wfs2_map_cut(struct wfs2_node *n, uint64_t blocks, struct wfs2_extent ret[WFS2_EXTENTS_MAX])
{
	unsigned count = 0, keep = 0;

	sync_mutex_lock(&n->map_lock);
	for (unsigned i = 0; i < n->e.extent_count; i++) {
		struct wfs2_extent *x = &n->e.extents[i];
		uint32_t stay = (uint32_t)min_u64(blocks, x->count);

		blocks -= stay;
		if (stay < x->count)
			ret[count++] = (struct wfs2_extent){ x->first + stay, x->count - stay };
		x->count = stay;
		if (stay)
			keep = i + 1;
		else
			x->first = 0;
	}
	n->e.extent_count = keep;
	sync_mutex_unlock(&n->map_lock);
	return count;
}

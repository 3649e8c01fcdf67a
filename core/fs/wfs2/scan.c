/* SPDX-License-Identifier: BSD-3-Clause */
/* Verifying file table and bitmap against each other, and mending them in memory where that is wanted. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs2/volume.h"

struct scan {
	struct wfs2_volume *v;
	struct wfs2_findings *f;
	uint8_t *claimed; /* a bitmap of what is used by something */
	uint8_t *hidden; /* a flag for each slot: damaged, and left so */
	bool unsure; /* some file is left damaged: its blocks are not all known */
};

static const char *last_text(void)
{
	return err_get()->frames[0].text;
}

static void claim(struct scan *s, uint32_t block)
{
	s->claimed[block / 8] = (uint8_t)(s->claimed[block / 8] | 1u << block % 8);
}

static void free_slot(struct scan *s, uint32_t slot, uint32_t generation)
{
	struct wfs2_entry none = { .generation = generation };

	wfs2_slot_set(s->v, slot, &none);
}

static void mend_slot(struct scan *s, uint32_t slot)
{
	uint8_t *bytes = wfs2_slot(s->v, slot);
	struct wfs2_entry e;
	int rc = wfs2_entry_decode(bytes, &e);

	if (rc == 0)
		return;
	s->hidden[slot] = 1;
	if (!wfs2_found(s->f, WFS2_FINDING_SLOT, "slot %u: %s (name: '%.*s')", slot, last_text(),
	                (int)strnlen((char *)bytes + SLOT_NAME, WFS2_NAME_MAX), (char *)bytes + SLOT_NAME))
		return;
	s->hidden[slot] = 0;
	if (wfs2_entry_parse(bytes, &e) == 0 && wfs2_entry_check(&s->v->super, &e) == 0)
		wfs2_slot_set(s->v, slot, &e);
	else
		free_slot(s, slot, 0);
}

/* W4: the file that was to go is still there. */
static void finish_rename(struct scan *s, uint32_t slot)
{
	struct wfs2_entry e, old;
	uint32_t target;

	if (!get_le32(wfs2_slot(s->v, slot) + SLOT_REPLACES) || s->hidden[slot] ||
	    wfs2_entry_decode(wfs2_slot(s->v, slot), &e) || !e.flags || !e.replaces)
		return;
	target = e.replaces - 1;
	if (target == slot || target >= s->v->super.file_count || s->hidden[target])
		return;
	if (wfs2_entry_decode(wfs2_slot(s->v, target), &old) || !old.flags || old.generation != e.replaces_generation)
		return;
	if (wfs2_found(s->f, WFS2_FINDING_RENAME, "slot %u: '%s' is to be replaced by slot %u, and is still there",
	               target, old.name, slot))
		free_slot(s, target, old.generation);
	else
		s->hidden[target] = 1;
}

/* Keep @blocks blocks, or what the size says. */
static void cut(struct wfs2_entry *e, uint64_t blocks)
{
	uint64_t left;

	e->size_bytes = min_u64(e->size_bytes, blocks * WFS2_BLOCK_BYTES);
	left = wfs2_blocks_of(e->size_bytes);
	for (unsigned i = 0; i < e->extent_count; i++) {
		if (e->extents[i].count > left)
			e->extents[i].count = (uint32_t)left;
		left -= e->extents[i].count;
		if (!e->extents[i].count) {
			memset(&e->extents[i], 0, (e->extent_count - i) * sizeof(e->extents[0]));
			e->extent_count = i;
		}
	}
}

/* How many blocks from the file's begin on lie in the area of contents? */
static uint64_t sane_blocks(const struct wfs2_super *s, const struct wfs2_entry *e)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < e->extent_count; i++) {
		const struct wfs2_extent *x = &e->extents[i];

		if (!x->count || x->first < s->data_first ||
		    !range_within(x->first, x->count, (uint64_t)s->block_count - 1))
			break;
		sum += x->count;
	}
	return sum;
}

static void check_extents(struct scan *s, uint32_t slot, struct wfs2_entry *e)
{
	uint64_t total = sane_blocks(&s->v->super, e), sum = 0;

	if (wfs2_entry_check(&s->v->super, e)) {
		s->hidden[slot] = 1;
		if (wfs2_found(s->f, WFS2_FINDING_EXTENTS, "slot %u: file '%s': %s", slot, e->name, last_text())) {
			s->hidden[slot] = 0;
			cut(e, total);
			wfs2_slot_set(s->v, slot, e);
			total = min_u64(total, wfs2_blocks_of(e->size_bytes));
		}
	}
	/* Ends at the first block of somebody else, so that all files together take no longer than the volume is large.
	 */
	for (unsigned i = 0; i < e->extent_count && sum < total; i++) {
		for (uint32_t k = 0; k < e->extents[i].count && sum < total; k++, sum++) {
			uint32_t block = e->extents[i].first + k;

			if (!wfs2_bit(s->claimed, block)) {
				claim(s, block);
				continue;
			}
			if (wfs2_found(s->f, WFS2_FINDING_OVERLAP,
			               "slot %u: file '%s': block %u belongs to another file, too", slot, e->name,
			               block)) {
				cut(e, sum);
				wfs2_slot_set(s->v, slot, e);
			} else {
				s->unsure = true;
			}
			return;
		}
	}
}

static void check_name(struct scan *s, uint32_t slot, struct wfs2_entry *e)
{
	struct wfs2_volume *v = s->v;
	uint32_t other = wfs2_index_find(&v->index, v->table, e->name, e->name_len);

	if (other != WFS2_NO_SLOT) {
		if (!wfs2_found(s->f, WFS2_FINDING_DUPLICATE, "slots %u and %u: both have the name '%s'", other, slot,
		                e->name))
			return;
		for (unsigned n = slot; other != WFS2_NO_SLOT; n += WFS2_FILES_MAX) {
			e->name_len = (uint16_t)snprintf(e->name, sizeof(e->name), "duplicate-%u", n);
			other = wfs2_index_find(&v->index, v->table, e->name, e->name_len);
		}
		wfs2_slot_set(v, slot, e);
	}
	wfs2_index_add(&v->index, v->table, slot);
	v->used_files++;
}

/* What everything that is not contents uses. */
static void claim_structures(struct scan *s)
{
	const struct wfs2_super *super = &s->v->super;
	uint32_t end = super->bitmap_blocks * WFS2_BITS_PER_BLOCK;

	for (uint32_t block = 0; block < super->data_first; block++)
		claim(s, block);
	for (uint32_t block = super->block_count - 1; block < end; block++)
		claim(s, block);
}

static void compare_bitmap(struct scan *s)
{
	struct wfs2_volume *v = s->v;
	uint32_t missing = 0, lost = 0, first_missing = 0, first_lost = 0;
	bool set = false, clear = false;

	for (uint32_t pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < v->super.bitmap_blocks * WFS2_BLOCK_BYTES; i++) {
			uint8_t want = s->claimed[i], more = (uint8_t)(want & ~v->bitmap[i]),
			        less = (uint8_t)(v->bitmap[i] & ~want);

			if (!more && !less)
				continue;
			if (pass == 0) {
				if (more && !missing)
					first_missing = i * 8 + (uint32_t)__builtin_ctz(more);
				if (less && !lost)
					first_lost = i * 8 + (uint32_t)__builtin_ctz(less);
				missing += (uint32_t)__builtin_popcount(more);
				lost += (uint32_t)__builtin_popcount(less);
				continue;
			}
			v->bitmap[i] = (uint8_t)((v->bitmap[i] | (set ? more : 0)) & ~(clear ? less : 0));
			v->bitmap_dirty[i / WFS2_BLOCK_BYTES] = 1;
		}
		if (pass == 0 && missing)
			set = wfs2_found(s->f, WFS2_FINDING_BITMAP, "%u used blocks are called free, the first is %u",
			                 missing, first_missing);
		if (pass == 0 && lost && !s->unsure)
			clear = wfs2_found(s->f, WFS2_FINDING_LOST,
			                   "%u blocks are called used and belong to nothing, the first is %u", lost,
			                   first_lost);
		if (!set && !clear)
			break;
	}
}

static void scan_table(struct scan *s)
{
	struct wfs2_volume *v = s->v;

	for (uint32_t slot = 0; slot < v->super.file_count; slot++)
		mend_slot(s, slot);
	for (uint32_t slot = 0; slot < v->super.file_count; slot++)
		finish_rename(s, slot);
	for (uint32_t slot = 0; slot < v->super.file_count; slot++) {
		struct wfs2_entry e;

		if (s->hidden[slot] || wfs2_entry_decode(wfs2_slot(v, slot), &e) || !e.flags)
			continue;
		check_extents(s, slot, &e);
		if (!s->hidden[slot])
			check_name(s, slot, &e);
	}
}

int wfs2_volume_scan(struct wfs2_volume *v, struct wfs2_findings *f)
{
	size_t len = (size_t)v->super.bitmap_blocks * WFS2_BLOCK_BYTES;
	struct scan s = { .v = v, .f = f, .claimed = calloc(len, 1), .hidden = calloc(v->super.file_count, 1) };

	if (!s.claimed || !s.hidden) {
		free(s.claimed);
		free(s.hidden);
		return err_set(-ENOMEM, "no memory for the check of the bitmap");
	}
	claim_structures(&s);
	scan_table(&s);
	if (memchr(s.hidden, 1, v->super.file_count))
		s.unsure = true;
	compare_bitmap(&s);
	v->used_blocks = 0;
	for (size_t i = 0; i < len; i++)
		v->used_blocks += (uint32_t)__builtin_popcount(s.claimed[i]);
	v->used_blocks -= v->super.bitmap_blocks * WFS2_BITS_PER_BLOCK - v->super.block_count;
	free(s.claimed);
	free(s.hidden);
	return 0;
}

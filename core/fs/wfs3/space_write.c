/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commit of a transaction group's allocation changes. FORMAT.md, "Allocation state", states what has to hold at
 * every moment; in short:
 *   - a slot is written over the older one of its pair (or over one that is void);
 *   - a record is at most a quarter of the ring (R1); what the newest slots need is at most a quarter of it after each
 *     commit (R2); the tail of a root keeps what the root before it needs, too (R3); a record never overwrites what
 *     lies at or behind the tail of the root before it (R4).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"
#include "core/base/mutate.h"
#include "core/blk/blk.h"
#include "core/fs/wfs3/space_priv.h"

/* Slots written at a time. */
#define WRITE_SLOTS_MAX 64u

struct commit {
	struct space *s;
	uint64_t txg;
	uint64_t before_txg; /* every region has a slot at least this new from before this commit */
	uint64_t last_txg; /* committed before this one */
	uint32_t *slots; /* regions whose slots are written */
	uint32_t slot_count;
	bool large;
	uint8_t *record;
	uint32_t record_bytes;
};

static void apply(struct space *s, const struct space_run *runs, uint32_t count, enum space_change change)
{
	for (uint32_t i = 0; i < count; i++) {
		struct space_place p = space_place_of(s, runs[i]);
		uint64_t *disk = space_bitmap(s, s->disk, p.region);

		s->regions[p.region].touched = true;
		if (change == SPACE_CHANGE_ALLOC) {
			always(bits_all_clear(disk, p.block, runs[i].block_count));
			bits_set(disk, p.block, runs[i].block_count);
			s->disk_used_blocks += runs[i].block_count;
		} else {
			always(bits_all_set(disk, p.block, runs[i].block_count));
			bits_clear(disk, p.block, runs[i].block_count);
			s->disk_used_blocks -= runs[i].block_count;
		}
	}
}

static uint64_t count_entries(const struct space_run *runs, uint32_t count)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		n += div_round_up_u64(runs[i].block_count, SPACE_ENTRY_BLOCKS_MAX);
	return n;
}

static void put_entries(struct wr *w, const struct space_run *runs, uint32_t count, bool freed)
{
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t at = 0; at < runs[i].block_count; at += SPACE_ENTRY_BLOCKS_MAX) {
			uint32_t left = runs[i].block_count - at;
			struct space_entry e = {
				.addr = runs[i].addr + at,
				.block_count = left < SPACE_ENTRY_BLOCKS_MAX ? left : SPACE_ENTRY_BLOCKS_MAX,
				.freed = freed,
			};

			wr_le64(w, space_entry_pack(&e));
		}
}

static void put_touched(struct wr *w, const struct space *s)
{
	for (uint32_t i = 0; i < s->region_count; i += 64) {
		uint64_t word = 0;

		for (uint32_t j = i; j < s->region_count && j < i + 64; j++)
			word |= (uint64_t)s->regions[j].touched << (j - i);
		wr_le64(w, word);
	}
}

static int make_record(struct commit *c, const struct space_changes *changes)
{
	const struct space *s = c->s;
	uint64_t entries = count_entries(changes->allocs, changes->alloc_count) +
	                   count_entries(changes->frees->runs, changes->frees->run_count);
	struct space_record r = {
		.txg = c->txg,
		.position = s->ring.head,
		.prev_txg = s->ring.last_txg,
		.prev_position = s->ring.last_position,
	};
	struct wr w;

	c->large = space_record_bytes(entries) > s->ring.bytes / 4;
	if (c->large)
		entries = div_round_up_u64(s->region_count, 64);
	r.large = c->large;
	r.entry_count = (uint32_t)entries;
	r.len_bytes = (uint32_t)space_record_bytes(entries);
	c->record_bytes = r.len_bytes;
	c->record = aligned_alloc(4096, r.len_bytes);
	if (!c->record)
		return err_set(-ENOMEM, "allocation record of %u bytes", r.len_bytes);
	w = wr_init(c->record, r.len_bytes);
	w.pos = SPACE_RECORD_HEADER_BYTES;
	if (c->large) {
		put_touched(&w, s);
	} else {
		put_entries(&w, changes->allocs, changes->alloc_count, false);
		put_entries(&w, changes->frees->runs, changes->frees->run_count, true);
	}
	always(!w.bad);
	space_record_encode(&r, s->pool_uuid, c->record);
	return 0;
}

static void unlink_region(struct space *s, uint32_t i)
{
	struct space_region *r = &s->regions[i];

	*(r->prev == SPACE_NONE ? &s->oldest : &s->regions[r->prev].next) = r->next;
	*(r->next == SPACE_NONE ? &s->newest : &s->regions[r->next].prev) = r->prev;
}

static void append_region(struct space *s, uint32_t i)
{
	struct space_region *r = &s->regions[i];

	r->prev = s->newest;
	r->next = SPACE_NONE;
	*(s->newest == SPACE_NONE ? &s->oldest : &s->regions[s->newest].next) = i;
	s->newest = i;
}

/* The slot of region @i gets the state of this txg. */
static void choose_slot(struct commit *c, uint32_t i)
{
	struct space *s = c->s;
	struct space_region *r = &s->regions[i];

	if (r->newest_txg == c->txg)
		return;
	c->slots[c->slot_count++] = i;
	unlink_region(s, i);
	r->newest_txg = c->txg;
	r->newest_slot ^= 1;
	if (r->rewrite)
		s->rewrite_count--;
	r->rewrite = false;
	append_region(s, i);
}

/* The region whose newest slot is the oldest one. Not one of the last commit: its pair is what the root before that
 * needs while this commit is under way. */
static bool can_rotate(const struct commit *c)
{
	return c->s->regions[c->s->oldest].newest_txg < c->last_txg;
}

/*
 * Which bitmaps this commit writes: all that are void on one side, all that changed too much for a record, and in turn
 * as many of the others as keep the ring short. A full turn takes an eighth of the ring.
 */
static void choose_slots(struct commit *c)
{
	struct space *s = c->s;

	for (uint32_t i = 0; i < s->region_count && (s->rewrite_count || c->large); i++)
		if (s->regions[i].rewrite || (c->large && s->regions[i].touched))
			choose_slot(c, i);
	s->slot_credit += (uint64_t)s->region_count * c->record_bytes;
	for (; s->slot_credit >= s->ring.bytes / 8 && can_rotate(c); s->slot_credit -= s->ring.bytes / 8)
		choose_slot(c, s->oldest);
	s->slot_credit %= s->ring.bytes / 8;
	while (s->ring.head - space_ring_needed(&s->ring, s->regions[s->oldest].newest_txg) > s->ring.bytes / 4 &&
	       can_rotate(c))
		choose_slot(c, s->oldest);
}

/* @n slots from @first on, and the record along with the first ones. */
static int write_some(struct commit *c, uint32_t first, uint32_t n, uint8_t *buf)
{
	struct space *s = c->s;
	uint64_t slot_bytes = space_slot_bytes(s->region_bytes), at = (s->ring.head - c->record_bytes) % s->ring.bytes;
	uint64_t until_wrap = min_u64(s->ring.bytes - at, c->record_bytes);
	struct blk_io ios[WRITE_SLOTS_MAX + 2];
	struct iovec iov[WRITE_SLOTS_MAX + 2];
	struct blk_dev *devs[WRITE_SLOTS_MAX + 2];
	uint64_t offsets[WRITE_SLOTS_MAX + 2];
	struct blk_batch batch;
	unsigned count = 0;

	for (uint32_t i = 0; i < n; i++, count++) {
		uint32_t index = c->slots[first + i];
		const struct space_region *r = &s->regions[index];
		const uint64_t *disk = space_bitmap(s, s->disk, index);
		struct space_slot h = {
			.txg = c->txg,
			.virtual_region = index + 1,
			.physical_region = r->physical,
			.device_index = r->device,
			.block_count = s->region_blocks,
			.free_count = s->region_blocks - bits_count(disk, s->region_words),
		};

		space_slot_encode(&h, s->pool_uuid, disk, buf + i * slot_bytes);
		iov[count] = (struct iovec){ buf + i * slot_bytes, slot_bytes };
		devs[count] = s->devices[r->device].dev;
		offsets[count] = space_slot_offset(s, r->device, r->physical, r->newest_slot);
	}
	if (!first) {
		iov[count] = (struct iovec){ c->record, until_wrap };
		devs[count] = s->devices[0].dev;
		offsets[count++] = s->devices[0].layout.ring_offset + at;
		iov[count] = (struct iovec){ c->record + until_wrap, c->record_bytes - until_wrap };
		devs[count] = s->devices[0].dev;
		offsets[count] = s->devices[0].layout.ring_offset;
		count += iov[count].iov_len != 0;
	}
	blk_batch_init(&batch);
	for (unsigned i = 0; i < count; i++) {
		ios[i] = (struct blk_io){
			.op = BLK_WRITE,
			.offset = offsets[i],
			.len_bytes = iov[i].iov_len,
			.iov = &iov[i],
			.iov_count = 1,
		};
		blk_batch_add(&batch, devs[i], &ios[i]);
	}
	return blk_batch_wait(&batch);
}

static int write_all(struct commit *c)
{
	uint32_t at = 0, step = c->slot_count < WRITE_SLOTS_MAX ? c->slot_count : WRITE_SLOTS_MAX;
	uint8_t *buf = aligned_alloc(4096, (step + 1) * space_slot_bytes(c->s->region_bytes));
	int rc = 0;

	if (!buf)
		return err_set(-ENOMEM, "bitmap slots");
	do {
		uint32_t left = c->slot_count - at, n = left < step ? left : step;

		rc = write_some(c, at, n, buf);
		at += n;
	} while (!rc && at < c->slot_count);
	free(buf);
	return rc;
}

static int commit_changes(struct commit *c, const struct space_changes *changes)
{
	struct space *s = c->s;
	uint64_t tail = space_ring_tail(&s->ring);
	int rc;

	apply(s, changes->allocs, changes->alloc_count, SPACE_CHANGE_ALLOC);
	apply(s, changes->frees->runs, changes->frees->run_count, SPACE_CHANGE_FREE);
	c->slots = malloc(s->region_count * sizeof(*c->slots));
	if (!c->slots)
		return err_set(-ENOMEM, "list of regions");
	rc = make_record(c, changes);
	if (rc)
		return rc;
	always(s->ring.head + c->record_bytes - tail <= s->ring.bytes); /* R4 */
	space_ring_push(&s->ring, c->txg, c->record_bytes);
	choose_slots(c);
	always(s->ring.head - space_ring_needed(&s->ring, s->regions[s->oldest].newest_txg) <=
	       s->ring.bytes / 4); /* R2 */
	space_ring_trim(&s->ring, c->before_txg);
	for (uint32_t i = 0; i < s->region_count; i++)
		s->regions[i].touched = false;
	return write_all(c);
}

int space_write(struct space *s, uint64_t txg, struct space_root *ret_root)
{
	struct commit c = {
		.s = s,
		.txg = txg,
		.before_txg = s->regions[s->oldest].newest_txg,
		.last_txg = s->last_txg,
	};
	struct space_changes changes = { 0 };
	int rc;

	if (s->failed)
		return err_set(-EIO, "txg %llu: an earlier commit of the allocation state failed",
		               (unsigned long long)txg);
	always(txg > s->last_txg && txg <= WFS3_TXG_MAX);
	rc = space_take_changes(s, txg, &changes);
	if (!rc)
		rc = commit_changes(&c, &changes);
	free(c.slots);
	free(c.record);
	free(changes.allocs);
	if (rc) {
		s->failed = true;
		free(changes.frees);
		return err_add(rc, "txg %llu: write allocation state", (unsigned long long)txg);
	}
	s->last_txg = txg;
	space_add_pending(s, changes.frees);
	if (MUTATE(REUSE_AT_ONCE))
		space_root_durable(s, txg + 1);
	*ret_root = (struct space_root){
		.ring_head = s->ring.head,
		.ring_tail = space_ring_tail(&s->ring),
		.used_blocks = s->disk_used_blocks,
	};
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Recording which runs a transaction group references and frees, and what becomes of the freed ones afterwards. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/blk/blk.h"
#include "core/fs/wfs3/space_priv.h"

/* Beyond what the reserved entries fill: every list of every live txg, and of the one that is being taken, may hold an
 * unfinished chunk. */
#define SPARE_CHUNKS (2 * SPACE_TXGS_LIVE + 2)
/* Empty chunks kept for later although nothing reserves them. */
#define KEPT_CHUNKS 64u
/* Runs released at a time, so that allocations get their turn. */
#define RELEASE_RUNS_MAX 1024u

/* Discards of one space_root_durable(): fewer and larger ones are worth their time. */
#define DISCARDS_MAX 128u
#define DISCARD_BLOCKS_MIN 32u

static uint64_t chunks_needed(uint64_t entries)
{
	return entries / SPACE_CHUNK_RUNS + 1 + SPARE_CHUNKS;
}

static void free_chunk_list(struct space_chunk *c)
{
	while (c) {
		struct space_chunk *next = c->next;

		free(c);
		c = next;
	}
}

/* Add an empty chunk. False: out of memory. */
static bool grow(struct space *s)
{
	struct space_chunk *c = malloc(sizeof(*c));

	if (!c)
		return false;
	c->count = 0;
	sync_mutex_lock(&s->mutex);
	c->next = s->chunks;
	s->chunks = c;
	s->chunk_count++;
	sync_mutex_unlock(&s->mutex);
	return true;
}

int space_reserve(struct space *s, uint32_t entry_count)
{
	for (;;) {
		bool enough;

		sync_mutex_lock(&s->mutex);
		enough = s->chunk_count >= chunks_needed(s->reserved_entries + entry_count);
		if (enough)
			s->reserved_entries += entry_count;
		sync_mutex_unlock(&s->mutex);
		if (enough)
			return 0;
		if (!grow(s))
			return err_set(-ENOMEM, "room for %u changes of allocation", entry_count);
	}
}

void space_unreserve(struct space *s, uint32_t entry_count)
{
	sync_mutex_lock(&s->mutex);
	always(s->reserved_entries >= entry_count);
	s->reserved_entries -= entry_count;
	sync_mutex_unlock(&s->mutex);
}

static struct space_txg_log *find_log(struct space *s, uint64_t txg)
{
	struct space_txg_log *idle = NULL;

	for (unsigned i = 0; i < SPACE_TXGS_LIVE; i++) {
		if (s->logs[i].txg == txg)
			return &s->logs[i];
		if (!s->logs[i].txg)
			idle = &s->logs[i];
	}
	always(idle);
	*idle = (struct space_txg_log){ .txg = txg };
	return idle;
}

/* The run follows the last one of the list directly, in the same region. */
static bool extend_last(const struct space *s, struct space_run_list *list, struct space_run run)
{
	struct space_run *last;

	if (!list->tail || !list->tail->count)
		return false;
	last = &list->tail->runs[list->tail->count - 1];
	if (last->addr + last->block_count != run.addr || !(run.addr & (s->region_blocks - 1)))
		return false;
	last->block_count += run.block_count;
	return true;
}

static void record(struct space *s, uint64_t txg, enum space_change change, struct space_run run)
        SYNC_REQUIRES(s->mutex)
{
	struct space_run_list *list = &find_log(s, txg)->lists[change];

	always(txg && s->reserved_entries);
	s->reserved_entries--;
	if (extend_last(s, list, run))
		return;
	if (!list->tail || list->tail->count == SPACE_CHUNK_RUNS) {
		struct space_chunk *c = s->chunks;

		always(c);
		s->chunks = c->next;
		s->chunk_count--;
		c->next = NULL;
		if (list->tail)
			list->tail->next = c;
		else
			list->head = c;
		list->tail = c;
	}
	list->tail->runs[list->tail->count++] = run;
}

void space_commit_run(struct space *s, uint64_t txg, struct space_run run)
{
	struct space_place p = space_place_of(s, run);
	uint64_t *ref;

	sync_mutex_lock(&s->mutex);
	ref = space_bitmap(s, s->ref, p.region);
	always(bits_all_set(space_bitmap(s, s->busy, p.region), p.block, run.block_count) &&
	       bits_all_clear(ref, p.block, run.block_count));
	bits_set(ref, p.block, run.block_count);
	s->used_blocks += run.block_count;
	record(s, txg, SPACE_CHANGE_ALLOC, run);
	sync_mutex_unlock(&s->mutex);
}

/* The addresses come from trees, and so from a device: they may be anything. */
static bool take_reference(struct space *s, struct space_run run) SYNC_REQUIRES(s->mutex)
{
	struct space_place p;
	uint64_t *ref;

	if (!space_place_find(s, run.addr, run.block_count, &p))
		return false;
	ref = space_bitmap(s, s->ref, p.region);
	if (!bits_all_set(ref, p.block, run.block_count))
		return false;
	bits_clear(ref, p.block, run.block_count);
	return true;
}

static void give_reference_back(struct space *s, struct space_run run) SYNC_REQUIRES(s->mutex)
{
	struct space_place p = space_place_of(s, run);

	bits_set(space_bitmap(s, s->ref, p.region), p.block, run.block_count);
}

int space_free_runs(struct space *s, uint64_t txg, const struct space_run runs[], unsigned count)
{
	unsigned taken = 0;

	sync_mutex_lock(&s->mutex);
	while (taken < count && take_reference(s, runs[taken]))
		taken++;
	if (taken < count) {
		for (unsigned i = taken; i-- > 0;)
			give_reference_back(s, runs[i]);
		sync_mutex_unlock(&s->mutex);
		return err_set(-EUCLEAN, "0x%" PRIx64 " + %u blocks are given up, but are not in use", runs[taken].addr,
		               runs[taken].block_count);
	}
	for (unsigned i = 0; i < count; i++) {
		s->used_blocks -= runs[i].block_count;
		s->pending_blocks += runs[i].block_count;
		record(s, txg, SPACE_CHANGE_FREE, runs[i]);
	}
	sync_mutex_unlock(&s->mutex);
	return 0;
}

static uint32_t count_runs(const struct space_run_list *list)
{
	uint32_t n = 0;

	for (const struct space_chunk *c = list->head; c; c = c->next)
		n += c->count;
	return n;
}

static int compare_runs(const void *a, const void *b)
{
	const struct space_run *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Sorted, neighbours in one region merged. Returns their number. */
static uint32_t flatten(const struct space *s, const struct space_run_list *list, struct space_run *runs)
{
	uint32_t n = 0, merged = 0;

	for (const struct space_chunk *c = list->head; c; c = c->next) {
		memcpy(runs + n, c->runs, c->count * sizeof(*runs));
		n += c->count;
	}
	if (n)
		qsort(runs, n, sizeof(*runs), compare_runs);
	for (uint32_t i = 0; i < n; i++) {
		struct space_run *last = merged ? &runs[merged - 1] : NULL;

		if (last && last->addr + last->block_count == runs[i].addr && (runs[i].addr & (s->region_blocks - 1)))
			last->block_count += runs[i].block_count;
		else
			runs[merged++] = runs[i];
	}
	return merged;
}

/* Give the chunks of a list back: others' reservations may count on them. */
static void recycle(struct space *s, const struct space_run_list *list)
{
	struct space_chunk *extra = NULL;

	sync_mutex_lock(&s->mutex);
	for (struct space_chunk *c = list->head, *next; c; c = next) {
		next = c->next;
		c->count = 0;
		c->next = s->chunks;
		s->chunks = c;
		s->chunk_count++;
	}
	while (s->chunk_count > chunks_needed(s->reserved_entries) + KEPT_CHUNKS) {
		struct space_chunk *c = s->chunks;

		s->chunks = c->next;
		s->chunk_count--;
		c->next = extra;
		extra = c;
	}
	sync_mutex_unlock(&s->mutex);
	free_chunk_list(extra);
}

int space_take_changes(struct space *s, uint64_t txg, struct space_changes *ret)
{
	struct space_txg_log log, *live;
	struct space_changes c;
	uint32_t allocs, frees;

	sync_mutex_lock(&s->mutex);
	live = find_log(s, txg);
	log = *live;
	*live = (struct space_txg_log){ 0 };
	sync_mutex_unlock(&s->mutex);
	allocs = count_runs(&log.lists[SPACE_CHANGE_ALLOC]);
	frees = count_runs(&log.lists[SPACE_CHANGE_FREE]);
	c.allocs = malloc((allocs + 1) * sizeof(*c.allocs));
	c.frees = malloc(sizeof(*c.frees) + frees * sizeof(c.frees->runs[0]));
	if (c.allocs && c.frees) {
		c.alloc_count = flatten(s, &log.lists[SPACE_CHANGE_ALLOC], c.allocs);
		*c.frees = (struct space_pending){ .txg = txg };
		c.frees->run_count = flatten(s, &log.lists[SPACE_CHANGE_FREE], c.frees->runs);
	}
	recycle(s, &log.lists[SPACE_CHANGE_ALLOC]);
	recycle(s, &log.lists[SPACE_CHANGE_FREE]);
	if (!c.allocs || !c.frees) {
		free(c.allocs);
		free(c.frees);
		return err_set(-ENOMEM, "allocation changes of txg %llu", (unsigned long long)txg);
	}
	*ret = c;
	return 0;
}

void space_add_pending(struct space *s, struct space_pending *p)
{
	if (!p->run_count) {
		free(p);
		return;
	}
	sync_mutex_lock(&s->mutex);
	p->next = NULL;
	if (s->pending_last)
		s->pending_last->next = p;
	else
		s->pending = p;
	s->pending_last = p;
	sync_mutex_unlock(&s->mutex);
}

/* Detach what may be released now that root @txg is durable. */
static struct space_pending *take_releasable(struct space *s, uint64_t txg)
{
	uint64_t pinned = space_pins_oldest(&s->pins);
	struct space_pending *list, *last = NULL;

	sync_mutex_lock(&s->mutex);
	list = s->pending;
	for (struct space_pending *p = list; p && p->txg < txg && p->txg < pinned; p = p->next)
		last = p;
	if (last) {
		s->pending = last->next;
		if (!s->pending)
			s->pending_last = NULL;
		last->next = NULL;
	}
	sync_mutex_unlock(&s->mutex);
	return last ? list : NULL;
}

/* Files are left alone: punching holes into them costs more later than it gives. */
static bool wants_discard(const struct space *s)
{
	for (unsigned i = 0; i < s->device_count; i++) {
		const struct blk_caps *caps = blk_caps(s->devices[i].dev);

		if (caps->discard && caps->transport != BLK_TRANSPORT_FILE && caps->transport != BLK_TRANSPORT_LOOP)
			return true;
	}
	return false;
}

static void add_discard(struct space *s, struct blk_batch *batch, struct blk_io *io, struct space_run run)
{
	unsigned device = 0;
	uint64_t offset = 0;

	always(!space_locate(s, run.addr, run.block_count, &device, &offset));
	*io = (struct blk_io){
		.op = BLK_DISCARD,
		.offset = offset,
		.len_bytes = (uint64_t)run.block_count * WFS3_BLOCK_BYTES,
	};
	if (blk_caps(s->devices[device].dev)->discard)
		blk_batch_add(batch, s->devices[device].dev, io);
}

/* The longer runs, as many as are allowed at once. An error means that the device keeps its blocks, no more. */
static void discard(struct space *s, const struct space_pending *list)
{
	struct blk_io *ios;
	struct blk_batch batch;
	struct err saved;
	unsigned n = 0;

	if (!wants_discard(s))
		return;
	ios = calloc(DISCARDS_MAX, sizeof(*ios));
	if (!ios)
		return;
	blk_batch_init(&batch);
	for (const struct space_pending *p = list; p; p = p->next)
		for (uint32_t i = 0; i < p->run_count && n < DISCARDS_MAX; i++)
			if (p->runs[i].block_count >= DISCARD_BLOCKS_MIN)
				add_discard(s, &batch, &ios[n++], p->runs[i]);
	err_take(&saved);
	(void)blk_batch_wait(&batch);
	err_restore(&saved);
	free(ios);
}

static void release_some(struct space *s, const struct space_pending *p, uint32_t first)
{
	uint32_t end = p->run_count - first > RELEASE_RUNS_MAX ? first + RELEASE_RUNS_MAX : p->run_count;

	sync_mutex_lock(&s->mutex);
	for (uint32_t i = first; i < end; i++) {
		space_release_locked(s, p->runs[i]);
		s->pending_blocks -= p->runs[i].block_count;
	}
	sync_mutex_unlock(&s->mutex);
}

void space_root_durable(struct space *s, uint64_t txg)
{
	struct space_pending *list = s->failed ? NULL : take_releasable(s, txg);

	/* Nobody can be given the blocks before they are discarded. */
	if (list)
		discard(s, list);
	while (list) {
		struct space_pending *next = list->next;

		for (uint32_t i = 0; i < list->run_count; i += RELEASE_RUNS_MAX)
			release_some(s, list, i);
		free(list);
		list = next;
	}
}

void space_free_chunks(struct space *s)
{
	free_chunk_list(s->chunks);
	for (unsigned i = 0; i < SPACE_TXGS_LIVE; i++) {
		free_chunk_list(s->logs[i].lists[SPACE_CHANGE_ALLOC].head);
		free_chunk_list(s->logs[i].lists[SPACE_CHANGE_FREE].head);
	}
	while (s->pending) {
		struct space_pending *next = s->pending->next;

		free(s->pending);
		s->pending = next;
	}
}

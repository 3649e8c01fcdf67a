/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The running log: two buffers (one takes records, the other is on its way to the devices), group commit, and the
 * ring's room. At most one batch is being written; who finds that going on waits, and the first to wake writes what
 * came together meanwhile.
 */
#include "core/fs/wfs3/wal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mutate.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"

#define FILLING_SHARE 3u /* a commit is wanted when this part of the ring is used since the last one */

/*
 * What is carried stands in a batch of its own at worst; some batches that are short may come before it. The ring has
 * room again when the second root after that is durable, and before it the same may be needed once more.
 */
#define CARRY_BYTES (WAL_CARRY_PAGES_MAX * WAL_DATA_BYTES(1) + (size_t)8 * WFS3_BLOCK_BYTES)
#define CARRY_ROOM_BYTES (2 * CARRY_BYTES)
_Static_assert(CARRY_BYTES <= WAL_TICKET_BYTES_MAX, "it is one ticket");

struct wal {
	struct wal_config config;
	size_t buf_bytes;
	uint8_t *bufs[2];
	struct budget_consumer *consumer;
	bool charged;
	struct wal_stats *stats;

	struct sync_mutex lock; /* SYNC_RANK_LOG */
	struct sync_cond done; /* a batch was written, a barrier ended, room was given back */
	bool started;
	uint64_t epoch;
	unsigned active; /* buffer that takes records */
	size_t used; /* records in it */
	size_t reserved; /* bytes that tickets may still append */
	uint64_t seq; /* number of the active buffer's batch-to-be */
	uint64_t unit_seq; /* of the batch with the newest unit that has parts; they may be in batches before it */
	uint64_t flushed_seq; /* batches up to this are durable, or were given up (the log closed then) */
	bool busy; /* somebody writes or flushes */
	bool unflushed; /* something was written since the last barrier */
	int flush_error; /* of a barrier: whatever waited for it may be lost, so no later one helps */
	uint64_t position; /* of the active buffer's batch-to-be */
	uint64_t written; /* end of the last batch that the devices took */
	uint64_t durable; /* end of the last batch before a barrier */
	uint64_t prev; /* checksum of the last batch */
	uint64_t tail; /* nothing before it is needed */
	uint64_t root_position; /* the newest durable root's */
	uint64_t release_position; /* the next one's, as the last wal_release() told */
	uint64_t closed_txg; /* changes of groups up to this are not all in the log */
	bool gap_due; /* the next record comes behind a gap */
};

static size_t buffer_bytes(uint64_t area_bytes)
{
	return (size_t)min_u64(WAL_BATCH_BYTES_MAX, area_bytes / 8 / WFS3_BLOCK_BYTES * WFS3_BLOCK_BYTES);
}

int wal_new(const struct wal_config *config, struct wal **ret)
{
	struct wal *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(-ENOMEM, "no memory for the log");
	always(config->copy_count >= 1 && config->copy_count <= WAL_COPIES_MAX);
	w->config = *config;
	w->buf_bytes = buffer_bytes(config->area_bytes);
	always(w->buf_bytes >= WAL_TICKET_BYTES_MAX + WAL_HEADER_BYTES + WAL_GAP_BYTES);
	sync_mutex_init(&w->lock, SYNC_RANK_LOG, "wfs3 log");
	sync_cond_init(&w->done);
	w->seq = 1;
	w->closed_txg = UINT64_MAX;
	w->stats = aligned_alloc(_Alignof(struct wal_stats), sizeof(*w->stats));
	if (w->stats)
		memset(w->stats, 0, sizeof(*w->stats));
	for (unsigned i = 0; i < 2; i++)
		w->bufs[i] = aligned_alloc(WFS3_BLOCK_BYTES, w->buf_bytes);
	w->consumer = budget_join(config->budget, "wal", 2 * w->buf_bytes, NULL, NULL);
	if (!w->stats || !w->bufs[0] || !w->bufs[1] || !w->consumer) {
		wal_free(w);
		return err_set(-ENOMEM, "no memory for the buffers of the log");
	}
	budget_charge(w->consumer, 2 * w->buf_bytes);
	w->charged = true;
	*ret = w;
	return 0;
}

void wal_free(struct wal *w)
{
	if (!w)
		return;
	if (w->charged)
		budget_uncharge(w->consumer, 2 * w->buf_bytes);
	if (w->consumer)
		budget_leave(w->consumer);
	sync_cond_done(&w->done);
	sync_mutex_done(&w->lock);
	free(w->bufs[0]);
	free(w->bufs[1]);
	free(w->stats);
	free(w);
}

void wal_start(struct wal *w, uint64_t tail, uint64_t position, uint64_t epoch, uint64_t closed_txg)
{
	sync_mutex_lock(&w->lock);
	always(!w->started && position % WFS3_BLOCK_BYTES == 0 && tail <= position);
	w->started = true;
	w->position = w->written = w->durable = position;
	w->tail = w->root_position = w->release_position = tail;
	w->epoch = epoch;
	w->closed_txg = closed_txg;
	w->gap_due = true;
	sync_mutex_unlock(&w->lock);
}

/* ---- the device ---- */

/* Queue the writes of one copy; a batch may go around the end of the ring. */
static void queue_copy(struct wal *w, const struct wal_area *a, const struct wal_batch *b, uint8_t *buf,
                       struct blk_batch *batch, struct blk_io *ios, struct iovec *iov)
{
	uint64_t at = b->position % w->config.area_bytes;
	size_t head = (size_t)min_u64(b->len_bytes, w->config.area_bytes - at);
	unsigned n = head < b->len_bytes ? 2 : 1;

	iov[0] = (struct iovec){ .iov_base = buf, .iov_len = head };
	iov[1] = (struct iovec){ .iov_base = buf + head, .iov_len = b->len_bytes - head };
	for (unsigned i = 0; i < n; i++) {
		ios[i] = (struct blk_io){ .op = BLK_WRITE,
			                  .offset = a->offset + (i ? 0 : at),
			                  .len_bytes = iov[i].iov_len,
			                  .iov = &iov[i],
			                  .iov_count = 1 };
		blk_batch_add(batch, a->dev, &ios[i]);
	}
}

static int write_batch(struct wal *w, const struct wal_batch *b, uint8_t *buf)
{
	struct blk_io ios[2 * WAL_COPIES_MAX];
	struct iovec iov[2 * WAL_COPIES_MAX];
	struct blk_batch batch;

	blk_batch_init(&batch);
	for (unsigned i = 0; i < w->config.copy_count; i++)
		queue_copy(w, &w->config.copies[i], b, buf, &batch, &ios[(size_t)2 * i], &iov[(size_t)2 * i]);
	return blk_batch_wait(&batch);
}

/* What stands in the log from here on may be missing changes of the open group: flushes wait for its commit. */
static void close_log(struct wal *w, uint64_t txg) SYNC_REQUIRES(w->lock)
{
	if (w->closed_txg >= txg)
		return;
	w->closed_txg = txg;
	w->gap_due = true;
	counter_add(&w->stats->gaps, 1);
}

/*
 * Write the active buffer, if there is something in it. The caller has set busy; the lock is released meanwhile. The
 * records of a batch that cannot be written are given up. Its place in the ring is not used again: it may be there all
 * the same, and must not be the first thing that is found behind the next root's position.
 */
static void write_active(struct wal *w) SYNC_REQUIRES(w->lock)
{
	uint8_t *buf = w->bufs[w->active];
	struct wal_batch b = { .epoch = w->epoch,
		               .position = w->position,
		               .durable = w->durable,
		               .prev = w->prev,
		               .record_bytes = (uint32_t)w->used };
	int ret;

	if (!w->used)
		return;
	memcpy(b.pool_uuid, w->config.pool_uuid, 16);
	/* What comes now belongs to the next batch, which begins behind this one. */
	w->position += round_up_u64(WAL_HEADER_BYTES + w->used, WFS3_BLOCK_BYTES);
	w->active = !w->active;
	w->used = 0;
	w->seq++;
	sync_mutex_unlock(&w->lock);
	wal_batch_seal(&b, buf);
	ret = write_batch(w, &b, buf);
	if (!ret) {
		counter_add(&w->stats->batches, 1);
		counter_add(&w->stats->bytes, b.len_bytes);
	} else {
		char text[256];

		log_error("wfs3", "the log cannot be written: %s; flushes wait for commits",
		          err_text(err_get(), ret, 0, text, sizeof(text)));
	}
	sync_mutex_lock(&w->lock);
	w->prev = b.checksum;
	w->written = b.position + b.len_bytes;
	if (!ret) {
		w->unflushed = true;
	} else {
		/* What was appended meanwhile goes, too: it must not follow without the gap. The commit of the open
		 * group may have begun, so pages that were logged are sure to be in the one after it. */
		close_log(w, w->config.open_txg(w->config.ctx) + 1);
		w->used = 0;
		w->seq++;
	}
}

/* ---- appending ---- */

static bool ring_has_room(const struct wal *w, size_t bytes, size_t left_bytes) SYNC_REQUIRES(w->lock)
{
	/* A buffer's worth may be cut off by a swap. */
	uint64_t end = w->position + WAL_HEADER_BYTES + w->used + w->reserved + bytes + w->buf_bytes + left_bytes;

	return end <= w->tail + w->config.area_bytes;
}

static bool buffer_is_full(const struct wal *w, size_t bytes) SYNC_REQUIRES(w->lock)
{
	return w->started && WAL_HEADER_BYTES + WAL_GAP_BYTES + w->used + w->reserved + bytes > w->buf_bytes;
}

/* The buffer has room; the ring may have none that is not left to others. True: a commit is needed soon. */
static bool take_ticket(struct wal *w, size_t bytes, size_t left_bytes, struct wal_ticket *ret) SYNC_REQUIRES(w->lock)
{
	*ret = (struct wal_ticket){ .closed = true };
	if (w->started && ring_has_room(w, bytes, left_bytes)) {
		w->reserved += bytes;
		*ret = (struct wal_ticket){ .left_bytes = bytes };
	}
	return w->started && (ret->closed || w->position - w->release_position > w->config.area_bytes / FILLING_SHARE);
}

bool wal_try_begin(struct wal *w, size_t bytes, struct wal_ticket *ret)
{
	bool wanted = false, full;

	always(bytes <= WAL_TICKET_BYTES_MAX);
	sync_mutex_lock(&w->lock);
	full = buffer_is_full(w, bytes);
	if (!full)
		wanted = take_ticket(w, bytes, CARRY_ROOM_BYTES, ret);
	sync_mutex_unlock(&w->lock);
	if (wanted)
		w->config.want_commit(w->config.ctx);
	return !full;
}

size_t wal_ticket_max(const struct wal *w)
{
	return (size_t)max_u64(WAL_TICKET_BYTES_MAX, w->buf_bytes / 2);
}

static bool begin_blocking(struct wal *w, size_t bytes, size_t left_bytes, struct wal_ticket *ret)
{
	bool wanted;

	sync_assert_may_block();
	sync_mutex_lock(&w->lock);
	while (buffer_is_full(w, bytes)) {
		if (w->busy || !w->used) {
			sync_cond_wait(&w->done, &w->lock);
			continue;
		}
		w->busy = true;
		write_active(w);
		w->busy = false;
		sync_cond_broadcast(&w->done);
	}
	wanted = take_ticket(w, bytes, left_bytes, ret);
	sync_mutex_unlock(&w->lock);
	return wanted;
}

void wal_begin(struct wal *w, size_t bytes, struct wal_ticket *ret)
{
	always(bytes <= wal_ticket_max(w));
	if (begin_blocking(w, bytes, CARRY_ROOM_BYTES, ret))
		w->config.want_commit(w->config.ctx);
}

void wal_begin_carry(struct wal *w, size_t bytes, struct wal_ticket *ret)
{
	always(bytes <= CARRY_BYTES);
	(void)begin_blocking(w, bytes, 0, ret);
}

static void put_record(struct wal *w, const struct wal_record *r, size_t len) SYNC_REQUIRES(w->lock)
{
	wal_record_encode(r, w->bufs[w->active] + WAL_HEADER_BYTES + w->used);
	w->used += len;
	counter_add(&w->stats->records, 1);
}

bool wal_append(struct wal *w, struct wal_ticket *t, const struct wal_record *r)
{
	size_t len = wal_record_bytes(r);
	bool taken = false;

	sync_mutex_lock(&w->lock);
	if (t->closed) {
		close_log(w, r->txg);
	} else {
		always(len <= t->left_bytes);
		t->left_bytes -= len;
		w->reserved -= len;
		/* Room for one gap was kept; it may be gone. */
		if (w->gap_due && WAL_HEADER_BYTES + WAL_GAP_BYTES + w->used + w->reserved + len > w->buf_bytes)
			close_log(w, r->txg);
		taken = r->txg > w->closed_txg;
		if (taken) {
			if (w->gap_due) {
				struct wal_record gap = { .type = WAL_GAP, .txg = w->closed_txg };

				put_record(w, &gap, WAL_GAP_BYTES);
				w->gap_due = false;
			}
			if (!MUTATE(LOG_RECORD_LOST) || r->type != WAL_DATA || r->pages[0].index % 8 != 3)
				put_record(w, r, len);
			if (r->type == WAL_UNIT && r->unit_pages)
				w->unit_seq = w->seq;
		}
	}
	sync_mutex_unlock(&w->lock);
	return taken;
}

void wal_end(struct wal *w, struct wal_ticket *t)
{
	if (t->closed)
		return;
	sync_mutex_lock(&w->lock);
	w->reserved -= t->left_bytes;
	sync_cond_broadcast(&w->done);
	sync_mutex_unlock(&w->lock);
	t->left_bytes = 0;
}

/* ---- flushing ---- */

int wal_sync(struct wal *w, uint64_t *ret_closed_txg)
{
	uint64_t start_ns = sync_now_ns();
	uint64_t target;
	int ret;

	sync_assert_may_block();
	counter_add(&w->stats->syncs, 1);
	sync_mutex_lock(&w->lock);
	ret = w->flush_error;
	/* With an empty buffer, the batch before it is the last one of interest. */
	target = w->used ? w->seq : w->seq - 1;
	while (w->flushed_seq < target && !ret) {
		uint64_t seq, end;

		if (w->busy) {
			sync_cond_wait(&w->done, &w->lock);
			ret = w->flush_error;
			continue;
		}
		w->busy = true;
		write_active(w);
		seq = w->seq - 1;
		end = w->position;
		if (w->unflushed) {
			w->unflushed = false;
			sync_mutex_unlock(&w->lock);
			ret = MUTATE(NO_LOG_BARRIER) ? 0 : w->config.flush(w->config.ctx);
			counter_add(&w->stats->barriers, 1);
			sync_mutex_lock(&w->lock);
			w->flush_error = ret;
		}
		if (!ret) {
			w->flushed_seq = seq;
			w->durable = end;
		}
		w->busy = false;
		sync_cond_broadcast(&w->done);
	}
	*ret_closed_txg = w->closed_txg;
	sync_mutex_unlock(&w->lock);
	histogram_add(&w->stats->sync_time, sync_now_ns() - start_ns);
	return ret;
}

/* ---- the ring ---- */

uint64_t wal_position(struct wal *w)
{
	uint64_t position;

	sync_mutex_lock(&w->lock);
	position = w->written;
	sync_mutex_unlock(&w->lock);
	return position;
}

/* Is something in memory that has to stand before the position? */
static bool release_waits(const struct wal *w) SYNC_REQUIRES(w->lock)
{
	bool closed = w->closed_txg >= w->config.open_txg(w->config.ctx);

	if (MUTATE(TX_LOG_SPLIT))
		return closed && (w->busy || w->used);
	/* Parts of a unit may have been written already: it must not be behind the position alone. */
	if (w->busy)
		return closed || w->unit_seq + 1 >= w->seq;
	return w->used && (closed || w->unit_seq == w->seq);
}

uint64_t wal_release(struct wal *w, uint64_t *ret_closed_txg)
{
	uint64_t position;

	sync_mutex_lock(&w->lock);
	while (release_waits(w)) {
		if (w->busy) {
			sync_cond_wait(&w->done, &w->lock);
			continue;
		}
		w->busy = true;
		write_active(w);
		w->busy = false;
		sync_cond_broadcast(&w->done);
	}
	*ret_closed_txg = w->closed_txg;
	w->release_position = position = w->written;
	sync_mutex_unlock(&w->lock);
	return position;
}

uint64_t wal_closed_txg(struct wal *w)
{
	uint64_t txg;

	sync_mutex_lock(&w->lock);
	txg = w->closed_txg;
	sync_mutex_unlock(&w->lock);
	return txg;
}

uint64_t wal_epoch(const struct wal *w)
{
	return w->epoch;
}

void wal_root_durable(struct wal *w, uint64_t log_position)
{
	sync_mutex_lock(&w->lock);
	w->tail = w->root_position;
	w->root_position = log_position;
	sync_mutex_unlock(&w->lock);
}

uint64_t wal_used_bytes(struct wal *w)
{
	uint64_t bytes;

	sync_mutex_lock(&w->lock);
	bytes = w->position > w->root_position ? w->position - w->root_position : 0;
	sync_mutex_unlock(&w->lock);
	return bytes;
}

struct wal_stats *wal_get_stats(struct wal *w)
{
	return w->stats;
}

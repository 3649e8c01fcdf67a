/* SPDX-License-Identifier: BSD-3-Clause */
/* The mirror: fan-out of writes, choice and second chances of reads, and copies that go away and come back. */
#include "core/blk/mirror_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/err.h"
#include "core/base/log.h"

/* Reads go back and forth between idle copies in pieces of this size, so that each sees runs in sequence. */
#define STRIPE_BYTES (1u << 20)

/* A request to the mirror and its parts. */
struct op {
	struct blk_io *whole;
	unsigned epoch;
	unsigned left; /* parts that are not complete */
	unsigned count; /* parts */
	unsigned failed; /* read: bit mask of copies that could not be read */
	int error; /* read: of the first copy that failed */
	unsigned index[MIRROR_COPIES_MAX]; /* which copy each part goes to */
	struct blk_io parts[MIRROR_COPIES_MAX];
};

static void mirror_start(struct blk_io *io);
static void mirror_finish(struct blk_io *io);
static void mirror_close(struct blk_dev *dev);

static const struct blk_ops mirror_ops = {
	.start = mirror_start,
	.finish = mirror_finish,
	.close = mirror_close,
};

struct mirror *mirror_of(struct blk_dev *dev)
{
	always(dev->ops == &mirror_ops);
	return (struct mirror *)dev;
}

bool blk_is_mirror(const struct blk_dev *dev)
{
	return dev->ops == &mirror_ops;
}

static unsigned count_online(const struct mirror *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++)
		n += mirror_state_of(&m->copies[i]) == MIRROR_ONLINE;
	return n;
}

/* The copy cannot be trusted to be whole any more; false when it has to stay, because no other one is. */
static bool send_away(struct mirror *m, unsigned index)
{
	struct copy *c = &m->copies[index];
	uint64_t since = m->events.mark ? m->events.mark(m->events.ctx) : 0;
	bool went = false;
	int state;

	sync_mutex_lock(&m->lock);
	state = mirror_state_of(c);
	if (state == MIRROR_FILLING || (state == MIRROR_ONLINE && count_online(m) > 1)) {
		/* What it did not hold when it began to be filled it may not hold now. */
		if (state == MIRROR_ONLINE)
			__atomic_store_n(&c->since, since, __ATOMIC_RELAXED);
		__atomic_store_n(&c->state, MIRROR_AWAY, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&m->change, 1, __ATOMIC_SEQ_CST);
		went = true;
	}
	sync_mutex_unlock(&m->lock);
	if (went && m->events.changed)
		m->events.changed(m->events.ctx);
	return went || state == MIRROR_AWAY;
}

bool mirror_fail_copy(struct mirror *m, unsigned index, const char *doing, uint64_t offset, int error)
{
	const struct blk_dev *dev = __atomic_load_n(&m->copies[index].dev, __ATOMIC_SEQ_CST);
	bool was_away = mirror_state_of(&m->copies[index]) == MIRROR_AWAY;

	if (!send_away(m, index))
		return false;
	if (!was_away)
		log_error("blk", "device=%s mirror=%s: %s at offset %" PRIu64 " failed, going on without it errno=%d",
		          blk_name(dev), m->dev.name, doing, offset, -error);
	return true;
}

/*
 * Wait for all requests that began before the call. Twice, as a request may have read the epoch before the first change
 * of it and be counted after (cf. McKenney, "sleepable RCU").
 */
static void drain(struct mirror *m)
{
	sync_assert_may_block();
	for (unsigned i = 0; i < 2; i++) {
		unsigned old = __atomic_fetch_add(&m->epoch, 1, __ATOMIC_SEQ_CST) & 1;

		while (__atomic_load_n(&m->users[old], __ATOMIC_SEQ_CST))
			sync_sleep_ns(SYNC_NS_PER_MS / 10);
	}
}

static void part_done(struct blk_io *part)
{
	struct op *op = part->owner;

	if (part->op == BLK_READ)
		__atomic_sub_fetch(&mirror_of(op->whole->dev)->copies[op->index[0]].reads, 1, __ATOMIC_RELAXED);
	if (--op->left == 0)
		blk_parts_are_done(op->whole);
}

static void add_part(struct op *op, unsigned n, unsigned index)
{
	struct copy *c = &mirror_of(op->whole->dev)->copies[index];
	const struct blk_io *io = op->whole;

	op->index[n] = index;
	op->parts[n] = (struct blk_io){
		.op = io->op,
		.flags = io->flags,
		.offset = io->offset,
		.len_bytes = io->len_bytes,
		.iov = io->iov,
		.iov_count = io->iov_count,
	};
	op->left++;
	blk_part_add(op->whole, __atomic_load_n(&c->dev, __ATOMIC_SEQ_CST), &op->parts[n], op, part_done);
}

/* The copy to read from, none of @failed. MIRROR_COPIES_MAX: there is none. */
static unsigned choose_copy(const struct mirror *m, uint64_t offset, unsigned failed)
{
	unsigned best = MIRROR_COPIES_MAX, best_reads = 0;
	unsigned online = count_online(m), first = online ? (unsigned)(offset / STRIPE_BYTES) % online : 0;

	for (unsigned n = 0; n < MIRROR_COPIES_MAX; n++) {
		unsigned i = (first + n) % MIRROR_COPIES_MAX;
		unsigned reads = __atomic_load_n(&m->copies[i].reads, __ATOMIC_RELAXED);

		if (mirror_state_of(&m->copies[i]) != MIRROR_ONLINE || (failed & 1u << i))
			continue;
		if (best == MIRROR_COPIES_MAX || reads < best_reads) {
			best = i;
			best_reads = reads;
		}
	}
	return best;
}

static bool add_read(struct mirror *m, struct op *op)
{
	unsigned index = choose_copy(m, op->whole->offset, op->failed);

	if (index == MIRROR_COPIES_MAX)
		return false;
	__atomic_add_fetch(&m->copies[index].reads, 1, __ATOMIC_RELAXED);
	op->count = 1;
	add_part(op, 0, index);
	return true;
}

static void complete(struct mirror *m, struct op *op, int result)
{
	struct blk_io *whole = op->whole;

	mirror_leave(m, op->epoch);
	free(op);
	blk_whole_complete(whole, result);
}

static void mirror_start(struct blk_io *io)
{
	struct mirror *m = mirror_of(io->dev);
	struct op *op = malloc(sizeof(*op));

	if (!op) {
		blk_whole_complete(io, -ENOMEM);
		return;
	}
	op->whole = io;
	op->left = op->count = op->failed = 0;
	op->error = 0;
	io->owner = op;
	op->epoch = mirror_enter(m);
	if (io->op == BLK_READ) {
		if (!add_read(m, op))
			complete(m, op, -ENXIO);
		return;
	}
	for (unsigned i = 0; i < MIRROR_COPIES_MAX; i++) {
		int state = mirror_state_of(&m->copies[i]);

		if (state == MIRROR_ONLINE || state == MIRROR_FILLING)
			add_part(op, op->count++, i);
	}
	if (!op->count)
		complete(m, op, -ENXIO);
}

static void finish_read(struct mirror *m, struct op *op)
{
	const struct blk_io *io = op->whole;
	int result = op->parts[0].result;

	if (!result) {
		mirror_rewrite_copies(m, op->failed, io->offset, io->len_bytes, io->iov, io->iov_count);
		complete(m, op, 0);
		return;
	}
	op->failed |= 1u << op->index[0];
	if (!op->error)
		op->error = result;
	if (result == -ENXIO)
		mirror_fail_copy(m, op->index[0], "read", io->offset, result);
	if (!add_read(m, op))
		complete(m, op, op->error);
}

static int record_changes(struct mirror *m)
{
	return mirror_is_recorded(&m->dev) || !m->events.record ? 0 : m->events.record(m->events.ctx);
}

static void finish_change(struct mirror *m, struct op *op)
{
	static const char *const names[BLK_OP_COUNT] = { "read", "write", "flush", "discard", "zeroing" };
	const struct blk_io *io = op->whole;
	bool whole_copy = false, must_be_recorded = io->op == BLK_FLUSH || (io->flags & BLK_FUA);
	int result = 0;

	for (unsigned i = 0; i < op->count; i++) {
		if (!op->parts[i].result && mirror_state_of(&m->copies[op->index[i]]) == MIRROR_ONLINE)
			whole_copy = true;
		else if (op->parts[i].result && !result)
			result = op->parts[i].result;
	}
	/* With no whole copy left, those that failed stay: the error is the answer. */
	for (unsigned i = 0; i < op->count && whole_copy && io->op != BLK_DISCARD; i++)
		if (op->parts[i].result)
			mirror_fail_copy(m, op->index[i], names[io->op], io->offset, op->parts[i].result);
	if (whole_copy)
		result = 0;
	else if (!result)
		result = -EIO; /* the copies it reached are away by now */
	if (!result && must_be_recorded)
		result = record_changes(m);
	complete(m, op, result);
}

static void mirror_finish(struct blk_io *io)
{
	struct mirror *m = mirror_of(io->dev);

	if (io->op == BLK_READ)
		finish_read(m, io->owner);
	else
		finish_change(m, io->owner);
}

int mirror_new(const char *name, uint64_t size_bytes, bool discard, const struct mirror_events *events,
               struct blk_dev **ret)
{
	struct mirror *m;
	int rc = blk_dev_alloc(sizeof(*m), &mirror_ops, name, &m);

	if (rc)
		return rc;
	if (events)
		m->events = *events;
	sync_mutex_init(&m->lock, SYNC_RANK_BLK, "mirror");
	/* The least that any copy can do: they come and go, this does not change. */
	m->dev.caps = (struct blk_caps){
		.size_bytes = size_bytes,
		.logical_block_bytes = BLK_ALIGN_MAX,
		.physical_block_bytes = BLK_ALIGN_MAX,
		.align_bytes = BLK_ALIGN_MAX,
		.max_transfer_bytes = UINT32_MAX,
		.queue_depth = 32,
		.volatile_cache = true,
		.fua = true,
		.discard = discard,
	};
	*ret = &m->dev;
	return 0;
}

static void mirror_close(struct blk_dev *dev)
{
	struct mirror *m = mirror_of(dev);

	sync_mutex_done(&m->lock);
	blk_dev_free(dev);
}

void mirror_get(const struct blk_dev *mirror, unsigned index, struct mirror_copy *ret)
{
	const struct copy *c = &((const struct mirror *)mirror)->copies[index];

	always(blk_is_mirror(mirror) && index < MIRROR_COPIES_MAX);
	*ret = (struct mirror_copy){
		.dev = __atomic_load_n(&c->dev, __ATOMIC_SEQ_CST),
		.state = (enum mirror_state)mirror_state_of(c),
		.since = __atomic_load_n(&c->since, __ATOMIC_RELAXED),
		.checksum_errors = __atomic_load_n(&c->checksum_errors, __ATOMIC_RELAXED),
		.repairs = __atomic_load_n(&c->repairs, __ATOMIC_RELAXED),
	};
}

void mirror_put(struct blk_dev *mirror, unsigned index, struct blk_dev *dev, enum mirror_state state, uint64_t since)
{
	struct mirror *m = mirror_of(mirror);
	struct copy *c = &m->copies[index];

	always(index < MIRROR_COPIES_MAX && !c->dev && state != MIRROR_EMPTY && (dev || state == MIRROR_AWAY));
	always(!dev || dev->caps.size_bytes >= mirror->caps.size_bytes);
	sync_mutex_lock(&m->lock);
	__atomic_store_n(&c->since, since, __ATOMIC_RELAXED);
	__atomic_store_n(&c->checksum_errors, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->repairs, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&c->dev, dev, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->state, state, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&m->lock);
}

void mirror_refill(struct blk_dev *mirror, unsigned index)
{
	struct mirror *m = mirror_of(mirror);
	struct copy *c = &m->copies[index];

	sync_mutex_lock(&m->lock);
	always(mirror_state_of(c) == MIRROR_AWAY && c->dev);
	__atomic_store_n(&c->state, MIRROR_FILLING, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&m->lock);
}

void mirror_set_since(struct blk_dev *mirror, unsigned index, uint64_t since)
{
	struct mirror *m = mirror_of(mirror);

	sync_mutex_lock(&m->lock);
	always(mirror_state_of(&m->copies[index]) == MIRROR_AWAY);
	__atomic_store_n(&m->copies[index].since, since, __ATOMIC_RELAXED);
	__atomic_add_fetch(&m->change, 1, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&m->lock);
}

bool mirror_set_online(struct blk_dev *mirror, unsigned index)
{
	struct mirror *m = mirror_of(mirror);
	struct copy *c = &m->copies[index];
	bool filling;

	sync_mutex_lock(&m->lock);
	filling = mirror_state_of(c) == MIRROR_FILLING;
	if (filling)
		__atomic_store_n(&c->state, MIRROR_ONLINE, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&m->lock);
	return filling;
}

bool mirror_give_up(struct blk_dev *mirror, unsigned index, const char *doing, int error)
{
	return mirror_fail_copy(mirror_of(mirror), index, doing, 0, error);
}

int mirror_fill(struct blk_dev *mirror, unsigned index, uint64_t offset, const void *buf, size_t len)
{
	struct mirror *m = mirror_of(mirror);
	unsigned epoch = mirror_enter(m);
	int rc = -ECANCELED;

	if (mirror_state_of(&m->copies[index]) == MIRROR_FILLING) {
		rc = blk_write(__atomic_load_n(&m->copies[index].dev, __ATOMIC_SEQ_CST), offset, buf, len, 0);
		if (rc)
			mirror_fail_copy(m, index, "fill", offset, rc);
	} else {
		err_set(rc, "mirror %s: the device that was filled is away", mirror->name);
	}
	mirror_leave(m, epoch);
	return rc;
}

int mirror_set_away(struct blk_dev *mirror, unsigned index)
{
	struct mirror *m = mirror_of(mirror);

	if (!send_away(m, index))
		return err_set(-EBUSY, "%s: this is its last whole copy", mirror->name);
	return 0;
}

struct blk_dev *mirror_take(struct blk_dev *mirror, unsigned index, bool keep_place)
{
	struct mirror *m = mirror_of(mirror);
	struct copy *c = &m->copies[index];
	struct blk_dev *dev = c->dev;

	always(mirror_state_of(c) == MIRROR_AWAY);
	drain(m);
	sync_mutex_lock(&m->lock);
	__atomic_store_n(&c->dev, NULL, __ATOMIC_SEQ_CST);
	if (!keep_place)
		__atomic_store_n(&c->state, MIRROR_EMPTY, __ATOMIC_SEQ_CST);
	sync_mutex_unlock(&m->lock);
	return dev;
}

uint64_t mirror_change(const struct blk_dev *mirror)
{
	always(blk_is_mirror(mirror));
	return __atomic_load_n(&((const struct mirror *)mirror)->change, __ATOMIC_SEQ_CST);
}

bool mirror_is_recorded(const struct blk_dev *mirror)
{
	return __atomic_load_n(&((const struct mirror *)mirror)->recorded, __ATOMIC_SEQ_CST) >= mirror_change(mirror);
}

void mirror_set_recorded(struct blk_dev *mirror, uint64_t change)
{
	__atomic_store_n(&mirror_of(mirror)->recorded, change, __ATOMIC_SEQ_CST);
}

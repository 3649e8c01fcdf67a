/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests on files and block devices through io_uring: one ring per thread, all devices of the thread on it.
 *
 * A request is cut into parts; each part has a slot of the ring and at most one entry in the submission queue, which is
 * as long as there are slots, so that there is always room to continue a short transfer.
 *
 *   part:  free -> queued -> in flight -> free                 transferred
 *                    ^           |
 *                    '-----------'    short transfer; EINTR, EAGAIN; the sync after the last part of a FUA write
 *
 * Where the kernel has no io_uring, or forbids it (containers, seccomp), requests run in the calling thread instead.
 *
 * Measured (kernel 6.18, virtio disk, ext4, O_DIRECT, one request at a time, microseconds, direct call / io_uring):
 * 4K read 44..55 / 51..58, 4K write 41..56 / 48..64, fdatasync with nothing to do 34..45 at 6..11 of CPU / 45..49 at 15
 * of CPU (the ring hands it to a kernel worker), write + fdatasync 93..127 / 111..135. So a request that is alone is
 * run by a direct call, and the ring is for batches.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/log.h"
#include "core/base/sync.h"
#include "core/base/waits.h"
#include "core/blk/file.h"
#include "core/blk/part.h"

#define RING_SLOTS 256u

struct slot {
	struct slot *next_free;
	struct blk_io *io;
	uint64_t total_bytes; /* of the part */
	bool sync; /* the sync after a FUA write, or a flush */
	struct blk_part part;
};

struct ring {
	struct io_uring u;
	struct slot *free;
	unsigned busy; /* slots not free */
	struct slot slots[RING_SLOTS];
};

static _Thread_local struct ring *thread_ring;
static _Thread_local bool thread_has_none; /* io_uring was refused to this thread */

/*
 * A ring may get the addresses of one that is gone. The thread sanitizer does not see liburing map memory, and has to
 * be told which of the two came first: a thread counts its ring here before it unmaps it, and looks here after it has
 * mapped one.
 */
static unsigned rings_going; /* atomic */

/* The best set of flags that this kernel knows. */
static int init_queue(struct io_uring *u)
{
	static const unsigned flag_sets[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* 6.1 */
		IORING_SETUP_COOP_TASKRUN, /* 5.19 */
		0,
	};
	int rc = -EINVAL;

	for (size_t i = 0; rc == -EINVAL && i < sizeof(flag_sets) / sizeof(flag_sets[0]); i++) {
		struct io_uring_params params = { .flags = flag_sets[i] };

		rc = io_uring_queue_init_params(RING_SLOTS, u, &params);
	}
	(void)__atomic_load_n(&rings_going, __ATOMIC_ACQUIRE);
	return rc;
}

static struct ring *ring_new(void)
{
	static int told;
	struct ring *r = malloc(sizeof(*r));
	int rc = r ? init_queue(&r->u) : -ENOMEM;

	if (rc) {
		free(r);
		if (!__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
			log_notice("blk", "io_uring is not available, requests wait one by one error=%d", rc);
		return NULL;
	}
	(void)io_uring_register_ring_fd(&r->u); /* saves a descriptor look-up per call; 5.18 */
	r->free = NULL;
	r->busy = 0;
	for (unsigned i = 0; i < RING_SLOTS; i++) {
		r->slots[i].next_free = r->free;
		r->free = &r->slots[i];
	}
	return r;
}

static struct ring *ring_get(void)
{
	if (!thread_ring && !thread_has_none) {
		thread_ring = ring_new();
		thread_has_none = !thread_ring;
	}
	return thread_ring;
}

void blk_thread_done(void)
{
	struct ring *r = thread_ring;

	thread_has_none = false;
	if (!r)
		return;
	always(r->busy == 0);
	__atomic_add_fetch(&rings_going, 1, __ATOMIC_RELEASE);
	io_uring_queue_exit(&r->u);
	free(r);
	thread_ring = NULL;
}

/* Does each part of this write carry its own durability? Otherwise one sync follows the last part. */
static bool each_part_durable(const struct blk_io *io)
{
	return io->dev->caps.fua || blk_part_is_whole(io, io->dev->caps.max_transfer_bytes);
}

static bool is_fua_write(const struct blk_io *io)
{
	return io->op != BLK_READ && io->op != BLK_FLUSH && (io->flags & BLK_FUA);
}

static void queue_slot(struct ring *r, struct slot *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);
	const struct file_dev *f = (struct file_dev *)s->io->dev;
	const struct blk_part *p = &s->part;
	const struct iovec *iov = &p->iov[p->iov_first];
	unsigned count = (unsigned)(p->iov_count - p->iov_first);

	always(sqe);
	if (s->sync) {
		io_uring_prep_fsync(sqe, f->fd, IORING_FSYNC_DATASYNC);
	} else if (s->io->op == BLK_READ) {
		if (count == 1)
			io_uring_prep_read(sqe, f->fd, iov->iov_base, (unsigned)iov->iov_len, p->offset);
		else
			io_uring_prep_readv(sqe, f->fd, iov, count, p->offset);
	} else {
		if (count == 1)
			io_uring_prep_write(sqe, f->fd, iov->iov_base, (unsigned)iov->iov_len, p->offset);
		else
			io_uring_prep_writev(sqe, f->fd, iov, count, p->offset);
		if (is_fua_write(s->io) && each_part_durable(s->io))
			sqe->rw_flags = RWF_DSYNC;
	}
	io_uring_sqe_set_data(sqe, s);
}

static void release_slot(struct ring *r, struct slot *s)
{
	s->next_free = r->free;
	r->free = s;
	r->busy--;
}

/* A part is finished with @result; the request is, when all of it is. */
static void finish_part(struct ring *r, struct slot *s, int result)
{
	struct blk_io *io = s->io;

	if (result && io->result == -EINPROGRESS)
		io->result = result;
	if (!s->sync) {
		io->done_bytes += s->total_bytes;
		if (io->done_bytes < io->len_bytes) {
			release_slot(r, s);
			return;
		}
		if (io->result == -EINPROGRESS && is_fua_write(io) && !each_part_durable(io)) {
			s->sync = true;
			queue_slot(r, s);
			return;
		}
	}
	release_slot(r, s);
	blk_io_complete(io, io->result == -EINPROGRESS ? 0 : io->result);
}

static void take_completion(struct ring *r, struct slot *s, int res)
{
	if (res == -EINTR || res == -EAGAIN) {
		queue_slot(r, s);
	} else if (res < 0 || s->sync) {
		finish_part(r, s, res);
	} else if (res == 0) {
		finish_part(r, s, -EIO); /* the file was cut short under us */
	} else {
		blk_part_advance(&s->part, (size_t)res);
		if (s->part.left_bytes)
			queue_slot(r, s);
		else
			finish_part(r, s, 0);
	}
}

static void take_completions(struct ring *r)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&r->u, &cqe) == 0) {
		struct slot *s = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&r->u, cqe);
		take_completion(r, s, res);
	}
}

/* EAGAIN, EBUSY: the kernel is short of memory or room for completions; taking some and trying again is the way. */
static void check_enter(int rc)
{
	always(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
}

static void uring_kick(void)
{
	check_enter(io_uring_submit(&thread_ring->u));
}

static void uring_reap(unsigned want)
{
	struct ring *r = thread_ring;

	if (want > r->busy)
		want = r->busy;
	if (want) {
		uint64_t since_ns = sync_now_ns();

		check_enter(io_uring_submit_and_wait(&r->u, want));
		waits_of_thread.device_ns += sync_now_ns() - since_ns;
	} else {
		check_enter(io_uring_submit(&r->u));
	}
	take_completions(r);
}

static struct slot *take_slot(struct ring *r, struct blk_io *io)
{
	struct slot *s;

	while (!r->free)
		uring_reap(1);
	s = r->free;
	r->free = s->next_free;
	r->busy++;
	s->io = io;
	s->sync = false;
	return s;
}

static void start_parts(struct ring *r, struct blk_io *io)
{
	struct blk_part_cursor c = { .io = io };
	struct slot *s = take_slot(r, io);

	while (blk_part_next(&c, io->dev->caps.max_transfer_bytes, &s->part)) {
		s->total_bytes = s->part.left_bytes;
		queue_slot(r, s);
		if (c.pos < io->len_bytes)
			s = take_slot(r, io);
	}
}

static void uring_start(struct blk_io *io)
{
	struct ring *r = ((struct file_dev *)io->dev)->buffered ? NULL : ring_get();
	int rc;

	if (!r) {
		blk_io_complete(io, direct_run(io));
		return;
	}
	switch (io->op) {
	case BLK_FLUSH: {
		struct slot *s = take_slot(r, io);

		s->sync = true;
		queue_slot(r, s);
		return;
	}
	case BLK_DISCARD:
		blk_io_complete(io, direct_discard(io));
		return;
	case BLK_WRITE_ZEROES:
		rc = direct_zero(io);
		if (rc != -EOPNOTSUPP) {
			blk_io_complete(io, rc);
			return;
		}
		break;
	case BLK_READ:
	case BLK_WRITE:
		break;
	}
	start_parts(r, io);
}

static bool uring_try_run(struct blk_io *io)
{
	bool cut = io->op == BLK_READ || io->op == BLK_WRITE || io->op == BLK_WRITE_ZEROES;

	if (cut && !blk_part_is_whole(io, io->dev->caps.max_transfer_bytes))
		return false;
	blk_io_complete(io, direct_run(io));
	return true;
}

static void uring_close(struct blk_dev *dev)
{
	struct file_dev *f = (struct file_dev *)dev;

	lock_release(f->fd);
	close(f->fd);
	blk_dev_free(dev);
}

const struct blk_ops uring_ops = {
	.start = uring_start,
	.kick = uring_kick,
	.reap = uring_reap,
	.try_run = uring_try_run,
	.close = uring_close,
};

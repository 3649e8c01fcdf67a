/* SPDX-License-Identifier: BSD-3-Clause */
/* Batches: checks, dispatch to the back ends, completion, and per-device metrics. */
#include "core/blk/blk.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/base/sync.h"
#include "core/blk/blk_ops.h"

static const char *const op_names[BLK_OP_COUNT] = { "read", "write", "flush", "discard", "write_zeroes" };

int blk_dev_alloc(size_t bytes, const struct blk_ops *ops, const char *name, void *ret_dev)
{
	struct blk_dev *dev = aligned_alloc(64, round_up_u64(bytes, 64));

	if (!dev)
		return err_set(-ENOMEM, "device %s", name);
	memset(dev, 0, bytes);
	dev->ops = ops;
	dev->name = strdup(name);
	if (!dev->name) {
		free(dev);
		return err_set(-ENOMEM, "device %s", name);
	}
	memcpy(ret_dev, &dev, sizeof(dev));
	return 0;
}

void blk_dev_free(struct blk_dev *dev)
{
	free(dev->name);
	free(dev);
}

void blk_close(struct blk_dev *dev)
{
	if (!dev)
		return;
	if (dev->metrics)
		metrics_unregister(dev->metrics, dev);
	dev->ops->close(dev);
}

const struct blk_caps *blk_caps(const struct blk_dev *dev)
{
	return &dev->caps;
}

const char *blk_name(const struct blk_dev *dev)
{
	return dev->name;
}

const char *blk_transport_name(enum blk_transport t)
{
	switch (t) {
	case BLK_TRANSPORT_NVME:
		return "nvme";
	case BLK_TRANSPORT_SATA:
		return "sata";
	case BLK_TRANSPORT_SCSI:
		return "scsi";
	case BLK_TRANSPORT_VIRTIO:
		return "virtio";
	case BLK_TRANSPORT_LOOP:
		return "loop";
	case BLK_TRANSPORT_FILE:
		return "file";
	case BLK_TRANSPORT_MEM:
		return "mem";
	case BLK_TRANSPORT_SIM:
		return "sim";
	case BLK_TRANSPORT_UNKNOWN:
		break;
	}
	return "unknown";
}

void blk_batch_init(struct blk_batch *b)
{
	memset(b, 0, sizeof(*b));
	b->queued_tail = &b->queued;
}

void blk_batch_add(struct blk_batch *b, struct blk_dev *dev, struct blk_io *io)
{
	always((unsigned)io->op < BLK_OP_COUNT);
	io->dev = dev;
	io->batch = b;
	io->next = NULL;
	io->done_bytes = 0;
	io->result = -EINPROGRESS;
	io->owner = NULL;
	io->part_done = NULL;
	*b->queued_tail = io;
	b->queued_tail = &io->next;
}

void blk_part_add(struct blk_io *whole, struct blk_dev *dev, struct blk_io *part, void *owner,
                  void (*part_done)(struct blk_io *part))
{
	blk_batch_add(whole->batch, dev, part);
	part->owner = owner;
	part->part_done = part_done;
}

void blk_parts_are_done(struct blk_io *whole)
{
	whole->next = whole->batch->finishing;
	whole->batch->finishing = whole;
}

static int check_iov(const struct blk_io *io, uint64_t align)
{
	uint64_t sum = 0, bits = 0;

	if (!io->iov || io->iov_count < 1 || io->iov_count > IOV_MAX)
		return -EINVAL;
	for (int i = 0; i < io->iov_count; i++) {
		bits |= (uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len;
		if (!checked_add(sum, io->iov[i].iov_len, &sum))
			return -EINVAL;
	}
	return sum == io->len_bytes && !(bits & (align - 1)) ? 0 : -EINVAL;
}

static int check_io(const struct blk_io *io)
{
	const struct blk_caps *caps = &io->dev->caps;

	if (io->op == BLK_FLUSH)
		return 0;
	if (io->op != BLK_READ && caps->read_only)
		return -EROFS;
	if (!range_within(io->offset, io->len_bytes, caps->size_bytes) ||
	    ((io->offset | io->len_bytes) & (caps->align_bytes - 1)))
		return -EINVAL;
	if (io->op == BLK_DISCARD && !caps->discard)
		return -EOPNOTSUPP;
	return io->op == BLK_READ || io->op == BLK_WRITE ? check_iov(io, caps->align_bytes) : 0;
}

/* Hosts have more words for the same trouble than the contract. */
static int plain_error(int result)
{
	switch (result) {
	case -ENODEV:
	case -ENOMEDIUM:
		return -ENXIO;
	case -EDQUOT:
	case -EFBIG:
		return -ENOSPC;
	default:
		return result;
	}
}

void blk_io_complete(struct blk_io *io, int result)
{
	struct blk_batch *b = io->batch;
	struct blk_dev *dev = io->dev;

	result = plain_error(result);
	io->result = result;
	counter_add(&dev->ops_count[io->op], 1);
	if (result == 0) {
		counter_add(&dev->bytes_count[io->op], io->len_bytes);
	} else {
		counter_add(&dev->error_count[io->op], 1);
		if (!b->first_error && !io->part_done) {
			b->first_error = result;
			b->first_failed = io;
		}
	}
	histogram_add(&dev->latency[io->op], sync_now_ns() - io->start_ns);
	always(b->pending > 0);
	b->pending--;
	if (io->part_done)
		io->part_done(io);
}

void blk_whole_complete(struct blk_io *whole, int result)
{
	whole->batch->pending++;
	blk_io_complete(whole, result);
}

/* Count @io as started; true when it is already complete (refused, or empty). */
static bool begin_io(struct blk_io *io)
{
	int rc = check_io(io);

	io->batch->pending++;
	io->start_ns = sync_now_ns();
	if (rc == 0 && (io->op == BLK_FLUSH || io->len_bytes > 0))
		return false;
	blk_io_complete(io, rc);
	return true;
}

static struct blk_io *take_queue(struct blk_batch *b)
{
	struct blk_io *io = b->queued;

	b->queued = NULL;
	b->queued_tail = &b->queued;
	return io;
}

static void reap_all(struct blk_batch *b)
{
	while (b->pending)
		b->engine->reap(b->pending);
}

/* Requests to devices that are made of others give way to their parts. */
static void expand(struct blk_batch *b)
{
	struct blk_io **at = &b->queued;

	/* Parts are added at the end, and may have parts themselves. */
	while (*at) {
		struct blk_io *io = *at;
		int rc;

		if (!io->dev->ops->finish) {
			at = &io->next;
			continue;
		}
		*at = io->next;
		if (!*at)
			b->queued_tail = at;
		io->start_ns = sync_now_ns();
		rc = check_io(io);
		if (rc || (io->op != BLK_FLUSH && !io->len_bytes))
			blk_whole_complete(io, rc);
		else
			io->dev->ops->start(io);
	}
}

void blk_batch_submit(struct blk_batch *b)
{
	struct blk_io *io, *next;

	expand(b);
	io = take_queue(b);
	for (; io; io = next) {
		const struct blk_ops *ops = io->dev->ops;

		next = io->next;
		if (ops->reap && b->engine != ops) {
			/* One batch waits in one place: what another engine still has comes home first. */
			if (b->pending)
				reap_all(b);
			b->engine = ops;
		}
		if (!begin_io(io))
			ops->start(io);
	}
	if (b->pending)
		b->engine->kick();
}

int blk_batch_wait(struct blk_batch *b)
{
	struct blk_io *failed, *io;
	int rc;

	sync_assert_may_block();
	expand(b);
	if (b->queued && !b->queued->next && !b->pending && b->queued->dev->ops->try_run) {
		io = take_queue(b);
		if (!begin_io(io) && !io->dev->ops->try_run(io)) {
			b->engine = io->dev->ops;
			io->dev->ops->start(io);
		}
	}
	do {
		blk_batch_submit(b);
		reap_all(b);
		while ((io = b->finishing)) {
			b->finishing = io->next;
			io->dev->ops->finish(io);
		}
	} while (b->queued);
	rc = b->first_error;
	failed = b->first_failed;
	b->first_error = 0;
	b->first_failed = NULL;
	if (rc)
		err_set(rc, "device %s: %s at offset %" PRIu64 " length %" PRIu64, failed->dev->name,
		        op_names[failed->op], failed->offset, failed->len_bytes);
	return rc;
}

static int run_one(struct blk_dev *dev, struct blk_io *io)
{
	struct blk_batch b;

	blk_batch_init(&b);
	blk_batch_add(&b, dev, io);
	return blk_batch_wait(&b);
}

int blk_read(struct blk_dev *dev, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct blk_io io = { .op = BLK_READ, .offset = offset, .len_bytes = len, .iov = &iov, .iov_count = 1 };

	return run_one(dev, &io);
}

int blk_write(struct blk_dev *dev, uint64_t offset, const void *buf, size_t len, unsigned flags)
{
	/* A device only reads from a write's iovec. */
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct blk_io io = {
		.op = BLK_WRITE, .flags = flags, .offset = offset, .len_bytes = len, .iov = &iov, .iov_count = 1
	};

	return run_one(dev, &io);
}

int blk_flush(struct blk_dev *dev)
{
	struct blk_io io = { .op = BLK_FLUSH };

	return run_one(dev, &io);
}

uint64_t blk_error_count(const struct blk_dev *dev, enum blk_op op)
{
	return counter_read(&dev->error_count[op]);
}

int blk_register_metrics(struct blk_dev *dev, struct metrics *m)
{
	char name[256], labels[320];
	int rc = 0;

	always(!dev->metrics);
	metrics_escape(dev->name, name, sizeof(name));
	for (int op = 0; op < BLK_OP_COUNT && rc == 0; op++) {
		snprintf(labels, sizeof(labels), "device=\"%s\",op=\"%s\"", name, op_names[op]);
		rc = metrics_add_counter(m, dev, "wfsd_device_operations_total", "Device requests completed.", labels,
		                         &dev->ops_count[op]);
		if (rc == 0)
			rc = metrics_add_counter(m, dev, "wfsd_device_bytes_total", "Bytes of successful requests.",
			                         labels, &dev->bytes_count[op]);
		if (rc == 0)
			rc = metrics_add_counter(m, dev, "wfsd_device_errors_total", "Device requests failed.", labels,
			                         &dev->error_count[op]);
		if (rc == 0)
			rc = metrics_add_histogram(m, dev, "wfsd_device_latency_seconds",
			                           "Time from start to completion of device requests.", labels,
			                           &dev->latency[op]);
	}
	if (rc) {
		metrics_unregister(m, dev);
		return err_add(rc, "metrics of device %s", dev->name);
	}
	dev->metrics = m;
	return 0;
}

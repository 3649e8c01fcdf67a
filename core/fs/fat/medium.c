/* SPDX-License-Identifier: BSD-3-Clause */
/* Access to a block device at any byte offset. */
#include "core/fs/fat/medium.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"

#define BOUNCE_BYTES ((size_t)256 * 1024)
#define ZEROS_BYTES 4096u
#define IOVS_PER_REQUEST 1024u /* IOV_MAX */

void fat_medium_init(struct fat_medium *m, struct blk_dev *dev)
{
	m->dev = dev;
	m->align = blk_caps(dev)->align_bytes;
	sync_mutex_init(&m->edge_lock, SYNC_RANK_DEVICES, "fat medium");
}

void fat_medium_done(struct fat_medium *m)
{
	sync_mutex_done(&m->edge_lock);
}

static void iov_copy(const struct iovec *iov, size_t skip, uint8_t *buf, size_t len, bool to_iov)
{
	while (len) {
		size_t n;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			continue;
		}
		n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		if (to_iov)
			memcpy((uint8_t *)iov->iov_base + skip, buf, n);
		else
			memcpy(buf, (uint8_t *)iov->iov_base + skip, n);
		buf += n;
		len -= n;
		skip += n;
	}
}

/* Bring in the blocks of [start, end) that [offset, offset + len) covers only in part. */
static int read_edges(struct fat_medium *m, uint8_t *bounce, uint64_t start, uint64_t end, uint64_t offset, size_t len)
{
	int rc = 0;

	if (offset != start || end - start == m->align)
		rc = blk_read(m->dev, start, bounce, m->align);
	if (rc == 0 && offset + len != end && end - start > m->align)
		rc = blk_read(m->dev, end - m->align, bounce + (end - start - m->align), m->align);
	return rc;
}

/* One piece that fits the bounce buffer. */
static int bounce_piece(struct fat_medium *m, enum blk_op op, uint8_t *bounce, uint64_t offset, const struct iovec *iov,
                        size_t skip, size_t len)
{
	uint64_t start = round_down_u64(offset, m->align), end = round_up_u64(offset + len, m->align);
	int rc;

	if (end > blk_caps(m->dev)->size_bytes)
		return err_set(-EINVAL, "device %s: behind its end", blk_name(m->dev));
	if (op == BLK_READ) {
		rc = blk_read(m->dev, start, bounce, (size_t)(end - start));
		if (rc == 0)
			iov_copy(iov, skip, bounce + (offset - start), len, true);
		return rc;
	}
	sync_mutex_lock(&m->edge_lock);
	rc = read_edges(m, bounce, start, end, offset, len);
	if (rc == 0) {
		iov_copy(iov, skip, bounce + (offset - start), len, false);
		rc = blk_write(m->dev, start, bounce, (size_t)(end - start), 0);
	}
	sync_mutex_unlock(&m->edge_lock);
	return rc;
}

static int run_bounced(struct fat_medium *m, enum blk_op op, uint64_t offset, const struct iovec *iov, size_t len)
{
	size_t room = len + 2 * (size_t)m->align < BOUNCE_BYTES ? round_up_u64(len, m->align) + 2 * (size_t)m->align
	                                                        : BOUNCE_BYTES;
	uint8_t *bounce = aligned_alloc(m->align, room);
	size_t done = 0;
	int rc = 0;

	if (!bounce)
		return err_set(-ENOMEM, "device %s: no memory for a transfer", blk_name(m->dev));
	while (rc == 0 && done < len) {
		size_t n = (size_t)min_u64(len - done, room - 2 * (size_t)m->align);

		rc = bounce_piece(m, op, bounce, offset + done, iov, done, n);
		done += n;
	}
	free(bounce);
	return rc;
}

int fat_medium_read(struct fat_medium *m, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	if (((offset | len | (uintptr_t)buf) & (m->align - 1)) == 0)
		return blk_read(m->dev, offset, buf, len);
	return run_bounced(m, BLK_READ, offset, &iov, len);
}

int fat_medium_write(struct fat_medium *m, uint64_t offset, const void *buf, size_t len)
{
	struct iovec iov = { .iov_len = len };

	if (((offset | len | (uintptr_t)buf) & (m->align - 1)) == 0)
		return blk_write(m->dev, offset, buf, len, 0);
	memcpy(&iov.iov_base, &buf, sizeof(buf)); /* it is only read */
	return run_bounced(m, BLK_WRITE, offset, &iov, len);
}

static int zero_piece(struct fat_medium *m, uint64_t offset, size_t len)
{
	static const uint8_t zeros[ZEROS_BYTES];
	int rc = 0;

	while (rc == 0 && len) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);

		rc = fat_medium_write(m, offset, zeros, n);
		offset += n;
		len -= n;
	}
	return rc;
}

int fat_medium_zero(struct fat_medium *m, uint64_t offset, uint64_t len)
{
	uint64_t first = round_up_u64(offset, m->align), end = round_down_u64(offset + len, m->align);
	struct blk_io io = { .op = BLK_WRITE_ZEROES, .offset = first };
	struct blk_batch batch;
	int rc;

	if (first >= end)
		return zero_piece(m, offset, (size_t)len);
	io.len_bytes = end - first;
	blk_batch_init(&batch);
	blk_batch_add(&batch, m->dev, &io);
	rc = blk_batch_wait(&batch);
	if (rc == 0)
		rc = zero_piece(m, offset, (size_t)(first - offset));
	if (rc == 0)
		rc = zero_piece(m, end, (size_t)(offset + len - end));
	return rc;
}

int fat_medium_flush(struct fat_medium *m)
{
	return blk_flush(m->dev);
}

void fat_medium_batch_init(struct fat_medium_batch *b, struct fat_medium *m, enum blk_op op)
{
	*b = (struct fat_medium_batch){ .m = m, .op = op };
}

static bool grow(void **array, unsigned *max, unsigned count, size_t item_bytes)
{
	unsigned more = *max ? *max * 2 : 16;
	void *bigger;

	if (count < *max)
		return true;
	bigger = realloc(*array, more * item_bytes);
	if (!bigger)
		return false;
	*array = bigger;
	*max = more;
	return true;
}

void fat_medium_batch_add(struct fat_medium_batch *b, uint64_t offset, void *mem, size_t len)
{
	struct fat_medium_range *r = b->range_count ? &b->ranges[b->range_count - 1] : NULL;
	struct iovec *last = b->iov_count ? &b->iovs[b->iov_count - 1] : NULL;
	void *ranges = b->ranges, *iovs = b->iovs;

	if (b->rc || !len)
		return;
	if (r && (r->offset + r->len_bytes != offset || r->iov_count == IOVS_PER_REQUEST))
		r = NULL;
	if (r && (uint8_t *)last->iov_base + last->iov_len == (uint8_t *)mem) {
		last->iov_len += len;
		r->len_bytes += len;
		return;
	}
	if (!grow(&iovs, &b->iov_max, b->iov_count, sizeof(*b->iovs)))
		goto fail;
	b->iovs = iovs;
	if (!r) {
		if (!grow(&ranges, &b->range_max, b->range_count, sizeof(*b->ranges)))
			goto fail;
		b->ranges = ranges;
		r = &b->ranges[b->range_count++];
		*r = (struct fat_medium_range){ .offset = offset, .iov_first = b->iov_count };
	}
	b->iovs[b->iov_count++] = (struct iovec){ .iov_base = mem, .iov_len = len };
	r->iov_count++;
	r->len_bytes += len;
	return;
fail:
	b->rc = err_set(-ENOMEM, "device %s: no memory for a request", blk_name(b->m->dev));
}

static bool is_aligned(const struct fat_medium_batch *b, const struct fat_medium_range *r)
{
	uint64_t bits = r->offset;

	for (unsigned i = 0; i < r->iov_count; i++)
		bits |= (uintptr_t)b->iovs[r->iov_first + i].iov_base | b->iovs[r->iov_first + i].iov_len;
	return (bits & (b->m->align - 1)) == 0;
}

/* Requests that need no bounce go out together; the others follow one by one. */
static int run_ranges(struct fat_medium_batch *b, struct blk_io *ios)
{
	struct blk_batch batch;
	int rc, more = 0;

	blk_batch_init(&batch);
	for (unsigned i = 0; i < b->range_count; i++) {
		const struct fat_medium_range *r = &b->ranges[i];

		if (!is_aligned(b, r))
			continue;
		ios[i] = (struct blk_io){
			.op = b->op,
			.offset = r->offset,
			.len_bytes = r->len_bytes,
			.iov = &b->iovs[r->iov_first],
			.iov_count = (int)r->iov_count,
		};
		blk_batch_add(&batch, b->m->dev, &ios[i]);
	}
	blk_batch_submit(&batch);
	rc = blk_batch_wait(&batch);
	for (unsigned i = 0; rc == 0 && more == 0 && i < b->range_count; i++) {
		const struct fat_medium_range *r = &b->ranges[i];

		if (!is_aligned(b, r))
			more = run_bounced(b->m, b->op, r->offset, &b->iovs[r->iov_first], r->len_bytes);
	}
	return rc ? rc : more;
}

void fat_medium_batch_drop(struct fat_medium_batch *b)
{
	free(b->ranges);
	free(b->iovs);
	fat_medium_batch_init(b, b->m, b->op);
}

int fat_medium_batch_run(struct fat_medium_batch *b)
{
	struct blk_io one, *ios = &one;
	int rc = b->rc;

	if (rc == 0 && b->range_count > 1) {
		ios = malloc(b->range_count * sizeof(*ios));
		if (!ios)
			rc = err_set(-ENOMEM, "device %s: no memory for a request", blk_name(b->m->dev));
	}
	if (rc == 0 && b->range_count)
		rc = run_ranges(b, ios);
	if (ios != &one)
		free(ios);
	fat_medium_batch_drop(b);
	return rc;
}

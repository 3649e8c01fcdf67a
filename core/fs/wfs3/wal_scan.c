/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the log: large sequential reads into a window, batches out of it. The scan finds the end and hands over
 * records in one go: it keeps in the window what it has verified and not handed over yet.
 */
#include "core/fs/wfs3/wal_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/blk/blk.h"

#define LEAD_BYTES (2 * (size_t)WAL_BATCH_BYTES_MAX)
#define BACK_BYTES ((size_t)WAL_BATCH_BYTES_MAX)
#define READ_BYTES_MIN (64u << 10)
_Static_assert(LEAD_BYTES + BACK_BYTES == WAL_SCAN_BYTES, "what callers charge");

struct wal_reader {
	const struct wal_config *config;
	uint64_t limit; /* no position beyond: the ring holds each byte once */
	uint8_t *window;
	size_t window_bytes;
	unsigned copy; /* that the window was read from */
	uint64_t from, to; /* positions in the window */
	uint64_t keep; /* what stands from here on is needed again, if that is possible */
	size_t ahead; /* how much to read next time */
};

static int reader_init(struct wal_reader *r, const struct wal_config *config, uint64_t position, size_t window_bytes)
{
	*r = (struct wal_reader){ .config = config,
		                  .limit = position + config->area_bytes,
		                  .window_bytes = window_bytes,
		                  .keep = UINT64_MAX,
		                  .ahead = READ_BYTES_MIN };
	r->window = aligned_alloc(WFS3_BLOCK_BYTES, window_bytes);
	return r->window ? 0 : err_set(-ENOMEM, "no memory to read the log");
}

/* One read of the ring, which may go around its end. */
static int read_ring(struct wal_reader *r, unsigned copy, uint64_t position, uint8_t *buf, size_t len)
{
	const struct wal_area *a = &r->config->copies[copy];
	uint64_t at = position % r->config->area_bytes;
	size_t head = (size_t)min_u64(len, r->config->area_bytes - at);
	int ret = blk_read(a->dev, a->offset + at, buf, head);

	if (!ret && head < len)
		ret = blk_read(a->dev, a->offset, buf + head, len - head);
	return ret;
}

/* Make the window begin at @position, or before it, with as much as it has of that. */
static void window_move(struct wal_reader *r, unsigned copy, uint64_t position)
{
	uint64_t from = min_u64(position, r->keep);

	if (copy == r->copy && from >= r->from && position <= r->to && r->to - from <= r->window_bytes / 2) {
		memmove(r->window, r->window + (from - r->from), r->to - from);
		r->from = from;
	} else {
		r->from = r->to = position;
	}
	r->copy = copy;
}

/* Bytes [position, position + len) of one copy, or NULL. At most a batch; whole blocks. */
static const uint8_t *window_get(struct wal_reader *r, unsigned copy, uint64_t position, size_t len, int *ret_error)
{
	uint64_t end;

	*ret_error = 0;
	if (len > r->limit - position)
		return NULL;
	if (copy != r->copy || position < r->from || position + len > r->to) {
		window_move(r, copy, position);
		/* The log may be short: begin with little, go on with much. */
		end = min_u64(r->limit, position + max_u64(len, r->ahead));
		end = min_u64(end, r->from + r->window_bytes);
		r->ahead = min_u64(r->ahead * 4, r->window_bytes);
		*ret_error = read_ring(r, copy, r->to, r->window + (r->to - r->from), end - r->to);
		r->to = *ret_error ? r->from : end;
	}
	return *ret_error ? NULL : r->window + (position - r->from);
}

/* ---- batches ---- */

struct scan {
	struct wal_reader lead; /* finds the end */
	struct wal_reader back; /* for what the first one has no more; without a window until it is needed */
	uint64_t epoch;
	uint64_t done; /* records of batches before this position were handed over */
	struct wal_span *span;
	wal_scan_fn *fn;
	void *ctx;
	bool stopped;
};

/* The batch at @position of one copy. 0; -ENOENT: none there; -EIO. */
static int batch_at_copy(struct wal_reader *r, uint64_t epoch, unsigned copy, uint64_t position, struct wal_batch *ret,
                         const uint8_t **ret_buf)
{
	int error;
	const uint8_t *buf = window_get(r, copy, position, WFS3_BLOCK_BYTES, &error);
	uint32_t len;

	if (!buf)
		return error ? error : -ENOENT;
	len = wal_batch_probe(buf, r->config->pool_uuid, epoch, position);
	if (!len)
		return -ENOENT;
	buf = window_get(r, copy, position, len, &error);
	if (!buf)
		return error ? error : -ENOENT;
	if (wal_batch_open(buf, len, ret))
		return -ENOENT;
	*ret_buf = buf;
	return 0;
}

static int batch_at(struct wal_reader *r, uint64_t epoch, uint64_t position, struct wal_batch *ret,
                    const uint8_t **ret_buf)
{
	int err = -ENOENT;

	for (unsigned i = 0, first = r->copy; i < r->config->copy_count; i++) {
		unsigned copy = (first + i) % r->config->copy_count;
		int one = batch_at_copy(r, epoch, copy, position, ret, ret_buf);

		if (!one)
			return 0;
		if (one != -ENOENT && one != -ENXIO) /* a device that is gone has no say */
			err = one;
	}
	return err == -ENOENT ? err : err_add(err, "read the log at position %" PRIu64, position);
}

/* A batch that was verified, once more: as it stands in the window, or read and verified again. */
static int batch_again(struct scan *s, struct wal_batch *ret, const uint8_t **ret_buf)
{
	struct wal_reader *lead = &s->lead, *back = &s->back;
	int err;

	if (s->done >= lead->from && s->done < lead->to) {
		*ret_buf = lead->window + (s->done - lead->from);
		wal_batch_peek(*ret_buf, ret);
		return 0;
	}
	if (!back->window) {
		err = reader_init(back, lead->config, s->span->start, BACK_BYTES);
		if (err)
			return err;
	}
	err = batch_at(back, s->epoch, s->done, ret, ret_buf);
	if (err == -ENOENT)
		err = err_set(-EIO, "log: the batch at position %" PRIu64 " was there a moment ago", s->done);
	return err;
}

static int hand_over_batch(struct scan *s, const struct wal_batch *b, const uint8_t *buf)
{
	struct wal_record record;
	size_t pos = 0;
	int ret = 0;

	while (pos < b->record_bytes && !ret) {
		ret = wal_record_decode(buf + WAL_HEADER_BYTES, b->record_bytes, &pos, &record);
		if (ret)
			return err_add(ret, "batch at position %" PRIu64, b->position);
		ret = s->fn(s->ctx, &record, b->position, buf);
	}
	s->stopped = ret == WAL_SCAN_STOP;
	return s->stopped ? 0 : ret;
}

/* Records of the batches before @end. */
static int hand_over(struct scan *s, uint64_t end)
{
	int err = 0;

	while (s->done < end && !s->stopped && !err) {
		struct wal_batch b;
		const uint8_t *buf;

		err = batch_again(s, &b, &buf);
		if (!err)
			err = hand_over_batch(s, &b, buf);
		if (!err)
			s->done += b.len_bytes;
	}
	return err;
}

static int scan_all(struct scan *s)
{
	struct wal_span *span = s->span;
	struct wal_batch b;
	const uint8_t *buf;
	uint64_t prev = 0;
	int err = 0;

	while (!err) {
		s->lead.keep = s->stopped ? UINT64_MAX : s->done;
		err = batch_at(&s->lead, s->epoch, span->end, &b, &buf);
		if (err || (span->batch_count && b.prev != prev))
			break;
		prev = b.checksum;
		span->end += b.len_bytes;
		span->durable = max_u64(span->durable, b.durable);
		span->batch_count++;
		err = hand_over(s, min_u64(span->durable, span->end));
	}
	if (err && err != -ENOENT)
		return err;
	return hand_over(s, span->end);
}

int wal_scan(const struct wal_config *config, uint64_t position, uint64_t epoch, struct wal_span *ret, wal_scan_fn *fn,
             void *ctx)
{
	struct scan s = { .epoch = epoch, .done = position, .span = ret, .fn = fn, .ctx = ctx };
	int err = reader_init(&s.lead, config, position, LEAD_BYTES);

	*ret = (struct wal_span){ .start = position, .end = position };
	if (!err)
		err = scan_all(&s);
	free(s.lead.window);
	free(s.back.window);
	return err;
}

/* ---- pages ---- */

int wal_reader_new(const struct wal_config *config, uint64_t start, struct wal_reader **ret)
{
	struct wal_reader *r = malloc(sizeof(*r));
	int err = r ? reader_init(r, config, start, WAL_READER_BYTES) : err_set(-ENOMEM, "no memory to read the log");

	if (err)
		free(r);
	else
		*ret = r;
	return err;
}

void wal_reader_free(struct wal_reader *r)
{
	if (r)
		free(r->window);
	free(r);
}

int wal_reader_page(struct wal_reader *r, uint64_t position, uint32_t crc, void *buf)
{
	uint64_t from = round_down_u64(position, WFS3_BLOCK_BYTES);
	size_t len = position == from ? WFS3_BLOCK_BYTES : 2 * (size_t)WFS3_BLOCK_BYTES;

	for (unsigned i = 0, first = r->copy; i < r->config->copy_count; i++) {
		int error;
		const uint8_t *block = window_get(r, (first + i) % r->config->copy_count, from, len, &error);

		if (!block)
			continue;
		memcpy(buf, block + (position - from), WFS3_BLOCK_BYTES);
		if (crc32c(buf, WFS3_BLOCK_BYTES) == crc)
			return 0;
	}
	return err_set(-EIO, "log: the page at position %" PRIu64 " was there a moment ago", position);
}

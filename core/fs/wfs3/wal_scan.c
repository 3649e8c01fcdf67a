/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the log: large sequential reads into a window, batches out of it. */
#include "core/fs/wfs3/wal_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/blk/blk.h"

#define READ_BYTES_MIN (64u << 10)

struct reader {
	const struct wal_config *config;
	uint64_t epoch;
	uint64_t limit; /* no position beyond: the ring holds each byte once */
	uint8_t *window;
	unsigned copy; /* that the window was read from */
	uint64_t from, to; /* positions in the window */
	size_t ahead; /* how much to read next time */
};

/* One read of the ring, which may go around its end. */
static int read_ring(struct reader *r, unsigned copy, uint64_t position, uint8_t *buf, size_t len)
{
	const struct wal_area *a = &r->config->copies[copy];
	uint64_t at = position % r->config->area_bytes;
	size_t head = (size_t)min_u64(len, r->config->area_bytes - at);
	int ret = blk_read(a->dev, a->offset + at, buf, head);

	if (!ret && head < len)
		ret = blk_read(a->dev, a->offset, buf + head, len - head);
	return ret;
}

/* Bytes [position, position + len) of one copy, or NULL. */
static const uint8_t *window_get(struct reader *r, unsigned copy, uint64_t position, size_t len, int *ret_error)
{
	size_t want;

	*ret_error = 0;
	if (position + len > r->limit)
		return NULL;
	if (copy == r->copy && position >= r->from && position + len <= r->to)
		return r->window + (position - r->from);
	/* The log may be short: begin with little, go on with much. */
	want = (size_t)min_u64(max_u64(len, r->ahead), r->limit - position);
	r->ahead = (size_t)min_u64(r->ahead * 4, WAL_SCAN_BYTES);
	*ret_error = read_ring(r, copy, position, r->window, want);
	r->copy = copy;
	r->from = position;
	r->to = *ret_error ? position : position + want;
	return *ret_error ? NULL : r->window;
}

/* The batch at @position of one copy. 0; -ENOENT: none there; -EIO. */
static int batch_at_copy(struct reader *r, unsigned copy, uint64_t position, struct wal_batch *ret,
                         const uint8_t **ret_buf)
{
	int error;
	const uint8_t *buf = window_get(r, copy, position, WFS3_BLOCK_BYTES, &error);
	uint32_t len;

	if (!buf)
		return error ? error : -ENOENT;
	len = wal_batch_probe(buf, r->config->pool_uuid, r->epoch, position);
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

static int batch_at(struct reader *r, uint64_t position, struct wal_batch *ret, const uint8_t **ret_buf)
{
	int err = -ENOENT;

	for (unsigned i = 0; i < r->config->copy_count; i++) {
		unsigned copy = (r->copy + i) % r->config->copy_count;
		int one = batch_at_copy(r, copy, position, ret, ret_buf);

		if (!one)
			return 0;
		if (one != -ENOENT && one != -ENXIO) /* a device that is gone has no say */
			err = one;
	}
	return err == -ENOENT ? err : err_add(err, "read the log at position %" PRIu64, position);
}

static int reader_init(struct reader *r, const struct wal_config *config, uint64_t position, uint64_t epoch)
{
	*r = (struct reader){ .config = config, .epoch = epoch, .limit = position + config->area_bytes };
	r->ahead = READ_BYTES_MIN;
	r->window = aligned_alloc(WFS3_BLOCK_BYTES, WAL_SCAN_BYTES);
	return r->window ? 0 : err_set(-ENOMEM, "no memory to read the log");
}

int wal_find_end(const struct wal_config *config, uint64_t position, uint64_t epoch, struct wal_span *ret)
{
	struct wal_batch b;
	const uint8_t *buf;
	struct reader r;
	uint64_t prev = 0;
	int err = reader_init(&r, config, position, epoch);

	if (err)
		return err;
	*ret = (struct wal_span){ .start = position, .end = position };
	for (;;) {
		err = batch_at(&r, ret->end, &b, &buf);
		if (err || (ret->batch_count && b.prev != prev))
			break;
		prev = b.checksum;
		ret->end += b.len_bytes;
		ret->durable = max_u64(ret->durable, b.durable);
		ret->batch_count++;
	}
	free(r.window);
	return err == -ENOENT ? 0 : err;
}

static int scan_batch(const struct wal_batch *b, const uint8_t *buf, uint64_t *serial, wal_scan_fn *fn, void *ctx)
{
	struct wal_record record;
	size_t pos = 0;
	int ret = 0;

	while (pos < b->record_bytes && !ret) {
		ret = wal_record_decode(buf + WAL_HEADER_BYTES, b->record_bytes, &pos, &record);
		if (ret)
			return err_add(ret, "batch at position %" PRIu64, b->position);
		ret = fn(ctx, &record, b->position, ++*serial);
	}
	return ret;
}

int wal_scan(const struct wal_config *config, uint64_t epoch, const struct wal_span *span, wal_scan_fn *fn, void *ctx)
{
	uint64_t position = span->start;
	uint64_t serial = 0;
	struct wal_batch b;
	const uint8_t *buf;
	struct reader r;
	int ret = reader_init(&r, config, span->start, epoch);

	if (ret)
		return ret;
	while (position < span->end && !ret) {
		ret = batch_at(&r, position, &b, &buf);
		if (ret == -ENOENT)
			ret = err_set(-EIO, "log: the batch at position %" PRIu64 " was there a moment ago", position);
		if (!ret)
			ret = scan_batch(&b, buf, &serial, fn, ctx);
		position += b.len_bytes;
	}
	free(r.window);
	return ret == WAL_SCAN_STOP ? 0 : ret;
}

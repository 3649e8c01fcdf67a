/* SPDX-License-Identifier: BSD-3-Clause */
/* Cutting requests into parts. */
#include "core/blk/part.h"

#include "core/base/assert.h"

#define ZEROS_BYTES (UINT32_C(64) << 10)

/* Written to devices, never written to: its pages stay the kernel's zero page. */
static _Alignas(4096) uint8_t zeros[ZEROS_BYTES];

/* The next stretch of memory of the request, at most @max_bytes. */
static struct iovec next_stretch(struct blk_part_cursor *c, size_t max_bytes)
{
	const struct blk_io *io = c->io;
	struct iovec v;

	if (io->op == BLK_WRITE_ZEROES) {
		v = (struct iovec){ .iov_base = zeros, .iov_len = ZEROS_BYTES };
		if (v.iov_len > io->len_bytes - c->pos)
			v.iov_len = io->len_bytes - c->pos;
		if (v.iov_len > max_bytes)
			v.iov_len = max_bytes;
	} else {
		v.iov_base = (uint8_t *)io->iov[c->iov_index].iov_base + c->iov_pos;
		v.iov_len = io->iov[c->iov_index].iov_len - c->iov_pos;
		if (v.iov_len > max_bytes)
			v.iov_len = max_bytes;
		c->iov_pos += v.iov_len;
		if (c->iov_pos == io->iov[c->iov_index].iov_len) {
			c->iov_index++;
			c->iov_pos = 0;
		}
	}
	c->pos += v.iov_len;
	return v;
}

bool blk_part_next(struct blk_part_cursor *c, size_t max_bytes, struct blk_part *ret)
{
	if (c->pos == c->io->len_bytes)
		return false;
	ret->offset = c->io->offset + c->pos;
	ret->left_bytes = 0;
	ret->iov_first = 0;
	ret->iov_count = 0;
	while (c->pos < c->io->len_bytes && ret->left_bytes < max_bytes && ret->iov_count < BLK_PART_IOVS) {
		struct iovec v = next_stretch(c, max_bytes - ret->left_bytes);

		if (!v.iov_len)
			continue; /* an empty iovec of the caller's */
		ret->iov[ret->iov_count++] = v;
		ret->left_bytes += v.iov_len;
	}
	return true;
}

void blk_part_advance(struct blk_part *p, size_t done)
{
	always(done <= p->left_bytes);
	p->offset += done;
	p->left_bytes -= done;
	while (done) {
		struct iovec *v = &p->iov[p->iov_first];
		size_t n = done < v->iov_len ? done : v->iov_len;

		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
		done -= n;
		if (!v->iov_len)
			p->iov_first++;
	}
}

bool blk_part_is_whole(const struct blk_io *io, size_t max_bytes)
{
	return io->len_bytes <= max_bytes && (io->op == BLK_WRITE_ZEROES || io->iov_count <= BLK_PART_IOVS);
}

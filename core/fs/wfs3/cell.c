/* SPDX-License-Identifier: BSD-3-Clause */
/* The one encoder and decoder of cell items. FORMAT.md, "Cells". */
#include "core/fs/wfs3/cell.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"

#define HEADER_BYTES 4u
#define SEGMENT_BYTES 16u
#define CRC_BYTES 4u

_Static_assert(WFS3_CELL_BLOCKS == 16, "a segment's first block and count are defined for 16 blocks");
_Static_assert(CELL_BYTES_MAX == HEADER_BYTES + WFS3_CELL_BLOCKS * (SEGMENT_BYTES + CRC_BYTES), "largest cell");

struct segment {
	uint64_t addr;
	uint64_t birth;
	unsigned first;
	unsigned count;
};

/* Blocks from @first on that lie side by side on the device and were born together. */
static unsigned run_length(const struct cell *c, unsigned first)
{
	const struct cell_block *b = &c->blocks[first];
	unsigned n = 1;

	while (first + n < WFS3_CELL_BLOCKS && b[n].addr == b->addr + n && b[n].birth == b->birth)
		n++;
	return n;
}

static void put_segment(struct wr *w, const struct cell_block *b, unsigned first, unsigned count)
{
	always(b->addr + count - 1 <= WFS3_VBA_MAX && b->birth && b->birth <= WFS3_TXG_MAX);
	wr_le64(w, b->addr | (uint64_t)first << 48 | (uint64_t)count << 56);
	wr_le64(w, b->birth);
}

size_t cell_encode(const struct cell *c, void *buf)
{
	struct wr w = wr_init(buf, CELL_BYTES_MAX);
	unsigned segments = 0, mapped = 0;

	wr_zero(&w, HEADER_BYTES);
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS;) {
		if (!c->blocks[i].addr) {
			i++;
			continue;
		}
		unsigned n = run_length(c, i);

		put_segment(&w, &c->blocks[i], i, n);
		segments++;
		mapped += n;
		i += n;
	}
	if (!segments)
		return 0;
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		if (c->blocks[i].addr)
			wr_le32(&w, c->blocks[i].crc);
	always(!w.bad);
	w.base[0] = (uint8_t)segments;
	w.base[1] = (uint8_t)mapped;
	return w.pos;
}

static struct segment get_segment(struct rd *r, uint64_t *ret_flags)
{
	uint64_t a = rd_le64(r), b = rd_le64(r);

	*ret_flags = b >> 48;
	return (struct segment){
		.addr = a & WFS3_VBA_MAX,
		.first = (unsigned)(a >> 48 & 0xff),
		.count = (unsigned)(a >> 56),
		.birth = b & WFS3_TXG_MAX,
	};
}

/* @end: where the previous segment ended, in blocks. */
static int check_segment(const struct segment *s, uint64_t flags, unsigned index, unsigned end)
{
	if (flags)
		return err_set(-EUCLEAN, "cell segment %u: unknown flags 0x%llx", index, (unsigned long long)flags);
	if (s->first < end || !s->count || s->first + s->count > WFS3_CELL_BLOCKS)
		return err_set(-EUCLEAN, "cell segment %u: blocks %u + %u after %u", index, s->first, s->count, end);
	if (!s->addr || s->addr + s->count - 1 > WFS3_VBA_MAX)
		return err_set(-EUCLEAN, "cell segment %u: address 0x%llx + %u is outside", index,
		               (unsigned long long)s->addr, s->count);
	if (!s->birth)
		return err_set(-EUCLEAN, "cell segment %u: no birth", index);
	return 0;
}

int cell_decode(const void *value, size_t len, struct cell *ret)
{
	struct rd r = rd_init(value, len);
	struct cell c = { 0 };
	unsigned segments, mapped, end = 0, seen = 0;

	if (!value || !len) {
		*ret = c;
		return 0;
	}
	segments = rd_u8(&r);
	mapped = rd_u8(&r);
	if (rd_le16(&r) || r.bad || !segments || segments > WFS3_CELL_BLOCKS || mapped > WFS3_CELL_BLOCKS ||
	    len != HEADER_BYTES + segments * SEGMENT_BYTES + mapped * CRC_BYTES)
		return err_set(-EUCLEAN, "cell of %zu bytes: bad header", len);
	for (unsigned i = 0; i < segments; i++) {
		uint64_t flags;
		struct segment s = get_segment(&r, &flags);
		int rc = check_segment(&s, flags, i, end);

		if (rc)
			return rc;
		end = s.first + s.count;
		seen += s.count;
		for (unsigned j = 0; j < s.count; j++) {
			c.blocks[s.first + j].addr = s.addr + j;
			c.blocks[s.first + j].birth = s.birth;
		}
	}
	if (seen != mapped)
		return err_set(-EUCLEAN, "cell maps %u blocks, its header says %u", seen, mapped);
	for (unsigned i = 0; i < WFS3_CELL_BLOCKS; i++)
		if (c.blocks[i].addr)
			c.blocks[i].crc = rd_le32(&r);
	always(!r.bad);
	*ret = c;
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The one encoder and decoder of bitmap slots and ring records. */
#include "core/fs/wfs3/space_codec.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/err.h"

/* Both begin alike: magic, checksum of all bytes after it, pool. */
#define OFF_CHECKSUM 8u
#define OFF_BODY 24u
#define OFF_RECORD_LEN 72u

static void seal(void *buf, uint64_t len)
{
	struct hash128 h = hash128((uint8_t *)buf + OFF_BODY, len - OFF_BODY);

	put_le64((uint8_t *)buf + OFF_CHECKSUM, h.lo);
	put_le64((uint8_t *)buf + OFF_CHECKSUM + 8, h.hi);
}

static bool sealed(const uint8_t *buf, uint64_t len)
{
	struct hash128 h = { get_le64(buf + OFF_CHECKSUM), get_le64(buf + OFF_CHECKSUM + 8) };

	return hash128_equal(h, hash128(buf + OFF_BODY, len - OFF_BODY));
}

static uint64_t slot_bytes(uint32_t block_count)
{
	return space_slot_bytes((uint64_t)block_count * WFS3_BLOCK_BYTES);
}

void space_slot_encode(const struct space_slot *s, const uint8_t pool_uuid[16], const uint64_t *bitmap, void *buf)
{
	uint64_t len = slot_bytes(s->block_count);
	struct wr w = wr_init(buf, len);

	wr_le64(&w, SPACE_SLOT_MAGIC);
	wr_zero(&w, OFF_BODY - OFF_CHECKSUM);
	wr_copy(&w, pool_uuid, 16);
	wr_le64(&w, s->txg);
	wr_le32(&w, s->virtual_region);
	wr_le32(&w, s->physical_region);
	wr_le32(&w, s->device_index);
	wr_le32(&w, s->block_count);
	wr_le32(&w, s->free_count);
	wr_zero(&w, SPACE_SLOT_HEADER_BYTES - w.pos);
	for (uint32_t i = 0; i < s->block_count / 64; i++)
		wr_le64(&w, bitmap[i]);
	wr_zero(&w, wr_left(&w));
	always(!w.bad);
	seal(buf, len);
}

int space_slot_decode(const void *buf, const uint8_t pool_uuid[16], uint32_t block_count, struct space_slot *ret,
                      uint64_t *ret_bitmap)
{
	uint64_t len = slot_bytes(block_count), used = 0;
	struct rd r = rd_init(buf, len);
	struct space_slot s = { 0 };

	if (rd_le64(&r) != SPACE_SLOT_MAGIC)
		return err_set(-EUCLEAN, "bitmap slot: wrong magic");
	if (!sealed(buf, len))
		return err_set(-EUCLEAN, "bitmap slot: wrong checksum");
	r.pos = OFF_BODY;
	if (memcmp(rd_bytes(&r, 16), pool_uuid, 16) != 0)
		return err_set(-EUCLEAN, "bitmap slot: of another pool");
	s.txg = rd_le64(&r);
	s.virtual_region = rd_le32(&r);
	s.physical_region = rd_le32(&r);
	s.device_index = rd_le32(&r);
	s.block_count = rd_le32(&r);
	s.free_count = rd_le32(&r);
	if (!s.txg || s.txg > WFS3_TXG_MAX || !s.virtual_region || s.block_count != block_count)
		return err_set(-EUCLEAN, "bitmap slot: txg %llu, virtual region %u, %u blocks",
		               (unsigned long long)s.txg, s.virtual_region, s.block_count);
	if (!bytes_are_zero((const uint8_t *)buf + r.pos, SPACE_SLOT_HEADER_BYTES - r.pos))
		return err_set(-EUCLEAN, "bitmap slot: reserved bytes are not zero");
	r.pos = SPACE_SLOT_HEADER_BYTES;
	for (uint32_t i = 0; i < block_count / 64; i++) {
		ret_bitmap[i] = rd_le64(&r);
		used += (uint64_t)__builtin_popcountll(ret_bitmap[i]);
	}
	if (!bytes_are_zero((const uint8_t *)buf + r.pos, rd_left(&r)))
		return err_set(-EUCLEAN, "bitmap slot: padding is not zero");
	if (s.free_count != block_count - used)
		return err_set(-EUCLEAN, "bitmap slot: %u free blocks in its header, %llu in its bitmap", s.free_count,
		               (unsigned long long)(block_count - used));
	*ret = s;
	return 0;
}

void space_record_encode(const struct space_record *r, const uint8_t pool_uuid[16], void *buf)
{
	struct wr w = wr_init(buf, r->len_bytes);

	wr_le64(&w, SPACE_RECORD_MAGIC);
	wr_zero(&w, OFF_BODY - OFF_CHECKSUM);
	wr_copy(&w, pool_uuid, 16);
	wr_le64(&w, r->txg);
	wr_le64(&w, r->position);
	wr_le64(&w, r->prev_txg);
	wr_le64(&w, r->prev_position);
	wr_le32(&w, r->len_bytes);
	wr_le32(&w, r->entry_count);
	wr_le32(&w, r->large);
	wr_zero(&w, SPACE_RECORD_HEADER_BYTES - w.pos);
	wr_room(&w, (size_t)r->entry_count * SPACE_ENTRY_BYTES);
	wr_zero(&w, wr_left(&w));
	always(!w.bad);
	seal(buf, r->len_bytes);
}

uint32_t space_record_probe(const void *block)
{
	const uint8_t *b = block;
	uint32_t len = get_le32(b + OFF_RECORD_LEN);

	return get_le64(b) == SPACE_RECORD_MAGIC && len >= WFS3_BLOCK_BYTES && len % WFS3_BLOCK_BYTES == 0 ? len : 0;
}

int space_record_decode(const void *buf, uint64_t available, const uint8_t pool_uuid[16], uint64_t position,
                        struct space_record *ret)
{
	struct rd r = rd_init(buf, available);
	struct space_record rec = { 0 };
	uint64_t entries_end;
	uint32_t flags;

	if (available < WFS3_BLOCK_BYTES || rd_le64(&r) != SPACE_RECORD_MAGIC)
		return err_set(-EUCLEAN, "ring position %llu: no record", (unsigned long long)position);
	r.pos = OFF_BODY + 16;
	rec.txg = rd_le64(&r);
	rec.position = rd_le64(&r);
	rec.prev_txg = rd_le64(&r);
	rec.prev_position = rd_le64(&r);
	rec.len_bytes = rd_le32(&r);
	rec.entry_count = rd_le32(&r);
	flags = rd_le32(&r);
	rec.large = flags;
	entries_end = SPACE_RECORD_HEADER_BYTES + (uint64_t)rec.entry_count * SPACE_ENTRY_BYTES;
	if (rec.len_bytes > available || rec.len_bytes != space_record_bytes(rec.entry_count) ||
	    !sealed(buf, rec.len_bytes))
		return err_set(-EUCLEAN, "ring position %llu: damaged record", (unsigned long long)position);
	if (memcmp((const uint8_t *)buf + OFF_BODY, pool_uuid, 16) != 0 || rec.position != position)
		return err_set(-EUCLEAN, "ring position %llu: record of another pool or round",
		               (unsigned long long)position);
	if (flags > 1 || !rec.txg || rec.txg > WFS3_TXG_MAX || rec.prev_txg >= rec.txg || rec.prev_position > position)
		return err_set(-EUCLEAN, "ring position %llu: impossible record of txg %llu",
		               (unsigned long long)position, (unsigned long long)rec.txg);
	if (!bytes_are_zero((const uint8_t *)buf + r.pos, SPACE_RECORD_HEADER_BYTES - r.pos) ||
	    !bytes_are_zero((const uint8_t *)buf + entries_end, rec.len_bytes - entries_end))
		return err_set(-EUCLEAN, "ring position %llu: reserved bytes are not zero",
		               (unsigned long long)position);
	*ret = rec;
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The log's bytes. FORMAT.md, "Log". */
#include "core/fs/wfs3/wal_codec.h"

#include <errno.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"
#include "core/fs/wfs3/items.h"

#define BATCH_MAGIC UINT64_C(0x474f4c5733534657) /* "WFS3WLOG" */
#define OFF_CHECKSUM 8u
#define OFF_BODY 24u

void wal_batch_seal(struct wal_batch *b, uint8_t *buf)
{
	struct wr w = wr_init(buf, WAL_HEADER_BYTES);
	size_t used = WAL_HEADER_BYTES + b->record_bytes;
	struct hash128 h;

	b->len_bytes = (uint32_t)round_up_u64(used, WFS3_BLOCK_BYTES);
	memset(buf + used, 0, b->len_bytes - used);
	wr_le64(&w, BATCH_MAGIC);
	w.pos = OFF_BODY;
	wr_copy(&w, b->pool_uuid, 16);
	wr_le64(&w, b->epoch);
	wr_le64(&w, b->position);
	wr_le64(&w, b->durable);
	wr_le64(&w, b->prev);
	wr_le32(&w, b->len_bytes);
	wr_le32(&w, b->record_bytes);
	wr_zero(&w, WAL_HEADER_BYTES - w.pos);
	always(!w.bad);
	h = hash128(buf + OFF_BODY, b->len_bytes - OFF_BODY);
	put_le64(buf + OFF_CHECKSUM, h.lo);
	put_le64(buf + OFF_CHECKSUM + 8, h.hi);
	b->checksum = h.lo;
}

/* The header's fields, unverified. */
static bool read_header(const uint8_t *buf, struct wal_batch *ret, struct hash128 *ret_hash)
{
	struct rd r = rd_init(buf, WAL_HEADER_BYTES);
	bool magic = rd_le64(&r) == BATCH_MAGIC;

	ret_hash->lo = rd_le64(&r);
	ret_hash->hi = rd_le64(&r);
	rd_copy(&r, ret->pool_uuid, 16);
	ret->epoch = rd_le64(&r);
	ret->position = rd_le64(&r);
	ret->durable = rd_le64(&r);
	ret->prev = rd_le64(&r);
	ret->len_bytes = rd_le32(&r);
	ret->record_bytes = rd_le32(&r);
	ret->checksum = ret_hash->lo;
	return magic && bytes_are_zero(buf + r.pos, rd_left(&r));
}

static bool header_is_sane(const struct wal_batch *b)
{
	return b->len_bytes >= WFS3_BLOCK_BYTES && b->len_bytes <= WAL_BATCH_BYTES_MAX &&
	       b->len_bytes % WFS3_BLOCK_BYTES == 0 && b->position % WFS3_BLOCK_BYTES == 0 &&
	       b->durable <= b->position && b->record_bytes % 8 == 0 &&
	       round_up_u64((uint64_t)b->record_bytes + WAL_HEADER_BYTES, WFS3_BLOCK_BYTES) == b->len_bytes;
}

uint32_t wal_batch_probe(const uint8_t *block, const uint8_t pool_uuid[16], uint64_t epoch, uint64_t position)
{
	struct wal_batch b;
	struct hash128 h;

	if (!read_header(block, &b, &h) || !header_is_sane(&b) || memcmp(b.pool_uuid, pool_uuid, 16) != 0 ||
	    b.epoch != epoch || b.position != position)
		return 0;
	return b.len_bytes;
}

int wal_batch_open(const uint8_t *buf, size_t len, struct wal_batch *ret)
{
	struct hash128 h;

	if (len < WFS3_BLOCK_BYTES || !read_header(buf, ret, &h) || !header_is_sane(ret) || ret->len_bytes != len)
		return err_set(-EUCLEAN, "log: no batch");
	if (!hash128_equal(h, hash128(buf + OFF_BODY, len - OFF_BODY)))
		return err_set(-EUCLEAN, "log: wrong checksum of the batch at position %llu",
		               (unsigned long long)ret->position);
	if (!bytes_are_zero(buf + WAL_HEADER_BYTES + ret->record_bytes, len - WAL_HEADER_BYTES - ret->record_bytes))
		return err_set(-EUCLEAN, "log: padding of the batch at position %llu is not zero",
		               (unsigned long long)ret->position);
	return 0;
}

void wal_batch_peek(const uint8_t *buf, struct wal_batch *ret)
{
	struct hash128 h;

	always(read_header(buf, ret, &h) && header_is_sane(ret));
}

size_t wal_record_bytes(const struct wal_record *r)
{
	size_t n = WAL_RECORD_BYTES;

	switch (r->type) {
	case WAL_DATA:
	case WAL_PART:
		n += r->type == WAL_PART ? 8 : 0;
		n += r->page_count * (size_t)16;
		for (unsigned i = 0; i < r->page_count; i++)
			n += r->pages[i].data ? WFS3_BLOCK_BYTES : 0;
		break;
	case WAL_MAP:
		n += 16 + r->block_count * (size_t)16;
		break;
	case WAL_UNMAP:
		n += 16;
		break;
	case WAL_MOVE:
	case WAL_INODE:
		n += 24;
		break;
	case WAL_GAP:
		break;
	case WAL_ITEMS:
	case WAL_UNIT:
		n += r->type == WAL_UNIT ? 16 : 0;
		for (unsigned i = 0; i < r->item_count; i++)
			n += WAL_ITEM_BYTES(r->items[i].len);
		break;
	}
	return n;
}

static void encode_items(const struct wal_record *r, struct wr *w)
{
	for (unsigned i = 0; i < r->item_count; i++) {
		const struct item_change *c = &r->items[i];

		wr_le64(w, c->key.object);
		wr_le64(w, c->key.offset);
		wr_u8(w, c->key.kind);
		wr_u8(w, (uint8_t)c->op);
		wr_le16(w, (uint16_t)c->len);
		wr_zero(w, 4);
		wr_copy(w, c->value, c->len);
		wr_zero(w, WAL_ITEM_BYTES(c->len) - 24 - c->len);
	}
}

static void encode_data(const struct wal_record *r, struct wr *w)
{
	for (unsigned i = 0; i < r->page_count; i++) {
		wr_le64(w, r->pages[i].index);
		wr_le32(w, r->pages[i].crc);
		wr_le32(w, r->pages[i].data != NULL);
	}
	for (unsigned i = 0; i < r->page_count; i++)
		if (r->pages[i].data)
			wr_copy(w, r->pages[i].data, WFS3_BLOCK_BYTES);
}

static void encode_map(const struct wal_record *r, struct wr *w)
{
	wr_le64(w, r->first);
	wr_le64(w, r->block_count);
	for (unsigned i = 0; i < r->block_count; i++) {
		wr_le64(w, r->blocks[i].addr);
		wr_le32(w, r->blocks[i].crc);
		wr_le32(w, 0);
	}
}

static bool has_pages(enum wal_type type)
{
	return type == WAL_DATA || type == WAL_PART;
}

void wal_record_encode(const struct wal_record *r, uint8_t *buf)
{
	size_t len = wal_record_bytes(r);
	struct wr w = wr_init(buf, len);

	wr_le32(&w, (uint32_t)r->type);
	wr_le32(&w, (uint32_t)len);
	wr_le64(&w, r->txg);
	wr_le64(&w, r->dataset);
	wr_le64(&w, r->object);
	wr_le64(&w, has_pages(r->type) ? r->page_count : 0);
	if (r->type == WAL_PART || r->type == WAL_UNIT)
		wr_le64(&w, r->unit);
	if (r->type == WAL_UNIT) {
		wr_le32(&w, r->unit_pages);
		wr_zero(&w, 4);
	}
	if (has_pages(r->type)) {
		encode_data(r, &w);
	} else if (r->type == WAL_MAP) {
		encode_map(r, &w);
	} else if (r->type == WAL_UNMAP) {
		wr_le64(&w, r->first);
		wr_le64(&w, r->count);
	} else if (r->type == WAL_MOVE) {
		wr_le64(&w, r->first);
		wr_le64(&w, r->count);
		wr_le64(&w, r->distance);
	} else if (r->type == WAL_INODE) {
		wr_le64(&w, r->size_bytes);
		wr_le64(&w, r->change);
		wr_le64(&w, (uint64_t)r->mtime_ns);
	} else if (r->type == WAL_ITEMS || r->type == WAL_UNIT) {
		encode_items(r, &w);
	}
	always(!w.bad && w.pos == len);
}

static bool decode_data(struct rd *rd, uint64_t page_count, struct wal_record *r)
{
	if (page_count == 0 || page_count > WAL_PAGES_MAX)
		return false;
	r->page_count = (unsigned)page_count;
	for (unsigned i = 0; i < r->page_count; i++) {
		struct wal_page *pg = &r->pages[i];
		uint32_t has_data;

		pg->index = rd_le64(rd);
		pg->crc = rd_le32(rd);
		has_data = rd_le32(rd);
		if (rd->bad || has_data > 1 || pg->index > WAL_BLOCK_INDEX_MAX ||
		    (i && pg->index <= r->pages[i - 1].index) || (!has_data && pg->crc != CRC32C_ZERO_4K))
			return false;
		pg->data = has_data ? (const uint8_t *)"" : NULL;
	}
	for (unsigned i = 0; i < r->page_count; i++)
		if (r->pages[i].data)
			r->pages[i].data = rd_bytes(rd, WFS3_BLOCK_BYTES);
	return !rd->bad;
}

static bool decode_map(struct rd *rd, struct wal_record *r)
{
	uint64_t count;

	r->first = rd_le64(rd);
	count = rd_le64(rd);
	if (rd->bad || r->first > WAL_BLOCK_INDEX_MAX || count == 0 ||
	    count > WFS3_CELL_BLOCKS - r->first % WFS3_CELL_BLOCKS)
		return false;
	r->block_count = (unsigned)count;
	for (unsigned i = 0; i < r->block_count; i++) {
		r->blocks[i].addr = rd_le64(rd);
		r->blocks[i].crc = rd_le32(rd);
		if (rd_le32(rd) || rd->bad || r->blocks[i].addr > WFS3_VBA_MAX ||
		    (!r->blocks[i].addr && r->blocks[i].crc))
			return false;
	}
	return true;
}

/* 1; 0 at the end; -1: it makes no sense. */
static int next_item(struct rd *rd, struct item_change *ret)
{
	const uint8_t *padding;
	size_t padding_len;
	uint32_t reserved;
	uint8_t op;

	if (!rd_left(rd))
		return rd->bad ? -1 : 0;
	ret->key.object = rd_le64(rd);
	ret->key.offset = rd_le64(rd);
	ret->key.kind = rd_u8(rd);
	op = rd_u8(rd);
	ret->op = (enum item_op)op;
	ret->len = rd_le16(rd);
	reserved = rd_le32(rd);
	ret->value = rd_bytes(rd, ret->len);
	padding_len = WAL_ITEM_BYTES(ret->len) - 24 - ret->len;
	padding = rd_bytes(rd, padding_len);
	if (rd->bad || op > ITEM_TRUNCATE || ret->len > WAL_ITEM_VALUE_MAX || reserved ||
	    !bytes_are_zero(padding, padding_len) || (op != ITEM_PUT && ret->len))
		return -1;
	/* A file may end with its last possible block. */
	if (op == ITEM_TRUNCATE && (ret->key.kind != WFS3_KIND_CELL || ret->key.offset > WAL_BLOCK_INDEX_MAX + 1))
		return -1;
	return 1;
}

static bool decode_items(struct rd *rd, struct wal_record *r)
{
	struct item_change c;
	int rc;

	r->item_bytes_len = rd_left(rd);
	r->item_bytes = rd->base + rd->pos;
	r->item_count = 0;
	while ((rc = next_item(rd, &c)) > 0)
		r->item_count++;
	return rc == 0 && r->item_count && (r->type == WAL_UNIT || r->item_count <= WAL_ITEMS_MAX) && r->object == 0;
}

bool wal_item_next(const struct wal_record *r, size_t *pos, struct item_change *ret)
{
	struct rd rd = rd_init(r->item_bytes, r->item_bytes_len);
	int rc;

	rd.pos = *pos;
	rc = next_item(&rd, ret);
	*pos = rd.pos;
	return rc > 0;
}

static bool decode_body(struct rd *rd, uint64_t page_count, struct wal_record *r)
{
	if (!has_pages(r->type) && page_count)
		return false;
	switch (r->type) {
	case WAL_DATA:
		return decode_data(rd, page_count, r);
	case WAL_MAP:
		return decode_map(rd, r);
	case WAL_UNMAP:
		r->first = rd_le64(rd);
		r->count = rd_le64(rd);
		return !rd->bad && r->count && r->first <= WAL_BLOCK_INDEX_MAX &&
		       r->count <= WAL_BLOCK_INDEX_MAX + 1 - r->first;
	case WAL_MOVE:
		r->first = rd_le64(rd);
		r->count = rd_le64(rd);
		r->distance = rd_le64(rd);
		return !rd->bad && r->count && r->distance && r->distance <= r->first && r->first < WFS3_CELLS_MAX &&
		       r->count <= WFS3_CELLS_MAX - r->first;
	case WAL_INODE:
		r->size_bytes = rd_le64(rd);
		r->change = rd_le64(rd);
		r->mtime_ns = (int64_t)rd_le64(rd);
		return !rd->bad && r->size_bytes <= (WAL_BLOCK_INDEX_MAX + 1) * WFS3_BLOCK_BYTES;
	case WAL_GAP:
		return r->dataset == 0 && r->object == 0;
	case WAL_ITEMS:
		return decode_items(rd, r);
	case WAL_PART:
		r->unit = rd_le64(rd);
		return decode_data(rd, page_count, r);
	case WAL_UNIT:
		r->unit = rd_le64(rd);
		r->unit_pages = rd_le32(rd);
		return !rd_le32(rd) && decode_items(rd, r);
	}
	return false;
}

int wal_record_decode(const uint8_t *buf, size_t len, size_t *pos, struct wal_record *ret)
{
	struct rd rd = rd_init(buf + *pos, len - *pos);
	uint32_t type = rd_le32(&rd);
	uint32_t record_len = rd_le32(&rd);
	uint64_t page_count;

	ret->txg = rd_le64(&rd);
	ret->dataset = rd_le64(&rd);
	ret->object = rd_le64(&rd);
	page_count = rd_le64(&rd);
	if (rd.bad || type < WAL_DATA || type > WAL_MOVE || record_len < WAL_RECORD_BYTES || record_len > len - *pos ||
	    !ret->txg || ret->txg > WFS3_TXG_MAX)
		return err_set(-EUCLEAN, "log: bad record head at byte %zu of a batch", *pos);
	ret->type = (enum wal_type)type;
	rd = rd_init(buf + *pos, record_len);
	rd.pos = WAL_RECORD_BYTES;
	if (!decode_body(&rd, page_count, ret) || rd_left(&rd))
		return err_set(-EUCLEAN, "log: bad record of type %u at byte %zu of a batch", type, *pos);
	*pos += record_len;
	return 0;
}

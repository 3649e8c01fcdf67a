/* SPDX-License-Identifier: BSD-3-Clause */
/* The log's bytes: what is written is read, and nothing else is accepted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/bytes.h"
#include "core/base/checksum.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/wal_codec.h"

static const uint8_t uuid[16] = "0123456789abcdef";
static uint8_t page_a[WFS3_BLOCK_BYTES], page_b[WFS3_BLOCK_BYTES];

static struct wal_record *sample(enum wal_type type)
{
	struct wal_record *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	memset(page_a, 0x11, sizeof(page_a));
	memset(page_b, 0x22, sizeof(page_b));
	r->type = type;
	r->txg = 77;
	if (type != WAL_GAP) {
		r->dataset = 5;
		r->object = 1;
	}
	if (type == WAL_DATA) {
		r->page_count = 3;
		r->pages[0] = (struct wal_page){ 10, crc32c(page_a, sizeof(page_a)), page_a };
		r->pages[1] = (struct wal_page){ 11, CRC32C_ZERO_4K, NULL };
		r->pages[2] = (struct wal_page){ WAL_BLOCK_INDEX_MAX, crc32c(page_b, sizeof(page_b)), page_b };
	} else if (type == WAL_MAP) {
		r->first = 35;
		r->block_count = 3;
		r->blocks[0] = (struct wal_block){ 4711, 0xdeadbeef };
		r->blocks[2] = (struct wal_block){ WFS3_VBA_MAX, 1 };
	} else if (type == WAL_UNMAP) {
		r->first = 1;
		r->count = WAL_BLOCK_INDEX_MAX;
	} else if (type == WAL_MOVE) {
		r->first = 7;
		r->count = WFS3_CELLS_MAX - 7;
		r->distance = 7;
	} else if (type == WAL_INODE) {
		r->size_bytes = UINT64_C(1) << 60;
		r->change = 9;
		r->mtime_ns = -5;
	}
	return r;
}

static void test_items_come_back(void **state)
{
	static const struct item_change items[] = {
		{ .op = ITEM_PUT, .key = { 7, WFS3_KIND_INODE, 0 }, .value = "abcdefghi", .len = 9 },
		{ .op = ITEM_DELETE, .key = { 8, WFS3_KIND_DIRENT, UINT64_MAX } },
		{ .op = ITEM_TRUNCATE, .key = { 7, WFS3_KIND_CELL, 3 } },
		{ .op = ITEM_PUT, .key = { 0, WFS3_KIND_ORPHAN, 7 }, .value = "", .len = 0 },
	};
	struct wal_record r = { .type = WAL_ITEMS, .txg = 5, .dataset = 6, .item_count = 4, .items = items };
	struct wal_record got;
	struct item_change c;
	uint8_t buf[512];
	size_t len = wal_record_bytes(&r), pos = 0;

	(void)state;
	wal_record_encode(&r, buf);
	assert_int_equal(wal_record_decode(buf, len, &pos, &got), 0);
	assert_int_equal(got.item_count, 4);
	pos = 0;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(wal_item_next(&got, &pos, &c));
		assert_int_equal(c.op, items[i].op);
		assert_int_equal(wfs3_key_cmp(&c.key, &items[i].key), 0);
		assert_int_equal(c.len, items[i].len);
		if (c.len)
			assert_memory_equal(c.value, items[i].value, c.len);
	}
	assert_false(wal_item_next(&got, &pos, &c));
	for (size_t cut = 0; cut < len; cut++) {
		pos = 0;
		assert_int_equal(wal_record_decode(buf, cut, &pos, &got), -EUCLEAN);
	}
	for (unsigned i = 0; i < 5; i++) {
		/* unknown operation; longer than the record; reserved; padding; a deletion with a value */
		static const struct {
			unsigned at;
			uint8_t value;
		} damage[] = { { 17, 3 }, { 19, 0xff }, { 20, 1 }, { 39, 1 }, { 17, 1 } };
		uint8_t *b = buf + WAL_RECORD_BYTES + damage[i].at, old = *b;

		*b = damage[i].value;
		pos = 0;
		assert_int_equal(wal_record_decode(buf, len, &pos, &got), -EUCLEAN);
		*b = old;
	}
}

static void test_parts_and_units_come_back(void **state)
{
	static const struct item_change items[] = {
		{ .op = ITEM_PUT, .key = { 0, WFS3_KIND_OUTCOME, 9 }, .value = "0123456789abcdef", .len = 16 },
		{ .op = ITEM_TRUNCATE, .key = { 7, WFS3_KIND_CELL, 3 } },
	};
	static const uint8_t data[WFS3_BLOCK_BYTES] = { 1 };
	struct wal_record r = { .type = WAL_PART, .txg = 5, .dataset = 6, .object = 7, .unit = 9, .page_count = 2 };
	struct wal_record got;
	static uint8_t buf[WAL_PART_BYTES(2)];
	size_t len, pos = 0;

	(void)state;
	r.pages[0] = (struct wal_page){ .index = 1, .crc = crc32c(data, sizeof(data)), .data = data };
	r.pages[1] = (struct wal_page){ .index = 4, .crc = CRC32C_ZERO_4K };
	len = wal_record_bytes(&r);
	wal_record_encode(&r, buf);
	assert_int_equal(wal_record_decode(buf, len, &pos, &got), 0);
	assert_int_equal(got.type, WAL_PART);
	assert_int_equal(got.unit, 9);
	assert_int_equal(got.page_count, 2);
	assert_memory_equal(got.pages[0].data, data, sizeof(data));
	assert_null(got.pages[1].data);
	r = (struct wal_record){
		.type = WAL_UNIT, .txg = 5, .dataset = 6, .unit = 9, .unit_pages = 2, .item_count = 2, .items = items
	};
	len = wal_record_bytes(&r);
	assert_int_equal(len, WAL_UNIT_BYTES + WAL_ITEM_BYTES(16) + WAL_ITEM_BYTES(0));
	wal_record_encode(&r, buf);
	for (size_t cut = 0; cut < len; cut++) {
		pos = 0;
		assert_int_equal(wal_record_decode(buf, cut, &pos, &got), -EUCLEAN);
	}
	pos = 0;
	assert_int_equal(wal_record_decode(buf, len, &pos, &got), 0);
	assert_int_equal(got.unit, 9);
	assert_int_equal(got.unit_pages, 2);
	assert_int_equal(got.item_count, 2);
	buf[WAL_RECORD_BYTES + 12] = 1; /* reserved */
	pos = 0;
	assert_int_equal(wal_record_decode(buf, len, &pos, &got), -EUCLEAN);
}

static const size_t size_max[] = {
	[WAL_DATA] = WAL_DATA_BYTES(3), [WAL_MAP] = WAL_MAP_BYTES, [WAL_UNMAP] = WAL_UNMAP_BYTES,
	[WAL_INODE] = WAL_INODE_BYTES,  [WAL_GAP] = WAL_GAP_BYTES, [WAL_MOVE] = WAL_MOVE_BYTES
};

static void test_records_come_back(void **state)
{
	static const enum wal_type types[] = { WAL_DATA, WAL_MAP, WAL_UNMAP, WAL_INODE, WAL_GAP, WAL_MOVE };

	(void)state;
	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
		enum wal_type type = types[t];
		struct wal_record *r = sample(type);
		struct wal_record *got = calloc(1, sizeof(*got));
		size_t len = wal_record_bytes(r);
		uint8_t *buf = malloc(len);
		size_t pos = 0;

		assert_true(len <= size_max[type] && len % 8 == 0);
		wal_record_encode(r, buf);
		assert_int_equal(wal_record_decode(buf, len, &pos, got), 0);
		assert_int_equal(pos, len);
		assert_int_equal(got->type, type);
		assert_int_equal(got->txg, 77);
		assert_int_equal(got->dataset, r->dataset);
		assert_int_equal(got->object, r->object);
		assert_int_equal(got->page_count, r->page_count);
		for (unsigned i = 0; i < r->page_count; i++) {
			assert_int_equal(got->pages[i].index, r->pages[i].index);
			assert_int_equal(got->pages[i].crc, r->pages[i].crc);
			assert_int_equal(got->pages[i].data != NULL, r->pages[i].data != NULL);
			if (r->pages[i].data)
				assert_memory_equal(got->pages[i].data, r->pages[i].data, WFS3_BLOCK_BYTES);
		}
		assert_int_equal(got->first, r->first);
		assert_int_equal(got->count, r->count);
		assert_int_equal(got->distance, r->distance);
		assert_memory_equal(got->blocks, r->blocks, sizeof(r->blocks));
		assert_int_equal(got->size_bytes, r->size_bytes);
		assert_int_equal(got->change, r->change);
		assert_int_equal(got->mtime_ns, r->mtime_ns);
		/* Cut anywhere: refused. */
		for (size_t cut = 0; cut<len; cut += len> 200 ? 97 : 1) {
			pos = 0;
			assert_int_equal(wal_record_decode(buf, cut, &pos, got), -EUCLEAN);
		}
		free(buf);
		free(r);
		free(got);
	}
}

struct damage {
	enum wal_type type;
	size_t offset;
	uint32_t value;
};

static void test_fields_out_of_range_are_refused(void **state)
{
	static const struct damage damages[] = {
		{ WAL_DATA, 0, 0 },          { WAL_DATA, 0, 10 }, /* type */
		{ WAL_MAP, 4, 8 },           { WAL_MAP, 4, 1 << 30 }, /* length */
		{ WAL_MAP, 8, 0 }, /* txg: its low half was all of it */
		{ WAL_MAP, 12, 0xffffffff }, { WAL_MAP, 32, 1 }, /* page count of another type */
		{ WAL_DATA, 32, 0 },         { WAL_DATA, 32, 65 },       { WAL_DATA, 32, 2 },
		{ WAL_DATA, 36, 1 },         { WAL_DATA, 40, 12 }, /* not ascending */
		{ WAL_DATA, 52, 2 },         { WAL_DATA, 52, 0 }, /* data flag; data missing although not zero */
		{ WAL_DATA, 64, 1 }, /* zeros with another checksum */
		{ WAL_MAP, 40, 47 }, /* beyond the cell */
		{ WAL_MAP, 44, 1 << 20 },    { WAL_MAP, 48, 0 },         { WAL_MAP, 48, 17 },
		{ WAL_MAP, 48, 2 },          { WAL_MAP, 60, 1 << 20 }, /* address */
		{ WAL_MAP, 68, 1 },          { WAL_MAP, 80, 1 }, /* reserved; checksum of a hole */
		{ WAL_UNMAP, 40, 2 },        { WAL_UNMAP, 44, 1 << 20 }, { WAL_INODE, 40, 1 }, /* 2^60 + 1 */
		{ WAL_GAP, 16, 1 }, /* of a file */
		{ WAL_MOVE, 40, 6 },         { WAL_MOVE, 40, 8 },        { WAL_MOVE, 56, 0 },
		{ WAL_MOVE, 56, 8 },         { WAL_MOVE, 32, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct damage *d = &damages[i];
		struct wal_record *r = sample(d->type);
		size_t len = wal_record_bytes(r), pos = 0;
		uint8_t *buf = malloc(len);

		wal_record_encode(r, buf);
		put_le32(buf + d->offset, d->value);
		if (wal_record_decode(buf, len, &pos, r) != -EUCLEAN)
			fail_msg("type %d offset %zu value %u was accepted", (int)d->type, d->offset, d->value);
		free(buf);
		free(r);
	}
}

static struct wal_batch seal(uint8_t *buf, uint32_t record_bytes)
{
	struct wal_batch b = {
		.epoch = 3, .position = 8192, .durable = 4096, .prev = 99, .record_bytes = record_bytes
	};

	memcpy(b.pool_uuid, uuid, 16);
	wal_batch_seal(&b, buf);
	return b;
}

static void test_batch_comes_back_and_every_changed_byte_is_noticed(void **state)
{
	uint8_t *buf = calloc(1, 16384);
	struct wal_batch b, got;

	(void)state;
	memset(buf, 0xee, 16384);
	b = seal(buf, 5000);
	assert_int_equal(b.len_bytes, 8192);
	assert_int_equal(wal_batch_probe(buf, uuid, 3, 8192), 8192);
	assert_int_equal(wal_batch_probe(buf, uuid, 4, 8192), 0);
	assert_int_equal(wal_batch_probe(buf, uuid, 3, 4096), 0);
	assert_int_equal(wal_batch_probe(buf, (const uint8_t *)"another pool....", 3, 8192), 0);
	assert_int_equal(wal_batch_open(buf, 8192, &got), 0);
	assert_int_equal(got.durable, 4096);
	assert_int_equal(got.prev, 99);
	assert_int_equal(got.record_bytes, 5000);
	assert_int_equal(got.checksum, b.checksum);
	assert_int_equal(wal_batch_open(buf, 4096, &got), -EUCLEAN);
	for (size_t i = 0; i < 8192; i += i < 128 ? 1 : 61) {
		buf[i] ^= 1;
		assert_int_equal(wal_batch_open(buf, 8192, &got), -EUCLEAN);
		buf[i] ^= 1;
	}
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_come_back),
		cmocka_unit_test(test_items_come_back),
		cmocka_unit_test(test_parts_and_units_come_back),
		cmocka_unit_test(test_fields_out_of_range_are_refused),
		cmocka_unit_test(test_batch_comes_back_and_every_changed_byte_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

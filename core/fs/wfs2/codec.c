/* SPDX-License-Identifier: BSD-3-Clause */
/* Encoding and decoding: every field is checked here; nobody else reads the bytes. */
#include "core/fs/wfs2/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/checked.h"
#include "core/base/checksum.h"
#include "core/base/err.h"

int wfs2_layout(uint64_t block_count, uint64_t file_count, struct wfs2_super *ret)
{
	uint32_t blocks = (uint32_t)block_count, files = (uint32_t)file_count;

	if (block_count < WFS2_BLOCKS_MIN || block_count > WFS2_BLOCKS_MAX)
		return err_set(-EINVAL, "a volume has %u to %u blocks, not %" PRIu64, WFS2_BLOCKS_MIN, WFS2_BLOCKS_MAX,
		               block_count);
	if (!file_count || file_count % WFS2_SLOTS_PER_BLOCK || file_count > WFS2_FILES_MAX)
		return err_set(-EINVAL, "a volume has room for 8 to %u files, not %" PRIu64, WFS2_FILES_MAX,
		               file_count);
	ret->block_count = blocks;
	ret->file_count = files;
	ret->bitmap_first = 2;
	ret->bitmap_blocks = (uint32_t)div_round_up_u64(blocks, WFS2_BITS_PER_BLOCK);
	ret->table_first = ret->bitmap_first + ret->bitmap_blocks + 2;
	ret->table_blocks = files / WFS2_SLOTS_PER_BLOCK;
	ret->data_first = ret->table_first + ret->table_blocks + 1;
	if (ret->data_first + 2 > blocks)
		return err_set(-EINVAL, "%u blocks leave no room for contents", blocks);
	return 0;
}

void wfs2_super_encode(const struct wfs2_super *s, uint8_t block[WFS2_BLOCK_BYTES])
{
	memset(block, 0, WFS2_BLOCK_BYTES);
	memcpy(block + SUPER_BEGIN, SUPER_BEGIN_MARK, 8);
	put_le32(block + SUPER_VERSION, WFS2_VERSION);
	put_le32(block + SUPER_BLOCK_BYTES, WFS2_BLOCK_BYTES);
	put_le32(block + SUPER_BLOCK_COUNT, s->block_count);
	put_le32(block + SUPER_FILE_COUNT, s->file_count);
	put_le32(block + SUPER_BITMAP_FIRST, s->bitmap_first);
	put_le32(block + SUPER_BITMAP_BLOCKS, s->bitmap_blocks);
	put_le32(block + SUPER_TABLE_FIRST, s->table_first);
	put_le32(block + SUPER_TABLE_BLOCKS, s->table_blocks);
	put_le32(block + SUPER_DATA_FIRST, s->data_first);
	put_le64(block + SUPER_CREATED, s->created_ns);
	memcpy(block + SUPER_ID, s->id, WFS2_ID_BYTES);
	memcpy(block + SUPER_LABEL, s->label, WFS2_LABEL_MAX);
	memcpy(block + SUPER_END, SUPER_END_MARK, 8);
	put_le32(block + SUPER_CRC, crc32_zlib(block, SUPER_CRC));
}

static int check_super_frame(const uint8_t *block)
{
	if (memcmp(block + SUPER_BEGIN, SUPER_BEGIN_MARK, 8) != 0)
		return err_set(-EUCLEAN, "no WFS v2 superblock");
	if (memcmp(block + SUPER_END, SUPER_END_MARK, 8) != 0)
		return err_set(-EUCLEAN, "superblock: its end is not marked");
	if (get_le32(block + SUPER_CRC) != crc32_zlib(block, SUPER_CRC))
		return err_set(-EUCLEAN, "superblock: wrong checksum");
	if (get_le32(block + SUPER_VERSION) != WFS2_VERSION)
		return err_set(-EUCLEAN, "superblock: version %u", get_le32(block + SUPER_VERSION));
	if (get_le32(block + SUPER_BLOCK_BYTES) != WFS2_BLOCK_BYTES)
		return err_set(-EUCLEAN, "superblock: blocks of %u bytes", get_le32(block + SUPER_BLOCK_BYTES));
	return 0;
}

int wfs2_super_decode(const uint8_t block[WFS2_BLOCK_BYTES], struct wfs2_super *ret)
{
	struct wfs2_super s = { 0 };
	uint8_t again[WFS2_BLOCK_BYTES];
	int rc = check_super_frame(block);

	if (rc)
		return rc;
	if (wfs2_layout(get_le32(block + SUPER_BLOCK_COUNT), get_le32(block + SUPER_FILE_COUNT), &s))
		return err_add(-EUCLEAN, "superblock: %s", err_get()->frames[0].text);
	s.created_ns = get_le64(block + SUPER_CREATED);
	memcpy(s.id, block + SUPER_ID, WFS2_ID_BYTES);
	memcpy(s.label, block + SUPER_LABEL, WFS2_LABEL_MAX);
	/* Where the areas lie follows from the counts, reserved bytes are zero, and so is what follows the label. */
	memset(s.label + strlen(s.label), 0, sizeof(s.label) - strlen(s.label));
	wfs2_super_encode(&s, again);
	if (memcmp(block, again, SUPER_CRC) != 0)
		return err_set(-EUCLEAN, "superblock: areas or reserved bytes are not as they have to be");
	*ret = s;
	return 0;
}

uint32_t wfs2_mark_block(const struct wfs2_super *s, unsigned mark)
{
	switch (mark) {
	case 0:
		return s->bitmap_first - 1;
	case 1:
		return s->bitmap_first + s->bitmap_blocks;
	case 2:
		return s->table_first - 1;
	default:
		return s->table_first + s->table_blocks;
	}
}

void wfs2_mark_encode(const struct wfs2_super *s, unsigned mark, uint8_t block[WFS2_BLOCK_BYTES])
{
	memset(block, 0, WFS2_BLOCK_BYTES);
	memcpy(block + MARK_MAGIC, MARK_MAGIC_TEXT, 8);
	put_le32(block + MARK_KIND, mark + 1);
	put_le32(block + MARK_BLOCK, wfs2_mark_block(s, mark));
	memcpy(block + MARK_ID, s->id, WFS2_ID_BYTES);
	put_le32(block + MARK_CRC, crc32_zlib(block, MARK_CRC));
}

int wfs2_mark_check(const struct wfs2_super *s, unsigned mark, const uint8_t block[WFS2_BLOCK_BYTES])
{
	static const char *const names[MARK_COUNT] = {
		"the bitmap's begin",
		"the bitmap's end",
		"the file table's begin",
		"the file table's end",
	};
	uint8_t want[WFS2_BLOCK_BYTES];

	wfs2_mark_encode(s, mark, want);
	if (memcmp(want, block, WFS2_BLOCK_BYTES) != 0)
		return err_set(-EUCLEAN, "block %u: the marker of %s is broken", wfs2_mark_block(s, mark), names[mark]);
	return 0;
}

int wfs2_name_check(const char *name, size_t len)
{
	if (!len)
		return err_set(-EINVAL, "a name is empty");
	if (len > WFS2_NAME_MAX)
		return err_set(-ENAMETOOLONG, "a name has %zu bytes, at most %u are possible", len, WFS2_NAME_MAX);
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return err_set(-EINVAL, "'.' and '..' are no names");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c == 0x7f || c == '/')
			return err_set(-EINVAL, "a name contains byte 0x%02x", c);
	}
	return 0;
}

void wfs2_entry_encode(const struct wfs2_entry *e, uint8_t slot[WFS2_SLOT_BYTES])
{
	memset(slot, 0, WFS2_SLOT_BYTES);
	if (!e->flags && !e->generation)
		return; /* never used */
	memcpy(slot + SLOT_BEGIN, SLOT_BEGIN_MARK, 4);
	put_le32(slot + SLOT_GENERATION, e->generation);
	if (e->flags) {
		put_le16(slot + SLOT_FLAGS, e->flags);
		put_le16(slot + SLOT_NAME_LEN, e->name_len);
		put_le64(slot + SLOT_SIZE, e->size_bytes);
		put_le64(slot + SLOT_CREATED, e->created_ns);
		put_le64(slot + SLOT_MODIFIED, e->modified_ns);
		put_le64(slot + SLOT_CHANGE, e->change);
		put_le32(slot + SLOT_REPLACES, e->replaces);
		put_le32(slot + SLOT_REPLACES_GENERATION, e->replaces_generation);
		put_le16(slot + SLOT_EXTENT_COUNT, (uint16_t)e->extent_count);
		memcpy(slot + SLOT_NAME, e->name, e->name_len);
		for (unsigned i = 0; i < e->extent_count; i++) {
			put_le32(slot + SLOT_EXTENTS + i * 8, e->extents[i].first);
			put_le32(slot + SLOT_EXTENTS + i * 8 + 4, e->extents[i].count);
		}
	}
	memcpy(slot + SLOT_END, SLOT_END_MARK, 4);
	put_le32(slot + SLOT_CRC, crc32_zlib(slot, SLOT_CRC));
}

static int parse_used(const uint8_t *slot, struct wfs2_entry *e)
{
	e->name_len = get_le16(slot + SLOT_NAME_LEN);
	e->extent_count = get_le16(slot + SLOT_EXTENT_COUNT);
	if (!(e->flags & WFS2_FLAG_USED) || (e->flags & ~(WFS2_FLAG_USED | WFS2_FLAG_READ_ONLY)))
		return err_set(-EUCLEAN, "flags 0x%x", e->flags);
	if (!e->generation)
		return err_set(-EUCLEAN, "a file without a generation");
	if (e->extent_count > WFS2_EXTENTS_MAX)
		return err_set(-EUCLEAN, "%u extents", e->extent_count);
	if (wfs2_name_check((const char *)slot + SLOT_NAME, e->name_len))
		return err_add(-EUCLEAN, "%s", err_get()->frames[0].text);
	memcpy(e->name, slot + SLOT_NAME, e->name_len);
	e->size_bytes = get_le64(slot + SLOT_SIZE);
	e->created_ns = get_le64(slot + SLOT_CREATED);
	e->modified_ns = get_le64(slot + SLOT_MODIFIED);
	e->change = get_le64(slot + SLOT_CHANGE);
	e->replaces = get_le32(slot + SLOT_REPLACES);
	e->replaces_generation = get_le32(slot + SLOT_REPLACES_GENERATION);
	if (e->replaces > WFS2_FILES_MAX)
		return err_set(-EUCLEAN, "replaces slot %u", e->replaces - 1);
	for (unsigned i = 0; i < e->extent_count; i++) {
		e->extents[i].first = get_le32(slot + SLOT_EXTENTS + i * 8);
		e->extents[i].count = get_le32(slot + SLOT_EXTENTS + i * 8 + 4);
	}
	return 0;
}

int wfs2_entry_parse(const uint8_t slot[WFS2_SLOT_BYTES], struct wfs2_entry *ret)
{
	uint8_t again[WFS2_SLOT_BYTES];
	struct wfs2_entry e = { 0 };
	int rc = 0;

	e.flags = get_le16(slot + SLOT_FLAGS);
	e.generation = get_le32(slot + SLOT_GENERATION);
	if (e.flags)
		rc = parse_used(slot, &e);
	if (rc)
		return rc;
	/* What is not of use here is zero. */
	wfs2_entry_encode(&e, again);
	if (memcmp(again + SLOT_FLAGS, slot + SLOT_FLAGS, SLOT_END - SLOT_FLAGS) != 0)
		return err_set(-EUCLEAN, "bytes that have to be zero are not");
	*ret = e;
	return 0;
}

int wfs2_entry_decode(const uint8_t slot[WFS2_SLOT_BYTES], struct wfs2_entry *ret)
{
	if (bytes_are_zero(slot, WFS2_SLOT_BYTES)) {
		memset(ret, 0, sizeof(*ret));
		return 0;
	}
	if (memcmp(slot + SLOT_BEGIN, SLOT_BEGIN_MARK, 4) != 0 || memcmp(slot + SLOT_END, SLOT_END_MARK, 4) != 0)
		return err_set(-EUCLEAN, "a boundary marker is broken");
	if (get_le32(slot + SLOT_CRC) != crc32_zlib(slot, SLOT_CRC))
		return err_set(-EUCLEAN, "wrong checksum");
	if (!get_le16(slot + SLOT_FLAGS) && !get_le32(slot + SLOT_GENERATION))
		return err_set(-EUCLEAN, "a free slot without a generation");
	return wfs2_entry_parse(slot, ret);
}

int wfs2_entry_check(const struct wfs2_super *s, const struct wfs2_entry *e)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < e->extent_count; i++) {
		const struct wfs2_extent *x = &e->extents[i];

		if (!x->count || x->first < s->data_first ||
		    !range_within(x->first, x->count, (uint64_t)s->block_count - 1))
			return err_set(-EUCLEAN, "extent %u, blocks %u to %" PRIu64 ", is not in the area of contents",
			               i, x->first, (uint64_t)x->first + x->count);
		sum += x->count;
	}
	if (sum != wfs2_blocks_of(e->size_bytes))
		return err_set(-EUCLEAN, "%" PRIu64 " blocks for %" PRIu64 " bytes", sum, e->size_bytes);
	return 0;
}

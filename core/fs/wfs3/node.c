/* SPDX-License-Identifier: BSD-3-Clause */
/* The slotted page of a tree node: search, changes in place, and the decoder that checks everything. */
#include "core/fs/wfs3/node.h"

#include <errno.h>

#include "core/base/assert.h"
#include "core/base/checksum.h"
#include "core/base/err.h"

#define NODE_VERSION 1u
#define ITEM_HEADER_BYTES (WFS3_KEY_BYTES + 2u)

_Static_assert(4 * NODE_ITEM_BYTES(NODE_VALUE_BYTES_MAX) <= NODE_CAPACITY, "a split always makes room for any item");
_Static_assert(WFS3_NODE_BYTES <= UINT16_MAX, "offsets in a node are 16 bits");

/* A key as it stands on the page, loaded as big integers. */
struct key_words {
	uint64_t high, middle;
	uint8_t low;
};

static inline struct key_words words_load(const uint8_t *p)
{
	return (struct key_words){ get_be64(p), get_be64(p + 8), p[16] };
}

static inline struct key_words words_of(const struct wfs3_key *key)
{
	return (struct key_words){
		.high = key->object,
		.middle = (uint64_t)key->kind << 56 | key->offset >> 8,
		.low = (uint8_t)key->offset,
	};
}

/* Without branches: in a binary search each would be mispredicted half of the time. */
static inline bool words_less(struct key_words a, struct key_words b)
{
	return (a.high < b.high) |
	       ((a.high == b.high) & ((a.middle < b.middle) | ((a.middle == b.middle) & (a.low < b.low))));
}

static inline bool words_equal(struct key_words a, struct key_words b)
{
	return a.high == b.high && a.middle == b.middle && a.low == b.low;
}

static void key_store(uint8_t *p, const struct wfs3_key *key)
{
	put_be64(p, key->object);
	p[8] = key->kind;
	put_be64(p + 9, key->offset);
}

static inline uint8_t *slot_at(uint8_t *page, unsigned slot)
{
	return page + NODE_HEADER_BYTES + (size_t)NODE_SLOT_BYTES * slot;
}

static inline unsigned item_offset(const uint8_t *page, unsigned slot)
{
	return get_le16(page + NODE_HEADER_BYTES + (size_t)NODE_SLOT_BYTES * slot);
}

static inline unsigned heap_start(const uint8_t *page)
{
	return get_le16(page + NODE_OFF_HEAP);
}

static inline unsigned item_bytes(const uint8_t *item)
{
	return ITEM_HEADER_BYTES + get_le16(item + WFS3_KEY_BYTES);
}

void node_init(uint8_t *page, unsigned level, uint64_t dataset_id, uint64_t birth)
{
	memset(page, 0, WFS3_NODE_BYTES);
	put_le32(page + NODE_OFF_MAGIC, NODE_MAGIC);
	page[NODE_OFF_VERSION] = NODE_VERSION;
	page[NODE_OFF_LEVEL] = (uint8_t)level;
	put_le16(page + NODE_OFF_HEAP, WFS3_NODE_BYTES);
	put_le64(page + NODE_OFF_DATASET, dataset_id);
	put_le64(page + NODE_OFF_BIRTH, birth);
}

void node_set_birth(uint8_t *page, uint64_t birth)
{
	put_le64(page + NODE_OFF_BIRTH, birth);
}

bool node_search(const uint8_t *page, const struct wfs3_key *key, unsigned *ret_slot)
{
	struct key_words want = words_of(key);
	unsigned count = node_count(page), low = 0, left = count;

	while (left) {
		unsigned half = left / 2;
		bool less;

		/* Nodes are rarely in the processor's cache: ask for both keys that may come next. */
		__builtin_prefetch(page + item_offset(page, low + half / 2));
		__builtin_prefetch(page + item_offset(page, low + half + 1 + (left - half - 1) / 2));
		less = words_less(words_load(page + item_offset(page, low + half)), want);

		low = less ? low + half + 1 : low;
		left = less ? left - half - 1 : half;
	}
	*ret_slot = low;
	return low < count && words_equal(words_load(page + item_offset(page, low)), want);
}

unsigned node_search_child(const uint8_t *page, const struct wfs3_key *key)
{
	unsigned slot;

	if (node_search(page, key, &slot))
		return slot;
	return slot ? slot - 1 : 0;
}

struct wfs3_key node_key(const uint8_t *page, unsigned slot)
{
	const uint8_t *item = page + item_offset(page, slot);

	return (struct wfs3_key){ .object = get_be64(item), .kind = item[8], .offset = get_be64(item + 9) };
}

const uint8_t *node_value(const uint8_t *page, unsigned slot, size_t *ret_len)
{
	const uint8_t *item = page + item_offset(page, slot);

	*ret_len = get_le16(item + WFS3_KEY_BYTES);
	return item + ITEM_HEADER_BYTES;
}

static struct wfs3_ptr ptr_load(const uint8_t *p)
{
	return (struct wfs3_ptr){
		.addr = get_le64(p),
		.birth = get_le64(p + 8),
		.hash = { .lo = get_le64(p + 16), .hi = get_le64(p + 24) },
	};
}

struct wfs3_ptr node_ptr(const uint8_t *page, unsigned slot)
{
	return ptr_load(page + item_offset(page, slot) + ITEM_HEADER_BYTES);
}

void node_set_ptr(uint8_t *page, unsigned slot, const struct wfs3_ptr *ptr)
{
	uint8_t *p = page + item_offset(page, slot) + ITEM_HEADER_BYTES;

	put_le64(p, ptr->addr);
	put_le64(p + 8, ptr->birth);
	put_le64(p + 16, ptr->hash.lo);
	put_le64(p + 24, ptr->hash.hi);
}

void node_set_key(uint8_t *page, unsigned slot, const struct wfs3_key *key)
{
	key_store(page + item_offset(page, slot), key);
}

void node_insert(uint8_t *page, unsigned slot, const struct wfs3_key *key, const void *value, size_t len)
{
	unsigned count = node_count(page), start;
	uint8_t *item;

	always(len <= NODE_VALUE_BYTES_MAX && slot <= count && NODE_ITEM_BYTES(len) <= node_free_bytes(page));
	start = heap_start(page) - (ITEM_HEADER_BYTES + (unsigned)len);
	item = page + start;
	key_store(item, key);
	put_le16(item + WFS3_KEY_BYTES, (uint16_t)len);
	if (len)
		memcpy(item + ITEM_HEADER_BYTES, value, len);
	memmove(slot_at(page, slot + 1), slot_at(page, slot), (size_t)(count - slot) * NODE_SLOT_BYTES);
	put_le16(slot_at(page, slot), (uint16_t)start);
	put_le16(page + NODE_OFF_COUNT, (uint16_t)(count + 1));
	put_le16(page + NODE_OFF_HEAP, (uint16_t)start);
}

/* Items that stand at or below @offset in the heap move by @delta bytes (modulo 2^16). */
static void slots_shift(uint8_t *page, unsigned offset, uint16_t delta)
{
	unsigned count = node_count(page);

	for (unsigned i = 0; i < count; i++) {
		unsigned at = item_offset(page, i);

		put_le16(slot_at(page, i), (uint16_t)(at + (at <= offset ? delta : 0u)));
	}
}

void node_replace(uint8_t *page, unsigned slot, const void *value, size_t len)
{
	unsigned offset = item_offset(page, slot), start = heap_start(page);
	unsigned old_len = get_le16(page + offset + WFS3_KEY_BYTES);
	uint8_t *item = page + offset;

	always(len <= NODE_VALUE_BYTES_MAX && len <= old_len + node_free_bytes(page));
	if (len != old_len) {
		unsigned new_start = start + old_len - (unsigned)len;

		/* Everything up to and including this item's header moves. */
		memmove(page + new_start, page + start, offset + ITEM_HEADER_BYTES - start);
		if (new_start > start)
			memset(page + start, 0, new_start - start);
		slots_shift(page, offset, (uint16_t)(old_len - (unsigned)len));
		put_le16(page + NODE_OFF_HEAP, (uint16_t)new_start);
		item = page + item_offset(page, slot);
		put_le16(item + WFS3_KEY_BYTES, (uint16_t)len);
	}
	if (len)
		memcpy(item + ITEM_HEADER_BYTES, value, len);
}

void node_remove(uint8_t *page, unsigned slot)
{
	unsigned offset = item_offset(page, slot), start = heap_start(page), count = node_count(page);
	unsigned bytes = item_bytes(page + offset);

	memmove(page + start + bytes, page + start, offset - start);
	memset(page + start, 0, bytes);
	slots_shift(page, offset, (uint16_t)bytes);
	memmove(slot_at(page, slot), slot_at(page, slot + 1), (size_t)(count - slot - 1) * NODE_SLOT_BYTES);
	put_le16(slot_at(page, count - 1), 0);
	put_le16(page + NODE_OFF_COUNT, (uint16_t)(count - 1));
	put_le16(page + NODE_OFF_HEAP, (uint16_t)(start + bytes));
}

void node_append(uint8_t *page, const uint8_t *src, unsigned first, unsigned count)
{
	unsigned start = heap_start(page), at = node_count(page);
	size_t need = 0;

	for (unsigned i = first; i < first + count; i++)
		need += item_bytes(src + item_offset(src, i)) + NODE_SLOT_BYTES;
	always(need <= node_free_bytes(page) && first + count <= node_count(src));
	for (unsigned i = first; i < first + count; i++) {
		const uint8_t *item = src + item_offset(src, i);
		unsigned bytes = item_bytes(item);

		start -= bytes;
		memcpy(page + start, item, bytes);
		put_le16(slot_at(page, at++), (uint16_t)start);
	}
	put_le16(page + NODE_OFF_COUNT, (uint16_t)at);
	put_le16(page + NODE_OFF_HEAP, (uint16_t)start);
}

static void empty_page(uint8_t *page)
{
	node_init(page, node_level(page), node_dataset(page), node_birth(page));
}

void node_split(uint8_t *left, uint8_t *right, unsigned at, uint8_t *scratch)
{
	unsigned count = node_count(left);

	memcpy(scratch, left, WFS3_NODE_BYTES);
	empty_page(left);
	node_append(left, scratch, 0, at);
	node_append(right, scratch, at, count - at);
}

void node_prepend(uint8_t *page, const uint8_t *left, uint8_t *scratch)
{
	memcpy(scratch, page, WFS3_NODE_BYTES);
	empty_page(page);
	node_append(page, left, 0, node_count(left));
	node_append(page, scratch, 0, node_count(scratch));
}

static int check_header(const uint8_t *page)
{
	unsigned count = node_count(page), start = heap_start(page);
	uint64_t birth = node_birth(page);

	if (get_le32(page + NODE_OFF_MAGIC) != NODE_MAGIC)
		return err_set(-EUCLEAN, "tree node: no magic number");
	if (page[NODE_OFF_VERSION] != NODE_VERSION)
		return err_set(-EUCLEAN, "tree node: unknown version %u", page[NODE_OFF_VERSION]);
	if (get_le16(page + NODE_OFF_FLAGS) || get_le32(page + NODE_OFF_ZERO))
		return err_set(-EUCLEAN, "tree node: unknown flags");
	if (node_level(page) > NODE_LEVEL_MAX)
		return err_set(-EUCLEAN, "tree node: level %u", node_level(page));
	if (!birth || birth > WFS3_TXG_MAX)
		return err_set(-EUCLEAN, "tree node: birth out of range");
	if (!count)
		return err_set(-EUCLEAN, "tree node: no items");
	if (start > WFS3_NODE_BYTES || start < NODE_HEADER_BYTES + NODE_SLOT_BYTES * count)
		return err_set(-EUCLEAN, "tree node: %u items, but the heap starts at %u", count, start);
	if (!bytes_are_zero(page + NODE_HEADER_BYTES + NODE_SLOT_BYTES * count,
	                    start - NODE_HEADER_BYTES - NODE_SLOT_BYTES * count))
		return err_set(-EUCLEAN, "tree node: the gap is not zero");
	return 0;
}

/* Walk the heap from item to item; it must end where the page ends, after as many items as there are slots. */
static int check_heap(const uint8_t *page, uint64_t starts[WFS3_NODE_BYTES / 64])
{
	unsigned at = heap_start(page), count = 0;

	while (at < WFS3_NODE_BYTES) {
		unsigned len;

		if (WFS3_NODE_BYTES - at < ITEM_HEADER_BYTES)
			return err_set(-EUCLEAN, "tree node: torn item at %u", at);
		len = get_le16(page + at + WFS3_KEY_BYTES);
		if (len > NODE_VALUE_BYTES_MAX || len > WFS3_NODE_BYTES - at - ITEM_HEADER_BYTES)
			return err_set(-EUCLEAN, "tree node: item at %u with a value of %u bytes", at, len);
		starts[at / 64] |= UINT64_C(1) << at % 64;
		at += ITEM_HEADER_BYTES + len;
		count++;
	}
	if (count != node_count(page))
		return err_set(-EUCLEAN, "tree node: %u items in the heap, %u slots", count, node_count(page));
	return 0;
}

static int check_ptr(const uint8_t *page, unsigned slot)
{
	struct wfs3_ptr ptr;
	size_t len;

	node_value(page, slot, &len);
	if (len != WFS3_PTR_BYTES)
		return err_set(-EUCLEAN, "tree node: slot %u: a pointer of %zu bytes", slot, len);
	ptr = node_ptr(page, slot);
	if (!ptr.addr || ptr.addr > WFS3_VBA_MAX - (WFS3_NODE_BLOCKS - 1))
		return err_set(-EUCLEAN, "tree node: slot %u: address out of range", slot);
	if (!ptr.birth || ptr.birth > node_birth(page))
		return err_set(-EUCLEAN, "tree node: slot %u: child is younger than its parent", slot);
	return 0;
}

int node_check(const uint8_t *page)
{
	uint64_t starts[WFS3_NODE_BYTES / 64] = { 0 };
	struct key_words previous = { 0 };
	int rc = check_header(page);

	if (!rc)
		rc = check_heap(page, starts);
	for (unsigned i = 0; !rc && i < node_count(page); i++) {
		unsigned at = item_offset(page, i);
		struct key_words key;

		/* Each slot takes one of the items that the walk found, so none is shared. */
		if (at >= WFS3_NODE_BYTES || !(starts[at / 64] & UINT64_C(1) << at % 64))
			return err_set(-EUCLEAN, "tree node: slot %u: no item at %u", i, at);
		starts[at / 64] &= ~(UINT64_C(1) << at % 64);
		key = words_load(page + at);
		if (i && !words_less(previous, key))
			return err_set(-EUCLEAN, "tree node: slot %u: keys are out of order", i);
		previous = key;
		if (node_level(page) > 0)
			rc = check_ptr(page, i);
	}
	return rc;
}

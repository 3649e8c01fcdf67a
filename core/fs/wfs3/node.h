/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One tree node as it stands on the device: a slotted page of 16 KiB (FORMAT.md, "Tree nodes"). The layout is known
 * here and in node.c only. A page is always compact: the heap has no holes, the gap is zero, so equal histories give
 * equal bytes and a page may be hashed at any moment.
 *
 * Pages passed to these functions (except node_check()) are our own, or were accepted by node_check(). Nothing here
 * locks, allocates or blocks.
 */
#ifndef WFSD_CORE_FS_WFS3_NODE_H
#define WFSD_CORE_FS_WFS3_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/fs/wfs3/format.h"

#define NODE_MAGIC UINT32_C(0x4e534657) /* "WFSN" */
#define NODE_LEVEL_MAX 10u /* leaves are level 0 */
#define NODE_VALUE_BYTES_MAX 4000u

#define NODE_HEADER_BYTES 32u
#define NODE_SLOT_BYTES 2u
/* Header fields, by offset. */
#define NODE_OFF_MAGIC 0
#define NODE_OFF_VERSION 4
#define NODE_OFF_LEVEL 5
#define NODE_OFF_FLAGS 6
#define NODE_OFF_COUNT 8
#define NODE_OFF_HEAP 10
#define NODE_OFF_ZERO 12
#define NODE_OFF_DATASET 16
#define NODE_OFF_BIRTH 24

#define NODE_CAPACITY (WFS3_NODE_BYTES - NODE_HEADER_BYTES)
/* What an item takes from the capacity: slot, key, value length, value. */
#define NODE_ITEM_BYTES(value_len) (NODE_SLOT_BYTES + WFS3_KEY_BYTES + 2u + (unsigned)(value_len))
#define NODE_CHILDREN_MAX (NODE_CAPACITY / NODE_ITEM_BYTES(WFS3_PTR_BYTES))

/* An empty page. */
void node_init(uint8_t *page, unsigned level, uint64_t dataset_id, uint64_t birth);
void node_set_birth(uint8_t *page, uint64_t birth);

static inline unsigned node_level(const uint8_t *page)
{
	return page[NODE_OFF_LEVEL];
}

static inline unsigned node_count(const uint8_t *page)
{
	return get_le16(page + NODE_OFF_COUNT);
}

static inline uint64_t node_dataset(const uint8_t *page)
{
	return get_le64(page + NODE_OFF_DATASET);
}

static inline uint64_t node_birth(const uint8_t *page)
{
	return get_le64(page + NODE_OFF_BIRTH);
}

/* Of NODE_CAPACITY. */
static inline unsigned node_free_bytes(const uint8_t *page)
{
	return get_le16(page + NODE_OFF_HEAP) - NODE_HEADER_BYTES - NODE_SLOT_BYTES * node_count(page);
}

static inline unsigned node_used_bytes(const uint8_t *page)
{
	return NODE_CAPACITY - node_free_bytes(page);
}

/* The first slot whose key is >= @key (node_count() when there is none), and whether it is equal. */
bool node_search(const uint8_t *page, const struct wfs3_key *key, unsigned *ret_slot);
/* Internal page: the slot of the child whose range holds @key: the last with a key <= @key, or 0. */
unsigned node_search_child(const uint8_t *page, const struct wfs3_key *key);

struct wfs3_key node_key(const uint8_t *page, unsigned slot);
/* Valid until the page changes. */
const uint8_t *node_value(const uint8_t *page, unsigned slot, size_t *ret_len);
struct wfs3_ptr node_ptr(const uint8_t *page, unsigned slot);

/* The caller has checked that the item fits and that it stands in order. */
void node_insert(uint8_t *page, unsigned slot, const struct wfs3_key *key, const void *value, size_t len);
void node_replace(uint8_t *page, unsigned slot, const void *value, size_t len);
void node_remove(uint8_t *page, unsigned slot);
/* Another key for an item, in the same place of the order. */
void node_set_key(uint8_t *page, unsigned slot, const struct wfs3_key *key);
/* Internal page: the pointer of a child. */
void node_set_ptr(uint8_t *page, unsigned slot, const struct wfs3_ptr *ptr);

/* Append the items [first, first + count) of @src, all greater than those of @page. */
void node_append(uint8_t *page, const uint8_t *src, unsigned first, unsigned count);
/* Move the items from slot @at on to the empty page @right. @scratch: WFS3_NODE_BYTES. */
void node_split(uint8_t *left, uint8_t *right, unsigned at, uint8_t *scratch);
/* Put the items of @left before those of @page. @scratch: WFS3_NODE_BYTES. */
void node_prepend(uint8_t *page, const uint8_t *left, uint8_t *scratch);

/*
 * Does this page, WFS3_NODE_BYTES from anywhere, obey every rule of the format? 0, or -EUCLEAN with context. Who it
 * claims to be (dataset, birth, level, keys) is for the caller to compare.
 */
int node_check(const uint8_t *page);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WFS v3 on the device: constants and the in-memory form of small structures shared by several parts. FORMAT.md is
 * the law; the encoders and decoders stand with their owners (label.c, root.c, space_disk.c, node.c, cell.c, items.c).
 * All integers on the device are little-endian, except tree keys, which are big-endian so that they sort as bytes.
 */
#ifndef WFSD_CORE_FS_WFS3_FORMAT_H
#define WFSD_CORE_FS_WFS3_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/checksum.h"

#define WFS3_BLOCK_BYTES 4096u
#define WFS3_NODE_BYTES 16384u
#define WFS3_NODE_BLOCKS (WFS3_NODE_BYTES / WFS3_BLOCK_BYTES)
#define WFS3_LABEL_BYTES (1u << 20)
#define WFS3_CELL_BLOCKS 16u
#define INLINE_BYTES_MAX 2048u /* of a file's contents beside its inode */
#define WFS3_CELL_BYTES (WFS3_CELL_BLOCKS * WFS3_BLOCK_BYTES)

#define WFS3_VERSION 1u
/* Feature bits known to this code; an unknown incompatible bit refuses the pool, an unknown read-only one opens it
 * read-only. */
#define WFS3_FEATURE_TREES UINT64_C(1) /* incompatible: there is, or was, a file tree */
#define WFS3_FEATURE_QUOTAS UINT64_C(2) /* incompatible: there are, or were, quotas or projects */
#define WFS3_FEATURE_TRANSACTIONS UINT64_C(4) /* incompatible: there are, or were, transactions on file trees */
#define WFS3_FEATURE_INLINE UINT64_C(8) /* incompatible: small files may have their contents beside the inode */
#define WFS3_FEATURE_ANSWERS UINT64_C(16) /* incompatible: there are, or were, answers behind results of requests */
#define WFS3_FEATURE_COLLAPSE UINT64_C(32) /* incompatible: ranges are, or were, taken out of files */
#define WFS3_FEATURES_INCOMPAT                                                                                         \
	(WFS3_FEATURE_TREES | WFS3_FEATURE_QUOTAS | WFS3_FEATURE_TRANSACTIONS | WFS3_FEATURE_INLINE |                  \
	 WFS3_FEATURE_ANSWERS | WFS3_FEATURE_COLLAPSE)
#define WFS3_FEATURES_RO_COMPAT UINT64_C(0)
#define WFS3_FEATURES_COMPAT UINT64_C(0)

#define WFS3_DEVICES_MAX 64u
#define WFS3_POOL_BYTES_MIN (UINT64_C(64) << 20)

/* Virtual block address: 48 bits, region number above, block in the region below. 0 is never a valid pointer. */
#define WFS3_VBA_BITS 48
#define WFS3_VBA_MAX ((UINT64_C(1) << WFS3_VBA_BITS) - 1)

/* Birth transaction groups are kept in 48 bits, too. */
#define WFS3_TXG_MAX ((UINT64_C(1) << 48) - 1)

/* A pool whose groups have come this far is not written any more, so that their numbers never run out while it is in
 * use. */
#define WFS3_TXG_WRITABLE_MAX (WFS3_TXG_MAX - (UINT64_C(1) << 40))
#define WFS3_DATASET_ID_MAX ((UINT64_C(1) << 48) - 1)

/* A parent's pointer to a node. addr 0: no node (an empty tree). */
struct wfs3_ptr {
	uint64_t addr; /* virtual block address of its 4 blocks */
	uint64_t birth; /* txg that wrote it */
	struct hash128 hash; /* XXH3-128 of its 16384 bytes */
};
#define WFS3_PTR_BYTES 32u

/* Tree key; on the device: object (be64), kind (u8), offset (be64): 17 bytes, compared as bytes. */
struct wfs3_key {
	uint64_t object;
	uint8_t kind;
	uint64_t offset;
};
#define WFS3_KEY_BYTES 17u

/* Item kinds, in the order in which they stand beside each other in a tree. */
enum wfs3_kind {
	WFS3_KIND_INODE = 1, /* (object, INODE, 0) */
	WFS3_KIND_XATTR = 2,
	WFS3_KIND_INLINE = 3,
	WFS3_KIND_DIRENT = 4,
	WFS3_KIND_CELL = 5, /* (object, CELL, byte offset / 65536) */
	WFS3_KIND_ORPHAN = 6, /* (0, ORPHAN, object): something of it is being given back */
	WFS3_KIND_RESULT = 7, /* (a client, RESULT, place): what came of a request, see items.h */
	WFS3_KIND_OUTCOME = 8, /* (0, OUTCOME, transaction): it was committed */
	/* pool tree only */
	WFS3_KIND_DATASET = 16, /* (dataset id, DATASET, 0) */
	WFS3_KIND_SCRUB = 17, /* (0, SCRUB, 0) */
	WFS3_KIND_QUOTA = 18, /* (dataset id, QUOTA, class << 32 | number of the owner) */
};

/* A change of one item, as trees and the log take it. */
enum item_op {
	ITEM_PUT = 0,
	ITEM_DELETE = 1, /* nothing happens when there is none */
	ITEM_TRUNCATE = 2, /* log only: all blocks of the object from key.offset on become holes */
};
struct item_change {
	enum item_op op;
	struct wfs3_key key;
	const void *value;
	size_t len;
};

static inline int wfs3_key_cmp(const struct wfs3_key *a, const struct wfs3_key *b)
{
	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

#endif

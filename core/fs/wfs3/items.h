/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of inode, result, outcome, dataset and scrub items: their one encoder and decoder. FORMAT.md, "Inodes" and
 * "Datasets".
 */
#ifndef WFSD_CORE_FS_WFS3_ITEMS_H
#define WFSD_CORE_FS_WFS3_ITEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/format.h"

#define WFS3_DATASET_NAME_MAX 255u
/* A volume's only object. */
#define WFS3_VOLUME_OBJECT UINT64_C(1)
/* The top directory of a file tree. */
#define WFS3_ROOT_OBJECT UINT64_C(1)
#define WFS3_OBJECT_MAX (UINT64_C(1) << 62)

struct inode {
	uint32_t mode; /* S_IFMT and permission bits as in POSIX */
	uint32_t uid, gid;
	uint32_t link_count;
	uint32_t project; /* 0: none */
	uint64_t flags; /* VFS_FLAG_*, 32 bits; 0 for a volume */
	uint64_t size_bytes;
	uint64_t change; /* increases with every change */
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns; /* since 1970 */
	uint64_t rdev; /* of device nodes: major << 32 | minor */
	uint64_t parent; /* of a directory: the one that holds it; its own number for the top one; otherwise 0 */
	bool has_inline; /* of a file in a tree: its first block is beside the inode */
	uint64_t blocks; /* data blocks that its cells map, and that one; 0 for a volume, whose dataset counts them */
};
#define INODE_BYTES 96u

/* What came of a client's request, kept with what the request changed. */
struct result_item {
	uint8_t client[16]; /* the key has the beginning of it */
	uint32_t sequence, kind;
	uint64_t number;
	uint64_t expires_s; /* since 1970: then it may go */
	/* Of a transaction, the answer to its request: the first part is here, the others are in the next places. */
	const uint8_t *part;
	size_t part_len; /* ANSWER_PART_BYTES, or, of the last one, what is left of @number bytes */
};
#define RESULT_BYTES 40u /* without a part of an answer */
#define ANSWER_PART_BYTES 3960u
/* Numbers of objects are below: results stand behind all of them, those of a client beside each other. */
#define RESULT_OBJECT_MIN (UINT64_C(1) << 63)

enum dataset_type {
	DATASET_TYPE_VOLUME = 1,
	DATASET_TYPE_TREE = 2, /* of files */
};

enum dataset_state {
	DATASET_STATE_LIVE = 1,
	DATASET_STATE_DELETING = 2, /* nameless; its blocks are being given back */
};

struct dataset_item {
	uint64_t id; /* from the key */
	enum dataset_type type;
	enum dataset_state state;
	struct wfs3_ptr root;
	uint64_t used_blocks; /* data blocks mapped by its tree */
	uint64_t next_object;
	uint64_t created_ns;
	/* Trees only: */
	uint8_t hash_key[16]; /* of names */
	uint64_t object_count; /* inodes */
	char name[WFS3_DATASET_NAME_MAX + 1]; /* "" when deleting */
};
#define DATASET_ITEM_BYTES_MAX (96u + WFS3_DATASET_NAME_MAX)

enum scrub_state {
	SCRUB_STATE_RUNNING = 1,
	SCRUB_STATE_PAUSED = 2,
	SCRUB_STATE_FINISHED = 3,
	SCRUB_STATE_STOPPED = 4,
};

/* How far the scrubbing of the pool is. */
struct scrub_item {
	enum scrub_state state;
	uint64_t started_ns; /* since 1970 */
	uint64_t ended_ns; /* 0 while it runs or is paused */
	uint64_t dataset, object, cell; /* where it goes on: a dataset's id, an object, the offset in a cell's key */
	uint64_t done_blocks; /* data blocks that were verified */
	uint64_t damage_count, repaired_count;
};
#define SCRUB_ITEM_BYTES 64u

enum quota_class {
	QUOTA_DATASET = 0,
	QUOTA_USER = 1,
	QUOTA_GROUP = 2,
	QUOTA_PROJECT = 3,
};

/* What an owner may have in a dataset, and what it has. */
struct quota_item {
	enum quota_class class; /* from the key, like the number */
	uint32_t id; /* of the user, group or project; 0 for the dataset */
	uint64_t limit_bytes, limit_objects; /* 0: no limit */
	uint64_t used_blocks, used_objects; /* 0 for the dataset: its record has them */
};
#define QUOTA_ITEM_BYTES 32u

/*
 * The value of an orphan item of a file out of which a range is being taken: cells [first, first + count) go, and those
 * behind them move down by @count. Cells below @next have been moved; while it is @first, the range is not empty yet.
 */
struct collapse {
	uint64_t first, count, next;
};
#define COLLAPSE_BYTES 24u
#define WFS3_CELLS_MAX (UINT64_C(1) << 44) /* of a file of 2^60 bytes */
void collapse_encode(const struct collapse *c, void *buf); /* COLLAPSE_BYTES */
int collapse_decode(const void *value, size_t len, struct collapse *ret); /* 0 or -EUCLEAN with context */
/* The first cell that is still to be moved, or looked for. */
static inline uint64_t collapse_source(const struct collapse *c)
{
	return c->next == c->first ? c->first + c->count : c->next;
}

/* What remains of a transaction of a file tree that was committed. */
#define OUTCOME_ITEM_BYTES 16u
void outcome_item_encode(uint64_t time_ns, void *buf); /* OUTCOME_ITEM_BYTES */
int outcome_item_decode(const void *value, size_t len, uint64_t *ret_time_ns);

size_t inode_encode(const struct inode *i, void *buf); /* INODE_BYTES */
int inode_decode(const void *value, size_t len, struct inode *ret); /* 0 or -EUCLEAN with context */
struct wfs3_key result_key(const uint8_t client[16], uint64_t place);
void result_encode(const struct result_item *r, void *buf); /* RESULT_BYTES + part_len */
struct vfs_tag;
/* Without a part; RESULT_BYTES. */
void result_encode_tag(const struct vfs_tag *tag, uint64_t now_s, uint64_t number, void *buf);
/* The part stays where it is, in @value. -EUCLEAN: also when it stands where another client's are. */
int result_decode(const struct wfs3_key *key, const void *value, size_t len, struct result_item *ret);
size_t dataset_item_encode(const struct dataset_item *d, void *buf);
int dataset_item_decode(uint64_t id, const void *value, size_t len, struct dataset_item *ret);
void scrub_item_encode(const struct scrub_item *s, void *buf); /* SCRUB_ITEM_BYTES */
int scrub_item_decode(const void *value, size_t len, struct scrub_item *ret);
static inline struct wfs3_key quota_key(uint64_t dataset, enum quota_class class, uint32_t id)
{
	return (struct wfs3_key){ .object = dataset, .kind = WFS3_KIND_QUOTA, .offset = (uint64_t) class << 32 | id };
}
void quota_item_encode(const struct quota_item *q, void *buf); /* QUOTA_ITEM_BYTES */
int quota_item_decode(const struct wfs3_key *key, const void *value, size_t len, struct quota_item *ret);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of a check share. They run in this order, each in a file of its own:
 *
 *   check_labels.c   which devices there are          check_tree.c      the nodes of one tree
 *   check_roots.c    root slots, choosing a root      check_datasets.c  the pool tree, datasets, their items
 *   check_space.c    slots, ring, region table        check_data.c      contents of data blocks
 *   check_usage.c    every block against the allocation state
 *   check_log.c      the log behind the root          check_cells.c     maps of data
 *                                                     check_files.c     file trees
 *
 * A part that finds what it needs damaged sets report->partial, and what cannot be known for that reason is not
 * reported: one damaged node does not become a thousand leaks.
 */
#ifndef WFSD_CORE_FS_WFS3_CHECK_PRIV_H
#define WFSD_CORE_FS_WFS3_CHECK_PRIV_H

#include "core/base/checksum.h"
#include "core/blk/blk.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/check_live.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/label.h"
#include "core/fs/wfs3/space_priv.h"
#include "core/fs/wfs3/tree_priv.h"

/* Dataset id of the pool tree's own nodes. */
#define POOL_TREE_ID UINT64_C(0)
/* Nodes of one parent that are read together; each level of a tree has a buffer for so many. */
#define CHECK_READS_MAX 32u
#define CHECK_NODES CHECK_READS_MAX

/* A device of the pool: by its index in the labels, of a pool in use in the order of groups. */
struct check_member {
	struct blk_dev *dev; /* NULL: missing, or nothing is taken from it. Of a pool in use: the mirror of its group */
	unsigned slot; /* which copy of the mirror it is */
	struct label label;
};

/* Devices that hold the same: FORMAT.md, "Groups". */
struct check_group {
	struct space_layout layout;
	unsigned copy_count; /* of those that are whole */
	unsigned copies[LABEL_GROUP_DEVICES_MAX]; /* members */
};

struct check_data; /* check_data.c */
struct check_quota; /* check_quota.c */

/* A read of one copy of one run. */
struct check_read {
	uint64_t addr;
	uint32_t block_count;
	uint8_t *buf;
	int result; /* -ENOENT: there is no such copy */
};

struct check {
	const struct check_config *config;
	struct pool_check_report *report;
	struct pool_finding spare; /* what is not kept is written here */
	unsigned findings_max;

	struct label label; /* what all labels have in common */
	unsigned member_count, group_count;
	struct check_member members[WFS3_DEVICES_MAX];
	struct check_group groups[WFS3_DEVICES_MAX];
	unsigned copies_max; /* of any group */
	/* The devices are being written to: what looks torn is read again. The root is given, and what is allocated in
	 * it. */
	bool live;
	bool has_root;
	struct root root;
	struct pool *pool; /* when @live */
	/* The ring of allocation changes as it was when the last of these groups was committed. */
	struct space_root ring;
	uint64_t ring_txg;

	/* Where virtual regions are. */
	struct space *locator;
	const bool *placed; /* by region; NULL: all are */
	uint64_t *seen; /* a bit for each block: found in a tree */
	const uint64_t *disk; /* a bit for each block: allocated in @root; NULL: not known */
	struct space *owned_locator, *owned_disk; /* to be freed */
	bool *owned_placed;
	uint64_t *live_ids; /* of datasets that are not being deleted, ascending */
	size_t live_count;

	/* CHECK_NODES pages for each level of the pool tree and of the dataset's tree that is walked meanwhile; made
	 * when needed */
	uint8_t *level_pages[2 * (NODE_LEVEL_MAX + 1)];
	uint8_t *copy_pages; /* likewise, for the other copies */
	struct check_data *data; /* NULL: contents are not read */

	/* A part of a scrub: blocks are not accounted for, and bad copies are repaired. It begins at @at and ends, with
	 * CHECK_ENOUGH, when so many blocks were found; @at is then where to go on. */
	bool scrub;
	struct check_cursor at;
	uint64_t blocks_left;
};

#define CHECK_ENOUGH 1

/* Where a finding was made. */
struct check_dataset {
	uint64_t id;
	const char *name; /* "" for one without */
	enum dataset_state state;
	bool broken; /* parts of its tree cannot be read */
	/* Of the object whose items are looked at: */
	bool has_inode;
	uint64_t size_bytes; /* UINT64_MAX: there may be more behind the end */
	uint64_t mapped_blocks;
};

/* check.c. A check's life: new, run with the groups known, ended (the report is complete then), freed. */
int check_new(const struct check_config *config, struct pool_check_report *report, struct check **ret);
int check_all(struct check *c);
void check_count_copies(struct check *c); /* fills copies_max */
int check_finish(struct pool_check_report *r, int rc); /* returns @rc */
void check_free(struct check *c);

/* A new finding, whose text is given; the caller adds where it is. Never NULL. */
struct pool_finding *check_damage(struct check *c, enum pool_finding_kind kind, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
struct pool_finding *check_note(struct check *c, enum pool_finding_kind kind, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* The text of the err chain for @code, for a finding. */
#define CHECK_WHY_BYTES 160
const char *check_why(int code, char buf[CHECK_WHY_BYTES]);
void check_at_device(struct pool_finding *f, unsigned device, uint64_t offset);
/* The block's place, too, when it has one. */
void check_at_address(struct check *c, struct pool_finding *f, uint64_t addr, uint64_t block_count);
/* The same when it is about one copy of them. */
void check_at_copy(struct check *c, struct pool_finding *f, uint64_t addr, uint64_t block_count, unsigned copy);
void check_in_dataset(struct pool_finding *f, const struct check_dataset *ds);
void check_in_object(struct pool_finding *f, const struct check_dataset *ds, uint64_t object, uint64_t offset);
/* Tell the caller, who may stop it. */
int check_step(struct check *c, uint64_t read_bytes);
/* Something does not look right. On devices that are in use it may have been seen half written: true to look again,
 * after a while; false after @*tries such looks, or when nobody writes. */
bool check_again(const struct check *c, unsigned *tries);
/* Where a copy of a run is. -EUCLEAN: nowhere; -ENOENT: there are not so many copies. */
int check_locate(struct check *c, uint64_t addr, uint32_t block_count, unsigned copy, struct blk_dev **ret_dev,
                 uint64_t *ret_offset);
/* Read this copy of each; -ENOENT stands where nothing is to be read already. */
void check_read(struct check *c, unsigned copy, struct check_read reads[], unsigned count);
/* Of a scrub: see that all copies are what @good accepts. False: they are not, and cannot be made so. */
bool check_repair(struct check *c, uint64_t addr, uint32_t block_count, mirror_good_fn *good, void *ctx);
static inline struct blk_dev *check_copy(const struct check *c, unsigned group, unsigned copy)
{
	const struct check_group *g = &c->groups[group];

	return c->members[g->copies[copy < g->copy_count ? copy : 0]].dev;
}

/* Where in the bitmaps a block is, whose address is good. */
static inline uint64_t check_index(const struct check *c, uint64_t addr)
{
	return addr - (UINT64_C(1) << c->locator->region_shift);
}

static inline bool check_bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

/* The parts. 0, also with findings; negative: the check cannot go on. */
/* Fills label, members and groups; without groups the check cannot go on. */
int check_labels(struct check *c, struct blk_dev *const devs[], unsigned count);
int check_label_copies(struct check *c);
int check_roots(struct check *c); /* fills @root; without any valid one @has_root stays false */
int check_space(struct check *c); /* fills locator, placed and disk */
int check_datasets(struct check *c);
int check_usage(struct check *c);
int check_log(struct check *c);

/* check_tree.c: all nodes of a tree, top-down, but for those before @from (NULL: all). The leaves' items go to @item;
 * what is not 0 ends the walk. */
typedef int check_item_fn(void *ctx, const struct wfs3_key *key, const void *value, size_t len, uint64_t node_birth);
int check_tree(struct check *c, struct check_dataset *ds, const struct wfs3_ptr *root, const struct wfs3_key *from,
               check_item_fn *item, void *ctx);

/* check_cells.c */
/* An item that cannot be understood; what it maps is unknown. */
struct pool_finding *check_bad_item(struct check *c, struct check_dataset *ds, const struct wfs3_key *key,
                                    enum pool_finding_kind kind, const char *why);
int check_cell(struct check *c, struct check_dataset *ds, const struct wfs3_key *key, const void *value, size_t len,
               uint64_t node_birth, unsigned *ret_mapped);
/* Does the part of a scrub end before this cell? */
bool check_is_enough(struct check *c, const struct check_dataset *ds, const struct wfs3_key *key);
/* Where it begins in this dataset; false: at the beginning. */
bool check_resume_key(const struct check *c, const struct check_dataset *ds, struct wfs3_key *ret);

/* check_files.c: the tree of a file tree; then, not of a scrub, what its items say of each other. */
int check_files(struct check *c, struct check_dataset *ds, const struct dataset_item *item, struct check_quota *quota);

/* check_usage.c: these blocks are in use by @ds. The address is good. */
void check_use(struct check *c, const struct check_dataset *ds, uint64_t addr, uint32_t block_count, const char *what,
               uint64_t object, uint64_t offset);

/* check_live.c: the pool has committed, and may have overwritten what was being read: take the ring as it is now.
 * False: it does not commit. */
bool check_retake_ring(struct check *c);

/* check_data.c */
int check_data_new(struct check *c);
void check_data_free(struct check *c);
/* A block of @ds to be read, before check_data_finish() returns. */
int check_data_add(struct check *c, const struct check_dataset *ds, uint64_t object, uint64_t offset, uint64_t addr,
                   uint32_t crc);
/* Read what is waiting. Before another dataset's blocks are added. */
int check_data_finish(struct check *c, const struct check_dataset *ds);

#endif

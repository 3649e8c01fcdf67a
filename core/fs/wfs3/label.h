/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Labels and roots: who a device is, and the ring of root slots. FORMAT.md, "Labels" and "Roots". Codecs and their I/O.
 *
 * Each device has two labels of 1 MiB, at its start and in the last whole MiB of it. A label holds a header block
 * (identity, geometry, all devices of the pool) and a ring of 64 root slots of 4 KiB; slot = txg % 64.
 */
#ifndef WFSD_CORE_FS_WFS3_LABEL_H
#define WFSD_CORE_FS_WFS3_LABEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/fs/wfs3/format.h"
#include "core/fs/wfs3/space.h"

struct blk_dev;

#define LABEL_POOL_NAME_MAX 63
#define LABEL_ROOT_SLOTS 64u

/* What a device holds. */
enum label_state {
	LABEL_ONLINE, /* everything */
	LABEL_FILLING, /* everything up to since_txg; the rest is being copied to it */
	LABEL_AWAY, /* everything up to since_txg: it was not there, or it failed */
};

struct label_device {
	uint8_t uuid[16];
	uint64_t device_bytes;
	uint32_t group; /* devices of one group are mirrors of each other; groups are numbered from 0 without gaps */
	enum label_state state;
	uint64_t since_txg; /* 0 when it is online */
	/* Of labels: online: the first one that said so (0: all did); else: the newest one that may be on the device
	 * from the time before it went away. */
	uint64_t generation;
};

struct label {
	uint32_t version;
	uint64_t features_incompat, features_ro_compat, features_compat;
	uint64_t generation; /* of the label; the higher one of two differing copies wins */
	uint8_t pool_uuid[16];
	char pool_name[LABEL_POOL_NAME_MAX + 1];
	uint64_t created_ns; /* since 1970 */
	uint64_t region_bytes;
	uint32_t device_index;
	uint32_t device_count;
	struct space_layout layout; /* of this device */
	/* A device that is to be detached once the other one of its group is whole; all zeros: none. */
	uint8_t replaced_uuid[16], replacement_uuid[16];
	struct label_device devices[WFS3_DEVICES_MAX]; /* [0, device_count) */
};

#define LABEL_GROUP_DEVICES_MAX 4u
unsigned label_group_count(const struct label *l);
/* Index of the device with this uuid; -1: the pool has no such device. */
int label_find_device(const struct label *l, const uint8_t uuid[16]);

/* label_history.c */
enum label_relation {
	LABEL_FITS, /* it is as old, or older, or its device was left behind: the other one tells how the pool is */
	LABEL_NEWER, /* the other one is what is old */
	LABEL_APART, /* their devices were used without each other */
	LABEL_CONTRADICTS, /* they cannot both be right */
};
/* Two labels of one pool: what does @other mean when @l is taken for how the pool is? FORMAT.md, "Groups", G3. */
enum label_relation label_compare(const struct label *l, const struct label *other);
/*
 * Of labels of one pool (@count of at least 1), the one that tells how the pool is: all others fit. *ret_index: it; or,
 * when none is like that, the one with the highest generation, and *ret_other one that does not fit.
 */
enum label_relation label_choose(const struct label *const labels[], unsigned count, unsigned *ret_index,
                                 unsigned *ret_other);

struct root {
	uint64_t txg;
	uint64_t time_ns; /* since 1970 */
	uint8_t pool_uuid[16];
	struct wfs3_ptr pool_tree;
	struct space_root space;
	uint64_t next_dataset_id;
	uint64_t log_position; /* where recovery starts to read the log: 0 until the log is used */
	uint64_t log_epoch;
	bool clean; /* nothing happened after it: the pool was closed in an orderly way */
};

/* Encode into, decode from one 4 KiB block, checksum included. Decoders check every field: -EUCLEAN with context;
 * -EMEDIUMTYPE: no magic; -ENOTSUP: newer version or unknown incompatible feature. */
void label_encode(const struct label *l, void *block);
int label_decode(const void *block, struct label *ret);
/* A block with a wrong checksum: can a crash have left it, in the middle of writing @l over an older label of the same
 * device, or a newer one over @l? */
bool label_is_torn(const void *block, const struct label *l);
void root_encode(const struct root *r, void *block);
int root_decode(const void *block, const uint8_t pool_uuid[16], struct root *ret);

/*
 * Read a device's label: the better of the two copies. @ret_note (LABEL_NOTE_BYTES) tells in words when one copy was
 * damaged or stale, "" otherwise. A device smaller than the label says: -EUCLEAN naming both sizes (the front label is
 * enough to know). Blocks.
 */
#define LABEL_NOTE_BYTES 256
int label_read(struct blk_dev *dev, struct label *ret, char *ret_note);
/* Make a device ready for a new pool: zeros to both labels, root rings included (old signatures and roots vanish). Then
 * label_write(). Durable. Blocks. */
int label_format(struct blk_dev *dev, const struct label *l);
/* Write both copies: back, flush, front, flush. Durable. Blocks. */
int label_write(struct blk_dev *dev, const struct label *l);
/* Clear both labels' headers (destroy). Durable. */
int label_erase(struct blk_dev *dev, const struct label *l);
/* Does the device hold something (a WFS label, or a signature of a common file system or partition table)? 0 no; 1 yes,
 * and @what (64 bytes) names it; negative errno. */
int label_probe_other(struct blk_dev *dev, char *what);

/* All valid roots of one device's two rings, newest first, duplicates (same txg, same content) once. *ret_bad counts
 * slots that hold a damaged root. Blocks. */
struct root_list {
	unsigned count;
	unsigned bad_count;
	uint64_t bad_slots; /* a bit for each slot that is damaged in one of the rings */
	uint64_t bad_txg_max; /* highest txg that a damaged slot seems to have held, 0 unknown */
	struct root roots[2 * LABEL_ROOT_SLOTS];
};
int root_read_all(struct blk_dev *dev, const struct label *l, struct root_list *ret);
/*
 * Write a root to both rings of every device and make it durable. Everything that it reaches is durable already. The
 * newest root is whole on at least one device at every moment: front rings first, flush, back rings, flush... Returns 0
 * when at least one device holds it durably on both rings and no device failed, else the error. Blocks.
 */
int root_write(struct blk_dev *const devs[], const struct label *const labels[], unsigned device_count,
               const struct root *r);
/* Write a root that other slots hold to both rings of one device. Not durable yet. Blocks. */
int root_rewrite(struct blk_dev *dev, const struct label *l, const struct root *r);

#endif

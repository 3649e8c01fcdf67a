/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mirror: one device that is kept on 1 to 4 others ("copies"), all with the same contents at the same offsets. A
 * write goes to all copies in parallel, a read to the one with the fewest reads in flight. A copy that fails a write or
 * a flush goes away; the others carry on and nobody above notices. The last copy never goes away: its errors are the
 * mirror's.
 *
 *                     mirror_put                    failed
 *      EMPTY ----------------------> ONLINE -----------------------> AWAY
 *        ^ \                           ^ mirror_set_online             |
 *        |  `-- mirror_put --> FILLING-'                               |
 *        '------------------------- mirror_take <---------------------'
 *
 * Who keeps the record of which copy is whole is told of every change (mirror_events), and before a flush succeeds
 * without a copy, the record must say so: else that copy could pass for a whole one after a restart.
 *
 * A mirror of one copy is a plain device that can get a second one while it is in use.
 */
#ifndef WFSD_CORE_BLK_MIRROR_H
#define WFSD_CORE_BLK_MIRROR_H

#include "core/blk/blk.h"

#define MIRROR_COPIES_MAX 4u

enum mirror_state {
	MIRROR_EMPTY,
	MIRROR_ONLINE,
	MIRROR_FILLING, /* gets all writes, but does not hold everything yet: not read */
	MIRROR_AWAY, /* not used any more; it holds what it held at @since */
};

struct mirror_events {
	/* A copy goes away: how far is what it holds? Kept as its @since. Any thread; must not block. */
	uint64_t (*mark)(void *ctx);
	/* A copy went away. Any thread; must not block. */
	void (*changed)(void *ctx);
	/*
	 * Record, durably and on the copies that are left of all mirrors, which ones are away. Called without locks, by
	 * a thread that waits for a flush or for a write with BLK_FUA. On an error the flush fails. May block.
	 */
	int (*record)(void *ctx);
	void *ctx;
};

/*
 * Without copies at first. @size_bytes: what all copies have at least. @discard: pass discards on to copies that take
 * them. @events is copied; NULL: nobody is told. Closed
 * by blk_close(), which leaves the copies open.
 */
int mirror_new(const char *name, uint64_t size_bytes, bool discard, const struct mirror_events *events,
               struct blk_dev **ret);
bool blk_is_mirror(const struct blk_dev *dev);

struct mirror_copy {
	struct blk_dev *dev; /* NULL: none is there */
	enum mirror_state state;
	uint64_t since; /* of AWAY and FILLING */
	uint64_t checksum_errors; /* found by mirror_read_verified() */
	uint64_t repairs; /* contents written anew after an error, or a wrong checksum */
};
/* @index below MIRROR_COPIES_MAX. Any thread. */
void mirror_get(const struct blk_dev *mirror, unsigned index, struct mirror_copy *ret);

/* The rest is for the owner, one call at a time. @index is EMPTY, or AWAY without a device. @state: ONLINE, FILLING or
 * (@dev may be NULL) AWAY. */
void mirror_put(struct blk_dev *mirror, unsigned index, struct blk_dev *dev, enum mirror_state state, uint64_t since);
/* The owner could not write to a copy (by its own device) with @error. False: it stays, being the last one. Unlike the
 * others: any thread, also in mirror_events.record. */
bool mirror_give_up(struct blk_dev *mirror, unsigned index, const char *doing, int error);
/* Write to a copy that is FILLING, and to it alone; a failure sends it away. -ECANCELED: it is not FILLING (any more).
 * Any thread. Blocks. */
int mirror_fill(struct blk_dev *mirror, unsigned index, uint64_t offset, const void *buf, size_t len);
/* Of AWAY: FILLING from now on; and: its since is this. */
void mirror_refill(struct blk_dev *mirror, unsigned index);
void mirror_set_since(struct blk_dev *mirror, unsigned index, uint64_t since);
/* Of FILLING: it holds everything now. False: it went away meanwhile. */
bool mirror_set_online(struct blk_dev *mirror, unsigned index);
/* Stop using a copy. -EBUSY: it is the last one that is ONLINE. Changes to AWAY like a failure. */
int mirror_set_away(struct blk_dev *mirror, unsigned index);
/* Of AWAY: EMPTY from now on, or with @keep_place AWAY without a device. No request uses the device that is returned
 * any more (NULL: there was none). Waits for all requests to the mirror, so under no lock that mirror_events.record
 * takes. */
struct blk_dev *mirror_take(struct blk_dev *mirror, unsigned index, bool keep_place);
/* How many changes to AWAY there were so far; and: all up to @change are recorded. */
uint64_t mirror_change(const struct blk_dev *mirror);
bool mirror_is_recorded(const struct blk_dev *mirror);
void mirror_set_recorded(struct blk_dev *mirror, uint64_t change);

/*
 * Read one copy after the other until @good accepts the contents, and write them to copies whose contents it did not
 * accept or that could not be read. The range is one that nobody writes to. 0; -EUCLEAN: all copies are bad; -EIO and
 * others: none could be read. Works on any device: one that is no mirror has one copy. Blocks.
 */
typedef bool mirror_good_fn(void *ctx, const void *buf);
int mirror_read_verified(struct blk_dev *dev, uint64_t offset, void *buf, size_t len, mirror_good_fn *good, void *ctx);
/* Read this copy and no other. 0; -ENOENT: it is not ONLINE; errors of blk_read(). Nothing is done about them. Works on
 * any device, as above. Blocks. */
int mirror_read_copy(struct blk_dev *dev, unsigned index, uint64_t offset, void *buf, size_t len);
/* Read all copies, and write what a good one holds to those that are not good: of a range that nobody writes to. @buf
 * is what is good. 0; -EUCLEAN: all copies that are there could be read, and are bad; -EIO and others: one that is not
 * gone could not be read, and no other one is good; -ENXIO: all are gone; -ENOMEM. */
int mirror_repair(struct blk_dev *dev, uint64_t offset, void *buf, size_t len, mirror_good_fn *good, void *ctx);
/* Write what is good to copies (a bit mask) that hold something else, of a range that nobody writes to. One that fails
 * goes away, but for the last one. Nothing happens when @dev is no mirror. Blocks. */
void mirror_rewrite(struct blk_dev *dev, unsigned copies, uint64_t offset, const void *buf, size_t len);

#endif

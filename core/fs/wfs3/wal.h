/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of a pool (a write-ahead log): one ring, one total order. A change goes into a tree in memory and, inside the
 * same stay in the commit gate, into the log's buffer; a flush writes the buffer as one batch and issues one barrier,
 * on behalf of everybody who waits (group commit, cf. Gray and Reuter, "Transaction Processing", section 9.4.7).
 * FORMAT.md, "Log".
 *
 * The log never makes a change wait for room: when the ring is full (the last commits did not keep up) or a batch could
 * not be written, the log *closes*: changes of the open group are then missing in it, a flush waits for the commit of
 * that group instead, and the log goes on with the next group, behind a record that says so (WAL_GAP).
 *
 *      wal_begin (may wait for the device) -> txg_enter -> change, wal_append -> txg_exit -> wal_end
 */
#ifndef WFSD_CORE_FS_WFS3_WAL_H
#define WFSD_CORE_FS_WFS3_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/metrics.h"
#include "core/fs/wfs3/format.h"
#include "core/fs/wfs3/wal_codec.h"

struct blk_dev;
struct budget;
struct wal;

#define WAL_COPIES_MAX 4u

struct wal_area {
	struct blk_dev *dev;
	uint64_t offset; /* bytes */
};

struct wal_config {
	uint8_t pool_uuid[16];
	unsigned copy_count; /* 1..WAL_COPIES_MAX: the same ring on several devices */
	struct wal_area copies[WAL_COPIES_MAX];
	uint64_t area_bytes; /* of each copy */
	struct budget *budget; /* the buffers are charged to its consumer "wal" */
	/* The barrier: everything that any device of the pool has completed becomes durable. 0 or a negative errno,
	 * after which the pool must not go on. Blocks. */
	int (*flush)(void *ctx);
	/* The open group. Any thread, never blocks. */
	uint64_t (*open_txg)(void *ctx);
	/* The ring fills: a commit should come soon. Any thread, never blocks. */
	void (*want_commit)(void *ctx);
	void *ctx;
};

struct wal_stats {
	struct counter batches, records, bytes; /* written */
	struct counter syncs; /* flushes asked for */
	struct counter barriers; /* of those the devices got */
	struct counter gaps; /* times that the log closed */
	struct histogram sync_time;
};

/* 0 or -ENOMEM. Appends are dropped until wal_start(). */
int wal_new(const struct wal_config *config, struct wal **ret);
void wal_free(struct wal *w); /* NULL is fine */
/*
 * Appends of groups after @closed_txg are taken from here on, at @position, in @epoch. The newest root's log begins at
 * @tail. Once.
 */
void wal_start(struct wal *w, uint64_t tail, uint64_t position, uint64_t epoch, uint64_t closed_txg);

/* Room for records, taken before the gate is entered. */
struct wal_ticket {
	size_t left_bytes;
	bool closed; /* there is no room: the changes will be missing in the log */
};
/* Room for @bytes (at most wal_ticket_max(), which is not below WAL_TICKET_BYTES_MAX). Blocks, also for a device; never
 * for a commit. */
#define WAL_TICKET_BYTES_MAX (320u << 10)
void wal_begin(struct wal *w, size_t bytes, struct wal_ticket *ret);
/* False: it would have to wait. */
bool wal_try_begin(struct wal *w, size_t bytes, struct wal_ticket *ret);
size_t wal_ticket_max(const struct wal *w);
/*
 * The same for what the log has to keep and gets once more, so that what stands before it can be given up: room for
 * that is left by all others. At most WAL_CARRY_PAGES_MAX pages, each in a record of its own at worst.
 */
#define WAL_CARRY_PAGES_MAX 32u
void wal_begin_carry(struct wal *w, size_t bytes, struct wal_ticket *ret);
/*
 * Inside the gate, with @r->txg the entered group. Never blocks. False: the log is closed for this group; whoever needs
 * the change to be durable needs the commit of its group, which wal_sync() tells.
 */
bool wal_append(struct wal *w, struct wal_ticket *t, const struct wal_record *r);
/* Give back what was not used. */
void wal_end(struct wal *w, struct wal_ticket *t);

/*
 * Everything that was appended before the call is durable when it returns 0, and so is the data that its records point
 * to (which was written, not necessarily durable, before they were appended), except for changes of groups up to
 * *@ret_closed_txg: those need that group's commit. That group may be one that is not open yet: when a batch could not
 * be written, pages that were to be in it are written back by the next commit that begins. Errors of the barrier.
 * Blocks.
 */
int wal_sync(struct wal *w, uint64_t *ret_closed_txg);

/* Everything that is appended from now on will stand at or behind this. */
uint64_t wal_position(struct wal *w);
/*
 * The same, at the beginning of a commit; *@ret_closed_txg as in wal_sync(). When it is the open group or a later one,
 * no more is taken before the next root, and all that was taken stands before the position: so the next root does not
 * bring back pages whose later changes are missing. Units that were taken before the call stand before the position, as
 * their parts do. Blocks.
 */
uint64_t wal_release(struct wal *w, uint64_t *ret_closed_txg);
uint64_t wal_closed_txg(struct wal *w);
uint64_t wal_epoch(const struct wal *w);
/* A root with this log_position is durable: what stands before the root before it may be overwritten. */
void wal_root_durable(struct wal *w, uint64_t log_position);
/* Bytes between the newest root's log_position and the end. */
uint64_t wal_used_bytes(struct wal *w);
struct wal_stats *wal_get_stats(struct wal *w);

#endif

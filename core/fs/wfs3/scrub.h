/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scrubbing: reading everything that the pool holds, in the background and slowly, and verifying all copies of it; bad
 * copies are written anew from good ones. It goes part by part (of at most 64 MiB of data, read in the order of
 * addresses), each on a root of its own, so that little freed space is held back. Where it is stands in the pool tree:
 * after a restart it goes on there.
 *
 *              start                 end reached
 *     idle ------------> running -------------------> finished
 *      ^      start       |   ^                          |
 *      |   .--------------'   | start                    | start
 *      |   |  pause --> paused'                          v
 *      '---+--------- stop ----> stopped             running
 *
 * Any thread, unless said otherwise.
 */
#ifndef WFSD_CORE_FS_WFS3_SCRUB_H
#define WFSD_CORE_FS_WFS3_SCRUB_H

#include "core/fs/wfs3/items.h"
#include "core/vfs/vfs_pool.h"

struct metrics;
struct pool;
struct scrub;

/* NULL: memory. */
struct scrub *scrub_new(struct pool *p);
void scrub_free(struct scrub *s); /* it was stopped; NULL is fine */
/* At import: what the pool tree says (or nothing: NULL). */
void scrub_load(struct scrub *s, const struct scrub_item *item);
/* The thread, of a writable pool that is live. Stop blocks. */
int scrub_start(struct scrub *s);
void scrub_stop(struct scrub *s);
/* Committing thread, before the pool tree is frozen: record where it is. As tree_put(). Blocks. */
int scrub_commit(struct scrub *s, uint64_t txg);

/* -EINVAL: it does not run (or is not paused); -EROFS, -EIO: the pool cannot be written to. Durable on return. Blocks.
 */
int scrub_change(struct scrub *s, enum pool_scrub_verb verb);
void scrub_get_info(struct scrub *s, struct pool_scrub_info *ret);
/* With the findings since it was started or the pool was imported. The caller frees it. */
int scrub_get_report(struct scrub *s, struct pool_check_report *ret);
int scrub_register_metrics(struct scrub *s, struct metrics *m);

#endif

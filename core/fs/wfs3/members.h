/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The devices that a pool stands on: which group each belongs to, what the labels say about them, and bringing back
 * those that were away. To everything else a group is one device (a mirror, core/blk/mirror.h): pool->devices[group].
 * FORMAT.md, "Groups".
 *
 *   members.c      the table and the labels     assemble.c   from labels to groups, at import
 *   member_verbs.c attach, detach, replace      resilver.c   filling a device
 */
#ifndef WFSD_CORE_FS_WFS3_MEMBERS_H
#define WFSD_CORE_FS_WFS3_MEMBERS_H

#include "core/base/sync.h"
#include "core/blk/mirror.h"
#include "core/fs/wfs3/label.h"

struct pool;
struct wfs3;
struct pool_device_info;

#define MEMBER_TEXT_BYTES 80
#define MEMBER_UUID_BYTES 37

struct members {
	struct pool *pool;
	struct sync_mutex lock; /* SYNC_RANK_DEVICES: labels are written under it */
	/* As on the devices; its device_index and layout are not used. States are those of the mirrors, when written.
	 */
	struct label label SYNC_GUARDED_BY(lock);
	uint8_t copy[WFS3_DEVICES_MAX] SYNC_GUARDED_BY(lock); /* by index: which copy of its group's mirror */
	bool labels_differ; /* at import: a label is damaged, or older than the others */
	bool labels_stay; /* read-only: nothing is recorded */
	struct blk_dev *useless[WFS3_DEVICES_MAX]; /* opened for the import, and not of the pool */
	unsigned useless_count;

	/* The thread that fills devices. It runs when there are mirrors. */
	struct sync_mutex wake_lock; /* SYNC_RANK_LEAF */
	struct sync_cond wake;
	bool work SYNC_GUARDED_BY(wake_lock);
	bool stop SYNC_GUARDED_BY(wake_lock);
	bool running; /* under @lock, or before anybody knows the pool */
	struct sync_thread thread;
	uint64_t filled_blocks, fill_blocks; /* atomics: progress of what is being filled, and about how much it is */
};

static inline bool member_is_used(const struct mirror_copy *c)
{
	return c->dev && (c->state == MIRROR_ONLINE || c->state == MIRROR_FILLING);
}

/* assemble.c */
/*
 * A pool from its devices' labels: p->devices and p->device_count are its groups. Devices that are missing or away are
 * passed over when their group has a whole one; @notes (POOL_REASON_MAX) tells what was noticed. On success the pool
 * owns all of @devs. -ENODEV: a group has no whole device; -EUCLEAN: the labels contradict
 * each other, or devices were used apart; -EINVAL: devices of several pools, or one given twice; errors of
 * label_read(), when no label can be read. Blocks. Nothing is written.
 */
int members_assemble(struct wfs3 *w, struct blk_dev *const devs[], unsigned count, bool read_only, struct pool **ret,
                     char *notes);
/* Give all devices back to the caller of members_assemble(): the import has failed. */
void members_disown(struct pool *p);
/* It has succeeded: close those of no use. */
void members_close_useless(struct pool *p);
/* A root was chosen: devices that are missing are away since before it, and those that are back get all writes. To be
 * recorded with the first flush. */
void members_passed_over(struct pool *p, uint64_t root_txg);

/* members.c */
/* Without devices. NULL: memory. */
struct members *members_new(struct pool *p);
void members_free(struct members *m); /* NULL is fine; the devices were closed */
/* mirror_events.record and .changed; ctx: the pool. */
int members_record(void *ctx);
void members_changed(void *ctx);
uint64_t members_mark(void *ctx);
/* Start and stop the thread. On a writable pool that takes changes. Start: 0 also when there is nothing to do yet. */
int members_start(struct pool *p);
void members_stop(struct pool *p);
void members_kick(struct members *m);
void members_close(struct pool *p); /* all devices */
/* Clear the labels of all devices. */
int members_erase(struct pool *p);
/* In words: what is missing. False: nothing is. */
bool members_degraded(struct pool *p, char *text, size_t len);
/* All devices by index; how many. */
unsigned members_info(struct pool *p, struct pool_device_info *ret, unsigned max);
uint64_t members_checksum_errors(struct pool *p);
int members_register_metrics(struct pool *p);
/* "device 1 (/dev/sda)" or with its uuid when it is not there. */
void members_name(const struct members *m, unsigned index, char ret[MEMBER_TEXT_BYTES]) SYNC_REQUIRES(m->lock);
struct mirror_copy members_copy(const struct members *m, unsigned index) SYNC_REQUIRES(m->lock);
void members_uuid_text(const uint8_t uuid[16], char ret[MEMBER_UUID_BYTES]);
/* The labels say, durably, that the pool needs this incompatible feature. */
int members_add_feature(struct pool *p, uint64_t feature);
/* Write the labels with the table as it is. All or, on an error, perhaps some. */
int members_write_labels(struct members *m) SYNC_REQUIRES(m->lock);
/* At import: write the labels if one is not as it should be. */
void members_repair_labels(struct pool *p);

/* resilver.c */
/* Fill one copy of a group. 0: it is whole and online; -ECANCELED: the thread stops, or the copy went away. */
int resilver(struct pool *p, unsigned group, unsigned copy);

/* member_verbs.c: see vfs_pool.h. The device is the pool's on success. */
int members_attach(struct pool *p, const char *device, struct blk_dev *dev, bool force, bool replace);
int members_detach(struct pool *p, const char *device);
int members_online(struct pool *p, struct blk_dev *dev);
/* Close a device that is away, if there is one of this name, so that it can be opened anew. */
void members_close_away(struct pool *p, const char *path);
int members_detach_replaced(struct pool *p);

#endif

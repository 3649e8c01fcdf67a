/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of the engine share.
 *
 * Locks, outermost first: a node's io_lock (contents: shared by readers and by writers within the size, alone for who
 * changes the size; flushes share it) · the change_lock (names, and writes of slots and bitmap: held while waiting for
 * the device) · the file system's lock (its memory: never held while waiting) · a node's map_lock (its entry).
 */
#ifndef WFSD_CORE_FS_WFS2_WFS2_PRIV_H
#define WFSD_CORE_FS_WFS2_WFS2_PRIV_H

#include <urcu/list.h>

#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"
#include "core/fs/wfs2/space.h"
#include "core/fs/wfs2/volume.h"
#include "core/fs/wfs2/wfs2.h"

struct wfs2_node {
	struct wfs2_fs *fs;
	uint32_t slot;
	struct cache_file *data;
	struct sync_rwlock io_lock;
	struct sync_mutex map_lock;
	struct wfs2_entry e; /* map_lock */
	bool entry_changed; /* map_lock: newer than the slot */
	/* Under the file system's lock. */
	unsigned refs;
	bool deleted;
	bool listed; /* on fs->changed, which has a reference */
	bool idle; /* on fs->idle */
	void *user; /* the user's, see wfs2_node_user() */
	struct wfs2_extent kept; /* for growing: busy in fs->space, but not in the bitmap of the device */
	struct cds_list_head changed_link, idle_link;
};

struct wfs2_fs {
	struct blk_dev *dev;
	struct cache *cache;
	struct budget_consumer *budget; /* or NULL */
	size_t charged_bytes;

	struct sync_mutex change_lock;
	uint8_t *bounce; /* change_lock: one block */

	struct sync_mutex lock; /* everything below */
	struct wfs2_volume
	        v; /* slots and bitmap are written under the change_lock, too; the table is what the device has */
	struct wfs2_space space;
	uint32_t *free_slots; /* a stack */
	uint32_t free_slot_count;
	struct wfs2_node **nodes; /* by slot */
	struct cds_list_head changed, idle;
	unsigned idle_count;
	bool read_only; /* atomic for reading */
	char reason[256];

	struct sync_cond syncer_cond;
	struct sync_thread syncer;
	unsigned sync_interval_ms;
	bool has_syncer, stopping;
};

/* fs.c */
/* 0 or -EROFS, with the reason. */
int wfs2_check_writable(struct wfs2_fs *fs);
/* The device and what is in memory may differ: read-only from now on, with the thread's error as the reason. Returns
 * @rc. */
int wfs2_fail(struct wfs2_fs *fs, int rc);
uint64_t wfs2_now(void);

/* meta.c: structures to the device. The change_lock is held. */
/* Durable; table and index follow. */
int wfs2_write_slot(struct wfs2_fs *fs, uint32_t slot, const struct wfs2_entry *e);
/* What has changed in the bitmap; not yet durable. */
int wfs2_write_bitmap(struct wfs2_fs *fs);

/* node.c */
/* Of a used slot; referenced. -ENOENT: the slot is not that of @generation any more. */
int wfs2_node_get(struct wfs2_fs *fs, uint32_t slot, uint32_t generation, struct wfs2_node **ret);
void wfs2_node_changed(struct wfs2_node *n);
/* Its slot is free. Takes a reference for the caller; the file system's lock is held. */
void wfs2_node_remove(struct wfs2_node *n);
/* Every node that nobody uses. */
void wfs2_node_drop_idle(struct wfs2_fs *fs);
void wfs2_entry_stat(const struct wfs2_entry *e, uint32_t slot, struct wfs2_stat *ret);

/* map.c: a file's blocks. */
/* The io_lock is held alone. -ENOSPC, -EFBIG: nothing changed. */
int wfs2_map_grow(struct wfs2_node *n, uint64_t blocks);
/* Take away what is behind @blocks; the extents are not yet free. Returns their number, at most WFS2_EXTENTS_MAX. */
unsigned wfs2_map_cut(struct wfs2_node *n, uint64_t blocks, struct wfs2_extent ret[WFS2_EXTENTS_MAX]);
/* Free extents, to which no slot on the device refers. */
void wfs2_map_free(struct wfs2_fs *fs, const struct wfs2_extent *extents, unsigned count);
/* Give up the blocks kept for growing. The file system's lock is held. */
void wfs2_map_release(struct wfs2_node *n);
/* Block @index of the file on the volume; *@ret_run: how many follow each other from there; 0: it has no such block.
 * The map_lock is held. */
uint32_t wfs2_map_find(const struct wfs2_entry *e, uint64_t index, uint32_t *ret_run);

/* data.c */
extern const struct cache_file_ops wfs2_data_ops;

/* file.c */
/* The io_lock is held, shared or alone. Contents, bitmap, slot. */
int wfs2_commit(struct wfs2_node *n);

/* sync.c */
void wfs2_syncer_run(void *arg);

static inline uint64_t wfs2_size_of(struct wfs2_node *n)
{
	uint64_t size;

	sync_mutex_lock(&n->map_lock);
	size = n->e.size_bytes;
	sync_mutex_unlock(&n->map_lock);
	return size;
}

#endif

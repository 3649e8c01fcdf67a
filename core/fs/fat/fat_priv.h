/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the parts of the FAT engine share.
 *
 * Locks, outermost first: a node's io_lock (readers and writers of its contents) · the file system's lock (everything
 * else: directories, FAT, free clusters, the list of changes; held during metadata I/O) · a node's map_lock (where its
 * clusters are; for the cache's threads, which take nothing else). All functions here are called under the file
 * system's lock, unless they say otherwise.
 */
#ifndef WFSD_CORE_FS_FAT_FAT_PRIV_H
#define WFSD_CORE_FS_FAT_FAT_PRIV_H

#include <urcu/list.h>

#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/fs/fat/alloc.h"
#include "core/fs/fat/bpb.h"
#include "core/fs/fat/dirent.h"
#include "core/fs/fat/fat.h"
#include "core/fs/fat/medium.h"
#include "core/fs/fat/name.h"
#include "core/fs/fat/table.h"

/* Clusters of a file in runs, ascending without gaps. */
struct fat_extent {
	uint32_t index; /* in the file */
	uint32_t cluster;
	uint32_t count;
};
struct fat_map {
	struct fat_extent *extents;
	uint32_t extent_count, extent_max;
	uint32_t cluster_count;
};

struct fat_run {
	uint32_t first, count;
};
struct fat_runs {
	struct fat_run *runs;
	uint32_t count, max;
	uint32_t cluster_count;
};

/* A name in a loaded directory. */
struct fat_dir_entry {
	struct fat_dir_entry *name_next, *short_next; /* hash chains */
	uint32_t name_hash, short_hash;
	struct fat_dir_entry *object_next;
	struct fat_node *dir;
	uint32_t first_slot, slot; /* the parts of the long name begin at first_slot; slot is the short entry */
	uint64_t object;
	uint64_t born_sync; /* fs->sync_count when it was made */
	struct fat_node *node; /* in memory, or NULL */
	bool shared; /* something else leads to its first cluster, too */
	struct fat_name name; /* allocated only as long as it is: last member */
};

/* A loaded directory: its bytes and an index of them. */
struct fat_dir {
	uint8_t *raw;
	uint32_t slot_count; /* room */
	uint32_t end; /* slots from here on were never used */
	uint32_t deleted; /* free slots before the end */
	uint32_t first_deleted; /* none lies before */
	uint32_t run_missing[2]; /* no free run of this length lies before the end; [1]: within 512 bytes */
	uint32_t entry_count;
	uint32_t hidden_count; /* entries whose name cannot be said */
	uint32_t bucket_count;
	struct fat_dir_entry **by_name, **by_short; /* bucket_count */
	struct fat_dir_entry **at; /* slot_count */
	uint8_t *dirty; /* a flag for every sector */
	bool any_dirty;
	bool garbage; /* behind the end there was something else than zeros */
	size_t entry_bytes, charged_bytes;
};

struct fat_node {
	struct fat_fs *fs;
	struct sync_rwlock io_lock;
	struct sync_mutex map_lock;
	struct fat_map map; /* changed under fs->lock and map_lock */
	bool is_dir; /* since before anybody had the node */
	/* Under fs->lock. */
	unsigned refs;
	struct fat_node *parent; /* referenced; NULL: the root, or deleted */
	struct fat_dir_entry *entry; /* NULL likewise */
	uint64_t object, change;
	struct fat_dirent d;
	uint64_t size_bytes; /* atomic for reading: files only */
	struct fat_stat published; /* under map_lock: what fat_stat() tells without waiting */
	uint32_t synced_count; /* clusters whose links are on the device */
	bool cut; /* the chain on the device is to end after synced_count */
	/* Writers within the size do not wait for a sync that is going on: it finds out that they were there. */
	uint32_t writing; /* atomic: how many are at it */
	uint32_t write_seq; /* atomic: how many were */
	uint32_t flushed_seq; /* write_seq before the last flush of its contents */
	bool entry_changed; /* d is newer than the slot */
	bool listed; /* on fs->changed */
	bool idle; /* on fs->idle */
	bool deleted;
	struct fat_run reserved; /* for growing; used in the bitmap only */
	struct cache_file *data; /* files */
	struct fat_dir *dir; /* directories, when loaded */
	struct cds_list_head changed_link, idle_link, reserved_link;
	void *user; /* the user's, see fat_node_user() */
};

#define FAT_OBJECT_BUCKETS 4096u

struct fat_fs {
	struct fat_medium medium;
	struct fat_geometry g;
	struct cache *cache;
	struct budget_consumer *budget; /* or NULL */
	int utc_offset_s;
	bool was_dirty;

	struct sync_mutex lock; /* everything below */
	struct fat_table table;
	struct fat_alloc alloc;
	struct fat_runs freed; /* to become free with the next sync */
	uint32_t held_count; /* free clusters that lost chains lead to: used in the bitmap only */
	struct fat_node *root;
	struct cds_list_head changed; /* nodes, each referenced */
	struct cds_list_head idle; /* nodes without references, least recently used first */
	struct cds_list_head reserving; /* nodes with a reservation */
	unsigned changed_count, idle_count;
	struct fat_dir_entry *objects[FAT_OBJECT_BUCKETS]; /* by number: of all loaded directories */
	uint64_t next_object, sync_count;
	bool marked_dirty; /* on the device, by us */
	bool fsinfo_changed;
	bool read_only;
	bool failed; /* read-only because of a damage or an error */
	char reason[160];
	char label[SHORT_NAME_BYTES + 1];
	int pressure; /* atomic: memory is short */

	struct sync_cond syncer_cond;
	struct sync_thread syncer;
	unsigned sync_interval_ms; /* 0: there is no syncer */
	bool stopping;
};

/* state.c: whether the volume may be changed. */
/* Before each change: -EROFS, or marks the volume as dirty, durably, the first time. */
int fat_fs_begin_change(struct fat_fs *fs);
/* Would that wait for the device? */
bool fat_fs_begin_waits(const struct fat_fs *fs);
/* Make it read-only, with the thread's error as the reason. Returns @rc. */
int fat_fs_fail(struct fat_fs *fs, int rc);
/*
 * The same for a damage that was found before something was changed on the strength of it: what was done to other files
 * until now is written first.
 */
int fat_fs_found_damage(struct fat_fs *fs, int rc);
int fat_fs_write_dirty_mark(struct fat_fs *fs, bool dirty);
int fat_fs_write_boot_label(struct fat_fs *fs, const uint8_t label[SHORT_NAME_BYTES]);
int fat_fs_write_fsinfo(struct fat_fs *fs);

/* map.c */
void fat_map_done(struct fat_map *m);
int fat_map_append(struct fat_map *m, uint32_t cluster, uint32_t count); /* -ENOMEM */
void fat_map_cut(struct fat_map *m, uint32_t cluster_count);
/* Cluster @index of the file; *@ret_count: how many follow each other from there. @index lies within. */
uint32_t fat_map_find(const struct fat_map *m, uint32_t index, uint32_t *ret_count);
int fat_map_load(struct fat_fs *fs, uint32_t first, uint32_t max_count, struct fat_map *m);
int fat_runs_add(struct fat_runs *r, uint32_t first, uint32_t count); /* -ENOMEM */

/* space.c: chains. */
/* Make the node's chain @count clusters long, if it is shorter. -ENOSPC, nothing changed. */
int fat_space_grow(struct fat_node *n, uint32_t count);
/* Make it @count long, if it is longer; what was on the device becomes free with the next sync. */
int fat_space_cut(struct fat_node *n, uint32_t count);
void fat_space_release(struct fat_node *n); /* its reservation */

/* dir.c: directories in memory. */
int fat_dir_load(struct fat_node *n); /* when it is not */
void fat_dir_unload(struct fat_node *n);
/* More room; new slots are zero. */
int fat_dir_resize(struct fat_node *n, uint32_t slot_count);
struct fat_dir_entry *fat_dir_find(const struct fat_dir *d, const struct fat_name *name);
void fat_dir_entry_decode(const struct fat_node *dir, const struct fat_dir_entry *e, struct fat_dirent *ret);
void fat_dir_touch(struct fat_node *n, uint32_t first_slot, uint32_t slot_count);
/* An entry with a name and nothing else; NULL: no memory. */
struct fat_dir_entry *fat_dir_entry_new(const struct fat_name *name);
/* Room in the index for another entry; -ENOMEM. */
int fat_dir_index_room(struct fat_dir *d);
/* There is room. The entry's slots are set, and its short name is in the directory's bytes. Takes it over. */
void fat_dir_add_entry(struct fat_node *n, struct fat_dir_entry *e);
/* It is to be freed: out of the index by number, and out of the directory's account. */
void fat_dir_forget(struct fat_dir_entry *e);
/* The entry leads to another object now. */
void fat_dir_renumber(struct fat_dir_entry *e, uint64_t object);
/* dir_change.c */
/* What a name becomes: a short name that is free in the directory, a place for its slots, memory for its entry. */
struct fat_dir_plan {
	struct fat_dir_entry *entry; /* with its slots */
	uint8_t short_name[SHORT_NAME_BYTES];
	uint8_t case_flags;
};
/*
 * @except: an entry whose short name counts as free (it is about to go), or NULL. Extends the directory if need be, so
 * that fat_dir_insert() cannot fail. The plan holds until another name is inserted or the file system's lock is
 * released.
 */
int fat_dir_plan_name(struct fat_node *n, const struct fat_name *name, const struct fat_dir_entry *except,
                      struct fat_dir_plan *ret);
void fat_dir_plan_drop(struct fat_dir_plan *plan);
/* @d gets the plan's short name. Returns the new entry. */
struct fat_dir_entry *fat_dir_insert(struct fat_node *n, struct fat_dir_plan *plan, struct fat_dirent *d,
                                     uint64_t object);
/* A place for slots. They become the directory's with fat_dir_take_slots(), which returns their bytes, zeroed. */
int fat_dir_reserve(struct fat_node *n, uint32_t count, uint32_t *ret_first);
uint8_t *fat_dir_take_slots(struct fat_node *n, uint32_t first, uint32_t count);
void fat_dir_remove(struct fat_node *n, struct fat_dir_entry *e);
bool fat_dir_is_atomic(uint32_t first_slot, uint32_t last_slot);
/* Write what is dirty, with all others in @b. */
void fat_dir_add_dirty(struct fat_node *n, struct fat_medium_batch *b);
void fat_dir_is_clean(struct fat_node *n);
/* Where a slot lies on the device. */
uint64_t fat_dir_slot_offset(const struct fat_node *n, uint32_t slot);
/* The bytes of an empty directory. */
void fat_dir_init_slots(const struct fat_node *n, uint32_t parent_cluster, uint8_t *slots);

/* node.c */
int fat_node_for_entry(struct fat_node *dir, struct fat_dir_entry *e, struct fat_node **ret);
int fat_node_new_root(struct fat_fs *fs);
void fat_node_ref(struct fat_node *n);
void fat_node_unref(struct fat_node *n);
/* Remember that it has something for the next sync. */
void fat_node_changed(struct fat_node *n);
/* What fat_stat() tells is to be what is so now. */
void fat_node_publish(struct fat_node *n);
/* Its entry is gone from the directory. */
void fat_node_detach(struct fat_node *n);
/* Forget idle nodes: all, or what is too much. */
void fat_node_trim(struct fat_fs *fs, bool all);
uint64_t fat_fs_now(void);

/* data.c */
int fat_data_open(struct fat_node *n);
void fat_data_touch(struct fat_node *n); /* times and archive bit after a write */

/* ops.c */
/* What every call on a directory begins with: is it one, is it there, and what is the name? */
int fat_ops_begin(struct fat_node *dir, const char *name, size_t len, struct fat_name *ret);
int fat_ops_check_empty(struct fat_node *n);
uint32_t fat_ops_parent_cluster(const struct fat_node *dir);

/* sync.c */
/* Directory sectors alone, durably; for what must not wait for other changes. */
int fat_sync_directories(struct fat_fs *fs);
int fat_sync_locked(struct fat_fs *fs);
void fat_syncer_run(void *arg);

/* What a device writes as a whole or not at all, whatever its sector size: slots in 512 bytes. */
#define ATOMIC_SLOTS (FAT_SECTOR_BYTES_MIN / SLOT_BYTES)

static inline uint32_t fat_slots_per_sector(const struct fat_fs *fs)
{
	return fs->g.sector_bytes / SLOT_BYTES;
}

static inline bool fat_node_is_dir(const struct fat_node *n)
{
	return n->is_dir;
}

/* The fixed root directory of FAT12 and FAT16. */
static inline bool fat_node_is_fixed_root(const struct fat_node *n)
{
	return n == n->fs->root && n->fs->g.type != FAT_TYPE_32;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to WFS v3: a pool in memory, its datasets, and how its parts meet.
 *
 *   driver.c        administrators' calls (pool_driver)          volume.c      vfs node of a volume: read, write,
 * flush, ... pool_create.c   formatting                                   volume_map.c  the map of a volume: fill,
 * punch, extents pool_import.c   labels, roots, choosing one                  volume_wb.c   write-back: place, write,
 * map pool.c          life, failure, the tree's callbacks          dataset.c     table of datasets, create, rename,
 * delete txg.c           the gate and the committing thread           reaper.c      giving back the space of deleted
 * datasets
 *
 * A transaction group: OPEN (takes changes) -> FROZEN (the gate was closed for an instant; trees and dataset records
 * are snapshots) -> WRITTEN (nodes, dataset records, space) -> FLUSHED -> ROOTED (root durable). Only the committing
 * thread moves it on.
 */
#ifndef WFSD_CORE_FS_WFS3_POOL_H
#define WFSD_CORE_FS_WFS3_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "core/base/bufpool.h"
#include "core/base/metrics.h"
#include "core/base/sync.h"
#include "core/blk/blk.h"
#include "core/base/siphash.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/label.h"
#include "core/fs/wfs3/object.h"
#include "core/fs/wfs3/quota.h"
#include "core/fs/wfs3/space.h"
#include "core/fs/wfs3/tree.h"
#include "core/fs/wfs3/wal.h"
#include "core/fs/wfs3/wfs3.h"
#include "core/vfs/vfs_ops.h"

#define DATASET_SLOTS 8u /* in-flight counters of a dataset, spread over threads */

/* Dataset id of the pool tree's own nodes. */
#define POOL_TREE_DATASET UINT64_C(0)
#define DATASET_ID_FIRST UINT64_C(1)

enum dataset_gate {
	DATASET_GATE_OPEN,
	DATASET_GATE_QUIESCED, /* an exclusive change is going on: operations wait */
	DATASET_GATE_DEAD, /* exported or deleted: operations answer -ESTALE */
};

/* Operations in flight, spread over threads. Not a part of the dataset, whose list would have to be over-aligned with
 * it. */
/* Operations on a dataset, as they are counted. */
enum dataset_op {
	DATASET_READ,
	DATASET_WRITE,
	DATASET_CHANGE, /* of names and attributes */
	DATASET_OPS
};
struct dataset_slot {
	_Alignas(64) uint64_t count; /* atomic */
	/* Since the import; atomics */
	uint64_t operations[DATASET_OPS];
	uint64_t bytes[DATASET_CHANGE];
	uint64_t errors[DATASET_OPS];
};

struct carry;
struct check_job;
struct filetx_table;
struct scrub;
struct members;

struct dataset {
	/*
	 * First: a volume is a file of the namespace, and its references are the dataset's, of which one belongs to the
	 * table. Of a tree only the references are used.
	 */
	struct object self;
	enum dataset_type type;
	struct pool *pool;
	struct cds_list_head link; /* pool->datasets */
	uint64_t id;
	uint64_t created_ns;
	uint64_t created_txg; /* 0: before the import. The log says nothing about the creation */
	struct tree *tree;
	bool loaded; /* atomic; its first inode was read, and is good */

	struct sync_mutex lock; /* SYNC_RANK_OBJECT: load, quiesce, resize */
	struct sync_cond gate_changed;
	int gate; /* enum dataset_gate; atomic, written under lock */
	struct dataset_slot *in_flight; /* DATASET_SLOTS of them */
	struct sync_mutex quiet_lock; /* SYNC_RANK_QUIET: one at a time makes it quiet */

	struct sync_mutex items_lock; /* SYNC_RANK_ITEMS: inodes and entries change, and are logged, in one order */
	uint8_t hash_key[SIPHASH_KEY_BYTES]; /* trees: of names */

	/* Changed under the commit gate (shared); atomics */
	uint64_t next_object, object_count;
	uint64_t used_blocks;
	struct quota *quota; /* atomic; NULL: its owners are not counted, and have no limits */
	uint64_t changed_txg; /* last txg with a change of tree or record */

	/* Under pool->table_lock, changed with the commit gate shared, read by the committing thread with it exclusive
	 */
	char name[WFS3_DATASET_NAME_MAX + 1];
	enum dataset_state state;
	bool removed; /* its record must go from the pool tree */

	unsigned open_count; /* atomic; volumes */
	struct sync_mutex rename_lock; /* SYNC_RANK_RENAME; trees: directories that move */
	bool has_results; /* atomic; trees: there may be results of requests */
	/* Transactions, filetx.h. */
	unsigned tx_count; /* atomic; running ones. Counted up under items_lock */
	uint64_t tx_clock; /* atomic; counts changes while there are transactions */
	uint64_t evicted_stamp; /* atomic; the highest of objects that left the memory */
	struct sync_mutex tx_commit; /* SYNC_RANK_TX_COMMIT: one commit at a time */
	unsigned outcome_count; /* tx_commit; about, once outcomes_known */
	bool outcomes_known; /* tx_commit */
	uint64_t tx_pace_ns; /* the cache's: cache_wait_room() of transactions */
	bool orphans_unknown; /* atomic; trees: a file may have a range that is being taken out, and not know it */
	bool orphans_found; /* reaper only; trees: what the last life of the pool left is in hand */

	/* Committing thread only: the snapshot of the group being committed. */
	struct tree_frozen *frozen;
	struct wfs3_ptr root;
	struct dataset_item snapshot;
	bool snapshot_removed;
	struct cds_list_head commit_link;
};

/* What the import found and did; constant afterwards. */
struct recovery {
	bool clean; /* the pool was closed in an orderly way */
	uint64_t record_count; /* read from the log */
	uint64_t applied_count; /* of those, changes that the root did not have */
	uint64_t page_count; /* whose contents came from the log */
	uint64_t log_bytes;
	uint64_t time_ns;
};

struct pool_stats {
	struct histogram commit_time, freeze_time;
	struct counter commits, nodes_written;
	struct counter quota_refusals, quota_looks; /* writes, objects; times that room had to be found out */
};

/* A group of devices: members.h. */
struct pool_device {
	struct blk_dev *dev; /* a mirror */
	struct label label; /* of one of its devices: for the layout, and what all labels of the pool have in common */
};

/* A tree names blocks that the allocation state knows as free. */
enum pool_damage {
	POOL_DAMAGE_NONE,
	POOL_DAMAGE_NOTED, /* the text is being written */
	POOL_DAMAGE_KNOWN,
};

struct pool {
	struct wfs3 *w;
	struct cds_list_head link; /* wfs3->pools */
	unsigned users; /* atomic: administrators' calls in progress */
	unsigned refs; /* atomic: one for its directory node, one for each dataset in memory */
	struct vfs_node dir; /* the pool's directory in the namespace */
	char name[LABEL_POOL_NAME_MAX + 1];
	uint8_t uuid[16];
	uint64_t fsid; /* of the pool's directory and its volumes: from the uuid */
	bool read_only; /* imported so */
	bool has_inline; /* atomic; WFS3_FEATURE_INLINE */
	char note[POOL_REASON_MAX]; /* what was noticed at import */
	int damage; /* enum pool_damage; atomic */
	char damage_text[160]; /* once @damage is POOL_DAMAGE_KNOWN: constant */

	unsigned device_count; /* of groups */
	struct pool_device *devices;
	struct members *members;
	struct check_job *check;
	struct scrub *scrub;
	struct space *space;
	struct node_cache *node_cache;
	struct tree_env env;
	struct tree *tree; /* the pool tree: committing thread only, after import */
	struct wfs3_ptr pool_root; /* its durable root; committing thread only */

	struct sync_mutex table_lock; /* SYNC_RANK_NAMESPACE: datasets, names, next_dataset_id */
	struct cds_list_head datasets;
	uint64_t next_dataset_id;

	struct object_table *objects;
	struct sync_mutex dirty_lock; /* SYNC_RANK_LEAF */
	struct cds_list_head dirty_objects SYNC_GUARDED_BY(dirty_lock); /* those that may hold something dirty */

	struct wal *wal; /* NULL on a read-only import */
	struct recovery recovery;

	/* txg.c */
	struct sync_rwlock gate;
	uint64_t open_txg; /* atomic; changed with the gate held exclusively */
	uint64_t changed_txg; /* atomic max: newest txg with any change */
	struct sync_mutex txg_lock; /* SYNC_RANK_TXG */
	struct sync_cond txg_wake, txg_done;
	uint64_t durable_txg SYNC_GUARDED_BY(txg_lock);
	uint64_t released_txg SYNC_GUARDED_BY(txg_lock); /* newest durable group that holds all that the log lacks */
	uint64_t wanted_txg SYNC_GUARDED_BY(txg_lock); /* commit until this one is durable */
	uint64_t first_change_ns; /* atomic; of the open group, 0 none */
	bool stop SYNC_GUARDED_BY(txg_lock);
	uint64_t last_commit_ns; /* atomic; written by the committing thread */
	uint64_t wall_ns; /* atomic; about now, since 1970: written by the committing thread */
	unsigned accessed_count; /* atomic; objects whose time of access is to be stored */
	bool commit_wanted; /* atomic: the log fills */
	uint64_t log_position; /* the last root's; committing thread only */
	unsigned carried_pages; /* atomic; by the newest root, see txg_carry.h */
	uint64_t release_position; /* what the next root's is if nothing before it is needed; committing thread only */
	uint64_t log_closed_txg; /* as it was before that position; committing thread only */
	int failed; /* atomic; 0 or the error that made the pool read-only */
	char fail_reason[POOL_REASON_MAX] SYNC_GUARDED_BY(txg_lock);
	struct sync_thread committer;
	bool closing_clean; /* the next root is the last one */
	struct txg_between *between SYNC_GUARDED_BY(txg_lock); /* a call to be made between two commits, or NULL */
	struct pool_stats *stats;

	/* reaper.c */
	struct sync_mutex reap_lock; /* SYNC_RANK_HANDLE */
	struct sync_cond reap_wake;
	bool reap_stop SYNC_GUARDED_BY(reap_lock);
	bool reap_work SYNC_GUARDED_BY(reap_lock);
	bool reap_called SYNC_GUARDED_BY(reap_lock); /* the thread knows of it */
	bool reap_hurry SYNC_GUARDED_BY(reap_lock); /* somebody waits: it does not wait for more to do */
	bool reap_busy SYNC_GUARDED_BY(reap_lock); /* there is work, and the last try at it did not fail */
	struct sync_cond reap_rest; /* not busy any more */
	bool reaping SYNC_GUARDED_BY(reap_lock); /* the thread takes objects */
	struct cds_list_head reap_objects SYNC_GUARDED_BY(reap_lock); /* claimed, each with a reference */
	struct sync_thread reaper;

	/*
	 * Held shared by transactions from the first of their records to the last of their pages being in the cache;
	 * exclusively while a group ends.
	 */
	struct sync_rwlock tx_gate; /* SYNC_RANK_TX_GATE */
	bool tx_pages; /* atomic; some object has its own set */
	uint64_t newest_tx_txg; /* atomic: the newest group with a transaction */
	uint64_t newest_collapse_txg; /* atomic: in which a range began to be taken out of a file */
	uint64_t unlogged_collapse_txg; /* atomic: and the log refused the record of that */
	uint64_t newest_replace_txg; /* atomic: in which a file took the name of another one */
	uint64_t collapse_count; /* atomic: of those; changes inside the gate */
	uint64_t settled_collapses; /* collapse_count when the end of the open group was last looked at; its committer's
	                             */
	bool log_settled; /* whether the log can be written was seen then; likewise */
	struct filetx_table *transactions;
	bool has_transactions; /* atomic; the labels say that there may be some */
	bool has_answers; /* atomic; likewise, behind results of requests */
	bool has_collapse; /* atomic; likewise, ranges that are being taken out of files */

	uint64_t bad_blocks; /* atomic: could not be written, and are not used any more */
	struct sync_mutex full_lock; /* SYNC_RANK_ADMISSION: writers when the pool is nearly full */
	uint64_t admitting_blocks; /* atomic: of writers who were admitted and are not done */
};

struct wfs3 {
	struct wfs3_config config;
	struct sync_mutex lock; /* SYNC_RANK_NAMESPACE: pools */
	struct cds_list_head pools;
	struct sync_mutex admin_lock; /* SYNC_RANK_SERVER: one create, import, export, destroy at a time */
	struct bufpool *refs; /* struct object_ref: references to cached pages */
};

/* driver.c */
/* A pool by name, -ENOENT; its export waits until pool_put(). */
int pool_get(struct wfs3 *w, const char *name, struct pool **ret);
void pool_put(struct pool *p);

/* pool.c */
struct pool *pool_new(struct wfs3 *w, const char *name, const uint8_t uuid[16]); /* NULL: memory */
/*
 * Drop the datasets and the reference that stands for being imported. Datasets that somebody still has open (after a
 * forced export) keep the memory of the pool, nothing else. Threads are stopped. NULL is fine.
 */
void pool_free(struct pool *p);
void pool_unref(struct pool *p);
void pool_close_devices(struct pool *p);
/* Of an imported pool: reaper, then committer. */
void pool_stop_threads(struct pool *p);
void pool_init_env(struct pool *p);
/* The pool cannot go on writing: remember the first reason (from the err chain), log it, wake everybody. */
void pool_fail(struct pool *p, int code, const char *doing);
/*
 * space_free_runs() for addresses out of trees. An error is remembered as damage of the pool. Under any lock that
 * space_free_runs() may be called under.
 */
int pool_free_runs(struct pool *p, uint64_t txg, const struct space_run runs[], unsigned count);
/* After damage was noticed: makes the pool read-only and returns -EUCLEAN. Outside of the gate and of tree locks. */
int pool_check_damage(struct pool *p);
/* 0, or -EIO with the pool's reason as context when it has failed or is read-only. */
int pool_check_writable(struct pool *p);
/* Device I/O on virtual addresses. Reads and writes are batched by the caller; these translate one run. */
int pool_locate(struct pool *p, uint64_t addr, uint32_t block_count, struct pool_device **ret_dev,
                uint64_t *ret_offset);
/* Runs of blocks never cross a multiple of this. */
static inline uint64_t pool_region_blocks(const struct pool *p)
{
	return p->devices[0].label.region_bytes / WFS3_BLOCK_BYTES;
}
/* Blocks that data may still take: free, less what is kept back. */
uint64_t pool_available_blocks(struct pool *p);

/* txg.c */
void txg_init(struct pool *p, uint64_t open_txg); /* changes can be made, none is committed */
int txg_start(struct pool *p); /* starts the committing thread */
void txg_stop(struct pool *p); /* no more commits; joins */
/* Enter the open group for a change: the gate is held shared until txg_exit(). Never waits for a device. */
uint64_t txg_enter(struct pool *p) SYNC_ACQUIRE_SHARED(p->gate);
void txg_exit(struct pool *p) SYNC_RELEASE_SHARED(p->gate);
/* Between enter and exit: note that something of this dataset (or, with NULL, of the pool) was changed. */
void txg_changed(struct pool *p, struct dataset *ds, uint64_t txg);
/* The open group is committed when it is old enough, even if nothing changes. Never blocks. */
void txg_remind(struct pool *p);
/* Everything changed before the call is durable when it returns 0, by a commit. Blocks. */
int txg_sync(struct pool *p);
/* The same for pages that were written back before: what the log has of them from before does not come back, either.
 * -EIO: also when the log lacks where they are now, and could not be released. */
int txg_sync_pages(struct pool *p);
/*
 * The same by way of the log, for changes of a dataset that are in it (or that it refused). -EIO: also when it refused
 * some and the log could not be released. Blocks.
 */
int txg_sync_log(struct dataset *ds);
/* txg_log.c: the two steps of the committing thread before it ends a group. True: the log up to now is not needed by
 * the next root; the second step is told, also whether that is because pages are carried (txg_carry.h), and returns 1
 * when the first is to be done again. Block. */
bool txg_release_log(struct pool *p);
/* What became of it: an error, or so many pages that are carried. */
void txg_tell_log(struct pool *p, int error, unsigned carried);
int txg_settle_transactions(struct pool *p, bool released, bool carried) SYNC_REQUIRES(p->tx_gate);
/* Does the open group have something that no root may have without what the log took of that group? */
bool txg_is_delicate(const struct pool *p);
/* After group @txg was closed, before its root: sets pool->log_position. *@released: by the first step; false when what
 * is carried is not in the log. An error: there must be no such root. Blocks. */
int txg_settle_log(struct pool *p, uint64_t txg, const struct carry *carry, bool *released);
/* The log wants a commit. Never blocks. */
void txg_want_commit(struct pool *p);
/* A barrier on all devices. Blocks. */
int txg_flush_devices(struct pool *p);
/* To every ring of every device; durable when it returns 0. Blocks. */
int txg_write_root(struct pool *p, const struct root *r);
/* Let the committing thread call @fn between two commits; its result. Its text stays there. Blocks. */
int txg_run_between(struct pool *p, int (*fn)(void *ctx), void *ctx);
/* Commit even without changes (@count times): releases freed space. */
int txg_force(struct pool *p, unsigned count);

/* dataset.c */
int dataset_add_loaded(struct pool *p, const struct dataset_item *item); /* at import: nobody else knows the pool yet */
/* Blocks that its cells map. The count on the device may have been too low: it stops at 0. */
void dataset_count_used(struct dataset *ds, unsigned added, unsigned dropped);
/* @size_bytes: of a volume. */
int dataset_create(struct pool *p, enum dataset_type type, const char *name, uint64_t size_bytes);
int dataset_rename(struct pool *p, enum dataset_type type, const char *name, const char *new_name);
int dataset_delete(struct pool *p, enum dataset_type type, const char *name);
/* Referenced; -ENOENT. Name of any length. */
/* @type 0: any. */
int dataset_find(struct pool *p, const char *name, size_t name_len, enum dataset_type type, struct dataset **ret);
/* The live dataset with that id, referenced; NULL: there is none. */
struct dataset *dataset_find_live(struct pool *p, uint64_t id);
/* Read the inode, make the cache file: before first use. Blocks. */
int dataset_load(struct dataset *ds);
/* Bracket an operation. VFS_NOWAIT: -EAGAIN instead of waiting for a quiesced one. -ESTALE. */
int dataset_enter(struct dataset *ds, unsigned flags);
void dataset_exit(struct dataset *ds);
/* dataset_metrics.c */
/* An operation on the dataset, which was entered, ended with @rc; -EAGAIN: it is done again. */
void dataset_note(struct dataset *ds, enum dataset_op op, int rc, uint64_t bytes);
/* All of it so far. */
void dataset_get_figures(const struct dataset *ds, struct vfs_figures *ret);
struct metrics;
int dataset_register_metrics(struct pool *p, struct metrics *m);
/* pool="NAME" */
#define POOL_LABEL_BYTES 160
void pool_label(const struct pool *p, char ret[POOL_LABEL_BYTES]);
/* Stop new operations and wait for those in flight; then reopen or kill. Caller holds ds->lock. */
void dataset_quiesce(struct dataset *ds) SYNC_REQUIRES(ds->lock);
void dataset_unquiesce(struct dataset *ds, enum dataset_gate gate) SYNC_REQUIRES(ds->lock);
/*
 * The same of one that is in use, by whoever holds ds->quiet_lock, and without ds->lock meanwhile: -ESTALE: it was
 * deleted. Blocks.
 */
int dataset_make_quiet(struct dataset *ds) SYNC_REQUIRES(ds->quiet_lock);
void dataset_end_quiet(struct dataset *ds) SYNC_REQUIRES(ds->quiet_lock);
void dataset_release(struct vfs_node *n); /* vfs_node_ops.release */
/* Call @fn for each dataset, referenced, without locks. Stops at a negative return, which it returns. */
int dataset_each(struct pool *p, int (*fn)(void *ctx, struct dataset *ds), void *ctx);

/* volume.c */
extern const struct vfs_node_ops volume_node_ops;

/* pool_dir.c */
extern const struct vfs_node_ops pool_dir_ops;
/* Any object of the pool by its place: vfs_node_ops.by_object. Blocks. */
int pool_find_object(struct pool *p, uint64_t fsid, uint64_t object, struct vfs_node **ret);

int volume_resize(struct dataset *ds, uint64_t size_bytes, bool shrink);

/* admit.c */
struct admission {
	uint64_t blocks;
	bool holds_lock;
};
/* May @len bytes be written? -ENOSPC; -EAGAIN (VFS_NOWAIT). Call admit_done() when the write is in the cache. */
int admit_write(struct dataset *ds, uint64_t len, unsigned flags, struct admission *ret) SYNC_NO_ANALYSIS;
/* May names and attributes be changed? Waits while too much of the trees is not written. */
int admit_change(struct pool *p, bool gives_back, struct admission *ret) SYNC_NO_ANALYSIS;
/* May a transaction change @data_blocks blocks of data and @leaves leaves of the tree? */
int admit_transaction(struct pool *p, uint64_t data_blocks, uint64_t leaves, struct admission *ret) SYNC_NO_ANALYSIS;
void admit_done(struct pool *p, struct admission *a) SYNC_NO_ANALYSIS;

/* recover.c */
/*
 * Bring the pool, just loaded from root @r, to where the log ends, and start a new epoch of the log. The changes are in
 * memory, in the open group; until it is committed, nothing that the root or the log has is overwritten, so whatever
 * fails here can be tried again. -EUCLEAN: the log contradicts the pool. Blocks.
 */
int recover_pool(struct pool *p, const struct root *r);

/* pool_log.c */
void pool_get_log_info(struct pool *p, struct pool_log_info *ret);
int pool_register_log_metrics(struct pool *p, struct metrics *m, const char *labels);

/* reaper.c */
int reaper_start(struct pool *p);
void reaper_stop(struct pool *p);
/* There is work for it: under the lock, and taking it. */
void reaper_hand_over(struct pool *p) SYNC_REQUIRES(p->reap_lock);
void reaper_kick(struct pool *p);
/* Wait until it has given back all that it can for now, or until @until_ns. False: it is at rest already. Blocks. */
bool reaper_wait(struct pool *p, uint64_t until_ns);

/* pool_create.c, pool_import.c */
int uuid_make(uint8_t uuid[16]); /* random; -EIO */
int pool_format(const struct pool_create_args *args, struct blk_dev *const devs[]);
int pool_open_devices(struct wfs3 *w, struct blk_dev *const devs[], unsigned device_count, bool read_only,
                      struct pool **ret);
/* The last commit, marked clean. Datasets are quiet by now. */
int pool_close_clean(struct pool *p);

/* pool_metrics.c */
int pool_register_metrics(struct pool *p);
void pool_get_info(struct pool *p, struct pool_info *ret);

#endif

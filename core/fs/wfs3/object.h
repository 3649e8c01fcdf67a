/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to WFS v3: objects in memory. A volume is a dataset with one object; a tree of files has many, which come
 * into memory when they are used and stay in a table while there is room.
 *
 *   object_table.c   the table, lives of objects    object_map.c    the map: fill, unmap, extents
 *   object_inline.c  contents of small files
 *   object.c         what every object has
 *   object_inode.c   inodes, what is dirty           object_wb.c     write-back: place, write, map
 *   object_cell.c    the map of one cell             object_log.c    contents into the log, flush
 *   object_append.c  results of appends             object_move.c    cells get other places in the file
 *
 * The life of a tree's object:
 *
 *   NEW       made, and found by nobody: its creation is not in the tree yet
 *     | object_publish()
 *   LIVE      with a name: the table has a reference. It may leave the memory when nobody else has one, and nothing
 *     |       of it is dirty. Without a name: whoever has it goes on using it
 *     | object_claim(), or the last reference of a nameless one is gone
 *   REAPING   found by nobody; its blocks and items are being given back
 *     | object_forget()
 *   DEAD      not in the table; freed with its last reference
 */
#ifndef WFSD_CORE_FS_WFS3_OBJECT_H
#define WFSD_CORE_FS_WFS3_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "core/base/bufpool.h"
#include "core/base/sync.h"
#include "core/cache/cache.h"
#include "core/fs/wfs3/items.h"
#include "core/fs/wfs3/wal.h"
#include "core/vfs/vfs_ops.h"

struct dataset;
struct object_table;
struct pool;

enum object_state {
	OBJECT_NEW,
	OBJECT_LIVE,
	OBJECT_REAPING,
	OBJECT_DEAD,
};

/* Forgetting an object takes as long as its pages do: threads that must not wait do that to files up to this size. */
#define OBJECT_SMALL_BYTES (UINT64_C(1) << 20)

struct object {
	struct vfs_node node; /* first */
	struct dataset *ds; /* of a tree's object: referenced */
	uint64_t number;
	/* What the table looks at is together. */
	struct object *hash_next; /* under the lock of the table's shard */
	enum object_state state; /* atomic; under the lock of the table's shard */
	bool table_ref; /* under that lock: one of the references is the table's; of a nameless one, none is */
	bool used; /* under that lock: since the clock's hand passed */
	struct cache_file *file; /* atomic; NULL until it is needed */

	/* Trees only. */
	struct sync_mutex lock; /* SYNC_RANK_OBJECT: entries, attributes, truncation. Several: by ascending number */
	struct sync_mutex size_lock; /* SYNC_RANK_LEAF */
	struct sync_rwlock io_lock; /* SYNC_RANK_OBJECT_IO: shared by writers, exclusive to truncation and appending */

	/*
	 * All fields are atomics. Those of a tree's object change under ds->items_lock; but size_bytes, change,
	 * mtime_ns and ctime_ns also with data that is written, and blocks with the map.
	 */
	struct inode inode;
	/* Trees only, atomics. */
	uint64_t write_end; /* where data may be: above the size while writers extend the file. Under size_lock */
	unsigned extending; /* those writers. Under size_lock */
	uint64_t stored_size; /* in the tree's inode: behind the size while data is dirty. Under ds->items_lock */
	uint64_t logged_change; /* atomic; the log has the inode with this change counter */
	bool inode_dirty; /* atomic; the tree lacks something of the inode */
	bool inode_gone; /* ds->items_lock; the tree has no inode any more */

	struct object_append *appends; /* ds->items_lock; results of what the tree's size does not reach yet */
	unsigned append_count; /* ds->items_lock */

	bool listed; /* atomic; in pool->dirty_objects. Written under pool->dirty_lock */
	struct cds_list_head dirty_link;

	uint64_t stamp; /* atomic; ds->tx_clock when it last changed while there were transactions */
	bool tx_pages; /* atomic; a transaction's contents may be in the log only. pool->tx_gate: set shared */

	bool shifting; /* atomic; lock, io_lock exclusively; a range is being taken out: data is not what it should be
	                */
	bool shift_unasked; /* atomic; lock; with @shifting: that may be so, and the tree is still to be asked */
	bool behind_end; /* io_lock exclusively; something could not be dropped there: the file does not grow, and stays
	                    in memory */

	struct cds_list_head clock_link; /* under the lock of the table's shard */
	struct cds_list_head reap_link; /* pool->reap_lock */
};

static inline bool object_is_small(const struct object *o)
{
	return __atomic_load_n(&o->inode.size_bytes, __ATOMIC_RELAXED) <= OBJECT_SMALL_BYTES;
}

/* Does somebody else than the table use it, or does it know what nobody would know who loads it again? */
static inline bool object_stays(const struct object *o)
{
	/* Without other references nobody changes the rest. */
	if (__atomic_load_n(&o->node.refs, __ATOMIC_ACQUIRE) != 1 || o->behind_end)
		return true;
	return __atomic_load_n(&o->shifting, __ATOMIC_RELAXED) && !__atomic_load_n(&o->shift_unasked, __ATOMIC_RELAXED);
}

/* Inode and links of an object that its owner embeds (a volume) or allocated. */
void object_init(struct object *o, struct dataset *ds, uint64_t number, const struct vfs_node_ops *ops,
                 enum vfs_type type);
/* Drops the pages, too. Not on the list of dirty ones afterwards. */
void object_done(struct object *o);
/* The cache's side, made when it is needed. -ENOMEM. Never blocks for long. */
int object_open_file(struct object *o, struct cache_file **ret);

/* ---- the table, object_table.c ---- */

/* The budget's consumer "objects"; it holds @max_bytes of objects that nobody uses, about. */
int object_table_new(struct budget *b, size_t max_bytes, struct object_table **ret);
/* Objects that somebody still uses live on; they are not found any more. Nobody looks for objects any more. */
void object_table_empty(struct object_table *t);
void object_table_free(struct object_table *t);

/* *ret is referenced. -ESTALE: there is no such object, or it has no name (unless it is in use). Blocks. */
int object_get(struct dataset *ds, uint64_t number, struct object **ret);
/* The same of one that has no name, for whoever gives it back: claimed and referenced. */
int object_get_nameless(struct dataset *ds, uint64_t number, struct object **ret);
/* A new one in the table, NEW, with one reference. -ENOMEM. */
int object_create(struct dataset *ds, uint64_t number, const struct inode *inode, struct object **ret);
/* It is in the tree now, or still: after object_claim(). With a name the table takes a reference. */
void object_publish(struct object *o, bool has_name);
/* From LIVE to REAPING, if nobody but the table and the caller has it: the table's reference is gone. */
bool object_claim(struct object *o);
/* Its last name is gone, or it has a first one again. The caller has a reference. */
void object_lost_name(struct object *o);
void object_got_name(struct object *o);
/* Out of the table: it was given back, or did not come into the tree. The caller's reference is its last. */
void object_forget(struct object *o);
/* vfs_node_ops.release of tree objects. */
void object_release(struct vfs_node *n);
/* Does anybody use an object of this dataset? With the dataset quiet. */
bool object_table_uses(struct object_table *t, const struct dataset *ds);
/* The dataset is deleted: its objects go, with what is cached of them. Nobody uses any. Blocks. */
int object_table_drop(struct object_table *t, const struct dataset *ds);
/* Call @fn for each object of the dataset that is in memory, referenced, without locks. -ENOMEM. */
int object_table_each(struct object_table *t, const struct dataset *ds, void (*fn)(struct object *o));

/* ---- inodes, object_inode.c ---- */

/* As the tree has it. -ESTALE: there is none; -EUCLEAN. Blocks. */
int object_read_inode(struct dataset *ds, uint64_t number, struct inode *ret);
/* As the tree should have it. Trees: under ds->items_lock. */
void object_get_inode(struct object *o, struct inode *ret);
/* Data was written or changed: counter, times. */
void object_touch(struct object *o);
/* Data is going to be changed, with io_lock held: transactions that have read it notice. */
void object_stamp(struct object *o);
/* It leaves the memory: who loads it again takes it for as new as anything that did. */
void object_stamp_evicted(struct object *o);
/*
 * Somebody read it. The time is kept when something was changed since the last one, or that is a day old (mount(8),
 * relatime), and stored with the next group; the log does not get it. Never blocks.
 */
void object_accessed(struct object *o);
/* It is on the pool's list of objects that hold something dirty. */
void object_list(struct object *o);
/* Call @fn for each object that may hold something dirty, referenced, without locks. Stops at a negative return, which
 * it returns. */
int object_each_dirty(struct pool *p, int (*fn)(void *ctx, struct object *o), void *ctx);
/* Write back all dirty pages, then as below. */
int object_flush(void *ctx, struct object *o);
/* Write the inode to the tree and take it off the list, if nothing of it is dirty. Blocks. */
int object_settle(void *ctx, struct object *o);
/*
 * Store the inode, inside a change. -EAGAIN: *@ret_missing is to be fetched; it may be NULL without a ticket, and then
 * stands for object_inode_key(). Trees: with data mapped up to
 * @mapped_end; @ticket (may be NULL): the log gets the inode if it has another (WAL_INODE_ITEM_BYTES).
 */
int object_put_inode_in(struct object *o, uint64_t txg, uint64_t mapped_end, struct wal_ticket *ticket,
                        struct wfs3_key *ret_missing);
#define WAL_INODE_ITEM_BYTES                                                                                           \
	(WAL_RECORD_BYTES + WAL_ITEM_BYTES(INODE_BYTES) + OBJECT_APPENDS_MAX * WAL_ITEM_BYTES(RESULT_BYTES))
/* The same by itself. Blocks. */
int object_put_inode_mapped(struct object *o, uint64_t mapped_end);
int object_put_inode(struct object *o);
/* What a write's VFS_* flags ask of the cache. */
static inline unsigned object_cache_flags(unsigned flags)
{
	return (flags & VFS_NOWAIT ? CACHE_NOWAIT : 0) | (flags & VFS_MAKES_ROOM ? CACHE_MAKES_ROOM : 0);
}

static inline struct wfs3_key object_inode_key(const struct object *o)
{
	return (struct wfs3_key){ .object = o->number, .kind = WFS3_KIND_INODE };
}
/* The map has so many blocks more, or less. */
void object_count_blocks(struct object *o, int64_t delta);

/* ---- the map ---- */

/* What a vfs_ref points at. */
struct object_ref {
	struct bufpool *pool; /* where it came from */
	struct cache_ref cache;
};
/* Without a reference to pages yet. -ENOMEM. */
int object_ref_new(struct object *o, struct object_ref **ret);
void object_ref_drop(struct object_ref *ref);
/* With one. */
void object_ref_free(struct object_ref *ref);

/* object_cell.c */
/* New places for blocks of one cell. */
struct cell_change {
	uint64_t cell_index;
	uint16_t mask; /* which blocks */
	uint64_t addrs[WFS3_CELL_BLOCKS]; /* in flight (space_alloc()); 0: becomes a hole */
	uint32_t crcs[WFS3_CELL_BLOCKS];
};
/* Inside the gate. On success the new blocks are referenced and the old ones are not, and *@ret_delta is by how many
 * there are more. Else as tree_update(), nothing changed; -EUCLEAN: see pool_check_damage(). */
int dataset_change_cell(struct dataset *ds, uint64_t object, uint64_t txg, const struct cell_change *c,
                        int64_t *ret_delta);
/* The same with the object's count kept. */
int object_change_cell(struct object *o, uint64_t txg, const struct cell_change *c);

/* object_inline.c */
/* Can these pages be all that is in blocks of a small file? */
bool object_fits_inline(const struct object *o, const struct cache_page *pages, unsigned count);
/* Write-back of such a page. Blocks. */
void object_writeback_inline(struct object *o, struct cache_page *page);
/* Inside the gate; the inode is the caller's to store. In recovery: the item came. And: the first block is elsewhere,
 * or is a hole. */
void object_set_inline(struct object *o);
void object_drop_inline(struct object *o, uint64_t txg);
/* The first block, whole. -EUCLEAN: it is not there; -EIO. Blocks. */
int object_read_inline(struct object *o, void *data);

/* object_map.c */
struct wfs3_key object_cell_key(const struct object *o, uint64_t cell_index);
int object_fill(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[]);
/* How many of the blocks [first, first + count) are not mapped. Blocks. */
int object_count_holes(struct object *o, uint64_t first, uint64_t count, uint64_t *ret);
/* Unmap whole blocks [first, first + count). The cache range is punched by the caller. Blocks. */
int object_unmap(struct object *o, uint64_t first, uint64_t count);
/* How many blocks to unmap at once, so that nobody waits long for it: the strides grow where nothing is mapped, as an
 * object may be much larger than what it holds. Begins zeroed. */
struct object_stride {
	uint64_t block_count, used_blocks;
};
uint64_t object_stride_next(struct object_stride *s, const struct object *o);
/* Whole blocks [first, end) become holes, in memory and in the map, in pieces: a commit waits until the one in hand is
 * done. Blocks. */
int object_punch(struct object *o, uint64_t first, uint64_t end);
/* Zeros over a part of one block, by writing them. Blocks. */
int object_zero_edge(struct object *o, uint64_t from, uint64_t to);
/* The range reads as zeros; whole blocks become holes. Blocks. */
int object_zero(struct object *o, uint64_t offset, uint64_t len);
int object_extents(struct object *o, uint64_t offset, uint64_t len, unsigned flags, struct vfs_extent *ret,
                   unsigned max, unsigned *ret_count);

/* object_wb.c */
void object_writeback(void *ctx, struct cache_page *pages, unsigned count);

/* object_move.c */
struct collapse;
/* What an orphan item says about the object. -ENOENT: no range is being taken out of it; -EUCLEAN, -EIO. Blocks. */
int object_get_collapse(struct object *o, struct collapse *ret);
/* The first cell from @from on that is there. -ENOENT. Blocks. */
int object_next_cell(struct object *o, uint64_t from, uint64_t *ret);
/* Move cells below @end that are still to be moved, in steps, and note that in the orphan item. The cache's ranges are
 * punched by the caller. Blocks. */
int object_move_cells(struct object *o, struct collapse *c, uint64_t end);
/* In recovery: the record came. */
int object_move_redo(struct object *o, uint64_t first, uint64_t count, uint64_t distance);

/* object_append.c */
#define OBJECT_APPENDS_MAX 16u
/* Something will be appended at @offset: its result waits for that. io_lock is held exclusively. -EAGAIN: too many
 * wait, object_append_settle() first; -ENOMEM. */
int object_append_begin(struct object *o, uint64_t offset, const struct vfs_tag *tag);
/* It could not be. */
void object_append_cancel(struct object *o, const struct vfs_tag *tag);
/* Under ds->items_lock: those that go with a size of @size_bytes, at most OBJECT_APPENDS_MAX; and they did. */
unsigned object_append_items(const struct object *o, uint64_t size_bytes, struct item_change *ret);
void object_append_stored(struct object *o, uint64_t size_bytes);
/* None waits any more. Without locks. Blocks. */
int object_append_settle(struct object *o);
bool object_append_find(struct object *o, const struct wfs3_key *key, uint8_t ret[RESULT_BYTES]);

/* object_log.c */
void object_log(void *ctx, struct cache_page *pages, unsigned count);
/* What was written to the range before the call is in the log or in its place: txg_sync_log() makes it durable. Blocks.
 */
int object_persist(struct object *o, uint64_t offset, uint64_t len);

#endif

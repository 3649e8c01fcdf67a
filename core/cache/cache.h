/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page cache: 4 KiB pages of files of any file system, one memory budget, S3-FIFO eviction (Yang et al., SOSP
 * 2023), dirty tracking, write-back by age and pressure, read-ahead for sequential readers.
 *
 * Pages are grouped in chunks of 64 KiB (16 pages), the unit of lookup, locking and eviction. Chunks live in shards; a
 * chunk is found under its shard's lock and worked on under its own, so that readers on different cores meet only when
 * they touch the same chunk.
 *
 * A page is absent, filling (its owner is reading it from the file system), clean, or dirty; a dirty page may
 * be in write-back. Whoever writes to a page that is in write-back or referenced by cache_ref gets a new copy of the
 * page, so what is on its way to a device or a socket never changes. A page that is a hole points at the shared page of
 * zeros.
 *
 *            fill done                  write                    write-back done, not rewritten
 *   absent ------------> clean --------------------> dirty ---------------------------------> clean
 *      ^                   |  evict / punch             |  punch
 *      '-------------------'----------------------------'
 *
 * Flags: CACHE_NOWAIT makes a call return -EAGAIN instead of waiting (for a device, for room below the dirty limit, or
 * for another thread's fill or punch); nothing has been changed then.
 */
#ifndef WFSD_CORE_CACHE_CACHE_H
#define WFSD_CORE_CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct budget;
struct metrics;

#define CACHE_PAGE_BYTES 4096u
#define CACHE_CHUNK_PAGES 16u
#define CACHE_CHUNK_BYTES (CACHE_PAGE_BYTES * CACHE_CHUNK_PAGES)

#define CACHE_NOWAIT 1u
/* Write: never wait at the dirty limit. For write-back into a file of this same cache, without which that would wait
 * for itself: what becomes dirty here becomes clean there. */
#define CACHE_MAKES_ROOM 2u

struct cache;
struct cache_file;

struct cache_config {
	struct budget *budget; /* the cache joins it as consumer "pages" */
	size_t min_bytes; /* guaranteed share of the budget */
	size_t dirty_max_bytes; /* writers wait above this (at most half the budget) */
	size_t dirty_background_bytes; /* write-back starts above this */
	unsigned writeback_age_ms; /* a page is not dirty for longer than about this, e.g. 5000 */
	unsigned writeback_threads; /* 1..8 */
	size_t readahead_max_bytes; /* 0: no read-ahead; e.g. 1 MiB */
	/* Free memory held ready while the budget has plenty, so that writers need not wait for the system to provide
	 * it; 0: none. At most 256 MiB of it are held. */
	size_t stock_bytes;
};

/* One page handed to a file system for write-back. */
struct cache_page {
	uint64_t index; /* page number in the file */
	const void *data; /* 4096 bytes, stable until the call returns, 4 KiB-aligned */
	uint32_t crc; /* CRC32C of the page as it was when it entered the cache */
	int result; /* set by the file system: 0 = the tree points at it; else negative errno and it stays dirty */
};

/* What a file system provides for a file. Called without cache locks, from any thread; may block. */
struct cache_file_ops {
	/* Behind the size that the file begins with there are zeros until something is written there through the cache.
	 * A page there is not filled before a part of it is written. */
	bool zero_behind_end;
	/*
	 * Read pages [first, first + count): fill data[i] (4096 bytes, aligned; NULL entries are to be skipped) and
	 * crc[i]. For a hole or anything beyond the end set hole[i] and leave data[i] alone. Each page's checksum has
	 * been verified by the file system. 0 or a negative errno (then nothing of the range becomes valid).
	 */
	int (*fill)(void *ctx, uint64_t first, unsigned count, void *const data[], uint32_t crc[], bool hole[]);
	/*
	 * Write pages (ascending index, not necessarily adjacent, all of one file) to the device and point the file's
	 * map at them. Sets each page's result. Before writing, the CRC is checked against the data again.
	 */
	void (*writeback)(void *ctx, struct cache_page *pages, unsigned count);
	/*
	 * Record the pages' contents in a log: a replay of the log after this and before their write-back would bring
	 * them back. Sets each page's result; the pages stay dirty. NULL: the file system has no log.
	 */
	void (*log)(void *ctx, struct cache_page *pages, unsigned count);
};
#define CACHE_FILL_PAGES_MAX 256u
#define CACHE_WRITEBACK_PAGES_MAX 2048u

/* Starts the write-back threads. 0 or -ENOMEM, -EINVAL. */
int cache_new(const struct cache_config *config, struct cache **ret);
/* All files are closed. */
void cache_free(struct cache *c);
int cache_register_metrics(struct cache *c, struct metrics *m);

struct cache_stats {
	uint64_t hits, misses; /* pages */
	uint64_t fills, writebacks, evictions; /* pages */
	uint64_t readahead_pages;
	uint64_t throttled; /* writes that had to wait */
	size_t resident_bytes, dirty_bytes, writeback_bytes;
};
void cache_get_stats(const struct cache *c, struct cache_stats *ret);

/* @size_bytes bounds read-ahead, and see zero_behind_end; keep it current with cache_file_resize(). 0 or -ENOMEM. */
int cache_file_new(struct cache *c, const struct cache_file_ops *ops, void *ctx, uint64_t size_bytes,
                   struct cache_file **ret);
/* Drops all pages, dirty ones too: flush first. Nobody uses the file any more. NULL is fine. */
void cache_file_free(struct cache_file *f);
void cache_file_resize(struct cache_file *f, uint64_t size_bytes);

/* Copy out / in. Callers check bounds against the file's size. 0, -EAGAIN (NOWAIT), -EIO and what fill returns,
 * -ENOMEM. A write is all or nothing per page; one that would wait at the dirty limit while the file's write-back fails
 * returns that failure instead. NOWAIT writes are limited to CACHE_NOWAIT_WRITE_BYTES (aligned; longer: -EAGAIN). */
#define CACHE_NOWAIT_WRITE_BYTES (512u * 1024)
int cache_read(struct cache_file *f, uint64_t offset, const struct iovec *iov, int iov_count, unsigned flags);
int cache_write(struct cache_file *f, uint64_t offset, const struct iovec *iov, int iov_count, unsigned flags);

/*
 * Reading without a copy: references to the pages that hold [offset, offset + len). The contents stay as they are until
 * the release. At most CACHE_REF_PAGES_MAX pages; iov[0..iov_count) covers exactly the range. With CACHE_NOWAIT and not
 * all pages present: -EAGAIN, nothing held.
 */
#define CACHE_REF_PAGES_MAX 520u
struct cache_ref {
	struct cache *cache;
	int iov_count;
	unsigned page_count;
	struct iovec iov[CACHE_REF_PAGES_MAX];
	void *pages[CACHE_REF_PAGES_MAX]; /* private */
};
int cache_read_ref(struct cache_file *f, uint64_t offset, size_t len, unsigned flags, struct cache_ref *ret);
void cache_ref_release(struct cache_ref *r);

/*
 * Write back every page of [offset, offset + len) that was dirty when the call began, and wait. UINT64_MAX as length:
 * to the end. 0, or the error of a page that could not be written (it stays dirty). Durability is the caller's
 * business.
 */
int cache_flush(struct cache_file *f, uint64_t offset, uint64_t len);
/*
 * The same for a file system with a log. cache_flush_log() leaves out pages whose contents the log has, hands the
 * others to ops->log when they are no more than CACHE_LOG_PAGES_MAX, and else writes them back. cache_flush_kept()
 * writes back what the log has in any version: afterwards nothing of the file that was logged before the call needs the
 * log.
 */
#define CACHE_LOG_PAGES_MAX 64u
int cache_flush_log(struct cache_file *f, uint64_t offset, uint64_t len);
int cache_flush_kept(struct cache_file *f);
/*
 * The same where some pages cannot be written back: they are not in the way of the others. ret[0..*ret_count),
 * ascending and none twice, are then the pages for whose sake the log needs something that was logged before the call,
 * and perhaps others that were logged during it. -E2BIG: there are more than @max; else errors of memory.
 */
int cache_flush_kept_all(struct cache_file *f, uint64_t ret[], unsigned max, unsigned *ret_count);
/*
 * The contents of such a page as they are now, and their checksum: not older than what write-back was given last, while
 * the caller keeps the file system from changing its map. 0; -ENOENT: the log need not have it any more; -EAGAIN: a
 * punch is going on there; -EIO: it was damaged in memory. Waits for nothing.
 */
int cache_copy_kept(struct cache_file *f, uint64_t index, void *buf, uint32_t *ret_crc);

/*
 * Punching: between begin and end no page of the (page-aligned) range is filled, written or in write-back; others who
 * want to do that, and flushes, wait; what is cached can still be read. begin waits for write-back in flight. The file
 * system removes the range from its map in between; end then drops the pages, dirty ones too, or, when that @failed,
 * the clean ones. begin: 0, -EAGAIN (NOWAIT), -ENOMEM.
 */
int cache_punch_begin(struct cache_file *f, uint64_t offset, uint64_t len, unsigned flags);
void cache_punch_end(struct cache_file *f, uint64_t offset, uint64_t len, bool failed);

/*
 * Replacing whole pages as a part of something larger: what can fail or wait is done by begin, so that commit cannot.
 * Between the two, others are kept from the pages of the range [first page, last page] as by a punch. @pages ascend by
 * index, and are copied; @data NULL: zeros. After commit they are dirty, and count as logged: the caller's log has
 * their contents. begin: 0 or -ENOMEM; the caller has waited for room with cache_wait_room(). commit and abort never
 * block and end it.
 *
 * cache_wait_room() waits like a writer of so many pages as long as too much is dirty, under no locks that write-back
 * or a commit may need. @pace_ns: 0 at first, the cache's from then on: when whoever shares it may go on. @failed,
 * which is asked now and then under a lock of the cache, ends the wait by telling why write-back does not help.
 */
typedef int cache_failed_fn(void *ctx);
int cache_wait_room(struct cache *c, uint64_t *pace_ns, uint64_t pages, cache_failed_fn *failed, void *ctx);
struct cache_replacement;
struct cache_new_page {
	uint64_t index;
	const void *data;
	uint32_t crc; /* CRC32C of the contents */
};
int cache_replace_begin(struct cache_file *f, const struct cache_new_page pages[], unsigned count,
                        struct cache_replacement **ret);
void cache_replace_commit(struct cache_replacement *r);
void cache_replace_abort(struct cache_replacement *r); /* NULL is fine */

/* Is any page of the range dirty or in write-back? (extent queries flush first when so) */
bool cache_is_dirty(struct cache_file *f, uint64_t offset, uint64_t len);

/* Bytes of the file that are dirty or in write-back. Never blocks. */
size_t cache_file_dirty_bytes(const struct cache_file *f);

/* Start reading the range in the background (NBD cache command); best effort. Blocks: call it from a worker. */
int cache_prefetch(struct cache_file *f, uint64_t offset, uint64_t len);

#endif

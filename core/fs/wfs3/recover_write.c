/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages out of the log to their place. Two threads take pieces of the table in the order of the log, read them with
 * large reads, and write them back as the cache would. Each page is in the table once, so the order does not matter.
 */
#include "core/fs/wfs3/recover_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/pool.h"
#include "core/fs/wfs3/recover_pages.h"

#define PIECE_PAGES_MIN 16u

/* What both threads share. */
struct crew {
	struct pool *p;
	const struct wal_config *log;
	uint64_t start;
	const struct recover_page *pages; /* by dataset, object and position */
	size_t count;
	size_t piece; /* pages, at most RECOVER_PIECE_PAGES */
	struct sync_mutex lock; /* SYNC_RANK_LEAF */
	size_t next;
	int error; /* of the first piece that failed */
	struct err why;
};

struct worker {
	struct crew *crew;
	struct wal_reader *reader;
	uint8_t *buf; /* RECOVER_PIECE_PAGES pages */
	struct cache_page *write;
};

/* The next pages of one object; 0: none are left, or somebody has failed. */
static unsigned take_piece(struct crew *c, size_t *ret_first)
{
	unsigned n = 0;

	sync_mutex_lock(&c->lock);
	*ret_first = c->next;
	while (!c->error && n < c->piece && c->next < c->count &&
	       c->pages[c->next].dataset == c->pages[*ret_first].dataset &&
	       c->pages[c->next].object == c->pages[*ret_first].object) {
		c->next++;
		n++;
	}
	sync_mutex_unlock(&c->lock);
	return n;
}

static int compare_pages(const void *a, const void *b)
{
	const struct cache_page *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* What is behind the end of a file in its last block is not part of it: a write in progress may have been logged. */
static void cut_page(struct cache_page *pg, uint8_t *data, uint64_t size_bytes)
{
	uint64_t valid = size_bytes - pg->index * WFS3_BLOCK_BYTES;

	if (valid >= WFS3_BLOCK_BYTES)
		return;
	memset(data + valid, 0, WFS3_BLOCK_BYTES - valid);
	pg->crc = crc32c(data, WFS3_BLOCK_BYTES);
}

/* Contents of the pages that the object still has: it may have become smaller. */
static int read_piece(struct worker *w, const struct object *o, const struct recover_page *pages, unsigned count,
                      unsigned *ret_count)
{
	uint64_t size_bytes = o->inode.size_bytes, end = div_round_up_u64(size_bytes, WFS3_BLOCK_BYTES);
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		uint8_t *data = w->buf + (size_t)n * WFS3_BLOCK_BYTES;
		int ret = 0;

		if (pages[i].block >= end)
			continue;
		if (pages[i].zero)
			memset(data, 0, WFS3_BLOCK_BYTES);
		else
			ret = wal_reader_page(w->reader, pages[i].position, pages[i].crc, data);
		if (ret)
			return ret;
		w->write[n] = (struct cache_page){ .index = pages[i].block, .data = data, .crc = pages[i].crc };
		cut_page(&w->write[n++], data, size_bytes);
	}
	*ret_count = n;
	return 0;
}

/* Referenced. -ESTALE: it is gone, or has no name, and is going to be given back. */
static int find_object(struct pool *p, const struct recover_page *page, struct object **ret)
{
	struct dataset *ds = dataset_find_live(p, page->dataset);
	int rc;

	if (!ds)
		return -ESTALE;
	if (ds->type == DATASET_TYPE_VOLUME) {
		*ret = &ds->self;
		return 0;
	}
	rc = object_get(ds, page->object, ret);
	vfs_node_unref(&ds->self.node);
	if (!rc && (*ret)->node.type != VFS_TYPE_FILE) {
		rc = err_set(-EUCLEAN, "log: contents of object %" PRIu64 ", which is no file", page->object);
		vfs_node_unref(&(*ret)->node);
	}
	return rc;
}

static int write_piece(struct worker *w, const struct recover_page *pages, unsigned count)
{
	struct object *o;
	unsigned n = 0;
	int ret = find_object(w->crew->p, &pages[0], &o);

	if (ret)
		return ret == -ESTALE ? 0 : ret;
	ret = read_piece(w, o, pages, count, &n);
	if (!ret && n) {
		qsort(w->write, n, sizeof(w->write[0]), compare_pages);
		object_writeback(o, w->write, n);
		for (unsigned i = 0; i < n && !ret; i++)
			if (w->write[i].result)
				ret = err_add(w->write[i].result, "write page %" PRIu64 " of dataset %" PRIu64,
				              w->write[i].index, o->ds->id);
		__atomic_add_fetch(&w->crew->p->recovery.page_count, n, __ATOMIC_RELAXED);
	}
	vfs_node_unref(&o->node);
	return ret;
}

static int worker_init(struct worker *w, struct crew *c)
{
	*w = (struct worker){ .crew = c };
	w->buf = aligned_alloc(WFS3_BLOCK_BYTES, (size_t)RECOVER_PIECE_PAGES * WFS3_BLOCK_BYTES);
	w->write = calloc(RECOVER_PIECE_PAGES, sizeof(w->write[0]));
	if (!w->buf || !w->write)
		return err_set(-ENOMEM, "no memory to recover");
	return wal_reader_new(c->log, c->start, &w->reader);
}

static void work(struct crew *c)
{
	struct worker w;
	unsigned count;
	size_t first;
	int ret = worker_init(&w, c);

	while (!ret && (count = take_piece(c, &first)) > 0)
		ret = write_piece(&w, c->pages + first, count);
	if (ret) {
		sync_mutex_lock(&c->lock);
		if (!c->error) {
			c->error = ret;
			err_take(&c->why);
		}
		sync_mutex_unlock(&c->lock);
	}
	wal_reader_free(w.reader);
	free(w.buf);
	free(w.write);
}

static void helper_main(void *arg)
{
	work(arg);
	blk_thread_done();
}

int recover_write(struct pool *p, const struct wal_config *log, uint64_t start, struct recover_pages *pages)
{
	struct crew c = { .p = p, .log = log, .start = start };
	struct sync_thread helper;
	bool helped = false;

	recover_pages_sort(pages);
	c.pages = pages->sorted;
	c.count = pages->count;
	if (!c.count)
		return 0;
	/* Both have something to do to the end. */
	c.piece = min_u64(max_u64(c.count / 8, PIECE_PAGES_MIN), RECOVER_PIECE_PAGES);
	sync_mutex_init(&c.lock, SYNC_RANK_LEAF, "wfs3 recovery");
	if (c.count > c.piece)
		helped = sync_thread_start(&helper, "wfs3-recover", helper_main, &c) == 0;
	work(&c);
	if (helped)
		sync_thread_join(&helper);
	sync_mutex_done(&c.lock);
	if (c.error)
		err_restore(&c.why);
	return c.error;
}

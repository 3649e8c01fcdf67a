/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contents of small files: read with the opening or before it, shared by all who have the file open, and kept for
 * a while after that. Any thread, unless said otherwise.
 */
#ifndef WFSD_PLUGINS_FUSE_SMALL_H
#define WFSD_PLUGINS_FUSE_SMALL_H

#include "plugins/fuse/mount.h"

/* All that is kept of files that nobody has open. */
#define SMALL_KEPT_BYTES_MAX (16u << 20)
/* Files that are read at once, and their bytes; one more than these may be read. */
#define AHEAD_FILES_MAX 32u
#define AHEAD_BYTES_MAX (256u << 10)

struct small {
	pthread_mutex_t lock; /* of the files of those that have it open */
	struct caller who; /* who may read it: the server was asked in his name, when he had seen this */
	uint64_t until_ns; /* believed without asking the server */
	struct wfs_attr attr; /* with the contents */
	_Atomic unsigned refs;
	/* Under the cache's lock: of which node it is what is kept (NULL: of none), and its neighbours by age. */
	struct node *node;
	struct small *newer, *older;
	size_t len, size; /* bytes of data, and room for them */
	char data[];
};

/* Room for @size bytes that @who wants to read; one reference. NULL: no memory. */
struct small *small_new(struct mount *m, const struct caller *who, size_t size);
void small_unref(struct small *s);

/* small_cache.c: what is kept, at most one for each node. */
void small_cache_init(struct mount *m);
/* Nothing is kept any more, and nobody else uses the cache. */
void small_cache_done(struct mount *m);
void small_cache_clear(struct mount *m);
/*
 * What is kept of the node, if @who may read it and it is certainly what the file has: the server tells of all changes,
 * and told of none. A reference. NULL: it is to be asked for.
 */
struct small *small_cache_get(struct mount *m, struct node *n, const struct caller *who);
/* Is something kept of the node that is what the file has? */
bool small_cache_has(struct mount *m, struct node *n);
/* Keep what was just read, whole, by its first owner; not if something was told meanwhile. The reference stays his. */
void small_cache_put(struct mount *m, struct node *n, struct small *s);

/* ahead.c */
/* Which files come after @n, if those before it were opened in some order: at most @max, each told once more until
 * node_forget(). Says to the one after them that it is next. Returns how many. */
unsigned ahead_pick(struct mount *m, struct node *n, struct node **ret, unsigned max);
/*
 * Read a small file of at most @cap bytes, and keep those that are probably opened next. NULL: it could not be read, or
 * is not that small any more.
 */
struct small *ahead_read(struct mount *m, struct node *n, const struct caller *who, uint32_t cap);

#endif

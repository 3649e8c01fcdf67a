/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which small files are opened next. Whoever reads many opens them in the order of a listing, or in that in which they
 * were made, which is the order of their numbers. When a file has been read, the ones after it in both orders are told
 * that they are next; when one of these is opened, those that follow in that order are read with it, in one request,
 * first a few, then more.
 */
#include <stdlib.h>

#include "plugins/fuse/small.h"

#define AHEAD_FIRST 4u
/* A file is next for so many reads: as many can go on in different places. */
#define NEXT_READS_MAX 8u
#define WANTED_BITS 8u
/* Objects that are passed over at once: what is not small, or in another directory. */
#define SKIP_MAX 16u

/* The next small file after @id in the order, none of which anything is kept. NULL: not known. */
static struct node *next_of(struct mount *m, const struct node *n, unsigned order, uint64_t *id)
{
	for (unsigned skipped = 0; skipped < SKIP_MAX; skipped++) {
		struct node *next = *id ? node_find(&m->nodes, n->fsid, *id) : NULL;
		bool fits = next && next != n && atomic_load(&next->small_bytes) && !small_cache_has(m, next) &&
		            atomic_load(&next->parent_id) == atomic_load(&n->parent_id);

		if (order == AHEAD_BY_NUMBER)
			(*id)++;
		else
			*id = next ? atomic_load(&next->next_listed) : 0;
		if (fits)
			return next;
		if (next && next != m->root)
			node_forget(&m->nodes, next, 1);
		if (!*id)
			return NULL;
	}
	return NULL;
}

static uint64_t after(const struct node *n, unsigned order)
{
	return order == AHEAD_BY_NUMBER ? n->file_id + 1 : atomic_load(&n->next_listed);
}

/* Say to the next one that @wanted are to be read with it. */
static void tell_next(struct mount *m, const struct node *n, unsigned order, uint64_t id, unsigned wanted)
{
	struct node *next = next_of(m, n, order, &id);

	if (!next)
		return;
	atomic_store(&next->ahead[order], atomic_load(&m->kept.reads) << WANTED_BITS | wanted);
	node_forget(&m->nodes, next, 1);
}

unsigned ahead_pick(struct mount *m, struct node *n, struct node **ret, unsigned max)
{
	uint64_t reads = atomic_fetch_add(&m->kept.reads, 1) + 1, id;
	unsigned wanted = 0, count = 0, order = 0;

	for (unsigned i = 0; i < AHEAD_ORDERS; i++) {
		uint64_t said = atomic_exchange(&n->ahead[i], 0);
		unsigned here = (unsigned)(said & ((1u << WANTED_BITS) - 1));

		if (here > wanted && reads - (said >> WANTED_BITS) <= NEXT_READS_MAX) {
			wanted = here;
			order = i;
		}
	}
	if (!wanted) {
		for (unsigned i = 0; i < AHEAD_ORDERS; i++)
			tell_next(m, n, i, after(n, i), AHEAD_FIRST);
		return 0;
	}
	id = after(n, order);
	while (count < wanted && count < max && (ret[count] = next_of(m, n, order, &id)))
		count++;
	if (count)
		tell_next(m, n, order, id, 2 * wanted < AHEAD_FILES_MAX ? 2 * wanted : AHEAD_FILES_MAX);
	return count;
}

/* A file that is being read. */
struct item {
	struct node *node;
	struct small *small;
	int eof;
};

static void add(struct mount *m, struct wfs_batch *b, const struct caller *who, struct item *to, struct node *n,
                uint32_t cap)
{
	*to = (struct item){ .node = n, .small = small_new(m, who, (size_t)cap + 1) };
	if (!to->small)
		return;
	(void)wfs_batch_put(b, &n->fh);
	(void)wfs_batch_get_file(b, to->small->data, cap + 1, &to->small->len, &to->small->attr, &to->eof);
}

/* The files that come after the first one; returns how many items there are then. */
static unsigned add_next(struct mount *m, struct wfs_batch *b, const struct caller *who, struct item *items)
{
	struct node *next[AHEAD_FILES_MAX];
	unsigned picked = 0, count = 1;
	size_t bytes = 0;
	bool fresh;

	/* Nothing will be kept otherwise. */
	tell_begin(m);
	fresh = events_fresh(m, seen_of(m, items[0].node->fsid, who->seen));
	tell_end(m);
	if (fresh)
		picked = ahead_pick(m, items[0].node, next, AHEAD_FILES_MAX);
	for (unsigned i = 0; i < picked; i++) {
		uint32_t cap = atomic_load(&next[i]->small_bytes);

		bytes += cap;
		if (cap && bytes <= AHEAD_BYTES_MAX)
			add(m, b, who, &items[count++], next[i], cap);
		else
			node_forget(&m->nodes, next[i], 1);
	}
	return count;
}

/* Two operations for each, of which the second brings the data. */
static bool is_whole(const struct item *item, unsigned index, unsigned done)
{
	return done >= 2 * (index + 1) && item->eof;
}

struct small *ahead_read(struct mount *m, struct node *n, const struct caller *who, uint32_t cap)
{
	struct item items[1 + AHEAD_FILES_MAX];
	struct small *ret = NULL;
	struct wfs_batch *b;
	unsigned count, done = 0;
	bool room = true;

	if (wfs_batch_new(m->client, &b))
		return NULL;
	add(m, b, who, &items[0], n, cap);
	count = add_next(m, b, who, items);
	for (unsigned i = 0; i < count; i++)
		room = room && items[i].small;
	if (room)
		(void)wfs_batch_run(b, &who->cred, &done);
	wfs_batch_free(b);
	for (unsigned i = 0; i < count; i++) {
		struct item *item = &items[i];

		if (is_whole(item, i, done)) {
			small_cache_put(m, item->node, item->small);
			if (i == 0)
				ret = item->small;
		}
		if (item->small && item->small != ret)
			small_unref(item->small);
		if (i > 0)
			node_forget(&m->nodes, item->node, 1);
	}
	return ret;
}

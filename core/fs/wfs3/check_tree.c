/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking one tree: every copy of every node, its hash, format, identity and place, top-down. The children of a node
 * are read together, CHECK_NODES at a time.
 *
 * A walk ends, also of a forged tree: levels descend, and the keys of siblings lie in ranges that do not overlap, so no
 * node can be reached twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/fs/wfs3/check_priv.h"

struct walk {
	struct check *c;
	struct check_dataset *ds;
	const struct wfs3_key *from; /* NULL: the beginning */
	check_item_fn *item;
	void *ctx;
};

/* Nodes that are read together. */
struct group {
	unsigned count;
	struct node_wanted want[CHECK_NODES];
	bool readable[CHECK_NODES];
};

static struct pool_finding *bad_node(struct walk *w, const struct node_wanted *want, enum pool_finding_kind kind,
                                     const char *why)
{
	struct pool_finding *f = check_damage(w->c, kind, "tree node, level %d: %s", want->level, why);

	if (want->level < 0)
		snprintf(f->text, sizeof(f->text), "root of the tree: %s", why);
	check_in_object(f, w->ds, want->low.object, want->low.offset);
	if (want->low.kind == WFS3_KIND_CELL)
		f->offset = want->low.offset <= UINT64_MAX / WFS3_CELL_BYTES ? want->low.offset * WFS3_CELL_BYTES : 0;
	f->has_offset = want->has_low;
	check_at_address(w->c, f, want->ptr.addr, WFS3_NODE_BLOCKS);
	w->ds->broken = true;
	w->c->report->partial = true;
	return f;
}

static uint8_t *page_at(const struct walk *w, unsigned depth, unsigned index)
{
	return w->c->level_pages[depth] + (size_t)index * WFS3_NODE_BYTES;
}

/* What can be said of a pointer before its node is read. */
static bool check_pointer(struct walk *w, const struct node_wanted *want)
{
	struct blk_dev *dev;
	uint64_t offset;

	if (check_locate(w->c, want->ptr.addr, WFS3_NODE_BLOCKS, 0, &dev, &offset)) {
		bad_node(w, want, POOL_FINDING_ADDRESS, "its address is nowhere in the pool");
		return false;
	}
	if (want->ptr.birth > w->c->root.txg) {
		bad_node(w, want, POOL_FINDING_BIRTH, "it is younger than the root of the pool");
		return false;
	}
	check_use(w->c, w->ds, want->ptr.addr, WFS3_NODE_BLOCKS, "a tree node", want->low.object, want->low.offset);
	return true;
}

/* What became of each copy of each node. */
enum copy_state {
	COPY_NONE,
	COPY_GOOD,
	COPY_UNREADABLE,
	COPY_WRONG,
};

static bool hash_is_good(void *ctx, const void *page)
{
	return hash128_equal(hash128(page, WFS3_NODE_BYTES), *(const struct hash128 *)ctx);
}

/* Read one copy of all of them to @pages. */
static int read_copies(struct walk *w, struct group *g, unsigned copy, uint8_t *pages, enum copy_state ret[])
{
	struct check_read reads[CHECK_NODES];

	for (unsigned i = 0; i < g->count; i++)
		reads[i] = (struct check_read){ .addr = g->want[i].ptr.addr,
			                        .block_count = WFS3_NODE_BLOCKS,
			                        .buf = pages + (size_t)i * WFS3_NODE_BYTES,
			                        .result = g->readable[i] ? 0 : -ENOENT };
	check_read(w->c, copy, reads, g->count);
	for (unsigned i = 0; i < g->count; i++) {
		if (reads[i].result)
			ret[i] = reads[i].result == -ENOENT ? COPY_NONE : COPY_UNREADABLE;
		else
			ret[i] = hash_is_good(&g->want[i].ptr.hash, reads[i].buf) ? COPY_GOOD : COPY_WRONG;
	}
	return check_step(w->c, (uint64_t)g->count * WFS3_NODE_BYTES);
}

/* Tell of the copies of one node that are not good. */
static void judge_copies(struct walk *w, struct group *g, unsigned i, const enum copy_state states[][CHECK_NODES],
                         bool is_good)
{
	for (unsigned copy = 0; copy < w->c->copies_max; copy++) {
		enum copy_state state = states[copy][i];
		enum pool_finding_kind kind =
		        state == COPY_UNREADABLE ? POOL_FINDING_NODE_READ : POOL_FINDING_NODE_HASH;
		bool broken = w->ds->broken, partial = w->c->report->partial;
		struct pool_finding *f;

		if (state == COPY_GOOD || state == COPY_NONE)
			continue;
		f = bad_node(w, &g->want[i], kind,
		             state == COPY_UNREADABLE ? "it cannot be read" : "its hash is wrong");
		check_at_copy(w->c, f, g->want[i].ptr.addr, WFS3_NODE_BLOCKS, copy);
		f->repaired =
		        check_repair(w->c, g->want[i].ptr.addr, WFS3_NODE_BLOCKS, hash_is_good, &g->want[i].ptr.hash);
		if (is_good) {
			w->ds->broken = broken;
			w->c->report->partial = partial;
		}
	}
}

/* All copies are read; the first good one counts. */
static int read_group(struct walk *w, unsigned depth, struct group *g)
{
	enum copy_state states[LABEL_GROUP_DEVICES_MAX][CHECK_NODES];
	bool is_good[CHECK_NODES];
	int rc = 0;

	for (unsigned i = 0; i < g->count; i++)
		g->readable[i] = check_pointer(w, &g->want[i]);
	for (unsigned copy = 0; copy < w->c->copies_max && !rc; copy++) {
		uint8_t *pages = copy ? w->c->copy_pages : page_at(w, depth, 0);

		rc = read_copies(w, g, copy, pages, states[copy]);
		for (unsigned i = 0; i < g->count; i++) {
			bool good = states[copy][i] == COPY_GOOD;

			if (copy && good && !is_good[i])
				memcpy(page_at(w, depth, i), pages + (size_t)i * WFS3_NODE_BYTES, WFS3_NODE_BYTES);
			is_good[i] = good || (copy && is_good[i]);
		}
	}
	for (unsigned i = 0; i < g->count && !rc; i++) {
		if (g->readable[i])
			judge_copies(w, g, i, states, is_good[i]);
		g->readable[i] &= is_good[i];
	}
	return rc;
}

/* Of a node whose hash is right. */
static bool verify(struct walk *w, const struct node_wanted *want, const uint8_t *page)
{
	char why[CHECK_WHY_BYTES];
	int rc;

	rc = node_check(page);
	if (rc) {
		bad_node(w, want, POOL_FINDING_NODE_FORMAT, check_why(rc, why));
		return false;
	}
	rc = tree_check_identity(w->ds->id, want, page);
	if (rc) {
		bad_node(w, want, POOL_FINDING_NODE_IDENTITY, check_why(rc, why));
		return false;
	}
	return true;
}

static int visit_leaf(struct walk *w, const uint8_t *page)
{
	uint64_t birth = node_birth(page);
	int rc = 0;

	for (unsigned i = 0; i < node_count(page) && !rc; i++) {
		struct wfs3_key key = node_key(page, i);
		size_t len;
		const uint8_t *value = node_value(page, i, &len);

		if (w->from && wfs3_key_cmp(&key, w->from) < 0)
			continue;
		rc = w->item(w->ctx, &key, value, len, birth);
	}
	return rc;
}

static int walk_group(struct walk *w, unsigned depth, struct group *g);

/* Recursion ends: @page was verified to be one level below its parent. */
static int walk_children(struct walk *w, unsigned depth, const struct node_wanted *want, const uint8_t *page)
{
	struct group *g = malloc(sizeof(*g));
	unsigned count = node_count(page), first = w->from ? node_search_child(page, w->from) : 0;
	int rc = g ? 0 : err_set(-ENOMEM, "no memory to walk a tree");

	for (unsigned at = first; at < count && !rc; at += g->count) {
		g->count = count - at < CHECK_NODES ? count - at : CHECK_NODES;
		for (unsigned i = 0; i < g->count; i++)
			g->want[i] = node_wanted_child(want, page, at + i);
		rc = walk_group(w, depth, g);
	}
	free(g);
	return rc;
}

static int walk_group(struct walk *w, unsigned depth, struct group *g)
{
	uint8_t **pages = &w->c->level_pages[depth];
	int rc;

	if (!*pages)
		*pages = aligned_alloc(WFS3_BLOCK_BYTES, CHECK_NODES * WFS3_NODE_BYTES);
	if (!w->c->copy_pages && w->c->copies_max > 1)
		w->c->copy_pages = aligned_alloc(WFS3_BLOCK_BYTES, CHECK_NODES * WFS3_NODE_BYTES);
	if (!*pages || (!w->c->copy_pages && w->c->copies_max > 1))
		return err_set(-ENOMEM, "no memory to walk a tree");
	rc = read_group(w, depth, g);
	for (unsigned i = 0; i < g->count && !rc; i++) {
		const uint8_t *page = page_at(w, depth, i);

		if (!g->readable[i] || !verify(w, &g->want[i], page))
			continue;
		w->c->report->node_count++;
		rc = node_level(page) ? walk_children(w, depth + 1, &g->want[i], page) : visit_leaf(w, page);
	}
	return rc;
}

int check_tree(struct check *c, struct check_dataset *ds, const struct wfs3_ptr *root, const struct wfs3_key *from,
               check_item_fn *item, void *ctx)
{
	struct walk w = { .c = c, .ds = ds, .from = from, .item = item, .ctx = ctx };
	struct group *g;
	int rc;

	if (!root->addr)
		return 0;
	g = calloc(1, sizeof(*g));
	if (!g)
		return err_set(-ENOMEM, "no memory to walk a tree");
	g->count = 1;
	g->want[0] = (struct node_wanted){ .ptr = *root, .level = -1 };
	rc = walk_group(&w, ds->id == POOL_TREE_ID ? 0 : NODE_LEVEL_MAX + 1, g);
	free(g);
	return rc;
}

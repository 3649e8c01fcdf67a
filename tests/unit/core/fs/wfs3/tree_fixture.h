/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests of trees: a store of nodes in memory that keeps account of every address and fails on demand, and a model
 * of a tree's contents. Include it after the headers that cmocka asks for.
 */
#ifndef WFSD_TESTS_TREE_FIXTURE_H
#define WFSD_TESTS_TREE_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/sync.h"
#include "core/fs/wfs3/node.h"
#include "core/fs/wfs3/tree.h"

#define STORE_NODES 20000u
#define FIXTURE_DATASET UINT64_C(7)

enum place_state {
	PLACE_FREE,
	PLACE_LIVE,
	PLACE_PENDING, /* freed, may still be read */
};

struct place {
	enum place_state state;
	uint64_t birth, free_txg;
	uint8_t *page; /* NULL: nothing was written yet */
	bool visited;
};

struct store {
	struct sync_mutex lock;
	struct place places[STORE_NODES]; /* address 4 * index */
	unsigned cursor;
	uint64_t reserved; /* free_reserve() less what was used or given back */
	uint64_t reads, writes;
	/* 0: never; n: the nth call from now fails, and those after it when @fail_on */
	unsigned fail_alloc, fail_write, fail_read, fail_reserve;
	bool fail_on;
	unsigned bad_one_in; /* places with an index that this divides cannot be written; 0: all can */
	unsigned moves;
};

struct fixture {
	struct budget *budget;
	struct node_cache *cache;
	struct store *store;
	struct tree_env env;
	struct tree *tree;
	uint64_t txg; /* open */
	struct wfs3_ptr root; /* of the last commit */
};

static inline bool fails_now(struct store *s, unsigned *count)
{
	if (!*count || --*count)
		return false;
	if (s->fail_on)
		*count = 1;
	return true;
}

static inline int store_read(void *ctx, uint64_t addr, void *buf)
{
	struct store *s = ctx;
	struct place *p = &s->places[addr / 4];
	int rc = 0;

	always(addr % 4 == 0 && addr / 4 < STORE_NODES);
	sync_mutex_lock(&s->lock);
	s->reads++;
	if (fails_now(s, &s->fail_read))
		rc = -EIO;
	else if (p->page)
		memcpy(buf, p->page, WFS3_NODE_BYTES);
	else
		memset(buf, 0xee, WFS3_NODE_BYTES);
	sync_mutex_unlock(&s->lock);
	return rc;
}

static inline void store_free_node(void *ctx, uint64_t txg, uint64_t addr, uint64_t birth)
{
	struct store *s = ctx;
	struct place *p = &s->places[addr / 4];

	sync_mutex_lock(&s->lock);
	always(p->state == PLACE_LIVE && p->birth <= birth + 1000 && birth < txg);
	always(s->reserved);
	s->reserved--;
	p->state = PLACE_PENDING;
	p->free_txg = txg;
	sync_mutex_unlock(&s->lock);
}

static inline int store_free_reserve(void *ctx, unsigned count)
{
	struct store *s = ctx;
	int rc = 0;

	sync_mutex_lock(&s->lock);
	if (fails_now(s, &s->fail_reserve))
		rc = -ENOMEM;
	else
		s->reserved += count;
	sync_mutex_unlock(&s->lock);
	return rc;
}

static inline void store_free_unreserve(void *ctx, unsigned count)
{
	struct store *s = ctx;

	sync_mutex_lock(&s->lock);
	always(s->reserved >= count);
	s->reserved -= count;
	sync_mutex_unlock(&s->lock);
}

static inline int store_alloc(void *ctx, uint64_t txg, uint64_t *ret_addr)
{
	struct store *s = ctx;
	int rc = -ENOSPC;

	sync_mutex_lock(&s->lock);
	if (!fails_now(s, &s->fail_alloc)) {
		for (unsigned i = 0; rc && i < STORE_NODES; i++) {
			unsigned at = s->cursor++ % STORE_NODES;

			if (!at || s->places[at].state != PLACE_FREE)
				continue;
			s->places[at].state = PLACE_LIVE;
			s->places[at].birth = txg;
			*ret_addr = UINT64_C(4) * at;
			rc = 0;
		}
	}
	sync_mutex_unlock(&s->lock);
	return rc;
}

/* For tree_env.move_node. */
static inline int store_move(void *ctx, uint64_t txg, uint64_t *addr)
{
	struct store *s = ctx;
	uint64_t new_addr;
	int rc = store_alloc(ctx, txg, &new_addr);

	if (rc)
		return rc;
	sync_mutex_lock(&s->lock);
	s->places[*addr / 4].state = PLACE_PENDING;
	s->places[*addr / 4].free_txg = txg;
	s->moves++;
	sync_mutex_unlock(&s->lock);
	*addr = new_addr;
	return 0;
}

static inline int store_write(void *ctx, const uint64_t addrs[], const void *const bufs[], unsigned count)
{
	struct store *s = ctx;
	int rc = 0;

	sync_mutex_lock(&s->lock);
	if (fails_now(s, &s->fail_write))
		rc = -EIO;
	for (unsigned i = 0; i < count && s->bad_one_in; i++)
		if (addrs[i] / 4 % s->bad_one_in == 0)
			rc = -EIO;
	for (unsigned i = 0; !rc && i < count; i++) {
		struct place *p = &s->places[addrs[i] / 4];

		if (!p->page)
			p->page = malloc(WFS3_NODE_BYTES);
		always(p->page && p->state != PLACE_FREE);
		memcpy(p->page, bufs[i], WFS3_NODE_BYTES);
		s->writes++;
	}
	sync_mutex_unlock(&s->lock);
	return rc;
}

/* What was freed in txgs up to @txg may be used again. */
static inline void store_release(struct store *s, struct node_cache *cache, uint64_t txg)
{
	for (unsigned i = 1; i < STORE_NODES; i++) {
		bool released;

		sync_mutex_lock(&s->lock);
		released = s->places[i].state == PLACE_PENDING && s->places[i].free_txg <= txg;
		if (released)
			s->places[i].state = PLACE_FREE;
		sync_mutex_unlock(&s->lock);
		if (released)
			node_cache_drop(cache, UINT64_C(4) * i);
	}
}

static inline struct fixture *fixture_new(size_t budget_nodes)
{
	struct fixture *f = calloc(1, sizeof(*f));

	always(f);
	f->store = calloc(1, sizeof(*f->store));
	f->budget = budget_new(budget_nodes * (WFS3_NODE_BYTES + 512));
	always(f->store && f->budget && node_cache_new(f->budget, 0, &f->cache) == 0);
	sync_mutex_init(&f->store->lock, SYNC_RANK_ALLOC, "test store");
	f->env = (struct tree_env){
		.ctx = f->store,
		.cache = f->cache,
		.read_node = store_read,
		.free_node = store_free_node,
		.free_reserve = store_free_reserve,
		.free_unreserve = store_free_unreserve,
		.alloc_node = store_alloc,
		.write_nodes = store_write,
	};
	f->txg = 1;
	always(tree_new(&f->env, FIXTURE_DATASET, &f->root, &f->tree) == 0);
	return f;
}

static inline void fixture_free(struct fixture *f)
{
	tree_free(f->tree);
	node_cache_free(f->cache);
	always(budget_used(f->budget) == 0);
	budget_free(f->budget);
	for (unsigned i = 0; i < STORE_NODES; i++)
		free(f->store->places[i].page);
	sync_mutex_done(&f->store->lock);
	free(f->store);
	free(f);
}

/* Close the tree and open it again from its last root, with nothing cached. */
static inline void fixture_reopen(struct fixture *f)
{
	tree_free(f->tree);
	node_cache_free(f->cache);
	always(node_cache_new(f->budget, 0, &f->cache) == 0);
	f->env.cache = f->cache;
	always(tree_new(&f->env, FIXTURE_DATASET, &f->root, &f->tree) == 0);
}

/* The same with less effort: the cache remains, but forgets all nodes. */
static inline void fixture_forget(struct fixture *f)
{
	tree_free(f->tree);
	for (unsigned i = 1; i < STORE_NODES && i <= f->store->cursor; i++)
		node_cache_drop(f->cache, UINT64_C(4) * i);
	always(tree_new(&f->env, FIXTURE_DATASET, &f->root, &f->tree) == 0);
}

/* Freeze, go on to the next txg, commit; release what may be used again. */
static inline int fixture_commit(struct fixture *f)
{
	struct tree_frozen *frozen;
	uint64_t nodes, txg = f->txg;
	int rc = tree_freeze(f->tree, txg, &frozen);

	f->txg++;
	if (!rc && frozen)
		rc = tree_commit(f->tree, frozen, txg, &f->root, &nodes);
	if (!rc)
		store_release(f->store, f->cache, txg - 1);
	return rc;
}

static inline int fixture_put(struct fixture *f, const struct wfs3_key *key, const void *value, size_t len)
{
	int rc;

	while ((rc = tree_put(f->tree, f->txg, key, value, len)) == -EAGAIN) {
		rc = tree_fetch(f->tree, key);
		if (rc)
			break;
	}
	return rc;
}

static inline int fixture_delete(struct fixture *f, const struct wfs3_key *key)
{
	int rc;

	while ((rc = tree_delete(f->tree, f->txg, key)) == -EAGAIN) {
		rc = tree_fetch(f->tree, key);
		if (rc)
			break;
	}
	return rc;
}

static inline int fixture_get(struct fixture *f, const struct wfs3_key *key, void *buf, size_t *ret_len)
{
	int rc;

	while ((rc = tree_get(f->tree, key, buf, TREE_ITEM_BYTES_MAX, ret_len)) == -EAGAIN) {
		rc = tree_fetch(f->tree, key);
		if (rc)
			break;
	}
	return rc;
}

/* xorshift64* */
static inline uint64_t rnd(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/* The model: keys are numbered in ascending order; each has a value or not. */
#define MODEL_KEYS 30000u
struct model_item {
	uint16_t len;
	bool present;
	uint32_t seed;
};
struct model {
	struct model_item items[MODEL_KEYS];
};

static inline struct wfs3_key model_key(unsigned i)
{
	return (struct wfs3_key){
		.object = UINT64_C(0x1ff) + i / 3000,
		.kind = (uint8_t)(1 + i / 1000 % 3),
		.offset = (uint64_t)(i % 1000) * 77,
	};
}

static inline unsigned model_index(const struct wfs3_key *key)
{
	return (unsigned)(key->object - 0x1ff) * 3000 + (unsigned)(key->kind - 1) * 1000 + (unsigned)(key->offset / 77);
}

static inline void model_value(const struct model_item *m, uint8_t *buf)
{
	uint32_t v = m->seed;

	for (unsigned i = 0; i < m->len; i++) {
		v = v * 1103515245u + 12345u;
		buf[i] = (uint8_t)(v >> 16);
	}
}

static inline bool model_same(const struct model_item *m, const void *value, size_t len)
{
	uint8_t want[TREE_ITEM_BYTES_MAX];

	if (!m->present || m->len != len)
		return false;
	model_value(m, want);
	return !len || memcmp(want, value, len) == 0;
}

/* Compare a durable tree with a model, and mark the places that it uses. */
struct walk_check {
	struct store *store;
	const struct model *model;
	unsigned next;
};

static inline int walk_node(void *ctx, const struct wfs3_ptr *ptr, unsigned level)
{
	struct walk_check *w = ctx;

	(void)level;
	always(!w->store->places[ptr->addr / 4].visited);
	w->store->places[ptr->addr / 4].visited = true;
	return 0;
}

static inline int walk_item(void *ctx, const struct wfs3_key *key, const void *value, size_t len)
{
	struct walk_check *w = ctx;
	unsigned i = model_index(key);

	for (; w->next < i; w->next++) {
		if (w->model->items[w->next].present)
			return -ENOKEY;
	}
	w->next = i + 1;
	return model_same(&w->model->items[i], value, len) ? 0 : -EKEYREJECTED;
}

static inline int model_compare(struct fixture *f, const struct wfs3_ptr *root, const struct model *m)
{
	struct walk_check w = { .store = f->store, .model = m };
	struct tree_visitor v = { .ctx = &w, .node = walk_node, .item = walk_item };
	int rc;

	for (unsigned i = 0; i < STORE_NODES; i++)
		f->store->places[i].visited = false;
	rc = tree_walk(&f->env, FIXTURE_DATASET, root, &v);
	for (; !rc && w.next < MODEL_KEYS; w.next++) {
		if (m->items[w.next].present)
			rc = -ENOKEY;
	}
	return rc;
}

/* After model_compare() of the newest root, without changes since: is each live place used, and nothing else? */
static inline unsigned store_accounting_errors(const struct store *s)
{
	unsigned errors = 0;

	for (unsigned i = 0; i < STORE_NODES; i++)
		errors += s->places[i].visited != (s->places[i].state == PLACE_LIVE);
	return errors;
}

/* The change that makes item @i of the model what @item says: a removal when it is not present. @value: room for it. */
static inline struct item_change model_change(unsigned i, const struct model_item *item, uint8_t *value)
{
	model_value(item, value);
	return (struct item_change){ .op = item->present ? ITEM_PUT : ITEM_DELETE,
		                     .key = model_key(i),
		                     .value = value,
		                     .len = item->present ? item->len : 0 };
}

/* After a commit: the tree is as the model, and account was kept of every place. */
static inline void check_durable(struct fixture *f, const struct model *m)
{
	assert_int_equal(model_compare(f, &f->root, m), 0);
	assert_int_equal(store_accounting_errors(f->store), 0);
	assert_int_equal(f->store->reserved, 0);
}

/* A change that is also made to the model when it succeeds. */
static inline int model_put(struct fixture *f, struct model *m, unsigned i, unsigned len, uint32_t seed)
{
	struct model_item item = { .len = (uint16_t)len, .present = true, .seed = seed };
	struct wfs3_key key = model_key(i);
	uint8_t value[TREE_ITEM_BYTES_MAX];
	int rc;

	model_value(&item, value);
	rc = fixture_put(f, &key, value, len);
	if (!rc)
		m->items[i] = item;
	return rc;
}

static inline int model_delete(struct fixture *f, struct model *m, unsigned i)
{
	struct wfs3_key key = model_key(i);
	int rc = fixture_delete(f, &key);

	if (!rc)
		m->items[i].present = false;
	return rc;
}

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes in memory, and the cache that finds the placed ones by address.
 *
 * The cache is sharded by address. Each shard evicts as S3-FIFO does: new nodes enter a small queue; those that were
 * used again by the time they reach its end, and those that were evicted from it not long ago, go to the main queue,
 * where a used node gets another round. So one pass over a big tree does not push out what is used all the time. Nodes
 * that somebody holds a reference to are passed over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/budget.h"
#include "core/base/checked.h"
#include "core/base/err.h"
#include "core/fs/wfs3/tree_priv.h"

#define SHARDS 16u
#define SHARD_BUCKETS_MIN 64u
#define SHARD_BUCKETS_MAX (1u << 20)
#define SMALL_SHARE 10u /* the small queue is kept to this part of the shard */
#define USES_MAX 3u
/* So many nodes stay whatever the budget says, so that a path just fetched is still there when it is used. */
#define KEEP_NODES 64u

#define CHILDREN_BYTES (NODE_CHILDREN_MAX * sizeof(struct node *))

struct shard {
	_Alignas(64) struct sync_mutex lock;
	struct node **buckets;
	uint32_t *ghosts; /* per bucket, the tag of a node that was evicted from the small queue */
	struct cds_list_head small, main; /* newest first */
	unsigned small_count, main_count;
	uint64_t hits, misses, evictions;
};

struct node_cache {
	struct budget_consumer *charge;
	struct node_mem mem;
	unsigned bucket_mask; /* of a shard */
	unsigned next_victim; /* atomic: shard to begin with */
	size_t cached_count; /* atomic */
	size_t node_count; /* atomic: all there are */
	size_t dirty_bytes; /* atomic */
	struct shard shards[SHARDS];
};

/* Under the shard's lock, read without it. */
static void count_one(uint64_t *v)
{
	__atomic_store_n(v, *v + 1, __ATOMIC_RELAXED);
}

static uint64_t addr_hash(uint64_t addr)
{
	uint64_t h = addr * UINT64_C(0x9e3779b97f4a7c15);

	return h ^ h >> 29;
}

static struct shard *shard_of(struct node_cache *c, uint64_t hash)
{
	return &c->shards[hash >> 60];
}

static uint32_t tag_of(uint64_t addr)
{
	return (uint32_t)addr;
}

static size_t node_bytes(const struct node *n)
{
	return sizeof(*n) + WFS3_NODE_BYTES + (n->children ? CHILDREN_BYTES : 0);
}

struct node *node_new(struct node_cache *c, bool with_children)
{
	struct node *n = aligned_alloc(64, round_up_u64(sizeof(*n), 64));
	struct node **children = NULL;
	struct node_slab *slab = NULL;
	uint8_t *page = node_mem_get(&c->mem, &slab);

	if (with_children)
		children = aligned_alloc(64, round_up_u64(CHILDREN_BYTES, 64));
	if (!n || !page || (with_children && !children)) {
		if (page)
			node_mem_put(&c->mem, slab, page);
		free(n);
		free(children);
		err_set(-ENOMEM, "no memory for a tree node");
		return NULL;
	}
	memset(n, 0, sizeof(*n));
	if (children)
		memset(children, 0, CHILDREN_BYTES);
	n->refs = 1;
	n->page = page;
	n->slab = slab;
	n->children = children;
	n->cache = c;
	n->hint = NODE_HINT_NONE;
	__atomic_add_fetch(&c->node_count, 1, __ATOMIC_RELAXED);
	budget_charge(c->charge, node_bytes(n));
	return n;
}

void node_ref(struct node *n)
{
	__atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
}

static void node_mark_clean(struct node *n)
{
	if (n->dirty)
		__atomic_sub_fetch(&n->cache->dirty_bytes, WFS3_NODE_BYTES, __ATOMIC_RELAXED);
	n->dirty = false;
}

void node_mark_dirty(struct node *n)
{
	n->dirty = true;
	__atomic_add_fetch(&n->cache->dirty_bytes, WFS3_NODE_BYTES, __ATOMIC_RELAXED);
}

void node_mark_placed(struct node *n)
{
	n->placed = true;
	node_mark_clean(n);
}

void node_drop_children(struct node *n)
{
	struct node **children = n->children;

	if (!children)
		return;
	for (unsigned i = 0; i < NODE_CHILDREN_MAX; i++)
		node_unref(children[i]);
	n->children = NULL;
	free(children);
	budget_uncharge(n->cache->charge, CHILDREN_BYTES);
}

/* Recursion is as deep as the tree, NODE_LEVEL_MAX at most. */
void node_unref(struct node *n)
{
	if (!n || __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL))
		return;
	node_drop_children(n);
	node_mark_clean(n);
	budget_uncharge(n->cache->charge, node_bytes(n));
	__atomic_sub_fetch(&n->cache->node_count, 1, __ATOMIC_RELAXED);
	node_mem_put(&n->cache->mem, n->slab, n->page);
	free(n);
}

static struct node **bucket_find(struct node_cache *c, struct shard *s, uint64_t hash, uint64_t addr)
{
	struct node **at = &s->buckets[hash & c->bucket_mask];

	while (*at && (*at)->ptr.addr != addr)
		at = &(*at)->hash_next;
	return at;
}

/* Take the node at *@at out of the shard; the caller inherits the cache's reference. */
static struct node *shard_remove(struct node_cache *c, struct shard *s, struct node **at)
{
	struct node *n = *at;

	*at = n->hash_next;
	n->hash_next = NULL;
	cds_list_del(&n->queue_link);
	if (n->in_main)
		s->main_count--;
	else
		s->small_count--;
	__atomic_sub_fetch(&c->cached_count, 1, __ATOMIC_RELAXED);
	return n;
}

/* With the same address. The hash differs only where a pointer is forged. */
static bool same_node(const struct wfs3_ptr *a, const struct wfs3_ptr *b)
{
	return a->birth == b->birth && hash128_equal(a->hash, b->hash);
}

struct node *node_cache_lookup(struct node_cache *c, const struct wfs3_ptr *ptr)
{
	uint64_t hash = addr_hash(ptr->addr);
	struct shard *s = shard_of(c, hash);
	struct node *n;

	sync_mutex_lock(&s->lock);
	n = *bucket_find(c, s, hash, ptr->addr);
	if (n && !same_node(&n->ptr, ptr))
		n = NULL;
	if (n) {
		node_ref(n);
		if (n->uses < USES_MAX)
			n->uses++;
		count_one(&s->hits);
	} else {
		count_one(&s->misses);
	}
	sync_mutex_unlock(&s->lock);
	return n;
}

static bool ghost_take(struct node_cache *c, struct shard *s, uint64_t hash, uint64_t addr)
{
	uint32_t *ghost = &s->ghosts[hash & c->bucket_mask];

	if (*ghost != tag_of(addr))
		return false;
	*ghost = 0;
	return true;
}

struct node *node_cache_insert(struct node_cache *c, struct node *n)
{
	uint64_t hash = addr_hash(n->ptr.addr);
	struct shard *s = shard_of(c, hash);
	struct node **at, *old, *stale = NULL;

	sync_mutex_lock(&s->lock);
	at = bucket_find(c, s, hash, n->ptr.addr);
	old = *at;
	if (old && !same_node(&old->ptr, &n->ptr)) {
		stale = shard_remove(c, s, at);
		old = NULL;
	}
	if (!old) {
		struct node **bucket = &s->buckets[hash & c->bucket_mask];

		n->hash_next = *bucket;
		*bucket = n;
		n->uses = 0;
		n->in_main = ghost_take(c, s, hash, n->ptr.addr);
		if (n->in_main)
			s->main_count++;
		else
			s->small_count++;
		cds_list_add(&n->queue_link, n->in_main ? &s->main : &s->small);
		__atomic_add_fetch(&c->cached_count, 1, __ATOMIC_RELAXED);
		node_ref(n);
		old = n;
	}
	node_ref(old);
	sync_mutex_unlock(&s->lock);
	node_unref(stale);
	return old;
}

void node_cache_drop(struct node_cache *c, uint64_t addr)
{
	uint64_t hash = addr_hash(addr);
	struct shard *s = shard_of(c, hash);
	struct node **at, *n = NULL;

	sync_mutex_lock(&s->lock);
	at = bucket_find(c, s, hash, addr);
	if (*at)
		n = shard_remove(c, s, at);
	sync_mutex_unlock(&s->lock);
	node_unref(n);
}

/* cds_list_entry() casts a const away. */
static struct node *node_of_link(struct cds_list_head *link)
{
	return (void *)((char *)link - offsetof(struct node, queue_link));
}

static bool node_in_use(const struct node *n)
{
	return __atomic_load_n(&n->refs, __ATOMIC_ACQUIRE) > 1;
}

static struct node *shard_evict(struct node_cache *c, struct shard *s, struct node *n)
{
	uint64_t hash = addr_hash(n->ptr.addr);

	if (!n->in_main)
		s->ghosts[hash & c->bucket_mask] = tag_of(n->ptr.addr);
	count_one(&s->evictions);
	return shard_remove(c, s, bucket_find(c, s, hash, n->ptr.addr));
}

/* Look at the oldest node of a queue: the victim, or NULL when it got another round. */
static struct node *shard_try_oldest(struct node_cache *c, struct shard *s, bool from_main)
{
	struct cds_list_head *queue = from_main ? &s->main : &s->small;
	struct node *n = node_of_link(queue->prev);
	bool used = n->uses > 0;

	if (!used && !node_in_use(n))
		return shard_evict(c, s, n);
	cds_list_del(&n->queue_link);
	if (from_main) {
		if (used)
			n->uses--;
		cds_list_add(&n->queue_link, &s->main);
	} else if (used) {
		n->uses = 0;
		n->in_main = true;
		s->small_count--;
		s->main_count++;
		cds_list_add(&n->queue_link, &s->main);
	} else {
		cds_list_add(&n->queue_link, &s->small);
	}
	return NULL;
}

/* Up to @want victims, linked by hash_next. */
static struct node *shard_shrink(struct node_cache *c, struct shard *s, size_t want) SYNC_REQUIRES(s->lock)
{
	size_t tries = (size_t)(USES_MAX + 2) * (s->small_count + s->main_count);
	struct node *victims = NULL;

	while (want && tries-- && s->small_count + s->main_count) {
		bool small = s->small_count * SMALL_SHARE > s->small_count + s->main_count || !s->main_count;
		struct node *n = shard_try_oldest(c, s, !small);

		if (!n)
			continue;
		n->hash_next = victims;
		victims = n;
		want--;
	}
	return victims;
}

/* Shards that somebody holds are passed over: the caller may come from anywhere. */
static size_t cache_shrink(void *ctx, size_t bytes)
{
	struct node_cache *c = ctx;
	size_t freed = 0, cached = __atomic_load_n(&c->cached_count, __ATOMIC_RELAXED);
	size_t want = div_round_up_u64(bytes, WFS3_NODE_BYTES), got = 0;

	if (cached <= KEEP_NODES)
		return 0;
	if (want > cached - KEEP_NODES)
		want = cached - KEEP_NODES;
	for (unsigned i = 0; i < 2 * SHARDS && got < want; i++) {
		unsigned at = __atomic_fetch_add(&c->next_victim, 1, __ATOMIC_RELAXED) % SHARDS;
		struct shard *s = &c->shards[at];
		struct node *n;

		if (!sync_mutex_trylock(&s->lock))
			continue;
		n = shard_shrink(c, s, i < SHARDS ? div_round_up_u64(want, SHARDS) : want - got);
		sync_mutex_unlock(&s->lock);
		while (n) {
			struct node *next = n->hash_next;

			freed += node_bytes(n);
			got++;
			node_unref(n);
			n = next;
		}
	}
	return freed;
}

void node_cache_trim(struct node_cache *c)
{
	budget_charge(c->charge, 0);
}

static int shard_init(struct shard *s, unsigned bucket_count)
{
	sync_mutex_init(&s->lock, SYNC_RANK_NODE_CACHE, "node cache shard");
	CDS_INIT_LIST_HEAD(&s->small);
	CDS_INIT_LIST_HEAD(&s->main);
	s->buckets = calloc(bucket_count, sizeof(struct node *));
	s->ghosts = calloc(bucket_count, sizeof(s->ghosts[0]));
	return s->buckets && s->ghosts ? 0 : err_set(-ENOMEM, "no memory for the node cache");
}

static void cache_delete(struct node_cache *c)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		free(c->shards[i].buckets);
		free(c->shards[i].ghosts);
		sync_mutex_done(&c->shards[i].lock);
	}
	budget_leave(c->charge);
	node_mem_done(&c->mem);
	free(c);
}

int node_cache_new(struct budget *b, size_t min_bytes, struct node_cache **ret)
{
	struct node_cache *c = aligned_alloc(64, round_up_u64(sizeof(*c), 64));
	uint64_t nodes_per_shard = budget_limit(b) / WFS3_NODE_BYTES / SHARDS;
	unsigned bucket_count = SHARD_BUCKETS_MIN;
	int rc = 0;

	if (!c)
		return err_set(-ENOMEM, "no memory for the node cache");
	while (bucket_count < nodes_per_shard && bucket_count < SHARD_BUCKETS_MAX)
		bucket_count *= 2;
	memset(c, 0, sizeof(*c));
	c->bucket_mask = bucket_count - 1;
	node_mem_init(&c->mem);
	for (unsigned i = 0; i < SHARDS; i++) {
		int shard_rc = shard_init(&c->shards[i], bucket_count);

		if (!rc)
			rc = shard_rc;
	}
	if (!rc) {
		c->charge = budget_join(b, "nodes", min_bytes, cache_shrink, c);
		if (!c->charge)
			rc = err_set(-ENOMEM, "node cache: no place in the memory budget");
	}
	if (rc) {
		cache_delete(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void node_cache_free(struct node_cache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shards[i];

		for (unsigned b = 0; b <= c->bucket_mask; b++) {
			for (;;) {
				struct node *n = NULL;

				sync_mutex_lock(&s->lock);
				if (s->buckets[b])
					n = shard_remove(c, s, &s->buckets[b]);
				sync_mutex_unlock(&s->lock);
				if (!n)
					break;
				node_unref(n);
			}
		}
	}
	always(__atomic_load_n(&c->node_count, __ATOMIC_ACQUIRE) == 0);
	cache_delete(c);
}

void node_cache_get_stats(const struct node_cache *c, struct node_cache_stats *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned i = 0; i < SHARDS; i++) {
		const struct shard *s = &c->shards[i];

		ret->hits += __atomic_load_n(&s->hits, __ATOMIC_RELAXED);
		ret->misses += __atomic_load_n(&s->misses, __ATOMIC_RELAXED);
		ret->evictions += __atomic_load_n(&s->evictions, __ATOMIC_RELAXED);
	}
	ret->resident_bytes = budget_consumer_used(c->charge);
	ret->dirty_bytes = __atomic_load_n(&c->dirty_bytes, __ATOMIC_RELAXED);
}

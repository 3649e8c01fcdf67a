/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory budget: atomic sums, and a list of consumers to ask when the limit is passed. */
#include "core/base/budget.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/assert.h"
#include "core/base/sync.h"

/* At the limit, asking for one page at a time would cost more than it frees. */
#define SHRINK_SHARE 256

struct budget_consumer {
	struct budget *budget;
	const char *name;
	size_t min_bytes;
	budget_shrink_fn *shrink;
	void *ctx;
	unsigned slot;
	unsigned shrinking; /* budget->lock: calls of @shrink that are running */
	_Alignas(64) size_t used_bytes; /* atomic */
};

struct budget {
	size_t limit_bytes;
	struct sync_mutex lock;
	struct sync_cond shrunk; /* a consumer's @shrinking became 0 */
	struct budget_consumer *consumers[BUDGET_CONSUMERS_MAX] SYNC_GUARDED_BY(lock);
	_Alignas(64) size_t used_bytes; /* atomic */
};

static void *new_zeroed(size_t bytes)
{
	void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);

	if (p)
		memset(p, 0, bytes);
	return p;
}

struct budget *budget_new(size_t limit_bytes)
{
	struct budget *b = new_zeroed(sizeof(*b));

	if (!b)
		return NULL;
	b->limit_bytes = limit_bytes;
	sync_mutex_init(&b->lock, SYNC_RANK_PAGES, "budget");
	sync_cond_init(&b->shrunk);
	return b;
}

/* Nobody else uses the budget any more. */
SYNC_NO_ANALYSIS void budget_free(struct budget *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < BUDGET_CONSUMERS_MAX; i++)
		always(!b->consumers[i]);
	sync_cond_done(&b->shrunk);
	sync_mutex_done(&b->lock);
	free(b);
}

struct budget_consumer *budget_join(struct budget *b, const char *name, size_t min_bytes, budget_shrink_fn *shrink,
                                    void *ctx)
{
	struct budget_consumer *c = new_zeroed(sizeof(*c));
	bool joined = false;

	if (!c)
		return NULL;
	c->budget = b;
	c->name = name;
	c->min_bytes = min_bytes;
	c->shrink = shrink;
	c->ctx = ctx;
	sync_mutex_lock(&b->lock);
	for (unsigned i = 0; i < BUDGET_CONSUMERS_MAX && !joined; i++) {
		if (b->consumers[i])
			continue;
		c->slot = i;
		b->consumers[i] = c;
		joined = true;
	}
	sync_mutex_unlock(&b->lock);
	if (!joined) {
		free(c);
		return NULL;
	}
	return c;
}

void budget_leave(struct budget_consumer *c)
{
	struct budget *b;

	if (!c)
		return;
	b = c->budget;
	always(budget_consumer_used(c) == 0);
	sync_mutex_lock(&b->lock);
	b->consumers[c->slot] = NULL;
	while (c->shrinking)
		sync_cond_wait(&b->shrunk, &b->lock);
	sync_mutex_unlock(&b->lock);
	free(c);
}

static size_t load(const size_t *v)
{
	return __atomic_load_n(v, __ATOMIC_RELAXED);
}

static size_t excess_bytes(const struct budget_consumer *c)
{
	size_t used = load(&c->used_bytes);

	return used > c->min_bytes ? used - c->min_bytes : 0;
}

/* The consumer with most above its minimum, except those in @gave_nothing; NULL when there is none. */
static struct budget_consumer *pick_victim(struct budget *b, uint64_t gave_nothing, size_t *ret_excess)
        SYNC_REQUIRES(b->lock)
{
	struct budget_consumer *best = NULL;
	size_t best_excess = 0;

	for (unsigned i = 0; i < BUDGET_CONSUMERS_MAX; i++) {
		struct budget_consumer *c = b->consumers[i];
		size_t excess;

		if (!c || !c->shrink || (gave_nothing & (UINT64_C(1) << i)))
			continue;
		excess = excess_bytes(c);
		if (excess > best_excess) {
			best = c;
			best_excess = excess;
		}
	}
	*ret_excess = best_excess;
	return best;
}

/* Ask consumers to shrink until the sum is within the limit or nobody gives any more. */
static void reclaim(struct budget *b)
{
	uint64_t gave_nothing = 0;

	for (;;) {
		struct budget_consumer *c;
		size_t used = load(&b->used_bytes), excess, want, freed;

		if (used <= b->limit_bytes)
			return;
		want = used - b->limit_bytes;
		if (want < b->limit_bytes / SHRINK_SHARE)
			want = b->limit_bytes / SHRINK_SHARE;
		sync_mutex_lock(&b->lock);
		c = pick_victim(b, gave_nothing, &excess);
		if (c)
			c->shrinking++;
		sync_mutex_unlock(&b->lock);
		if (!c)
			return;
		freed = c->shrink(c->ctx, want < excess ? want : excess);
		sync_mutex_lock(&b->lock);
		if (!freed)
			gave_nothing |= UINT64_C(1) << c->slot;
		if (--c->shrinking == 0)
			sync_cond_broadcast(&b->shrunk);
		sync_mutex_unlock(&b->lock);
	}
}

static void add_used(struct budget_consumer *c, size_t bytes)
{
	__atomic_add_fetch(&c->used_bytes, bytes, __ATOMIC_RELAXED);
	if (__atomic_add_fetch(&c->budget->used_bytes, bytes, __ATOMIC_RELAXED) > c->budget->limit_bytes)
		reclaim(c->budget);
}

void budget_charge(struct budget_consumer *c, size_t bytes)
{
	add_used(c, bytes);
}

bool budget_try_charge(struct budget_consumer *c, size_t bytes)
{
	add_used(c, bytes);
	if (load(&c->budget->used_bytes) <= c->budget->limit_bytes)
		return true;
	budget_uncharge(c, bytes);
	return false;
}

void budget_uncharge(struct budget_consumer *c, size_t bytes)
{
	always(__atomic_fetch_sub(&c->used_bytes, bytes, __ATOMIC_RELAXED) >= bytes);
	always(__atomic_fetch_sub(&c->budget->used_bytes, bytes, __ATOMIC_RELAXED) >= bytes);
}

size_t budget_limit(const struct budget *b)
{
	return b->limit_bytes;
}

size_t budget_used(const struct budget *b)
{
	return load(&b->used_bytes);
}

size_t budget_consumer_used(const struct budget_consumer *c)
{
	return load(&c->used_bytes);
}

void budget_each(struct budget *b, void (*fn)(void *ctx, const char *name, size_t used_bytes), void *ctx)
{
	const char *names[BUDGET_CONSUMERS_MAX];
	size_t used[BUDGET_CONSUMERS_MAX];
	unsigned count = 0;

	sync_mutex_lock(&b->lock);
	for (unsigned i = 0; i < BUDGET_CONSUMERS_MAX; i++) {
		const struct budget_consumer *c = b->consumers[i];
		unsigned at = 0;

		if (!c)
			continue;
		while (at < count && strcmp(names[at], c->name) != 0)
			at++;
		if (at == count) {
			names[count] = c->name;
			used[count++] = 0;
		}
		used[at] += load(&c->used_bytes);
	}
	sync_mutex_unlock(&b->lock);
	for (unsigned i = 0; i < count; i++)
		fn(ctx, names[i], used[i]);
}
